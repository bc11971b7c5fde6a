package volops

import (
	"cmp"
	"context"
	"os"
	"slices"
	"time"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/internal/ondisk"
	"github.com/geomind/my_os_server/pkg/registry"
)

// inventoryTries bounds how often the inventory is taken again because something changed meanwhile.
const inventoryTries = 3

// Inventory answers vol.inventory. Each of the kernel's sources is read once, and all of them are looked
// at again in the end: where devices, mounts, swaps or filesystems changed meanwhile, it is taken anew.
func (v *Vol) Inventory(ctx context.Context, _ *registry.VolInventoryParams) (*registry.VolInventoryResult, error) {
	for try := 1; ; try++ {
		r, steady, err := v.takeInventory(ctx)
		if err != nil {
			return nil, err
		}
		if steady {
			return r, nil
		}
		if try == inventoryTries {
			r.Consistent = registry.Some(false)
			return r, nil
		}
	}
}

// takeInventory takes it once, and tells whether it is of one piece.
func (v *Vol) takeInventory(ctx context.Context) (r *registry.VolInventoryResult, steady bool, err error) {
	events := v.eventNumber()
	i, err := v.openInventory(ctx)
	if err != nil {
		return nil, false, err
	}
	defer i.close()
	if r, err = i.take(ctx); err != nil {
		return nil, false, err
	}
	steady, err = i.unchanged(events)
	return r, steady, err
}

// inventory is what one look at the host has found.
type inventory struct {
	*filesystemList
	disks     []*diskContents
	mountRows map[*mount.Mount]registry.Mount
	rows      map[blk.Number]*registry.Filesystem // of each member
	errors    map[string]blk.FilesystemErrors     // that the kernel counts, by device name
}

// openInventory prepares to look. Mounts are read anew: the list that is kept between calls does not
// notice when a filesystem turns read-only by itself.
func (v *Vol) openInventory(ctx context.Context) (*inventory, error) {
	table, err := v.freshTable()
	if err != nil {
		return nil, err
	}
	l, err := v.scanDisksWith(ctx, "", table)
	if err != nil {
		return nil, err
	}
	return &inventory{
		filesystemList: &filesystemList{diskScan: l, unread: []registry.UnreadDevice{}},
		mountRows:      make(map[*mount.Mount]registry.Mount),
		rows:           make(map[blk.Number]*registry.Filesystem),
		errors:         make(map[string]blk.FilesystemErrors),
	}, nil
}

func (i *inventory) take(ctx context.Context) (*registry.VolInventoryResult, error) {
	r := &registry.VolInventoryResult{
		TakenAt: time.Now().UTC(), Disks: []registry.InventoryDisk{}, Arrays: []registry.MdArray{},
		Btrfs: []registry.InventoryBtrfs{}, Swaps: []registry.SwapArea{},
	}
	if err := i.readDisks(ctx); err != nil {
		return nil, err
	}
	// Reading the devices may have used up its time: what is mounted is asked with time of its own.
	allowed, cancel := newAllowance(ctx)
	defer cancel()
	if err := i.readMounts(ctx, allowed); err != nil {
		return nil, err
	}
	for _, e := range i.found {
		row := i.row(allowed, e)
		for _, d := range e.members {
			i.rows[d.number] = &row
		}
		if row.Type == "btrfs" {
			r.Btrfs = append(r.Btrfs, i.btrfsRow(allowed, &row, i.mountsOf(e)))
		}
	}
	for _, c := range i.disks {
		r.Disks = append(r.Disks, i.diskRow(c))
	}
	for _, swap := range i.swaps {
		r.Swaps = append(r.Swaps, i.swapRow(swap))
	}
	var err error
	if r.Arrays, err = i.devices.arrays(maxInteger, func() (*holders, error) { return i.holders, nil }); err != nil {
		return nil, err
	}
	table, err := i.devices.mounts()
	if err != nil {
		return nil, err
	}
	r.RegisteredMounts = i.v.registeredMounts(table, i.devices)
	r.RegisteredArrays = i.v.registeredArrays(r.Arrays)
	r.Health = append(i.problems(r), i.v.recordedProblems(r.RegisteredMounts, r.RegisteredArrays)...)
	r.Status = overall(r.Health)
	return r, ctx.Err()
}

// readDisks reads all disks, and lets what is asked later know what stands on them.
func (i *inventory) readDisks(ctx context.Context) error {
	i.devices.seen = make(map[blk.Number]*ondisk.Contents)
	err := i.each(ctx, func(c *diskContents) error {
		i.disks = append(i.disks, c)
		i.devices.seen[c.disk.Number] = c.own
		for k := range c.partitions {
			if p := &c.partitions[k]; p.kernel != nil {
				i.devices.seen[p.kernel.Number] = p.contents
			}
		}
		return i.takeDisk(c)
	})
	if err != nil {
		return err
	}
	i.joinUnread()
	return i.findMounts()
}

// readMounts makes the rows of the mounts that stand on block devices.
func (i *inventory) readMounts(ctx context.Context, allowed allowance) error {
	table, err := i.devices.mounts()
	if err != nil {
		return err
	}
	l := i.v.mountList(table, allowed)
	l.devices.close()
	l.devices = i.devices
	var chosen []int
	for k := range table.Mounts {
		m := &table.Mounts[k]
		if len(i.devices.standsOn(m)) > 0 {
			chosen = append(chosen, k)
			i.devices.under(m) // reads what the row says of the device
		}
	}
	return l.withUsage(ctx, chosen, func(k int) error {
		i.mountRows[&table.Mounts[k]] = l.row
		l.row = registry.Mount{} // its lists belong to the copy now
		return nil
	})
}

// rowsOf lists the mounts of a device.
func (i *inventory) rowsOf(n blk.Number) []registry.Mount {
	return i.rowsFor(i.filesystemList.mounts[n])
}

func (i *inventory) rowsFor(mounts []*mount.Mount) []registry.Mount {
	list := []registry.Mount{}
	for _, m := range mounts {
		list = append(list, i.mountRows[m])
	}
	return list
}

func (i *inventory) diskRow(c *diskContents) registry.InventoryDisk {
	i.fill(&diskFacts{disk: c.disk, deviceFacts: deviceFacts{node: i.nodeOf(c.disk), contents: c.own, probeErr: c.probeErr}})
	row := registry.InventoryDisk{
		Disk: i.diskList.row, Partitions: []registry.InventoryPartition{}, FreeSpace: []registry.FreeExtent{},
		Filesystem: i.rows[c.disk.Number], Mounts: i.rowsOf(c.disk.Number),
	}
	i.countErrors(c.disk.Name, c.disk.Number)
	for k := range c.partitions {
		row.Partitions = append(row.Partitions, i.inventoryPartition(c, &c.partitions[k]))
	}
	slices.SortStableFunc(row.Partitions, func(a, b registry.InventoryPartition) int {
		return cmp.Compare(a.Partition.StartBytes, b.Partition.StartBytes)
	})
	if c.own != nil {
		for _, e := range i.freeSpace(c.disk, c.own) {
			row.FreeSpace = append(row.FreeSpace, registry.FreeExtent{StartBytes: e.start, SizeBytes: e.end - e.start})
		}
	}
	return row
}

func (i *inventory) inventoryPartition(c *diskContents, p *partitionContents) registry.InventoryPartition {
	row := registry.InventoryPartition{Partition: i.partitionRow(c, p), Mounts: []registry.Mount{}}
	if p.kernel != nil {
		row.Filesystem, row.Mounts = i.rows[p.kernel.Number], i.rowsOf(p.kernel.Number)
		i.countErrors(p.kernel.Name, p.kernel.Number)
	}
	return row
}

// countErrors notes what the kernel counts of the filesystem that is mounted from a device.
func (i *inventory) countErrors(name string, n blk.Number) {
	if e, ok := blk.ReadFilesystemErrors(i.v.root, name); ok && len(i.filesystemList.mounts[n]) > 0 {
		i.errors[nodePath(name)] = e
	}
}

func (i *inventory) swapRow(swap blk.Swap) registry.SwapArea {
	row := registry.SwapArea{
		Path: swap.Path, Type: "partition",
		SizeBytes: min(swap.Size, maxInteger), UsedBytes: min(swap.Used, maxInteger), Priority: swap.Priority,
	}
	if swap.File {
		row.Type = "file"
		return row
	}
	n, ok := i.devices.byNode(swap.Path)
	if !ok {
		return row
	}
	row.StableIds = i.links[n]
	if f := i.rows[n]; f != nil && f.Type == "swap" {
		row.Label, row.UUID = f.Label, f.UUID
	}
	return row
}

// btrfsRow tells of one btrfs what its members' rows cannot.
func (i *inventory) btrfsRow(allowed allowance, f *registry.Filesystem, mounts []*mount.Mount) registry.InventoryBtrfs {
	row := registry.InventoryBtrfs{Filesystem: *f, Mounts: i.rowsFor(mounts)}
	if len(mounts) == 0 {
		return row
	}
	ctx, cancel := allowed.next()
	defer cancel()
	b, err := i.v.openBtrfs(ctx, mounts[0].Target, mounts[0])
	if err != nil {
		return row
	}
	defer b.Close()
	if b.uuid() != f.UUID.Or("") {
		return row // something else is mounted over it
	}
	if stats, err := b.deviceStats(ctx); err == nil {
		row.DeviceStats = stats
	}
	if scrub, err := i.v.scrubOf(ctx, b); err == nil {
		row.Scrub = &scrub
	}
	if balance, err := i.v.balanceRow(ctx, b); err == nil {
		row.Balance = &balance
	}
	return row
}

// eventNumber is the number of the last event about a device; it differs when one came, went or
// changed. It is empty where the kernel does not tell.
func (v *Vol) eventNumber() string {
	b, err := os.ReadFile(v.root + "/sys/kernel/uevent_seqnum")
	if err != nil {
		return ""
	}
	return string(b)
}

// unchanged tells whether everything is still as it was found. An event may be about something else
// altogether, so after one the disks themselves are compared.
func (i *inventory) unchanged(events string) (bool, error) {
	table, err := i.v.freshTable()
	if err != nil {
		return false, err
	}
	before, err := i.devices.mounts()
	if err != nil {
		return false, err
	}
	swaps, err := blk.ReadSwaps(i.v.root)
	if err != nil {
		return false, err
	}
	if table.Changed || before.Changed || !slices.Equal(before.Mounts, table.Mounts) ||
		!slices.EqualFunc(i.swaps, swaps, func(a, b blk.Swap) bool { return a.Path == b.Path }) ||
		!slices.EqualFunc(i.devices.filesystems(), blk.Filesystems(i.v.root), sameFilesystem) {
		return false, nil
	}
	if events != "" && i.v.eventNumber() == events {
		return true, nil
	}
	return i.sameDisks()
}

func sameFilesystem(a, b blk.Filesystem) bool {
	return a.Type == b.Type && a.UUID == b.UUID && a.Label == b.Label && slices.Equal(a.Members, b.Members)
}

// sameDisks reads the disks again, and compares what makes them the ones that they were.
func (i *inventory) sameDisks() (bool, error) {
	s, err := blk.Open(i.v.root)
	if err != nil {
		return false, err
	}
	defer s.Close()
	names, err := s.Names()
	if err != nil || !slices.Equal(names, i.names) {
		return false, err
	}
	for name, attached := range i.holders.attached {
		if attached != (s.LoopBacking(name) != "") {
			return false, nil
		}
	}
	for _, c := range i.disks {
		k, err := s.Disk(c.disk.Name)
		if isGone(err) {
			return false, nil
		}
		if err != nil || !sameDisk(k, c.disk) {
			return false, err
		}
	}
	return true, nil
}

func sameDisk(a, b *blk.Disk) bool {
	return a.Number == b.Number && a.Sequence == b.Sequence && a.Size == b.Size && a.ReadOnly == b.ReadOnly &&
		slices.Equal(a.Holders, b.Holders) && slices.EqualFunc(a.Partitions, b.Partitions, samePartition)
}

func samePartition(a, b blk.Partition) bool {
	return a.Name == b.Name && a.Number == b.Number && slices.Equal(a.Holders, b.Holders)
}
