package volops

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// disksOf makes candidates of sizes in GiB; a negative one turns.
func disksOf(sizes ...int64) (disks []candidate) {
	for i, size := range sizes {
		d := candidate{path: fmt.Sprintf("/dev/vd%c", 'a'+i), size: size << 30, rotational: blk.Fact[bool]{Known: true}}
		if size < 0 {
			d.size, d.rotational.Value = -d.size, true
		}
		disks = append(disks, d)
	}
	return disks
}

// TestTopologies: which disks each template takes, of those that are there, and what hinders.
func TestTopologies(t *testing.T) {
	without := lacks{}
	without.add(partBcachefs, "tool_missing", "…")
	for name, c := range map[string]struct {
		disks []candidate
		host  lacks
		want  []string
	}{
		"none": {nil, lacks{}, []string{
			"btrfs_single: too_few_disks", "btrfs_raid1: too_few_disks", "btrfs_raid10: too_few_disks", "md_raid1_btrfs: too_few_disks",
			"dual_independent: too_few_disks", "bcachefs_single: too_few_disks", "bcachefs2_copy: too_few_disks", "ssd_hdd_bcachefs: no_ssd no_hdd",
		}},
		"three": {disksOf(10, 30, 20), without, []string{
			"btrfs_single: vdb", "btrfs_raid1: vda vdc vdb survives 1", "btrfs_raid10: too_few_disks", "md_raid1_btrfs: vdc vdb survives 1",
			"dual_independent: vdb vdc", "bcachefs_single: tool_missing vdb", "bcachefs2_copy: tool_missing vda vdc vdb", "ssd_hdd_bcachefs: no_hdd tool_missing",
		}},
		"equal": {disksOf(20, 20, 40, 20, 20), lacks{}, []string{
			"btrfs_single: vdc", "btrfs_raid1: vda vdb vdd vde vdc survives 1", "btrfs_raid10: vda vdb vdd vde vdc survives 1", "md_raid1_btrfs: vda vdb survives 1",
			"dual_independent: vdc vda", "bcachefs_single: vdc", "bcachefs2_copy: vda vdb vdd vde vdc survives 1", "ssd_hdd_bcachefs: no_hdd",
		}},
		"tiers": {disksOf(10, -30, 20, -40), lacks{}, []string{
			"btrfs_single: vdd", "btrfs_raid1: vda vdc vdb vdd survives 1", "btrfs_raid10: vda vdc vdb vdd survives 1", "md_raid1_btrfs: vdb vdd survives 1",
			"dual_independent: vdd vdb", "bcachefs_single: vdd", "bcachefs2_copy: vda vdc vdb vdd survives 1", "ssd_hdd_bcachefs: vdc vdd",
		}},
	} {
		var got []string
		for _, row := range topologies(c.disks, c.host) {
			got = append(got, summary(&row))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// summary is a row in a few words.
func summary(row *registry.Topology) string {
	text := row.Template + ":"
	for _, o := range row.Obstacles {
		text += " " + o.Kind
	}
	for _, d := range row.Disks {
		text += " " + d.Path[len("/dev/"):]
	}
	if n := row.FailuresSurvived.Or(0); n > 0 {
		text += fmt.Sprint(" survives ", n)
	}
	return text
}

// TestTopologiesProperties: of random disks. The order in which they are given is no matter; what is
// feasible has all that it promises; nothing promises more than the disks have.
func TestTopologiesProperties(t *testing.T) {
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 0))
	for range testhost.Rounds(500) {
		var sizes []int64
		for range rng.IntN(9) {
			sizes = append(sizes, (10+rng.Int64N(200))*pick[int64](rng, 1, -1))
		}
		disks, host := disksOf(sizes...), lacks{}
		for _, part := range []string{partBtrfs, partArray, partBcachefs} {
			if rng.IntN(3) == 0 {
				host.add(part, "kernel", "…")
			}
		}
		list := topologies(disks, host)
		rng.Shuffle(len(disks), func(i, j int) { disks[i], disks[j] = disks[j], disks[i] })
		if diff := cmp.Diff(fmt.Sprint(list), fmt.Sprint(topologies(disks, host))); diff != "" {
			t.Fatalf("%d: another order, another answer:\n%s", sizes, diff)
		}
		for i := range list {
			checkTopology(t, &list[i], disks)
		}
	}
}

func checkTopology(t *testing.T, row *registry.Topology, disks []candidate) {
	t.Helper()
	var raw int64
	seen := make(map[string]bool)
	for _, d := range row.Disks {
		known := slices.ContainsFunc(disks, func(c candidate) bool { return c.path == d.Path && c.size == d.SizeBytes })
		if !known || seen[d.Path] {
			t.Errorf("%s takes %+v", row.Template, d)
		}
		seen[d.Path] = true
		raw += d.SizeBytes
	}
	if row.Feasible != (len(row.Obstacles) == 0) || row.Feasible != (len(row.Filesystems) > 0) || row.Feasible != row.FailuresSurvived.IsSet() {
		t.Errorf("%+v", row)
	}
	if !row.Feasible {
		return
	}
	var sum int64
	for _, f := range row.Filesystems {
		sum += f.UsableBytes.Or(0)
	}
	usable, told := row.UsableBytes.Get()
	if told != (row.Filesystems[0].Type == "btrfs") || usable != sum || usable > raw/(1+row.FailuresSurvived.Or(0)) || told && usable < 5<<30 {
		t.Errorf("%+v", row)
	}
}

// TestMirrorSize against what mdadm 4.2 has made of such disks.
func TestMirrorSize(t *testing.T) {
	for _, c := range []struct{ first, second, want int64 }{
		{10 << 30, 10 << 30, 10<<30 - 9<<20},
		{10 << 30, 30 << 30, 10<<30 - 9<<20},
		{54899283968, 311564782080, 54864642048},
		{11787156992, 183500009472, 11777671168},
		{55344576000, 105685602304, 55309959168},
	} {
		disks := []candidate{{size: c.first}, {size: c.second}}
		if got := mirrorSize(disks); got != c.want {
			t.Errorf("%d and %d: %d, want %d", c.first, c.second, got, c.want)
		}
	}
}
