// Package grow makes mounted ext4 and xfs filesystems larger, by the ioctls of linux/ext4.h and of xfs_fs.h in
// xfsprogs. They never get smaller by it. Growing btrfs is the matter of internal/btrfs.
package grow

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Magic numbers of statfs(2) for the filesystems that can be grown here.
const (
	Ext4 = unix.EXT4_SUPER_MAGIC
	XFS  = unix.XFS_SUPER_MAGIC
)

const (
	ext4Resize  = 1<<30 | 8<<16 | 'f'<<8 | 16    // EXT4_IOC_RESIZE_FS, number of blocks
	xfsGeometry = 2<<30 | 112<<16 | 'X'<<8 | 100 // XFS_IOC_FSGEOMETRY_V1
	xfsGrow     = 1<<30 | 16<<16 | 'X'<<8 | 110  // XFS_IOC_FSGROWFSDATA
)

// geometry is struct xfs_fsop_geom_v1.
type geometry struct {
	blockSize, _, _, _ uint32
	_, _, _            uint32
	maxInodes          uint32 // percent of the space that inodes may take
	dataBlocks         uint64
	_                  [72]byte
}

var _ [112]byte = [unsafe.Sizeof(geometry{})]byte{}

// growData is struct xfs_growfs_data.
type growData struct {
	blocks    uint64
	maxInodes uint32
	_         uint32
}

// Size is how many bytes of its device a mounted xfs takes. folder is open on it.
func Size(folder *os.File) (int64, error) {
	g := new(geometry)
	if err := ioctl(folder, xfsGeometry, unsafe.Pointer(g)); err != nil {
		return 0, fmt.Errorf("read geometry of xfs: %w", err)
	}
	return int64(g.dataBlocks * uint64(g.blockSize)), nil
}

// To has the filesystem that folder lies on take size bytes of its device, of which magic is the number of
// statfs(2) and blockSize the size of a block. It does nothing where that is no more than it takes. Errors:
// EPERM without CAP_SYS_RESOURCE (ext4) or CAP_SYS_ADMIN (xfs), EROFS, and what the kernel has against it.
func To(folder *os.File, magic, size, blockSize int64) error {
	switch magic {
	case Ext4:
		blocks := uint64(size / blockSize)
		return wrap("grow ext4", ioctl(folder, ext4Resize, unsafe.Pointer(&blocks)))
	case XFS:
		g := new(geometry)
		if err := ioctl(folder, xfsGeometry, unsafe.Pointer(g)); err != nil {
			return wrap("read geometry of xfs", err)
		}
		d := &growData{blocks: uint64(size) / uint64(g.blockSize), maxInodes: g.maxInodes}
		if d.blocks <= g.dataBlocks {
			return nil
		}
		return wrap("grow xfs", ioctl(folder, xfsGrow, unsafe.Pointer(d)))
	}
	return fmt.Errorf("grow filesystem %#x: %w", magic, unix.EOPNOTSUPP)
}

func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", op, err)
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(arg)); errno != 0 {
			failed = errno
		}
	})
	runtime.KeepAlive(arg)
	return errors.Join(err, failed)
}
