package unixsock

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Peer is who is at the other end of a connection, in the kernel's words (SO_PEERCRED, unix(7)): for a
// client the process that called listen, for a server the one that called connect, each with its
// effective ids at that moment. PID is 0 where the process has no number in this PID namespace.
type Peer struct {
	PID      int
	UID, GID uint32
}

// PeerOf asks the kernel who is at the other end.
func PeerOf(conn *net.UnixConn) (Peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return Peer{}, err
	}
	if credErr != nil {
		return Peer{}, os.NewSyscallError("getsockopt SO_PEERCRED", credErr)
	}
	return Peer{PID: int(cred.Pid), UID: cred.Uid, GID: cred.Gid}, nil
}

// Dial connects to the server at path, whoever that is. Ask CheckServer before showing it a credential.
func Dial(ctx context.Context, path string) (*net.UnixConn, error) {
	if err := checkPath(path); err != nil {
		return nil, fmt.Errorf("dial %s: %w", path, err)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UnixConn), nil
}

// CheckServer returns nil where the server at the other end runs as root, as this process's own user or
// as one of also, and so may be shown credentials. Else the error matches ErrUntrustedPeer: where
// anybody may make a socket, anybody can play the server.
func CheckServer(conn *net.UnixConn, also ...uint32) error {
	peer, err := PeerOf(conn)
	if err != nil {
		return err
	}
	return checkServer(peer, uint32(os.Geteuid()), also)
}

func checkServer(peer Peer, own uint32, also []uint32) error {
	if peer.UID == 0 || peer.UID == own || slices.Contains(also, peer.UID) {
		return nil
	}
	return fmt.Errorf("%w: it runs as user %d; say --server-uid %d if you trust it with your credentials", ErrUntrustedPeer, peer.UID, peer.UID)
}
