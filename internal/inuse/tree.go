package inuse

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/blk"
)

// Users lists who keeps a mount from being unmounted: processes with a file open on it, with their working
// directory, root or program there, and loops and swaps over files there. id is the mount's id and target its
// mount point. No file is looked at, only what /proc says of it, so that nothing hangs on what may hang.
// Errors: those of reading /proc, and the context's.
func Users(ctx context.Context, root string, self int, id uint32, target string) ([]Holder, error) {
	s, err := blk.Open(root)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	f := &finder{root: root, self: self, sysfs: s}
	u := &users{finder: f, mark: fmt.Sprintf("mnt_id:\t%d", id), target: target}
	if err := u.findLoops(); err != nil {
		return nil, err
	}
	swaps, err := blk.ReadSwaps(root)
	if err != nil {
		return nil, err
	}
	for _, swap := range swaps {
		if swap.File && u.isBelow(swap.Path) {
			f.add(Swap, swap.Path, 0)
		}
	}
	err = f.eachProcess(ctx, func(pid int, folder string) error {
		if u.uses(folder) {
			f.add(Process, name(folder), pid)
		}
		return nil
	})
	return slices.Compact(f.found), err
}

// users finds those of one mount.
type users struct {
	*finder
	mark   string
	target string
}

func (u *users) findLoops() error {
	names, err := u.sysfs.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "loop") && u.isBelow(u.sysfs.LoopBacking(name)) {
			u.add(Loop, name, 0)
		}
	}
	return nil
}

func (u *users) isBelow(path string) bool {
	return path == u.target || strings.HasPrefix(path, strings.TrimSuffix(u.target, "/")+"/")
}

// uses tells whether a process uses the mount. By its links alone it may be one of another namespace, with
// another mount at the same path: naming one too many does no harm.
func (u *users) uses(folder string) bool {
	for _, link := range []string{"cwd", "root", "exe"} {
		if path, err := os.Readlink(folder + "/" + link); err == nil && u.isBelow(path) {
			return true
		}
	}
	descriptors, err := os.ReadDir(folder + "/fdinfo")
	if err != nil {
		return false
	}
	for _, d := range descriptors {
		text, err := os.ReadFile(folder + "/fdinfo/" + d.Name())
		if err == nil && slices.Contains(strings.Split(string(text), "\n"), u.mark) {
			return true
		}
	}
	return false
}
