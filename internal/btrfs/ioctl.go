package btrfs

import (
	"context"
	"errors"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sysAdmin is what looking into trees takes.
const sysAdmin = "CAP_SYS_ADMIN"

// The ioctls of linux/btrfs.h: direction, size of the argument, 0x94, number.
const (
	iocWrite = 1 << 30
	iocRead  = 2 << 30

	iocTreeSearchV2      = iocRead | iocWrite | searchHead<<16 | 0x94<<8 | 17
	iocInoLookup         = iocRead | iocWrite | 4096<<16 | 0x94<<8 | 18
	iocSpaceInfo         = iocRead | iocWrite | 16<<16 | 0x94<<8 | 20
	iocScrubProgress     = iocRead | iocWrite | 1024<<16 | 0x94<<8 | 29
	iocDevInfo           = iocRead | iocWrite | 4096<<16 | 0x94<<8 | 30
	iocFSInfo            = iocRead | 1024<<16 | 0x94<<8 | 31
	iocBalanceProgress   = iocRead | 1024<<16 | 0x94<<8 | 34
	iocQuotaRescanStatus = iocRead | 64<<16 | 0x94<<8 | 45
	iocGetDevStats       = iocRead | iocWrite | 1032<<16 | 0x94<<8 | 52
)

// ioctl asks the filesystem one thing, with the pointer to a struct as the kernel has it, and waits as
// the Filesystem's Waiter does. The struct must come from the heap and must not be read or used again
// where an error that is not an errno comes back: the call may still be under way.
func ioctl[T any](ctx context.Context, f *Filesystem, op, need string, request uintptr, arg *T) error {
	err := f.wait(ctx, func() error { return rawIoctl(f.fd, request, unsafe.Pointer(arg)) })
	return f.opError(op, need, err)
}

// rawIoctl is ioctl(2), again where a signal interrupts it.
func rawIoctl(fd int, request uintptr, arg unsafe.Pointer) error {
	_, err := retry(func() (int, error) {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
		if errno != 0 {
			return 0, errno
		}
		return 0, nil
	})
	runtime.KeepAlive(arg)
	return err
}

// opError wraps an errno; what else a Waiter returns stays as it is.
func (f *Filesystem) opError(op, need string, err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return &OpError{Op: op, Path: f.path, Err: errno, Need: need}
	}
	return err
}
