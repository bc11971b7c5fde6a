package identity

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/pkg/acl"
)

// Peer is the other end of a connection, as the kernel reports it or as it has proven on TLS. The zero Peer is
// a remote one of whom nothing is known.
type Peer struct {
	Local  bool     // on a Unix socket
	HasUID bool     // UID and GIDs are those of a user of this host
	UID    uint32   // effective uid when the connection was made
	GIDs   []uint32 // effective gid and supplementary groups at that time, ascending, each once
	PID    int      // process that made the connection; 0 where it is not visible from here

	Key        string    // ed25519 public key of the client's certificate, 64 hex digits; "": it showed none
	KeyExpires time.Time // when that certificate ends
}

// Caller is who makes the peer's requests that bear no credential and no mark of a relay. A certificate is a
// credential.
func (p *Peer) Caller() acl.Caller {
	if !p.HasUID {
		return acl.Caller{Local: p.Local}
	}
	return acl.Caller{Kind: acl.KindUID, UID: p.UID, GIDs: p.GIDs, Local: p.Local}
}

// PeerOf asks the kernel who is at the other end of a connection (unix(7): SO_PEERCRED and SO_PEERGROUPS,
// which hold the values of the moment of connect). A connection that is not a Unix socket has a remote peer
// without a uid; on TLS, whose handshake must be done, it has the key of its certificate, if it showed one that
// counts ([CertificateKey]). It looks through connections that wrap another and have a method NetConn, as tls.Conn. A
// peer with the overflow uid is one whose uid has no name here, such as a user of another user namespace
// (user_namespaces(7)), and has no uid; groups with the overflow gid are left out likewise. An error means
// that nothing is known of the peer: the connection is to be closed.
func PeerOf(c net.Conn) (Peer, error) {
	return peerOf(c, hostOverflow())
}

func peerOf(c net.Conn, none overflow) (Peer, error) {
	if !strings.HasPrefix(c.LocalAddr().Network(), "unix") {
		if t, ok := c.(interface{ ConnectionState() tls.ConnectionState }); ok {
			return certified(t.ConnectionState())
		}
		return Peer{}, nil
	}
	socket, err := rawConn(c)
	if err != nil {
		return Peer{}, fmt.Errorf("peer credentials: %w", err)
	}
	var peer Peer
	var asked error
	err = socket.Control(func(fd uintptr) { peer, asked = credentialsOf(int(fd), none) })
	if err = errors.Join(err, asked); err != nil {
		return Peer{}, fmt.Errorf("peer credentials: %w", err)
	}
	return peer, nil
}

// rawConn finds the socket in or below a connection.
func rawConn(c net.Conn) (syscall.RawConn, error) {
	for {
		switch wrapped := c.(type) {
		case syscall.Conn:
			return wrapped.SyscallConn()
		case interface{ NetConn() net.Conn }:
			c = wrapped.NetConn()
		default:
			return nil, fmt.Errorf("connection of type %T has no socket", c)
		}
	}
}

func credentialsOf(fd int, none overflow) (Peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, os.NewSyscallError("getsockopt SO_PEERCRED", err)
	}
	groups, err := peerGroups(fd)
	if err != nil {
		return Peer{}, os.NewSyscallError("getsockopt SO_PEERGROUPS", err)
	}
	peer := Peer{Local: true, PID: int(cred.Pid)}
	if cred.Uid == none.uid || cred.Uid == noID {
		return peer, nil
	}
	groups = append(groups, cred.Gid)
	slices.Sort(groups)
	groups = slices.DeleteFunc(slices.Compact(groups), func(gid uint32) bool { return gid == none.gid || gid == noID })
	peer.HasUID, peer.UID, peer.GIDs = true, cred.Uid, groups
	return peer, nil
}

// noID is (uid_t)-1 and (gid_t)-1, which name nobody.
const noID = 1<<32 - 1

// peerGroups returns the supplementary groups of a socket's peer. Where the buffer is too small, the kernel
// says ERANGE and how many bytes it takes.
func peerGroups(fd int) ([]uint32, error) {
	const gidSize = 4
	groups := make([]uint32, 32)
	for {
		size := uint32(len(groups) * gidSize)
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		needed := int(size / gidSize)
		switch {
		case errno == 0:
			return groups[:needed], nil
		case errno == unix.ERANGE && needed > len(groups):
			groups = make([]uint32, needed)
		default:
			return nil, errno
		}
	}
}

// overflow holds the ids that the kernel shows in place of those that have no meaning here.
type overflow struct {
	uid, gid uint32
}

// defaultOverflow is the kernel's own: DEFAULT_OVERFLOWUID of include/linux/highuid.h.
const defaultOverflow = 65534

// hostOverflow is read once: the kernel's setting is not made to be changed under way.
var hostOverflow = sync.OnceValue(func() overflow { return readOverflow("/proc") })

// readOverflow reads proc(5)'s sys/kernel/overflowuid and overflowgid; what cannot be read is the default.
func readOverflow(proc string) overflow {
	return overflow{
		uid: readID(filepath.Join(proc, "sys/kernel/overflowuid")),
		gid: readID(filepath.Join(proc, "sys/kernel/overflowgid")),
	}
}

func readID(path string) uint32 {
	text, err := os.ReadFile(path)
	if err != nil {
		return defaultOverflow
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil {
		return defaultOverflow
	}
	return uint32(id)
}
