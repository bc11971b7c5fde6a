// Package rtnl reads network interfaces, addresses, routes, neighbours and the VLANs of bridges from the
// kernel over rtnetlink(7), makes, changes and removes all of them but neighbours, and hears of their changes and of
// what routers advertise.
//
// A dump is an iterator that decodes each message in place into one row, which is used again for the
// next: a million routes cost the memory of one. What a row holds as a slice lies in the receive
// buffer or in the row itself and must be copied to be kept beyond the step of the loop:
//
//	for route, err := range conn.Routes(ctx, rtnl.RouteFilter{Family: unix.AF_INET, Table: 254}) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(route.Dst, route.Gateway)
//	}
//
// Filters go to the kernel, and are checked again here wherever a kernel may pass over them. An error
// ends the iteration: ErrInterrupted after all rows have come, where the kernel says that they changed
// meanwhile.
//
// The package names things as the kernel's headers do (linux/rtnetlink.h, if_link.h, if_addr.h,
// neighbour.h, if_bridge.h) and gives its numbers the names that iproute2 gives them. It resolves no
// names beyond those of interfaces, and keeps nothing between calls but sockets. A call that changes something is one
// request, acknowledged by the kernel, whose own words stand in the error where it refuses.
package rtnl

import (
	"context"
	"errors"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// The errors that a caller may meet beside the kernel's, as nlsock documents them.
var (
	ErrInterrupted = nlsock.ErrInterrupted
	ErrMalformed   = nlsock.ErrMalformed
	ErrTruncated   = nlsock.ErrTruncated
)

// OpError is a request that the kernel refused or that had no answer.
type OpError = nlsock.OpError

// Conn is an rtnetlink socket and the rows that its dumps fill. It belongs to one goroutine at a time
// and serves one dump at a time; [Conn.LinkName], [Conn.LinkIndex] and [Conn.LinkSettings] may be
// called during a dump.
type Conn struct {
	sock *nlsock.Conn

	link     Link
	address  Address
	route    Route
	neighbor Neighbor
	vlans    InterfaceVLANs
	globals  GlobalVLANs
	device   deviceRequest
}

// Dial opens a socket in the network namespace that the descriptor netns stands for, the calling
// thread's where it is 0.
func Dial(netns int) (*Conn, error) {
	sock, err := nlsock.Dial(unix.NETLINK_ROUTE, netns)
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

// errEnough is what a decoder ends a dump with when no more rows can come that are wanted.
var errEnough = errors.New("enough")

// dump sends req and decodes each message of type typ into row. decode reports false for a message
// that is not wanted.
func dump[Row any](ctx context.Context, c *Conn, req *nlsock.Request, typ uint16, row *Row, decode func([]byte) (bool, error)) iter.Seq2[*Row, error] {
	return func(yield func(*Row, error) bool) {
		for m, err := range c.sock.Dump(ctx, req) {
			if err != nil {
				yield(nil, err)
				return
			}
			if m.Type != typ {
				continue
			}
			wanted, err := decode(m.Data)
			if errors.Is(err, errEnough) {
				return
			}
			if err != nil {
				yield(nil, req.Fail(err))
				return
			}
			if wanted && !yield(row, nil) {
				return
			}
		}
	}
}

// attrSet is the set of attributes that a message had, by type.
type attrSet [2]uint64

func (s *attrSet) add(typ uint16) {
	if typ < 128 {
		s[typ/64] |= 1 << (typ % 64)
	}
}

func (s *attrSet) has(typ uint16) bool { return typ < 128 && s[typ/64]&(1<<(typ%64)) != 0 }
