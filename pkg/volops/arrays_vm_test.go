//go:build vmtest

package volops

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/md"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/vmtest"
	"github.com/geomind/my_os_server/pkg/registry"
)

// arrayScene is an array in one state. A D in the commands stands for the path of the array, 0 to 3 for
// those of the disks.
type arrayScene struct {
	name   string
	create string   // words for mdadm behind --create D
	then   []string // what is done to it, each a command
	slow   bool     // what it synchronises is to go on while it is looked at
	want   func(t *testing.T, a *registry.MdArray)
}

var arrayScenes = []arrayScene{
	{name: "raid1", create: "-l1 -n2 --assume-clean --bitmap=internal 0 1", want: func(t *testing.T, a *registry.MdArray) {
		if a.FailuresSurvived.Or(-1) != 1 || a.Bitmap.Or("") != "internal" || a.BitmapChunkBytes.Or(0) == 0 {
			t.Errorf("survives %v, bitmap %v of %v", a.FailuresSurvived, a.Bitmap, a.BitmapChunkBytes)
		}
	}},
	{name: "raid1, version 0.90", create: "-e0.90 -l1 -n2 --assume-clean 0 1"},
	{name: "raid1, version 1.0, a spare", create: "-e1.0 -l1 -n2 -x1 --assume-clean 0 1 2"},
	{name: "raid1, version 1.1, one is missing", create: "-e1.1 -l1 -n2 0 missing", want: func(t *testing.T, a *registry.MdArray) {
		if a.FailuresSurvived.Or(-1) != 0 || a.Degraded.Or(-1) != 1 || !slices.Equal(a.RemovedSlots, []int64{1}) {
			t.Errorf("survives %v, degraded %v, removed %v", a.FailuresSurvived, a.Degraded, a.RemovedSlots)
		}
	}},
	{name: "raid1, resync", create: "-l1 -n2 0 1", slow: true, want: wantSync("resync", "")},
	{name: "raid1, rebuilding", create: "-l1 -n2 0 missing", then: []string{"mdadm D --add 1"}, slow: true, want: wantSync("recover", "")},
	{name: "raid1, check", create: "-l1 -n2 --assume-clean 0 1", then: []string{"sysfs sync_action check"}, slow: true, want: wantSync("check", "")},
	{name: "raid1, pending", create: "-l1 -n2 0 1", then: []string{"mdadm --stop D", "mdadm --assemble --readonly D 0 1"}, slow: true},
	{name: "raid1, replaced", create: "-l1 -n2 -x1 --assume-clean 0 1 2", then: []string{"mdadm D --replace 1 --with 2"}, slow: true, want: wantSync("recover", "")},
	{name: "raid1, write-mostly", create: "-l1 -n2 --assume-clean 0 --write-mostly 1"},
	{name: "raid5", create: "-l5 -n3 -c64 --assume-clean 0 1 2"},
	{name: "raid5, one has failed", create: "-l5 -n3 -c128 -p right-asymmetric --assume-clean 0 1 2", then: []string{"mdadm D --fail 1"}},
	{name: "raid5, two have failed", create: "-l5 -n3 --assume-clean 0 1 2", then: []string{"mdadm D --fail 1", "mdadm D --fail 2"}},
	{name: "raid5, inactive", create: "-l5 -n3 --assume-clean 0 1 2", then: []string{"mdadm --stop D", "rm -f D", "mdadm --incremental 1"}},
	{name: "raid6", create: "-l6 -n4 -c64 --assume-clean 0 1 2 3", then: []string{"mdadm D --fail 0"}},
	{name: "raid10, near", create: "-l10 -n4 -c64 --assume-clean 0 1 2 3", then: []string{"mdadm D --fail 0"}},
	{name: "raid10, far", create: "-l10 -n3 -p f2 -c64 --assume-clean 0 1 2"},
	{name: "raid10, offset, rebuilding", create: "-l10 -n3 -p o2 -c64 --assume-clean 0 1 missing", then: []string{"mdadm D --add 2"}, slow: true, want: wantSync("recover", "")},
	{name: "raid0", create: "-l0 -n2 -c64 0 1"},
	{name: "linear", create: "-llinear -n2 0 1"},
}

// wantSync asks for a synchronisation that goes on.
func wantSync(action, waiting string) func(*testing.T, *registry.MdArray) {
	return func(t *testing.T, a *registry.MdArray) {
		s := a.Sync
		if s == nil || s.Action != action || s.Waiting.Or("") != waiting || !s.Percent.IsSet() || s.SpeedBps.Or(0) == 0 ||
			s.RemainingS.Or(0) == 0 || s.DoneBytes.Or(0) > s.TotalBytes.Or(0) {
			t.Errorf("sync is %+v", s)
		}
	}
}

// TestArraysAgainstMdadm makes arrays of all levels, in all the states that a test can bring about, and
// holds each member of their rows against what mdadm says of them.
func TestArraysAgainstMdadm(t *testing.T) {
	vmtest.Guest(t)
	testhost.Tool(t, "mdadm", "mdadm")
	testhost.Command(t, "modprobe", "md_mod")
	var disks []string
	for range 4 {
		disks = append(disks, testhost.NewLoop(t, testhost.LoopOptions{Size: 32 << 20}).Path)
	}
	v := newVol(t, Options{})
	for i, s := range arrayScenes {
		t.Run(s.name, func(t *testing.T) {
			device := fmt.Sprintf("/dev/md/scene%d", i)
			s.prepare(t, device, disks)
			s.compare(t, v, device)
		})
	}
	if list := rows(t, v, "vol.list_md_arrays", `{}`, "arrays"); len(list) != 0 {
		t.Errorf("there are %d arrays where all are stopped", len(list))
	}
}

// prepare makes the array; it is gone when the test ends.
func (s *arrayScene) prepare(t *testing.T, device string, disks []string) {
	t.Helper()
	speed := "200000"
	if s.slow {
		speed = "100"
	}
	write(t, "/proc/sys/dev/raid/speed_limit_min", "10")
	write(t, "/proc/sys/dev/raid/speed_limit_max", speed)
	t.Cleanup(func() { testhost.TryCommand(t, "mdadm", "--stop", "--scan") })
	name := strings.NewReplacer(" 0", " "+disks[0], " 1", " "+disks[1], " 2", " "+disks[2], " 3", " "+disks[3], " D", " "+device)
	testhost.Command(t, "mdadm", strings.Fields(name.Replace("--create D --run --quiet "+s.create))...)
	for _, command := range s.then {
		words := strings.Fields(name.Replace(command))
		if words[0] == "sysfs" {
			write(t, filepath.Join("/sys/block", kernelOf(t, device), "md", words[1]), words[2])
			continue
		}
		testhost.TryCommand(t, words[0], words[1:]...)
	}
	if s.want != nil && s.slow {
		s.awaitSpeed(t, kernelOf(t, device))
	}
}

// awaitSpeed waits until the kernel has measured how fast it goes.
func (s *arrayScene) awaitSpeed(t *testing.T, name string) {
	t.Helper()
	for range 200 {
		speed, err := os.ReadFile(filepath.Join("/sys/block", name, "md", "sync_speed"))
		if n, _ := strconv.Atoi(strings.TrimSpace(string(speed))); err == nil && n > 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("no speed of the synchronisation after 20 s")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func kernelOf(t *testing.T, link string) string {
	t.Helper()
	path, err := filepath.EvalSymlinks(link)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(path)
}

// compare holds our answer against mdadm's and mdstat's.
func (s *arrayScene) compare(t *testing.T, v *Vol, device string) {
	t.Helper()
	a, witness, stat := settled(t, v, device)
	got := detailOf(a, witness)
	if diff := cmp.Diff(witness, got); diff != "" {
		t.Errorf("(-mdadm +got):\n%s\n%+v", diff, a)
	}
	compareSync(t, a, stat)
	if s.want != nil {
		s.want(t, a)
	}
	list := rows(t, v, "vol.list_md_arrays", `{}`, "arrays")
	if len(list) != 1 || list[0]["uuid"] != a.UUID.Or("") || list[0]["path"] != a.Path {
		t.Errorf("the list has %v", list)
	}
	if a.Link.Or("") != device || a.InUse || a.Managed {
		t.Errorf("link %v, in_use %v, managed %v", a.Link, a.InUse, a.Managed)
	}
}

// settled asks ourselves, mdadm and mdstat until nothing but progress changed meanwhile: an array goes
// from active to clean, begins and ends a recovery, and counts its events when it likes, and mdadm is two
// processes that look at different moments.
func settled(t *testing.T, v *Vol, device string) (*registry.MdArray, *mdadmDetail, *md.Status) {
	t.Helper()
	var moved string
	for range 200 {
		witness, stat, a := detail(t, device), status(t, device), askArray(t, v, device)
		laterStat, later, laterWitness := status(t, device), askArray(t, v, device), detail(t, device)
		moved = cmp.Diff(witness, laterWitness) + cmp.Diff(detailOf(a, witness), detailOf(later, witness)) + cmp.Diff(still(stat), still(laterStat))
		if moved == "" {
			return a, witness, stat
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("does not come to rest:\n%s", moved)
	return nil, nil, nil
}

// still is a line of mdstat without its progress; the estimate stays by its order of magnitude, as it
// leaps when the kernel measures the speed anew.
func still(m *md.Status) md.Status {
	s := *m
	s.Percent, s.FinishMin = 0, math.Round(math.Log2(1+m.FinishMin))
	return s
}

func askArray(t *testing.T, v *Vol, device string) *registry.MdArray {
	t.Helper()
	var answer registry.VolMDDetailResult
	if err := json.Unmarshal(result(t, v, "vol.md_detail", fmt.Sprintf(`{"device":%q}`, device)), &answer); err != nil {
		t.Fatal(err)
	}
	return &answer.Array
}

// status is what mdstat, the kernel's other account, says of the array.
func status(t *testing.T, device string) *md.Status {
	t.Helper()
	text, err := os.ReadFile("/proc/mdstat")
	if err != nil {
		t.Fatal(err)
	}
	list, name := md.ParseStatus(string(text)), kernelOf(t, device)
	at := slices.IndexFunc(list, func(s md.Status) bool { return s.Name == name })
	if at < 0 {
		t.Fatalf("mdstat lacks %s:\n%s", name, text)
	}
	return &list[at]
}

// compareSync holds progress against mdstat's.
func compareSync(t *testing.T, a *registry.MdArray, m *md.Status) {
	t.Helper()
	if m.Active != (a.ArrayState != "inactive") || m.Active && m.Level != a.Level || len(m.Members) != len(a.Members) {
		t.Errorf("mdstat has %+v", m)
	}
	if a.Sync == nil || m.Action == "" {
		return
	}
	if a.Sync.Action != m.Action || a.Sync.Waiting.Or("") != m.Waiting {
		t.Errorf("%s %v, mdstat has %s %s", a.Sync.Action, a.Sync.Waiting, m.Action, m.Waiting)
	}
	p, running := a.Sync.Percent.Get()
	if running && (m.Percent < p-1 || m.Percent > p+10) {
		t.Errorf("at %v %%, mdstat has %v", p, m.Percent)
	}
	left := float64(a.Sync.RemainingS.Or(0))
	if running && m.FinishMin > 0 && (left < m.FinishMin*60*0.4-10 || left > m.FinishMin*60*2.5+10) {
		t.Errorf("%v s to go, mdstat says %v min", left, m.FinishMin)
	}
}

// mdadmDetail is what mdadm says of an array, or would say of what we answer.
type mdadmDetail struct {
	Facts   map[string]string
	Members []string
}

// passed over: what is no fact of the array, and the progress, which moves.
var passedOver = []string{"Persistence", "Preferred Minor", "Rebuild Status", "Resync Status", "Check Status", "Name", "Rounding"}

// detail asks mdadm.
func detail(t *testing.T, device string) *mdadmDetail {
	t.Helper()
	d := &mdadmDetail{Facts: make(map[string]string)}
	text := testhost.Command(t, "mdadm", "--detail", device)
	head, members, _ := strings.Cut(text, "RaidDevice")
	for line := range strings.Lines(head) {
		key, value, ok := strings.Cut(line, " : ")
		if key = strings.TrimSpace(key); !ok || slices.Contains(passedOver, key) || strings.HasPrefix(value, "-unknown-") {
			continue
		}
		d.Facts[key] = strings.TrimSpace(value)
		if key == "Array Size" || key == "Used Dev Size" || key == "UUID" {
			d.Facts[key] = strings.Fields(value)[0]
		}
	}
	_, members, _ = strings.Cut(members, "\n")
	for line := range strings.Lines(members) {
		words := strings.Fields(line)
		words = slices.DeleteFunc(words, func(w string) bool { return strings.HasPrefix(w, "set-") }) // of raid10, which follows from the layout
		if len(words) > 0 {
			d.Members = append(d.Members, strings.Join(words, " "))
		}
	}
	for line := range strings.Lines(testhost.Command(t, "mdadm", "--detail", "--export", device)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			d.Facts[key] = value
		}
	}
	return d
}

// detailOf says our answer in mdadm's words.
func detailOf(a *registry.MdArray, w *mdadmDetail) *mdadmDetail {
	d := &mdadmDetail{Facts: map[string]string{
		"Version": a.Metadata.Or(""), "MD_METADATA": a.Metadata.Or(""),
		"Raid Level":    a.Level,
		"Total Devices": count(a.TotalDevices),
		"State":         stateWords(a, w.Facts["State"]),
	}}
	add := func(key, value string) {
		if value != "" && value != "0" {
			d.Facts[key] = value
		}
	}
	uuid := strings.ReplaceAll(a.UUID.Or(""), "-", "")
	if len(uuid) == 32 {
		uuid = strings.Join([]string{uuid[:8], uuid[8:16], uuid[16:24], uuid[24:]}, ":")
	}
	add("UUID", uuid)
	add("MD_UUID", uuid)
	add("MD_NAME", a.MDName.Or(""))
	add("Working Devices", count(a.WorkingDevices))
	add("MD_DEVNAME", strings.TrimPrefix(a.Link.Or(""), "/dev/md/"))
	if events, ok := a.Events.Get(); ok {
		d.Facts["Events"] = strconv.FormatInt(events, 10)
		if a.Metadata.Or("") == "0.90" { // as two halves
			d.Facts["Events"] = fmt.Sprintf("%d.%d", events>>32, events&0xffffffff)
		}
	}
	d.members(a, w)
	if a.ArrayState == "inactive" {
		d.Facts["MD_DEVICES"] = count(a.TotalDevices)
		return d
	}
	d.Facts["MD_LEVEL"], d.Facts["MD_DEVICES"] = a.Level, count(a.RaidDisks)
	d.Facts["Raid Devices"] = d.Facts["MD_DEVICES"]
	d.Facts["Active Devices"], d.Facts["Failed Devices"] = count(a.ActiveDevices), count(a.FailedDevices)
	d.Facts["Spare Devices"] = count(a.SpareDevices)
	add("Array Size", strconv.FormatInt(a.SizeBytes>>10, 10))
	if a.Level != "raid0" && a.Level != "linear" {
		add("Used Dev Size", strconv.FormatInt(a.ComponentSizeBytes.Or(0)>>10, 10))
	}
	add("Creation Time", moment(a.CreatedAt))
	add("Update Time", moment(a.UpdatedAt))
	add("Layout", a.Layout.Or(""))
	if chunk := a.ChunkBytes.Or(0); chunk > 0 {
		d.Facts["Chunk Size"] = fmt.Sprintf("%dK", chunk>>10)
	}
	add("Consistency Policy", a.ConsistencyPolicy.Or(""))
	if a.Bitmap.Or("") == "internal" {
		d.Facts["Intent Bitmap"] = "Internal"
	}
	return d
}

func count(n registry.Opt[int64]) string { return strconv.FormatInt(n.Or(-1), 10) }

// moment is a time as ctime(3) has it.
func moment(t registry.Opt[time.Time]) string {
	at, ok := t.Get()
	if !ok {
		return ""
	}
	return at.Format(time.ANSIC)
}

// stateWords is what mdadm says, which passes over that an array is read-only.
func stateWords(a *registry.MdArray, witness string) string {
	words := strings.Join(a.States, ", ")
	if rest, ok := strings.CutPrefix(words, "read-only"); ok && a.ArrayState != "clean" {
		first, _, _ := strings.Cut(witness, ",")
		words = first + rest
	}
	if a.Sync == nil {
		return words
	}
	switch a.Sync.Waiting.Or("") {
	case "pending":
		words += " (PENDING)"
	case "delayed":
		words += " (DELAYED)"
	}
	return words
}

// members writes the table of members, and what is exported of them.
func (d *mdadmDetail) members(a *registry.MdArray, w *mdadmDetail) {
	removed := func(slot int64) string { return fmt.Sprintf("- 0 0 %d removed", slot) }
	for _, slot := range a.RemovedSlots {
		if a.ArrayState != "inactive" {
			d.Members = append(d.Members, removed(slot))
		}
	}
	for _, m := range a.Members {
		name := "MD_DEVICE_dev_" + strings.TrimPrefix(m.Path, "/dev/")
		d.Facts[name+"_DEV"], d.Facts[name+"_ROLE"] = m.Path, "spare"
		slot := "-"
		if n, ok := m.Slot.Get(); ok {
			slot = strconv.FormatInt(n, 10)
			d.Facts[name+"_ROLE"] = slot
		}
		major, minor, _ := strings.Cut(m.DeviceNumber.Or(""), ":")
		if a.ArrayState == "inactive" {
			d.Members = append(d.Members, fmt.Sprintf("- %s %s - %s", major, minor, m.Path))
			continue
		}
		words := map[string]string{"active": "active sync", "rebuilding": "spare rebuilding", "replacement": "spare rebuilding"}[m.Role]
		if words == "" {
			words = m.Role
		}
		if slices.Contains(m.Flags, "write_mostly") {
			words += " writemostly"
		}
		d.Members = append(d.Members, fmt.Sprintf("%d %s %s %s %s %s", m.Number.Or(-1), major, minor, slot, words, m.Path))
	}
	slices.Sort(d.Members)
	slices.Sort(w.Members)
}
