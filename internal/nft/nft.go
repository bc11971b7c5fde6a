// Package nft reads and changes the kernel's packet filter, nf_tables, over netlink
// (linux/netfilter/nf_tables.h): tables, chains, flowtables, objects, sets, their elements, and rules
// with their expressions.
//
// A dump is an iterator that decodes each message in place into one row, which is used again for the
// next. What a row holds as a slice lies in the receive buffer or in the row itself and must be copied
// to be kept beyond the step of the loop. The expressions of a rule are decoded when they are asked
// for, each into a struct of its kind ([Decode]); what a struct has no field for is not lost: Decode
// says so, and the attributes are there as they came.
//
//	for rule, err := range conn.Rules(ctx, nft.Filter{Family: unix.NFPROTO_INET}) {
//		if err != nil {
//			return err
//		}
//		for e := range rule.Expressions() {
//			fmt.Println(e.Name)
//		}
//	}
//
// The ruleset has a generation ([Conn.Generation]). A dump is consistent in itself unless it ends in
// ErrInterrupted; several belong together where the generation is the same before and after.
//
// What is to be changed is gathered in a [Change] and made in one transaction: all of it or nothing.
//
// Names of types, keys and flags are those of nft(8) and of the kernel's headers. The package does not
// turn expressions back into the language of nft.
package nft

import (
	"context"
	"errors"
	"fmt"
	"iter"
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

// ErrNoTables is a kernel without nf_tables (CONFIG_NF_TABLES).
var ErrNoTables = errors.New("kernel has no nf_tables")

// OpError is a request that the kernel refused or that had no answer. Every request needs
// CAP_NET_ADMIN over the socket's network namespace.
type OpError = nlsock.OpError

// Conn is an nf_tables socket and the rows that its dumps fill. It belongs to one goroutine at a time
// and serves one request at a time: the elements of a set are read on another Conn than the sets.
type Conn struct {
	sock *nlsock.Conn

	table     Table
	chain     Chain
	flowtable Flowtable
	object    Object
	set       Set
	element   Element
	rule      Rule
	join      intervals
}

// Dial opens a socket in the network namespace that the descriptor netns stands for, the calling
// thread's where it is 0. A kernel without netfilter is ErrNoTables.
func Dial(netns int) (*Conn, error) {
	sock, err := nlsock.Dial(unix.NETLINK_NETFILTER, netns)
	if errors.Is(err, syscall.EPROTONOSUPPORT) {
		return nil, fmt.Errorf("%w: %w", ErrNoTables, err)
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

// Filter says what a dump yields. The kernel is asked for no more where it can choose; what it yields is
// compared here in any case. A table that does not exist has nothing in it.
type Filter struct {
	Family uint8  // unix.NFPROTO_*; 0: every family
	Table  string // "": every table
}

func (f *Filter) wants(family uint8, table string) bool {
	return (f.Family == 0 || f.Family == family) && (f.Table == "" || f.Table == table)
}

// headerSize is struct nfgenmsg: family u8, version u8, res_id u16 in network order.
const headerSize = 4

func messageType(typ uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | typ }

// Generation is the number of the ruleset, which every change counts up (NFTA_GEN_ID). A kernel
// without nf_tables is ErrNoTables.
func (c *Conn) Generation(ctx context.Context) (uint32, error) {
	req := c.request("get ruleset generation", unix.NFT_MSG_GETGEN, unix.NFPROTO_UNSPEC)
	m, err := c.sock.Do(ctx, req, 0)
	if err != nil {
		return 0, refusal(err)
	}
	if len(m.Data) < headerSize {
		return 0, req.Fail(ErrMalformed)
	}
	var id uint32
	a := nlsock.Attributes(m.Data[headerSize:])
	for a.Next() {
		if a.Type() == unix.NFTA_GEN_ID {
			id = a.BigUint32()
		}
	}
	return id, a.Err()
}

func (c *Conn) request(op string, typ uint16, family uint8) *nlsock.Request {
	req := c.sock.Request(op, messageType(typ))
	req.Raw([]byte{family, unix.NFNETLINK_V0, 0, 0})
	return req
}

// row is what a message of a dump is decoded into.
type row interface {
	// decode reads the attributes behind the header.
	decode(family uint8, a nlsock.Attrs) error
	// place is where it stands, for the filter.
	place() (family uint8, table string)
}

// dump asks for all that f wants and decodes each message of type answer into into. tableAttr is the
// attribute by which the kernel chooses one table, 0 where it does not. For all but rules it looks the
// table up, which takes the family.
func dump[P row](ctx context.Context, c *Conn, op string, ask, answer, tableAttr uint16, f Filter, into P) iter.Seq2[P, error] {
	return func(yield func(P, error) bool) {
		var none P
		req := c.request(op, ask, f.Family)
		if tableAttr != 0 && f.Table != "" && (f.Family != 0 || ask == unix.NFT_MSG_GETRULE) {
			req.String(tableAttr, f.Table)
		}
		for m, err := range c.sock.Dump(ctx, req) {
			switch {
			case errors.Is(err, syscall.ENOENT):
				return // no such table
			case err != nil:
				yield(none, refusal(err))
				return
			case m.Type != messageType(answer):
				continue
			}
			if err := decodeRow(m.Data, into); err != nil {
				yield(none, req.Fail(err))
				return
			}
			if f.wants(into.place()) && !yield(into, nil) {
				return
			}
		}
	}
}

func decodeRow(b []byte, into row) error {
	if len(b) < headerSize {
		return ErrMalformed
	}
	return into.decode(b[0], nlsock.Attributes(b[headerSize:]))
}

// refusal tells a kernel without the subsystem, which answers EINVAL to any request of it, from one
// that refuses for another reason.
func refusal(err error) error {
	if errors.Is(err, syscall.EINVAL) {
		return fmt.Errorf("%w: %w", ErrNoTables, err)
	}
	return err
}

// Opt is a value that an attribute has given, or not.
type Opt[T any] struct {
	Value T
	Set   bool
}

func some[T any](v T) Opt[T] { return Opt[T]{Value: v, Set: true} }
