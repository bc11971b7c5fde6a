package volops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/ondisk"
	"github.com/geomind/my_os_server/pkg/registry"
)

const (
	// freeAlignment is that of new partitions, and so of the room for them.
	freeAlignment = 1 << 20
	// gptEntriesBytes is what the entries of a usual GPT take at either end, beside its header.
	gptEntriesBytes = 128 * 128
	// dosMostSectors is how many sectors a dos table can count.
	dosMostSectors = 1 << 32
)

// ListFreeSpace answers vol.list_free_space.
func (v *Vol) ListFreeSpace(ctx context.Context, p *registry.VolListFreeSpaceParams) (*registry.VolListFreeSpaceResult, error) {
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	d := v.devices(allowed)
	defer d.close()
	k, err := d.wholeDisk(p.Disk)
	if err != nil {
		return nil, err
	}
	c, err := v.contentsOf(ctx, k)
	if err != nil {
		return nil, err
	}
	l := &diskScan{diskList: &diskList{v: v}}
	r := &registry.VolListFreeSpaceResult{
		Disk: nodePath(k.Name), SizeBytes: min(k.Size, maxInteger),
		Extents: []registry.FreeExtent{}, PartitionTable: tableRow(c), Signature: signatureRow(c),
	}
	for _, e := range l.freeSpace(k, c) {
		r.Extents = append(r.Extents, registry.FreeExtent{StartBytes: e.start, SizeBytes: e.end - e.start})
		r.FreeBytes += e.end - e.start
		r.LargestBytes = max(r.LargestBytes, e.end-e.start)
	}
	return r, nil
}

// freeSpace is where new partitions can go on a disk with these contents: nowhere where something takes
// it as a whole.
func (l *diskScan) freeSpace(k *blk.Disk, c *ondisk.Contents) []stretch {
	if c.Signature != nil && c.Table == nil {
		return nil
	}
	return freeExtents(k.Size, k.Queue.LogicalBlockSize.Value, c.Table, l.taken(k, c))
}

// wholeDisk finds the one disk that a name stands for.
func (d *devices) wholeDisk(name string) (*blk.Disk, error) {
	s, err := d.sysfs()
	if err != nil {
		return nil, err
	}
	list, err := d.resolveOne(name)
	if err != nil {
		return nil, err
	}
	disk, partition, err := s.Owner(list[0])
	if isGone(err) {
		return nil, noDevice(name)
	}
	if err != nil {
		return nil, err
	}
	if partition != "" || len(list) > 1 {
		return nil, &registry.NotFoundError{
			NotFoundData: registry.NotFoundData{Resource: "disk", ID: name},
			Message:      fmt.Sprintf("%s is no whole disk; %s is", name, nodePath(disk)),
		}
	}
	k, err := s.Disk(disk)
	if isGone(err) {
		return nil, noDevice(name)
	}
	return k, err
}

// contentsOf reads a disk for a call that cannot do without. A drive without a medium is empty.
func (v *Vol) contentsOf(ctx context.Context, k *blk.Disk) (*ondisk.Contents, error) {
	if k.Size == 0 {
		return &ondisk.Contents{}, nil
	}
	c, err := hang.Do(ctx, v.calls, k.Number, func() (*ondisk.Contents, error) {
		dev, err := blk.OpenDevice(v.root+nodePath(k.Name), k.Number)
		if err != nil {
			return nil, err
		}
		defer dev.Close()
		return readDisk(k)(dev)
	})
	if err != nil {
		return nil, unreadable(waiting(err, nodePath(k.Name)))
	}
	return c, nil
}

// unreadable names the capability that the daemon lacks, where that is why it may not read. With the
// capability it is something else, as a container's rules for devices.
func unreadable(err error) error {
	if errors.Is(err, fs.ErrPermission) && !capable(unix.CAP_DAC_READ_SEARCH) {
		return &lacking{err, "CAP_DAC_READ_SEARCH"}
	}
	return err
}

// stretch is a part of a disk, in bytes.
type stretch struct{ start, end int64 }

// taken lists what partitions take: those of the table, and those that only the kernel has.
func (l *diskScan) taken(k *blk.Disk, c *ondisk.Contents) []stretch {
	var list []stretch
	if c.Table != nil {
		for i := range c.Table.Partitions {
			if p := &c.Table.Partitions[i]; !p.Extended {
				list = append(list, stretch{p.Start, p.End()})
			}
		}
	}
	for _, p := range matchPartitions(k, c) {
		if p.entry != nil {
			continue
		}
		start, errStart := l.partitionNumber(p.kernel.Name, "start")
		size, errSize := l.partitionNumber(p.kernel.Name, "size")
		if errStart == nil && errSize == nil {
			list = append(list, stretch{start * 512, (start + size) * 512})
		}
	}
	return list
}

// freeExtents are the stretches that partitions can take, aligned, in their order. Inside an extended
// partition there is room for logical ones, each of which needs a sector in front of it.
func freeExtents(size, sector int64, t *ondisk.Table, taken []stretch) []stretch {
	whole := usable(size, sector, t)
	var extents []stretch
	var extended []stretch
	if t != nil {
		for i := range t.Partitions {
			if p := &t.Partitions[i]; p.Extended {
				extended = append(extended, stretch{p.Start, p.End()})
			}
		}
	}
	for _, e := range extended {
		extents = append(extents, gaps(e, sector, taken)...)
	}
	extents = append(extents, gaps(whole, 0, append(slices.Clone(taken), extended...))...)
	slices.SortFunc(extents, func(a, b stretch) int { return cmp.Compare(a.start, b.start) })
	return extents
}

// usable is what a table leaves to partitions; a blank disk is to get a GPT.
func usable(size, sector int64, t *ondisk.Table) stretch {
	switch {
	case t == nil:
		entries := (gptEntriesBytes + sector - 1) / sector
		return stretch{(2 + entries) * sector, size - (1+entries)*sector}
	case t.Type == "gpt":
		return stretch{int64(t.FirstLBA) * t.SectorSize, min(int64(t.LastLBA+1)*t.SectorSize, size)}
	}
	return stretch{t.SectorSize, min(size, dosMostSectors*t.SectorSize)}
}

// gaps are the aligned stretches of a whole that nothing takes; before is what each needs in front.
func gaps(whole stretch, before int64, taken []stretch) (list []stretch) {
	taken = slices.DeleteFunc(slices.Clone(taken), func(s stretch) bool { return s.start >= s.end })
	slices.SortFunc(taken, func(a, b stretch) int { return cmp.Compare(a.start, b.start) })
	at := whole.start
	for _, t := range append(taken, stretch{whole.end, whole.end}) {
		start, end := alignUp(at+before), min(t.start, whole.end)/freeAlignment*freeAlignment
		if end > start {
			list = append(list, stretch{start, end})
		}
		at = max(at, t.end)
	}
	return list
}

func alignUp(v int64) int64 { return (v + freeAlignment - 1) / freeAlignment * freeAlignment }
