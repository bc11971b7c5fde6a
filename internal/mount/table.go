package mount

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// attempts bounds how often mountinfo is read again because it changed while it was read.
const attempts = 4

// Table is mountinfo, read whole.
type Table struct {
	// Mounts are in the kernel's order: by age since Linux 6.8, by place in the tree before.
	Mounts []Mount
	// Changed is true where mounts came or went during each of several reads. The kernel hands out
	// about one page per read(2), however large the buffer, and lets go of its lock in between: what
	// was there all the time is listed exactly once (since Linux 5.8; before, a line could be skipped
	// or doubled), but the whole is not one instant's.
	Changed bool
}

// Read reads the mountinfo of a process, /proc/PID/mountinfo, again where mounts changed meanwhile.
// Errors: those of open(2) and read(2), *LineError.
func Read(path string) (*Table, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readSteady(f)
}

// open opens mountinfo past the Go runtime's poller, where os.Open would enter it: there each change
// would wake the process, and the poller's own look at the file would count as ours in changed.
func open(path string) (*os.File, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), path), nil
		case unix.EINTR:
		default:
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

// readSteady reads f until it did not change meanwhile. Each attempt starts at the top.
func readSteady(f *os.File) (*Table, error) {
	for try := 1; ; try++ {
		t, err := readOnce(f)
		if err != nil {
			return nil, err
		}
		if t.Changed, err = changed(f); err != nil {
			return nil, err
		}
		if !t.Changed || try == attempts {
			return t, nil
		}
	}
}

func readOnce(f *os.File) (*Table, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	t := &Table{Mounts: make([]Mount, 0, 64)}
	for m, err := range Parse(f) {
		if err != nil {
			return nil, err
		}
		t.Mounts = append(t.Mounts, *m)
	}
	return t, nil
}

// changed tells whether mounts came, went or got other options since f was opened or was last asked:
// then poll(2) on mountinfo reports POLLPRI (mounts_poll in fs/proc_namespace.c). A regular file, as a
// captured tree has it, never changes.
func changed(f *os.File) (bool, error) {
	fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}}
	for {
		_, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("poll %s: %w", f.Name(), err)
		}
		return fds[0].Revents&unix.POLLPRI != 0, nil
	}
}

// ByID finds a mount by its id; nil where there is none.
func (t *Table) ByID(id uint32) *Mount {
	for i := range t.Mounts {
		if t.Mounts[i].ID == id {
			return &t.Mounts[i]
		}
	}
	return nil
}

// Containing finds the mount that a path leads to by its text alone, without touching the path: from
// the root up, the kernel's way, past what is covered. It is right for an absolute path without
// symbolic links; nil where no mount of the list stands above it.
func (t *Table) Containing(path string) *Mount {
	path = filepath.Clean(path)
	above := make(map[uint32]*Mount, 4) // those whose mount point the path passes, by id
	next := make(map[uint32]*Mount, 4)  // by the parent's id: which child the path meets first
	for i := range t.Mounts {
		m := &t.Mounts[i]
		if !below(path, m.Target) {
			continue
		}
		above[m.ID] = m
		if m.ID != m.Parent {
			next[m.Parent] = shorter(next[m.Parent], m)
		}
	}
	at := root(above)
	for range above { // passes each once at most, also where a list runs in circles
		if at == nil || next[at.ID] == nil {
			break
		}
		at = next[at.ID]
	}
	return at
}

// root is the mount that stands on none of the others; nil where there is none.
func root(mounts map[uint32]*Mount) (at *Mount) {
	for _, m := range mounts {
		if m.ID == m.Parent || mounts[m.Parent] == nil {
			at = shorter(at, m)
		}
	}
	return at
}

// shorter is the one whose mount point a path from the root passes first; a may be nil.
func shorter(a, b *Mount) *Mount {
	if a == nil || len(b.Target) < len(a.Target) {
		return b
	}
	return a
}

// below tells whether path is dir or lies somewhere in it.
func below(path, dir string) bool {
	if !strings.HasPrefix(path, dir) {
		return false
	}
	return len(path) == len(dir) || strings.HasSuffix(dir, "/") || path[len(dir)] == '/'
}
