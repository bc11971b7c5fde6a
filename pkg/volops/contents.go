package volops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/internal/ondisk"
	"github.com/geomind/my_os_server/pkg/registry"
)

// diskContents is a disk with what stands on it and on its partitions.
type diskContents struct {
	disk       *blk.Disk
	own        *ondisk.Contents // nil where it was not read
	probeErr   string           // why not
	partitions []partitionContents
	err        error // ends the list
}

// partitionContents is one partition, as the kernel has it and as the table has it.
type partitionContents struct {
	kernel   *blk.Partition    // nil: the kernel has no device for it
	entry    *ondisk.Partition // nil: the table does not list it
	contents *ondisk.Contents  // nil where it was not read
	probeErr string            // why not
}

func (p *partitionContents) index() int {
	if p.kernel != nil {
		return p.kernel.Index
	}
	return p.entry.Number
}

// diskScan is what the disks of one call share.
type diskScan struct {
	*diskList
	devices *devices
	allowed allowance
	cancel  context.CancelFunc
	names   []string
}

// scanDisks prepares to read the disks that a name stands for, or all of them where it is empty. The
// caller closes the scan.
func (v *Vol) scanDisks(ctx context.Context, name string) (*diskScan, error) {
	return v.scanDisksWith(ctx, name, nil)
}

// scanDisksWith is scanDisks with a list of mounts; nil for the one that is kept.
func (v *Vol) scanDisksWith(ctx context.Context, name string, table *mount.Table) (*diskScan, error) {
	allowed, cancel := newAllowance(ctx)
	d := v.devices(allowed)
	if table != nil {
		d.mounts = func() (*mount.Table, error) { return table, nil }
	}
	l := &diskScan{diskList: &diskList{v: v, all: name != ""}, devices: d, allowed: allowed, cancel: cancel}
	if err := l.open(name); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *diskScan) open(name string) (err error) {
	if l.sysfs, err = l.devices.sysfs(); err != nil {
		return err
	}
	if l.names, err = l.devices.diskNames(l.sysfs, name); err != nil {
		return err
	}
	l.links = l.devices.links()
	l.holders, err = l.devices.holders(l.sysfs)
	return err
}

func (l *diskScan) close() {
	l.devices.close()
	l.cancel()
}

// each reads the disks, several at a time, and hands them to take in their order.
func (l *diskScan) each(ctx context.Context, take func(*diskContents) error) error {
	err := inOrder(len(l.names), disksWidth, func(i int) (*diskContents, bool) {
		return nil, l.leftOut(l.names[i])
	}, func(i int) *diskContents {
		return l.read(l.names[i])
	}, func(_ int, c *diskContents) error {
		if err := ctx.Err(); err != nil || c == nil {
			return err
		}
		if c.err != nil {
			return c.err
		}
		return take(c)
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// read reads one disk; nil where there is none any more, or none with a node.
func (l *diskScan) read(name string) *diskContents {
	k, err := l.sysfs.Disk(name)
	switch {
	case isGone(err):
		return nil
	case err != nil:
		return &diskContents{err: err}
	case k.Hidden:
		return nil
	}
	c := &diskContents{disk: k}
	switch {
	case k.Size == 0 && k.Removable, k.Kind == "floppy": // see readDevice
		c.probeErr = "no_medium"
	case k.Size > 0:
		l.readContents(c)
	}
	return c
}

// readContents reads the disk, then those of its partitions that the kernel has; the others are read by
// way of the disk.
func (l *diskScan) readContents(c *diskContents) {
	k := c.disk
	sector := k.Queue.LogicalBlockSize.Value
	type read struct {
		own     *ondisk.Contents
		entries map[int]entryContents
	}
	got, err := probeDevice(l.v, l.allowed, k.Number, k.Name, func(r *blk.Device) (read, error) {
		own, err := readDisk(k)(r)
		if err != nil || own.Table == nil {
			return read{own: own}, err
		}
		return read{own, readEntries(r, k, own.Table)}, nil
	})
	c.own = got.own
	if err != nil {
		c.own, c.probeErr = nil, probeError(err)
	}
	c.partitions = matchPartitions(k, c.own)
	for i := range c.partitions {
		p := &c.partitions[i]
		switch {
		case p.kernel == nil:
			p.takeEntry(got.entries[p.entry.Number])
		case p.entry == nil || !p.entry.Extended:
			l.readPartition(p, sector)
		}
		if p.probeErr == "" {
			p.probeErr = c.probeErr
		}
	}
}

// entryContents is what stands on a partition that the kernel has no device for, or why it was not read.
type entryContents struct {
	contents *ondisk.Contents
	err      error
}

// readEntries reads what stands on partitions that the kernel has no device for. One that cannot be read
// takes nothing from the others, nor from the table.
func readEntries(r io.ReaderAt, k *blk.Disk, t *ondisk.Table) map[int]entryContents {
	entries := make(map[int]entryContents)
	for i := range t.Partitions {
		p := &t.Partitions[i]
		inKernel := slices.ContainsFunc(k.Partitions, func(q blk.Partition) bool { return q.Index == p.Number })
		if inKernel || p.Extended || p.End() > k.Size {
			continue
		}
		c, err := ondisk.Read(io.NewSectionReader(r, p.Start, p.Size), p.Size, t.SectorSize)
		entries[p.Number] = entryContents{c, err}
	}
	return entries
}

// takeEntry takes over what was read by way of the disk.
func (p *partitionContents) takeEntry(e entryContents) {
	if e.err != nil {
		p.probeErr = probeError(e.err)
		return
	}
	p.contents = e.contents
}

// matchPartitions puts together what the kernel has and what the table lists, by number.
func matchPartitions(k *blk.Disk, own *ondisk.Contents) []partitionContents {
	list := make([]partitionContents, len(k.Partitions))
	for i := range k.Partitions {
		list[i].kernel = &k.Partitions[i]
	}
	if own != nil && own.Table != nil {
		for i := range own.Table.Partitions {
			entry := &own.Table.Partitions[i]
			at := slices.IndexFunc(list, func(p partitionContents) bool { return p.kernel != nil && p.kernel.Index == entry.Number })
			if at < 0 {
				list = append(list, partitionContents{entry: entry})
				continue
			}
			list[at].entry = entry
		}
	}
	slices.SortStableFunc(list, func(a, b partitionContents) int { return a.index() - b.index() })
	return list
}

// readPartition reads what stands on a partition by its own device, which sees what was written to it.
func (l *diskScan) readPartition(p *partitionContents, sector int64) {
	sectors, err := l.partitionNumber(p.kernel.Name, "size")
	if err != nil || sectors <= 0 {
		return
	}
	p.contents, err = probeDevice(l.v, l.allowed, p.kernel.Number, p.kernel.Name, func(r *blk.Device) (*ondisk.Contents, error) {
		return ondisk.Read(r, sectors*512, sector)
	})
	if err != nil {
		p.contents, p.probeErr = nil, probeError(err)
	}
}

// partitionNumber reads a number that sysfs has of a partition; start and size count 512 bytes.
func (l *diskScan) partitionNumber(name, attribute string) (int64, error) {
	file := strings.ReplaceAll(name, "/", "!")
	b, err := os.ReadFile(fmt.Sprintf("%s/sys/class/block/%s/%s", l.v.root, file, attribute))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}

// optPartitionNumber is partitionNumber for what may be absent.
func (l *diskScan) optPartitionNumber(name, attribute string) registry.Opt[int64] {
	v, err := l.partitionNumber(name, attribute)
	if err != nil {
		return registry.Opt[int64]{}
	}
	return registry.Some(v)
}

// partitionName is what the kernel calls a partition of a disk.
func partitionName(disk string, number int) string {
	if last := disk[len(disk)-1]; last >= '0' && last <= '9' {
		return fmt.Sprintf("%sp%d", disk, number)
	}
	return fmt.Sprintf("%s%d", disk, number)
}

// signatureRow is a signature as the table has it; nil where there is none.
func signatureRow(c *ondisk.Contents) *registry.Signature {
	if c == nil || c.Signature == nil {
		return nil
	}
	s := c.Signature
	return &registry.Signature{
		Type:             s.Type,
		Usage:            registry.NonZero(string(s.Usage)),
		Version:          registry.NonZero(s.Version),
		Label:            registry.NonZero(s.Label),
		UUID:             registry.NonZero(s.UUID),
		UUIDSub:          registry.NonZero(s.UUIDSub),
		UUIDLog:          registry.NonZero(s.UUIDLog),
		SecType:          registry.NonZero(s.SecType),
		LabelFatboot:     registry.NonZero(s.LabelFATBoot),
		BlockSizeBytes:   registry.NonZero(s.BlockSize),
		FSBlockSizeBytes: registry.NonZero(s.FSBlockSize),
		SizeBytes:        registry.NonZero(min(s.Size, maxInteger)),
		LastBlock:        registry.NonZero(min(s.LastBlock, maxInteger)),
		MagicOffsetBytes: registry.Some(s.MagicOffset),
		Magic:            registry.NonZero(fmt.Sprintf("%x", s.Magic)),
		Ambivalent:       registry.NonZero(c.Ambivalent),
		Further:          s.Further,
	}
}

// tableRow is the partition table of a disk as the table has it; nil where there is none.
func tableRow(c *ondisk.Contents) *registry.PartitionTable {
	if c == nil || c.Table == nil {
		return nil
	}
	t := c.Table
	row := &registry.PartitionTable{Type: t.Type, UUID: registry.NonZero(t.UUID), SectorSizeBytes: registry.Some(t.SectorSize)}
	if t.Type != "gpt" {
		return row
	}
	row.FirstLba, row.LastLba = registry.Some(clip(t.FirstLBA)), registry.Some(clip(t.LastLBA))
	row.EntriesMax = registry.Some(int64(t.Entries))
	row.PrimaryValid, row.BackupValid = registry.Some(t.PrimaryValid), registry.Some(t.BackupValid)
	if t.BackupValid {
		row.BackupAtEnd = registry.Some(t.BackupAtEnd)
	}
	return row
}
