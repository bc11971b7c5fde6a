package blk

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// dir is an open folder of sysfs; attributes are read relative to it, which spares the kernel the
// path from the root for each of several dozen. One goroutine uses it at a time.
type dir struct {
	fd  int
	buf *[attrSize]byte
}

// attrSize is the most that sysfs hands out for one attribute: a page, on every architecture we build
// for at least this.
const attrSize = 4096

// openDir opens path below the folder at, or anywhere where at is AT_FDCWD.
func openDir(at int, path string, buf *[attrSize]byte) (dir, error) {
	fd, err := retry(func() (int, error) {
		return unix.Openat(at, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return dir{}, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return dir{fd, buf}, nil
}

func (d dir) close() { unix.Close(d.fd) }

// sub opens a folder below; false where there is none.
func (d dir) sub(name string) (dir, bool) {
	s, err := openDir(d.fd, name, d.buf)
	return s, err == nil
}

// read returns an attribute without the line feed that ends it; false where it is not there, or has
// no value for this device. It is valid until the next read.
func (d dir) read(name string) ([]byte, bool) {
	fd, err := retry(func() (int, error) { return unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, false
	}
	defer unix.Close(fd)
	n, err := retry(func() (int, error) { return unix.Read(fd, d.buf[:]) })
	if err != nil {
		return nil, false
	}
	return bytes.TrimSuffix(d.buf[:n], []byte("\n")), true
}

// text is an attribute without the blanks that pad it; empty where there is none.
func (d dir) text(name string) string {
	b, _ := d.read(name)
	return string(bytes.Trim(b, " \t\n\x00"))
}

func (d dir) number(name string) Fact[int64] {
	b, ok := d.read(name)
	if !ok {
		return Fact[int64]{}
	}
	v, err := strconv.ParseInt(string(b), 10, 64)
	// What the kernel has as 2^64-1, no limit, becomes the largest number there is.
	return Fact[int64]{v, err == nil || errors.Is(err, strconv.ErrRange)}
}

// scaled is a number in units of several bytes.
func (d dir) scaled(name string, unit int64) Fact[int64] {
	f := d.number(name)
	f.Value = min(f.Value, math.MaxInt64/unit) * unit
	return f
}

func (d dir) flag(name string) Fact[bool] {
	f := d.number(name)
	return Fact[bool]{f.Value != 0, f.Known}
}

// deviceNumber reads an attribute of the form major:minor.
func (d dir) deviceNumber(name string) (Number, bool) {
	b, _ := d.read(name)
	return parseNumber(string(b))
}

func parseNumber(s string) (Number, bool) {
	major, minor, _ := strings.Cut(s, ":")
	a, err1 := strconv.ParseUint(major, 10, 32)
	b, err2 := strconv.ParseUint(minor, 10, 32)
	return Number{uint32(a), uint32(b)}, errors.Join(err1, err2) == nil
}

// link is where a symbolic link leads to, as it stands; empty where there is none.
func (d dir) link(name string) string {
	n, err := unix.Readlinkat(d.fd, name, d.buf[:])
	if err != nil {
		return ""
	}
	return string(d.buf[:n])
}

// base is the last part of where a link leads to.
func (d dir) base(name string) string {
	if l := d.link(name); l != "" {
		return filepath.Base(l)
	}
	return ""
}

// names lists the folder itself, in no order.
func (d dir) names() ([]string, error) {
	var list []string
	for {
		n, err := retry(func() (int, error) { return unix.Getdents(d.fd, d.buf[:]) })
		if err != nil {
			return nil, os.NewSyscallError("getdents64", err)
		}
		if n <= 0 {
			return list, nil
		}
		_, _, list = unix.ParseDirent(d.buf[:n], -1, list)
	}
}

// list lists a folder below; nothing where there is none.
func (d dir) list(name string) []string {
	s, ok := d.sub(name)
	if !ok {
		return nil
	}
	defer s.close()
	list, _ := s.names()
	return list
}

// folders is how many folders a folder below holds. Sysfs counts them as links; a filesystem that does
// not (a captured tree may lie on one) has them listed.
func (d dir) folders(name string) int64 {
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Nlink >= 2 {
		return int64(st.Nlink) - 2
	}
	return int64(len(d.list(name)))
}

// retry repeats a system call that a signal broke off, a few times: a file server can say so for ever.
func retry(f func() (int, error)) (n int, err error) {
	for range 10 {
		if n, err = f(); err != unix.EINTR {
			break
		}
	}
	return n, err
}
