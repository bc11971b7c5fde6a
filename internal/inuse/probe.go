package inuse

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/blk"
)

// Claimed tells whether somebody holds the device at path exclusively: a mount, a swap, an array, a program
// such as mkfs. Of a disk it is so too where one of its partitions is held, and of a partition where its
// whole disk is. It opens the device exclusively for that and closes it at once. The error is ENXIO where
// the node belongs to another device than n.
func Claimed(path string, n blk.Number) (bool, error) {
	f, err := Claim(path, n, unix.O_RDONLY)
	if errors.Is(err, unix.EBUSY) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, f.Close()
}

// Claim opens the device at path exclusively, with O_RDONLY or O_RDWR: as long as it is open nobody can
// mount it, swap to it or claim it. Errors: EBUSY where it is held; ENXIO where the node belongs to another
// device than n.
func Claim(path string, n blk.Number, access int) (*os.File, error) {
	return blk.OpenNode(path, n, access|unix.O_EXCL)
}
