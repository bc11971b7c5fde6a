package volops

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/gpt"
	"github.com/geomind/my_os_server/internal/testhost"
)

// pairOf makes a btrfs of two devices by a call, which a plain mount finds.
func pairOf(t *testing.T, v *Vol, uuid string, disks ...string) {
	t.Helper()
	obtain(t, v, "vol.create_btrfs_raid", "devices", disks, "level", "raid1", "uuid", uuid, "force", true)
	for _, disk := range disks {
		dir := t.TempDir()
		if err := unix.Mount(disk, dir, "btrfs", unix.MS_RDONLY, ""); err != nil {
			t.Errorf("mount %s: %v", disk, err)
			continue
		}
		must(t, unix.Unmount(dir, 0))
	}
}

// detachFrom ends a loop, as long as it stands on the file: its number may be somebody else's by now.
func detachFrom(t *testing.T, disk, file string) {
	if backing, _ := os.ReadFile("/sys/block/" + filepath.Base(disk) + "/loop/backing_file"); strings.TrimSpace(string(backing)) == file {
		testhost.Command(t, "losetup", "-d", disk)
	}
}

// endSuperblock takes the mark of a btrfs away, of which the kernel hears nothing.
func endSuperblock(t *testing.T, disk string) {
	t.Helper()
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(make([]byte, superblockSize), superblockAt)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
}

// TestMembersThatAreNoneAnyMore makes a filesystem under the UUID of one whose devices the kernel remembers, and
// which are no members of it any more: wiped behind its back, gone, or made something else by a call.
func TestMembersThatAreNoneAnyMore(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := mountingVol(t)
	const size = 130 << 20
	for name, end := range map[string]func(disk string){
		"wiped":    func(disk string) { endSuperblock(t, disk) },
		"detached": func(disk string) { testhost.Command(t, "losetup", "-d", disk) },
	} {
		t.Run(name, func(t *testing.T) {
			uuid := gpt.RandomGUID().String()
			var first []string
			for range 2 { // whose nodes stay
				file := t.TempDir() + "/disk"
				disk := attach(t, file)
				t.Cleanup(func() { detachFrom(t, disk, file) })
				must(t, os.Truncate(file, size))
				testhost.Command(t, "losetup", "-c", disk)
				first = append(first, disk)
			}
			pairOf(t, v, uuid, first...)
			for _, disk := range first {
				end(disk)
			}
			second := []string{loop(t, size).Path, loop(t, size).Path}
			obtain(t, v, "vol.create_btrfs_raid", "devices", second, "level", "raid1", "uuid", uuid)
			target := t.TempDir() + "/mnt"
			obtain(t, v, "vol.mount", "source", second[0], "target", target)
			must(t, fill(target+"/file", 1<<20))
			obtain(t, v, "vol.unmount", "target", target)
		})
	}
	t.Run("made something else", func(t *testing.T) {
		uuid := gpt.RandomGUID().String()
		first := []string{loop(t, size).Path, loop(t, size).Path}
		pairOf(t, v, uuid, first...)
		for i, typ := range []string{"ext4", "vfat"} {
			obtain(t, v, "vol.create_filesystem", "device", first[i], "type", typ, "force", true)
		}
		pairOf(t, v, uuid, loop(t, size).Path, loop(t, size).Path)
	})
}

// TestMemberWithoutNode: what the kernel remembers of a device that has no node any more cannot be taken from it, and the error
// says so.
func TestMemberWithoutNode(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := mountingVol(t)
	const size = 130 << 20
	uuid := gpt.RandomGUID().String()
	first, takeAway := passingLoop(t, size)
	other := loop(t, size).Path
	pairOf(t, v, uuid, first, other)
	takeAway()
	endSuperblock(t, other)
	if exists(first) {
		t.Fatalf("%s is still there", first)
	}
	second := []string{loop(t, size).Path, loop(t, size).Path}
	obtain(t, v, "vol.create_btrfs_raid", "devices", second, "level", "raid1", "uuid", uuid)
	target := t.TempDir() + "/mnt"
	wantKind(t, failure(t, v, "vol.mount", "source", second[0], "target", target), "os_error", "EEXIST", "scan --forget")
}

// passingLoop is a disk that is taken away with its node, as one that is pulled: of a number that nobody else is given.
func passingLoop(t *testing.T, size int64) (path string, takeAway func()) {
	t.Helper()
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, err)
	number := 100_000 + rand.IntN(900_000)
	must(t, unix.IoctlSetInt(control, unix.LOOP_CTL_ADD, number))
	path = fmt.Sprintf("/dev/loop%d", number)
	file := t.TempDir() + "/disk"
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.Truncate(file, size))
	comesTrue(t, "the node", func() bool { return exists(path) })
	testhost.Command(t, "losetup", path, file)
	takeAway = sync.OnceFunc(func() {
		testhost.TryCommand(t, "losetup", "-d", path) // the test may have
		comesTrue(t, "an end of the loop", func() bool { return unix.IoctlSetInt(control, unix.LOOP_CTL_REMOVE, number) == nil })
		unix.Close(control)
	})
	t.Cleanup(takeAway)
	return path, takeAway
}

// TestOthersStayKnown: a mount has the kernel forget nothing of a filesystem that is whole and merely not mounted.
func TestOthersStayKnown(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := mountingVol(t)
	const size = 130 << 20
	idle := []string{loop(t, size).Path, loop(t, size).Path}
	testhost.Command(t, "mkfs.btrfs", "-q", "-d", "raid1", "-m", "raid1", idle[0], idle[1])
	pair := []string{loop(t, size).Path, loop(t, size).Path}
	pairOf(t, v, gpt.RandomGUID().String(), pair...)
	target := t.TempDir() + "/mnt"
	obtain(t, v, "vol.mount", "source", pair[0], "target", target)
	obtain(t, v, "vol.unmount", "target", target)
	dir := t.TempDir()
	if err := unix.Mount(idle[0], dir, "btrfs", unix.MS_RDONLY, ""); err != nil {
		t.Fatalf("mount of the other one: %v", err)
	}
	must(t, unix.Unmount(dir, 0))
}

// TestUUIDOfAnother asks for every type under the uuid of a filesystem on another device: it is a conflict that names that
// device, forced or not, and nothing is written.
func TestUUIDOfAnother(t *testing.T) {
	needMkfs(t)
	if !testhost.MountNS(t) {
		return
	}
	v := writingVol(t)
	const size = 130 << 20
	disk, further := loop(t, size).Path, loop(t, size).Path
	for _, typ := range []string{"ext4", "btrfs", "swap", "vfat"} {
		uuid, other := gpt.RandomGUID().String(), loop(t, size)
		if typ == "vfat" {
			uuid = (&formatting{mkfs: &mkfs{typ: "vfat"}}).randomUUID()
		}
		obtain(t, v, "vol.create_filesystem", "device", other.Path, "type", typ, "uuid", uuid)
		for _, force := range []bool{false, true} {
			wantKind(t, failure(t, v, "vol.create_filesystem", "device", disk, "type", typ, "uuid", uuid, "force", force), "conflict", other.Path)
			if typ != "vfat" {
				wantKind(t, failure(t, v, "vol.create_btrfs_raid", "devices", []string{disk, further}, "level", "raid1", "uuid", uuid, "force", force), "conflict", other.Path)
			}
		}
		other.Detach()
		if typ == "vfat" {
			continue
		}
		if got := obtain(t, v, "vol.create_filesystem", "device", loop(t, size).Path, "type", typ, "uuid", uuid); got["created"] != true {
			t.Errorf("%s, once it is free: %v", typ, got)
		}
	}
	if !blank(t, disk) || !blank(t, further) {
		t.Error("something was written")
	}
	if list := v.state.Interrupted(); len(list) > 0 {
		t.Errorf("interrupted: %v", list)
	}
}
