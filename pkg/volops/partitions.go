package volops

import (
	"context"
	"fmt"

	"github.com/geomind/my_os_server/internal/ondisk"
	"github.com/geomind/my_os_server/pkg/registry"
)

// ListPartitions answers vol.list_partitions.
func (v *Vol) ListPartitions(ctx context.Context, p *registry.VolListPartitionsParams) (*registry.VolListPartitionsResult, error) {
	r := &registry.VolListPartitionsResult{Partitions: []registry.Partition{}, Unread: []registry.UnreadDevice{}}
	limit := p.Limit.Or(maxInteger)
	l, err := v.scanDisks(ctx, p.Disk.Or(""))
	if err != nil {
		return nil, err
	}
	defer l.close()
	err = l.each(ctx, func(c *diskContents) error {
		if c.probeErr != "" {
			r.Unread = append(r.Unread, registry.UnreadDevice{Path: nodePath(c.disk.Name), Reason: c.probeErr})
		}
		for i := range c.partitions {
			if int64(len(r.Partitions)) == limit {
				return errEnough
			}
			r.Partitions = append(r.Partitions, l.partitionRow(c, &c.partitions[i]))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

func (l *diskScan) partitionRow(c *diskContents, p *partitionContents) registry.Partition {
	name := partitionName(c.disk.Name, p.index())
	row := registry.Partition{
		Disk:        nodePath(c.disk.Name),
		Number:      int64(p.index()),
		InKernel:    p.kernel != nil,
		StableIds:   []string{},
		MountPoints: []string{},
		Holders:     []string{},
		Filesystem:  signatureRow(p.contents),
		ProbeError:  registry.NonZero(p.probeErr),
	}
	if c.own != nil {
		row.InTable = registry.Some(p.entry != nil)
	}
	if p.entry != nil {
		fillEntry(&row, c.own.Table, p.entry)
	}
	if p.kernel != nil {
		name = p.kernel.Name
		l.fillKernel(&row, p)
	}
	row.Name, row.Path = name, nodePath(name)
	return row
}

// fillEntry takes over what the table says.
func fillEntry(row *registry.Partition, t *ondisk.Table, e *ondisk.Partition) {
	row.StartBytes, row.SizeBytes = min(e.Start, maxInteger), min(e.Size, maxInteger)
	row.Scheme = registry.Some(t.Type)
	row.Type = registry.Some(e.Type)
	row.TypeName = registry.NonZero(ondisk.TypeName(t.Type, e.Type))
	row.UUID, row.Label = registry.NonZero(e.UUID), registry.NonZero(e.Name)
	if t.Type == "gpt" {
		row.Attributes = registry.Some(flagDigits(e.Attributes))
		row.Flags = ondisk.AttributeNames(e.Attributes)
		return
	}
	row.Bootable, row.Logical = registry.Some(e.Bootable), registry.Some(e.Logical)
}

// fillKernel takes over what the kernel says. It is what counts, since the table may have changed
// unread; but of an extended partition the kernel shows only the first sectors, lest somebody take it
// for room.
func (l *diskScan) fillKernel(row *registry.Partition, p *partitionContents) {
	k := p.kernel
	row.DeviceNumber = registry.Some(fmt.Sprintf("%d:%d", k.Number.Major, k.Number.Minor))
	row.Major, row.Minor = registry.Some(int64(k.Number.Major)), registry.Some(int64(k.Number.Minor))
	start, errStart := l.partitionNumber(k.Name, "start")
	size, errSize := l.partitionNumber(k.Name, "size")
	if errStart == nil && errSize == nil && (p.entry == nil || !p.entry.Extended) {
		row.StartBytes, row.SizeBytes = start*512, size*512
	}
	if ro, err := l.partitionNumber(k.Name, "ro"); err == nil {
		row.ReadOnly = registry.Some(ro != 0)
	}
	row.AlignmentOffsetBytes = l.optPartitionNumber(k.Name, "alignment_offset")
	row.DiscardAlignmentBytes = l.optPartitionNumber(k.Name, "discard_alignment")
	row.StableIds = orEmpty(l.links[k.Number])
	row.MountPoints = orEmpty(l.holders.points[k.Number])
	row.Holders = orEmpty(k.Holders)
	row.InUseBy = append(row.InUseBy, l.holders.byNumber[k.Number]...)
	row.InUseBy = append(row.InUseBy, above(k.Holders)...)
	row.InUse = len(row.InUseBy) > 0
}
