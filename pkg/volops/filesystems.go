package volops

import (
	"context"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/internal/ondisk"
	"github.com/geomind/my_os_server/pkg/registry"
)

// ListFilesystems answers vol.list_filesystems: what the superblocks say, and of what is mounted what
// the kernel says.
func (v *Vol) ListFilesystems(ctx context.Context, p *registry.VolListFilesystemsParams) (*registry.VolListFilesystemsResult, error) {
	table, err := v.freshTable()
	if err != nil {
		return nil, err
	}
	l, err := v.scanDisksWith(ctx, "", table)
	if err != nil {
		return nil, err
	}
	defer l.close()
	f := &filesystemList{diskScan: l, unread: []registry.UnreadDevice{}}
	if err := l.each(ctx, f.takeDisk); err != nil {
		return nil, err
	}
	f.joinUnread()
	if err := f.findMounts(); err != nil {
		return nil, err
	}
	r := &registry.VolListFilesystemsResult{Filesystems: []registry.Filesystem{}, Unread: f.unread}
	prefix, limit := p.LabelPrefix.Or("MOS"), p.Limit.Or(maxInteger)
	// Reading the devices may have used up its time: what is mounted is asked with time of its own.
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	for _, e := range f.found {
		if !strings.HasPrefix(f.label(e), prefix) {
			continue
		}
		if int64(len(r.Filesystems)) == limit {
			break
		}
		r.Filesystems = append(r.Filesystems, f.row(allowed, e))
	}
	return r, ctx.Err()
}

// filesystemList gathers filesystems over their devices.
type filesystemList struct {
	*diskScan
	found  []*filesystem
	unread []registry.UnreadDevice
	mounts map[blk.Number][]*mount.Mount
	swaps  []blk.Swap
}

// filesystem is one filesystem or swap space.
type filesystem struct {
	signature *ondisk.Signature // nil: its device does not tell, but it is mounted
	members   []filesystemDevice
}

// filesystemDevice is a device of a filesystem that is there.
type filesystemDevice struct {
	name      string
	number    blk.Number
	signature *ondisk.Signature
}

// takeDisk takes the filesystem on a disk, or those on its partitions.
func (f *filesystemList) takeDisk(c *diskContents) error {
	if len(c.partitions) == 0 {
		f.takeDevice(c.disk.Name, c.disk.Number, c.disk.Holders, c.own, c.probeErr)
		return nil
	}
	for i := range c.partitions {
		if p := &c.partitions[i]; p.kernel != nil {
			f.takeDevice(p.kernel.Name, p.kernel.Number, p.kernel.Holders, p.contents, p.probeErr)
		}
	}
	return nil
}

// takeDevice takes what stands on a device, but for what is a part of something else: on a member of
// an array the array's filesystem may be seen. Where signatures of several formats stand there, only the
// kernel's word counts, that is a mount.
func (f *filesystemList) takeDevice(name string, n blk.Number, holders []string, c *ondisk.Contents, probeErr string) {
	d := filesystemDevice{name: name, number: n}
	unread := c == nil && probeErr != "" // the error may be that of the partition's disk
	if unread {
		f.unread = append(f.unread, registry.UnreadDevice{Path: nodePath(name), Reason: probeErr})
	}
	if unread || c != nil && c.Ambivalent {
		if len(f.holders.points[n]) > 0 {
			f.found = append(f.found, &filesystem{members: []filesystemDevice{d}})
		}
		return
	}
	if c == nil || c.Signature == nil || len(holders) > 0 || f.isBacking(n) {
		return
	}
	s := c.Signature
	if s.Usage != ondisk.Filesystem && s.Type != "swap" {
		return
	}
	d.signature = s
	if at := f.sharing(s); at != nil {
		at.members = append(at.members, d)
		return
	}
	f.found = append(f.found, &filesystem{signature: s, members: []filesystemDevice{d}})
}

// isBacking tells whether a loop stands on the device, which then shows the filesystem.
func (f *filesystemList) isBacking(n blk.Number) bool {
	return slices.ContainsFunc(f.holders.byNumber[n], func(h registry.Holder) bool { return h.Kind == registry.HolderKindLoop })
}

// sharing finds the filesystem of several devices that a superblock belongs to; nil where it is the
// first of it. Two devices that are the same member are copies of each other, and two filesystems.
func (f *filesystemList) sharing(s *ondisk.Signature) *filesystem {
	if s.Type != "btrfs" && s.Type != "bcachefs" || s.UUID == "" {
		return nil
	}
	for _, e := range f.found {
		if e.signature == nil || e.signature.Type != s.Type || e.signature.UUID != s.UUID {
			continue
		}
		if !slices.ContainsFunc(e.members, func(d filesystemDevice) bool { return d.signature.UUIDSub == s.UUIDSub }) {
			return e
		}
	}
	return nil
}

// joinUnread puts devices that could not be read to the filesystem of which the kernel has them as
// members.
func (f *filesystemList) joinUnread() {
	byUUID := make(map[string]*filesystem)
	for _, e := range f.found {
		if e.signature != nil {
			byUUID[e.signature.UUID] = e
		}
	}
	f.found = slices.DeleteFunc(f.found, func(e *filesystem) bool {
		if e.signature != nil {
			return false
		}
		k := f.devices.filesystemOn(e.members[0].name)
		if k == nil || len(k.Members) < 2 {
			return false
		}
		if whole := byUUID[k.UUID]; whole != nil {
			whole.members = append(whole.members, e.members...)
			return true
		}
		byUUID[k.UUID] = e
		return false
	})
}

// findMounts maps devices to what is mounted from them.
func (f *filesystemList) findMounts() error {
	table, err := f.devices.mounts()
	if err != nil {
		return err
	}
	f.mounts = make(map[blk.Number][]*mount.Mount)
	for i := range table.Mounts {
		m := &table.Mounts[i]
		for _, n := range f.devices.standsOn(m) {
			f.mounts[n] = append(f.mounts[n], m)
		}
	}
	f.swaps, err = f.devices.swaps()
	return err
}

// mountsOf lists the mounts of a filesystem, by any of its devices.
func (f *filesystemList) mountsOf(e *filesystem) []*mount.Mount {
	for _, d := range e.members {
		if list := f.mounts[d.number]; len(list) > 0 {
			return list
		}
	}
	return nil
}

// label is that of a mounted btrfs as the kernel has it, which writes a new one only with the next
// commit, else the superblock's.
func (f *filesystemList) label(e *filesystem) string {
	if e.signature == nil {
		if dev := f.devices.get(e.members[0].number); dev != nil {
			return dev.tags.label
		}
		return ""
	}
	if u, err := btrfs.ParseUUID(e.signature.UUID); err == nil && e.signature.Type == "btrfs" && len(f.mountsOf(e)) > 0 {
		if label, ok := f.v.btrfsSysfs().Text(u, "label"); ok {
			return label
		}
	}
	return e.signature.Label
}

func (f *filesystemList) row(allowed allowance, e *filesystem) registry.Filesystem {
	row := registry.Filesystem{Label: registry.NonZero(f.label(e)), MountPoints: []string{}}
	mounts := f.mountsOf(e)
	if e.signature != nil {
		fillSignature(&row, e.signature)
	} else {
		f.fillUnread(&row, e, mounts)
	}
	for _, d := range e.members {
		row.Devices = append(row.Devices, f.deviceRow(d))
	}
	total := int64(len(e.members))
	if e.signature != nil && len(mounts) == 0 {
		total = max(total, e.signature.Devices)
	}
	row.DevicesTotal, row.DevicesMissing = registry.Some(total), total-int64(len(e.members))
	f.fillMounts(allowed, &row, e, mounts)
	f.fillSwap(&row, e)
	if row.Type == "btrfs" {
		f.fillBtrfs(allowed, &row, e, mounts)
	}
	return row
}

func fillSignature(row *registry.Filesystem, s *ondisk.Signature) {
	row.Type, row.Version, row.UUID = s.Type, registry.NonZero(s.Version), registry.NonZero(s.UUID)
	row.BlockSizeBytes = registry.NonZero(s.FSBlockSize)
	row.SizeBytes = registry.NonZero(min(s.Size, maxInteger))
}

// fillUnread is for a filesystem whose device could not be read: the kernel knows what it has mounted.
func (f *filesystemList) fillUnread(row *registry.Filesystem, e *filesystem, mounts []*mount.Mount) {
	row.Type = "swap"
	if len(mounts) > 0 {
		row.Type = mounts[0].FSType
	}
	if dev := f.devices.get(e.members[0].number); dev != nil {
		row.UUID = registry.NonZero(dev.tags.uuid)
	}
}

func (f *filesystemList) deviceRow(d filesystemDevice) registry.FilesystemDevice {
	row := registry.FilesystemDevice{Path: registry.Some(nodePath(d.name)), StableIds: orEmpty(f.links[d.number])}
	s := d.signature
	if s == nil {
		return row
	}
	row.UUID = registry.NonZero(s.UUIDSub)
	row.SizeBytes = registry.NonZero(min(s.Size, maxInteger))
	if b := s.Btrfs; b != nil {
		row.Devid = registry.Some(clip(b.Device))
		row.SizeBytes, row.AllocatedBytes = registry.Some(clip(b.DeviceSize)), registry.Some(clip(b.DeviceUsed))
	}
	return row
}

// fillMounts tells where a filesystem is mounted, and its space.
func (f *filesystemList) fillMounts(allowed allowance, row *registry.Filesystem, e *filesystem, mounts []*mount.Mount) {
	if len(mounts) == 0 {
		return
	}
	row.Mounted = true
	for _, m := range mounts {
		row.MountPoints = append(row.MountPoints, m.Target)
	}
	row.ReadOnly = registry.Some(mounts[0].SuperReadOnly())
	u, reason := f.askSpace(allowed, mounts)
	if u == nil {
		row.UsageError = registry.Some(reason)
		return
	}
	row.BlockSizeBytes = registry.Some(u.BlockSizeBytes)
	row.SizeBytes, row.UsedBytes = registry.Some(u.TotalBytes), registry.Some(u.UsedBytes)
	row.AvailableBytes = registry.Some(u.AvailableBytes)
}

// askSpace asks the filesystem by the first of its mounts that a path leads to.
func (f *filesystemList) askSpace(allowed allowance, mounts []*mount.Mount) (*registry.VolUsage, string) {
	reason := "hidden"
	for _, m := range mounts {
		if f.v.calls.Stuck(number(m)) > 0 {
			return nil, "timeout"
		}
		ctx, cancel := allowed.next()
		s, err := hang.Do(ctx, f.v.calls, number(m), func() (space, error) { return ask(m.Target, false) })
		cancel()
		switch {
		case err != nil:
			reason = omission(err)
		case s.mount == 0 || s.mount == m.ID || f.v.root != "":
			return usage(&s.Statfs_t), ""
		}
	}
	return nil, reason
}

// fillSwap tells of a swap space that is in use.
func (f *filesystemList) fillSwap(row *registry.Filesystem, e *filesystem) {
	for _, swap := range f.swaps {
		n, ok := f.devices.byNode(swap.Path)
		if !ok || swap.File || n != e.members[0].number {
			continue
		}
		row.Mounted = true
		row.MountPoints = append(row.MountPoints, "[SWAP]")
		row.SizeBytes, row.UsedBytes = registry.Some(min(swap.Size, maxInteger)), registry.Some(min(swap.Used, maxInteger))
	}
}
