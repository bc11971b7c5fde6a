package btrfs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/internal/testhost"
	"golang.org/x/sys/unix"
)

func open(t *testing.T, path string) *btrfs.Filesystem {
	t.Helper()
	f, err := btrfs.Open(t.Context(), path, btrfs.Wait)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// listed is the paths of all subvolumes.
func listed(t *testing.T, f *btrfs.Filesystem) (list []string) {
	t.Helper()
	for s, err := range f.Subvolumes().All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, fmt.Sprint(s.ID, " ", s.Parent, " ", s.Path))
	}
	return list
}

// witness is the same as btrfs-progs has it, which lists only what lies below the path it is given.
func witness(b *testhost.Btrfs) (list []string) {
	for line := range strings.Lines(b.Run("subvolume", "list", b.Path)) {
		var id, generation, parent uint64
		if n, _ := fmt.Sscanf(line, "ID %d gen %d top level %d path ", &id, &generation, &parent); n == 3 {
			_, path, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " path ")
			list = append(list, fmt.Sprint(id, " ", parent, " ", path))
		}
	}
	return list
}

func TestSubvolumesNestedAndMoved(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	testhost.Command(t, "sh", "-ec", `cd "$0"
		mkdir -p d/deep "with blank"
		for s in a b d/deep/c "with blank/s" a/in a/in/deeper gone; do btrfs -q subvolume create "$s"; done
		mkdir a/folder; btrfs -q subvolume create a/folder/x
		btrfs -q subvolume snapshot -r a a-snapshot
		btrfs -q subvolume create late; mv b late/b # now a subvolume lies in one with a higher number
		btrfs -q subvolume delete gone; btrfs filesystem sync .`, b.Path)
	f := open(t, b.Path)
	got, want := listed(t, f), witness(b)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || len(got) != 9 {
		t.Errorf("%d subvolumes:\n%s\nwant\n%s", len(got), strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if id, err := f.DefaultSubvolume(t.Context()); id != btrfs.TopLevel || err != nil {
		t.Errorf("default %d, %v", id, err)
	}
	b.Run("subvolume", "set-default", filepath.Join(b.Path, "a"))
	if id, err := f.DefaultSubvolume(t.Context()); id != 256 || err != nil {
		t.Errorf("default %d, %v; want 256", id, err)
	}
}

func TestOpenTakesAnyFile(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	want, err := open(t, b.Path).Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	testhost.Command(t, "sh", "-ec", `cd "$0"; mkdir folder; echo >file; mkfifo fifo; mknod null c 1 3; ln -s folder link`, b.Path)
	for _, name := range []string{"folder", "file", "fifo", "null", "link", "folder/../file"} {
		got, err := open(t, filepath.Join(b.Path, name)).Info(t.Context())
		if err != nil || got.UUID != want.UUID {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, path := range []string{"/proc", "/dev/null", t.TempDir()} {
		if _, err := btrfs.Open(t.Context(), path, btrfs.Wait); !errors.Is(err, btrfs.ErrNotBtrfs) {
			t.Errorf("%s: %v, want ErrNotBtrfs", path, err)
		}
	}
	if _, err := btrfs.Open(t.Context(), filepath.Join(b.Path, "nothing"), btrfs.Wait); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v, want os.ErrNotExist", err)
	}
}

func TestWalkStopsWithItsContext(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	b.Run("subvolume", "create", filepath.Join(b.Path, "a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for s, err := range open(t, b.Path).Subvolumes().All(ctx) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v, %v; want context.Canceled", s, err)
		}
	}
}

// A caller that gave up on a call must not touch what that call still writes to.
func TestGivenUpCallsAreLeftAlone(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	b.Run("subvolume", "create", filepath.Join(b.Path, "a"))
	gone := errors.New("gave up")
	late := make(chan func() error, 16)
	f, err := btrfs.Open(t.Context(), b.Path, func(ctx context.Context, call func() error) error {
		if len(late) == 0 { // the first is Open itself
			late <- nil
			return call()
		}
		late <- call
		return gone
	})
	if err != nil {
		t.Fatal(err)
	}
	<-late
	late <- nil
	for _, err := range f.Subvolumes().All(t.Context()) {
		if !errors.Is(err, gone) {
			t.Errorf("%v, want what the Waiter said", err)
		}
	}
	if _, err := f.Devices(t.Context()); !errors.Is(err, gone) {
		t.Errorf("%v, want what the Waiter said", err)
	}
	if got := listed(t, open(t, b.Path)); len(got) != 1 {
		t.Errorf("listed %q", got)
	}
	close(late)
	for call := range late {
		if call != nil && call() != nil {
			t.Error("the late call failed")
		}
	}
}

func TestOpenGivenUpLeaksNothing(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	var late func() error
	gone := errors.New("gave up")
	for _, first := range []bool{true, false} { // the call ends before, or behind, its caller
		_, err := btrfs.Open(t.Context(), b.Path, func(_ context.Context, call func() error) error {
			if first {
				call()
			}
			late = call
			return gone
		})
		if !errors.Is(err, gone) {
			t.Errorf("%v, want what the Waiter said", err)
		}
		if !first {
			late()
		}
	}
	if err := unix.Unmount(b.Path, 0); err != nil {
		t.Errorf("unmount: %v: a descriptor is left open", err)
	}
	b.Mount("")
}

func TestWithoutPrivilege(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	f := open(t, b.Path)
	testhost.WithoutCapabilities(t, func() {
		for _, err := range f.Subvolumes().All(t.Context()) {
			checkNeedsAdmin(t, "subvolumes", err)
		}
		for _, err := range f.Chunks(t.Context()) {
			checkNeedsAdmin(t, "chunks", err)
		}
		_, err := f.Balance(t.Context())
		checkNeedsAdmin(t, "balance", err)
		_, _, err = f.ScrubProgress(t.Context(), 1)
		checkNeedsAdmin(t, "scrub", err)
		if _, err := f.Spaces(t.Context()); err != nil {
			t.Errorf("spaces: %v", err)
		}
		if devices, err := f.Devices(t.Context()); err != nil || len(devices) != 1 {
			t.Errorf("devices: %v, %v", devices, err)
		}
		if _, err := f.DeviceStats(t.Context(), 1); err != nil {
			t.Errorf("device statistics: %v", err)
		}
	})
}

func checkNeedsAdmin(t *testing.T, what string, err error) {
	t.Helper()
	var op *btrfs.OpError
	if !errors.As(err, &op) || !errors.Is(err, syscall.EPERM) || op.Capability() != "CAP_SYS_ADMIN" {
		t.Errorf("%s: %v, want EPERM for CAP_SYS_ADMIN", what, err)
	}
}

// Under a thousand changes a second a walk ends, and each subvolume that was there all the time is
// listed once.
func TestWalkUnderChurn(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	testhost.Command(t, "sh", "-ec", `cd "$0"; for i in $(seq 100); do mkdir -p d$i; btrfs -q subvolume create d$i/stays; done`, b.Path)
	stop := make(chan struct{})
	done := make(chan error)
	go func() { done <- churn(b.Path, stop) }()
	f := open(t, b.Path)
	for end := time.Now().Add(time.Second); time.Now().Before(end); {
		seen := 0
		walk := f.Subvolumes()
		for s, err := range walk.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(s.Path, "/stays") {
				seen++
			}
		}
		if seen != 100 {
			t.Fatalf("%d of 100 subvolumes that stay were listed", seen)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// churn makes and removes folders with subvolumes in them.
func churn(path string, stop <-chan struct{}) error {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		folder := filepath.Join(path, fmt.Sprint("churn", i))
		if err := os.Mkdir(folder, 0o755); err != nil {
			return err
		}
		if err := subvolume(folder, iocSubvolCreate); err != nil {
			return err
		}
		if err := subvolume(folder, iocSnapDestroy); err != nil {
			return err
		}
		if err := os.Remove(folder); err != nil {
			return err
		}
	}
}
