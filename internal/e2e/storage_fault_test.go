package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// storageFault is a write to storage whose disk fails under it.
type storageFault struct {
	name    string
	prepare func(s *storageScene)
	write   func(s *storageScene) step
	// again makes it possible to ask again, where a failure leaves a filesystem read-only until it is mounted anew.
	again func(s *storageScene)
	// holds says what is wrong once the write has come about.
	holds func(s *storageScene) string
	// lax: what the disk takes is not waited for, and may be something all the same.
	lax bool
}

func bearsUUID(s *storageScene) string {
	out, _ := exec.Command("blkid", "-p", "-o", "value", "-s", "UUID", s.disk).CombinedOutput()
	if !strings.EqualFold(strings.TrimSpace(string(out)), s.uuid()) {
		return "the device bears " + string(out)
	}
	return ""
}

// uuid is what is to be made: FAT has a form of its own.
func (s *storageScene) uuid() string {
	if s.typ == "vfat" {
		return crashVolumeID
	}
	return crashUUID
}

// made checks a new filesystem with its own checker.
func made(s *storageScene) string {
	if wrong := bearsUUID(s); wrong != "" {
		return wrong
	}
	check := map[string][]string{
		"ext4": {"e2fsck", "-fn", s.disk}, "btrfs": {"btrfs", "check", "--readonly", s.disk}, "vfat": {"fsck.vfat", "-n", s.disk}, "swap": {"swaplabel", s.disk},
	}[s.typ]
	if out, err := exec.Command(check[0], check[1:]...).CombinedOutput(); err != nil {
		return fmt.Sprintf("%v: %v: %s", check, err, out)
	}
	return ""
}

func formatFault(typ string) storageFault {
	return storageFault{name: typ, prepare: func(s *storageScene) { s.typ = typ }, holds: made, write: func(s *storageScene) step {
		return step{"vol.create_filesystem", params("device", s.disk, "type", typ, "uuid", s.uuid())}
	}}
}

// mountedBtrfs has the daemon make and mount a btrfs with a subvolume.
func mountedBtrfs(s *storageScene) {
	testhost.Command(s.t, "mkfs.btrfs", "-q", s.disk)
	s.life.must(step{"vol.mount", params("source", s.disk, "target", s.at)})
	s.life.must(step{"vol.create_subvolume", params("path", s.at+"/kept")})
}

// remount mounts what failed anew, through the daemon.
func remount(s *storageScene) {
	s.life.must(step{"vol.unmount", params("target", s.at)})
	s.life.must(step{"vol.mount", params("source", s.disk, "target", s.at)})
}

func hasNew(want bool) func(s *storageScene) string {
	return func(s *storageScene) string { return subvolumeThere(want)(s, true) }
}

func aPartition(s *storageScene) {
	partitionBySfdisk(s.t, s.disk, 4<<20)
	s.kept = true
}

var storageFaults = []storageFault{
	{name: "partition on a blank disk", prepare: func(*storageScene) {}, write: makePartition, holds: func(s *storageScene) string { return tableHolds(s, true) }},
	{name: "further partition", prepare: aPartition, write: makePartition, holds: func(s *storageScene) string { return tableHolds(s, true) }},
	formatFault("ext4"), formatFault("btrfs"), formatFault("vfat"), formatFault("swap"),
	{name: "btrfs raid", prepare: func(s *storageScene) { s.typ, s.other = "btrfs", newDisk(s.t) }, holds: made, write: func(s *storageScene) step {
		return step{"vol.create_btrfs_raid", params("devices", []string{s.disk, s.other}, "level", "raid1", "uuid", crashUUID)}
	}},
	{name: "mount ext4", prepare: ext4, write: mountHere, holds: isThere, lax: true},
	{name: "mount btrfs", prepare: func(s *storageScene) { testhost.Command(s.t, "mkfs.btrfs", "-q", s.disk) }, write: mountHere, holds: isThere, lax: true},
	{name: "create subvolume", prepare: mountedBtrfs, again: remount, holds: hasNew(true), write: func(s *storageScene) step {
		return step{"vol.create_subvolume", params("path", s.at+"/new")}
	}},
	{name: "subvolume of somebody's", prepare: mountedBtrfs, again: remount, holds: hasNew(true), write: func(s *storageScene) step {
		return step{"vol.create_subvolume", params("path", s.at+"/new", "uid", 1234, "mode", "0700", "max_referenced_bytes", 1<<30)}
	}},
	{name: "snapshot", prepare: mountedBtrfs, again: remount, holds: hasNew(true), write: func(s *storageScene) step {
		return step{"vol.snapshot_subvolume", params("source", s.at+"/kept", "target", s.at+"/new")}
	}},
	{name: "quota", prepare: mountedBtrfs, again: remount, holds: func(*storageScene) string { return "" }, write: func(s *storageScene) step {
		return step{"vol.set_quota", params("path", s.at+"/kept", "max_referenced_bytes", 1<<30)}
	}},
	{name: "delete subvolume", prepare: func(s *storageScene) {
		mountedBtrfs(s)
		s.life.must(step{"vol.create_subvolume", params("path", s.at+"/new")})
	}, again: remount, holds: hasNew(false), write: func(s *storageScene) step {
		return step{"vol.delete_subvolume", params("path", s.at+"/new")}
	}},
}

func mountHere(s *storageScene) step {
	return step{"vol.mount", params("source", s.disk, "target", s.at)}
}

func isThere(s *storageScene) string {
	if !isMounted(s.at) {
		return "it is not mounted"
	}
	return ""
}

// TestStorageFaults has reads, writes and flushes of a disk fail under every write to storage: the answer says so
// and what was reached, the registry says what the kernel has, what is uncertain is listed, and the same call
// brings it about once the disk is well.
func TestStorageFaults(t *testing.T) {
	for _, tool := range [][2]string{{"sgdisk", "gdisk"}, {"sfdisk", "fdisk"}, {"mkfs.ext4", "e2fsprogs"}, {"mkfs.btrfs", "btrfs-progs"}, {"mkfs.vfat", "dosfstools"}} {
		testhost.Tool(t, tool[0], tool[1])
	}
	if !testhost.MountNS(t) {
		return
	}
	n := newNode(t)
	n.args = []string{"--allow-private-mounts"}
	l := n.start(0)
	stages := min(1+testhost.Rounds(1)/20, 6)
	for i := range len(storageFaults) * 3 * stages {
		c, request, after := storageFaults[i/3%len(storageFaults)], []string{testhost.FaultRead, testhost.FaultWrite, testhost.FaultFlush}[i%3], i/3/len(storageFaults)
		if request == testhost.FaultRead && (c.again != nil || stages == 1 && !slices.Contains([]string{"further partition", "ext4", "mount ext4"}, c.name)) {
			continue // what a mounted filesystem needs for it is in memory; a device is looked at in one way by all
		}
		t.Run(fmt.Sprintf("%s/%s %d", c.name, request, after), func(t *testing.T) {
			here := *n
			here.t = t
			storageFails(t, &storageScene{node: &here, life: &life{node: &here, cmd: l.cmd, ended: l.ended}, at: t.TempDir() + "/mnt"}, c, request, after)
		})
	}
	if !l.stop() {
		t.Errorf("the daemon ended badly: %s", l.log.String())
	}
}

func storageFails(t *testing.T, s *storageScene, c storageFault, request string, after int) {
	file := testhost.NewFaultFile(t, 160<<20)
	s.disk = strings.TrimSpace(testhost.Command(t, "losetup", "-fP", "--show", file.Path))
	defer func() {
		file.Heal()
		s.life.call(step{"vol.unmount", params("target", s.at)})
		unix.Unmount(s.at, unix.MNT_DETACH)
		for _, disk := range []string{s.disk, s.other} {
			if disk != "" {
				testhost.TryCommand(t, "losetup", "-d", disk)
			}
		}
	}()
	c.prepare(s)
	testhost.Command(t, "blockdev", "--flushbufs", s.disk)
	file.Fail(request, after)
	a := s.life.call(c.write(s))
	failed, written := file.Heal()
	if a == nil {
		t.Fatal("the daemon died")
	}
	t.Logf("%d requests failed, %d writes came through: %s", failed, written, told(a))
	s.honest(a, failed, written, c.lax || request == testhost.FaultRead)
	if wrong := s.agrees(); wrong != "" {
		t.Error(wrong)
	}
	if a.Error != nil && c.again != nil {
		c.again(s)
	}
	method := c.write(s).method
	stands := a.Error == nil || a.Error.Data["applied"] != "no"
	if again := s.life.call(c.write(s)); again == nil || again.Error != nil && !(stands && method == "vol.snapshot_subvolume" && again.Error.Data["kind"] == "conflict") {
		t.Fatalf("asked again: %+v", again)
	}
	if wrong := c.holds(s); wrong != "" {
		t.Errorf("asked again: %s", wrong)
	}
	if s.interrupted(method) {
		t.Error("it came about, and is told as interrupted")
	}
	if wrong := s.agrees(); wrong != "" {
		t.Error(wrong)
	}
}

// told is an answer in a line.
func told(a *answer) string {
	if a.Error == nil {
		return "it came about"
	}
	return a.Error.Error()
}

// honest checks an answer against what the disk saw.
func (s *storageScene) honest(a *answer, failed, written int, lax bool) {
	s.t.Helper()
	if a.Error == nil {
		if failed > 0 && !lax {
			s.t.Errorf("%d requests failed, and nothing is said of it", failed)
		}
		return
	}
	data := a.Error.Data
	errno, _ := data["errno"].(string)
	if data["kind"] != "os_error" || errno == "" || failed == 0 {
		s.t.Errorf("%d requests failed: %v", failed, a.Error)
	}
	switch data["applied"] {
	case "no":
		if written > 0 && !lax {
			s.t.Errorf("%d writes came through, and it says that nothing was applied", written)
		}
	case "unknown", "yes":
	default:
		s.t.Errorf("it does not say what was applied: %v", data)
	}
}

// agrees says where the registry of mounts says something else than the kernel.
func (s *storageScene) agrees() string {
	var r struct {
		Mounts []struct {
			Target string
			Exists bool
		} `json:"registered_mounts"`
	}
	if err := json.Unmarshal(s.life.must(step{"vol.inventory", "{}"}), &r); err != nil {
		return err.Error()
	}
	registered := false
	for _, m := range r.Mounts {
		if m.Target == s.at {
			registered = m.Exists
		}
	}
	if there := isMounted(s.at); there != registered {
		return fmt.Sprintf("mounted %v, registered %v", there, registered)
	}
	if _, err := os.Stat(s.at); err == nil && !registered {
		return "a mount point that nothing is mounted on was left"
	}
	return ""
}
