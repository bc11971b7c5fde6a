// Package sockdiag asks the kernel for its internet sockets over NETLINK_SOCK_DIAG (sock_diag(7),
// linux/inet_diag.h): which listen on a port, and by what tuple; and ends a connection.
//
// The kernel looks only where such sockets are and, for one port, passes on no others, where /proc/net/tcp walks the table of
// all connections. A dump is an iterator over one row that is used again. What belongs to a process, the names
// of services, and sockets of other families are not its business.
package sockdiag

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// ErrUnsupported is a kernel without the interface for a protocol, or without the means to end connections.
var ErrUnsupported = errors.New("kernel has no socket diagnosis for this")

// The errors that a caller may meet beside the kernel's, as nlsock documents them.
var (
	ErrInterrupted = nlsock.ErrInterrupted
	ErrMalformed   = nlsock.ErrMalformed
)

// Conn is a socket for questions. It belongs to one goroutine at a time and serves one request at a time.
type Conn struct {
	sock *nlsock.Conn
	row  Socket
}

// Dial opens a socket in the network namespace that the descriptor netns stands for, the calling thread's where it
// is 0. A kernel without CONFIG_INET_DIAG is ErrUnsupported.
func Dial(netns int) (*Conn, error) {
	sock, err := nlsock.Dial(unix.NETLINK_SOCK_DIAG, netns)
	if errors.Is(err, syscall.EPROTONOSUPPORT) {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if err != nil {
		return nil, err
	}
	return &Conn{sock: sock}, nil
}

// Close closes the socket.
func (c *Conn) Close() error { return c.sock.Close() }

// Reusable tells whether the socket can carry another request: not after a dump that was left early or failed on
// the way.
func (c *Conn) Reusable() bool { return c.sock.Reusable() }

// Pool keeps idle sockets of one network namespace.
type Pool = nlsock.Pool[*Conn]

// NewPool makes a pool whose sockets [Dial] opens in netns.
func NewPool(netns int) *Pool {
	return nlsock.NewPool(func() (*Conn, error) { return Dial(netns) })
}

// States of a socket (net/tcp_states.h).
const (
	StateClose  = 7 // of UDP: bound, and connected to nobody
	StateListen = 10
)

// Socket is one socket of a host.
type Socket struct {
	State  uint8
	Local  netip.AddrPort // an unspecified address: all of the host's
	Remote netip.AddrPort
	Index  uint32 // of the interface that it is bound to; 0: none
	UID    uint32
	Inode  uint32
	V6Only bool // of IPv6: it takes nothing of IPv4
	cookie [8]byte
}

// Message types and attributes (linux/sock_diag.h, linux/inet_diag.h).
const (
	byFamily  = 20 // SOCK_DIAG_BY_FAMILY
	destroyIt = 21 // SOCK_DESTROY
	attrV6    = 11 // INET_DIAG_SKV6ONLY

	reqIDSize = 48 // struct inet_diag_sockid
	reqSize   = 8 + reqIDSize
	msgSize   = 4 + reqIDSize + 20 // struct inet_diag_msg
)

// Listening yields the sockets of a protocol (unix.IPPROTO_TCP, UDP) and family (unix.AF_INET, AF_INET6) that take what
// comes for a port from anybody; port 0 is every port. A protocol that the kernel cannot be asked about is
// ErrUnsupported. Needs no privilege.
func (c *Conn) Listening(ctx context.Context, family, protocol uint8, port uint16) iter.Seq2[*Socket, error] {
	state := uint32(StateListen)
	if protocol != unix.IPPROTO_TCP {
		state = StateClose
	}
	return func(yield func(*Socket, error) bool) {
		req := c.request("dump sockets", byFamily, family, protocol, 1<<state, netip.AddrPortFrom(netip.Addr{}, port), netip.AddrPort{}, [8]byte{})
		for m, err := range c.sock.Dump(ctx, req) {
			if err != nil {
				yield(nil, refusal(err))
				return
			}
			if m.Type != byFamily {
				continue
			}
			if err := c.row.decode(m.Data); err != nil {
				yield(nil, req.Fail(err))
				return
			}
			if port != 0 && c.row.Local.Port() != port {
				continue
			}
			if !yield(&c.row, nil) {
				return
			}
		}
	}
}

// noCookie asks for a socket by its tuple alone (INET_DIAG_NOCOOKIE).
var noCookie = [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// End ends the TCP connection between two addresses, as if it had been reset (tcp_abort), and tells whether there was one.
// It never ends a socket that listens. ErrUnsupported is a kernel without CONFIG_INET_DIAG_DESTROY. Needs
// CAP_NET_ADMIN.
func (c *Conn) End(ctx context.Context, local, remote netip.AddrPort) (ended bool, err error) {
	family := uint8(unix.AF_INET)
	if local.Addr().Is6() {
		family = unix.AF_INET6
	}
	m, err := c.sock.Do(ctx, c.request("find connection", byFamily, family, unix.IPPROTO_TCP, 0xffffffff, local, remote, noCookie), 0)
	if errors.Is(err, syscall.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, refusal(err)
	}
	if err := c.row.decode(m.Data); err != nil {
		return false, err
	}
	// The kernel finds a listener where the connection has gone. A socket of IPv6 may have one of IPv4.
	found := netip.AddrPortFrom(c.row.Remote.Addr().Unmap(), c.row.Remote.Port())
	if c.row.State == StateListen || found != remote {
		return false, nil
	}
	_, err = c.sock.Do(ctx, c.request("end connection", destroyIt, family, unix.IPPROTO_TCP, 0xffffffff, local, remote, c.row.cookie), unix.NLM_F_ACK)
	if errors.Is(err, syscall.ENOENT) {
		return false, nil
	}
	return err == nil, refusal(err)
}

// request is a struct inet_diag_req_v2: family, protocol, extensions and padding, a byte each; states u32; and the sockid.
func (c *Conn) request(op string, typ uint16, family, protocol uint8, states uint32, local, remote netip.AddrPort, cookie [8]byte) *nlsock.Request {
	req := c.sock.Request(op, typ)
	b := make([]byte, 0, reqSize)
	b = append(b, family, protocol, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, states)
	req.Raw(appendID(b, local, remote, cookie))
	return req
}

// appendID appends a struct inet_diag_sockid: both ports in network order, both addresses in 16 bytes, the interface u32,
// the cookie of two u32.
func appendID(b []byte, local, remote netip.AddrPort, cookie [8]byte) []byte {
	b = binary.BigEndian.AppendUint16(b, local.Port())
	b = binary.BigEndian.AppendUint16(b, remote.Port())
	for _, a := range []netip.Addr{local.Addr(), remote.Addr()} {
		var field [16]byte
		copy(field[:], a.AsSlice())
		b = append(b, field[:]...)
	}
	b = append(b, 0, 0, 0, 0)
	return append(b, cookie[:]...)
}

// decode reads a struct inet_diag_msg (family, state, timer, retransmits: a byte each; the sockid; expires, receive queue,
// send queue, uid, inode: u32 each) and the attributes behind it.
func (s *Socket) decode(b []byte) error {
	if len(b) < msgSize {
		return ErrMalformed
	}
	id := b[4:]
	*s = Socket{
		State: b[1],
		Local: address(b[0], id[4:20], id[0:2]), Remote: address(b[0], id[20:36], id[2:4]),
		Index: binary.NativeEndian.Uint32(id[36:]),
		UID:   binary.NativeEndian.Uint32(b[4+reqIDSize+12:]), Inode: binary.NativeEndian.Uint32(b[4+reqIDSize+16:]),
	}
	copy(s.cookie[:], id[40:48])
	a := nlsock.Attributes(b[msgSize:])
	for a.Next() {
		if a.Type() == attrV6 {
			s.V6Only = a.Flag()
		}
	}
	return a.Err()
}

func address(family uint8, field, port []byte) netip.AddrPort {
	a := netip.AddrFrom16([16]byte(field))
	if family == unix.AF_INET {
		a = netip.AddrFrom4([4]byte(field[:4]))
	}
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(port))
}

// refusal tells a kernel without the interface from one that refuses for another reason.
func refusal(err error) error {
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EOPNOTSUPP) {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return err
}
