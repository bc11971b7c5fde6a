package testhost

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// LoopOptions say what a loop disk is like.
type LoopOptions struct {
	Size       int64  // bytes, a multiple of the sector size; 64 MiB where 0
	SectorSize uint32 // 512 where 0
	ReadOnly   bool
	Backing    string // name of the file below it, in a folder of its own; "disk" where empty
	Device     string // a block device to stand on in place of a file
	NoPartscan bool   // for a disk whose reads must not be awaited when it is attached
	Offset     int64  // where in the file the disk begins, a multiple of the sector size
}

// Loop is a loop disk over a sparse file. It and its partitions are gone when the test ends; where the
// process dies, the kernel takes the disk away as soon as nothing mounted holds it.
type Loop struct {
	Path    string // of its node, /dev/loopN
	Backing string // path of the file

	t       testing.TB
	fd      int // of the node: while it is open the disk stays
	number  int
	created bool // the device with this number was not there before
}

// NewLoop makes a loop disk. It needs root.
func NewLoop(t testing.TB, o LoopOptions) *Loop {
	t.Helper()
	Root(t)
	if o.Size == 0 {
		o.Size = 64 << 20
	}
	if o.Backing == "" {
		o.Backing = "disk"
	}
	l := &Loop{t: t, Backing: o.Device}
	if l.Backing == "" {
		l.Backing = filepath.Join(t.TempDir(), o.Backing)
	}
	backing := l.openBacking(o)
	defer unix.Close(backing)
	for try := 0; ; try++ {
		err := l.attach(backing, o)
		if err == nil {
			break
		}
		// EBUSY: somebody else took the number; the others: somebody else removed it.
		if try == 100 || !slices.Contains([]error{unix.EBUSY, unix.ENOENT, unix.ENXIO, unix.ENODEV}, err) {
			t.Fatalf("attach loop: %v", err)
		}
	}
	t.Cleanup(l.Detach)
	return l
}

// openBacking opens what the disk is to stand on; a file is made, and as long as it takes.
func (l *Loop) openBacking(o LoopOptions) (fd int) {
	l.t.Helper()
	fd, err := unix.Open(l.Backing, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err == nil && o.Device == "" {
		err = unix.Ftruncate(fd, o.Offset+o.Size)
	}
	if err != nil {
		l.t.Fatalf("backing %q: %v", l.Backing, err)
	}
	return fd
}

// attach takes the first free loop device.
func (l *Loop) attach(backing int, o LoopOptions) error {
	before, err := filepath.Glob("/sys/block/loop*")
	if err != nil {
		return err
	}
	if l.number, err = loopControl(unix.LOOP_CTL_GET_FREE, 0); err != nil {
		return err
	}
	l.created = !slices.Contains(before, fmt.Sprintf("/sys/block/loop%d", l.number))
	l.Path = fmt.Sprintf("/dev/loop%d", l.number)
	if l.fd, err = unix.Open(l.Path, unix.O_RDWR|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	// Autoclear: detached at the last close, ours for one. Partscan: without it the nodes of
	// partitions would outlive the disk.
	config := unix.LoopConfig{Fd: uint32(backing), Size: o.SectorSize}
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	if !o.NoPartscan {
		config.Info.Flags |= unix.LO_FLAGS_PARTSCAN
	}
	if o.ReadOnly {
		config.Info.Flags |= unix.LO_FLAGS_READ_ONLY
	}
	config.Info.Offset = uint64(o.Offset)
	copy(config.Info.File_name[:63], l.Backing)
	if err := unix.IoctlLoopConfigure(l.fd, &config); err != nil {
		unix.Close(l.fd)
		return err
	}
	return nil
}

// loopControl asks the driver for a free number or to remove one.
func loopControl(request uint, number int) (int, error) {
	fd, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(number))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// Detach takes the disk away; what is mounted from it keeps it until the unmount. It may be called
// more than once.
func (l *Loop) Detach() {
	if l.fd < 0 {
		return
	}
	unix.Close(l.fd)
	l.fd = -1
	if l.created { // EBUSY where it is held or was taken again
		loopControl(unix.LOOP_CTL_REMOVE, l.number)
	}
}

// AddPartition makes the kernel know of a partition (BLKPG), as a partition table would: bytes from
// start to start+length. Its node has the returned path.
func (l *Loop) AddPartition(number int32, start, length int64) string {
	l.t.Helper()
	part := unix.BlkpgPartition{Start: start, Length: length, Pno: number}
	arg := unix.BlkpgIoctlArg{Op: unix.BLKPG_ADD_PARTITION, Datalen: int32(unsafe.Sizeof(part)), Data: (*byte)(unsafe.Pointer(&part))}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(l.fd), unix.BLKPG, uintptr(unsafe.Pointer(&arg))); errno != 0 {
		l.t.Fatalf("add partition %d to %s: %v", number, l.Path, errno)
	}
	node := fmt.Sprintf("%sp%d", l.Path, number)
	waitFor(l.t, node)
	return node
}

// waitFor waits for a node that devtmpfs or udev makes in its own time.
func waitFor(t testing.TB, node string) {
	t.Helper()
	for range 200 {
		if _, err := os.Stat(node); err == nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s does not appear", node)
}
