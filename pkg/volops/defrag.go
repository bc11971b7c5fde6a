package volops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/pkg/registry"
)

// mostFailures is how many files that failed an answer names.
const mostFailures = 100

// Defrag answers vol.defrag.
func (v *Vol) Defrag(ctx context.Context, p *registry.VolDefragParams) (*registry.VolDefragResult, error) {
	path, err := v.checkPath(p.Path, "path")
	if err != nil {
		return nil, err
	}
	s, at, err := v.askPath(ctx, path)
	if err != nil {
		return nil, err
	}
	if s.Type != unix.BTRFS_SUPER_MAGIC {
		return nil, noBtrfs(path)
	}
	f, err := v.btrfsAt(ctx, at)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d := &defragmenting{v: v, fs: f, params: p, result: &registry.VolDefragResult{Failures: []registry.FileFailure{}}}
	m := v.mountOf(s, at)
	if m == nil {
		m = &mount.Mount{Target: at}
	}
	file, err := hang.Do(ctx, v.calls, number(m), func() (*os.File, error) { return d.openFirst(at) })
	if err != nil {
		return nil, pathError(waiting(err, "the filesystem at "+m.Target), path)
	}
	defer file.Close()
	if err := d.sharing(ctx, file); err != nil {
		return nil, err
	}
	if err := d.run(ctx, file, path); err != nil {
		return nil, appliedAs(err, registry.AppliedYes)
	}
	r := d.result
	r.Changed = r.Files > 0
	r.Bytes, r.Skipped = registry.Some(d.bytes), registry.Some(d.skipped)
	return r, nil
}

// defragmenting goes through the files of one call.
type defragmenting struct {
	v       *Vol
	fs      *openBtrfs
	params  *registry.VolDefragParams
	result  *registry.VolDefragResult
	device  uint64 // st_dev of the subvolume
	bytes   int64
	skipped int64
}

// openFirst opens what the call names, which must be a file or a folder.
func (d *defragmenting) openFirst(path string) (*os.File, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		f.Close()
		return nil, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFDIR && kind != unix.S_IFREG {
		f.Close()
		return nil, invalid("path", "must be a file or a folder")
	}
	d.device = st.Dev
	return f, nil
}

// sharing refuses a subvolume that shares its extents with snapshots, which would take space of their own.
func (d *defragmenting) sharing(ctx context.Context, file *os.File) error {
	if d.params.Force.Or(false) {
		return nil
	}
	own, err := d.fs.SubvolumeOf(ctx, file)
	if err != nil {
		return err
	}
	if !own.ParentUUID.IsZero() {
		return refused("shares_extents", "force", fmt.Sprintf("%s is a snapshot, and would no longer share its data", orElse(own.Path, "the subvolume")))
	}
	for s, err := range d.fs.Subvolumes().All(ctx) {
		if err != nil {
			return err
		}
		if s.ParentUUID == own.UUID && !own.UUID.IsZero() {
			return refused("shares_extents", "force", fmt.Sprintf("%s has the snapshot %s, and would no longer share its data", orElse(own.Path, "the top level"), s.Path))
		}
	}
	return nil
}

// run takes up a file, or a folder with what is in it where that is asked for.
func (d *defragmenting) run(ctx context.Context, f *os.File, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	if err := d.one(ctx, f, path, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || !d.params.Recursive.Or(false) {
		return nil
	}
	names, err := f.Readdirnames(-1)
	if err != nil {
		d.fail(path, err)
		return nil
	}
	slices.Sort(names)
	for _, name := range names {
		if err := d.child(ctx, f, name, path+"/"+name); err != nil {
			return err
		}
	}
	return nil
}

// child opens what is in a folder, past no link and no mount, and takes it up.
func (d *defragmenting) child(ctx context.Context, folder *os.File, name, path string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(folder.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		d.fail(path, err)
		return nil
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFDIR && kind != unix.S_IFREG || st.Dev != d.device {
		d.skipped++
		return nil
	}
	fd, err := unix.Openat2(int(folder.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOATIME,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ELOOP) {
		d.skipped++
		return nil
	}
	if err != nil {
		d.fail(path, err)
		return nil
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	return d.run(ctx, f, path)
}

// one rewrites a file, or the extents of a folder itself. What fails is noted; the error is the call's end.
func (d *defragmenting) one(ctx context.Context, f *os.File, path string, st *unix.Stat_t) error {
	compression := map[registry.DefragCompression]btrfs.Compression{
		registry.DefragCompressionZlib: btrfs.Zlib, registry.DefragCompressionLzo: btrfs.LZO, registry.DefragCompressionZstd: btrfs.Zstd,
	}[d.params.Compress.Or("")]
	err := d.fs.Defragment(ctx, f, compression)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, unix.ETXTBSY): // a swap file
		d.skipped++
	case err != nil:
		d.fail(path, err)
	case st.Mode&unix.S_IFMT == unix.S_IFREG:
		d.result.Files++
		d.bytes += st.Size
	}
	return nil
}

func (d *defragmenting) fail(path string, err error) {
	d.result.Failed++
	var errno unix.Errno
	if len(d.result.Failures) < mostFailures && errors.As(err, &errno) {
		d.result.Failures = append(d.result.Failures, registry.FileFailure{Path: path, Errno: errnoName(errno)})
	}
}
