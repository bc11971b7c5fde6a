package volops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// blkidFacts is what blkid -p says of a device; nil where it finds nothing.
func blkidFacts(t testing.TB, device string) map[string]string {
	t.Helper()
	out, err := exec.Command("blkid", "-p", "-o", "export", device).Output()
	if exit, ok := err.(*exec.ExitError); ok && exit.ExitCode() == 2 {
		return nil
	}
	if err != nil {
		t.Fatalf("blkid %s: %v", device, err)
	}
	facts := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		facts[key] = strings.ReplaceAll(value, `\`, "")
	}
	return facts
}

// compareSignature holds a signature against blkid.
func compareSignature(t *testing.T, device string, s *registry.Signature) {
	t.Helper()
	want := blkidFacts(t, device)
	if s == nil {
		if want["TYPE"] != "" {
			t.Errorf("%s: no signature, blkid has %v", device, want)
		}
		return
	}
	got := map[string]string{"TYPE": s.Type, "USAGE": s.Usage.Or(""), "VERSION": s.Version.Or(""), "LABEL": s.Label.Or(""),
		"UUID": s.UUID.Or(""), "UUID_SUB": s.UUIDSub.Or("")}
	for key, value := range got {
		if want[key] != value {
			t.Errorf("%s: %s is %q, blkid has %q", device, key, value, want[key])
		}
	}
	if block := want["BLOCK_SIZE"]; block != "" && block != fmt.Sprint(s.BlockSizeBytes.Or(0)) {
		t.Errorf("%s: block size %d, blkid has %s", device, s.BlockSizeBytes.Or(0), block)
	}
}

func TestPartitionsAgainstWitnesses(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	v := newVol(t, Options{})
	seed := testhost.Seed(t)
	for round := range testhost.Rounds(20) {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			s := newScene(t, rand.New(rand.NewPCG(seed, uint64(round))))
			byPath := make(map[string]*registry.Partition)
			list := readPartitions(t, v, `{}`)
			for i := range list {
				byPath[list[i].Path] = &list[i]
			}
			for _, d := range s.disks {
				d.comparePartitions(t, v, byPath)
				d.compareFreeSpace(t, v)
			}
		})
	}
}

// inTime asks until everything answered in time: the machine may be busy. Nothing is asked of a device
// on which a call is under way, so each try waits for those of the last to end.
func inTime(t *testing.T, v *Vol, ask func() bool) {
	t.Helper()
	for range 20 {
		if ask() {
			return
		}
		eventually(t, "the calls have ended", func() bool { return v.Blocked() == 0 })
	}
}

// readPartitions lists the partitions, and again where a device did not answer in time.
func readPartitions(t *testing.T, v *Vol, params string) (list []registry.Partition) {
	t.Helper()
	inTime(t, v, func() bool {
		list = answer[registry.VolListPartitionsResult](t, v, "vol.list_partitions", params).Partitions
		return !slices.ContainsFunc(list, func(p registry.Partition) bool { return p.ProbeError.Or("") == "timeout" })
	})
	return list
}

// comparePartitions holds the partitions of a disk against sfdisk, blkid and lsblk.
func (d *sceneDisk) comparePartitions(t *testing.T, v *Vol, byPath map[string]*registry.Partition) {
	t.Helper()
	alone := readPartitions(t, v, fmt.Sprintf(`{"disk":%q}`, d.Path))
	if d.table == nil {
		if len(alone) > 0 {
			t.Errorf("%s: %d partitions without a table", d.name, len(alone))
		}
		return
	}
	if len(alone) != len(d.table.Partitions) {
		t.Errorf("%s: %d partitions, sfdisk has %d", d.name, len(alone), len(d.table.Partitions))
	}
	for _, w := range d.table.Partitions {
		p := byPath[w.Node]
		if p == nil {
			t.Errorf("%s is not listed", w.Node)
			continue
		}
		if p.StartBytes != w.Start*d.sectorSize || p.SizeBytes != w.Size*d.sectorSize || !p.InKernel || !p.InTable.Or(false) ||
			p.Label.Or("") != w.Name || p.Disk != d.Path || p.Scheme.Or("") != d.table.Label {
			t.Errorf("%s: %+v, sfdisk has %+v", w.Node, p, w)
		}
		if w.UUID != "" && p.UUID.Or("") != strings.ToLower(w.UUID) {
			t.Errorf("%s: UUID %s, sfdisk has %s", w.Node, p.UUID.Or(""), w.UUID)
		}
		if !slices.Contains(d.tagsOf(w.Node), "PARTUUID="+p.UUID.Or("")) {
			t.Errorf("%s: PARTUUID %s is none of %v", w.Node, p.UUID.Or(""), d.tags)
		}
		compareSignature(t, w.Node, p.Filesystem)
		compareLsblkPartition(t, p)
	}
}

func (d *sceneDisk) tagsOf(path string) (tags []string) {
	for tag, of := range d.tags {
		if of == path {
			tags = append(tags, tag)
		}
	}
	return tags
}

func compareLsblkPartition(t *testing.T, p *registry.Partition) {
	t.Helper()
	var out struct {
		Blockdevices []struct {
			MajMin      string `json:"maj:min"`
			Size        int64
			RO          bool
			Alignment   int64
			Mountpoints []string
		}
	}
	text := testhost.Command(t, "lsblk", "-J", "-b", "-d", "-o", "MAJ:MIN,SIZE,RO,ALIGNMENT,MOUNTPOINTS", p.Path)
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	w := out.Blockdevices[0]
	points := slices.DeleteFunc(w.Mountpoints, func(s string) bool { return s == "" })
	if strings.Join(points, "\n") == strings.Join(p.MountPoints, "\n") {
		points = slices.Clone(p.MountPoints) // lsblk takes a line feed in a mount point for the end of it
	}
	slices.Sort(points)
	slices.Sort(p.MountPoints)
	if p.DeviceNumber.Or("") != w.MajMin || p.SizeBytes != w.Size || p.ReadOnly.Or(!w.RO) != w.RO || p.AlignmentOffsetBytes.Or(-9) != w.Alignment ||
		!slices.Equal(points, p.MountPoints) || p.InUse != (len(points) > 0) {
		t.Errorf("%s: %+v, lsblk has %+v", p.Path, p, w)
	}
}

// compareFreeSpace holds the free space against sfdisk, whose ranges are not aligned at their ends.
func (d *sceneDisk) compareFreeSpace(t *testing.T, v *Vol) {
	t.Helper()
	free := answer[registry.VolListFreeSpaceResult](t, v, "vol.list_free_space", fmt.Sprintf(`{"disk":%q}`, d.Path))
	var sum, largest int64
	for _, e := range free.Extents {
		if e.StartBytes%freeAlignment != 0 || e.SizeBytes%freeAlignment != 0 || e.SizeBytes < freeAlignment {
			t.Errorf("%s: extent %+v", d.name, e)
		}
		sum += e.SizeBytes
		largest = max(largest, e.SizeBytes)
	}
	if free.FreeBytes != sum || free.LargestBytes != largest {
		t.Errorf("%s: %d free, %d the longest; want %d and %d", d.name, free.FreeBytes, free.LargestBytes, sum, largest)
	}
	if d.table == nil {
		compareSignature(t, d.Path, free.Signature)
		if free.Signature == nil && len(free.Extents) != 1 || free.Signature != nil && len(free.Extents) != 0 {
			t.Errorf("%s: %+v", d.name, free)
		}
		return
	}
	if diff := cmp.Diff(sfdiskFree(t, d.Path, d.sectorSize), free.Extents); diff != "" {
		t.Errorf("%s: free space (-sfdisk +ours)\n%s", d.name, diff)
	}
}

// sfdiskFree is what sfdisk calls free, cut to whole MiB.
func sfdiskFree(t *testing.T, disk string, sector int64) []registry.FreeExtent {
	t.Helper()
	list := []registry.FreeExtent{}
	for line := range strings.Lines(testhost.Command(t, "sfdisk", "-F", disk)) {
		var start, end, sectors int64
		if n, _ := fmt.Sscan(line, &start, &end, &sectors); n != 3 {
			continue
		}
		from, to := alignUp(start*sector), (end+1)*sector/freeAlignment*freeAlignment
		if to > from {
			list = append(list, registry.FreeExtent{StartBytes: from, SizeBytes: to - from})
		}
	}
	return list
}

// What stands only in the table is listed, and read by way of the disk.
func TestPartitionsThatTheKernelDoesNotHave(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	testhost.Tool(t, "sfdisk", "fdisk")
	disk := testhost.NewLoop(t, testhost.LoopOptions{Size: 128 << 20})
	script := "label: dos\nsize=20M, bootable\nsize=30M, type=82\ntype=5\nsize=10M\nsize=12M\n"
	tool(t, script, "sfdisk", "-q", "--no-reread", "--no-tell-kernel", disk.Path)
	above := testhost.NewLoop(t, testhost.LoopOptions{Device: disk.Path, Offset: 1 << 20})
	testhost.Command(t, "mkfs.ext4", "-q", "-F", "-L", "inside", above.Path, "16M")
	testhost.Command(t, "sync")
	above.Detach()
	v := newVol(t, Options{})
	list := answer[registry.VolListPartitionsResult](t, v, "vol.list_partitions", fmt.Sprintf(`{"disk":%q}`, disk.Path)).Partitions
	var numbers []int64
	for _, p := range list {
		numbers = append(numbers, p.Number)
		if p.InKernel || !p.InTable.Or(false) || p.Path != fmt.Sprintf("%sp%d", disk.Path, p.Number) || p.Logical.Or(false) != (p.Number > 4) {
			t.Errorf("%+v", p)
		}
	}
	if !slices.Equal(numbers, []int64{1, 2, 3, 5, 6}) {
		t.Fatalf("numbers %v", numbers)
	}
	first := list[0]
	if first.Filesystem == nil || first.Filesystem.Label.Or("") != "inside" || !first.Bootable.Or(false) || first.TypeName.Or("") != "Linux" || list[2].TypeName.Or("") != "Extended" {
		t.Errorf("%+v", first)
	}
	d := &sceneDisk{Loop: disk, name: disk.Path, sectorSize: 512, table: &sfdiskTable{}}
	d.compareFreeSpace(t, v)
}

func TestFreeSpaceOfAPartition(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	disk := testhost.NewLoop(t, testhost.LoopOptions{})
	node := disk.AddPartition(1, 1<<20, 8<<20)
	v := newVol(t, Options{})
	_, err := call(t, v, "vol.list_free_space", fmt.Sprintf(`{"disk":%q}`, node))
	checkKind(t, err, "not_found")
	// The kernel has it, though no table does: its room is taken.
	free := answer[registry.VolListFreeSpaceResult](t, v, "vol.list_free_space", fmt.Sprintf(`{"disk":%q}`, disk.Path))
	want := []registry.FreeExtent{{StartBytes: 9 << 20, SizeBytes: 54 << 20}}
	if diff := cmp.Diff(want, free.Extents); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	list := answer[registry.VolListPartitionsResult](t, v, "vol.list_partitions", fmt.Sprintf(`{"disk":%q}`, disk.Path)).Partitions
	if len(list) != 1 || !list[0].InKernel || list[0].InTable.Or(true) || list[0].StartBytes != 1<<20 || list[0].SizeBytes != 8<<20 {
		t.Errorf("%+v", list)
	}
}

func TestFilesystemsAgainstWitnesses(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	v := newVol(t, Options{})
	seed := testhost.Seed(t)
	for round := range testhost.Rounds(20) {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			s := newScene(t, rand.New(rand.NewPCG(seed, uint64(round))))
			list := readFilesystems(t, v, `{"label_prefix":""}`)
			byDevice := make(map[string]*registry.Filesystem)
			for i := range list.Filesystems {
				for _, d := range list.Filesystems[i].Devices {
					byDevice[d.Path.Or("")] = &list.Filesystems[i]
				}
			}
			for _, d := range s.disks {
				if d.table == nil {
					d.compareFilesystem(t, d.Path, byDevice[d.Path])
					continue
				}
				for _, p := range d.table.Partitions {
					d.compareFilesystem(t, p.Node, byDevice[p.Node])
				}
			}
			for _, u := range list.Unread { // the machine's own disks may be closed to us
				if slices.ContainsFunc(s.disks, func(d *sceneDisk) bool { return strings.HasPrefix(u.Path, d.Path) }) {
					t.Errorf("unread: %+v", u)
				}
			}
		})
	}
}

// readFilesystems lists the filesystems, and again where a device did not answer in time.
func readFilesystems(t *testing.T, v *Vol, params string) (list *registry.VolListFilesystemsResult) {
	t.Helper()
	inTime(t, v, func() bool {
		list = answer[registry.VolListFilesystemsResult](t, v, "vol.list_filesystems", params)
		late := slices.ContainsFunc(list.Unread, func(u registry.UnreadDevice) bool { return u.Reason == "timeout" })
		busy := slices.ContainsFunc(list.Filesystems, func(f registry.Filesystem) bool { return f.UsageError.IsSet() })
		return !late && !busy
	})
	return list
}

func (d *sceneDisk) compareFilesystem(t *testing.T, device string, f *registry.Filesystem) {
	t.Helper()
	want := blkidFacts(t, device)
	if want["TYPE"] == "" {
		if f != nil {
			t.Errorf("%s: %+v, blkid finds nothing", device, f)
		}
		return
	}
	if f == nil {
		t.Errorf("%s: not listed, blkid has %v", device, want)
		return
	}
	if f.Type != want["TYPE"] || f.Label.Or("") != want["LABEL"] || f.UUID.Or("") != want["UUID"] || f.DevicesMissing != 0 {
		t.Errorf("%s: %+v, blkid has %v", device, f, want)
	}
	for _, point := range f.MountPoints {
		compareRoom(t, device, point, f)
	}
	if f.Mounted != (len(f.MountPoints) > 0) || f.Mounted && f.UsageError.IsSet() {
		t.Errorf("%s: %+v", device, f)
	}
	if f.Type == "btrfs" {
		compareBtrfsInfo(t, device, f)
	}
}

// compareRoom holds the space against statfs, and that of swap against swapon.
func compareRoom(t *testing.T, device, point string, f *registry.Filesystem) {
	t.Helper()
	if point == "[SWAP]" {
		text := strings.Fields(testhost.Command(t, "swapon", "--noheadings", "--bytes", "--show=NAME,SIZE,USED"))
		at := slices.Index(text, device)
		if at < 0 || text[at+1] != fmt.Sprint(f.SizeBytes.Or(0)) || text[at+2] != fmt.Sprint(f.UsedBytes.Or(-1)) {
			t.Errorf("%s: %d of %d are used, swapon has %v", device, f.UsedBytes.Or(0), f.SizeBytes.Or(0), text)
		}
		return
	}
	var st unix.Statfs_t
	if err := unix.Statfs(point, &st); err != nil {
		t.Fatal(err)
	}
	if f.SizeBytes.Or(0) != int64(st.Blocks)*st.Frsize || f.AvailableBytes.Or(0) != int64(st.Bavail)*st.Frsize {
		t.Errorf("%s: %d of %d available, statfs has %d of %d blocks", device, f.AvailableBytes.Or(0), f.SizeBytes.Or(0), st.Bavail, st.Blocks)
	}
}

// compareBtrfsInfo holds what the superblock says against btrfs-progs, which reads it too.
func compareBtrfsInfo(t *testing.T, device string, f *registry.Filesystem) {
	t.Helper()
	super := make(map[string]string)
	for line := range strings.Lines(testhost.Command(t, "btrfs", "inspect-internal", "dump-super", device)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "\t")
		super[key] = strings.TrimSpace(value)
	}
	b := f.Btrfs
	if super["nodesize"] != fmt.Sprint(b.NodeSizeBytes.Or(0)) || super["sectorsize"] != fmt.Sprint(b.SectorSizeBytes.Or(0)) ||
		super["num_devices"] != fmt.Sprint(f.DevicesTotal.Or(0)) || !strings.Contains(super["csum_type"], b.ChecksumType.Or("?")) {
		t.Errorf("%s: %+v, btrfs has %v", device, b, super)
	}
	if !f.Mounted && super["generation"] != fmt.Sprint(b.Generation.Or(0)) {
		t.Errorf("%s: generation %d, btrfs has %s", device, b.Generation.Or(0), super["generation"])
	}
	for _, d := range f.Devices {
		if d.Path.Or("") == device && (super["dev_item.devid"] != fmt.Sprint(d.Devid.Or(0)) || super["dev_item.uuid"] != d.UUID.Or("") || super["dev_item.total_bytes"] != fmt.Sprint(d.SizeBytes.Or(0))) {
			t.Errorf("%s: %+v, btrfs has %v", device, d, super)
		}
	}
}

func TestFilesystemWithALostMember(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	b := testhost.NewBtrfs(t, testhost.BtrfsOptions{Devices: 2, Data: "raid1", Metadata: "raid1", Label: "MOSLOST"})
	v := newVol(t, Options{})
	find := func() *registry.Filesystem {
		list := readFilesystems(t, v, `{"label_prefix":"MOSLOST"}`).Filesystems
		if len(list) != 1 {
			t.Fatalf("%d filesystems: %+v", len(list), list)
		}
		return &list[0]
	}
	whole := find()
	if whole.DevicesMissing != 0 || whole.DevicesTotal.Or(0) != 2 || len(whole.Devices) != 2 || !whole.Devices[1].Writeable.Or(false) ||
		!slices.Equal(whole.Btrfs.DataProfiles, []string{"raid1"}) || whole.Btrfs.QuotaState.Or("") != "off" {
		t.Errorf("whole: %+v %+v", whole, whole.Btrfs)
	}
	features, _ := os.ReadDir("/sys/fs/btrfs/" + whole.UUID.Or("") + "/features")
	if len(features) != len(whole.Btrfs.Features) {
		t.Errorf("features %v, sysfs has %v", whole.Btrfs.Features, features)
	}
	mounted := slices.DeleteFunc(whole.Btrfs.Features, func(name string) bool { // told by older kernels only
		return name == "mixed_backref" || name == "big_metadata"
	})
	b.Lose(1)
	degraded := find()
	if degraded.DevicesMissing != 1 || len(degraded.Devices) != 2 || !degraded.Devices[1].Missing || degraded.Devices[1].Path.IsSet() || degraded.Devices[1].Devid.Or(0) != 2 {
		t.Errorf("degraded: %+v", degraded)
	}
	b.Unmount()
	alone := find()
	if alone.DevicesMissing != 1 || alone.Mounted || !alone.UsedBytes.IsSet() || len(alone.Devices) != 2 || !alone.Devices[1].Missing {
		t.Errorf("unmounted: %+v", alone)
	}
	if diff := cmp.Diff(mounted, alone.Btrfs.Features); diff != "" {
		t.Errorf("features by sysfs and by the superblock (-sysfs +superblock)\n%s", diff)
	}
	b.Mount("degraded")
}

// checkMountedUnread is for a btrfs of two devices that may not be read: the kernel knows it all the same.
func checkMountedUnread(t *testing.T, v *Vol) {
	t.Helper()
	list := answer[registry.VolListFilesystemsResult](t, v, "vol.list_filesystems", `{"label_prefix":"MOSNOBODY"}`).Filesystems
	if len(list) != 1 {
		t.Fatalf("%d filesystems: %+v", len(list), list)
	}
	f := list[0]
	if f.Type != "btrfs" || !f.Mounted || len(f.Devices) != 2 || f.DevicesTotal.Or(0) != 2 || f.DevicesMissing != 0 || !f.UUID.IsSet() ||
		!f.AvailableBytes.IsSet() || !slices.Equal(f.Btrfs.MetadataProfiles, []string{"raid1"}) || !f.Devices[1].Path.IsSet() {
		t.Errorf("%+v %+v", f, f.Btrfs)
	}
}

func TestDevicesThatMayNotBeRead(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	const variable = "TEST_DISK"
	path := os.Getenv(variable)
	if path == "" {
		disk := testhost.NewLoop(t, testhost.LoopOptions{})
		disk.AddPartition(1, 1<<20, 8<<20)
		b := testhost.NewBtrfs(t, testhost.BtrfsOptions{Devices: 2, Metadata: "raid1", Label: "MOSNOBODY"})
		if err := os.Chmod(filepath.Dir(filepath.Dir(b.Path)), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv(variable, disk.Path)
		testhost.AsNobody(t)
		return
	}
	v := newVol(t, Options{})
	checkMountedUnread(t, v)
	list := answer[registry.VolListFilesystemsResult](t, v, "vol.list_filesystems", `{"label_prefix":""}`)
	unread := slices.ContainsFunc(list.Unread, func(u registry.UnreadDevice) bool {
		return u.Path == path+"p1" && u.Reason == "no_privilege"
	})
	if !unread {
		t.Errorf("unread: %+v, want %sp1", list.Unread, path)
	}
	parts := answer[registry.VolListPartitionsResult](t, v, "vol.list_partitions", fmt.Sprintf(`{"disk":%q}`, path)).Partitions
	if len(parts) != 1 || parts[0].ProbeError.Or("") != "no_privilege" || parts[0].InTable.IsSet() || parts[0].SizeBytes != 8<<20 {
		t.Errorf("%+v", parts)
	}
	_, err := call(t, v, "vol.list_free_space", fmt.Sprintf(`{"disk":%q}`, path))
	var lacks interface{ Capability() string }
	if !errors.As(err, &lacks) || lacks.Capability() != "CAP_DAC_READ_SEARCH" {
		t.Errorf("free space: %v", err)
	}
}

// A disk that does not answer: the kernel's facts are told in time, and so is what stands on a partition
// that does.
func TestPartitionsOfADiskThatHangs(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	disk := testhost.NewLoop(t, testhost.LoopOptions{})
	node := disk.AddPartition(1, 1<<20, 32<<20)
	testhost.Command(t, "mkfs.ext4", "-q", "-F", "-L", "MOSHANGS", node)
	v := newVol(t, Options{})
	st, err := blk.StatNode(disk.Path)
	if err != nil {
		t.Fatal(err)
	}
	release := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(10*time.Millisecond, cancel).Stop()
	_, err = hang.Do(ctx, v.calls, st.Number, func() (struct{}, error) { <-release; return struct{}{}, nil })
	if !errors.Is(err, context.Canceled) || v.calls.Stuck(st.Number) != 1 {
		t.Fatalf("%v, %d calls hang", err, v.calls.Stuck(st.Number))
	}
	start := time.Now()
	list := answer[registry.VolListPartitionsResult](t, v, "vol.list_partitions", fmt.Sprintf(`{"disk":%q}`, disk.Path)).Partitions
	if len(list) != 1 || list[0].ProbeError.Or("") != "timeout" || list[0].InTable.IsSet() || !list[0].InKernel || list[0].SizeBytes != 32<<20 || list[0].Filesystem == nil {
		t.Errorf("%+v", list)
	}
	found := answer[registry.VolListFilesystemsResult](t, v, "vol.list_filesystems", `{"label_prefix":"MOSHANGS"}`)
	if len(found.Filesystems) != 1 || found.Filesystems[0].Devices[0].Path.Or("") != node {
		t.Errorf("%+v", found)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	close(release)
	eventually(t, "the call is left", func() bool { return v.Blocked() == 0 })
	if list = readPartitions(t, v, fmt.Sprintf(`{"disk":%q}`, disk.Path)); list[0].ProbeError.IsSet() || !list[0].InTable.IsSet() {
		t.Errorf("once it is back: %+v", list)
	}
}
