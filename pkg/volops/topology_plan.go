package volops

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/pkg/registry"
)

// candidate is a disk that templates may take.
type candidate struct {
	path       string
	size       int64
	rotational blk.Fact[bool]
}

// template is one way to make filesystems of disks.
type template struct {
	name     string
	least    int
	parts    []string // what the host must have for it; see lacks
	survives int64    // failures, whichever disks they are
	choose   func(disks []candidate, least int) []candidate
	plan     func(disks []candidate) []registry.TopologyFilesystem // nil where nobody can tell
}

// templates are in the order in which they are answered.
var templates = []template{
	{"btrfs_single", 1, []string{partBtrfs}, 0, largest, plannedBtrfs(0, btrfs.DUP)},
	{"btrfs_raid1", 2, []string{partBtrfs}, 1, allOf, plannedBtrfs(btrfs.RAID1, btrfs.RAID1)},
	{"btrfs_raid10", 4, []string{partBtrfs}, 1, allOf, plannedBtrfs(btrfs.RAID10, btrfs.RAID10)},
	{"md_raid1_btrfs", 2, []string{partArray, partBtrfs}, 1, alike, plannedMirror},
	{"dual_independent", 2, []string{partBtrfs}, 0, largest, plannedEach},
	{"bcachefs_single", 1, []string{partBcachefs}, 0, largest, plannedBcachefs(1)},
	{"bcachefs2_copy", 2, []string{partBcachefs}, 1, allOf, plannedBcachefs(2)},
	{"ssd_hdd_bcachefs", 2, []string{partBcachefs}, 0, tiers, plannedBcachefs(1)},
}

// topologies applies every template to the disks.
func topologies(disks []candidate, host lacks) []registry.Topology {
	disks = slices.Clone(disks)
	slices.SortFunc(disks, bySize)
	list := make([]registry.Topology, 0, len(templates))
	for i := range templates {
		list = append(list, templates[i].apply(disks, host))
	}
	return list
}

// bySize orders the smallest first, and equal ones by name.
func bySize(a, b candidate) int {
	return cmp.Or(cmp.Compare(a.size, b.size), blk.Compare(a.path, b.path))
}

// apply applies the template to disks that are ordered by size.
func (t *template) apply(disks []candidate, host lacks) registry.Topology {
	row := registry.Topology{
		Template: t.name, Obstacles: t.tooFew(disks), Disks: []registry.TopologyDisk{}, Filesystems: []registry.TopologyFilesystem{},
	}
	var chosen []candidate
	if len(row.Obstacles) == 0 {
		chosen = t.choose(disks, t.least)
	}
	for i, d := range chosen {
		row.Disks = append(row.Disks, registry.TopologyDisk{Path: d.path, SizeBytes: min(d.size, maxInteger), Role: t.role(i)})
	}
	for _, part := range t.parts {
		row.Obstacles = append(row.Obstacles, host[part]...)
	}
	if row.Feasible = len(row.Obstacles) == 0; !row.Feasible {
		return row
	}
	row.FailuresSurvived = registry.Some(t.survives)
	row.Filesystems = t.plan(chosen)
	var sum int64
	for i := range row.Filesystems {
		usable, told := row.Filesystems[i].UsableBytes.Get()
		if !told {
			return row
		}
		sum += usable
	}
	row.UsableBytes = registry.Some(sum)
	return row
}

// tooFew says which disks lack; never nil.
func (t *template) tooFew(disks []candidate) []registry.TopologyObstacle {
	list := []registry.TopologyObstacle{}
	if t.name == "ssd_hdd_bcachefs" {
		for _, tier := range []struct {
			kind, what string
			rotational bool
		}{{"no_ssd", "disk without rotation", false}, {"no_hdd", "rotating disk", true}} {
			if len(turning(disks, tier.rotational)) == 0 {
				list = append(list, registry.TopologyObstacle{Kind: tier.kind, Message: "no " + tier.what + " is eligible"})
			}
		}
		return list
	}
	if len(disks) < t.least {
		list = append(list, registry.TopologyObstacle{
			Kind: "too_few_disks", Message: fmt.Sprintf("eligible disks: %d; at least %d are needed", len(disks), t.least),
		})
	}
	return list
}

// role is what a disk is for, by its place among the chosen.
func (t *template) role(i int) string {
	if t.name != "ssd_hdd_bcachefs" {
		return "data"
	}
	return []string{"foreground", "background"}[i]
}

// allOf takes all disks: to a filesystem with copies none is too many. The largest come last, since
// mkfs.btrfs puts its first chunks on the devices that are named last, and it is the small ones whose room
// is short.
func allOf(disks []candidate, _ int) []candidate { return disks }

// largest takes n disks, the largest ones, and of equal ones the first by name.
func largest(disks []candidate, n int) []candidate {
	list := slices.Clone(disks)
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.size, a.size), blk.Compare(a.path, b.path))
	})
	return list[:n]
}

// alike takes two disks for a mirror: those of which the smaller one is the largest, and no larger ones
// than that takes.
func alike(disks []candidate, _ int) []candidate {
	second := disks[len(disks)-2].size
	i := slices.IndexFunc(disks, func(d candidate) bool { return d.size == second })
	return disks[i : i+2]
}

// tiers takes the largest disk without rotation and the largest with.
func tiers(disks []candidate, _ int) []candidate {
	return append(largest(turning(disks, false), 1), largest(turning(disks, true), 1)...)
}

// turning are the disks of which it is known that they turn, or that they do not.
func turning(disks []candidate, rotational bool) []candidate {
	return slices.DeleteFunc(slices.Clone(disks), func(d candidate) bool { return d.rotational != blk.Fact[bool]{Value: rotational, Known: true} })
}

// plannedBtrfs is one btrfs over all the disks.
func plannedBtrfs(data, metadata btrfs.BlockGroup) func([]candidate) []registry.TopologyFilesystem {
	return func(disks []candidate) []registry.TopologyFilesystem {
		sizes := make([]uint64, len(disks))
		for i, d := range disks {
			sizes[i] = uint64(d.size)
		}
		return []registry.TopologyFilesystem{{
			Type: "btrfs", Devices: pathsOf(disks),
			DataProfile: registry.Some(data.Profile()), MetadataProfile: registry.Some(metadata.Profile()),
			UsableBytes: registry.Some(clip(btrfs.Capacity(sizes, data, metadata))),
		}}
	}
}

func pathsOf(disks []candidate) []string {
	paths := make([]string, len(disks))
	for i, d := range disks {
		paths[i] = d.path
	}
	return paths
}

// plannedEach is a btrfs on each disk.
func plannedEach(disks []candidate) (list []registry.TopologyFilesystem) {
	for i := range disks {
		list = append(list, plannedBtrfs(0, btrfs.DUP)(disks[i:i+1])...)
	}
	return list
}

// plannedMirror is a btrfs on an MD mirror of all the disks.
func plannedMirror(disks []candidate) []registry.TopologyFilesystem {
	array := candidate{size: mirrorSize(disks)}
	list := plannedBtrfs(0, btrfs.DUP)([]candidate{array})
	list[0].Devices, list[0].MDLevel = pathsOf(disks), registry.Some("raid1")
	return list
}

// mirrorSize is the size of an MD mirror with metadata 1.2 as mdadm makes it: each disk without what lies
// in front of its data, which is measured by the disk that is named first (validate_geometry1 in mdadm's
// super1.c), and in whole chunks of 64 KiB. Sectors have 512 bytes there.
func mirrorSize(disks []candidate) int64 {
	const (
		sector   = 512
		metadata = 24 // 12 KiB: the superblock and the log of bad blocks
		chunk    = (64 << 10) / sector
		mebi     = (1 << 20) / sector // to which the offset is rounded up
		grown    = 8 << 30 / sector   // from which on the bitmap has 64 KiB
		huge     = 200 << 30 / sector // from which on it has 128 KiB
	)
	first := disks[0].size / sector
	bitmap := int64(8)
	switch {
	case first-128 >= huge:
		bitmap = 256
	case first-8 > grown:
		bitmap = 128
	}
	headroom := int64(128 * mebi) // for reshaping: about a thousandth
	for headroom<<10 > first {
		headroom /= 2
	}
	offset := (metadata + bitmap + headroom + mebi - 1) / mebi * mebi
	smallest := first
	for _, d := range disks {
		smallest = min(smallest, d.size/sector)
	}
	return (smallest - offset) / chunk * chunk * sector
}

// plannedBcachefs is one bcachefs over all the disks. What it can take is not foretold.
func plannedBcachefs(replicas int64) func([]candidate) []registry.TopologyFilesystem {
	return func(disks []candidate) []registry.TopologyFilesystem {
		return []registry.TopologyFilesystem{{Type: "bcachefs", Devices: pathsOf(disks), Replicas: registry.Some(replicas)}}
	}
}
