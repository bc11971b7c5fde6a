package mount

import (
	"encoding/binary"
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNoUniqueIDs is what a kernel before Linux 6.8, or one that may not be asked, answers with.
var ErrNoUniqueIDs = errors.New("unique mount ids: not known to this kernel")

// Key names a mount by the two ids that mountinfo has, which the kernel uses again.
type Key struct{ ID, Parent uint32 }

// UniqueIDs asks the kernel for the ids of this process' mounts that are never used again. It is the
// caller's own mount namespace that is asked, whatever file a table was read from.
func UniqueIDs() (map[Key]uint64, error) {
	ids := make(map[Key]uint64, 64)
	page := make([]uint64, 512)
	answer := make([]byte, 512)
	for last := uint64(0); ; last = page[len(page)-1] {
		n, err := listMounts(last, page)
		if err != nil {
			return nil, err
		}
		for _, id := range page[:n] {
			if key, ok := oldIDs(id, answer); ok {
				ids[key] = id
			}
		}
		if n < len(page) {
			return ids, nil
		}
	}
}

// UniqueID is that of the mount that a path leads to. It may hang where that does not answer.
func UniqueID(path string) (uint64, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID_UNIQUE, &st)
	if err == nil && st.Mask&unix.STATX_MNT_ID_UNIQUE == 0 {
		err = ErrNoUniqueIDs
	}
	return st.Mnt_id, err
}

// request is struct mnt_id_req of linux/mount.h in its first version (MNT_ID_REQ_SIZE_VER0).
type request struct {
	size  uint32
	_     uint32
	mount uint64
	param uint64
}

const (
	requestSize = 24
	listRoot    = ^uint64(0) // LSMT_ROOT: all mounts that can be reached from the process' root
	mountBasic  = 2          // STATMOUNT_MNT_BASIC: ids, attributes, propagation
)

// listMounts fills ids with those that follow last, in their order, and returns how many there are.
func listMounts(last uint64, ids []uint64) (int, error) {
	req := request{size: requestSize, mount: listRoot, param: last}
	n, _, errno := unix.Syscall6(unix.SYS_LISTMOUNT, uintptr(unsafe.Pointer(&req)),
		uintptr(unsafe.Pointer(unsafe.SliceData(ids))), uintptr(len(ids)), 0, 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.ENOSYS, unix.EPERM: // a sandbox's filter says EPERM
		return 0, ErrNoUniqueIDs
	}
	return 0, errno
}

// oldIDs asks for the ids that mountinfo shows for the mount; false where it is gone.
// buf takes struct statmount, of which these matter: at 56 and 60 the ids of the mount and its parent.
func oldIDs(unique uint64, buf []byte) (Key, bool) {
	req := request{size: requestSize, mount: unique, param: mountBasic}
	_, _, errno := unix.Syscall6(unix.SYS_STATMOUNT, uintptr(unsafe.Pointer(&req)),
		uintptr(unsafe.Pointer(unsafe.SliceData(buf))), uintptr(len(buf)), 0, 0, 0)
	if errno != 0 {
		return Key{}, false
	}
	return Key{
		ID:     binary.NativeEndian.Uint32(buf[56:]),
		Parent: binary.NativeEndian.Uint32(buf[60:]),
	}, true
}

// UniqueIDOf is UniqueID of the mount that is open as f. The filesystem is not asked.
func UniqueIDOf(f *os.File) (uint64, error) {
	var st unix.Statx_t
	err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID_UNIQUE, &st)
	if err == nil && st.Mask&unix.STATX_MNT_ID_UNIQUE == 0 {
		err = ErrNoUniqueIDs
	}
	return st.Mnt_id, err
}

// KeyOf is what mountinfo shows for the mount with a unique id, in the caller's own mount namespace; false where
// there is none, or none any more.
func KeyOf(unique uint64) (Key, bool) { return oldIDs(unique, make([]byte, 512)) }

// IsRoot tells whether an open folder is the root of a mount: something is mounted there. known is false where the
// kernel does not say (before Linux 5.8). The filesystem is not asked.
func IsRoot(folder *os.File) (is, known bool) {
	var st unix.Statx_t
	err := unix.Statx(int(folder.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, 0, &st)
	known = err == nil && st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0
	return known && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, known
}
