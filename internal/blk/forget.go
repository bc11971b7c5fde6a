package blk

import (
	"os"

	"golang.org/x/sys/unix"
)

// Forget has the page cache drop what it holds of the device and is not changed, so that the next reads
// see what stands on it. What is written past the cache, as MD writes its superblocks, is otherwise not
// seen where it was read before and something holds the device open.
func (d *Device) Forget() error {
	return os.NewSyscallError("fadvise64", unix.Fadvise(d.fd, 0, 0, unix.FADV_DONTNEED))
}
