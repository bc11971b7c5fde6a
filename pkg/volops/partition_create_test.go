package volops

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// sfdiskOf is what sfdisk says of a disk.
func sfdiskOf(t testing.TB, path string) sfdiskTable {
	t.Helper()
	var out struct{ PartitionTable sfdiskTable }
	if err := json.Unmarshal([]byte(tool(t, "", "sfdisk", "-J", path)), &out); err != nil {
		t.Fatal(err)
	}
	return out.PartitionTable
}

// TestCreatePartition fills random disks and holds the tables against sfdisk and sgdisk, the nodes against
// the kernel, and repeats every call.
func TestCreatePartition(t *testing.T) {
	testhost.Tool(t, "sfdisk", "fdisk")
	testhost.Tool(t, "sgdisk", "gdisk")
	if !testhost.MountNS(t) {
		return
	}
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 11))
	v := writingVol(t)
	for range testhost.Rounds(3) {
		sector := pick[uint32](rng, 512, 512, 4096)
		disk := testhost.NewLoop(t, testhost.LoopOptions{Size: int64(16+rng.IntN(64)) << 20, SectorSize: sector})
		n := 1 + rng.IntN(4)
		for i := range n {
			makeRandomPartition(t, rng, v, disk.Path, i == 0)
		}
		if sector == 512 {
			if out := tool(t, "", "sgdisk", "-v", disk.Path); !strings.Contains(out, "No problems found") {
				t.Errorf("sgdisk -v: %s", out)
			}
		}
		disk.Detach()
	}
}

func makeRandomPartition(t *testing.T, rng *rand.Rand, v *Vol, path string, first bool) {
	t.Helper()
	uuid := (&scene{rng: rng}).uuid()
	label := pick(rng, "data", "-x", "é漢字", "a,b=c", strings.Repeat("😀", 18))
	typ := pick(rng, "linux", "swap", "efi", "bc13c2ff-59e6-4262-a352-b275fd6f7172")
	size := (1 + rng.Int64N(3)) << 20
	pairs := []any{"disk", path, "uuid", uuid, "label", label, "type", typ, "size_bytes", max(1<<20, size-rng.Int64N(1<<20))}
	got := obtain(t, v, "vol.create_partition", pairs...)
	p := got["partition"].(map[string]any)
	if got["created"] != true || got["table_created"] != first || p["uuid"] != uuid || p["label"] != label || p["size_bytes"] != float64(size) ||
		p["in_kernel"] != true || p["in_table"] != true || int64(p["start_bytes"].(float64))%(1<<20) != 0 {
		t.Fatalf("%v: %v", pairs, got)
	}
	if st, err := os.Stat(p["path"].(string)); err != nil || st.Mode()&os.ModeDevice == 0 {
		t.Fatalf("node: %v %v", st, err)
	}
	again := obtain(t, v, "vol.create_partition", pairs...)
	if again["created"] != false || again["partition"].(map[string]any)["path"] != p["path"] {
		t.Fatalf("again: %v", again)
	}
	wantKind(t, failure(t, v, "vol.create_partition", "disk", path, "uuid", uuid, "label", "other"), "conflict", "label")
	table := sfdiskOf(t, path)
	last := table.Partitions[len(table.Partitions)-1]
	if strings.ToLower(last.UUID) != uuid || last.Name != label || last.Node != p["path"] || last.Start*table.SectorSize != int64(p["start_bytes"].(float64)) || last.Size*table.SectorSize != size {
		t.Errorf("sfdisk has %+v, we %v", last, p)
	}
}

// TestPartitionPlaces asks for the rest, for a start, and for more than there is.
func TestPartitionPlaces(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	disk := loop(t, 64<<20)
	place := func(pairs ...any) string {
		t.Helper()
		p := obtain(t, v, "vol.create_partition", append([]any{"disk", disk.Path}, pairs...)...)["partition"].(map[string]any)
		return fmt.Sprintf("%v+%v", p["start_bytes"].(float64)/(1<<20), p["size_bytes"].(float64)/(1<<20))
	}
	for _, c := range []struct {
		want  string
		pairs []any
	}{
		{"10+4", []any{"start_bytes", 10 << 20, "size_bytes", 4 << 20}},
		{"1+5", []any{"size_bytes", 5<<20 - 1}},
		{"14+49", nil},
		{"8+2", []any{"start_bytes", 8 << 20}},
		{"6+2", nil},
	} {
		if got := place(c.pairs...); got != c.want {
			t.Errorf("%v: at %s MiB, want %s", c.pairs, got, c.want)
		}
	}
	wantKind(t, failure(t, v, "vol.create_partition", "disk", disk.Path), "resource_exhausted", "free_extent")
	wantKind(t, failure(t, v, "vol.create_partition", "disk", disk.Path, "start_bytes", 5), "invalid_params", "start_bytes")
	wantKind(t, failure(t, v, "vol.create_partition", "disk", disk.Path, "label", strings.Repeat("😀", 19)), "invalid_params", "label")
	for _, field := range []string{"type", "uuid"} { // of type zero an entry of the table is none
		wantKind(t, failure(t, v, "vol.create_partition", "disk", disk.Path, field, "00000000-0000-0000-0000-000000000000"), "invalid_params", field, "all zeros")
	}
	wantKind(t, failure(t, v, "vol.create_partition", "disk", disk.Path+"p1"), "not_found", "whole disk")
	wantKind(t, failure(t, v, "vol.create_partition", "disk", disk.Path, "expect", map[string]any{"size_bytes": 5}), "refused", "expectation")
	wantKind(t, failure(t, v, "vol.create_partition", "disk", "LABEL=x"), "refused", "forgeable_name")
	wantKind(t, failure(t, v, "vol.create_partition", "disk", "/dev/nothing"), "not_found")
}

// TestPartitionBesides makes one beside a mounted one, tells of what lay there before, and finishes what was
// cut off before the kernel knew of it.
func TestPartitionBesides(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	disk := loop(t, 96<<20)
	tool(t, "", "mkfs.ext4", "-q", "-E", "offset=35651584", disk.Path, "16M")
	uuid := (&scene{rng: rand.New(rand.NewPCG(testhost.Seed(t), 1))}).uuid()
	first := obtain(t, v, "vol.create_partition", "disk", disk.Path, "size_bytes", 33<<20, "uuid", uuid)["partition"].(map[string]any)["path"].(string)
	tool(t, "", "mkfs.ext4", "-q", first)
	dir := t.TempDir()
	if err := unix.Mount(first, dir, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	second := obtain(t, v, "vol.create_partition", "disk", disk.Path)
	old := second["old_signatures"].([]any)
	if len(old) != 1 || old[0].(map[string]any)["type"] != "ext4" {
		t.Errorf("old signatures: %v", old)
	}
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(disk.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tool(t, "", "partx", "-d", "--nr", "1", disk.Path)
	if got := obtain(t, v, "vol.create_partition", "disk", disk.Path, "uuid", uuid); got["created"] != false || got["partition"].(map[string]any)["in_kernel"] != true {
		t.Errorf("without its node: %v", got)
	}
}

// TestPartitionConflicts asks for partitions on what is no disk for them.
func TestPartitionConflicts(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	whole := loop(t, 32<<20)
	tool(t, "", "mkfs.ext4", "-q", whole.Path)
	dos := loop(t, 32<<20)
	tool(t, "label: dos\nstart=2048, size=2048\n", "sfdisk", "-q", "--no-reread", "--no-tell-kernel", dos.Path)
	lost := loop(t, 32<<20)
	lost.AddPartition(1, 1<<20, 1<<20)
	readOnly := testhost.NewLoop(t, testhost.LoopOptions{ReadOnly: true})
	torn := loop(t, 32<<20)
	obtain(t, v, "vol.create_partition", "disk", torn.Path, "size_bytes", 1<<20)
	f, err := os.OpenFile(torn.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{1}, 32<<20-1000); err != nil { // in the backup's entries
		t.Fatal(err)
	}
	f.Close()
	for _, c := range []struct {
		disk, kind, word string
	}{
		{whole.Path, "conflict", "ext4"}, {dos.Path, "conflict", "dos"}, {lost.Path, "conflict", "no table lists"},
		{readOnly.Path, "refused", "read_only"}, {torn.Path, "refused", "table_damaged"},
	} {
		before := testhost.Sum(t, c.disk)
		wantKind(t, failure(t, v, "vol.create_partition", "disk", c.disk), c.kind, c.word)
		if testhost.Sum(t, c.disk) != before {
			t.Errorf("%s: was changed", c.disk)
		}
	}
}
