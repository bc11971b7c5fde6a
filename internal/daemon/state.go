package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/state"
)

// systemState is where root's daemon keeps its state.
const systemState = "/var/lib/my_os_server"

// stateFolder is the folder for what must outlive the process. As long as it is open no other daemon has it.
type stateFolder struct {
	path  string
	lock  *os.File // nil where the folder cannot be written
	store *state.Store
	why   error // that it cannot be written; nil: it can
}

// openState makes the folder where it is missing, checks that it is ours alone to write, locks it and reads
// what it holds. An empty path stands for the default. Where the system does not let it be written, its
// store is one that can only be read: a host whose disk is full or read-only is still to be looked at.
func openState(path string, getenv func(string) string, boot state.Boot) (*stateFolder, error) {
	path, err := statePath(path, os.Geteuid(), getenv)
	if err != nil {
		return nil, err
	}
	f := &stateFolder{path: path}
	if err = f.claim(); err != nil {
		if !unwritable(err) {
			return nil, err
		}
		f.why = err
		f.store = state.OpenReadOnly(path, err, state.Options{Boot: boot})
		return f, nil
	}
	if f.store, err = state.Open(path, state.Options{Boot: boot}); err != nil {
		return nil, errors.Join(err, f.lock.Close())
	}
	return f, nil
}

// claim makes the folder and locks it.
func (f *stateFolder) claim() error {
	if err := os.MkdirAll(f.path, 0o700); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	if err := ownFolder(f.path); err != nil {
		return fmt.Errorf("state folder %s: %w", f.path, err)
	}
	lock, err := lockState(filepath.Join(f.path, "lock"))
	if err != nil {
		return fmt.Errorf("state folder %s: %w", f.path, err)
	}
	f.lock = lock
	return nil
}

// unwritable tells whether the system does not let anything be written there, as opposed to a folder that
// is not fit to be used.
func unwritable(err error) bool {
	for _, errno := range []syscall.Errno{unix.EROFS, unix.EACCES, unix.EPERM, unix.ENOSPC, unix.EDQUOT} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// Close folds what is not folded and lets another daemon have the folder.
func (f *stateFolder) Close() error {
	err := f.store.Close()
	if f.lock != nil {
		err = errors.Join(err, f.lock.Close())
	}
	return err
}

// statePath is path, or the default of the user: for others than root that of the XDG Base Directory
// Specification, which has a relative $XDG_STATE_HOME ignored.
func statePath(path string, uid int, getenv func(string) string) (string, error) {
	switch {
	case path != "":
		return path, nil
	case uid == 0:
		return systemState, nil
	case filepath.IsAbs(getenv("XDG_STATE_HOME")):
		return filepath.Join(getenv("XDG_STATE_HOME"), "my_os_server"), nil
	case filepath.IsAbs(getenv("HOME")):
		return filepath.Join(getenv("HOME"), ".local/state/my_os_server"), nil
	}
	return "", errors.New("no place for the state: give --state-dir FOLDER, or set $XDG_STATE_HOME or $HOME")
}

// ownFolder refuses a folder in which others could change what the daemon believes about itself.
func ownFolder(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	owner := int(info.Sys().(*syscall.Stat_t).Uid)
	switch {
	case owner != 0 && owner != os.Geteuid():
		return fmt.Errorf("it belongs to user %d", owner)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others may write there (mode %04o); run chmod go-w", info.Mode().Perm())
	}
	return nil
}

// lockState takes the lock file and leaves the number of this process in it for whoever comes second.
func lockState(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		// Where there is no room for the number, there is none for writes either until somebody makes some; the
		// lock is held all the same.
		if err = writePID(f); errors.Is(err, unix.ENOSPC) {
			err = nil
		}
	} else if err == unix.EWOULDBLOCK {
		err = errors.New("in use by " + holder(f))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// holder names the process whose number stands in a lock file that is taken.
func holder(f *os.File) string {
	text := make([]byte, 20)
	n, _ := f.ReadAt(text, 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil {
		return "another process"
	}
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if errors.Is(err, fs.ErrNotExist) { // it lives in another PID namespace
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("%s (process %d)", strings.TrimSpace(string(comm)), pid)
}
