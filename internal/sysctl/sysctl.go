// Package sysctl reads and sets kernel settings in /proc/sys, many at a time: directories are held open and
// files opened relative to them, so that a thousand values do not walk a thousand paths.
//
// What a thread sees below net/ belongs to its network namespace at the moment a directory or file is
// opened. The package knows no setting by name.
package sysctl

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Dir is an open directory of settings.
type Dir struct {
	path string
	file *os.File
}

// Open opens a directory below /proc/sys, "net/ipv4/conf" for one; root is what stands before /proc,
// "" for the host's own. That there is none is fs.ErrNotExist.
func Open(root, path string) (*Dir, error) {
	return open(unix.AT_FDCWD, filepath.Join("/", root, "proc/sys", path))
}

// Open opens a directory of the directory.
func (d *Dir) Open(name string) (*Dir, error) {
	sub, err := open(int(d.file.Fd()), name)
	if err != nil {
		return nil, err
	}
	sub.path = filepath.Join(d.path, name)
	return sub, nil
}

func open(at int, path string) (*Dir, error) {
	fd, err := unix.Openat(at, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &Dir{path: path, file: os.NewFile(uintptr(fd), path)}, nil
}

// Close closes the directory.
func (d *Dir) Close() error { return d.file.Close() }

// Names lists the directory, sorted.
func (d *Dir) Names() ([]string, error) {
	if _, err := d.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	names, err := d.file.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

// valueSize is longer than any setting that is one number or a few.
const valueSize = 128

// read returns the setting's text without the newline that ends it, in buf.
func (d *Dir) read(name string, buf *[valueSize]byte) ([]byte, error) {
	fd, err := unix.Openat(int(d.file.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(d.path, name), Err: err}
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: filepath.Join(d.path, name), Err: err}
	}
	return bytes.TrimRight(buf[:n], "\n"), nil
}

// Int reads a setting that is one integer. That there is no such setting is fs.ErrNotExist.
func (d *Dir) Int(name string) (int64, error) {
	var buf [valueSize]byte
	text, err := d.read(name, &buf)
	if err != nil {
		return 0, err
	}
	return d.parse(name, text)
}

// Ints reads a setting that is several integers, as net/ipv4/ip_local_port_range.
func (d *Dir) Ints(name string) ([]int64, error) {
	var buf [valueSize]byte
	text, err := d.read(name, &buf)
	if err != nil {
		return nil, err
	}
	var list []int64
	for field := range bytes.FieldsSeq(text) {
		v, err := d.parse(name, field)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (d *Dir) parse(name string, text []byte) (int64, error) {
	v, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("setting %s: not an integer: %q", filepath.Join(d.path, name), text)
	}
	return v, nil
}

// Set sets a setting that is one integer. That there is no such setting is fs.ErrNotExist; a kernel that does
// not take the value answers with EINVAL, in the chain of the error.
func (d *Dir) Set(name string, v int64) error {
	path := filepath.Join(d.path, name)
	fd, err := unix.Openat(int(d.file.Fd()), name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, strconv.AppendInt(nil, v, 10)); err != nil {
		return &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return nil
}
