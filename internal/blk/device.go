package blk

import (
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Device is a block device that is open for reading.
type Device struct {
	fd   int
	node Node
}

var _ io.ReaderAt = (*Device)(nil)

// OpenDevice opens the node at path, not exclusively, and without closing the tray of a drive. The error
// is ENXIO where the node belongs to another device than n. It may wait for a device that does not
// answer, and so may every read.
func OpenDevice(path string, n Number) (*Device, error) {
	fd, st, err := openNode(path, n, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	return &Device{fd, nodeOf(&st)}, nil
}

// OpenNode opens the node at path with flags of open(2), beside which O_NONBLOCK and O_CLOEXEC are set. It
// holds the device: as long as the file is open no other device gets its number. The error is ENXIO where
// the node belongs to another device than n.
func OpenNode(path string, n Number, flags int) (*os.File, error) {
	fd, _, err := openNode(path, n, flags)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// openNode opens a node, and judges by what was opened whether it is the device's.
func openNode(path string, n Number, flags int) (fd int, st unix.Stat_t, err error) {
	fd, err = retry(func() (int, error) { return unix.Open(path, flags|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, st, &os.PathError{Op: "open", Path: path, Err: err}
	}
	err = unix.Fstat(fd, &st)
	if err == nil && (st.Mode&unix.S_IFMT != unix.S_IFBLK || rdev(&st) != n) {
		err = unix.ENXIO
	}
	if err != nil {
		unix.Close(fd)
		return -1, st, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, st, nil
}

// Fetch has the kernel begin to read a stretch of an open device, and does not wait for it: a read will find it, or
// wait for the rest of the time alone. It may hang as a read may.
func Fetch(f *os.File, offset, length int64) { fetch(int(f.Fd()), offset, length) }

// Cached tells whether the page cache has the byte at an offset: no read waits for the device then.
func (d *Device) Cached(at int64) bool {
	n, err := unix.Preadv2(d.fd, [][]byte{make([]byte, 1)}, at, unix.RWF_NOWAIT)
	return n == 1 && err == nil
}

// Fetch is the function of that name.
func (d *Device) Fetch(offset, length int64) { fetch(d.fd, offset, length) }

func fetch(fd int, offset, length int64) {
	_ = unix.Fadvise(fd, offset, length, unix.FADV_WILLNEED) // a read that comes later says what is wrong
}

func rdev(st *unix.Stat_t) Number {
	return Number{unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))}
}

// Node is what the file system tells of the node that was opened.
func (d *Device) Node() Node { return d.node }

// Close closes it.
func (d *Device) Close() error { return unix.Close(d.fd) }

// ReadAt reads through the page cache, as pread(2) does.
func (d *Device) ReadAt(b []byte, at int64) (n int, err error) {
	for n < len(b) {
		k, err := retry(func() (int, error) { return unix.Pread(d.fd, b[n:], at+int64(n)) })
		if err != nil {
			return n, os.NewSyscallError("pread", err)
		}
		if k == 0 {
			return n, io.EOF
		}
		n += k
	}
	return n, nil
}

// Geometry is its size and that of its logical sectors, in bytes.
func (d *Device) Geometry() (size, sector int64, err error) {
	if size, err = unix.Seek(d.fd, 0, io.SeekEnd); err != nil {
		return 0, 0, os.NewSyscallError("lseek", err)
	}
	bytes, err := unix.IoctlGetInt(d.fd, unix.BLKSSZGET)
	if err != nil {
		return 0, 0, os.NewSyscallError("ioctl BLKSSZGET", err)
	}
	return size, int64(bytes), nil
}

// PartitionIndex is the number of a partition by its kernel name.
func PartitionIndex(name string) int {
	index, _ := strconv.Atoi(name[len(strings.TrimRight(name, "0123456789")):])
	return index
}
