package volops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/pkg/registry"
)

// place is where a subvolume is or is to be: a name in an open folder of a btrfs. The folder is found once;
// links that are swapped afterwards lead nowhere.
type place struct {
	fs     *openBtrfs
	folder *os.File
	name   string
	path   string // as the call has it, cleaned
}

func (p *place) close() {
	p.folder.Close()
	p.fs.Close()
}

// placeAt opens the folder in which a path ends.
func (v *Vol) placeAt(ctx context.Context, path, param string) (*place, error) {
	path, err := v.checkPath(path, param)
	if err != nil {
		return nil, err
	}
	above, name := filepath.Split(path)
	if name == "" {
		return nil, invalid(param, "must be below the root")
	}
	if len(name) > 255 {
		return nil, invalid(param, fmt.Sprintf("must end in a name of at most 255 bytes, not %d", len(name)))
	}
	folder, f, err := v.openOnBtrfs(ctx, filepath.Clean(above))
	var none *registry.NotFoundError
	if errors.As(err, &none) && none.Resource == "btrfs" {
		// A subvolume is named by where it is mounted, below another filesystem.
		if root, f, rootErr := v.openOnBtrfs(ctx, path); rootErr == nil {
			root.Close()
			f.Close()
			return nil, (&place{path: path}).mountedOver()
		}
	}
	if err != nil {
		return nil, err
	}
	return &place{fs: f, folder: folder, name: name, path: path}, nil
}

// outsideSystem refuses, to a caller without admin, a place at or below the folders that belong to the system: a
// subvolume there, of that caller's making or gone, is a part of it.
func (p *place) outsideSystem(ctx context.Context, v *Vol) error {
	if registry.CallerFrom(ctx).Right >= registry.RightAdmin {
		return nil
	}
	guarded, err := v.protected()
	if err != nil {
		return err
	}
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", p.folder.Fd()))
	if err != nil {
		return err
	}
	return guarded.check(p.folder, path, []string{p.name})
}

// checkPath cleans a path that a write is to go to.
func (v *Vol) checkPath(path, param string) (string, error) {
	if v.state == nil {
		return "", errors.New("write to a btrfs: there is no state folder to record it in")
	}
	if slices.Contains(strings.Split(path, "/"), "..") {
		return "", invalid(param, `must not have ".." in it`)
	}
	return filepath.Clean(path), nil
}

// openOnBtrfs opens a folder, and the btrfs that it lies on.
func (v *Vol) openOnBtrfs(ctx context.Context, path string) (*os.File, *openBtrfs, error) {
	s, at, found, err := askPathFor(ctx, v, path, func(s space, at string) (*folderOnBtrfs, error) {
		if s.Type != unix.BTRFS_SUPER_MAGIC {
			return nil, btrfs.ErrNotBtrfs
		}
		return openFolderOnBtrfs(ctx, at)
	})
	switch {
	case errors.Is(err, btrfs.ErrNotBtrfs):
		return nil, nil, noBtrfs(path)
	case err != nil:
		return nil, nil, err
	}
	m := v.mountOf(s, at)
	if m == nil {
		m = &mount.Mount{Target: path}
	}
	f, err := btrfs.HoldFolder(found.folder, v.waiter(number(m), "the filesystem at "+m.Target))
	if err != nil {
		found.folder.Close()
		return nil, nil, err
	}
	return found.folder, v.openedBtrfs(f, found.info, m), nil
}

// folderOnBtrfs is an open folder, with what the btrfs says of itself that it lies on.
type folderOnBtrfs struct {
	folder *os.File
	info   *btrfs.Info
}

// openFolderOnBtrfs opens one by a path without symbolic links. It may hang.
func openFolderOnBtrfs(ctx context.Context, path string) (*folderOnBtrfs, error) {
	folder, err := openFolder(path)
	if err != nil {
		return nil, err
	}
	var info *btrfs.Info
	f, err := btrfs.OpenFolder(ctx, folder, btrfs.Wait)
	if err == nil {
		info, err = f.Info(ctx)
		f.Close()
	}
	if err != nil {
		folder.Close()
		return nil, err
	}
	return &folderOnBtrfs{folder, info}, nil
}

// subvolumeAt opens the subvolume whose root a path leads to, which may be a mount point.
func (v *Vol) subvolumeAt(ctx context.Context, path, param string) (*openBtrfs, *subvolume, error) {
	path, err := v.checkPath(path, param)
	if err != nil {
		return nil, nil, err
	}
	folder, f, err := v.openOnBtrfs(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	s := &subvolume{root: folder}
	if err = unix.Fstat(int(folder.Fd()), &s.stat); err == nil && s.stat.Ino != btrfs.SubvolumeInode {
		err = occupied(path, "a folder")
	}
	if err == nil {
		s.Subvolume, err = f.SubvolumeOf(ctx, folder)
	}
	if err != nil {
		folder.Close()
		f.Close()
		return nil, nil, err
	}
	return f, s, nil
}

// openFolder opens a folder to which no link leads any more.
func openFolder(path string) (*os.File, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// subvolume is one that is there, held open.
type subvolume struct {
	*btrfs.Subvolume
	root *os.File
	stat unix.Stat_t
}

// open opens the subvolume at the place; nil where nothing is there. Anything else there is a conflict.
func (p *place) open(ctx context.Context) (*subvolume, error) {
	fd, err := unix.Openat2(int(p.folder.Fd()), p.name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	switch {
	case errors.Is(err, unix.EXDEV):
		return nil, p.mountedOver()
	case errors.Is(err, unix.ENOENT):
		return nil, nil
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return nil, p.occupied("a file")
	case err != nil:
		return nil, pathError(&os.PathError{Op: "open", Path: p.path, Err: err}, p.path)
	}
	s := &subvolume{root: os.NewFile(uintptr(fd), p.path)}
	if err := unix.Fstat(fd, &s.stat); err != nil {
		s.root.Close()
		return nil, &os.PathError{Op: "stat", Path: p.path, Err: err}
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Type != unix.BTRFS_SUPER_MAGIC || s.stat.Ino != btrfs.SubvolumeInode {
		s.root.Close()
		return nil, p.occupied("a folder")
	}
	if s.Subvolume, err = p.fs.SubvolumeOf(ctx, s.root); err != nil {
		s.root.Close()
		return nil, err
	}
	return s, nil
}

func (p *place) occupied(by string) error { return occupied(p.path, by) }

func occupied(path, by string) error {
	return &registry.ConflictError{
		ConflictData: registry.ConflictData{Resource: "path", ID: path},
		Message:      fmt.Sprintf("%s is %s, not a subvolume", path, by),
	}
}

// mountedOver is the answer where something is mounted at the place itself.
func (p *place) mountedOver() error {
	return &registry.BusyError{
		BusyData: registry.BusyData{Holders: []registry.Holder{{Kind: registry.HolderKindMount, Name: registry.Some(p.path)}}},
		Message:  fmt.Sprintf("%s is a mount point", p.path),
	}
}

// existing opens the subvolume at the place, which must be there.
func (p *place) existing(ctx context.Context) (*subvolume, error) {
	s, err := p.open(ctx)
	if err == nil && s == nil {
		err = noPath(p.path)
	}
	return s, err
}

// row is the subvolume as the table has it.
func (p *place) row(ctx context.Context, s *subvolume) (*registry.Subvolume, error) {
	row := subvolumeRow(s.Subvolume)
	row.Path = registry.Some(p.path)
	var err error
	row.Quota, err = p.fs.quotaOf(ctx, s.ID)
	return &row, err
}

// quotaOf is the quota of a subvolume; nil where quotas are off, or it has none.
func (f *openBtrfs) quotaOf(ctx context.Context, id uint64) (*registry.SubvolumeQuota, error) {
	quotas, err := f.quotas(ctx)
	if err != nil || !quotas.On {
		return nil, err
	}
	q, found, err := f.Qgroup(ctx, id)
	if err != nil || !found {
		return nil, err
	}
	row := quotaRow(&q)
	return &row, nil
}

// subvolumeRow is what a subvolume says of itself.
func subvolumeRow(s *btrfs.Subvolume) registry.Subvolume {
	return registry.Subvolume{
		ID:           clip(s.ID),
		FSPath:       s.Path,
		ParentID:     clip(s.Parent),
		Dirid:        registry.Some(clip(s.Dir)),
		Generation:   clip(s.Generation),
		UUID:         optUUID(s.UUID),
		ParentUUID:   optUUID(s.ParentUUID),
		ReceivedUUID: optUUID(s.ReceivedUUID),
		ReadOnly:     s.ReadOnly,
		Otransid:     registry.NonZero(clip(s.OTransID)),
		Ctransid:     registry.NonZero(clip(s.CTransID)),
		Stransid:     registry.NonZero(clip(s.STransID)),
		Rtransid:     registry.NonZero(clip(s.RTransID)),
		CreatedAt:    instant(s.OTime),
		ChangedAt:    instant(s.CTime),
		SentAt:       instant(s.STime),
		ReceivedAt:   instant(s.RTime),
	}
}

// quotaRow is what a quota group says.
func quotaRow(q *btrfs.Qgroup) registry.SubvolumeQuota {
	row := registry.SubvolumeQuota{
		Qgroup: q.ID.String(), ReferencedBytes: clip(q.Referenced), ExclusiveBytes: clip(q.Exclusive),
		MaxReferencedBytes: optLimit(q.MaxReferenced), MaxExclusiveBytes: optLimit(q.MaxExclusive),
	}
	for _, parent := range q.Parents {
		row.Parents = append(row.Parents, parent.String())
	}
	return row
}
