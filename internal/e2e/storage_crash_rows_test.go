package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// furtherCrashes are writes that take the steps of those in storageCrashes with another program or on more
// devices.
var furtherCrashes = []storageCrash{
	{name: "vfat", write: formatDisk("vfat"), prepare: formerlyExt4("vfat"), holds: formatHolds, still: true},
	{name: "swap", write: formatDisk("swap"), prepare: formerlyExt4("swap"), holds: formatHolds, still: true},
	{name: "btrfs raid", write: makeRaid, prepare: func(s *storageScene) {
		formerlyExt4("btrfs")(s)
		s.other = newDisk(s.t)
	}, holds: raidHolds, still: true},
	growCrash("btrfs"), growCrash("xfs"),
}

func formerlyExt4(typ string) func(s *storageScene) {
	return func(s *storageScene) {
		s.typ = typ
		ext4(s)
	}
}

func makeRaid(s *storageScene) step {
	return step{"vol.create_btrfs_raid", params("devices", []string{s.disk, s.other}, "level", "raid1", "uuid", crashUUID, "force", true)}
}

// raidHolds: both devices bear what was answered, and it can be mounted by either; of what was cut off both
// bear what they bore, or it is told of.
func raidHolds(s *storageScene, done bool) string {
	uuids := [2]string{uuidOn(s.disk), uuidOn(s.other)}
	switch {
	case uuids == [2]string{crashUUID, crashUUID}:
		if !done {
			return ""
		}
	case done:
		return fmt.Sprintf("what was answered is not there: %q", uuids)
	case uuids != [2]string{keptUUID, ""} && !s.interrupted("vol.create_btrfs_raid"):
		return fmt.Sprintf("the devices bear %q and nothing is told of it", uuids)
	default:
		return ""
	}
	for _, disk := range []string{s.disk, s.other} {
		s.life.must(step{"vol.mount", params("source", disk, "target", s.at, "options", []string{"ro"})})
		s.life.must(step{"vol.unmount", params("target", s.at)})
	}
	return made(s)
}

func uuidOn(disk string) string {
	out, _ := exec.Command("blkid", "-p", "-o", "value", "-s", "UUID", disk).Output()
	return strings.TrimSpace(string(out))
}

const (
	grownFrom = 320 << 20 // more than the least xfs and the least device that btrfs resizes
	grownTo   = 400 << 20
)

// growCrash grows a partition and the filesystem on it, which is mounted throughout.
func growCrash(typ string) storageCrash {
	return storageCrash{name: "grow " + typ, size: grownTo, prepare: func(s *storageScene) {
		s.typ = typ
		s.life.must(step{"vol.create_partition", params("disk", s.disk, "uuid", keptUUID, "size_bytes", grownFrom)})
		testhost.Command(s.t, "mkfs."+typ, "-q", s.disk+"p1")
		s.life.must(step{"vol.mount", params("source", s.disk+"p1", "target", s.at)})
		if err := writeRandom(s.at+"/file", 4<<20); err != nil {
			s.t.Fatal(err)
		}
		s.sum = testhost.Sum(s.t, s.at+"/file")
		s.room = roomAt(s.t, s.at)
	}, write: func(s *storageScene) step {
		return step{"vol.resize_max", params("path", s.at, "grow_partition", true)}
	}, holds: growHolds}
}

// growHolds: the table is whole and has the partition, as long as it was or as it was to become; the kernel's is no
// longer than that; where they differ it is told of. What is mounted is registered, and no file is lost.
func growHolds(s *storageScene, done bool) string {
	if out, err := exec.Command("sgdisk", "-v", s.disk).CombinedOutput(); err != nil || !strings.Contains(string(out), "No problems found") {
		return fmt.Sprintf("sgdisk -v: %v: %s", err, out)
	}
	listed := listedSize(s.disk)
	sectors, err := os.ReadFile("/sys/class/block/" + filepath.Base(s.disk) + "p1/size")
	if err != nil {
		return err.Error()
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(sectors)), 10, 64)
	if err != nil {
		return err.Error()
	}
	const most = grownTo - 2<<20 // the table takes the first MiB and some of the last
	size, room := n*512, roomAt(s.t, s.at)
	switch {
	case listed != most && listed != grownFrom, size > listed, done && size != most:
		return fmt.Sprintf("the table lists %d bytes, the kernel has %d", listed, size)
	case size != listed && !s.interrupted("vol.resize_max"):
		return fmt.Sprintf("the table lists %d bytes, the kernel has %d, and nothing is told of it", listed, size)
	case done && room < s.room+(grownTo-grownFrom)/2:
		return fmt.Sprintf("the filesystem has %d bytes, and had %d", room, s.room)
	case done && s.interrupted("vol.resize_max"):
		return "it came about, and is told as interrupted"
	case testhost.Sum(s.t, s.at+"/file") != s.sum:
		return "a file has changed"
	}
	return mountHolds(true)(s, true)
}

// roomAt is how large a mounted filesystem is.
func roomAt(t *testing.T, at string) int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Blocks) * st.Bsize
}

// listedSize is how long the table says that the partition is that stood before; 0 where it lists none.
func listedSize(disk string) int64 {
	out, _ := exec.Command("sfdisk", "-d", disk).Output()
	for line := range strings.Lines(strings.ToLower(string(out))) {
		if !strings.Contains(line, keptUUID) {
			continue
		}
		_, rest, _ := strings.Cut(line, "size=")
		digits, _, _ := strings.Cut(rest, ",")
		n, _ := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		return n * 512
	}
	return 0
}

// written counts what was written to the disks or discarded so far, as the kernel does (Documentation/block/stat.rst); what
// waits to be written is written first. The kernel counts a request a moment after it told of its end.
func written(s *storageScene) (counts string) {
	for {
		last := counts
		counts = ""
		for _, disk := range []string{s.disk, s.other} {
			if disk == "" {
				continue
			}
			testhost.Command(s.t, "blockdev", "--flushbufs", disk)
			text, err := os.ReadFile("/sys/block/" + filepath.Base(disk) + "/stat")
			if err != nil {
				s.t.Fatal(err)
			}
			f := strings.Fields(string(text))
			counts += fmt.Sprintf("%s: %s sectors written, %s discarded; ", disk, f[6], f[13])
		}
		if counts == last {
			return counts
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// ask makes a call that must come about or be cut off; nil: it was cut off. A program that looks for a free loop
// opens those that are taken, too (losetup(8)), and holds our disk for a moment.
func (s *storageScene) ask(c step) *answer {
	for range 100 {
		a := s.life.call(c)
		if a == nil || a.Error == nil || a.Error.Data["kind"] != "busy" || !strings.Contains(a.Error.Error(), "losetup") {
			return a
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatalf("%s stays busy", s.disk)
	return nil
}
