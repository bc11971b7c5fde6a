package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// FS is one folder, as little of it as a store needs. Names have no slash. It is an interface so that tests
// can lose what was not synced.
type FS interface {
	// List is the names of the regular files, sorted.
	List() ([]string, error)
	// Read returns all of a file. One that is not there is fs.ErrNotExist.
	Read(name string) ([]byte, error)
	// Open opens a file to be written, and makes it where it is missing.
	Open(name string) (File, error)
	// Rename gives a file another name, in place of what has that name.
	Rename(old, new string) error
	// Remove removes a file.
	Remove(name string) error
	// Sync makes names durable: files that were made, renamed and removed (fsync of the folder).
	Sync() error
	// Close ends the use of the folder.
	Close() error
}

// File is a file of an [FS], open for writing.
type File interface {
	WriteAt(b []byte, offset int64) (int, error)
	Truncate(size int64) error
	// Reserve has the file system keep room up to the size, without changing what the file holds
	// (fallocate(2) with FALLOC_FL_KEEP_SIZE). Where it cannot, nothing is reserved and that is no error;
	// syscall.ENOSPC is one.
	Reserve(size int64) error
	// Sync makes contents durable.
	Sync() error
	Close() error
}

// maxFile bounds what is read of one file: state is small, and a folder may hold anything.
const maxFile = 1 << 30

// folder is an FS on a real folder, held by a descriptor, so that a folder that takes its place changes
// nothing.
type folder struct{ root *os.Root }

func openFolder(path string) (FS, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return folder{root}, nil
}

func (f folder) List() ([]string, error) {
	entries, err := fs.ReadDir(f.root.FS(), ".")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func (f folder) Read(name string) ([]byte, error) {
	info, err := f.root.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s: %d bytes are more than a state file has", name, info.Size())
	}
	return f.root.ReadFile(name)
}

func (f folder) Open(name string) (File, error) {
	file, err := f.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	return diskFile{file}, nil
}

func (f folder) Rename(old, new string) error { return f.root.Rename(old, new) }
func (f folder) Remove(name string) error     { return f.root.Remove(name) }
func (f folder) Close() error                 { return f.root.Close() }

func (f folder) Sync() error {
	d, err := f.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type diskFile struct{ *os.File }

// Sync uses fdatasync(2): the size of a file that grew is synced with it, its times are not needed.
func (f diskFile) Sync() error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return wrapSync(f.Name(), err)
		}
	}
}

func wrapSync(name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: "fdatasync", Path: name, Err: err}
}

func (f diskFile) Reserve(size int64) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
	if errors.Is(err, unix.ENOSPC) {
		return &fs.PathError{Op: "fallocate", Path: f.Name(), Err: err}
	}
	return nil // a file system that cannot reserve still takes writes
}
