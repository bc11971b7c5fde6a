package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// TestStateFolderFull fills the state folder: every write to storage that is to be recorded is refused before a
// byte of a disk or a mount is changed, and works once there is room.
func TestStateFolderFull(t *testing.T) {
	for _, tool := range [][2]string{{"mkfs.ext4", "e2fsprogs"}, {"mkfs.btrfs", "btrfs-progs"}} {
		testhost.Tool(t, tool[0], tool[1])
	}
	if !testhost.MountNS(t) {
		return
	}
	n := newNode(t)
	n.args = []string{"--allow-private-mounts"}
	folder, at := n.folder+"/state", t.TempDir()
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", folder, "tmpfs", 0, "size=48k,mode=700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(folder, unix.MNT_DETACH) })
	s := &storageScene{node: n, at: at + "/btrfs"} // mounted by somebody else: nothing was written yet
	files := map[string]*testhost.FaultFile{}
	disk := func() string {
		file := testhost.NewFaultFile(t, 160<<20)
		path := strings.TrimSpace(testhost.Command(t, "losetup", "-fP", "--show", file.Path))
		t.Cleanup(func() { testhost.TryCommand(t, "losetup", "-d", path) })
		files[path] = file
		return path
	}
	blank, formatted, spare := disk(), disk(), disk()
	parted := newDiskOf(t, grownTo)
	partitionBySfdisk(t, parted, grownFrom)
	testhost.Command(t, "mkfs.btrfs", "-q", parted+"p1")
	if err := errors.Join(os.Mkdir(at+"/part", 0o755), unix.Mount(parted+"p1", at+"/part", "btrfs", 0, "")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { testhost.TryCommand(t, "losetup", "-d", parted) })
	t.Cleanup(func() { unix.Unmount(at+"/part", unix.MNT_DETACH) })
	s.disk = disk()
	t.Cleanup(func() {
		for _, target := range []string{s.at, at + "/ext4"} {
			unix.Unmount(target, unix.MNT_DETACH)
		}
	})
	onBtrfs(s)
	testhost.Command(t, "mkfs.ext4", "-q", formatted)
	fillUp(t, folder+"/filler")
	s.life = n.start(0)
	writes := []step{
		{"vol.create_partition", params("disk", blank, "uuid", crashUUID, "size_bytes", 8<<20)},
		{"vol.create_filesystem", params("device", formatted, "type", "btrfs", "force", true)},
		{"vol.create_filesystem", params("device", formatted, "type", "ext4", "uuid", keptUUID, "force", true)},
		{"vol.mount", params("source", formatted, "target", at+"/ext4")},
		{"vol.create_subvolume", params("path", s.at+"/new", "uid", 5)},
		{"vol.delete_subvolume", params("path", s.at+"/kept")},
		{"vol.create_btrfs_raid", params("devices", []string{spare, formatted}, "level", "raid1", "force", true)},
		{"vol.resize_max", params("path", at+"/part", "grow_partition", true)},
		{"vol.unmount", params("target", s.at, "force", true)},
	}
	for _, file := range files {
		file.Fail("none", 0) // counts from here
	}
	for _, w := range writes {
		a := s.life.call(w)
		if a == nil || a.Error == nil || a.Error.Data["kind"] != "os_error" || a.Error.Data["errno"] != "ENOSPC" || a.Error.Data["applied"] != "no" {
			t.Errorf("%s: %s", w.method, told(a))
		}
	}
	for path, file := range files {
		if _, written := file.Heal(); written > 0 {
			t.Errorf("%s was written to %d times", path, written)
		}
	}
	if size := listedSize(parted); size != grownFrom {
		t.Errorf("the partition that was to grow has %d bytes", size)
	}
	// What need not be recorded, since the kernel does it whole or not at all, is done.
	for _, w := range []step{
		{"vol.create_subvolume", params("path", s.at+"/plain")}, {"vol.snapshot_subvolume", params("source", s.at+"/plain", "target", s.at+"/copy")},
		{"vol.set_quota", params("path", s.at+"/plain", "max_referenced_bytes", 1<<30)}, {"vol.defrag", params("path", s.at+"/plain", "force", true)},
	} {
		s.life.must(w)
	}
	_, noFolder := os.Stat(at + "/ext4")
	_, kept := os.Stat(s.at + "/kept")
	_, unmade := os.Stat(s.at + "/new")
	if noFolder == nil || kept != nil || unmade == nil || !isMounted(s.at) {
		t.Errorf("a mount point: %v; the subvolumes: %v, %v; mounted %v", noFolder, kept, unmade, isMounted(s.at))
	}
	if err := os.Remove(folder + "/filler"); err != nil {
		t.Fatal(err)
	}
	for _, w := range writes {
		if w.method != "vol.create_btrfs_raid" { // which by now would take what is mounted
			s.life.must(w)
		}
	}
	if isMounted(s.at) || !isMounted(at+"/ext4") {
		t.Error("not everything came about")
	}
	s.life.must(step{"vol.unmount", params("target", at+"/ext4")})
	if !s.life.stop() {
		t.Errorf("the daemon ended badly: %s", s.life.log.String())
	}
}

// partitionBySfdisk makes the one partition that stands before.
func partitionBySfdisk(t *testing.T, disk string, size int64) {
	t.Helper()
	cmd := exec.Command("sfdisk", "-q", "--no-reread", "--no-tell-kernel", disk)
	cmd.Stdin = strings.NewReader(fmt.Sprintf("label: gpt\nstart=1MiB, size=%dMiB, uuid=%s\n", size>>20, keptUUID))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v: %s", err, out)
	}
	testhost.Command(t, "partx", "-a", disk)
}

// fillUp has a file take what room there is.
func fillUp(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for {
		if _, err := f.Write(make([]byte, 4096)); err != nil {
			return
		}
	}
}
