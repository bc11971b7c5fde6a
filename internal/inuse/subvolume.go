package inuse

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/mount"
)

// Subvolumes are subvolumes of one btrfs, to ask who uses them.
type Subvolumes struct {
	Filesystem blk.Number   // of the filesystem, as mountinfo has it
	Numbers    []blk.Number // st_dev of each
	Paths      []string     // of each, from the top level
}

// UsersOf lists who uses any of the subvolumes: mounts of them and mounts in them, in every mount namespace;
// processes with a file open there, with their working directory, root, program or a mapped file there; loops
// and swaps over files there. Errors: those of reading /proc and /sys, and the context's. As with Find the
// caller bounds the wait.
func UsersOf(ctx context.Context, root string, self int, s Subvolumes) ([]Holder, error) {
	sysfs, err := blk.Open(root)
	if err != nil {
		return nil, err
	}
	defer sysfs.Close()
	u := &subvolumeUsers{finder: &finder{root: root, self: self, sysfs: sysfs}, asked: s}
	if err := u.findFiles(); err != nil {
		return nil, err
	}
	if err := u.findMounts(ctx); err != nil {
		return nil, err
	}
	err = u.eachProcess(ctx, func(pid int, folder string) error {
		if pid != u.self && u.uses(folder) {
			u.add(Process, name(folder), pid)
		}
		return nil
	})
	return slices.Compact(u.found), err
}

type subvolumeUsers struct {
	*finder
	asked Subvolumes
}

// findFiles takes loops and swaps over files.
func (u *subvolumeUsers) findFiles() error {
	names, err := u.sysfs.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasPrefix(name, "loop") && u.isInside(u.sysfs.LoopBacking(name)) {
			u.add(Loop, name, 0)
		}
	}
	swaps, err := blk.ReadSwaps(u.root)
	for _, swap := range swaps {
		if swap.File && u.isInside(swap.Path) {
			u.add(Swap, swap.Path, 0)
		}
	}
	return err
}

func (u *subvolumeUsers) isInside(link string) bool {
	if !strings.HasPrefix(link, "/") {
		return false
	}
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, link, unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st)
	return err == nil && slices.Contains(u.asked.Numbers, blk.Number{Major: st.Dev_major, Minor: st.Dev_minor})
}

// findMounts takes the mounts of every mount namespace.
func (u *subvolumeUsers) findMounts(ctx context.Context) error {
	own, err := mount.Read(u.root + "/proc/self/mountinfo")
	if err != nil {
		return err
	}
	u.takeMounts(own, 0)
	seen := make(map[string]bool)
	if ns, err := os.Readlink(u.root + "/proc/self/ns/mnt"); err == nil {
		seen[ns] = true
	}
	return u.eachTask(ctx, func(pid int, task string) error {
		ns, err := os.Readlink(task + "/ns/mnt")
		if err != nil || seen[ns] {
			return nil
		}
		if table, err := mount.Read(task + "/mountinfo"); err == nil {
			seen[ns] = true
			u.takeMounts(table, pid)
		}
		return nil
	})
}

func (u *subvolumeUsers) takeMounts(table *mount.Table, pid int) {
	for i := range table.Mounts {
		m := &table.Mounts[i]
		parent := table.ByID(m.Parent)
		switch {
		case u.isOurs(m) && u.inPaths(m.Root), parent != nil && parent != m && u.isOurs(parent) && u.inPaths(placeOf(m, parent)):
			u.add(Mount, m.Target, pid)
		}
	}
}

func (u *subvolumeUsers) isOurs(m *mount.Mount) bool {
	return u.asked.Filesystem == blk.Number{Major: m.Major, Minor: m.Minor}
}

// placeOf is where on the filesystem of parent a mount stands, from the top level.
func placeOf(m, parent *mount.Mount) string {
	return path.Join(parent.Root, strings.TrimPrefix(m.Target, strings.TrimSuffix(parent.Target, "/")))
}

func (u *subvolumeUsers) inPaths(place string) bool {
	place = strings.Trim(place, "/")
	return slices.ContainsFunc(u.asked.Paths, func(p string) bool { return place == p || strings.HasPrefix(place, p+"/") })
}

// uses tells whether a process has a file of the subvolumes.
func (u *subvolumeUsers) uses(folder string) bool {
	for _, link := range []string{"cwd", "root", "exe"} {
		if u.isInside(folder + "/" + link) {
			return true
		}
	}
	descriptors, err := os.ReadDir(folder + "/fd")
	if err != nil {
		return false
	}
	for _, d := range descriptors {
		if u.isInside(folder + "/fd/" + d.Name()) {
			return true
		}
	}
	return u.maps(folder)
}

// maps tells whether a file of the subvolumes is mapped. The list of mappings names the filesystem only, so
// those that fit are looked at one by one.
func (u *subvolumeUsers) maps(folder string) bool {
	f, err := os.Open(folder + "/maps")
	if err != nil {
		return false
	}
	defer f.Close()
	mark := fmt.Appendf(nil, " %02x:%02x ", u.asked.Filesystem.Major, u.asked.Filesystem.Minor)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if !bytes.Contains(lines.Bytes(), mark) {
			continue
		}
		extent, _, _ := strings.Cut(lines.Text(), " ")
		if u.isInside(folder + "/map_files/" + mapName(extent)) {
			return true
		}
	}
	return false
}

// mapName is what a mapping is called in map_files: its ends without leading zeros.
func mapName(extent string) string {
	start, end, _ := strings.Cut(extent, "-")
	short := func(s string) string {
		if s = strings.TrimLeft(s, "0"); s == "" {
			return "0"
		}
		return s
	}
	return short(start) + "-" + short(end)
}
