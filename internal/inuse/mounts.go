package inuse

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/mount"
)

// findMounts takes the mounts of every mount namespace that a process is in, ours first.
func (f *finder) findMounts(ctx context.Context) error {
	filesystems := blk.Filesystems(f.root)
	own, err := mount.Read(f.root + "/proc/self/mountinfo")
	if err != nil {
		return err
	}
	f.takeMounts(own, filesystems, 0)
	seen := make(map[string]bool)
	if ns, err := os.Readlink(f.root + "/proc/self/ns/mnt"); err == nil {
		seen[ns] = true
	}
	return f.eachTask(ctx, func(pid int, task string) error {
		ns, err := os.Readlink(task + "/ns/mnt")
		if err != nil || seen[ns] {
			return nil // it has ended, or has no more namespaces
		}
		table, err := mount.Read(task + "/mountinfo")
		if err != nil {
			return nil
		}
		seen[ns] = true
		f.takeMounts(table, filesystems, pid)
		return nil
	})
}

// takeMounts takes the mounts of one namespace. A filesystem of several devices holds all of them.
func (f *finder) takeMounts(table *mount.Table, filesystems []blk.Filesystem, pid int) {
	for i := range table.Mounts {
		m := &table.Mounts[i]
		held := f.under(m, filesystems)
		if len(held) > 0 {
			f.add(Mount, m.Target, pid)
		}
		for _, name := range held {
			f.mounted[name] = true
		}
	}
}

// under lists those of the devices that a mount stands on.
func (f *finder) under(m *mount.Mount, filesystems []blk.Filesystem) (names []string) {
	n := blk.Number{Major: m.Major, Minor: m.Minor}
	if m.Major == 0 {
		if m.FSType != "btrfs" && m.FSType != "bcachefs" {
			return nil
		}
		source, _, _ := strings.Cut(m.Source, ":") // bcachefs lists its devices so
		var ok bool
		if n, ok = f.byNode(source); !ok {
			return nil
		}
	}
	var members []string
	for _, fs := range filesystems {
		if m.Major == 0 && f.has(fs.Members, n) {
			members = fs.Members
		}
	}
	for _, d := range f.devices {
		if d.Number == n || slices.Contains(members, d.Name) {
			names = append(names, d.Name)
		}
	}
	return names
}

// has tells whether one of the devices has the number.
func (f *finder) has(names []string, n blk.Number) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		number, err := f.sysfs.Number(name)
		return err == nil && number == n
	})
}

// local are filesystems that a path can be looked up on without asking anybody.
var local = []string{"devtmpfs", "tmpfs", "ramfs", "ext4", "ext3", "ext2", "xfs", "btrfs", "f2fs", "overlay"}

// backing is the device that a loop stands on; false where it stands on a file. Its node may be anywhere, as
// in the tree of a container; a path on a file server is not looked at, since that may hang.
func (f *finder) backing(path string) (blk.Number, bool) {
	if n, ok := f.byNode(path); ok || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "/dev/") {
		return n, ok
	}
	table, err := mount.Read(f.root + "/proc/self/mountinfo")
	if err != nil {
		return blk.Number{}, false
	}
	if m := table.Containing(path); m == nil || !slices.Contains(local, m.FSType) {
		return blk.Number{}, false
	}
	node, err := blk.StatNode(path)
	return node.Number, err == nil
}
