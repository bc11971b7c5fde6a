package blk

import (
	"time"

	"golang.org/x/sys/unix"
)

// FilesystemErrors is what an ext4 counts of damage that the kernel met in it: since mkfs or the last
// fsck, over all mounts (Documentation/ABI/testing/sysfs-fs-ext4).
type FilesystemErrors struct {
	Count int64
	First time.Time // zero where the kernel does not tell
}

// ReadFilesystemErrors reads the counters of the ext4 that is mounted from a device by its kernel name;
// false where there is none, or the kernel does not count.
func ReadFilesystemErrors(root, device string) (FilesystemErrors, bool) {
	d, err := openDir(unix.AT_FDCWD, root+"/sys/fs/ext4/"+fileName(device), new([attrSize]byte))
	if err != nil {
		return FilesystemErrors{}, false
	}
	defer d.close()
	count, first := d.number("errors_count"), d.number("first_error_time")
	e := FilesystemErrors{Count: count.Value}
	if first.Value > 0 {
		e.First = time.Unix(first.Value, 0).UTC()
	}
	return e, count.Known
}
