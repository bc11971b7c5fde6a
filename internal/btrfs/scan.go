package btrfs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// iocScanDevice is BTRFS_IOC_SCAN_DEV of linux/btrfs.h.
const iocScanDevice = iocWrite | 4096<<16 | 0x94<<8 | 4

// ScanDevice tells the kernel of a device, by way of the node /dev/btrfs-control, so that a filesystem of
// several devices can be mounted by any of them. It reads the device and may wait for it.
func ScanDevice(control, path string) error {
	fd, err := unix.Open(control, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return &OpError{Op: "open", Path: control, Err: err}
	}
	defer unix.Close(fd)
	arg := new([4096]byte) // struct btrfs_ioctl_vol_args: a descriptor, then the path
	if len(path) > 4087 {
		return &OpError{Op: "scan", Path: path, Err: unix.ENAMETOOLONG}
	}
	copy(arg[8:], path)
	if err := rawIoctl(fd, iocScanDevice, unsafe.Pointer(arg)); err != nil {
		return &OpError{Op: "scan", Path: path, Err: err, Need: sysAdmin}
	}
	return nil
}
