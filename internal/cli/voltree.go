package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/geomind/my_os_server/pkg/client"
	"github.com/geomind/my_os_server/pkg/registry"
)

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// volTree draws the storage of a node: disks with their partitions, what stands on those, and where it is
// mounted; arrays with their members; swap. Of a btrfs that is mounted it draws the subvolumes too.
func (s *session) volTree(ctx context.Context, c *client.Client) (*branch, error) {
	inventory, err := c.VolInventory(ctx, nil)
	if err != nil {
		return nil, err
	}
	root := &branch{text: "storage"}
	for i := range inventory.Disks {
		s.hangDisk(root, &inventory.Disks[i])
	}
	for i := range inventory.Arrays {
		s.hangArray(root, &inventory.Arrays[i])
	}
	for i := range inventory.Btrfs {
		s.hangBtrfs(ctx, c, root, &inventory.Btrfs[i])
	}
	for _, swap := range inventory.Swaps {
		root.add(s.paint.bold(clean(swap.Path)) + " swap " + s.paint.useBar(swap.UsedBytes, swap.SizeBytes))
	}
	for _, problem := range inventory.Health {
		root.add(s.paint.warn(clean(problem.Severity)+":") + " " + clean(problem.Message))
	}
	return root, nil
}

func (s *session) hangDisk(root *branch, d *registry.InventoryDisk) {
	p := s.paint
	parts := []string{p.bold(clean(d.Disk.Path)), clean(d.Disk.Type.Or(d.Disk.Kind)), sizeText(d.Disk.SizeBytes)}
	for _, fact := range []registry.Opt[string]{d.Disk.Model, d.Disk.Serial} {
		if text, ok := fact.Get(); ok {
			parts = append(parts, clean(text))
		}
	}
	if l := d.Disk.Loop; l != nil && l.BackingFile.IsSet() {
		parts = append(parts, "of "+clean(l.BackingFile.Or("")))
	}
	if t := d.Disk.PartitionTable; t != nil {
		parts = append(parts, clean(t.Type))
	}
	b := root.add(strings.Join(parts, " "))
	s.hangFilesystem(b, d.Filesystem, d.Mounts)
	for i := range d.Partitions {
		part := &d.Partitions[i]
		text := p.bold(clean(part.Partition.Path)) + " " + sizeText(part.Partition.SizeBytes)
		if label, ok := part.Partition.Label.Get(); ok {
			text += " " + clean(quoted(label))
		}
		s.hangFilesystem(b.add(text), part.Filesystem, part.Mounts)
	}
	for _, extent := range d.FreeSpace {
		b.add(p.dim("free " + sizeText(extent.SizeBytes) + " at " + sizeText(extent.StartBytes)))
	}
}

// hangFilesystem draws what stands on a device, how full it is, and where it is mounted. A btrfs is drawn
// once, with all its devices, and only named here.
func (s *session) hangFilesystem(from *branch, f *registry.Filesystem, mounts []registry.Mount) {
	if f == nil {
		for _, m := range mounts {
			from.add("at " + clean(m.Target))
		}
		return
	}
	text := clean(f.Type)
	if label, ok := f.Label.Get(); ok {
		text += " " + clean(quoted(label))
	}
	if f.Btrfs != nil || f.Type == "btrfs" {
		from.add(text + s.paint.dim(" (below)"))
		return
	}
	b := from.add(text + s.use(f))
	hangMounts(b, mounts)
}

// use is how full a filesystem is, where that is known.
func (s *session) use(f *registry.Filesystem) string {
	used, known := f.UsedBytes.Get()
	size, sized := f.SizeBytes.Get()
	switch {
	case known && sized:
		return " " + s.paint.useBar(used, size)
	case sized:
		return " " + sizeText(size)
	}
	return ""
}

func hangMounts(b *branch, mounts []registry.Mount) {
	for _, m := range mounts {
		text := "at " + clean(m.Target)
		if m.Root != "/" {
			text += " (" + clean(m.Root) + ")"
		}
		if m.ReadOnly {
			text += " read-only"
		}
		b.add(text)
	}
}

func (s *session) hangArray(root *branch, a *registry.MdArray) {
	text := fmt.Sprintf("%s %s %s %s", s.paint.bold(clean(a.Path)), clean(a.Level), s.paint.mood(clean(a.ArrayState)), sizeText(a.SizeBytes))
	if lacking := a.Degraded.Or(0); lacking > 0 {
		text += " " + s.paint.bad(fmt.Sprintf("degraded: %d of %d missing", lacking, a.RaidDisks.Or(0)))
	}
	b := root.add(text)
	if sync := a.Sync; sync != nil && sync.Percent.IsSet() {
		b.add(clean(sync.Action) + " " + drawBar(sync.Percent.Or(-1), barCells))
	}
	for _, m := range a.Members {
		b.add(clean(m.Path) + " " + clean(m.Role) + " " + clean(strings.Join(m.Flags, ",")))
	}
}

// maxSubvolumes is how many subvolumes of one filesystem are drawn.
const maxSubvolumes = 100

func (s *session) hangBtrfs(ctx context.Context, c *client.Client, root *branch, f *registry.InventoryBtrfs) {
	text := s.paint.bold("btrfs")
	if label, ok := f.Filesystem.Label.Get(); ok {
		text += " " + clean(quoted(label))
	}
	b := root.add(text + " " + f.Filesystem.UUID.Or("") + s.use(&f.Filesystem))
	for _, d := range f.Filesystem.Devices {
		b.add("on " + clean(d.Path.Or("(missing)")))
	}
	hangMounts(b, f.Mounts)
	if len(f.Mounts) > 0 {
		s.hangSubvolumes(ctx, c, b, f.Mounts[0].Target)
	}
}

// hangSubvolumes draws the subvolumes of a mounted btrfs, each below the one that it lies in. Where they
// cannot be listed, for want of a right say, the reason hangs there instead.
func (s *session) hangSubvolumes(ctx context.Context, c *client.Client, b *branch, target string) {
	rows, err := c.VolListSubvolumes(ctx, &registry.VolListSubvolumesParams{Path: registry.Some(target), Limit: registry.Some[int64](maxSubvolumes)})
	if err != nil {
		b.add(s.paint.dim("subvolumes: " + clean(err.Error())))
		return
	}
	branches := map[int64]*branch{}
	for v, err := range rows.All() {
		if err != nil {
			b.add(s.paint.dim("subvolumes: " + clean(err.Error())))
			return
		}
		from := branches[v.ParentID]
		if from == nil {
			from = b
		}
		text := "subvolume " + clean(v.FSPath)
		if v.ReadOnly {
			text += " read-only"
		}
		if q := v.Quota; q != nil && q.MaxReferencedBytes.IsSet() {
			text += " " + s.paint.useBar(q.ReferencedBytes, q.MaxReferencedBytes.Or(0))
		}
		branches[v.ID] = from.add(text)
	}
}
