package btrfs_test

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BTRFS_IOC_SUBVOL_CREATE and BTRFS_IOC_SNAP_DESTROY; both take struct btrfs_ioctl_vol_args.
const (
	iocSubvolCreate = 1<<30 | 4096<<16 | 0x94<<8 | 14
	iocSnapDestroy  = 1<<30 | 4096<<16 | 0x94<<8 | 15
)

// subvolume makes or deletes the subvolume that is called "s" in a folder.
func subvolume(folder string, request uintptr) error {
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	var args struct {
		fd   int64
		name [4088]byte
	}
	args.name[0] = 's'
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), request, uintptr(unsafe.Pointer(&args))); errno != 0 {
		return errno
	}
	return nil
}
