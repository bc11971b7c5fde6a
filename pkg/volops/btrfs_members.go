package volops

import (
	"context"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/ondisk"
)

// The kernel mounts a btrfs of several devices from what it was told of them, and forgets nothing by itself: a
// device that was wiped, or whose disk is another by now, is a member until it is told otherwise, and stands in
// the way of one that is made on other devices under the same UUID (EEXIST or EIO).

// knownTwice is what the kernel means by EEXIST. A device whose node is gone has no name to be forgotten by, and all
// at once are not ours to have forgotten: members that somebody is about to mount would be among them.
const knownTwice = ": the kernel knows another device as the same member of this filesystem; where that device is gone, \"btrfs device scan --forget\" has the kernel forget all that are not mounted"

// btrfsMembers are what the kernel is to be told of one filesystem.
type btrfsMembers struct {
	members []filesystemDevice
	others  []filesystemDevice // which bear no btrfs
}

// scanMembers tells the kernel of the other devices of a btrfs with several, and has it forget those that bear none. Those
// that cannot be read are missing then, which the mount reports.
func (v *Vol) scanMembers(ctx context.Context, t *target) {
	s := t.contents.Signature
	if s.Type != "btrfs" || s.Devices < 2 {
		return
	}
	found, err := v.findMembers(ctx, s.UUID)
	if err != nil {
		return
	}
	for _, d := range found.others {
		v.forgetMember(ctx, d.number, d.name)
	}
	for _, d := range found.members {
		_ = v.tellBtrfs(ctx, btrfs.ScanDevice, d.number, d.name)
	}
}

func (v *Vol) findMembers(ctx context.Context, uuid string) (*btrfsMembers, error) {
	l, err := v.scanDisks(ctx, "")
	if err != nil {
		return nil, err
	}
	defer l.close()
	l.all = true // loops, too, that are attached to nothing any more
	m, f := &btrfsMembers{}, &filesystemList{diskScan: l}
	err = l.each(ctx, func(c *diskContents) error {
		m.others = append(m.others, c.withoutBtrfs()...)
		return f.takeDisk(c)
	})
	for _, e := range f.found {
		if e.signature != nil && e.signature.UUID == uuid {
			m.members = append(m.members, e.members...)
		}
	}
	return m, err
}

// withoutBtrfs are the disk and its partitions as far as it is certain that they bear no btrfs.
func (c *diskContents) withoutBtrfs() (list []filesystemDevice) {
	if c.disk.Size == 0 || hasNoBtrfs(c.own) {
		list = append(list, filesystemDevice{name: c.disk.Name, number: c.disk.Number})
	}
	for i := range c.partitions {
		if p := &c.partitions[i]; p.kernel != nil && hasNoBtrfs(p.contents) {
			list = append(list, filesystemDevice{name: p.kernel.Name, number: p.kernel.Number})
		}
	}
	return list
}

func hasNoBtrfs(c *ondisk.Contents) bool {
	return c != nil && !c.Ambivalent && (c.Signature == nil || c.Signature.Type != "btrfs")
}

// makeKnown has the kernel know what the devices bear now that they were written to.
func (w *formatting) makeKnown(ctx context.Context) {
	for _, t := range w.targets {
		if w.mkfs.typ == "btrfs" {
			_ = w.v.tellBtrfs(ctx, btrfs.ScanDevice, t.number, t.name) // a mount tells it again
		} else {
			w.v.forgetMember(ctx, t.number, t.name)
		}
	}
}

// forgetMember has the kernel forget a device that bears no btrfs. Where somebody has made one on it in this very
// moment it is told of that.
func (v *Vol) forgetMember(ctx context.Context, n blk.Number, name string) {
	if v.tellBtrfs(ctx, btrfs.ForgetDevice, n, name) == nil {
		_ = v.tellBtrfs(ctx, btrfs.ScanDevice, n, name) // EINVAL where there is none
	}
}

// tellBtrfs tells the kernel of a device. A kernel without btrfs has nobody to be told.
func (v *Vol) tellBtrfs(ctx context.Context, tell func(control, path string) error, n blk.Number, name string) error {
	_, err := hang.Do(ctx, v.calls, n, func() (struct{}, error) {
		return struct{}{}, tell(v.root+"/dev/btrfs-control", v.root+nodePath(name))
	})
	return err
}
