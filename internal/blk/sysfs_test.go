package blk

import (
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
)

func openTree(t *testing.T, host string) *Sysfs {
	t.Helper()
	s, err := Open(testhost.Tree(t, host))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func readDisk(t *testing.T, s *Sysfs, name string) *Disk {
	t.Helper()
	d, err := s.Disk(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestNames(t *testing.T) {
	want := []string{"cciss/c0d0", "loop0", "loop1", "mmcblk0", "mmcblk0boot0", "ram0", "sda", "sdb", "sdc", "sr0"}
	got, err := openTree(t, "desktop").Names()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestIdentity(t *testing.T) {
	desktop, server := openTree(t, "desktop"), openTree(t, "server")
	tests := []struct {
		s    *Sysfs
		name string
		want Identity
	}{
		{desktop, "sda", Identity{Vendor: "ATA", Model: "ST4000VN008-2DR166", Revision: "SC60", Serial: "S3Z9NB0K123456X",
			WWN: "0x5000c500a1b2c3d4", Transport: "sata", Subsystems: "block:scsi:pci", HCTL: "0:0:0:0"}},
		{desktop, "sdb", Identity{Vendor: "Generic", Model: "USB3.0 CRW   -SD", Revision: "1.00", Transport: "usb",
			Subsystems: "block:scsi:usb:pci", HCTL: "6:0:0:0"}},
		{desktop, "sdc", Identity{Vendor: "HGST", Model: "HSH721414ALN6M0", Revision: "L4GM", Serial: "81G0ABCD",
			WWN: "0x5000cca25b0abcde", Transport: "sas", Subsystems: "block:scsi:pci", HCTL: "7:0:0:0"}},
		{desktop, "mmcblk0", Identity{Model: "DG4032", Serial: "0x1c2d3e4f", Transport: "mmc", Subsystems: "block:mmc:mmc_host:platform"}},
		{desktop, "cciss/c0d0", Identity{Subsystems: "block"}},
		{server, "nvme0n1", Identity{Model: "SAMSUNG MZQL21T9HCJR-00A07", Revision: "GDC5602Q", Serial: "S64GNE0R501234",
			WWN: "eui.36344730525012340025384300000001", Transport: "nvme", Subsystems: "block:nvme:pci"}},
		{openTree(t, "virtio"), "vda", Identity{Vendor: "0x1af4", Serial: "disk0", Transport: "virtio", Subsystems: "block:virtio:pci"}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, readDisk(t, tt.s, tt.name).Identity); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestStacks(t *testing.T) {
	s := openTree(t, "server")
	md, crypt, lvm := readDisk(t, s, "md127"), readDisk(t, s, "dm-0"), readDisk(t, s, "dm-1")
	if md.Kind != "md" || md.Type != "raid1" || crypt.Type != "crypt" || lvm.Type != "lvm" || lvm.State != "suspended" || crypt.MapperName != "data_crypt" {
		t.Errorf("md %s %s, crypt %s %s, lvm %s %s", md.Kind, md.Type, crypt.Type, crypt.MapperName, lvm.Type, lvm.State)
	}
	if want := []string{"nvme0n1p10", "nvme1n1p10"}; !slices.Equal(md.Slaves, want) {
		t.Errorf("slaves %v, want %v", md.Slaves, want)
	}
	nvme := readDisk(t, s, "nvme0n1")
	var names []string
	for _, p := range nvme.Partitions {
		names = append(names, p.Name)
	}
	if want := []string{"nvme0n1p1", "nvme0n1p2", "nvme0n1p10"}; !slices.Equal(names, want) {
		t.Errorf("partitions %v, want %v", names, want)
	}
	if want := []string{"md127"}; !slices.Equal(nvme.HolderNames(), want) || len(nvme.Holders) != 0 {
		t.Errorf("holders %v, want %v", nvme.HolderNames(), want)
	}
	if hidden := readDisk(t, s, "nvme0c0n1"); !hidden.Hidden || nvme.Hidden {
		t.Errorf("hidden %v and %v", hidden.Hidden, nvme.Hidden)
	}
}

func TestOwner(t *testing.T) {
	s := openTree(t, "desktop")
	tests := []struct {
		number          Number
		disk, partition string
	}{
		{Number{8, 0}, "sda", ""}, {Number{8, 1}, "sda", "sda1"}, {Number{104, 0}, "cciss/c0d0", ""}, {Number{104, 2}, "cciss/c0d0", "cciss/c0d0p2"},
		{Number{179, 1}, "mmcblk0", "mmcblk0p1"}, {Number{179, 8}, "mmcblk0boot0", ""}, // below mmcblk0, and no partition of it
	}
	for _, tt := range tests {
		disk, partition, err := s.Owner(tt.number)
		if err != nil || disk != tt.disk || partition != tt.partition {
			t.Errorf("%v: %q %q %v, want %q %q", tt.number, disk, partition, err, tt.disk, tt.partition)
		}
		name := tt.disk
		if tt.partition != "" {
			name = tt.partition
		}
		if n, err := s.Number(name); err != nil || n != tt.number {
			t.Errorf("%s: %v %v, want %v", name, n, err, tt.number)
		}
	}
}

func TestNotThere(t *testing.T) {
	s := openTree(t, "desktop")
	_, ownerErr := func() (string, error) { d, _, err := s.Owner(Number{8, 99}); return d, err }()
	_, diskErr := s.Disk("sdz")
	_, numberErr := s.Number("../../../../etc")
	_, openErr := Open(t.TempDir())
	for what, err := range map[string]error{"owner": ownerErr, "disk": diskErr, "number": numberErr, "sysfs": openErr} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want fs.ErrNotExist", what, err)
		}
	}
	if !errors.Is(openErr, ErrNoSysfs) {
		t.Errorf("Open: %v, want ErrNoSysfs", openErr)
	}
	if s.LoopBacking("loop1") != "" || s.LoopBacking("loop0") == "" {
		t.Errorf("backing %q and %q", s.LoopBacking("loop1"), s.LoopBacking("loop0"))
	}
}

func TestFilesystems(t *testing.T) {
	want := []Filesystem{{Type: "btrfs", UUID: "0fc63daf-8483-4772-8e79-3d69d8477de4", Label: "MOSDATA", Members: []string{"cciss/c0d0", "sda1"}}}
	if diff := cmp.Diff(want, Filesystems(testhost.Tree(t, "desktop"))); diff != "" {
		t.Error(diff)
	}
	want = []Filesystem{{Type: "ext4", Members: []string{"dm-1"}}}
	if diff := cmp.Diff(want, Filesystems(testhost.Tree(t, "server"))); diff != "" {
		t.Error(diff)
	}
	if list := Filesystems(t.TempDir()); list != nil {
		t.Errorf("without sysfs: %v", list)
	}
}

func TestCompare(t *testing.T) {
	want := []string{"loop2", "loop10", "loop10p1", "loop10p02", "loop10p3", "nvme0n1", "nvme0n1p9", "nvme0n1p10", "nvme1n1", "sda", "sda1", "sda10", "sdaa", "sdb"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, Compare)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if Compare("a1", "a1") != 0 || Compare("a", "a1") >= 0 {
		t.Error("equal or shorter names")
	}
}

func TestIsPartition(t *testing.T) {
	tests := []struct {
		disk, name string
		want       bool
	}{
		{"sda", "sda1", true}, {"sda", "sda", false}, {"sda", "sdap1", false}, {"sda", "sda1x", false}, {"loop0", "loop0p1", true},
		{"loop1", "loop12", false}, {"nvme0n1", "nvme0n1p12", true}, {"mmcblk0", "mmcblk0boot0", false}, {"", "1", false}, {"md", "md1", true},
	}
	for _, tt := range tests {
		if got := isPartition(tt.disk, tt.name); got != tt.want {
			t.Errorf("isPartition(%q, %q) = %v", tt.disk, tt.name, got)
		}
	}
	for name, want := range map[string]int{"sda1": 1, "nvme0n1p12": 12, "sda": 0} {
		if got := PartitionIndex(name); got != want {
			t.Errorf("PartitionIndex(%q) = %d", name, got)
		}
	}
}

func TestSchedulers(t *testing.T) {
	tests := []struct {
		list, current string
		all           []string
	}{
		{"[none] mq-deadline kyber", "none", []string{"none", "mq-deadline", "kyber"}},
		{"none [mq-deadline] kyber", "mq-deadline", []string{"none", "mq-deadline", "kyber"}},
		{"none", "none", []string{"none"}},
		{"", "", nil},
	}
	for _, tt := range tests {
		current, all := schedulers(tt.list)
		if current != tt.current || !slices.Equal(all, tt.all) {
			t.Errorf("%q: %q %q", tt.list, current, all)
		}
	}
}

func TestWWN(t *testing.T) {
	for wwid, want := range map[string]string{
		"naa.5000c500a1b2c3d4": "0x5000c500a1b2c3d4", "eui.0025384300000001": "eui.0025384300000001", "uuid.1-2": "uuid.1-2",
		"t10.ATA     model   serial": "", "": "",
	} {
		if got := wwn(wwid); got != want {
			t.Errorf("wwn(%q) = %q, want %q", wwid, got, want)
		}
	}
}

func TestSCSITransport(t *testing.T) {
	for driver, want := range map[string]string{
		"ahci": "sata", "sata_nv": "sata", "ata_piix": "ata", "pata_amd": "ata", "virtio_scsi": "scsi", "": "",
	} {
		if got := ataTransport(driver); got != want {
			t.Errorf("%q: %q, want %q", driver, got, want)
		}
	}
	if got := scsiHost("../devices/pci0000:00/hostess/host12/target12:0:0"); got != "host12" {
		t.Errorf("scsiHost = %q", got)
	}
	if got := hctl("../devices/target0:0:0/0:0:0:0/block/sda"); got != "0:0:0:0" {
		t.Errorf("hctl = %q", got)
	}
}
