package volops

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// feasible asks about disks by their paths.
func feasible(t *testing.T, v *Vol, paths ...string) *registry.VolFeasibleTopologiesResult {
	t.Helper()
	list, err := json.Marshal(paths)
	if err != nil {
		t.Fatal(err)
	}
	return answer[registry.VolFeasibleTopologiesResult](t, v, "vol.feasible_topologies", fmt.Sprintf(`{"disks":%s}`, list))
}

// TestTopologiesAgainstTheKernel makes what is called feasible, and takes all the space that can be had.
func TestTopologiesAgainstTheKernel(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	testhost.Tool(t, "mkfs.btrfs", "btrfs-progs")
	v := newVol(t, Options{})
	seed := testhost.Seed(t)
	worst := make(map[string]float64)
	for round := range testhost.Rounds(6) {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, uint64(round)))
			sizes := make(map[string]int64)
			var paths []string
			spread := pick[int64](rng, 1, 10, 100, 1000)
			for range 1 + rng.IntN(7) {
				size := 10<<30 + rng.Int64N(spread<<30)
				disk := testhost.NewLoop(t, testhost.LoopOptions{Size: size - size%512})
				paths = append(paths, disk.Path)
				sizes[disk.Path] = size - size%512
			}
			for _, row := range feasible(t, v, paths...).Topologies {
				makeTopology(t, &row, sizes, worst)
			}
		})
	}
	t.Logf("worst, in %%: %v", worst)
}

// makeTopology makes the filesystems of a template, those on one disk once.
func makeTopology(t *testing.T, row *registry.Topology, sizes map[string]int64, worst map[string]float64) {
	if !row.Feasible || !strings.HasPrefix(row.Template, "btrfs_") {
		return
	}
	f := row.Filesystems[0]
	o := testhost.BtrfsOptions{Data: f.DataProfile.Or(""), Metadata: f.MetadataProfile.Or("")}
	for _, path := range f.Devices {
		o.Sizes = append(o.Sizes, sizes[path])
	}
	b := testhost.NewBtrfs(t, o)
	taken := b.TakeAll("file")
	b.Unmount()
	off := math.Abs(float64(row.UsableBytes.Or(0))/float64(taken)-1) * 100
	worst[row.Template] = max(worst[row.Template], off)
	if off > 0.5 {
		t.Errorf("%s of %d: %d bytes, the kernel gives %d", row.Template, o.Sizes, row.UsableBytes.Or(0), taken)
	}
}

// TestEligible: which disks are refused, and why.
func TestEligible(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	const size = 10 << 30
	disk := func(o testhost.LoopOptions) string { return testhost.NewLoop(t, o).Path }
	empty := disk(testhost.LoopOptions{Size: size})
	want := map[string]string{
		disk(testhost.LoopOptions{Size: size - 512}):             "too_small",
		disk(testhost.LoopOptions{Size: size, ReadOnly: true}):   "read_only",
		disk(testhost.LoopOptions{Size: size, SectorSize: 4096}): "",
		empty: "",
	}
	for content, reason := range map[string]string{"gpt": "not_empty", "ext4": "not_empty", "swap": "not_empty", "mounted": "in_use", "loop": "in_use"} {
		path := disk(testhost.LoopOptions{Size: size})
		want[path] = reason
		switch content {
		case "gpt":
			testhost.Tool(t, "sfdisk", "fdisk")
			tool(t, "label: gpt\n", "sfdisk", "-q", "--no-reread", "--no-tell-kernel", path)
		case "swap":
			testhost.Command(t, "mkswap", path)
		case "loop":
			disk(testhost.LoopOptions{Device: path})
		default:
			testhost.Command(t, "mkfs.ext4", "-q", "-F", path)
		}
		if content == "mounted" {
			target := t.TempDir()
			if err := unix.Mount(path, target, "ext4", 0, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })
		}
	}
	v := newVol(t, Options{})
	var paths []string
	for path := range want {
		paths = append(paths, path)
	}
	checkEligible(t, feasible(t, v, append(paths, empty)...), want)
	for path := range want {
		want[path] = "kind"
	}
	checkEligible(t, answer[registry.VolFeasibleTopologiesResult](t, v, "vol.feasible_topologies", `{}`), want)
	checkUnknownDisks(t, v, empty)
}

// checkEligible holds the reasons of the disks that the test made against what is wanted; "" is eligible.
func checkEligible(t *testing.T, r *registry.VolFeasibleTopologiesResult, want map[string]string) {
	t.Helper()
	got := make(map[string]string)
	for _, d := range r.Ineligible {
		got[d.Path] = d.Reason
		if d.Message.Or("") == "" {
			t.Errorf("%s: no message", d.Path)
		}
	}
	for path, reason := range want {
		eligible := slices.ContainsFunc(r.Eligible, func(d registry.EligibleDisk) bool { return d.Path == path })
		if got[path] != reason || eligible != (reason == "") {
			t.Errorf("%s: %q, want %q", path, got[path], reason)
		}
	}
}

// checkUnknownDisks names what is no disk.
func checkUnknownDisks(t *testing.T, v *Vol, disk string) {
	t.Helper()
	other := testhost.NewLoop(t, testhost.LoopOptions{})
	partition := other.AddPartition(1, 1<<20, 1<<20)
	for name, resource := range map[string]string{"/dev/no-such-disk": "device", "/dev/null": "device", partition: "disk", "LABEL=no such label": "device"} {
		_, err := call(t, v, "vol.feasible_topologies", fmt.Sprintf(`{"disks":[%q,%q]}`, disk, name))
		var missing *registry.NotFoundError
		if !errors.As(err, &missing) || missing.Resource != resource {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTopologiesWithoutPrivilege: a disk that may not be read is not eligible.
func TestTopologiesWithoutPrivilege(t *testing.T) {
	if !testhost.Nobody(t) {
		return
	}
	r := answer[registry.VolFeasibleTopologiesResult](t, newVol(t, Options{}), "vol.feasible_topologies", `{}`)
	if len(r.Eligible) > 0 || len(r.Ineligible) == 0 || len(r.Topologies) != len(templates) {
		t.Errorf("%+v", r)
	}
	_, err := call(t, newVol(t, Options{Root: t.TempDir()}), "vol.feasible_topologies", `{}`)
	checkKind(t, err, "unsupported")
}
