// Package ct reads the kernel's connection tracking table over ctnetlink
// (linux/netfilter/nfnetlink_conntrack.h), and its statistics.
//
// A dump is an iterator that decodes each message in place into one row, which is used again for the
// next: a million connections cost the memory of one, and no allocation each.
//
//	for entry, err := range conn.Entries(ctx, ct.Filter{Family: unix.AF_INET}) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(entry.Original.Src, entry.Reply.Src)
//	}
//
// What a filter asks for goes to the kernel where it can do it, and is compared here in any case:
// what kernels know of filters differs, and older ones pass over what they do not know. The table has
// no generation: one that changes during a dump may show an entry twice or not at all.
//
// Single entries can be deleted ([Conn.Delete]). The package changes nothing else, listens to no events, and
// names no hosts or services.
package ct

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// The errors that a caller may meet beside the kernel's, as nlsock documents them.
var (
	ErrInterrupted = nlsock.ErrInterrupted
	ErrMalformed   = nlsock.ErrMalformed
	ErrTruncated   = nlsock.ErrTruncated
)

// ErrNoConntrack is a kernel without ctnetlink (CONFIG_NF_CT_NETLINK).
var ErrNoConntrack = errors.New("kernel has no connection tracking over netlink")

// OpError is a request that the kernel refused or that had no answer. Every request needs
// CAP_NET_ADMIN over the socket's network namespace.
type OpError = nlsock.OpError

// Conn is a ctnetlink socket and the row that its dumps fill. It belongs to one goroutine at a time
// and serves one request at a time.
type Conn struct {
	sock  *nlsock.Conn
	entry Entry
}

// Dial opens a socket in the network namespace that the descriptor netns stands for, the calling
// thread's where it is 0. A kernel without netfilter is ErrNoConntrack.
func Dial(netns int) (*Conn, error) {
	sock, err := nlsock.Dial(unix.NETLINK_NETFILTER, netns)
	if errors.Is(err, syscall.EPROTONOSUPPORT) {
		return nil, fmt.Errorf("%w: %w", ErrNoConntrack, err)
	}
	if err != nil {
		return nil, err
	}
	return &Conn{sock: sock}, nil
}

// Close closes the socket.
func (c *Conn) Close() error { return c.sock.Close() }

// Reusable tells whether the socket can carry another request: not after a dump that was left early
// or failed on the way.
func (c *Conn) Reusable() bool { return c.sock.Reusable() }

// Pool keeps idle sockets of one network namespace.
type Pool = nlsock.Pool[*Conn]

// NewPool makes a pool whose sockets [Dial] opens in netns.
func NewPool(netns int) *Pool {
	return nlsock.NewPool(func() (*Conn, error) { return Dial(netns) })
}

// headerSize is struct nfgenmsg: family u8, version u8, res_id u16 in network order.
const headerSize = 4

// request starts a message of one of netfilter's subsystems.
func (c *Conn) request(op string, subsystem, typ uint16, family uint8) *nlsock.Request {
	req := c.sock.Request(op, subsystem<<8|typ)
	req.Raw([]byte{family, unix.NFNETLINK_V0, 0, 0})
	return req
}

// refusal tells a kernel without the subsystem, which answers EINVAL to any request of it, from one
// that refuses for another reason.
func refusal(err error) error {
	if errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("%w: %w", ErrNoConntrack, err)
	}
	return err
}
