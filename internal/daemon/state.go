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
)

// systemState is where root's daemon keeps its state.
const systemState = "/var/lib/my_os_server"

// state is the folder for what must outlive the process. As long as it is open no other daemon has it.
type state struct {
	path string
	lock *os.File
}

// openState makes the folder where it is missing, checks that it is ours alone to write, and locks it.
// An empty path stands for the default.
func openState(path string, getenv func(string) string) (*state, error) {
	path, err := statePath(path, os.Geteuid(), getenv)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	if err := ownFolder(path); err != nil {
		return nil, fmt.Errorf("state folder %s: %w", path, err)
	}
	lock, err := lockState(filepath.Join(path, "lock"))
	if err != nil {
		return nil, fmt.Errorf("state folder %s: %w", path, err)
	}
	return &state{path, lock}, nil
}

// Close lets another daemon have the folder.
func (s *state) Close() error { return s.lock.Close() }

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
		err = writePID(f)
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
