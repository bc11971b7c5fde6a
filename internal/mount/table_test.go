package mount

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"golang.org/x/sys/unix"
)

const self = "/proc/self/mountinfo"

// table makes a table of "id parent target" lines.
func table(t *testing.T, lines ...string) *Table {
	t.Helper()
	tab := &Table{}
	for _, line := range lines {
		var m Mount
		if _, err := fmt.Sscan(line, &m.ID, &m.Parent); err != nil {
			t.Fatal(err)
		}
		m.Target = line[strings.IndexByte(line, '/'):]
		tab.Mounts = append(tab.Mounts, m)
	}
	return tab
}

func TestHidden(t *testing.T) {
	tests := []struct {
		name   string
		lines  []string
		hidden []uint32
	}{
		{"nothing covered", []string{"1 0 /", "2 1 /a", "3 2 /a/b", "4 1 /ab"}, nil},
		{"one on top of the other", []string{"1 0 /", "2 1 /a", "3 2 /a", "4 3 /a"}, []uint32{2, 3}},
		{"what stood below the covered one", []string{"1 0 /", "2 1 /a", "3 2 /a/b", "4 3 /a/b/c", "5 2 /a"}, []uint32{2, 3, 4}},
		{"what stands on the covering one", []string{"1 0 /", "2 1 /a", "3 2 /a", "4 3 /a/b"}, []uint32{2}},
		{"a folder above it is covered later", []string{"1 0 /", "2 1 /a/b", "3 1 /a", "4 2 /a/b/c"}, []uint32{2, 4}},
		{"the covering one is older, as after a move", []string{"1 0 /", "3 1 /a", "2 1 /a/b"}, []uint32{2}},
		{"the root is covered", []string{"1 0 /", "2 1 /", "3 2 /a", "4 1 /b"}, []uint32{1, 4}},
		{"the parent is listed later", []string{"2 9 /proc", "3 2 /proc/x", "9 0 /", "4 2 /proc"}, []uint32{2, 3}},
		{"a list that runs in circles", []string{"1 2 /a", "2 1 /a/b", "3 3 /"}, []uint32{1, 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tab := table(t, tt.lines...)
			want := map[uint32]bool{}
			for _, id := range tt.hidden {
				want[id] = true
			}
			for i, hidden := range tab.Hidden() {
				if m := tab.Mounts[i]; hidden != want[m.ID] {
					t.Errorf("mount %d at %s: hidden %v", m.ID, m.Target, hidden)
				}
			}
		})
	}
}

func TestContaining(t *testing.T) {
	tab := table(t, "5 1 /a/b", "1 0 /", "2 1 /a", "3 2 /a", "4 3 /a/c", "6 1 /x y", "8 7 /b", "7 1 /b")
	tests := map[string]uint32{
		"/": 1, "/a/b/d": 3, "/bb": 1, "/ab": 1, "/a": 3, "/a/": 3, "/a/cc": 3, "/a/c": 4, "/a/c/d/..": 4, "/a/c/..": 3, "/b/d": 8, "/x y/z": 6,
	}
	for path, want := range tests {
		if m := tab.Containing(path); m == nil || m.ID != want {
			t.Errorf("%s: %+v, want mount %d", path, m, want)
		}
	}
	if m := table(t, "2 1 /a").Containing("/b"); m != nil {
		t.Errorf("without a root: %+v", m)
	}
}

func TestReadErrors(t *testing.T) {
	if _, err := Read(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read = %v, want fs.ErrNotExist", err)
	}
	var line *LineError
	if _, err := Read("/proc/self/status"); !errors.As(err, &line) {
		t.Errorf("Read of something else = %v, want *LineError", err)
	}
}

// mountID asks the kernel which mount a path leads to; 0 where it leads nowhere.
func mountID(t *testing.T, path string, mask int) uint64 {
	t.Helper()
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, mask, &st)
	if err != nil && err != unix.ENOENT {
		t.Fatalf("statx %s: %v", path, err)
	}
	return st.Mnt_id
}

func readSelf(t *testing.T) *Table {
	t.Helper()
	tab, err := Read(self)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// TestAgainstTheKernel makes random trees of mounts, on, over and below one another, and has the
// kernel itself say what each path leads to.
func TestAgainstTheKernel(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	seed := testhost.Seed(t)
	for round := range testhost.Rounds(40) {
		rng := rand.New(rand.NewPCG(seed, uint64(round)))
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			dir := randomMounts(t, rng)
			checkTable(t, dir)
		})
	}
}

// randomMounts mounts a dozen filesystems somewhere below a new folder.
func randomMounts(t *testing.T, rng *rand.Rand) string {
	dir := t.TempDir()
	mustMount(t, "tmpfs", dir, "tmpfs", 0)
	t.Cleanup(func() { unmountAll(dir) })
	names := []string{"a", "b b", "c\\", "d\n", "é#"}
	for range 12 {
		path := dir
		for range rng.IntN(4) {
			path = filepath.Join(path, names[rng.IntN(len(names))])
		}
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if rng.IntN(3) == 0 {
			mustMount(t, dir, path, "", unix.MS_BIND)
		} else {
			mustMount(t, "none", path, "tmpfs", 0)
		}
	}
	return dir
}

func mustMount(t *testing.T, source, target, fstype string, flags uintptr) {
	t.Helper()
	if err := unix.Mount(source, target, fstype, flags, ""); err != nil {
		t.Fatalf("mount %s: %v", target, err)
	}
}

// unmountAll takes away all that is stacked at dir, with what stands on it.
func unmountAll(dir string) {
	for unix.Unmount(dir, unix.MNT_DETACH) == nil {
	}
}

func checkTable(t *testing.T, dir string) {
	tab := readSelf(t)
	unique, err := UniqueIDs()
	if err != nil {
		t.Fatal(err)
	}
	hidden := tab.Hidden()
	for i, m := range tab.Mounts {
		if _, ok := unique[Key{m.ID, m.Parent}]; !ok {
			t.Errorf("mount %d at %q has no unique id", m.ID, m.Target)
		}
		if !strings.HasPrefix(m.Target, dir) {
			continue
		}
		reached := uint32(mountID(t, m.Target, unix.STATX_MNT_ID)) // 0 where the path is gone
		if hidden[i] != (reached != m.ID) {
			t.Errorf("mount %d at %q: hidden %v, but the path leads to %d", m.ID, m.Target, hidden[i], reached)
		}
		if reached == 0 {
			continue
		}
		if c := tab.Containing(m.Target); c.ID != reached {
			t.Errorf("Containing(%q) = %d, want %d", m.Target, c.ID, reached)
		}
		if r := tab.ByID(reached); unique[Key{r.ID, r.Parent}] != mountID(t, m.Target, unix.STATX_MNT_ID_UNIQUE) {
			t.Errorf("unique id of mount %d at %q differs from statx's", r.ID, r.Target)
		}
	}
}

func TestCache(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	c := NewCache(self)
	defer c.Close()
	first := cached(t, c)
	if cached(t, c) != first {
		t.Error("read again although nothing changed")
	}
	dir := t.TempDir()
	changes := []struct {
		name string
		do   func() error
	}{
		{"mount", func() error { return unix.Mount("x", dir, "tmpfs", 0, "") }},
		{"remount", func() error { return unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "") }},
		{"unmount", func() error { return unix.Unmount(dir, 0) }},
	}
	for _, change := range changes {
		before := cached(t, c)
		if err := change.do(); err != nil {
			t.Fatalf("%s: %v", change.name, err)
		}
		if cached(t, c) == before {
			t.Errorf("%s went unnoticed", change.name)
		}
	}
	before := cached(t, c)
	c.Forget()
	if cached(t, c) == before {
		t.Error("Forget had no effect")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if len(cached(t, c).Mounts) == 0 {
		t.Error("nothing after Close")
	}
}

func cached(t *testing.T, c *Cache) *Table {
	t.Helper()
	tab, err := c.Table()
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// TestReadUnderChurn: while mounts come and go all the time, reads end, what stays is listed exactly
// once, and that something changed is said.
func TestReadUnderChurn(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	dir := t.TempDir()
	mustMount(t, "x", dir, "tmpfs", 0)
	t.Cleanup(func() { unmountAll(dir) })
	const steady = 300 // several pages of mountinfo
	for i := range steady {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		mustMount(t, "steady", path, "tmpfs", 0)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		churn(t, filepath.Join(dir, "7"), stop)
	}()
	changes := 0
	least, most := time.Now().Add(time.Second), time.Now().Add(30*time.Second)
	for time.Now().Before(least) || changes == 0 && time.Now().Before(most) {
		tab := readSelf(t)
		if tab.Changed {
			changes++
		}
		seen := 0
		for _, m := range tab.Mounts {
			if m.Source == "steady" {
				seen++
			}
		}
		if seen != steady {
			t.Errorf("%d of %d mounts that were there all the time", seen, steady)
		}
	}
	close(stop)
	<-stopped
	if changes == 0 {
		t.Error("no read was found to have been disturbed")
	}
	if readSelf(t).Changed {
		t.Error("changed without changes")
	}
}

func churn(t *testing.T, path string, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		if err := errors.Join(unix.Mount("churn", path, "tmpfs", 0, ""), unix.Unmount(path, unix.MNT_DETACH)); err != nil {
			t.Error(err)
			return
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for b.Loop() {
		if _, err := Read(self); err != nil {
			b.Fatal(err)
		}
	}
}
