package btrfs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	iocScanDevice   = iocWrite | 4096<<16 | 0x94<<8 | 4 // BTRFS_IOC_SCAN_DEV of linux/btrfs.h
	iocForgetDevice = iocWrite | 4096<<16 | 0x94<<8 | 5 // BTRFS_IOC_FORGET_DEV, Linux 5.1
)

// ScanDevice tells the kernel of a device, by way of the node /dev/btrfs-control, so that a filesystem of
// several devices can be mounted by any of them. It reads the device and may wait for it.
func ScanDevice(control, path string) error { return tell(control, "scan", path, iocScanDevice) }

// ForgetDevice has the kernel forget what it was told of a device, whose node must be there: it goes on taking a
// device for the member that it once was, whatever stands on it by now, and then mounts no filesystem that is
// made on others under the same UUID. Errors: ENOENT where it knows nothing of the device, EBUSY where the device
// belongs to a mounted filesystem, ENOTTY before Linux 5.1.
func ForgetDevice(control, path string) error { return tell(control, "forget", path, iocForgetDevice) }

func tell(control, op, path string, request uintptr) error {
	fd, err := unix.Open(control, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return &OpError{Op: "open", Path: control, Err: err}
	}
	defer unix.Close(fd)
	arg := new([4096]byte) // struct btrfs_ioctl_vol_args: a descriptor, then the path
	if len(path) > 4087 {
		return &OpError{Op: op, Path: path, Err: unix.ENAMETOOLONG}
	}
	copy(arg[8:], path)
	if err := rawIoctl(fd, request, unsafe.Pointer(arg)); err != nil {
		return &OpError{Op: op, Path: path, Err: err, Need: sysAdmin}
	}
	return nil
}
