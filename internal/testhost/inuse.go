package testhost

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Use is one way in which a disk can be in use.
type Use struct {
	Name   string // for the test's name
	Kind   string // of the holder that is to be named
	Holder string // its name; empty where that is not known beforehand
	Disk   *Loop  // the disk that is in use
	Node   string // the node that is held: the disk's own or that of a partition

	// Quiet disks are not written to by whoever holds them.
	Quiet bool
}

// Uses makes a disk for each way in which this kernel lets disks be in use, all of them without writing to
// them any more, and holds them until the test ends. It needs root, and is to be called inside MountNS.
func Uses(t *testing.T) []Use {
	t.Helper()
	for _, tool := range [][2]string{{"mkfs.ext4", "e2fsprogs"}, {"mkfs.btrfs", "btrfs-progs"}, {"mkswap", "util-linux"}, {"sfdisk", "fdisk"}, {"unshare", "util-linux"}} {
		Tool(t, tool[0], tool[1])
	}
	return []Use{mounted(t), mountedElsewhere(t), lazilyUnmounted(t), swappedTo(t), partitionMounted(t), backingLoop(t),
		secondMember(t), openedRaw(t), openedExclusively(t)}
}

// ext4Disk is a disk with an ext4.
func ext4Disk(t *testing.T) *Loop {
	t.Helper()
	disk := NewLoop(t, LoopOptions{Size: 32 << 20})
	Command(t, "mkfs.ext4", "-q", disk.Path)
	return disk
}

// mountReadOnly mounts a device and takes the mount away with the test.
func mountReadOnly(t *testing.T, device, fstype, options string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount(device, dir, fstype, unix.MS_RDONLY, options); err != nil {
		t.Fatalf("mount %s: %v", device, err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func mounted(t *testing.T) Use {
	disk := ext4Disk(t)
	dir := mountReadOnly(t, disk.Path, "ext4", "")
	return Use{Name: "mounted", Kind: "mount", Holder: dir, Disk: disk, Node: disk.Path, Quiet: true}
}

func mountedElsewhere(t *testing.T) Use {
	disk := ext4Disk(t)
	dir := t.TempDir()
	Stand(t, "unshare", "--mount", "--propagation", "private", "sh", "-ec", `mount -o ro "$0" "$1"; echo ready; read -r _`, disk.Path, dir)
	return Use{Name: "mounted in another namespace", Kind: "mount", Holder: dir, Disk: disk, Node: disk.Path, Quiet: true}
}

func lazilyUnmounted(t *testing.T) Use {
	disk := ext4Disk(t)
	dir := mountReadOnly(t, disk.Path, "ext4", "")
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	return Use{Name: "lazily unmounted", Kind: "filesystem", Holder: "ext4", Disk: disk, Node: disk.Path, Quiet: true}
}

func swappedTo(t *testing.T) Use {
	disk := NewLoop(t, LoopOptions{Size: 16 << 20})
	Swap(t, disk.Path)
	return Use{Name: "swap", Kind: "swap", Holder: disk.Path, Disk: disk, Node: disk.Path}
}

func partitionMounted(t *testing.T) Use {
	disk := NewLoop(t, LoopOptions{Size: 64 << 20})
	cmd := exec.Command("sfdisk", "-q", "--no-reread", "--no-tell-kernel", disk.Path)
	cmd.Stdin = strings.NewReader("label: gpt\nstart=1MiB, size=32MiB\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v: %s", err, out)
	}
	node := disk.AddPartition(1, 1<<20, 32<<20)
	Command(t, "mkfs.ext4", "-q", node)
	dir := mountReadOnly(t, node, "ext4", "")
	return Use{Name: "partition mounted", Kind: "mount", Holder: dir, Disk: disk, Node: node, Quiet: true}
}

func backingLoop(t *testing.T) Use {
	disk := ext4Disk(t)
	above := NewLoop(t, LoopOptions{Device: disk.Path})
	return Use{Name: "backing a loop", Kind: "loop", Holder: strings.TrimPrefix(above.Path, "/dev/"), Disk: disk, Node: disk.Path, Quiet: true}
}

func secondMember(t *testing.T) Use {
	b := NewBtrfs(t, BtrfsOptions{Devices: 2, Size: 128 << 20, Data: "raid1", Metadata: "raid1", Mkfs: []string{"-M"}})
	b.Unmount()
	b.Mount("ro")
	return Use{Name: "second member of a mounted btrfs", Kind: "mount", Holder: b.Path, Disk: b.Disks[1], Node: b.Disks[1].Path, Quiet: true}
}

func openedRaw(t *testing.T) Use {
	disk := ext4Disk(t)
	Stand(t, "sh", "-ec", `exec 3<>"$0"; echo ready; read -r _`, disk.Path)
	return Use{Name: "raw open", Kind: "process", Holder: "sh", Disk: disk, Node: disk.Path, Quiet: true}
}

func openedExclusively(t *testing.T) Use {
	disk := ext4Disk(t)
	fd, err := unix.Open(disk.Path, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), disk.Path)
	cmd := exec.Command("sh", "-ec", "echo ready; read -r _")
	cmd.ExtraFiles = []*os.File{f}
	stand(t, cmd)
	f.Close()
	return Use{Name: "exclusive open", Kind: "process", Holder: "sh", Disk: disk, Node: disk.Path, Quiet: true}
}

// Stand starts a program that prints a line when it is ready and ends when its standard input does; it ends
// with the test, and with this process however that ends. It returns its process id.
func Stand(t testing.TB, name string, args ...string) int {
	t.Helper()
	return stand(t, exec.Command(name, args...))
}

func stand(t testing.TB, cmd *exec.Cmd) int {
	t.Helper()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("%s: %q, %v", cmd, line, err)
	}
	return cmd.Process.Pid
}

// Sum is the SHA-256 of a whole device, as whoever opens it sees it.
func Sum(t testing.TB, path string) string {
	t.Helper()
	f, err := os.Open(filepath.Clean(path))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// A disk does not see what is written to its partitions as long as it has the old bytes in memory.
	if err := errors.Join(unix.Fsync(int(f.Fd())), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)); err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}
