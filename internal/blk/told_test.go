package blk

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// TestToldAgainstSysfs holds what devices tell of themselves against what sysfs has of them, for loops made at random
// and whatever else this machine has.
func TestToldAgainstSysfs(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	s := openHost(t)
	seed := testhost.Seed(t)
	for round := range testhost.Rounds(10) {
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		loop := testhost.NewLoop(t, testhost.LoopOptions{
			Size: int64(1+r.IntN(64)) << 20, SectorSize: 512 << r.IntN(4), ReadOnly: r.IntN(2) == 0, NoPartscan: r.IntN(2) == 0,
			Offset: int64(r.IntN(3)) << 20,
		})
		change(t, loop, r)
		compareTold(t, s, loop.Path[len("/dev/"):])
		loop.Detach()
	}
	compareOthers(t, s)
}

func openHost(t *testing.T) *Sysfs {
	t.Helper()
	s, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// change sets what can be set of a loop that is attached.
func change(t *testing.T, loop *testhost.Loop, r *rand.Rand) {
	t.Helper()
	fd, err := unix.Open(loop.Path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	info, err := unix.IoctlLoopGetStatus64(fd)
	if err != nil {
		t.Fatal(err)
	}
	info.Sizelimit = uint64(r.IntN(2)) << 20
	if err := unix.IoctlLoopSetStatus64(fd, info); err != nil {
		t.Fatal(err)
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.BLKRASET, uintptr(r.IntN(4096)))
	if errno != 0 {
		t.Fatal(errno)
	}
}

// compareOthers takes the disks that nobody attaches or detaches meanwhile.
func compareOthers(t *testing.T, s *Sysfs) {
	t.Helper()
	names, err := s.Names()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		k, err := s.Identity(name)
		if err != nil || k.Size == 0 || k.Hidden || k.Kind == "loop" {
			continue
		}
		d, err := OpenDevice("/dev/"+k.Name, k.Number)
		if errors.Is(err, fs.ErrPermission) {
			continue // the disk below a container
		}
		if err != nil {
			t.Fatal(err)
		}
		d.Close()
		compareTold(t, s, name)
	}
}

// compareTold reads a disk with and without what it tells.
func compareTold(t *testing.T, s *Sysfs, name string) {
	t.Helper()
	want, err := s.Disk(name)
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.DiskTold(name, func(k *Disk) *Told {
		d, err := OpenDevice("/dev/"+k.Name, k.Number)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		told := d.Tell(k.Kind)
		if told == nil || (told.loop != nil) != (k.Kind == "loop") {
			t.Errorf("%s tells %+v", name, told)
		}
		return told
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-sysfs +told):\n%s", name, diff)
	}
}

// TestCached reads of a device that only this test has open.
func TestCached(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	loop := testhost.NewLoop(t, testhost.LoopOptions{NoPartscan: true})
	node, err := StatNode(loop.Path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := OpenDevice(loop.Path, node.Number)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.Cached(32 << 20) {
		t.Error("cached before it was read")
	}
	if _, err := d.ReadAt(make([]byte, 512), 32<<20); err != nil {
		t.Fatal(err)
	}
	if !d.Cached(32 << 20) {
		t.Error("not cached after it was read")
	}
}
