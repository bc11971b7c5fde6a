package volops

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/btrfs"
	"github.com/geomind/my_os_server/internal/mount"
	"github.com/geomind/my_os_server/pkg/registry"
)

func TestBalanceFilter(t *testing.T) {
	some := registry.Some[int64]
	for name, c := range map[string]struct {
		args btrfs.BalanceArgs
		want registry.BalanceFilter
	}{
		"all chunks": {btrfs.BalanceArgs{}, registry.BalanceFilter{}},
		"one usage":  {btrfs.BalanceArgs{Flags: btrfs.BalanceUsage, UsageMin: 30}, registry.BalanceFilter{UsageMax: some(30)}},
		"usage and limit": {
			btrfs.BalanceArgs{Flags: btrfs.BalanceUsage | btrfs.BalanceUsageRange | btrfs.BalanceLimitRange, UsageMin: 5, UsageMax: 60, LimitMin: 2, LimitMax: math.MaxUint32},
			registry.BalanceFilter{UsageMin: some(5), UsageMax: some(60), LimitMin: some(2), LimitMax: some(math.MaxUint32)},
		},
		"one limit": {btrfs.BalanceArgs{Flags: btrfs.BalanceLimit, LimitMin: 9}, registry.BalanceFilter{LimitMax: some(9)}},
		"open ranges": {
			btrfs.BalanceArgs{Flags: btrfs.BalanceDevice | btrfs.BalanceDeviceRange | btrfs.BalanceLogicalRange | btrfs.BalanceStripesRange,
				Device: 3, DeviceStart: 1, DeviceEnd: math.MaxUint64, LogicalStart: 2, LogicalEnd: math.MaxUint64, StripesMin: 1, StripesMax: 4},
			registry.BalanceFilter{Devid: some(3), DrangeStartBytes: some(1), DrangeEndBytes: some(maxInteger),
				VrangeStartBytes: some(2), VrangeEndBytes: some(maxInteger), StripesMin: some(1), StripesMax: some(4)},
		},
		"convert": {
			btrfs.BalanceArgs{Flags: btrfs.BalanceConvert | btrfs.BalanceSoft | btrfs.BalanceProfiles, Target: btrfs.AvailSingle, Profiles: btrfs.AvailSingle | btrfs.DUP},
			registry.BalanceFilter{Convert: registry.Some(registry.BtrfsProfile("single")), Soft: registry.Some(true), Profiles: []registry.BtrfsProfile{"single", "dup"}},
		},
	} {
		if diff := cmp.Diff(&c.want, balanceFilter(&c.args), cmp.Comparer(sameOpt[int64]), cmp.Comparer(sameOpt[bool]), cmp.Comparer(sameOpt[registry.BtrfsProfile])); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
	if balanceFilter(nil) != nil {
		t.Error("a type that is left alone has a filter")
	}
}

func TestBalanceState(t *testing.T) {
	for want, b := range map[string]btrfs.Balance{
		"running": {Running: true}, "pausing": {Running: true, PauseRequested: true},
		"canceling": {Running: true, PauseRequested: true, CancelRequested: true}, "paused": {},
	} {
		if got := balanceState(&b); got != want {
			t.Errorf("%+v is %s, want %s", b, got, want)
		}
	}
}

func TestScrubStatusOfTheWhole(t *testing.T) {
	now := time.Unix(2000, 0).UTC()
	finished := btrfs.ScrubRecord{Started: time.Unix(1000, 0).UTC(), Duration: 100 * time.Second, Finished: true,
		Progress: btrfs.ScrubProgress{DataBytesScrubbed: 1000, CsumErrors: 2, LastPhysical: 50}}
	canceled := finished
	canceled.Finished, canceled.Canceled = false, true
	interrupted := finished
	interrupted.Finished = false
	resumed := interrupted
	resumed.Resumed, resumed.Duration = time.Unix(1500, 0).UTC(), 10*time.Second
	spaces := []btrfs.Space{{Flags: btrfs.Data | btrfs.RAID1, Total: 9000, Used: 2000}}
	for name, c := range map[string]struct {
		devices  []deviceScrub
		state    string
		scrubbed int64
	}{
		"nothing":                   {[]deviceScrub{{}, {}}, scrubNever, 0},
		"finished":                  {[]deviceScrub{{record: &finished}, {record: &finished}}, scrubFinished, 2000},
		"finished, a newer device":  {[]deviceScrub{{record: &finished}, {}}, scrubFinished, 1000},
		"canceled":                  {[]deviceScrub{{record: &finished}, {record: &canceled}}, scrubCanceled, 2000},
		"interrupted":               {[]deviceScrub{{record: &finished}, {record: &interrupted}}, scrubInterrupted, 2000},
		"running":                   {[]deviceScrub{{record: &finished}, {record: &interrupted, running: true, live: btrfs.ScrubProgress{TreeBytesScrubbed: 1500}}}, scrubRunning, 2500},
		"running, resumed":          {[]deviceScrub{{record: &resumed, running: true, live: btrfs.ScrubProgress{TreeBytesScrubbed: 10}}}, scrubRunning, 1000},
		"running, nothing recorded": {[]deviceScrub{{running: true, live: btrfs.ScrubProgress{TreeBytesScrubbed: 10}}}, scrubRunning, 10},
		"running, an old record":    {[]deviceScrub{{record: &finished, running: true, live: btrfs.ScrubProgress{TreeBytesScrubbed: 10}}}, scrubRunning, 10},
		"not begun yet":             {[]deviceScrub{{record: &btrfs.ScrubRecord{}}}, scrubNever, 0},
	} {
		got := scrubStatus("u", c.devices, spaces, now)
		if got.State != c.state || got.ScrubbedBytes.Or(0) != c.scrubbed {
			t.Errorf("%s: %s, %d bytes; want %s, %d", name, got.State, got.ScrubbedBytes.Or(0), c.state, c.scrubbed)
		}
	}
	got := scrubStatus("u", []deviceScrub{{record: &resumed, running: true}}, spaces, now)
	if got.TotalBytes.Or(0) != 4000 || got.Percent.Or(0) != 25 || got.RateBps.Or(0) != 800 || got.RemainingS.Or(0) != 30 ||
		!got.EndsAt.Or(now).Equal(now.Add(30*time.Second)) || got.Errors.Or(0) != 2 || !got.ResumedAt.Or(now).Equal(resumed.Resumed) {
		t.Errorf("a quarter in ten seconds: %+v", got)
	}
}

func TestUsageWithoutData(t *testing.T) {
	u := btrfsUsage{spaces: []btrfs.Space{{Flags: btrfs.Metadata | btrfs.DUP, Total: 100, Used: 10}, {Flags: btrfs.GlobalReserve, Total: 5}},
		members: []memberSize{{Device: btrfs.Device{ID: 1, Size: 1 << 30}}}}
	r := u.result()
	if r.DataRatio != 1 || r.MetadataRatio != 2 || r.FreeEstimatedBytes != 1<<30-200 || r.DeviceAllocatedBytes != 200 || r.GlobalReserveBytes != 5 {
		t.Errorf("%+v", r)
	}
}

func TestUsageSeesAnUnfinishedConversion(t *testing.T) {
	single, dup := btrfs.Space{Flags: btrfs.Data}, btrfs.Space{Flags: btrfs.Data | btrfs.DUP}
	if multipleProfiles([]btrfs.Space{single, {Flags: btrfs.Metadata | btrfs.DUP}, {Flags: btrfs.GlobalReserve}}) {
		t.Error("one profile each counts as several")
	}
	if !multipleProfiles([]btrfs.Space{single, dup}) {
		t.Error("single and dup data count as one profile")
	}
}

func TestReach(t *testing.T) {
	n := blk.Number{Minor: 40}
	table := &mount.Table{Mounts: []mount.Mount{
		{ID: 1, Target: "/", FSType: "ext4"},
		{ID: 2, Parent: 1, Minor: 40, FSType: "btrfs", Root: "/", Target: "/mnt"},
		{ID: 3, Parent: 2, FSType: "tmpfs", Root: "/", Target: "/mnt/covered"},
		{ID: 4, Parent: 1, Minor: 40, FSType: "btrfs", Root: "/a/b", Target: "/srv"},
		{ID: 5, Parent: 1, Minor: 41, FSType: "btrfs", Root: "/", Target: "/other"},
		{ID: 6, Parent: 1, Minor: 40, FSType: "btrfs", Root: "/hidden", Target: "/gone"},
		{ID: 7, Parent: 6, FSType: "tmpfs", Root: "/", Target: "/gone"},
	}}
	for _, c := range []struct{ preferred, path, want string }{
		{"/mnt", "x", "/mnt/x"}, {"/mnt", "a/b", "/mnt/a/b"}, {"/mnt", "covered", ""}, {"/mnt", "covered/x", ""},
		{"/mnt", "covered2", "/mnt/covered2"}, {"/srv/x", "a/b", "/srv"}, {"/srv", "a/b/c", "/srv/c"}, {"/srv", "a/bc", "/mnt/a/bc"},
		{"/srv", "a", "/mnt/a"}, {"/elsewhere", "a/b", "/mnt/a/b"}, {"/mnt", "hidden/x", "/mnt/hidden/x"},
	} {
		if got := newReach(table, n, c.preferred).path(c.path); got != c.want {
			t.Errorf("%s, asked of %s, is reached by %q, want %q", c.path, c.preferred, got, c.want)
		}
	}
}

func TestFlagDigits(t *testing.T) {
	for flags, want := range map[uint64]string{0: "00", 1: "01", 0x22: "22", 1 << 49: "02000000000000"} {
		if got := flagDigits(flags); got != want {
			t.Errorf("%d is %q, want %q", flags, got, want)
		}
	}
}

func TestPercentAndInstantStayInBounds(t *testing.T) {
	if percent(1, 0).IsSet() || percent(5, 4).Or(0) != 100 || percent(1, 3).Or(0) != 33.33 {
		t.Errorf("percents: %v, %v, %v", percent(1, 0), percent(5, 4), percent(1, 3))
	}
	if instant(time.Unix(1<<60, 0)).IsSet() || instant(time.Time{}).IsSet() || !instant(time.Unix(1, 0)).IsSet() {
		t.Error("an instant beyond the years of RFC 3339, or no instant, is told")
	}
}
