package blk

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrNoSysfs is the answer where the kernel's list of block devices is not there: a container without
// /sys, a kernel without sysfs.
var ErrNoSysfs = errors.New("no list of block devices")

// Sysfs reads the block devices of one host. It is opened for one list or a few questions and then
// closed; its methods may be called from several goroutines at once.
type Sysfs struct {
	sys   int   // /sys
	block int   // /sys/block
	udev  *udev // nil without udev

	buffers sync.Pool
	chains  sync.Map // device folder -> subsystems from there up
	backing sync.Map // loop device -> the file that it stands on
}

// Open opens sysfs and udev's records below root, which is empty for the host itself. Where there is
// no /sys/block the error is ErrNoSysfs.
func Open(root string) (*Sysfs, error) {
	s := &Sysfs{sys: -1, block: -1}
	s.buffers.New = func() any { return new([attrSize]byte) }
	for fd, path := range map[*int]string{&s.sys: "/sys", &s.block: "/sys/block"} {
		d, err := openDir(unix.AT_FDCWD, root+path, nil)
		if err != nil {
			s.Close()
			if errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("%w: %w", ErrNoSysfs, err)
			}
			return nil, err
		}
		*fd = d.fd
	}
	s.udev = openUdev(root)
	return s, nil
}

// Close lets go of what Open opened.
func (s *Sysfs) Close() {
	for _, fd := range []int{s.sys, s.block} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	s.udev.close()
}

// Names lists the disks in natural order: loop2 before loop10.
func (s *Sysfs) Names() ([]string, error) {
	buf := s.buffers.Get().(*[attrSize]byte)
	defer s.buffers.Put(buf)
	d, err := openDir(s.block, ".", buf)
	if err != nil {
		return nil, err
	}
	defer d.close()
	list, err := d.names()
	if err != nil {
		return nil, fmt.Errorf("list /sys/block: %w", err)
	}
	for i := range list {
		list[i] = kernelName(list[i])
	}
	slices.SortFunc(list, Compare)
	return list, nil
}

// Owner finds the disk that a device number belongs to, and the partition where it is one's. The error
// is fs.ErrNotExist where the kernel has no such block device.
func (s *Sysfs) Owner(n Number) (disk, partition string, err error) {
	name := fmt.Sprintf("dev/block/%d:%d", n.Major, n.Minor)
	buf := make([]byte, unix.PathMax)
	size, err := unix.Readlinkat(s.sys, name, buf)
	if err != nil {
		return "", "", &os.PathError{Op: "readlink", Path: "/sys/" + name, Err: err}
	}
	path := string(buf[:size])
	last, above := filepath.Base(path), filepath.Base(filepath.Dir(path))
	if isPartition(above, last) {
		return kernelName(above), kernelName(last), nil
	}
	return kernelName(last), "", nil
}

// Number is the device number of a disk or partition by its kernel name. The error is fs.ErrNotExist
// where there is none.
func (s *Sysfs) Number(name string) (Number, error) {
	buf := s.buffers.Get().(*[attrSize]byte)
	defer s.buffers.Put(buf)
	path := "class/block/" + fileName(name) + "/dev"
	n, ok := dir{s.sys, buf}.deviceNumber(path)
	if !ok {
		return n, &os.PathError{Op: "read", Path: "/sys/" + path, Err: fs.ErrNotExist}
	}
	return n, nil
}

// LoopBacking is the file that a loop device stands on; empty where it stands on none. What it finds
// is what Disk says later.
func (s *Sysfs) LoopBacking(name string) string {
	if file, ok := s.backing.Load(name); ok {
		return file.(string)
	}
	buf := s.buffers.Get().(*[attrSize]byte)
	defer s.buffers.Put(buf)
	raw, _ := dir{s.block, buf}.read(fileName(name) + "/loop/backing_file")
	file := string(raw) // not trimmed: blanks belong to the name
	s.backing.Store(name, file)
	return file
}

// isPartition tells whether a folder below a disk's is that of a partition: the disk's name with a
// number behind it, and a p in between where the disk's own name ends in a digit.
func isPartition(disk, name string) bool {
	rest, ok := strings.CutPrefix(name, disk)
	if !ok || disk == "" {
		return false
	}
	if isDigit(disk[len(disk)-1]) {
		if rest, ok = strings.CutPrefix(rest, "p"); !ok {
			return false
		}
	}
	return rest != "" && strings.Trim(rest, "0123456789") == ""
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// kernelName undoes what sysfs does to the slash in names such as cciss/c0d0.
func kernelName(file string) string { return strings.ReplaceAll(file, "!", "/") }

func fileName(kernel string) string { return strings.ReplaceAll(kernel, "/", "!") }

// Compare orders names the way people do: runs of digits by value.
func Compare(a, b string) int {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na > 0 && nb > 0 {
			x, y := trimZeros(a[:na]), trimZeros(b[:nb])
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
				return c
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func trimZeros(s string) string {
	for s != "" && s[0] == '0' {
		s = s[1:]
	}
	return s
}

// digits is how many digits s begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

// Holders lists the kernel names of the devices that stand on a disk or partition, as its folder holders
// has them. The error is fs.ErrNotExist where there is no such device.
func (s *Sysfs) Holders(name string) ([]string, error) {
	buf := s.buffers.Get().(*[attrSize]byte)
	defer s.buffers.Put(buf)
	d, err := openDir(s.sys, "class/block/"+fileName(name), buf)
	if err != nil {
		return nil, err
	}
	defer d.close()
	return sortedNames(d.list("holders")), nil
}
