package testhost

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// BtrfsOptions say what a btrfs is like.
type BtrfsOptions struct {
	Devices  int      // 1 where 0
	Size     int64    // of each device, bytes; 300 MiB where 0
	Sizes    []int64  // of each device where they differ, in place of Devices and Size
	Data     string   // profile of data; mkfs's choice where empty
	Metadata string   // profile of metadata
	Label    string   // label
	Mkfs     []string // further arguments of mkfs.btrfs
}

// Btrfs is a mounted btrfs on loop disks, gone when the test ends.
type Btrfs struct {
	Path  string // where its top level is mounted
	Disks []*Loop

	t      testing.TB
	device string // where it is on no disks of its own
}

// NewBtrfsOn makes and mounts a btrfs on a device that is there.
func NewBtrfsOn(t testing.TB, device string) *Btrfs {
	t.Helper()
	b := &Btrfs{t: t, Path: t.TempDir(), device: device}
	Command(t, "mkfs.btrfs", "-q", "-f", device)
	t.Cleanup(func() { unix.Unmount(b.Path, unix.MNT_DETACH) })
	b.Mount("")
	return b
}

// NewBtrfs makes and mounts a btrfs. It needs root, and should be called inside MountNS.
func NewBtrfs(t testing.TB, o BtrfsOptions) *Btrfs {
	t.Helper()
	Tool(t, "mkfs.btrfs", "btrfs-progs")
	ownScrubRecords(t)
	b := &Btrfs{t: t, Path: filepath.Join(t.TempDir(), "btrfs")}
	if err := os.Mkdir(b.Path, 0o755); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-q", "-f"}, o.Mkfs...)
	for _, flag := range [][2]string{{"-d", o.Data}, {"-m", o.Metadata}, {"-L", o.Label}} {
		if flag[1] != "" {
			args = append(args, flag[:]...)
		}
	}
	sizes := o.Sizes
	if sizes == nil {
		sizes = slices.Repeat([]int64{cmp.Or(o.Size, 300<<20)}, max(o.Devices, 1))
	}
	for _, size := range sizes {
		disk := NewLoop(t, LoopOptions{Size: size})
		b.Disks = append(b.Disks, disk)
		args = append(args, disk.Path)
	}
	Command(t, "mkfs.btrfs", args...)
	t.Cleanup(func() { unix.Unmount(b.Path, unix.MNT_DETACH) })
	b.Mount("")
	return b
}

// scrubRecords is where btrfs-progs keeps the records of scrubs.
const scrubRecords = "/var/lib/btrfs"

var recordsHidden sync.Once

// ownScrubRecords gives a test in a mount namespace of its own an empty folder for the records of scrubs in place
// of the host's, so that it leaves none there. All processes of the test have it at the same path.
func ownScrubRecords(t testing.TB) {
	t.Helper()
	if os.Getenv(childVariable) == "" {
		return
	}
	recordsHidden.Do(func() {
		if err := os.MkdirAll(scrubRecords, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("records", scrubRecords, "tmpfs", 0, "mode=755"); err != nil {
			t.Fatalf("hide the host's records of scrubs: %v", err)
		}
	})
}

// Mount mounts its top level, with options as mount(8) takes them behind -o.
func (b *Btrfs) Mount(options string) {
	b.t.Helper()
	for _, disk := range b.Disks {
		if disk.fd >= 0 {
			Command(b.t, "btrfs", "device", "scan", disk.Path)
		}
	}
	options = strings.TrimSuffix("subvolid=5,"+options, ",")
	if err := unix.Mount(b.first(), b.Path, "btrfs", 0, options); err != nil {
		b.t.Fatalf("mount %s on %s with %q: %v", b.first(), b.Path, options, err)
	}
}

// first is a disk that is there.
func (b *Btrfs) first() string {
	if b.device != "" {
		return b.device
	}
	for _, disk := range b.Disks {
		if disk.fd >= 0 {
			return disk.Path
		}
	}
	b.t.Fatal("all disks of the btrfs are detached")
	return ""
}

// Unmount unmounts it; Mount may follow.
func (b *Btrfs) Unmount() {
	b.t.Helper()
	if err := unix.Unmount(b.Path, 0); err != nil {
		b.t.Fatalf("unmount %s: %v", b.Path, err)
	}
}

// Lose unmounts it, takes a disk away for good, makes the kernel forget it, and mounts the rest
// degraded.
func (b *Btrfs) Lose(disk int) {
	b.t.Helper()
	b.Unmount()
	b.Disks[disk].Detach()
	Command(b.t, "btrfs", "device", "scan", "--forget")
	b.Mount("degraded")
}

// Run runs btrfs(8) and returns what it printed.
func (b *Btrfs) Run(args ...string) string {
	b.t.Helper()
	return Command(b.t, "btrfs", args...)
}

// Write makes a file of n bytes, which no two files have in common, and commits it.
func (b *Btrfs) Write(name string, n int64) {
	b.t.Helper()
	Command(b.t, "sh", "-ec", `head -c "$1" /dev/urandom >"$0"; btrfs filesystem sync "$(dirname "$0")" >/dev/null`, filepath.Join(b.Path, name), strconv.FormatInt(n, 10))
}

// TakeAll has a file take space until there is none, and tells how many bytes it has.
func (b *Btrfs) TakeAll(name string) (taken int64) {
	b.t.Helper()
	f, err := os.Create(filepath.Join(b.Path, name))
	if err != nil {
		b.t.Fatal(err)
	}
	defer f.Close()
	for step := int64(1) << 45; step >= 4096; {
		switch err := unix.Fallocate(int(f.Fd()), 0, taken, step); err {
		case nil:
			taken += step
		case unix.ENOSPC:
			step /= 2
		case unix.EINTR:
		default:
			b.t.Fatalf("fallocate: %v", err)
		}
	}
	return taken
}
