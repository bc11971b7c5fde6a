package volops

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/blk"
	"github.com/geomind/my_os_server/pkg/registry"
)

// TestHealth: what each state of things comes to, as "severity kind resource id {counters}".
func TestHealth(t *testing.T) {
	no, yes := registry.Some(false), registry.Some(true)
	tests := map[string]struct {
		result registry.VolInventoryResult
		errors map[string]blk.FilesystemErrors
		want   []string
		status registry.VolStatus
	}{
		"nothing": {status: registry.VolStatusOk},
		"no medium": {
			result: ofDisk(registry.Disk{Path: "/dev/sr0", ProbeError: registry.Some("no_medium")}),
			status: registry.VolStatusOk,
		},
		"a disk that hangs, told once": {
			result: ofDisk(registry.Disk{Path: "/dev/vda", ProbeError: registry.Some("timeout")},
				registry.Partition{Path: "/dev/vda1", ProbeError: registry.Some("timeout"), InKernel: true}),
			want: []string{"failed timeout disk /dev/vda"}, status: registry.VolStatusFailed,
		},
		"a partition that cannot be read": {
			result: ofDisk(registry.Disk{Path: "/dev/vda"}, registry.Partition{Path: "/dev/vda1", ProbeError: registry.Some("EIO"), InKernel: true}),
			want:   []string{"failed unread partition /dev/vda1"}, status: registry.VolStatusFailed,
		},
		"what may not be read": {
			result: ofDisk(registry.Disk{Path: "/dev/vda", ProbeError: registry.Some("no_privilege")}),
			want:   []string{"warning unread disk "}, status: registry.VolStatusDegraded,
		},
		"a damaged GPT": {
			result: ofDisk(registry.Disk{Path: "/dev/vda", PartitionTable: &registry.PartitionTable{Type: "gpt", PrimaryValid: no, BackupValid: yes, BackupAtEnd: no}}),
			want:   []string{"warning table_damaged disk /dev/vda", "warning table_damaged disk /dev/vda"}, status: registry.VolStatusDegraded,
		},
		"a whole GPT": {
			result: ofDisk(registry.Disk{Path: "/dev/vda", PartitionTable: &registry.PartitionTable{Type: "gpt", PrimaryValid: yes, BackupValid: yes, BackupAtEnd: yes}}),
			status: registry.VolStatusOk,
		},
		"a partition without a device": {
			result: ofDisk(registry.Disk{Path: "/dev/vda"}, registry.Partition{Path: "/dev/vda1", InTable: yes}, registry.Partition{Path: "/dev/vda2", InKernel: true, InTable: no}),
			want:   []string{"warning not_in_kernel partition /dev/vda1"}, status: registry.VolStatusDegraded,
		},
		"an ext4 with errors": {
			result: ofDisk(registry.Disk{Path: "/dev/vda"}), errors: map[string]blk.FilesystemErrors{"/dev/vda": {Count: 3, First: time.Unix(1, 0)}},
			want: []string{"warning corruption filesystem /dev/vda errors_count=3"}, status: registry.VolStatusDegraded,
		},
	}
	for name, c := range tests {
		p := problemList{}
		for i := range c.result.Disks {
			p.disk(&c.result.Disks[i], c.errors)
		}
		p.flushDenied()
		compareProblems(t, name, p.list, c.want)
		if got := overall(p.list); got != c.status {
			t.Errorf("%s: %s, want %s", name, got, c.status)
		}
	}
}

func ofDisk(d registry.Disk, partitions ...registry.Partition) registry.VolInventoryResult {
	row := registry.InventoryDisk{Disk: d}
	for _, p := range partitions {
		row.Partitions = append(row.Partitions, registry.InventoryPartition{Partition: p})
	}
	return registry.VolInventoryResult{Disks: []registry.InventoryDisk{row}}
}

// compareProblems holds problems against their short form.
func compareProblems(t *testing.T, name string, list []registry.VolProblem, want []string) {
	t.Helper()
	var got []string
	for _, p := range list {
		text := p.Severity + " " + p.Kind + " " + p.Resource + " " + p.ID.Or("")
		for _, counter := range []string{"errors_count", "devices_missing", "write_io_errs", "corruption_errs", "done_bytes", "speed_bps"} {
			if n, ok := p.Counters[counter]; ok {
				text += " " + counter + "=" + fmt.Sprint(n)
			}
		}
		got = append(got, text)
		if p.Message == "" || strings.HasSuffix(p.Message, ".") || strings.Contains(p.Message, "%!") {
			t.Errorf("%s: message %q", name, p.Message)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// TestHealthOfMounts: a filesystem that turned read-only, and one that somebody mounted so.
func TestHealthOfMounts(t *testing.T) {
	for name, c := range map[string]struct {
		mount registry.Mount
		want  []string
	}{
		"well":             {registry.Mount{Options: []string{"rw"}, Fstype: "ext4"}, nil},
		"turned read-only": {registry.Mount{Options: []string{"rw", "noatime"}, Fstype: "ext4", ReadOnly: true}, []string{"failed read_only filesystem X"}},
		"wanted so":        {registry.Mount{Options: []string{"ro"}, Fstype: "ext4", ReadOnly: true}, nil},
		"by nature":        {registry.Mount{Options: []string{"rw"}, Fstype: "squashfs", ReadOnly: true}, nil},
		"hangs":            {registry.Mount{Options: []string{"rw"}, Fstype: "xfs", UsageError: registry.Some("timeout")}, []string{"failed timeout filesystem X"}},
		"hidden":           {registry.Mount{Options: []string{"rw"}, Fstype: "xfs", UsageError: registry.Some("hidden")}, nil},
	} {
		p := problemList{}
		p.mounted("X", []registry.Mount{c.mount, c.mount})
		compareProblems(t, name, p.list, c.want)
	}
}

// TestHealthOfBtrfs: members, counters and what is unfinished.
func TestHealthOfBtrfs(t *testing.T) {
	profiles := func(names ...string) *registry.BtrfsInfo { return &registry.BtrfsInfo{DataProfiles: names} }
	for name, c := range map[string]struct {
		row  registry.InventoryBtrfs
		want []string
	}{
		"well":               {registry.InventoryBtrfs{DeviceStats: []registry.BtrfsDeviceStats{{Devid: 1}}}, nil},
		"one of a mirror":    {registry.InventoryBtrfs{Filesystem: registry.Filesystem{DevicesMissing: 1, Btrfs: profiles("raid1")}}, []string{"warning missing_device filesystem  devices_missing=1"}},
		"two of a mirror":    {registry.InventoryBtrfs{Filesystem: registry.Filesystem{DevicesMissing: 2, Btrfs: profiles("raid1")}}, []string{"failed missing_device filesystem  devices_missing=2"}},
		"one without copies": {registry.InventoryBtrfs{Filesystem: registry.Filesystem{DevicesMissing: 1, Btrfs: profiles("single")}}, []string{"failed missing_device filesystem  devices_missing=1"}},
		"nobody knows":       {registry.InventoryBtrfs{Filesystem: registry.Filesystem{DevicesMissing: 1}}, []string{"warning missing_device filesystem  devices_missing=1"}},
		"counters": {registry.InventoryBtrfs{DeviceStats: []registry.BtrfsDeviceStats{{WriteIoErrs: 2, CorruptionErrs: 5}}},
			[]string{"warning io_errors filesystem  write_io_errs=2", "warning corruption filesystem  corruption_errs=5"}},
		"unfinished": {registry.InventoryBtrfs{Filesystem: registry.Filesystem{Mounted: true, Btrfs: profiles("raid1", "single")},
			Scrub: &registry.BtrfsScrub{State: "interrupted"}, Balance: &registry.BtrfsBalance{State: "paused"}},
			[]string{"warning scrub_interrupted filesystem ", "warning balance_paused filesystem ", "warning multiple_profiles filesystem "}},
	} {
		p := problemList{}
		p.btrfs(&c.row)
		compareProblems(t, name, p.list, c.want)
	}
}

// TestHealthOfArrays: degraded, rebuilding, broken.
func TestHealthOfArrays(t *testing.T) {
	rebuilding := &registry.MdSync{Action: "recover", Percent: registry.Some(12.5), DoneBytes: registry.Some(int64(7)), SpeedBps: registry.Some(int64(9))}
	for name, c := range map[string]struct {
		array registry.MdArray
		want  []string
	}{
		"whole":      {registry.MdArray{Path: "/dev/md0", ArrayState: "clean", Sync: &registry.MdSync{Action: "idle"}}, nil},
		"checked":    {registry.MdArray{Path: "/dev/md0", Sync: &registry.MdSync{Action: "check"}}, nil},
		"degraded":   {registry.MdArray{Path: "/dev/md0", Degraded: registry.Some(int64(1)), RaidDisks: registry.Some(int64(2))}, []string{"warning degraded array /dev/md0"}},
		"rebuilding": {registry.MdArray{Path: "/dev/md0", Degraded: registry.Some(int64(1)), Sync: rebuilding}, []string{"warning degraded array /dev/md0", "warning rebuilding array /dev/md0 done_bytes=7 speed_bps=9"}},
		"broken":     {registry.MdArray{Path: "/dev/md0", ArrayState: "broken", Degraded: registry.Some(int64(2))}, []string{"failed degraded array /dev/md0"}},
		"failed":     {registry.MdArray{Path: "/dev/md0", States: []string{"clean", "FAILED"}, Degraded: registry.Some(int64(2))}, []string{"failed degraded array /dev/md0"}},
	} {
		p := problemList{}
		p.array(&c.array)
		compareProblems(t, name, p.list, c.want)
	}
}

// TestWhatMayNotBeReadHasACause: the capability is asked for only where it lacks.
func TestWhatMayNotBeReadHasACause(t *testing.T) {
	for mayRead, want := range map[bool]string{false: "give it CAP_DAC_READ_SEARCH", true: "DeviceAllow="} {
		p := problemList{mayRead: mayRead, denied: []string{"/dev/vda"}}
		p.flushDenied()
		if got := p.list[0].Message; !strings.Contains(got, want) {
			t.Errorf("with the capability %t: %q has no %q", mayRead, got, want)
		}
	}
}
