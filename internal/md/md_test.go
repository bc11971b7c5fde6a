package md

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
)

// TestCaptured reads the arrays of a captured host.
func TestCaptured(t *testing.T) {
	root := testhost.Tree(t, "md")
	names, err := List(root)
	slices.Sort(names)
	if want := []string{"md122", "md123", "md124", "md125", "md126", "md127"}; err != nil || !slices.Equal(names, want) {
		t.Fatalf("arrays %v, %v; want %v", names, err, want)
	}
	a, err := Read(root, "md125")
	if err != nil {
		t.Fatal(err)
	}
	number := func(v int64) Fact[int64] { return Fact[int64]{Value: v, Known: true} }
	disk := func(name string, minor uint32, slot, books int64, flag string) Member {
		return Member{Name: name, Major: 7, Minor: minor, Slot: number(slot), Number: number(books), Flags: []string{flag},
			Size: number(48128 << 10), Offset: number(1 << 20), Errors: number(0)} // an empty bad_blocks is not captured
	}
	rebuilding := disk("loop4", 4, 2, 3, "spare")
	rebuilding.RecoveryStart = number(24096 * 512)
	want := &Array{
		Name: "md125", Major: 9, Minor: 125, Level: "raid5", State: "clean", Size: 96256 << 10, Component: 48128 << 10,
		RaidDisks: number(3), Degraded: number(1), Metadata: "1.2", UUID: "3230f8d2-0e9c-6515-b31e-b1cf18e73145",
		Chunk: 64 << 10, Layout: 2, Policy: "resync", Bitmap: "none",
		Sync:    &Sync{Action: "recover", Last: "recover", Min: number(0), Mismatch: number(0)},
		Members: []Member{disk("loop2", 2, 0, 0, "in_sync"), disk("loop3", 3, 1, 1, "in_sync"), rebuilding},
	}
	// What moves while it is captured is held against its file alone.
	want.Sync.Done, want.Sync.Total, want.Sync.Speed = a.Sync.Done, number(96256*512), a.Sync.Speed
	if diff := cmp.Diff(want, a); diff != "" {
		t.Errorf("md125 (-want +got):\n%s", diff)
	}
	if left := a.Sync.Remaining(); !left.Known || left.Value < 1 || left.Value > 1000 {
		t.Errorf("%+v has %+v seconds to go", a.Sync, left)
	}
}

// TestNoArrays is about hosts without any, and devices that are none.
func TestNoArrays(t *testing.T) {
	root := t.TempDir()
	if _, err := List(root); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without /sys/block: %v", err)
	}
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("sys/block/sda/size", "100\n")
	write("sys/block/md0/md/array_state", "clear\n") // a node that was opened
	if names, err := List(root); err != nil || len(names) != 0 {
		t.Errorf("arrays %v, %v", names, err)
	}
	for _, name := range []string{"sda", "md0", "md1", "../sda"} {
		if a, err := Read(root, name); !errors.Is(err, ErrNotArray) {
			t.Errorf("%s: %v, %v", name, a, err)
		}
	}
}

// TestOldUUID is about version 0.90, of which the kernel shows the words as they lie in its memory.
func TestOldUUID(t *testing.T) {
	if got := swapWords("78f8a765-209f-884f-0fd2-b31160f1b414"); got != "65a7f878-4f88-9f20-11b3-d20f14b4f160" && got != "78f8a765-209f-884f-0fd2-b31160f1b414" {
		t.Error(got)
	}
	for _, s := range []string{"", "none", "78f8a765"} {
		if got := swapWords(s); got != "" {
			t.Errorf("%q: %q", s, got)
		}
	}
}

func TestLayouts(t *testing.T) {
	for _, c := range []struct {
		level string
		code  int64
		want  string
	}{
		{"raid5", 2, "left-symmetric"}, {"raid5", 0, "left-asymmetric"}, {"raid5", 18, ""}, {"raid6", 18, "left-symmetric-6"},
		{"raid6", 8, "ddf-zero-restart"}, {"raid10", 0x102, "near=2"}, {"raid10", 0x201, "far=2"}, {"raid10", 0x10201, "offset=2"},
		{"raid10", 0x202, "near=2, far=2"}, {"raid10", 0x101, "near=1"}, {"raid10", 0, ""}, {"raid0", 1, "original"}, {"raid0", 0, ""},
		{"raid1", 2, ""}, {"raid4", 5, ""},
	} {
		if got := LayoutName(c.level, c.code); got != c.want {
			t.Errorf("%s %#x: %q, want %q", c.level, c.code, got, c.want)
		}
	}
}

// TestSurvives holds the counts against a search for the fewest failures that lose data.
func TestSurvives(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		level := []string{"raid0", "linear", "raid1", "raid4", "raid5", "raid6", "raid10"}[rng.IntN(7)]
		present := make([]bool, 4+rng.IntN(3))
		for i := range present {
			present[i] = rng.IntN(5) > 0
		}
		near := 1 + rng.IntN(len(present))
		far := 1
		if near == 1 {
			far = 1 + rng.IntN(len(present))
		}
		layout := int64(near | far<<8 | rng.IntN(2)<<16)
		want := fewestFatal(level, near, far, present) - 1
		if got := Survives(level, layout, present); max(-1, got) != want {
			t.Fatalf("%s near %d far %d %v: survives %d, want %d", level, near, far, present, got, want)
		}
	}
}

// fewestFatal is how many more members must fail before data are lost; 0 where they are.
func fewestFatal(level string, near, far int, present []bool) int64 {
	n := len(present)
	best := int64(n + 1)
	for failing := range 1 << n {
		left := slices.Clone(present)
		count := int64(0)
		for i := range n {
			if failing>>i&1 == 1 {
				left[i] = false
				count++
			}
		}
		if count < best && !readable(level, near, far, left) {
			best = count
		}
	}
	return best
}

// readable tells whether every block can be had from members that are left.
func readable(level string, near, far int, left []bool) bool {
	missing := 0
	for _, ok := range left {
		if !ok {
			missing++
		}
	}
	switch level {
	case "raid1":
		return missing < len(left)
	case "raid4", "raid5":
		return missing <= 1
	case "raid6":
		return missing <= 2
	case "raid10":
		for chunk := range len(left) * near { // as __raid10_find_phys places them
			found := false
			for copy := range near {
				for section := range far {
					found = found || left[(chunk*near+copy+section*near)%len(left)]
				}
			}
			if !found {
				return false
			}
		}
		return true
	}
	return missing == 0
}
