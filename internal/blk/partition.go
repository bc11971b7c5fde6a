package blk

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// resizePartition is BLKPG_RESIZE_PARTITION of linux/blkpg.h.
const resizePartition = 3

// AddPartition has the kernel know of a partition of the disk that f is open on, with or without a table that
// lists it (BLKPG, linux/blkpg.h). start and length are in bytes. Errors: EBUSY where it has one that
// overlaps or has the number, EINVAL for a disk that has no partitions, EACCES without CAP_SYS_ADMIN.
func AddPartition(f *os.File, number int, start, length int64) error {
	return changePartition(f, unix.BLKPG_ADD_PARTITION, "add", number, start, length)
}

// RemovePartition has the kernel forget a partition. The error is EBUSY where somebody has it open.
func RemovePartition(f *os.File, number int) error {
	return changePartition(f, unix.BLKPG_DEL_PARTITION, "remove", number, 0, 0)
}

// ResizePartition gives a partition another length, also while it is in use.
func ResizePartition(f *os.File, number int, start, length int64) error {
	return changePartition(f, resizePartition, "resize", number, start, length)
}

func changePartition(f *os.File, op int32, verb string, number int, start, length int64) error {
	part := unix.BlkpgPartition{Start: start, Length: length, Pno: int32(number)}
	arg := unix.BlkpgIoctlArg{Op: op, Datalen: int32(unsafe.Sizeof(part)), Data: (*byte)(unsafe.Pointer(&part))}
	if err := ioctl(f, unix.BLKPG, unsafe.Pointer(&arg)); err != nil {
		return fmt.Errorf("%s partition %d of %s: %w", verb, number, f.Name(), err)
	}
	return nil
}

// Discard tells the device that f is open on that nothing in a part of it counts any more (BLKDISCARD). The
// error is EOPNOTSUPP for a device that takes no such hint.
func Discard(f *os.File, start, length int64) error {
	extent := [2]uint64{uint64(start), uint64(length)}
	return ioctl(f, unix.BLKDISCARD, unsafe.Pointer(&extent))
}

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	err := control(f, func(fd uintptr) error {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(arg)); errno != 0 {
			return errno
		}
		return nil
	})
	runtime.KeepAlive(arg)
	return err
}

// control runs a system call on the descriptor of f, which stays open meanwhile.
func control(f *os.File, call func(fd uintptr) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { failed = call(fd) }); err != nil {
		return err
	}
	return failed
}

// Geometry is the size of the device that f is open on and that of its logical sectors, in bytes.
func Geometry(f *os.File) (size, sector int64, err error) {
	err = control(f, func(fd uintptr) (err error) {
		size, sector, err = (&Device{fd: int(fd)}).Geometry()
		return err
	})
	return size, sector, err
}

// Lock takes the lock of flock(2) on the device that f is open on, by which udev and partitioning tools keep
// out of each other's way on a disk. It does not wait: the error is EWOULDBLOCK where somebody has it.
func Lock(f *os.File) error {
	return control(f, func(fd uintptr) error { return unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) })
}

// Partitionable tells whether the kernel takes partitions on a disk: those of a loop that was attached
// without asking for them are refused.
func (s *Sysfs) Partitionable(name string) bool {
	buf := s.buffers.Get().(*[attrSize]byte)
	defer s.buffers.Put(buf)
	n := dir{s.block, buf}.number(fileName(name) + "/ext_range")
	return !n.Known || n.Value > 1
}
