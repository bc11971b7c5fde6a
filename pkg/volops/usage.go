package volops

import (
	"context"
	"errors"
	"io/fs"
	"math/bits"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/pkg/registry"
)

// maxLinks is how many symbolic links the kernel follows in one path (MAXSYMLINKS).
const maxLinks = 40

// Usage answers vol.usage.
func (v *Vol) Usage(ctx context.Context, p *registry.VolUsageParams) (*registry.VolUsageResult, error) {
	s, at, err := v.askPath(ctx, p.Path)
	if err != nil {
		return nil, err
	}
	u := usage(&s.Statfs_t)
	r := &registry.VolUsageResult{
		Path:  p.Path,
		Magic: u.Magic, BlockSizeBytes: u.BlockSizeBytes, FragmentSizeBytes: u.FragmentSizeBytes,
		TotalBytes: u.TotalBytes, FreeBytes: u.FreeBytes, AvailableBytes: u.AvailableBytes, UsedBytes: u.UsedBytes,
		InodesTotal: u.InodesTotal, InodesFree: u.InodesFree, InodesUsed: u.InodesUsed,
		Fsid: u.Fsid, NameMax: u.NameMax, Flags: u.Flags,
	}
	if m := v.mountOf(s, at); m != nil {
		r.Target = registry.Some(m.Target)
		r.MountID = registry.Some(int64(m.ID))
		r.Fstype = registry.Some(m.FSType)
		r.Source = registry.NonZero(m.Source)
	}
	return r, nil
}

// space is what the kernel says of the filesystem at a path.
type space struct {
	unix.Statfs_t
	mount uint32 // id of the mount; 0 before Linux 5.8
}

// askPath asks for the space at a path that a caller names, and tells which path that is without its
// symbolic links.
func (v *Vol) askPath(ctx context.Context, path string) (space, string, error) {
	s, at, _, err := askPathFor(ctx, v, path, func(space, string) (struct{}, error) { return struct{}{}, nil })
	return s, at, err
}

// askPathFor is askPath, and does something more with what it finds while the filesystem answers: each wait for one
// costs more than most questions. Every step may hang, and is charged to the filesystem that the path has reached
// by then: this is why the links are followed here and not by the kernel. Otherwise four calls on a link to a
// server that is gone would make the filesystem busy that the link stands on.
func askPathFor[T any](ctx context.Context, v *Vol, path string, further func(s space, at string) (T, error)) (_ space, at string, more T, err error) {
	type answer struct {
		space
		next string // where a symbolic link leads
		more T
	}
	asked := path
	for range maxLinks {
		m, err := v.containing(path)
		if err != nil {
			return space{}, "", more, err
		}
		a, err := hang.Do(ctx, v.calls, number(m), func() (a answer, err error) {
			// The links of procfs lead to what their text does not say: the kernel follows those.
			if m.FSType != "proc" {
				if a.next, err = firstLink(path); err != nil || a.next != "" {
					return a, err
				}
			}
			if a.space, err = ask(path, true); err == nil {
				a.more, err = further(a.space, path)
			}
			return a, err
		})
		if err != nil {
			return space{}, "", more, pathError(waiting(err, "the filesystem at "+m.Target), asked)
		}
		if a.next == "" {
			return a.space, path, a.more, nil
		}
		path = a.next
	}
	return space{}, "", more, &os.PathError{Op: "statfs", Path: asked, Err: unix.ELOOP}
}

// containing finds the mount that a path lies on without touching it.
func (v *Vol) containing(path string) (*mount.Mount, error) {
	table, err := v.table()
	if err != nil {
		return nil, err
	}
	if m := table.Containing(path); m != nil {
		return m, nil
	}
	return &mount.Mount{Target: "/"}, nil // in a chroot that is no mount point
}

// table is the list of mounts as it is now.
func (v *Vol) table() (*mount.Table, error) {
	table, err := v.mounts.Table()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noProc()
	}
	return table, err
}

// freshTable is table for those who must see what the kernel does not count as a change: a filesystem
// that turned read-only by itself.
func (v *Vol) freshTable() (*mount.Table, error) {
	table, err := mount.Read(v.mountinfo())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noProc()
	}
	return table, err
}

// number is the device number of a mount's filesystem.
func number(m *mount.Mount) blk.Number { return blk.Number{Major: m.Major, Minor: m.Minor} }

// firstLink walks down a path to the first symbolic link and returns the path with the link replaced
// by where it leads; "" where there is no link in it.
func firstLink(path string) (string, error) {
	buf := make([]byte, unix.PathMax)
	done := "/"
	for rest := path; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		switch part {
		case "", ".":
			continue
		case "..":
			done = filepath.Dir(done)
			continue
		}
		n := 0
		err := uninterrupted(func() (err error) {
			n, err = unix.Readlink(filepath.Join(done, part), buf)
			return err
		})
		switch {
		case err == unix.EINVAL: // no link
			done = filepath.Join(done, part)
		case err != nil:
			return "", &os.PathError{Op: "statfs", Path: path, Err: err}
		default:
			return follow(done, string(buf[:n]), rest), nil
		}
	}
	return "", nil
}

// follow is the path behind a link in dir. It is not cleaned: ".." after a link is the link's to say.
func follow(dir, link, rest string) string {
	if !strings.HasPrefix(link, "/") {
		link = dir + "/" + link
	}
	if rest != "" {
		link += "/" + rest
	}
	return link
}

// ask asks the kernel for the space at a path. It holds the path by a descriptor that opens nothing,
// so that space and mount id are the same place's, and so that an automount point is not mounted for
// a list; trigger has it mounted, as statfs(2) on the path itself does.
func ask(path string, trigger bool) (space, error) {
	var s space
	fd, err := openPath(path)
	if err != nil {
		return s, err
	}
	defer unix.Close(fd)
	if err := uninterrupted(func() error { return unix.Fstatfs(fd, &s.Statfs_t) }); err != nil {
		return s, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	if trigger && s.Type == unix.AUTOFS_SUPER_MAGIC {
		if err := uninterrupted(func() error { return unix.Statfs(path, &s.Statfs_t) }); err != nil {
			return s, &os.PathError{Op: "statfs", Path: path, Err: err}
		}
		if s.Type != unix.AUTOFS_SUPER_MAGIC {
			return ask(path, false)
		}
	}
	s.mount = mountID(fd)
	return s, nil
}

func openPath(path string) (fd int, err error) {
	err = uninterrupted(func() (err error) {
		fd, err = unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	return fd, nil
}

// uninterrupted repeats a system call that says EINTR, a few times: a file server can say so for ever.
func uninterrupted(f func() error) (err error) {
	for range 10 {
		if err = f(); err != unix.EINTR {
			break
		}
	}
	return err
}

// mountID is the id of the mount that a descriptor lies on; 0 where the kernel does not say. The
// filesystem itself is not asked for anything.
func mountID(fd int) uint32 {
	var st unix.Statx_t
	err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &st)
	if err != nil || st.Mask&unix.STATX_MNT_ID == 0 {
		return 0
	}
	return uint32(st.Mnt_id)
}

// mountOf finds the mount that an answer came from; nil where the list does not have it. path is
// where it was asked, without symbolic links.
func (v *Vol) mountOf(s space, path string) *mount.Mount {
	table, err := v.mounts.Table()
	if err != nil {
		return nil
	}
	m := table.ByID(s.mount)
	if m != nil && m.FSType != "proc" && table.Containing(path) != m {
		// Folders were renamed under the mount point, which the kernel does not count as a change.
		v.mounts.Forget()
		if table, err = v.mounts.Table(); err != nil {
			return nil
		}
		m = table.ByID(s.mount)
	}
	return m
}

// statfsFlags are the names of f_flags' bits (statfs(2)). 0x20, ST_VALID, says that there are flags.
var statfsFlags = []struct {
	bit  int64
	name string
}{
	{unix.ST_RDONLY, "rdonly"}, {unix.ST_NOSUID, "nosuid"}, {unix.ST_NODEV, "nodev"}, {unix.ST_NOEXEC, "noexec"},
	{unix.ST_SYNCHRONOUS, "synchronous"}, {unix.ST_MANDLOCK, "mandlock"}, {unix.ST_NOATIME, "noatime"},
	{unix.ST_NODIRATIME, "nodiratime"}, {unix.ST_RELATIME, "relatime"}, {0x2000, "nosymfollow"},
}

// usage decodes statfs(2).
func usage(st *unix.Statfs_t) *registry.VolUsage {
	unit := uint64(st.Frsize)
	if unit == 0 { // filesystems that know one size only
		unit = uint64(st.Bsize)
	}
	u := &registry.VolUsage{
		Magic:             hexNumber(uint64(uint32(st.Type))),
		BlockSizeBytes:    clip(uint64(st.Bsize)),
		FragmentSizeBytes: clip(unit),
		TotalBytes:        product(st.Blocks, unit),
		FreeBytes:         product(st.Bfree, unit),
		AvailableBytes:    product(st.Bavail, unit),
		UsedBytes:         product(st.Blocks-min(st.Bfree, st.Blocks), unit),
		NameMax:           clip(uint64(st.Namelen)),
		Flags:             flagNames(st.Flags),
	}
	if st.Files != 0 {
		u.InodesTotal = registry.Some(clip(st.Files))
		u.InodesFree = registry.Some(clip(st.Ffree))
		u.InodesUsed = registry.Some(clip(st.Files - min(st.Ffree, st.Files)))
	}
	if id := uint64(uint32(st.Fsid.Val[0]))<<32 | uint64(uint32(st.Fsid.Val[1])); id != 0 {
		u.Fsid = registry.Some(hexNumber(id))
	}
	return u
}

func flagNames(flags int64) []string {
	names := []string{}
	for _, f := range statfsFlags {
		if flags&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	return names
}

// product is a size in bytes, clipped to what the table holds.
func product(blocks, unit uint64) int64 {
	high, low := bits.Mul64(blocks, unit)
	if high != 0 {
		return maxInteger
	}
	return clip(low)
}
