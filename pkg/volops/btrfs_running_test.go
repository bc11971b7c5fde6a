package volops

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// runningHost is a filesystem with enough on it for work that can be looked at.
func runningHost(t *testing.T, o testhost.BtrfsOptions, megabytes int) *btrfsHost {
	h := &btrfsHost{Btrfs: testhost.NewBtrfs(t, o), t: t, r: rand.New(rand.NewPCG(testhost.Seed(t), 0)), v: newVol(t, Options{}), layout: o}
	for i := range megabytes / 16 {
		h.Write(fmt.Sprint("file", i), 16<<20)
	}
	testhost.Command(t, "sh", "-ec", `cd "$0"; rm -f file0 file4 file8 file12 file16; btrfs filesystem sync .`, h.Path) // no chunk is full
	record := scrubFolder + "/scrub.status." + h.uuid()
	t.Cleanup(func() { os.Remove(record) })
	return h
}

func (h *btrfsHost) balance() *registry.BtrfsBalance {
	return &answer[registry.VolBalanceStatusResult](h.t, h.v, "vol.balance_status", h.params()).Balance
}

// waitFor asks until ok says yes, for a few seconds at most.
func waitFor(ok func() bool) bool {
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

// balanceCases are filters as btrfs balance takes them, and as they are to come back.
var balanceCases = []struct {
	args []string
	want registry.BalanceFilters
}{
	{[]string{"-dusage=99"}, registry.BalanceFilters{Data: &registry.BalanceFilter{UsageMax: registry.Some[int64](99)}}},
	{[]string{"-dusage=1..100", "-musage=0"}, registry.BalanceFilters{
		Data:     &registry.BalanceFilter{UsageMin: registry.Some[int64](1), UsageMax: registry.Some[int64](100)},
		Metadata: &registry.BalanceFilter{UsageMax: registry.Some[int64](0)},
		System:   &registry.BalanceFilter{UsageMax: registry.Some[int64](0)}, // -m speaks for it too
	}},
	{[]string{"-ddevid=1,drange=1048576..1073741824,vrange=0..109951162777600,stripes=1..3,profiles=single|raid1"}, registry.BalanceFilters{
		Data: &registry.BalanceFilter{Devid: registry.Some[int64](1),
			DrangeStartBytes: registry.Some[int64](1 << 20), DrangeEndBytes: registry.Some[int64](1 << 30),
			VrangeStartBytes: registry.Some[int64](0), VrangeEndBytes: registry.Some[int64](100 << 40),
			StripesMin: registry.Some[int64](1), StripesMax: registry.Some[int64](3),
			Profiles: []registry.BtrfsProfile{"single", "raid1"}},
	}},
}

func TestBalanceUnderWay(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	h := runningHost(t, testhost.BtrfsOptions{Size: 1 << 30, Data: "single", Metadata: "dup"}, 320)
	for _, c := range balanceCases {
		b := h.pausedBalance(c.args)
		if b == nil {
			t.Errorf("%q: no balance could be paused", c.args)
			continue
		}
		if diff := cmp.Diff(&c.want, b.Filters, cmp.Comparer(sameOpt[int64]), cmp.Comparer(sameOpt[bool]), cmp.Comparer(sameOpt[registry.BtrfsProfile])); diff != "" {
			t.Errorf("%q: filters (-want +got)\n%s", c.args, diff)
		}
		text := testhost.Command(t, "sh", "-c", `btrfs balance status "$0"; true`, h.Path)
		counts := fmt.Sprintf("%d out of about %d chunks balanced (%d considered)", b.Completed.Or(-1), b.Expected.Or(-1), b.Considered.Or(-1))
		if !strings.Contains(text, "is paused") || !strings.Contains(text, counts) {
			t.Errorf("%q: ours %s; btrfs prints %q", c.args, counts, text)
		}
		if b.ExclusiveOperation.Or("") != "balance paused" || b.Force.Or(true) {
			t.Errorf("%q: %+v", c.args, b)
		}
		h.Run("balance", "cancel", h.Path)
		if got := h.balance(); got.State != "none" || got.ExclusiveOperation.Or("") != "none" {
			t.Errorf("canceled, and then %+v", got)
		}
	}
}

func sameOpt[T comparable](a, b registry.Opt[T]) bool { return a == b }

// begin runs btrfs(8) where it leaves a process behind that works on: that must not hold our pipes.
func (h *btrfsHost) begin(args ...string) {
	h.t.Helper()
	testhost.Command(h.t, "sh", append([]string{"-c", `exec btrfs "$@" >/dev/null 2>&1`, "sh"}, args...)...)
}

// pausedBalance begins a balance, sees it run, and pauses it. One may have ended before, so several
// are tried.
func (h *btrfsHost) pausedBalance(args []string) *registry.BtrfsBalance {
	for range 5 {
		h.begin(append(append([]string{"balance", "start", "--bg"}, args...), h.Path)...)
		seen := waitFor(func() bool { return h.balance().State == "running" })
		h.try("balance", "pause", h.Path)
		if b := h.balance(); seen && b.State == "paused" {
			return b
		}
		h.try("balance", "cancel", h.Path)
	}
	return nil
}

func (h *btrfsHost) scrub() *registry.BtrfsScrub {
	return &answer[registry.VolScrubStatusResult](h.t, h.v, "vol.scrub_status", h.params()).Scrub
}

// limitScrub bounds how fast each device is scrubbed, in bytes a second; 0 is no bound.
func (h *btrfsHost) limitScrub(speed int) {
	h.t.Helper()
	for i := range h.Disks {
		file := fmt.Sprintf("/sys/fs/btrfs/%s/devinfo/%d/scrub_speed_max", h.uuid(), i+1)
		if err := os.WriteFile(file, []byte(fmt.Sprint(speed)), 0); err != nil {
			h.t.Fatal(err)
		}
	}
}

func TestScrubUnderWay(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	h := runningHost(t, testhost.BtrfsOptions{Devices: 2, Data: "raid1", Metadata: "raid1"}, 64)
	if s := h.scrub(); s.State != "never" || len(s.Devices) != 0 || s.Progress != nil {
		t.Errorf("before the first: %+v", s)
	}
	h.limitScrub(4 << 20)
	h.begin("scrub", "start", h.Path)
	var s *registry.BtrfsScrub
	if !waitFor(func() bool { s = h.scrub(); return s.ScrubbedBytes.Or(0) > 1<<20 }) {
		t.Fatalf("a scrub was started, and then %+v", s)
	}
	started, ok := s.StartedAt.Get()
	if s.State != "running" || ok && time.Since(started) > time.Minute || s.TotalBytes.Or(0) < 96<<20 || s.Percent.Or(100) > 90 {
		t.Errorf("under way: %+v", s)
	}
	h.compareRunningScrub()
	h.Run("scrub", "cancel", h.Path)
	if !waitFor(func() bool { s = h.scrub(); return s.State == "canceled" && !s.RemainingS.IsSet() }) {
		t.Errorf("canceled: %+v", s)
	}
	h.compareScrub()
	h.begin("scrub", "resume", h.Path)
	if !waitFor(func() bool { s = h.scrub(); return s.State == "running" }) {
		t.Errorf("resumed: %+v", s)
	}
	h.compareRunningScrub()
	h.limitScrub(0)
	if !waitFor(func() bool { s = h.scrub(); return s.State == "finished" }) {
		t.Errorf("at its end: %+v", s)
	}
	h.compareScrub()
	if s.Percent.Or(0) < 99 || s.Errors.Or(-1) != 0 || !s.ResumedAt.IsSet() {
		t.Errorf("finished: %+v", s)
	}
}

// compareRunningScrub holds the counters against those of the witness before and behind.
func (h *btrfsHost) compareRunningScrub() {
	h.t.Helper()
	read := func() (sum int64) {
		for _, line := range usageLines(h.scrubText("-R", h.Path)) {
			name, value, _ := strings.Cut(line, ": ")
			if name == "data_bytes_scrubbed" || name == "tree_bytes_scrubbed" {
				sum += decimal(value)
			}
		}
		return sum
	}
	before := read()
	got := h.scrub().ScrubbedBytes.Or(-1)
	// What a resumed scrub has read before it was resumed comes from its record, which is a second old.
	if after := read(); got < before || got > after+16<<20 {
		h.t.Errorf("%d bytes are scrubbed, btrfs prints %d and then %d", got, before, after)
	}
}
