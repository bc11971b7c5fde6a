package volops

import "github.com/geomind/my_os_server/internal/mount"

// inMemory are the filesystems that answer statfs(2) from memory alone. Those with a device are not
// among them: with project quotas ext4 and xfs may read it for the answer.
var inMemory = set("tmpfs", "devtmpfs", "ramfs", "rootfs", "hugetlbfs", "proc", "sysfs", "cgroup", "cgroup2", "devpts",
	"mqueue", "nsfs", "debugfs", "tracefs", "securityfs", "selinuxfs", "configfs", "pstore", "bpf", "binfmt_misc",
	"fusectl", "rpc_pipefs")

// onDevice are filesystems that a path crosses without asking anybody, their device neither: the way
// to a mount point is always in memory. Others, such as NFS and FUSE, ask whether it still stands.
var onDevice = set("ext2", "ext3", "ext4", "xfs", "btrfs", "bcachefs", "f2fs", "vfat", "exfat", "iso9660", "udf",
	"squashfs", "erofs")

func set(names ...string) map[string]bool {
	s := make(map[string]bool, len(names))
	for _, name := range names {
		s[name] = true
	}
	return s
}

// ways knows which mounts of a table can be asked for their space without waiting.
type ways struct {
	byID map[uint32]*mount.Mount
	calm map[uint32]bool // what is known of the way to and across a mount, by id
}

func newWays(t *mount.Table) *ways {
	w := &ways{byID: make(map[uint32]*mount.Mount, len(t.Mounts)), calm: make(map[uint32]bool)}
	for i := range t.Mounts {
		w.byID[t.Mounts[i].ID] = &t.Mounts[i]
	}
	return w
}

// quick tells whether neither the filesystem nor any that a path to it crosses can hang.
func (w *ways) quick(m *mount.Mount) bool { return inMemory[m.FSType] && w.isCalm(m.Parent) }

func (w *ways) isCalm(id uint32) bool {
	m := w.byID[id]
	if m == nil { // beyond the process' root
		return true
	}
	calm, known := w.calm[id]
	if !known {
		w.calm[id] = false // ends a list that runs in circles
		calm = (inMemory[m.FSType] || onDevice[m.FSType]) && (m.Parent == id || w.isCalm(m.Parent))
		w.calm[id] = calm
	}
	return calm
}
