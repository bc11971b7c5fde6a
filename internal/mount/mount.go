// Package mount reads what the kernel says of mounts: /proc/PID/mountinfo with every field decoded,
// which mount a path lies on, which mounts no path leads to any more, and the mount ids that are
// never used again (listmount(2), statmount(2)).
//
// Reading touches no mounted filesystem: it never waits for a server or a device that does not answer. [New] and
// [Attach] make a mount, by the interface of fsopen(2), and may. Nothing is unmounted here.
package mount

import (
	"iter"
	"strings"
)

// Mount is one line of mountinfo. Text is as the filesystem or the caller of mount(2) gave it: the
// kernel's escapes are undone, other bytes, invalid UTF-8 too, are left alone.
type Mount struct {
	ID     uint32 // id of this mount; the kernel uses it again after the unmount
	Parent uint32 // id of the mount that it stands on; the root's own parent is not in the list
	Major  uint32 // device number of the filesystem (st_dev of its files); major 0 stands for
	Minor  uint32 // no single block device: tmpfs, network filesystems, btrfs
	Root   string // which folder of the filesystem is mounted
	Target string // the mount point, relative to the root of the process

	Shared        uint32 // peer group of a shared mount, else 0
	Master        uint32 // peer group that a slave mount receives from, else 0
	PropagateFrom uint32 // nearest dominant peer group below the process' root, where it is not Master
	Unbindable    bool   // cannot be bind mounted

	FSType string // with a subtype behind a full stop: ext4, fuse.sshfs
	Source string // device, share, or any word; may be empty

	rawOptions      string // still escaped: a comma inside a value is \054
	rawSuperOptions string
}

// Options lists the options of this one mount: rw, nosuid, relatime.
func (m *Mount) Options() iter.Seq[string] { return splitOptions(m.rawOptions) }

// SuperOptions lists the options of the filesystem, which all its mounts share.
func (m *Mount) SuperOptions() iter.Seq[string] { return splitOptions(m.rawSuperOptions) }

// ReadOnly tells whether writing is refused, by this mount or by the filesystem under it.
func (m *Mount) ReadOnly() bool {
	return hasOption(m.rawOptions, "ro") || m.SuperReadOnly()
}

// SuperReadOnly tells whether the filesystem refuses writing on all its mounts: somebody wants it so, or
// it turned so after an error. ext4 says emergency_ro then since Linux 6.15, and shutdown where it was
// shut down.
func (m *Mount) SuperReadOnly() bool {
	for _, option := range []string{"ro", "emergency_ro", "shutdown"} {
		if hasOption(m.rawSuperOptions, option) {
			return true
		}
	}
	return false
}

// Propagation names how mounts below this one spread to its peers, as mount_namespaces(7) has it:
// private, shared, slave, "slave,shared" or unbindable.
func (m *Mount) Propagation() string {
	switch {
	case m.Shared != 0 && m.Master != 0:
		return "slave,shared"
	case m.Shared != 0:
		return "shared"
	case m.Master != 0:
		return "slave"
	case m.Unbindable:
		return "unbindable"
	}
	return "private"
}

// splitOptions cuts a raw list at its commas. Inside double quotes, which SELinux puts around
// contexts, a comma is part of the value.
func splitOptions(raw string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for raw != "" {
			end := optionEnd(raw)
			if end > 0 && !yield(unescape(raw[:end])) {
				return
			}
			raw = raw[min(end+1, len(raw)):]
		}
	}
}

// optionEnd is where the first option of a raw list ends. A quote that is never closed quotes nothing.
func optionEnd(raw string) int {
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case ',':
			return i
		case '"':
			if end := strings.IndexByte(raw[i+1:], '"'); end >= 0 {
				i += end + 1
			}
		}
	}
	return len(raw)
}

func hasOption(raw, name string) bool {
	for option := range splitOptions(raw) {
		if option == name {
			return true
		}
	}
	return false
}
