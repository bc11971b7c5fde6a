package unixsock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxPath is the longest path of a socket, in bytes: sun_path is 108 with its final NUL (unix(7)).
const maxPath = 107

// Listener is a listening Unix stream socket with a file of its own. Close removes the file, unless it
// is another one by now.
type Listener struct {
	*net.UnixListener
	path     string
	file     fileID
	closing  sync.Once
	closeErr error
}

// fileID tells one file from every other, as long as something holds it open.
type fileID struct{ dev, ino uint64 }

// Listen listens at path, whose file gets exactly the permission bits of mode whatever the umask is.
// The folder is made where it is missing: 0755 as root, 0700 as anyone else.
//
// A dead socket at path is replaced; checking and binding happen under a lock (PATH.lock, flock(2)), so
// that of several processes that start at once one listens and the others learn of it. The error is an
// *InUseError where a process answers already, or matches ErrUntrustedFolder, ErrNotSocket or ErrBadPath.
func Listen(path string, mode fs.FileMode) (*Listener, error) {
	l, err := listen(path, mode)
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", path, err)
	}
	return l, nil
}

func listen(path string, mode fs.FileMode) (*Listener, error) {
	if err := checkPath(path); err != nil {
		return nil, err
	}
	folder, err := ownFolders().open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	path = filepath.Join(folder, filepath.Base(path))
	if err := checkPath(path); err != nil {
		return nil, fmt.Errorf("which is %s: %w", path, err)
	}
	unlock, err := lock(path + ".lock")
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := makeWay(path); err != nil {
		return nil, err
	}
	return bind(path, mode)
}

// checkPath refuses what is no socket's path. An abstract name ("@…", unix(7)) is none: it has neither
// mode nor folder, so that anyone could take it.
func checkPath(path string) error {
	switch {
	case path == "" || strings.HasSuffix(path, "/") || filepath.Base(path) == "." || filepath.Base(path) == "..":
		return fmt.Errorf("%w: it names no file", ErrBadPath)
	case path[0] == '@':
		return fmt.Errorf("%w: it names an abstract socket", ErrBadPath)
	case strings.ContainsRune(path, 0):
		return fmt.Errorf("%w: it holds a NUL byte", ErrBadPath)
	case len(path) > maxPath:
		return fmt.Errorf("%w: it is %d bytes long, the kernel takes at most %d", ErrBadPath, len(path), maxPath)
	}
	return nil
}

// makeWay removes a dead socket and refuses everything else.
func makeWay(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there: %w", fileType(info.Mode()), ErrNotSocket)
	}
	if err := probe(path); err != nil {
		return err
	}
	return os.Remove(path)
}

func fileType(mode fs.FileMode) string {
	switch mode.Type() {
	case 0:
		return "a file"
	case fs.ModeDir:
		return "a folder"
	case fs.ModeSymlink:
		return "a symbolic link"
	case fs.ModeNamedPipe:
		return "a named pipe"
	}
	return "a device"
}

// probe returns nil where nobody listens on the socket at path, else who does.
func probe(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err {
	case unix.ECONNREFUSED:
		return nil
	case nil:
		return inUse(fd)
	case unix.EAGAIN, unix.EPROTOTYPE: // its queue is full; it is a datagram socket: somebody's, either way
		return &InUseError{}
	default:
		return os.NewSyscallError("connect", err)
	}
}

// inUse names the process at the other end of a connection: the one that called listen(2).
func inUse(fd int) error {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return &InUseError{}
	}
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", cred.Pid)) // gone, or hidden from us: unknown
	return &InUseError{PID: int(cred.Pid), Comm: strings.TrimSpace(string(comm))}
}

// bind makes the socket and its file. The file takes its mode from the socket's own inode (unix_bind in
// net/unix/af_unix.c), hence fchmod before bind.
func bind(path string, mode fs.FileMode) (*Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var chmodErr error
		if err := raw.Control(func(fd uintptr) {
			chmodErr = os.NewSyscallError("fchmod", unix.Fchmod(int(fd), uint32(mode.Perm())))
		}); err != nil {
			return err
		}
		return chmodErr
	}}
	var ln net.Listener
	err := withoutUmask(func() (err error) {
		ln, err = config.Listen(context.Background(), "unix", path)
		return err
	})
	if err != nil {
		return nil, cause(err)
	}
	l := &Listener{UnixListener: ln.(*net.UnixListener), path: path}
	l.SetUnlinkOnClose(false) // Close asks first whose file it is
	if l.file, err = identify(path); err != nil {
		l.UnixListener.Close()
		return nil, err
	}
	return l, nil
}

// cause strips what package net wraps around an error: Listen says operation and path itself.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func identify(path string) (fileID, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return fileID{}, err
	}
	st := info.Sys().(*syscall.Stat_t)
	return fileID{dev: st.Dev, ino: st.Ino}, nil
}

// Path is where the socket is, absolute and without symbolic links.
func (l *Listener) Path() string { return l.path }

// Close stops listening and removes the socket file if it is still this listener's. Connections that
// were accepted live on. Closing again does nothing.
func (l *Listener) Close() error {
	l.closing.Do(func() { l.closeErr = errors.Join(l.unlink(), l.UnixListener.Close()) })
	return l.closeErr
}

// unlink comes before the descriptor is closed: as long as that holds the inode, no other file can have
// its number.
func (l *Listener) unlink() error {
	unlock, err := lock(l.path + ".lock")
	if err != nil {
		return fmt.Errorf("remove %s: %w", l.path, err)
	}
	defer unlock()
	if file, err := identify(l.path); err != nil || file != l.file {
		return nil // gone or another's
	}
	return os.Remove(l.path)
}
