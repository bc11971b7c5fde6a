package volops

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

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
		text := strings.Fields(testhost.Command(t, "swapon", "--noheadings", "--bytes", "--show=NAME,SIZE"))
		at := slices.Index(text, device)
		if at < 0 || text[at+1] != fmt.Sprint(f.SizeBytes.Or(0)) || f.UsedBytes.Or(-1) < 0 || f.UsedBytes.Or(0) > f.SizeBytes.Or(0) { // how much is used is another matter each moment
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
	r := answer[registry.VolListPartitionsResult](t, v, "vol.list_partitions", fmt.Sprintf(`{"disk":%q}`, path))
	if want := []registry.UnreadDevice{{Path: path, Reason: "no_privilege"}}; !slices.Equal(r.Unread, want) {
		t.Errorf("partitions: unread: %+v, want %+v", r.Unread, want)
	}
	parts := r.Partitions
	if len(parts) != 1 || parts[0].ProbeError.Or("") != "no_privilege" || parts[0].InTable.IsSet() || parts[0].SizeBytes != 8<<20 {
		t.Errorf("%+v", parts)
	}
	_, err := call(t, v, "vol.list_free_space", fmt.Sprintf(`{"disk":%q}`, path))
	var lacks interface{ Capability() string }
	if !errors.As(err, &lacks) || lacks.Capability() != "CAP_DAC_READ_SEARCH" {
		t.Errorf("free space: %v", err)
	}
}
