package volops

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/btrfswork"
	"github.com/geomind/my_os_server/internal/testhost"
)

// workers are the processes that do long work on a filesystem, by the device that they name.
func workers(t *testing.T) (pids []int) {
	t.Helper()
	list, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	for _, path := range list {
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), "\x00"+btrfswork.Word+"\x00") || !strings.Contains(string(text), fmt.Sprintf("/proc/%d/fd/", os.Getpid())) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		must(t, err)
		pids = append(pids, pid)
	}
	return pids
}

// scrubbable is a filesystem with something to scrub, and no record.
func scrubbable(t *testing.T, v *Vol, o testhost.BtrfsOptions) *testhost.Btrfs {
	t.Helper()
	b := testhost.NewBtrfs(t, o)
	for i := range 6 {
		b.Write(fmt.Sprint("file", i), 16<<20)
	}
	record := scrubFolder + "/scrub.status." + fsUUID(t, v, b)
	t.Cleanup(func() { os.Remove(record) })
	return b
}

func fsUUID(t *testing.T, v *Vol, b *testhost.Btrfs) string {
	t.Helper()
	return obtain(t, v, "vol.scrub_status", "path", b.Path)["scrub"].(map[string]any)["filesystem_uuid"].(string)
}

// throttle has scrubs read no more than so many bytes a second of each device.
func throttle(t *testing.T, uuid string, bytes int) {
	t.Helper()
	files, err := filepath.Glob("/sys/fs/btrfs/" + uuid + "/devinfo/*/scrub_speed_max")
	must(t, err)
	for _, file := range files {
		must(t, os.WriteFile(file, []byte(strconv.Itoa(bytes)), 0o600))
	}
}

// TestScrubStart starts one, lets it end, and holds the record against what btrfs-progs makes of it; then one that
// finds errors and mends them.
func TestScrubStart(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	b := scrubbable(t, v, testhost.BtrfsOptions{Devices: 2, Data: "raid1", Metadata: "raid1"})
	wantKind(t, failure(t, v, "vol.scrub_start", "path", b.Path, "action", "resume"), "not_found", "scrub")
	if got := obtain(t, v, "vol.scrub_start", "path", b.Path, "action", "cancel"); got["changed"] != false {
		t.Errorf("%v", got)
	}
	for _, corrupt := range []bool{false, true} {
		if corrupt {
			corruptMember(t, b)
		}
		if got := obtain(t, v, "vol.scrub_start", "path", b.Path); got["changed"] != true {
			t.Fatalf("%v", got)
		}
		state := func() any { return obtain(t, v, "vol.scrub_status", "path", b.Path)["scrub"].(map[string]any) }
		comesTrue(t, "end", func() bool { return state().(map[string]any)["state"] == "finished" && len(workers(t)) == 0 })
		scrub := state().(map[string]any)
		if found := scrub["errors"].(float64) > 0; found != corrupt {
			t.Errorf("corrupt %v: %v", corrupt, scrub)
		}
		text := testhost.Command(t, "btrfs", "scrub", "status", b.Path)
		if !strings.Contains(text, "finished") || strings.Contains(text, "no errors found") == corrupt {
			t.Errorf("btrfs says %s", text)
		}
	}
	wantKind(t, failure(t, v, "vol.scrub_start", "path", b.Path, "action", "resume"), "not_found", "scrub")
	wantKind(t, failure(t, v, "vol.scrub_start", "path", b.Path, "action", "cancel", "read_only", true), "invalid_params", "read_only")
	wantKind(t, failure(t, v, "vol.scrub_start", "path", "/proc"), "not_found", "btrfs")
}

// corruptMember overwrites data on one of two members behind the filesystem's back.
func corruptMember(t *testing.T, b *testhost.Btrfs) {
	t.Helper()
	b.Unmount()
	f, err := os.OpenFile(b.Disks[1].Path, os.O_RDWR, 0)
	must(t, err)
	for at := int64(100 << 20); at < 200<<20; at += 1 << 20 {
		_, err := f.WriteAt([]byte(strings.Repeat("x", 4096)), at)
		must(t, err)
	}
	must(t, errors.Join(f.Sync(), f.Close()))
	b.Mount("")
}

// TestScrubStartUnderWay throttles a scrub: it runs in a session of its own, that no signal ends; it is cancelled and
// resumed, and a second one is a conflict.
func TestScrubStartUnderWay(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	b := scrubbable(t, v, testhost.BtrfsOptions{})
	uuid := fsUUID(t, v, b)
	throttle(t, uuid, 8<<20)
	got := obtain(t, v, "vol.scrub_start", "path", b.Path, "read_only", true)
	if got["changed"] != true || got["scrub"].(map[string]any)["state"] != "running" {
		t.Fatalf("%v", got)
	}
	pids := workers(t)
	if len(pids) != 1 {
		t.Fatalf("workers %v", pids)
	}
	if session, err := syscall.Getpgid(pids[0]); err != nil || session != pids[0] {
		t.Errorf("process group %d of %d, %v", session, pids[0], err)
	}
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
		must(t, syscall.Kill(pids[0], signal))
	}
	time.Sleep(300 * time.Millisecond)
	wantKind(t, failure(t, v, "vol.scrub_start", "path", b.Path), "conflict", "runs already")
	wantKind(t, failure(t, v, "vol.scrub_start", "path", b.Path, "action", "resume"), "conflict")
	if text := testhost.Command(t, "btrfs", "scrub", "status", b.Path); !strings.Contains(text, "running") {
		t.Errorf("btrfs says %s", text)
	}
	if got := obtain(t, v, "vol.scrub_start", "path", b.Path, "action", "cancel"); got["changed"] != true {
		t.Errorf("%v", got)
	}
	comesTrue(t, "record", func() bool {
		return obtain(t, v, "vol.scrub_status", "path", b.Path)["scrub"].(map[string]any)["state"] == "canceled"
	})
	throttle(t, uuid, 0)
	if got := obtain(t, v, "vol.scrub_start", "path", b.Path, "action", "resume"); got["scrub"].(map[string]any)["resumed_at"] == nil && got["changed"] != true {
		t.Errorf("%v", got)
	}
	comesTrue(t, "end", func() bool {
		scrub := obtain(t, v, "vol.scrub_status", "path", b.Path)["scrub"].(map[string]any)
		return scrub["state"] == "finished" && scrub["resumed_at"] != nil
	})
	comesTrue(t, "the worker's end", func() bool { return len(workers(t)) == 0 })
}

// TestBalanceStart starts, pauses, resumes and cancels one, and refuses what loses something.
func TestBalanceStart(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{Devices: 2, Size: 1 << 30, Data: "raid1", Metadata: "raid1"})
	for i := range 20 {
		b.Write(fmt.Sprint("file", i), 32<<20)
	}
	sum := testhost.Sum(t, b.Path+"/file7")
	path := []any{"path", b.Path}
	with := func(pairs ...any) []any { return append(slices.Clone(path), pairs...) }
	data := func(filter map[string]any) map[string]any { return map[string]any{"data": filter} }
	wantKind(t, failure(t, v, "vol.balance_start", path...), "refused", "full_balance", "force")
	wantKind(t, failure(t, v, "vol.balance_start", with("filters", data(map[string]any{"convert": "single"}))...), "refused", "lowers_redundancy")
	wantKind(t, failure(t, v, "vol.balance_start", with("filters", data(map[string]any{"convert": "raid5"}))...), "refused", "raid56")
	wantKind(t, failure(t, v, "vol.balance_start", with("filters", map[string]any{"system": map[string]any{}})...), "refused", "system_chunks")
	wantKind(t, failure(t, v, "vol.balance_start", with("filters", map[string]any{})...), "invalid_params", "filters")
	wantKind(t, failure(t, v, "vol.balance_start", with("filters", data(map[string]any{"soft": true}))...), "invalid_params", "soft")
	wantKind(t, failure(t, v, "vol.balance_start", with("filters", data(map[string]any{"usage_min": 9, "usage_max": 3}))...), "invalid_params", "usage_min")
	wantKind(t, failure(t, v, "vol.balance_start", with("action", "pause", "force", true)...), "invalid_params", "action")
	wantKind(t, failure(t, v, "vol.balance_start", with("action", "resume")...), "not_found", "balance")
	for _, action := range []string{"pause", "cancel"} {
		if got := obtain(t, v, "vol.balance_start", with("action", action)...); got["changed"] != false {
			t.Errorf("%s: %v", action, got)
		}
	}
	state := func(got map[string]any) any { return got["balance"].(map[string]any)["state"] }
	got := obtain(t, v, "vol.balance_start", with("filters", data(map[string]any{"usage_min": 1}))...)
	if state(got) == "running" {
		wantKind(t, failure(t, v, "vol.balance_start", with("filters", data(map[string]any{}))...), "conflict", "balance")
		paused := obtain(t, v, "vol.balance_start", with("action", "pause")...)
		if paused["changed"] == true {
			if state(paused) != "paused" {
				t.Errorf("%v", paused)
			}
			if again := obtain(t, v, "vol.balance_start", with("action", "pause")...); again["changed"] != false {
				t.Errorf("%v", again)
			}
			resumed := obtain(t, v, "vol.balance_start", with("action", "resume")...)
			if resumed["changed"] != true {
				t.Errorf("%v", resumed)
			}
		}
		obtain(t, v, "vol.balance_start", with("action", "cancel")...)
	} else {
		t.Logf("it was over at once: %v", got)
	}
	comesTrue(t, "the workers' end", func() bool { return len(workers(t)) == 0 })
	obtain(t, v, "vol.balance_start", with("filters", data(map[string]any{"convert": "single"}), "force", true)...)
	comesTrue(t, "conversion", func() bool {
		return len(workers(t)) == 0 && strings.Contains(b.Run("filesystem", "df", b.Path), "Data, single")
	})
	if testhost.Sum(t, b.Path+"/file7") != sum {
		t.Error("a file has changed")
	}
}
