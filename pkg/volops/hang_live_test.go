package volops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// within answers how long f took, and complains where that is longer than most.
func within(t *testing.T, most time.Duration, what string, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if d := time.Since(start); d > most {
		t.Errorf("%s took %v, more than %v", what, d, most)
	}
}

// TestHungFilesystem: callers of vol.usage on it end at their deadline or are busy at once; a link to
// it makes only itself busy; nothing is left when it is gone.
func TestHungFilesystem(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	mountpoint, release := testhost.HangingFS(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(mountpoint, link); err != nil {
		t.Fatal(err)
	}
	v := newVol(t, Options{})
	goroutines := runtime.NumGoroutine()
	var callers sync.WaitGroup
	var mu sync.Mutex
	outcomes := map[string]int{}
	within(t, 4*time.Second, "200 calls", func() {
		for i := range 200 {
			path := []string{mountpoint, mountpoint + "/x", link}[i%3]
			callers.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				_, err := v.Usage(ctx, &registry.VolUsageParams{Path: path})
				var busy *registry.BusyError
				kind := fmt.Sprint(err)
				if errors.As(err, &busy) {
					kind = fmt.Sprint("busy ", busy.Holders[0].Kind)
				}
				mu.Lock()
				outcomes[kind]++
				mu.Unlock()
			})
		}
		for range 50 {
			within(t, time.Second, "a healthy filesystem", func() { usageOf(t, v, filepath.Dir(link)) })
		}
		callers.Wait()
	})
	if outcomes["context deadline exceeded"] != 4 || outcomes["busy call"] != 196 {
		t.Errorf("outcomes: %v", outcomes)
	}
	if v.Blocked() != 4 {
		t.Errorf("Blocked() = %d", v.Blocked())
	}
	within(t, time.Second/2, "the folder with the link", func() { usageOf(t, v, filepath.Dir(link)) })
	release()
	testhost.Eventually(t, "calls are left", func() bool { return v.Blocked() == 0 })
	testhost.Eventually(t, "goroutines are left", func() bool { return runtime.NumGoroutine() <= goroutines })
	if err := tryUsage(t, v, mountpoint); err != nil {
		t.Errorf("once it is gone: %v", err)
	}
}

// TestListWithHungFilesystems: a list waits for all of them together about a second, later ones hardly
// at all, and every other row is as ever, those of filesystems mounted below a hung one too.
func TestListWithHungFilesystems(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	hung := map[string]bool{}
	var releases []func()
	for range 20 {
		mountpoint, release := testhost.HangingFS(t)
		hung[mountpoint] = true
		releases = append(releases, release)
	}
	v := newVol(t, Options{})
	check := func() {
		t.Helper()
		for _, row := range rows(t, v, "vol.list_mounts", `{}`, "mounts") {
			isHung := hung[row["target"].(string)]
			switch {
			case isHung && (row["usage_error"] != "timeout" || row["usage"] != nil):
				t.Errorf("%v hangs: %v", row["target"], row["usage_error"])
			case !isHung && row["usage_error"] != nil && row["usage_error"] != "hidden":
				t.Errorf("%v: %v", row["target"], row["usage_error"])
			}
		}
	}
	within(t, 20*time.Second, "the first list", check)
	within(t, 900*time.Millisecond, "the second list", check)
	if v.Blocked() != len(hung) {
		t.Errorf("Blocked() = %d, want %d: one call for each that hangs", v.Blocked(), len(hung))
	}
	for _, release := range releases {
		release()
	}
	testhost.Eventually(t, "calls are left", func() bool { return v.Blocked() == 0 })
}

// TestListWithFilesystemThatComesBack: what hung once is asked again.
func TestListWithFilesystemThatComesBack(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	fs := testhost.NewHanging(t)
	v := newVol(t, Options{})
	row := func() map[string]any {
		params := fmt.Sprintf(`{"target":%q}`, fs.Path)
		return rows(t, v, "vol.list_mounts", params, "mounts")[0]
	}
	if r := row(); r["usage_error"] != "timeout" {
		t.Errorf("hung: %v", r)
	}
	fs.Answer()
	testhost.Eventually(t, "calls are left", func() bool { return v.Blocked() == 0 })
	usage, _ := row()["usage"].(map[string]any)
	if usage["total_bytes"] != float64(testhost.HangingStatfs*4096) || usage["available_bytes"] != float64(testhost.HangingStatfs/4*4096) {
		t.Errorf("back: %v", usage)
	}
}

// TestHungDisk: a disk whose reads hang is marked, and all others are as ever.
func TestHungDisk(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	healthy := testhost.NewLoop(t, testhost.LoopOptions{})
	device, release := testhost.HangingDisk(t)
	v := newVol(t, Options{})
	check := func() {
		t.Helper()
		list := byName(rows(t, v, "vol.list_disks", `{}`, "disks"))
		if row := list[filepath.Base(device)]; row["probe_error"] != "timeout" || row["size_bytes"] == 0.0 {
			t.Errorf("the one that hangs: %v", row)
		}
		if row := list[filepath.Base(healthy.Path)]; row["probe_error"] != nil {
			t.Errorf("the healthy one: %v", row["probe_error"])
		}
	}
	within(t, 20*time.Second, "the first list", check)
	within(t, 900*time.Millisecond, "the second list", check)
	if v.Blocked() != 1 {
		t.Errorf("Blocked() = %d, want 1", v.Blocked())
	}
	release()
	testhost.Eventually(t, "calls are left", func() bool { return v.Blocked() == 0 })
	if row := rows(t, v, "vol.list_disks", fmt.Sprintf(`{"path":%q}`, device), "disks")[0]; row["probe_error"] != "EIO" {
		t.Errorf("once its reads fail: %v", row["probe_error"])
	}
}

// TestCancelledList: a caller that goes away ends its list.
func TestCancelledList(t *testing.T) {
	v := newVol(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, method := range []string{"vol.list_disks", "vol.list_mounts"} {
		row, _ := registry.Lookup(method)
		p, err := row.Decode(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := row.Call(ctx, &registry.Servers{Vol: v}, p, &registry.Out{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", method, err)
		}
	}
}
