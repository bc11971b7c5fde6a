package volops

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// subvolumeWitness is what btrfs-progs prints of a subvolume, in any of its commands.
type subvolumeWitness struct {
	ID, Generation, Made, Parent         int64
	ParentUUID, ReceivedUUID, UUID, Path string
	ReadOnly                             bool
	MadeAt                               string // snapshots only
	Quota                                quotaWitness
}

type quotaWitness struct {
	ID, Referenced, Exclusive, MaxReferenced, MaxExclusive, Parents string
}

var subvolumeLine = regexp.MustCompile(`^ID (\d+) gen (\d+) cgen (\d+) parent (\d+) top level \d+ parent_uuid (\S+)\s+received_uuid (\S+)\s+uuid (\S+)\s+path (.*)$`)

func (h *btrfsHost) witnessSubvolumes() []subvolumeWitness {
	quotas := h.witnessQuotas()
	readOnly := h.witnessIDs("list", "-r")
	made := make(map[int64]string)
	for line := range strings.Lines(h.Run("subvolume", "list", "-s", h.Path)) {
		var id, other int64
		var day, clock string
		if n, _ := fmt.Sscanf(line, "ID %d gen %d cgen %d top level %d otime %s %s", &id, &other, &other, &other, &day, &clock); n == 6 {
			made[id] = day + " " + clock
		}
	}
	list := []subvolumeWitness{}
	for line := range strings.Lines(h.Run("subvolume", "list", "-pcuqR", "--sort=rootid", h.Path)) {
		m := subvolumeLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			h.t.Fatalf("btrfs subvolume list printed %q", line)
		}
		id := decimal(m[1])
		list = append(list, subvolumeWitness{ID: id, Generation: decimal(m[2]), Made: decimal(m[3]), Parent: decimal(m[4]),
			ParentUUID: noDash(m[5]), ReceivedUUID: noDash(m[6]), UUID: m[7], Path: m[8],
			ReadOnly: slices.Contains(readOnly, id), MadeAt: made[id], Quota: quotas[fmt.Sprint("0/", id)]})
	}
	return list
}

func (h *btrfsHost) witnessIDs(args ...string) (ids []int64) {
	for line := range strings.Lines(h.Run(append(append([]string{"subvolume"}, args...), h.Path)...)) {
		ids = append(ids, decimal(strings.Fields(line)[1]))
	}
	return ids
}

func decimal(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func noDash(s string) string { return strings.TrimPrefix(s, "-") }

// witnessQuotas are the quota groups by name; none where quotas are off.
func (h *btrfsHost) witnessQuotas() map[string]quotaWitness {
	quotas := make(map[string]quotaWitness)
	if !h.quotas {
		return quotas
	}
	for line := range strings.Lines(h.Run("qgroup", "show", "--raw", "-pre", h.Path)) {
		f := strings.Fields(line)
		if len(f) < 6 || !strings.Contains(f[0], "/") {
			continue
		}
		quotas[f[0]] = quotaWitness{f[0], f[1], f[2], f[3], f[4], f[5]}
	}
	return quotas
}

// witnessQuotaState is what the complaints of btrfs qgroup show say of quotas.
func (h *btrfsHost) witnessQuotaState() string {
	h.t.Helper()
	if !h.quotas {
		return "off"
	}
	// A rescan ends by itself, and then what it found is to be written down.
	h.Run("quota", "rescan", "-W", h.Path)
	h.Run("filesystem", "sync", h.Path)
	complaints := testhost.Command(h.t, "sh", "-c", `btrfs qgroup show "$0" 2>&1 >/dev/null; true`, h.Path)
	if strings.Contains(complaints, "inconsistent") {
		return "inconsistent"
	}
	return "consistent"
}

func (h *btrfsHost) compareSubvolumes() {
	h.t.Helper()
	state := h.witnessQuotaState()
	want, got := steady(h.t, h.witnessSubvolumes, func() *registry.VolListSubvolumesResult {
		return answer[registry.VolListSubvolumesResult](h.t, h.v, "vol.list_subvolumes", h.params())
	})
	rows := []subvolumeWitness{}
	for i := range got.Subvolumes {
		rows = append(rows, asWitness(&got.Subvolumes[i], i < len(want) && want[i].MadeAt != ""))
		h.checkReached(&got.Subvolumes[i])
	}
	h.differ("subvolumes", want, rows)
	if got.QuotaState.Or("") != state {
		h.t.Errorf("quotas are %s, btrfs says %s", got.QuotaState.Or(""), state)
	}
	h.checkDefault(got.Subvolumes)
}

func asWitness(s *registry.Subvolume, snapshot bool) subvolumeWitness {
	w := subvolumeWitness{ID: s.ID, Generation: s.Generation, Made: s.Otransid.Or(0), Parent: s.ParentID,
		ParentUUID: s.ParentUUID.Or(""), ReceivedUUID: s.ReceivedUUID.Or(""), UUID: s.UUID.Or(""), Path: s.FSPath, ReadOnly: s.ReadOnly}
	if made, ok := s.CreatedAt.Get(); ok && snapshot {
		w.MadeAt = made.Format(time.DateTime)
	}
	if q := s.Quota; q != nil {
		limit := func(o registry.Opt[int64]) string {
			if v, ok := o.Get(); ok {
				return fmt.Sprint(v)
			}
			return "none"
		}
		w.Quota = quotaWitness{q.Qgroup, fmt.Sprint(q.ReferencedBytes), fmt.Sprint(q.ExclusiveBytes),
			limit(q.MaxReferencedBytes), limit(q.MaxExclusiveBytes), "-"}
		if len(q.Parents) > 0 {
			w.Quota.Parents = strings.Join(q.Parents, ",")
		}
	}
	return w
}

func (h *btrfsHost) checkReached(s *registry.Subvolume) {
	h.t.Helper()
	if want := filepath.Join(h.Path, s.FSPath); s.Path.Or("") != want {
		h.t.Errorf("subvolume %d is reached by %q, want %q", s.ID, s.Path.Or(""), want)
	}
}

func (h *btrfsHost) checkDefault(list []registry.Subvolume) {
	h.t.Helper()
	want := strings.Fields(h.Run("subvolume", "get-default", h.Path))[1]
	got := "5"
	for _, s := range list {
		if s.Default.Or(false) {
			got = fmt.Sprint(s.ID)
		}
	}
	if got != want {
		h.t.Errorf("default subvolume %s, want %s", got, want)
	}
}

func (h *btrfsHost) compareStats() {
	h.t.Helper()
	var witness struct {
		Stats []map[string]string `json:"device-stats"`
	}
	want, got := steady(h.t, func() []map[string]string {
		witness.Stats = nil
		if err := json.Unmarshal([]byte(h.Run("--format", "json", "device", "stats", h.Path)), &witness); err != nil {
			h.t.Fatal(err)
		}
		return witness.Stats
	}, func() *registry.VolDeviceStatsResult {
		return answer[registry.VolDeviceStatsResult](h.t, h.v, "vol.device_stats", h.params())
	})
	rows := []map[string]string{}
	for _, d := range got.Devices {
		rows = append(rows, map[string]string{
			"devid":           fmt.Sprint(d.Devid),
			"device":          d.Path.Or(""),
			"write_io_errs":   fmt.Sprint(d.WriteIoErrs),
			"read_io_errs":    fmt.Sprint(d.ReadIoErrs),
			"flush_io_errs":   fmt.Sprint(d.FlushIoErrs),
			"corruption_errs": fmt.Sprint(d.CorruptionErrs),
			"generation_errs": fmt.Sprint(d.GenerationErrs),
		})
		if d.Missing == d.Path.IsSet() {
			h.t.Errorf("device %d is missing %v, and has the path %q", d.Devid, d.Missing, d.Path.Or(""))
		}
	}
	for _, w := range want { // btrfs-progs writes a missing device's name one way or another
		if !strings.HasPrefix(w["device"], "/dev/") {
			w["device"] = ""
		}
	}
	h.differ("device stats", want, rows)
}

func (h *btrfsHost) compareDF() {
	h.t.Helper()
	want, got := steady(h.t, func() string {
		return h.Run("filesystem", "df", "-b", h.Path)
	}, func() *registry.VolFSDFResult {
		return answer[registry.VolFSDFResult](h.t, h.v, "vol.fs_df", h.params())
	})
	text := ""
	for _, s := range got.Spaces {
		profile := strings.Replace(strings.ToUpper(s.Profile), "SINGLE", "single", 1)
		text += fmt.Sprintf("%s, %s: total=%d, used=%d\n", spaceNames[s.Type], profile, s.TotalBytes, s.UsedBytes)
	}
	h.differ("filesystem df", strings.Split(want, "\n"), strings.Split(text, "\n"))
}

// spaceNames are the types as btrfs-progs prints them.
var spaceNames = map[string]string{"data": "Data", "metadata": "Metadata", "system": "System",
	"data+metadata": "Data+Metadata", "global_reserve": "GlobalReserve"}

func (h *btrfsHost) compareUsage() {
	h.t.Helper()
	want, got := steady(h.t, func() []string {
		return usageLines(h.Run("filesystem", "usage", "-b", h.Path))
	}, func() *registry.VolFSUsageResult {
		return answer[registry.VolFSUsageResult](h.t, h.v, "vol.fs_usage", h.params())
	})
	h.differ("filesystem usage", want, usageLines(printUsage(got)))
	for _, c := range got.Chunks { // btrfs-progs computes it with less precision, and of one byte more
		if exact := 100 * float64(c.UsedBytes) / float64(c.TotalBytes); math.Abs(c.Percent.Or(-1)-exact) > 0.005+1e-9 { // halves, too
			h.t.Errorf("%s is used to %v%%, want %v%%", c.Type, c.Percent, exact)
		}
	}
}

// usageLines are the words of each line, with a single blank between them.
func usageLines(text string) (lines []string) {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 0 && !strings.HasPrefix(line, "WARNING") {
			lines = append(lines, strings.Join(words, " "))
		}
	}
	return lines
}

// printUsage prints a result the way btrfs-progs does.
func printUsage(u *registry.VolFSUsageResult) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Overall:\nDevice size: %d\nDevice allocated: %d\nDevice unallocated: %d\nDevice missing: %d\nDevice slack: %d\n",
		u.DeviceSizeBytes, u.DeviceAllocatedBytes, u.DeviceUnallocatedBytes, u.DeviceMissingBytes, u.DeviceSlackBytes.Or(-1))
	fmt.Fprintf(&b, "Used: %d\nFree (estimated): %d (min: %d)\nFree (statfs, df): %d\nData ratio: %.2f\nMetadata ratio: %.2f\n",
		u.UsedBytes, u.FreeEstimatedBytes, u.FreeMinimumBytes, u.FreeStatfsBytes, u.DataRatio, u.MetadataRatio)
	fmt.Fprintf(&b, "Global reserve: %d (used: %d)\n", u.GlobalReserveBytes, u.GlobalReserveUsedBytes)
	multiple := "no"
	if u.MultipleProfiles {
		multiple = "yes"
	}
	fmt.Fprintf(&b, "Multiple profiles: %s\n", multiple)
	name := func(path registry.Opt[string]) string { return path.Or("missing") }
	for _, c := range u.Chunks {
		profile := strings.Replace(strings.ToUpper(c.Profile), "SINGLE", "single", 1)
		fmt.Fprintf(&b, "%s,%s: Size:%d, Used:%d (%.2f%%)\n", spaceNames[c.Type], profile, c.TotalBytes, c.UsedBytes, 100*float32(c.UsedBytes)/float32(c.TotalBytes+1))
		for _, d := range c.Devices {
			fmt.Fprintf(&b, "%s %d\n", name(d.Path), d.Bytes)
		}
	}
	b.WriteString("Unallocated:\n")
	for _, d := range u.Devices {
		fmt.Fprintf(&b, "%s %d\n", name(d.Path), d.UnallocatedBytes)
	}
	return b.String()
}

func (h *btrfsHost) compareScrub() {
	h.t.Helper()
	want, got := steady(h.t, func() []string {
		return usageLines(h.scrubText("-d", "-R", h.Path))
	}, func() *registry.VolScrubStatusResult {
		return answer[registry.VolScrubStatusResult](h.t, h.v, "vol.scrub_status", h.params())
	})
	if got.Scrub.State == "never" {
		want = slices.DeleteFunc(want, func(line string) bool { return strings.HasPrefix(line, "Scrub device") || line == "no stats available" })
	}
	h.differ("scrub status", want, usageLines(printScrub(&got.Scrub)))
}

// scrubText is what btrfs scrub status prints. It fails while the scrub's own process holds the record.
func (h *btrfsHost) scrubText(args ...string) string {
	h.t.Helper()
	script := `for try in 1 2 3 4 5 6 7 8 9; do btrfs scrub status "$@" 2>/dev/null && exit; sleep 0.1; done; exit 1`
	return testhost.Command(h.t, "sh", append([]string{"-c", script, "sh"}, args...)...)
}

// printScrub prints a scrub that has ended the way btrfs-progs does. Counters have their own names in
// both.
func printScrub(s *registry.BtrfsScrub) string {
	var b strings.Builder
	fmt.Fprintf(&b, "UUID: %s\n", s.FilesystemUUID)
	for i := range s.Devices {
		d := &s.Devices[i]
		fmt.Fprintf(&b, "Scrub device %s (id %d) %s\n", d.Path.Or(""), d.Devid, map[bool]string{true: "history", false: "status"}[d.State == "finished" || d.State == "canceled"])
		if resumed, ok := d.ResumedAt.Get(); ok {
			fmt.Fprintf(&b, "Scrub resumed: %s\n", resumed.Format(time.ANSIC))
		} else {
			fmt.Fprintf(&b, "Scrub started: %s\n", d.StartedAt.Or(time.Time{}).Format(time.ANSIC))
		}
		seconds := d.DurationS.Or(-1)
		fmt.Fprintf(&b, "Status: %s\nDuration: %d:%02d:%02d\n", strings.Replace(d.State, "canceled", "aborted", 1), seconds/3600, seconds/60%60, seconds%60)
		p := &d.Progress
		for _, c := range []struct {
			name  string
			value int64
		}{
			{"data_extents_scrubbed", p.DataExtentsScrubbed}, {"tree_extents_scrubbed", p.TreeExtentsScrubbed},
			{"data_bytes_scrubbed", p.DataBytesScrubbed}, {"tree_bytes_scrubbed", p.TreeBytesScrubbed},
			{"read_errors", p.ReadErrors}, {"csum_errors", p.CsumErrors}, {"verify_errors", p.VerifyErrors},
			{"no_csum", p.NoCsum}, {"csum_discards", p.CsumDiscards}, {"super_errors", p.SuperErrors},
			{"malloc_errors", p.MallocErrors}, {"uncorrectable_errors", p.UncorrectableErrors},
			{"unverified_errors", p.UnverifiedErrors}, {"corrected_errors", p.CorrectedErrors}, {"last_physical", p.LastPhysical},
		} {
			fmt.Fprintf(&b, "%s: %d\n", c.name, c.value)
		}
	}
	return b.String()
}

func (h *btrfsHost) compareBalance() {
	h.t.Helper()
	want := testhost.Command(h.t, "sh", "-c", `btrfs balance status -v "$0"; true`, h.Path)
	got := answer[registry.VolBalanceStatusResult](h.t, h.v, "vol.balance_status", h.params())
	if (got.Balance.State == "none") != strings.HasPrefix(want, "No balance found") {
		h.t.Errorf("balance %+v, btrfs prints %q", got.Balance, want)
	}
}
