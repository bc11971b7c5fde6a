// Package unixsock is where the server and its clients meet: which socket paths they look at, how a
// server comes to own one of them, and whom a client may trust at the other end.
//
// Listen creates the folder where it is missing, replaces a socket file that nobody listens on any
// more, and gives the new one its mode before anyone can see it. It refuses what could hand the socket
// to somebody else: a folder that others may write, a path where something other than a socket lies, a
// socket that another process answers on. Nothing but a dead socket is ever removed.
//
// Activated takes over sockets that systemd listens on already (sd_listen_fds(3)) and refuses all but
// Unix stream sockets.
package unixsock

import (
	"errors"
	"fmt"
)

// What a caller can test the errors of this package for.
var (
	// ErrNoPath says that nothing tells where the socket should be.
	ErrNoPath = errors.New("no place for the socket")
	// ErrBadPath says that a path cannot be a socket's: empty, too long, relative where it must not be.
	ErrBadPath = errors.New("not a usable socket path")
	// ErrNotSocket says that something other than a socket lies at the path. It is left as it is.
	ErrNotSocket = errors.New("not a socket, and left as it is")
	// ErrUntrustedFolder says that others could swap the socket in its folder.
	ErrUntrustedFolder = errors.New("others could put a socket of theirs in its place")
	// ErrUntrustedPeer says that the server at the other end runs as somebody whom credentials must
	// not be shown to.
	ErrUntrustedPeer = errors.New("server of an untrusted user")
)

// InUseError says that another process answers on the socket.
type InUseError struct {
	PID  int    // of the process that listens; 0 where the kernel does not say
	Comm string // its name, at most 15 bytes (proc_pid_comm(5)); empty where unknown
}

// Error names the process as far as it is known.
func (e *InUseError) Error() string {
	switch {
	case e.PID == 0:
		return "in use by another process"
	case e.Comm == "":
		return fmt.Sprintf("in use by process %d", e.PID)
	}
	return fmt.Sprintf("in use by %s (process %d)", e.Comm, e.PID)
}

// folderError tells why a folder cannot be trusted with a socket.
type folderError struct {
	folder string
	why    string
}

func (e *folderError) Error() string { return fmt.Sprintf("folder %s: %s", e.folder, e.why) }

// Is makes every folderError match ErrUntrustedFolder.
func (e *folderError) Is(target error) bool { return target == ErrUntrustedFolder }
