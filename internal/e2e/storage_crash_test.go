package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// storageCrash is a write to storage, to be killed at every moment.
type storageCrash struct {
	name  string
	write func(s *storageScene) step
	// prepare makes what must stand before it.
	prepare func(s *storageScene)
	// holds says what is wrong with what a crash left, once the next daemon runs; done tells whether the write
	// had been answered.
	holds func(s *storageScene, done bool) string
	// retry is the call that brings it about after all; nil: the write itself.
	retry func(s *storageScene) step

	size  int64 // of the disk; 0: 160 MiB
	still bool  // nothing uses the disks, so that whatever is written to them is seen
}

// storageScene is a disk, and a folder to mount at.
type storageScene struct {
	*node
	disk string // its node; nobody has it open
	life *life
	at   string
	kept bool // a partition stood before

	typ   string // of the filesystem that is to be made
	other string // a further disk
	sum   string // of a file
	room  int64  // of a filesystem, before it grows
}

// No other disk of this machine bears these: tests run side by side.
var (
	crashUUID, keptUUID = freshUUID(), freshUUID()
	crashVolumeID       = fmt.Sprintf("%04X-%04X", rand.Uint32()>>16, rand.Uint32()>>16|1)
)

func params(pairs ...any) string {
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	b, _ := json.Marshal(m)
	return string(b)
}

func makePartition(s *storageScene) step {
	return step{"vol.create_partition", params("disk", s.disk, "uuid", crashUUID, "size_bytes", 8<<20)}
}

// tableHolds: the table is whole, has the partition that stood before, and the new one where it was told of.
func tableHolds(s *storageScene, done bool) string {
	out, err := exec.Command("sgdisk", "-v", s.disk).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No problems found") {
		return fmt.Sprintf("sgdisk -v: %v: %s", err, out)
	}
	out, err = exec.Command("sfdisk", "-d", s.disk).CombinedOutput()
	text := strings.ToLower(string(out))
	switch {
	case err != nil && done:
		return string(out)
	case s.kept && !strings.Contains(text, keptUUID):
		return "the partition that stood before is lost: " + text
	case done && !strings.Contains(text, crashUUID):
		return "the new partition is lost: " + text
	}
	return ""
}

func formatDisk(typ string) func(s *storageScene) step {
	return func(s *storageScene) step {
		return step{"vol.create_filesystem", params("device", s.disk, "type", typ, "uuid", s.uuid(), "force", true)}
	}
}

// formatHolds: what was answered is there and whole; what was cut off is told of, or was not begun.
func formatHolds(s *storageScene, done bool) string {
	if done {
		return made(s)
	}
	if bears := uuidOn(s.disk); !strings.EqualFold(bears, s.uuid()) && bears != keptUUID && !s.interrupted("vol.create_filesystem") {
		return fmt.Sprintf("the device bears %q and nothing is told of it", bears)
	}
	return ""
}

// interrupted tells whether vol.inventory says that a write was cut off.
func (s *storageScene) interrupted(method string) bool {
	var r struct {
		Health []struct{ Kind, Method, ID string }
	}
	if err := json.Unmarshal(s.life.must(step{"vol.inventory", "{}"}), &r); err != nil {
		s.t.Fatal(err)
	}
	for _, p := range r.Health {
		if p.Kind == "interrupted" && p.Method == method {
			return true
		}
	}
	return false
}

func isMounted(target string) bool {
	return exec.Command("findmnt", "-n", "--mountpoint", target).Run() == nil
}

// mountHolds: what is registered is mounted, and nothing else.
func mountHolds(want bool) func(s *storageScene, done bool) string {
	return func(s *storageScene, done bool) string {
		var r struct {
			Mounts []struct {
				Exists bool
			} `json:"registered_mounts"`
		}
		if err := json.Unmarshal(s.life.must(step{"vol.inventory", "{}"}), &r); err != nil {
			return err.Error()
		}
		there := isMounted(s.at)
		if there != (len(r.Mounts) == 1 && r.Mounts[0].Exists) || !there && len(r.Mounts) > 0 {
			return fmt.Sprintf("mounted %v, registered %+v", there, r.Mounts)
		}
		if done && there != want {
			return fmt.Sprintf("mounted %v", there)
		}
		return ""
	}
}

func ext4(s *storageScene) { testhost.Command(s.t, "mkfs.ext4", "-q", "-U", keptUUID, s.disk) }

// onBtrfs mounts a btrfs at the scene's folder, with a subvolume in it.
func onBtrfs(s *storageScene) {
	testhost.Command(s.t, "mkfs.btrfs", "-q", s.disk)
	if err := os.MkdirAll(s.at, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := unix.Mount(s.disk, s.at, "btrfs", 0, ""); err != nil {
		s.t.Fatal(err)
	}
	testhost.Command(s.t, "btrfs", "subvolume", "create", s.at+"/kept")
	testhost.Command(s.t, "btrfs", "filesystem", "sync", s.at)
}

func subvolumeThere(want bool) func(s *storageScene, done bool) string {
	return func(s *storageScene, done bool) string {
		_, err := os.Stat(s.at + "/new")
		if done && (err == nil) != want {
			return fmt.Sprintf("the subvolume: %v", err)
		}
		if _, err := os.Stat(s.at + "/kept"); err != nil {
			return "another subvolume is lost"
		}
		return ""
	}
}

var storageCrashes = []storageCrash{
	{name: "partition on a blank disk", write: makePartition, prepare: func(*storageScene) {}, holds: func(s *storageScene, done bool) string {
		if exec.Command("sfdisk", "-d", s.disk).Run() != nil && !done { // blank still
			return ""
		}
		return tableHolds(s, done)
	}},
	{name: "further partition", write: makePartition, prepare: aPartition, holds: tableHolds},
	{name: "ext4", write: formatDisk("ext4"), prepare: formerlyExt4("ext4"), holds: formatHolds, still: true},
	{name: "btrfs", write: formatDisk("btrfs"), prepare: formerlyExt4("btrfs"), holds: formatHolds, still: true},
	{name: "mount", write: func(s *storageScene) step { return step{"vol.mount", params("source", s.disk, "target", s.at)} }, prepare: ext4, holds: mountHolds(true)},
	{name: "unmount", write: func(s *storageScene) step { return step{"vol.unmount", params("target", s.at)} }, prepare: func(s *storageScene) {
		ext4(s)
		s.life.must(step{"vol.mount", params("source", s.disk, "target", s.at)})
	}, holds: mountHolds(false)},
	{name: "create subvolume", write: func(s *storageScene) step { return step{"vol.create_subvolume", params("path", s.at+"/new")} }, prepare: onBtrfs, holds: subvolumeThere(true)},
	{name: "subvolume of somebody's", write: func(s *storageScene) step {
		return step{"vol.create_subvolume", params("path", s.at+"/new", "uid", 1234, "mode", "0700", "max_referenced_bytes", 1<<30)}
	}, prepare: onBtrfs, holds: func(s *storageScene, done bool) string {
		info, err := os.Stat(s.at + "/new")
		if err == nil && (info.Sys().(*syscall.Stat_t).Uid != 1234 || info.Mode().Perm() != 0o700) {
			return fmt.Sprintf("half made: %v", info.Mode())
		}
		return subvolumeThere(true)(s, done)
	}},
	{name: "quota", write: func(s *storageScene) step {
		return step{"vol.set_quota", params("path", s.at+"/kept", "max_referenced_bytes", 1<<30)}
	}, prepare: onBtrfs, holds: func(s *storageScene, done bool) string {
		out, _ := exec.Command("btrfs", "qgroup", "show", "-r", "--raw", s.at).CombinedOutput()
		if done && !strings.Contains(string(out), fmt.Sprint(1<<30)) {
			return "no limit: " + string(out)
		}
		return ""
	}},
	{name: "snapshot", write: func(s *storageScene) step {
		return step{"vol.snapshot_subvolume", params("source", s.at+"/kept", "target", s.at+"/new")}
	}, prepare: onBtrfs, holds: subvolumeThere(true), retry: func(s *storageScene) step { return step{"vol.list_subvolumes", params("path", s.at)} }},
	{name: "delete subvolume", write: func(s *storageScene) step { return step{"vol.delete_subvolume", params("path", s.at+"/new")} }, prepare: func(s *storageScene) {
		onBtrfs(s)
		testhost.Command(s.t, "btrfs", "subvolume", "create", s.at+"/new")
		testhost.Command(s.t, "btrfs", "filesystem", "sync", s.at)
	}, holds: subvolumeThere(false)},
}

// TestStorageKilledAtEveryMoment kills the daemon at every moment of every write to storage: what the next one
// finds is old or new or told of, no table is lost, nothing is written to a device at a start, and the call made
// again brings it about.
func TestStorageKilledAtEveryMoment(t *testing.T) {
	for _, tool := range [][2]string{{"sgdisk", "gdisk"}, {"sfdisk", "fdisk"}, {"mkfs.ext4", "e2fsprogs"}, {"mkfs.btrfs", "btrfs-progs"}, {"mkfs.vfat", "dosfstools"}, {"mkfs.xfs", "xfsprogs"}} {
		testhost.Tool(t, tool[0], tool[1])
	}
	if !testhost.MountNS(t) {
		return
	}
	points, every := 0, 1
	kill := func(c storageCrash, first int) {
		t.Run(c.name, func(t *testing.T) {
			tried := 0
			for moment := first; !storageKilledAt(t, c, moment); moment += every {
				if tried++; moment > 60 {
					t.Fatal("it never comes to its end")
				}
			}
			t.Logf("%d moments", tried)
			points += tried
		})
	}
	for _, c := range storageCrashes {
		kill(c, 1)
	}
	if testhost.Rounds(1) < 100 {
		every = 3
	}
	for i, c := range furtherCrashes {
		kill(c, 1+i%every)
	}
	t.Logf("killed at %d moments of %d writes", points, len(storageCrashes)+len(furtherCrashes))
}

// storageKilledAt makes the write with a daemon that dies at a moment, starts another, and looks. It tells
// whether the daemon came to its end without having met the moment.
func storageKilledAt(t *testing.T, c storageCrash, moment int) (done bool) {
	t.Helper()
	n := newNode(t)
	n.args = []string{"--allow-private-mounts"}
	s := &storageScene{node: n, disk: newDiskOf(t, max(c.size, 160<<20)), at: t.TempDir() + "/mnt"}
	defer func() {
		s.life.kill()
		unix.Unmount(s.at, unix.MNT_DETACH)
		testhost.TryCommand(t, "losetup", "-d", s.disk)
		if s.other != "" {
			testhost.TryCommand(t, "losetup", "-d", s.other)
		}
	}()
	s.life = n.start(0)
	c.prepare(s)
	s.life.stop()
	s.life = n.start(moment)
	a := s.ask(c.write(s))
	answered := a != nil
	if answered && a.Error != nil {
		t.Fatalf("moment %d: %v", moment, a.Error)
	}
	if done = s.life.stop(); done && !answered {
		t.Fatalf("moment %d: no answer and no death: %s", moment, s.life.log.String())
	}
	before := ""
	if c.still {
		before = written(s)
	}
	s.life = n.start(0)
	time.Sleep(50 * time.Millisecond) // what a start does, it does in the background
	if wrong := s.settled(c, answered); wrong != "" {
		t.Errorf("moment %d (answered %v): %s\nlog %s", moment, answered, wrong, s.life.log.String())
	}
	if c.still && written(s) != before {
		t.Errorf("moment %d (answered %v): the start wrote to the device: %s, before %s", moment, answered, written(s), before)
	}
	retry := c.write
	if c.retry != nil {
		retry = c.retry
	}
	if a := s.ask(retry(s)); a == nil || a.Error != nil {
		t.Fatalf("moment %d: asked again: %+v\n%s", moment, a, s.life.log.String())
	}
	if c.retry == nil {
		if wrong := c.holds(s, true); wrong != "" {
			t.Errorf("moment %d: asked again: %s", moment, wrong)
		}
	}
	return done
}

// newDisk attaches a loop that the test itself does not hold: the guard would see that.
func newDisk(t *testing.T) string { return newDiskOf(t, 160<<20) }

func newDiskOf(t *testing.T, size int64) string {
	t.Helper()
	file := t.TempDir() + "/disk"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(testhost.Command(t, "losetup", "-fP", "--show", file))
}

// settled waits a while for what a crash left to be put right.
func (s *storageScene) settled(c storageCrash, answered bool) (wrong string) {
	for range 60 {
		if wrong = c.holds(s, answered); wrong == "" {
			return ""
		}
		time.Sleep(50 * time.Millisecond)
	}
	return wrong
}
