package btrfs

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The ioctls of linux/btrfs.h that change something, and those that tell of what was changed.
const (
	iocSyncStart     = iocRead | 8<<16 | 0x94<<8 | 24
	iocSyncWait      = iocWrite | 8<<16 | 0x94<<8 | 22
	iocSubvolCreate  = iocWrite | 4096<<16 | 0x94<<8 | 14
	iocSnapCreateV2  = iocWrite | 4096<<16 | 0x94<<8 | 23
	iocSnapDestroy   = iocWrite | 4096<<16 | 0x94<<8 | 15
	iocSnapDestroyV2 = iocWrite | 4096<<16 | 0x94<<8 | 63
	iocQuotaControl  = iocRead | iocWrite | 16<<16 | 0x94<<8 | 40
	iocQgroupCreate  = iocWrite | 16<<16 | 0x94<<8 | 42
	iocQgroupLimit   = iocRead | 48<<16 | 0x94<<8 | 43
	iocSubvolInfo    = iocRead | 504<<16 | 0x94<<8 | 60

	snapshotReadOnly = 1 << 1
	destroyByID      = 1 << 4
	quotaEnable      = 1

	// nameMax is the longest name of a subvolume (BTRFS_VOL_NAME_MAX).
	nameMax = 255
	// NoLimit as a limit lifts what limit there is.
	NoLimit = ^uint64(0)
)

// SubvolumeInode is the inode of the root of every subvolume.
const SubvolumeInode = firstFree

// volArgs is struct btrfs_ioctl_vol_args.
type volArgs struct {
	_    int64 // a descriptor, which none of these calls takes
	name [4088]byte
}

// volArgs2 is struct btrfs_ioctl_vol_args_v2. For the destruction by id the first bytes of the name are it.
type volArgs2 struct {
	fd, _, flags uint64
	_            [4]uint64
	name         [4040]byte
}

var (
	_ [4096]byte = [unsafe.Sizeof(volArgs{})]byte{}
	_ [4096]byte = [unsafe.Sizeof(volArgs2{})]byte{}
)

// folderIoctl is ioctl on an open folder of the filesystem instead of the filesystem's own descriptor.
func folderIoctl[T any](ctx context.Context, f *Filesystem, folder *os.File, op, need string, request uintptr, arg *T) error {
	err := f.wait(ctx, func() error {
		raw, err := folder.SyscallConn()
		if err != nil {
			return err
		}
		var failed error
		err = raw.Control(func(fd uintptr) { failed = rawIoctl(int(fd), request, unsafe.Pointer(arg)) })
		return errors.Join(err, failed)
	})
	runtime.KeepAlive(arg)
	return f.opError(op, need, err)
}

// CreateSubvolume makes a subvolume in an open folder. Errors: EEXIST, ENAMETOOLONG, and what making a folder
// answers.
func (f *Filesystem) CreateSubvolume(ctx context.Context, folder *os.File, name string) error {
	a := new(volArgs)
	if err := putName(a.name[:], name); err != nil {
		return f.opError("make subvolume "+name+" of", "", err)
	}
	return folderIoctl(ctx, f, folder, "make subvolume "+name+" of", "", iocSubvolCreate, a)
}

// Snapshot makes a snapshot of the subvolume that source is open on, in another open folder. It is committed
// when the call returns.
func (f *Filesystem) Snapshot(ctx context.Context, source, folder *os.File, name string, readOnly bool) error {
	a := &volArgs2{fd: uint64(source.Fd())}
	if readOnly {
		a.flags = snapshotReadOnly
	}
	if err := putName(a.name[:], name); err != nil {
		return f.opError("make snapshot "+name+" of", "", err)
	}
	err := folderIoctl(ctx, f, folder, "make snapshot "+name+" of", "", iocSnapCreateV2, a)
	runtime.KeepAlive(source)
	return err
}

// DeleteSubvolume deletes a subvolume by its id, whatever it is called by now; kernels before 5.7 by its name
// in an open folder. Errors: ENOTEMPTY where others are nested in it, EPERM for the default one.
func (f *Filesystem) DeleteSubvolume(ctx context.Context, id uint64, folder *os.File, name string) error {
	a := &volArgs2{flags: destroyByID}
	binary.NativeEndian.PutUint64(a.name[:], id)
	err := ioctl(ctx, f, "delete subvolume of", sysAdmin, iocSnapDestroyV2, a)
	if folder == nil || !errors.Is(err, syscall.ENOTTY) && !errors.Is(err, syscall.EOPNOTSUPP) {
		return err
	}
	old := new(volArgs)
	if err := putName(old.name[:], name); err != nil {
		return f.opError("delete subvolume of", "", err)
	}
	return folderIoctl(ctx, f, folder, "delete subvolume of", sysAdmin, iocSnapDestroy, old)
}

func putName(to []byte, name string) error {
	if len(name) > nameMax {
		return syscall.ENAMETOOLONG
	}
	copy(to, name)
	return nil
}

// Commit returns when all changes of the filesystem so far are on its devices. Data of files is not waited
// for. Calls at the same time share one commit.
func (f *Filesystem) Commit(ctx context.Context) error {
	transaction := new(uint64)
	return f.together(ctx, func(f *Filesystem) error {
		if err := ioctl(ctx, f, "commit", "", iocSyncStart, transaction); err != nil {
			return err
		}
		return ioctl(ctx, f, "commit", "", iocSyncWait, transaction)
	})
}

// EnableQuotas turns quotas on, with full accounting, and has what is there counted.
func (f *Filesystem) EnableQuotas(ctx context.Context) error {
	return ioctl(ctx, f, "turn quotas on for", sysAdmin, iocQuotaControl, &[2]uint64{quotaEnable, 0})
}

// SetLimits sets the limits of a subvolume's quota group. One that is absent stays as it is; NoLimit lifts it.
func (f *Filesystem) SetLimits(ctx context.Context, subvolume uint64, referenced, exclusive *uint64) error {
	a := &[6]uint64{subvolume} // the group, then flags, the two limits and two that do not count
	if referenced != nil {
		a[1], a[2] = a[1]|limitReferenced, *referenced
	}
	if exclusive != nil {
		a[1], a[3] = a[1]|limitExclusive, *exclusive
	}
	return ioctl(ctx, f, "limit quota of", sysAdmin, iocQgroupLimit, a)
}

// DeleteQgroup deletes the quota group of a subvolume that is gone. Errors: EBUSY while the cleaner is at it,
// after which newer kernels delete it themselves; ENOENT, ENOTCONN.
func (f *Filesystem) DeleteQgroup(ctx context.Context, subvolume uint64) error {
	return ioctl(ctx, f, "delete quota group of", sysAdmin, iocQgroupCreate, &[2]uint64{0, subvolume})
}

// Qgroup reads the quota group of one subvolume; false where it has none.
func (f *Filesystem) Qgroup(ctx context.Context, subvolume uint64) (Qgroup, bool, error) {
	w := f.qgroupsFrom(ctx, subvolume)
	defer w.Close()
	var q Qgroup
	found, err := w.Find(subvolume, &q)
	return q, found, err
}

// SubvolumeOf reads the subvolume that an open file or folder lies in (BTRFS_IOC_GET_SUBVOL_INFO, Linux 4.18),
// and finds its path.
func (f *Filesystem) SubvolumeOf(ctx context.Context, folder *os.File) (*Subvolume, error) {
	found := new(*Subvolume)
	err := f.together(ctx, func(f *Filesystem) (err error) {
		*found, err = f.subvolumeOf(ctx, folder)
		return err
	})
	if err != nil {
		return nil, err
	}
	return *found, nil
}

func (f *Filesystem) subvolumeOf(ctx context.Context, folder *os.File) (*Subvolume, error) {
	b := new([504]byte)
	if err := folderIoctl(ctx, f, folder, "read subvolume of", "", iocSubvolInfo, b); err != nil {
		return nil, err
	}
	s, name := parseSubvolumeInfo(b)
	if s.ID == TopLevel {
		return s, nil
	}
	var err error
	s.Path, err = newPaths(f).join(ctx, s.Parent, s.Dir, name)
	return s, err
}

// parseSubvolumeInfo reads struct btrfs_ioctl_get_subvol_info_args.
func parseSubvolumeInfo(b *[504]byte) (*Subvolume, string) {
	le := binary.NativeEndian
	s := &Subvolume{
		ID: le.Uint64(b[0:]), Parent: le.Uint64(b[264:]), Dir: le.Uint64(b[272:]), Generation: le.Uint64(b[280:]),
		ReadOnly: le.Uint64(b[288:])&rootReadOnly != 0,
		CTransID: le.Uint64(b[344:]), OTransID: le.Uint64(b[352:]), STransID: le.Uint64(b[360:]), RTransID: le.Uint64(b[368:]),
	}
	copy(s.UUID[:], b[296:])
	copy(s.ParentUUID[:], b[312:])
	copy(s.ReceivedUUID[:], b[328:])
	for i, t := range [...]*time.Time{&s.CTime, &s.OTime, &s.STime, &s.RTime} {
		at := 376 + 16*i
		if sec, nsec := int64(le.Uint64(b[at:])), le.Uint32(b[at+8:]); sec != 0 || nsec != 0 {
			*t = time.Unix(sec, int64(nsec)).UTC()
		}
	}
	return s, cString(b[8:264])
}

// rootRef is the type of the items that name the subvolumes nested in one.
const rootRef = 156

// Nested lists the ids of the subvolumes nested in one at any depth, each behind those nested in it.
func (f *Filesystem) Nested(ctx context.Context, id uint64) (ids []uint64, err error) {
	return f.nested(ctx, id, 0)
}

func (f *Filesystem) nested(ctx context.Context, id uint64, depth int) (ids []uint64, err error) {
	if depth > maxDepth {
		return nil, &OpError{Op: "list subvolumes of", Path: f.path, Err: syscall.ELOOP}
	}
	var children []uint64
	c := f.search(ctx, "list subvolumes of", rootTree, key{id, rootRef, 0}, key{id, rootRef, ^uint64(0)})
	for c.next() {
		children = append(children, c.item.offset)
	}
	err = c.err
	c.close()
	if err != nil {
		return nil, err
	}
	for _, child := range children {
		below, err := f.nested(ctx, child, depth+1)
		if err != nil {
			return nil, err
		}
		ids = append(append(ids, below...), child)
	}
	return ids, nil
}

// PathOf is the path of a subvolume from the top level.
func (f *Filesystem) PathOf(ctx context.Context, id uint64) (string, error) {
	p := newPaths(f)
	at, name, err := p.backref(ctx, id)
	if err != nil {
		return "", err
	}
	return p.join(ctx, at.tree, at.dir, name)
}

// SetNoCOW has new files of an empty folder neither copied on write nor checksummed (FS_NOCOW_FL), or tells
// whether that is so.
func SetNoCOW(folder *os.File) error {
	return control(folder, func(fd int) error {
		flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
		if err != nil {
			return os.NewSyscallError("ioctl FS_IOC_GETFLAGS", err)
		}
		return os.NewSyscallError("ioctl FS_IOC_SETFLAGS", unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags|noCOW))
	})
}

// noCOW is FS_NOCOW_FL of linux/fs.h.
const noCOW = 0x00800000

// NoCOW tells whether new files of a folder are neither copied on write nor checksummed.
func NoCOW(folder *os.File) (is bool, err error) {
	err = control(folder, func(fd int) error {
		flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
		is = flags&noCOW != 0
		return os.NewSyscallError("ioctl FS_IOC_GETFLAGS", err)
	})
	return is, err
}

func control(f *os.File, call func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = call(int(fd)) })
	return errors.Join(err, failed)
}

// iocResize and iocDefrag are BTRFS_IOC_RESIZE and BTRFS_IOC_DEFRAG_RANGE.
const (
	iocResize = iocWrite | 4096<<16 | 0x94<<8 | 3
	iocDefrag = iocWrite | 48<<16 | 0x94<<8 | 16
)

// ResizeMax has the filesystem take all of one of its devices.
func (f *Filesystem) ResizeMax(ctx context.Context, device uint64) error {
	a := new(volArgs)
	copy(a.name[:], strconv.FormatUint(device, 10)+":max")
	return ioctl(ctx, f, "grow", sysAdmin, iocResize, a)
}

// Compression is how data is compressed (BTRFS_COMPRESS_*).
type Compression uint32

// The kinds of compression; the zero value leaves it to the mount and the file.
const (
	Zlib Compression = 1 + iota
	LZO
	Zstd
)

// defragArgs is struct btrfs_ioctl_defrag_range_args.
type defragArgs struct {
	_, length, flags uint64
	_                uint32 // from which size on extents are left alone
	compression      Compression
	_                [4]uint32
}

var _ [48]byte = [unsafe.Sizeof(defragArgs{})]byte{}

// Bits of defragArgs.flags.
const (
	defragCompress = 1
	defragStartIO  = 2
)

// Defragment rewrites the extents of an open file, or those of a folder itself, and begins to write them out.
// Errors: ETXTBSY for a swap file, EROFS.
func (f *Filesystem) Defragment(ctx context.Context, file *os.File, c Compression) error {
	a := &defragArgs{length: ^uint64(0), flags: defragStartIO, compression: c}
	if c != 0 {
		a.flags |= defragCompress
	}
	return folderIoctl(ctx, f, file, "defragment", "", iocDefrag, a)
}
