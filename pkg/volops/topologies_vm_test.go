//go:build vmtest

package volops

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/vmtest"
	"github.com/geomind/my_os_server/pkg/registry"
)

// TestMirrorAgainstTheKernel makes MD mirrors of unequal disks as they are called feasible: the array is as
// large as foretold, and so is what a btrfs on it can take.
func TestMirrorAgainstTheKernel(t *testing.T) {
	vmtest.Guest(t)
	testhost.Tool(t, "mdadm", "mdadm")
	v := newVol(t, Options{})
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 0))
	for round := range min(testhost.Rounds(3), 4) {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			var paths []string
			var disks []candidate
			for range 2 + rng.IntN(2) {
				size := 10<<30 + rng.Int64N(pick[int64](rng, 1, 100, 400)<<30)
				disk := testhost.NewLoop(t, testhost.LoopOptions{Size: size - size%512})
				paths = append(paths, disk.Path)
				disks = append(disks, candidate{path: disk.Path, size: size - size%512})
			}
			list := feasible(t, v, paths...).Topologies
			row := list[slices.IndexFunc(list, func(r registry.Topology) bool { return r.Template == "md_raid1_btrfs" })]
			if !row.Feasible {
				t.Fatalf("%+v", row)
			}
			checkMirror(t, &row, disks)
		})
	}
}

// checkMirror makes the mirror, and a btrfs on it that takes all the space.
func checkMirror(t *testing.T, row *registry.Topology, disks []candidate) {
	const array = "/dev/md77"
	devices := row.Filesystems[0].Devices
	testhost.Command(t, "mdadm", append([]string{"--create", array, "--run", "--assume-clean", "--level=1", "--metadata=1.2",
		"--raid-devices=2"}, devices...)...)
	t.Cleanup(func() { testhost.Command(t, "mdadm", "--stop", array) })
	var chosen []candidate
	for _, path := range devices {
		chosen = append(chosen, disks[slices.IndexFunc(disks, func(d candidate) bool { return d.path == path })])
	}
	sectors, err := (&diskScan{diskList: &diskList{v: newVol(t, Options{})}}).partitionNumber(filepath.Base(array), "size")
	if err != nil || sectors*512 != mirrorSize(chosen) {
		t.Errorf("%+v: %d bytes, %v; want %d", chosen, sectors*512, err, mirrorSize(chosen))
	}
	taken := testhost.NewBtrfsOn(t, array).TakeAll("file")
	if off := math.Abs(float64(row.UsableBytes.Or(0))/float64(taken) - 1); off > 0.005 {
		t.Errorf("%+v: %d bytes, the kernel gives %d", chosen, row.UsableBytes.Or(0), taken)
	}
}
