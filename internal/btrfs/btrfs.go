// Package btrfs reads what the kernel knows of a mounted btrfs, through its ioctls (linux/btrfs.h),
// its trees (linux/btrfs_tree.h) and its files in /sys/fs/btrfs: devices and their error counters,
// space, chunks, subvolumes, quota groups, the state of scrub and balance.
//
// And it changes what a mounted btrfs lets be changed: subvolumes, snapshots, quotas, its size; it defragments files,
// scrubs and balances. It starts no process and reads no unmounted device. Trees are walked in constant
// memory, however large they are. Looking into trees, at a scrub and at a balance takes CAP_SYS_ADMIN;
// the rest is told to everybody who can open a folder of the filesystem.
package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrNotBtrfs is the answer of Open for a path that lies on another filesystem.
var ErrNotBtrfs = errors.New("not a btrfs")

// OpError is a system call on a filesystem that failed.
type OpError struct {
	Op   string // what was asked, as in "read chunk tree"
	Path string // of the filesystem, as it was opened
	Err  error  // syscall.Errno
	Need string // capability that the operation takes; empty: none
}

// Error is "op path: cause".
func (e *OpError) Error() string { return e.Op + " " + e.Path + ": " + e.Err.Error() }

// Unwrap returns the kernel's errno.
func (e *OpError) Unwrap() error { return e.Err }

// Capability names the capability that the process lacks, where that is why the kernel refused.
func (e *OpError) Capability() string {
	if errors.Is(e.Err, syscall.EPERM) || errors.Is(e.Err, syscall.EACCES) {
		return e.Need
	}
	return ""
}

// Waiter runs a system call that may never return, because a device under the filesystem does not
// answer. It may give up on the call while that goes on: nothing that the call writes to is looked at
// or used again then.
type Waiter func(ctx context.Context, call func() error) error

// Wait is the Waiter that waits as long as it takes.
func Wait(ctx context.Context, call func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return call()
}

// together makes several calls in one wait: to wait costs more than most of them. do gets the filesystem to ask
// without waiting for each; what it writes to is not looked at again where an error comes back that is not do's.
func (f *Filesystem) together(ctx context.Context, do func(*Filesystem) error) error {
	return f.wait(ctx, func() error { return do(&Filesystem{fd: f.fd, path: f.path, wait: Wait}) })
}

// Filesystem is a mounted btrfs, held by a descriptor: it cannot be unmounted before Close. Its
// methods may be called from several goroutines at once.
type Filesystem struct {
	fd   int
	path string
	wait Waiter
}

// Open opens the filesystem that a path lies on, which may be any file of it; symbolic links are
// followed. Neither special files nor devices are opened themselves. Errors: ErrNotBtrfs and *OpError,
// with CAP_DAC_READ_SEARCH where the path may not be read.
func Open(ctx context.Context, path string, wait Waiter) (*Filesystem, error) {
	var h handover
	err := wait(ctx, func() error {
		fd, err := openFolder(path)
		if err == nil {
			h.give(fd)
		}
		return err
	})
	if err != nil {
		h.refuse()
		return nil, err
	}
	return &Filesystem{fd: h.fd, path: path, wait: wait}, nil
}

// OpenFolder is Open for a folder that is open for reading already: the filesystem is held by a descriptor of its
// own. Errors: ErrNotBtrfs and *OpError.
func OpenFolder(ctx context.Context, folder *os.File, wait Waiter) (*Filesystem, error) {
	path := folder.Name()
	if err := wait(ctx, func() error { return checkMagic(int(folder.Fd()), path) }); err != nil {
		return nil, err
	}
	return HoldFolder(folder, wait)
}

// HoldFolder is OpenFolder for a folder of which it is known that it lies on a btrfs: nothing is asked, and nothing
// waited for.
func HoldFolder(folder *os.File, wait Waiter) (*Filesystem, error) {
	path := folder.Name()
	fd, err := unix.FcntlInt(folder.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, openError(path, err)
	}
	return &Filesystem{fd: fd, path: path, wait: wait}, nil
}

// handover passes a descriptor from a call to the caller, who may have given up on it.
type handover struct {
	mu      sync.Mutex
	fd      int
	given   bool
	refused bool
}

func (h *handover) give(fd int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.refused {
		unix.Close(fd)
		return
	}
	h.fd, h.given = fd, true
}

func (h *handover) refuse() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused = true
	if h.given {
		unix.Close(h.fd)
	}
}

// Close lets go of the filesystem.
func (f *Filesystem) Close() error { return unix.Close(f.fd) }

// Path is what the filesystem was opened by.
func (f *Filesystem) Path() string { return f.path }

// openFolder opens the folder at path, or that in which what is at path lies.
func openFolder(path string) (int, error) {
	at, err := retry(func() (int, error) { return unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, openError(path, err)
	}
	defer unix.Close(at)
	if err := checkMagic(at, path); err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return -1, &OpError{Op: "stat", Path: path, Err: err}
	}
	name := "/proc/self/fd/" + strconv.Itoa(at)
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFDIR && kind != unix.S_IFREG {
		return openParent(name, path)
	}
	fd, err := retry(func() (int, error) { return unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, openError(path, err)
	}
	return fd, nil
}

// openParent opens the folder of a special file, to which link in /proc leads. It lies on the same
// filesystem unless the file is a mount point of its own.
func openParent(link, path string) (int, error) {
	target, err := os.Readlink(link)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", path, err)
	}
	if !strings.HasPrefix(target, "/") { // a pipe or socket without a name lies on no disk
		return -1, fmt.Errorf("%s: %w", path, ErrNotBtrfs)
	}
	fd, err := retry(func() (int, error) {
		return unix.Open(target[:strings.LastIndexByte(target, '/')+1], unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return -1, openError(path, err)
	}
	if err := checkMagic(fd, path); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func openError(path string, err error) error {
	return &OpError{Op: "open", Path: path, Err: err, Need: "CAP_DAC_READ_SEARCH"}
}

func checkMagic(fd int, path string) error {
	var st unix.Statfs_t
	if _, err := retry(func() (int, error) { return 0, unix.Fstatfs(fd, &st) }); err != nil {
		return &OpError{Op: "statfs", Path: path, Err: err}
	}
	if st.Type != unix.BTRFS_SUPER_MAGIC {
		return fmt.Errorf("%s: %w", path, ErrNotBtrfs)
	}
	return nil
}

// Statfs is statfs(2) of the filesystem.
func (f *Filesystem) Statfs(ctx context.Context) (*unix.Statfs_t, error) {
	st := new(unix.Statfs_t)
	err := f.wait(ctx, func() error {
		_, err := retry(func() (int, error) { return 0, unix.Fstatfs(f.fd, st) })
		return err
	})
	if err != nil {
		return nil, f.opError("statfs", "", err)
	}
	return st, nil
}

// retry runs a system call again where a signal interrupted it.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != syscall.EINTR {
			return n, err
		}
	}
}
