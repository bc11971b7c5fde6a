package volops

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/fault"
	"github.com/geomind/my_os_server/internal/grow"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/inuse"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/pkg/registry"
)

// ResizeMax answers vol.resize_max.
func (v *Vol) ResizeMax(ctx context.Context, p *registry.VolResizeMaxParams) (*registry.VolResizeMaxResult, error) {
	if v.state == nil {
		return nil, errors.New("grow a filesystem: there is no state folder to record it in")
	}
	s, at, err := v.askPath(ctx, p.Path)
	if err != nil {
		return nil, err
	}
	g := &growing{v: v, path: at, space: s, partition: p.GrowPartition.Or(false), mount: v.mountOf(s, at)}
	switch {
	case s.Type == unix.BTRFS_SUPER_MAGIC:
		return g.btrfs(ctx, p.DeviceID)
	case (s.Type == grow.Ext4 || s.Type == grow.XFS) && g.mount != nil && g.mount.Major != 0:
		if p.DeviceID.IsSet() {
			return nil, invalid("device_id", "does not belong to "+g.mount.FSType+", only to btrfs")
		}
		return g.single(ctx)
	}
	return nil, &registry.UnsupportedError{
		UnsupportedData: registry.UnsupportedData{Reason: registry.UnsupportedReasonPlatform, Missing: registry.Some("btrfs, ext4 or xfs")},
		Message:         fmt.Sprintf("%s lies on a filesystem that cannot be grown while it is mounted", p.Path),
	}
}

// growing grows one filesystem.
type growing struct {
	v         *Vol
	path      string
	space     space
	mount     *mount.Mount
	partition bool // grow the partitions first
}

// single grows a filesystem with one device.
func (g *growing) single(ctx context.Context) (*registry.VolResizeMaxResult, error) {
	folder, err := hang.Do(ctx, g.v.calls, number(g.mount), func() (*os.File, error) { return openFolder(g.mount.Target) })
	if err != nil {
		return nil, notApplied(waiting(err, "the filesystem at "+g.mount.Target))
	}
	defer folder.Close()
	t, grown, err := g.device(ctx, number(g.mount))
	if err != nil {
		return nil, err
	}
	defer t.close()
	before, err := g.sizeOn(t, folder)
	if err != nil {
		return nil, err
	}
	_, err = hang.Do(ctx, g.v.calls, number(g.mount), func() (struct{}, error) {
		return struct{}{}, grow.To(folder, g.space.Type, t.size, g.space.Bsize)
	})
	if errors.Is(err, unix.EPERM) && !capable(unix.CAP_SYS_RESOURCE) {
		return nil, &lacking{err, "CAP_SYS_RESOURCE"}
	}
	if err != nil {
		return nil, appliedAs(waiting(err, "the filesystem at "+g.mount.Target), registry.AppliedUnknown)
	}
	if err := t.look(ctx); err != nil {
		return nil, appliedAs(err, registry.AppliedYes)
	}
	after, err := g.sizeOn(t, folder)
	if err != nil {
		return nil, appliedAs(err, registry.AppliedYes)
	}
	return &registry.VolResizeMaxResult{
		Changed: grown || after != before, Type: g.mount.FSType, SizeBytes: after,
		Devices: []registry.ResizedDevice{{Path: t.path(), OldSizeBytes: before, NewSizeBytes: after, PartitionGrown: grown}},
	}, nil
}

// sizeOn is how much of its device a filesystem takes.
func (g *growing) sizeOn(t *target, folder *os.File) (int64, error) {
	if g.space.Type == grow.XFS {
		return grow.Size(folder)
	}
	s := t.contents.Signature
	if s == nil {
		return 0, fmt.Errorf("read superblock of %s: %w", t.path(), unix.EIO)
	}
	return s.Size, nil
}

// btrfs grows one device of a btrfs, or all that are there.
func (g *growing) btrfs(ctx context.Context, only registry.Opt[int64]) (*registry.VolResizeMaxResult, error) {
	f, err := g.v.btrfsAt(ctx, g.path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	members, err := f.Devices(ctx)
	if err != nil {
		return nil, notApplied(err)
	}
	r := &registry.VolResizeMaxResult{Type: "btrfs", Devices: []registry.ResizedDevice{}}
	for i := range members {
		d := &members[i]
		if id, given := only.Get(); given && uint64(id) != d.ID || f.missing(d) {
			continue
		}
		row := registry.ResizedDevice{Path: d.Path, DeviceID: registry.Some(clip(d.ID)), OldSizeBytes: clip(d.Size)}
		if row.PartitionGrown, err = g.growUnder(ctx, d.Path); err != nil {
			return nil, err
		}
		// A device that is taken whole is left alone: one below 256 MiB the kernel refuses in any case.
		if size, known := f.deviceSize(d); !known || size/uint64(f.info.SectorSize)*uint64(f.info.SectorSize) != d.Size {
			if err := f.ResizeMax(ctx, d.ID); err != nil {
				return nil, appliedAs(err, registry.AppliedUnknown)
			}
		}
		r.Devices = append(r.Devices, row)
	}
	if len(r.Devices) == 0 {
		return nil, &registry.NotFoundError{
			NotFoundData: registry.NotFoundData{Resource: "device", ID: fmt.Sprint(only.Or(0))},
			Message:      "the filesystem has no such device, or it is missing",
		}
	}
	if members, err = f.Devices(ctx); err != nil {
		return nil, appliedAs(err, registry.AppliedYes)
	}
	for i := range members {
		r.SizeBytes += clip(members[i].Size)
		for k := range r.Devices {
			if row := &r.Devices[k]; row.DeviceID.Or(0) == clip(members[i].ID) {
				row.NewSizeBytes = clip(members[i].Size)
				r.Changed = r.Changed || row.PartitionGrown || row.NewSizeBytes != row.OldSizeBytes
			}
		}
	}
	return r, nil
}

// growUnder grows the partition that a member of a btrfs is on, where that is asked for.
func (g *growing) growUnder(ctx context.Context, path string) (bool, error) {
	if !g.partition {
		return false, nil
	}
	node, err := blk.StatNode(g.v.root + path)
	if err != nil {
		return false, notApplied(err)
	}
	t, grown, err := g.device(ctx, node.Number)
	if err == nil {
		t.close()
	}
	return grown, err
}

// device pins the device with a number and grows its partition, where that is asked for.
func (g *growing) device(ctx context.Context, n blk.Number) (t *target, grown bool, err error) {
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	d := g.v.devices(allowed)
	defer d.close()
	if t, err = g.v.pinNumber(ctx, d, g.path, n); err != nil {
		return nil, false, notApplied(err)
	}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if err = t.look(ctx); err != nil || !g.partition || t.partition == nil {
		return t, false, notApplied(err)
	}
	if grown, err = g.growPartition(ctx, d, t); err != nil {
		return t, grown, err
	}
	return t, grown, t.look(ctx)
}

// growPartition makes a partition as long as the free space behind it allows.
func (g *growing) growPartition(ctx context.Context, d *devices, t *target) (bool, error) {
	whole, err := g.v.pinNumber(ctx, d, nodePath(t.whole), t.disk.Number)
	if err != nil {
		return false, notApplied(err)
	}
	h := &held{targets: []*target{whole}}
	defer h.close()
	if h.unlock, err = g.v.takeTurn(ctx, h.targets); err != nil {
		return false, err
	}
	m := &partitionMaker{target: whole}
	defer m.close()
	if err := m.open(ctx); err != nil {
		return false, notApplied(err)
	}
	if err := m.mend(ctx); err != nil {
		return false, notApplied(err)
	}
	if err := m.readTable(ctx); err != nil {
		return false, notApplied(err)
	}
	end, err := m.roomBehind(t.partition.Index)
	if err != nil {
		return false, notApplied(err)
	}
	now := t.extent(t.partition)
	if end <= now.end {
		if e := m.contents.Table.Entry(t.partition.Index); e.End() == now.end { // what was cut off after its last step
			g.v.settle(h.targets, tableWrites...)
		}
		return false, nil
	}
	writers := inuse.Device{Name: whole.name, Number: whole.number, WritersOnly: true}
	if err = whole.unheld(ctx, []inuse.Device{writers}); err == nil {
		err = m.table.Grow(t.partition.Index, uint64(end/m.sector)-1)
	}
	if err != nil {
		return false, notApplied(err)
	}
	w, err := g.v.begin(ctx, "vol.resize_max", []*target{whole}, "")
	if err != nil {
		return false, notApplied(err)
	}
	fault.Point("write partition table")
	if err := m.apply(ctx); err != nil {
		w.Left()
		return false, appliedAs(err, registry.AppliedUnknown)
	}
	fault.Point("partition table written")
	g.v.settle(h.targets, tableWrites...)
	err = blk.ResizePartition(m.file, t.partition.Index, now.start, end-now.start)
	return true, errors.Join(appliedAs(err, registry.AppliedYes), w.Done())
}

// roomBehind is where a partition could end: where the next one begins, or the table ends, aligned.
func (m *partitionMaker) roomBehind(number int) (int64, error) {
	entry := m.contents.Table.Entry(number)
	if entry == nil {
		return 0, m.conflict(fmt.Sprintf("the partition table of %s does not list partition %d", m.path(), number))
	}
	_, last := m.table.Usable()
	end := int64(last+1) * m.sector
	l := &diskScan{diskList: &diskList{v: m.v}}
	for _, s := range l.taken(m.disk, m.contents) {
		if s.start >= entry.End() {
			end = min(end, s.start)
		}
	}
	return end / freeAlignment * freeAlignment, nil
}
