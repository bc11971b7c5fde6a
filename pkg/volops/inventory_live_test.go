package volops

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

func takeInventory(t testing.TB, v *Vol) *registry.VolInventoryResult {
	t.Helper()
	return answer[registry.VolInventoryResult](t, v, "vol.inventory", `{}`)
}

func inventoryDisk(r *registry.VolInventoryResult, path string) *registry.InventoryDisk {
	i := slices.IndexFunc(r.Disks, func(d registry.InventoryDisk) bool { return d.Disk.Path == path })
	if i < 0 {
		return nil
	}
	return &r.Disks[i]
}

// problemsOf lists the kinds of what is wrong with an object, by its name.
func problemsOf(r *registry.VolInventoryResult, id string) (kinds []string) {
	for _, p := range r.Health {
		if p.ID.Or("") == id {
			kinds = append(kinds, p.Kind)
		}
	}
	return kinds
}

// TestInventoryAgainstWitnesses makes disks at random and holds the tree against lsblk, findmnt, swapon,
// btrfs and the lists that have the same rows.
func TestInventoryAgainstWitnesses(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	for program, pkg := range map[string]string{"mkfs.ext4": "e2fsprogs", "mkfs.xfs": "xfsprogs", "btrfs": "btrfs-progs", "swapon": "mount"} {
		testhost.Tool(t, program, pkg)
	}
	v := newVol(t, Options{})
	seed := testhost.Seed(t)
	for round := range testhost.Rounds(20) {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			s := newScene(t, rand.New(rand.NewPCG(seed, uint64(round))))
			var r *registry.VolInventoryResult
			inTime(t, v, func() bool {
				r = takeInventory(t, v)
				return !slices.ContainsFunc(r.Health, func(p registry.VolProblem) bool { return p.Kind == "timeout" })
			})
			for _, d := range s.disks {
				row := inventoryDisk(r, d.Path)
				if row == nil {
					t.Fatalf("no row for %s", d.name)
				}
				d.compare(t, asMap(t, &row.Disk))
				compareTree(t, v, row)
				compareMountsOf(t, row)
			}
			compareSwaps(t, r, s)
			compareBtrfs(t, r, s)
			for _, p := range r.Health {
				if s.owns(p.ID.Or("")) {
					t.Errorf("problem: %+v", p)
				}
			}
		})
	}
}

func asMap(t *testing.T, v any) (row map[string]any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &row)
	}
	if err != nil {
		t.Fatal(err)
	}
	return row
}

// owns tells whether a name is that of a disk of the scene, of a part of one, or of what stands there.
func (s *scene) owns(id string) bool {
	for _, d := range s.disks {
		_, tagged := d.tags["UUID="+id]
		if tagged || id == d.Path || strings.HasPrefix(id, d.Path+"p") {
			return true
		}
	}
	return false
}

// compareTree holds what hangs below a disk against the lists of partitions and of free space.
func compareTree(t *testing.T, v *Vol, row *registry.InventoryDisk) {
	t.Helper()
	tree := registry.VolListPartitionsResult{Partitions: []registry.Partition{}}
	for i := range row.Partitions {
		tree.Partitions = append(tree.Partitions, row.Partitions[i].Partition)
	}
	listed := registry.VolListPartitionsResult{Partitions: readPartitions(t, v, fmt.Sprintf(`{"disk":%q}`, row.Disk.Path))}
	if diff := cmp.Diff(asMap(t, &listed), asMap(t, &tree)); diff != "" {
		t.Errorf("%s: partitions (-list +tree):\n%s", row.Disk.Path, diff)
	}
	free := answer[registry.VolListFreeSpaceResult](t, v, "vol.list_free_space", fmt.Sprintf(`{"disk":%q}`, row.Disk.Path))
	if !slices.Equal(free.Extents, row.FreeSpace) {
		t.Errorf("%s: free %+v, the list has %+v", row.Disk.Path, row.FreeSpace, free.Extents)
	}
}

// compareMountsOf holds the mounts of a disk and its partitions against findmnt.
func compareMountsOf(t *testing.T, row *registry.InventoryDisk) {
	t.Helper()
	got := map[string][]string{row.Disk.Path: mountNames(t, row.Mounts, row.Filesystem)}
	for i := range row.Partitions {
		p := &row.Partitions[i]
		got[p.Partition.Path] = mountNames(t, p.Mounts, p.Filesystem)
	}
	want := make(map[string][]string)
	var members []string // of a btrfs findmnt names one only
	if row.Filesystem != nil {
		for _, d := range row.Filesystem.Devices {
			members = append(members, d.Path.Or(""))
		}
	}
	for _, m := range findmnt(t) {
		source, _ := m["source"].(string)
		if slices.Contains(members, source) {
			source = row.Disk.Path
		}
		if _, mine := got[source]; mine {
			want[source] = append(want[source], fmt.Sprintf("%v %v %v", m["id"], m["target"], m["fstype"]))
		}
	}
	for device, list := range got {
		slices.Sort(want[device])
		if !slices.Equal(list, want[device]) {
			t.Errorf("%s: mounts %q, findmnt has %q", device, list, want[device])
		}
	}
}

func mountNames(t *testing.T, mounts []registry.Mount, f *registry.Filesystem) (names []string) {
	t.Helper()
	for i := range mounts {
		m := &mounts[i]
		names = append(names, fmt.Sprintf("%v %v %v", m.MountID, m.Target, m.Fstype))
		if f == nil || f.Type != m.Fstype || !slices.Contains(f.MountPoints, m.Target) || m.UUID.Or("") != f.UUID.Or("") {
			t.Errorf("%s is mounted from %+v", m.Target, f)
		}
		if m.Usage == nil || m.Usage.TotalBytes == 0 {
			t.Errorf("%s: no usage, %q", m.Target, m.UsageError.Or(""))
		}
	}
	slices.Sort(names)
	return names
}

// compareSwaps holds the swap spaces of the scene against swapon.
func compareSwaps(t *testing.T, r *registry.VolInventoryResult, s *scene) {
	t.Helper()
	line := func(path string, rest ...any) string { return path + " " + strings.TrimSpace(fmt.Sprintln(rest...)) }
	var got, want []string
	for _, a := range r.Swaps {
		if s.owns(a.Path) {
			got = append(got, line(a.Path, a.Type, a.SizeBytes, a.Priority, a.UUID.Or(""), a.Label.Or("")))
			if a.UsedBytes > a.SizeBytes { // how much it is, is another matter each moment
				t.Errorf("%s: %d of %d bytes are used", a.Path, a.UsedBytes, a.SizeBytes)
			}
		}
	}
	for _, text := range strings.Split(tool(t, "", "swapon", "--show=NAME,TYPE,SIZE,PRIO,UUID,LABEL", "--bytes", "--noheadings", "--raw"), "\n") {
		if f := strings.Fields(text); len(f) == 6 && s.owns(f[0]) {
			want = append(want, strings.ReplaceAll(strings.Join(f, " "), `\x20`, " "))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("swaps %q, swapon has %q", got, want)
	}
}

// compareBtrfs holds each btrfs of the scene against btrfs filesystem show.
func compareBtrfs(t *testing.T, r *registry.VolInventoryResult, s *scene) {
	t.Helper()
	for _, d := range s.disks {
		row := inventoryDisk(r, d.Path)
		if row.Filesystem == nil || row.Filesystem.Type != "btrfs" {
			continue
		}
		uuid := row.Filesystem.UUID.Or("")
		var found []*registry.InventoryBtrfs
		for i := range r.Btrfs {
			if r.Btrfs[i].Filesystem.UUID.Or("") == uuid {
				found = append(found, &r.Btrfs[i])
			}
		}
		if len(found) != 1 {
			t.Fatalf("%s: %d btrfs %s", d.name, len(found), uuid)
		}
		one := found[0]
		shown := tool(t, "", "btrfs", "filesystem", "show", "--raw", d.Path)
		var total int64
		_, after, _ := strings.Cut(shown, "Total devices ")
		fmt.Sscan(after, &total)
		if !strings.Contains(shown, uuid) || one.Filesystem.DevicesTotal.Or(0) != total || strings.Count(shown, "devid") != len(one.Filesystem.Devices) {
			t.Errorf("%s: %+v, btrfs says %s", d.name, one.Filesystem, shown)
		}
		for _, m := range one.Filesystem.Devices {
			if line := fmt.Sprintf("size %d used %d path %s", m.SizeBytes.Or(0), m.AllocatedBytes.Or(0), m.Path.Or("")); !strings.Contains(shown, line) {
				t.Errorf("%s: no %q in %s", d.name, line, shown)
			}
		}
		if mounted := one.Filesystem.Mounted; mounted != (one.Scrub != nil) || mounted != (one.Balance != nil) ||
			mounted && len(one.DeviceStats) != len(one.Filesystem.Devices) || mounted != (len(one.Mounts) > 0) {
			t.Errorf("%s: mounted %v: %+v", d.name, mounted, one)
		}
	}
}

// TestInventoryOfDamagedBtrfs: what is lost or wrong stands in the tree and under health.
func TestInventoryOfDamagedBtrfs(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	testhost.Tool(t, "btrfs", "btrfs-progs")
	v := newVol(t, Options{})
	h := &btrfsHost{t: t, r: rand.New(rand.NewPCG(testhost.Seed(t), 0)), v: v,
		layout: testhost.BtrfsOptions{Devices: 2, Size: 300 << 20, Data: "raid1", Metadata: "raid1"}}
	h.Btrfs = testhost.NewBtrfs(t, h.layout)
	uuid := h.uuid()
	if got := problemsOf(takeInventory(t, v), uuid); got != nil {
		t.Errorf("whole: %q", got)
	}
	h.Write("file", 8<<20)
	h.Unmount()
	h.corrupt(h.Disks[1])
	h.Mount("")
	testhost.TryCommand(t, "btrfs", "scrub", "start", "-B", h.Path)
	r := takeInventory(t, v)
	if got := problemsOf(r, uuid); !slices.Equal(got, []string{"corruption"}) || r.Status == registry.VolStatusOk {
		t.Errorf("corrupted: %q, %s", got, r.Status)
	}
	h.Lose(0)
	r = takeInventory(t, v)
	i := slices.IndexFunc(r.Btrfs, func(b registry.InventoryBtrfs) bool { return b.Filesystem.UUID.Or("") == uuid })
	if i < 0 || !slices.Contains(problemsOf(r, uuid), "missing_device") || r.Btrfs[i].Filesystem.DevicesMissing != 1 || len(r.Btrfs[i].Filesystem.Devices) != 2 {
		t.Errorf("lost: %+v %+v", r.Health, r.Btrfs)
	}
	h.Unmount()
	r = takeInventory(t, v)
	if got := problemsOf(r, uuid); !slices.Equal(got, []string{"missing_device"}) {
		t.Errorf("unmounted: %q", got)
	}
}

// TestInventoryOfFilesystemThatTurnedReadOnly: the kernel's list of mounts does not count it as a change.
func TestInventoryOfFilesystemThatTurnedReadOnly(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	testhost.Tool(t, "mkfs.ext4", "e2fsprogs")
	disk := testhost.NewLoop(t, testhost.LoopOptions{})
	name := filepath.Base(disk.Path)
	const uuid = "6a1f6c3e-5f0b-4f57-8a43-3f1d5cbb0e11"
	testhost.Command(t, "mkfs.ext4", "-q", "-F", "-e", "remount-ro", "-U", uuid, disk.Path)
	target := t.TempDir()
	if err := unix.Mount(disk.Path, target, "ext4", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })
	v := newVol(t, Options{})
	for what, flags := range map[string]uintptr{"read-only as somebody wants it": unix.MS_RDONLY, "whole": 0} {
		if err := unix.Mount("", target, "", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
		if got := problemsOf(takeInventory(t, v), uuid); got != nil {
			t.Errorf("%s: %q", what, got)
		}
	}
	if err := unix.Mount("", target, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/sys/fs/ext4/"+name+"/trigger_fs_error", []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	r := takeInventory(t, v)
	if got := problemsOf(r, uuid); !slices.Equal(got, []string{"read_only", "corruption"}) || r.Status != registry.VolStatusFailed {
		t.Errorf("after an error: %q, %s", got, r.Status)
	}
	if row := inventoryDisk(r, disk.Path); !row.Filesystem.ReadOnly.Or(false) || !row.Mounts[0].ReadOnly {
		t.Errorf("%+v", row)
	}
}

// TestInventoryWithHungDisk: it is marked, and everything else is as ever.
func TestInventoryWithHungDisk(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{})
	device, release := testhost.HangingDisk(t)
	v := newVol(t, Options{})
	for _, which := range []string{"first", "second"} {
		var r *registry.VolInventoryResult
		within(t, 10*time.Second, "the "+which, func() { r = takeInventory(t, v) })
		if row := inventoryDisk(r, device); row == nil || row.Disk.ProbeError.Or("") != "timeout" || !slices.Contains(problemsOf(r, device), "timeout") {
			t.Errorf("the %s: the disk that hangs: %+v", which, row)
		}
		if row := inventoryDisk(r, b.Disks[0].Path); row == nil || row.Filesystem == nil || len(row.Mounts) != 1 || row.Disk.ProbeError.IsSet() {
			t.Errorf("the %s: the healthy one: %+v", which, row)
		}
		if r.Status != registry.VolStatusFailed {
			t.Errorf("the %s: status %s", which, r.Status)
		}
	}
	release()
	testhost.Eventually(t, "calls are left", func() bool { return v.Blocked() == 0 })
	if r := takeInventory(t, v); !slices.Contains(problemsOf(r, device), "unread") {
		t.Errorf("once its reads fail: %+v", r.Health)
	}
}

// TestInventoryNoticesChange: what is found is compared with what is there in the end.
func TestInventoryNoticesChange(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	disk := testhost.NewLoop(t, testhost.LoopOptions{})
	v := newVol(t, Options{})
	target := t.TempDir()
	for what, change := range map[string]func(){
		"mount":     func() { testhost.Command(t, "mount", "-t", "tmpfs", "none", target) },
		"partition": func() { disk.AddPartition(1, 1<<20, 1<<20) },
		"disk":      func() { testhost.NewLoop(t, testhost.LoopOptions{}) },
	} {
		i, err := v.openInventory(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := i.take(t.Context()); err != nil {
			t.Fatal(err)
		}
		change()
		if steady, err := i.unchanged("0"); steady || err != nil {
			t.Errorf("%s: unchanged %v, %v", what, steady, err)
		}
		i.close()
	}
	unix.Unmount(target, 0)
}

// TestInventoryWithoutPrivilege: the kernel's facts are told, and once what lacks.
func TestInventoryWithoutPrivilege(t *testing.T) {
	if !testhost.Nobody(t) {
		return
	}
	r := takeInventory(t, newVol(t, Options{}))
	if len(r.Disks) == 0 {
		t.Fatal("no disks")
	}
	denied := 0
	for i := range r.Disks {
		if r.Disks[i].Disk.ProbeError.Or("") == "no_privilege" {
			denied++
		}
	}
	unread := 0
	for _, p := range r.Health {
		if p.Kind == "unread" {
			unread++
		}
	}
	if (denied > 0) != (unread == 1) || r.Status == registry.VolStatusOk {
		t.Errorf("%d disks may not be read: %+v", denied, r.Health)
	}
}

// TestInventoryElsewhere: without the kernel's lists it says which of them lacks.
func TestInventoryElsewhere(t *testing.T) {
	root := t.TempDir()
	_, err := call(t, newVol(t, Options{Root: root}), "vol.inventory", `{}`)
	checkKind(t, err, "unsupported")
	for _, host := range []string{"virtio", "server", "desktop"} {
		r := takeInventory(t, newVol(t, Options{Root: testhost.Tree(t, host)}))
		if len(r.Disks) == 0 || r.Consistent.IsSet() {
			t.Errorf("%s: %d disks, consistent %v", host, len(r.Disks), r.Consistent)
		}
	}
}
