package dhcp6

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/geomind/my_os_server/internal/dhcploop"
)

// Options say which interface a client is for, and who is told what it leases.
type Options struct {
	Interface string
	Index     int
	DUID      []byte
	Addresses bool // asks for addresses
	Prefixes  bool // asks for prefixes; for neither: for information
	Rapid     bool // takes a lease that a server gives at once (Rapid Commit)
	Timing    Timing

	Last *Lease // to be asked for again; nil: none

	// Inside runs a function in the interface's network namespace.
	Inside func(func() error) error
	// Bind configures the host for a lease: a new one, or the one that it has with other parts or times. Where
	// it fails it is called again some seconds later.
	Bind func(context.Context, *Lease) error
	// Unbind takes back what Bind did.
	Unbind func(context.Context, *Lease, Reason) error
	// Fault is told of what failed and is tried again. May be nil.
	Fault func(error)
}

// Status is what a client does.
type Status struct {
	State State
	Lease *Lease // in force, or asked for again; nil: none. It must not be changed.
}

// Client leases addresses and prefixes by one interface until it is closed. Its methods may be called from
// several goroutines at once.
type Client struct {
	options Options
	config  Config
	socket  *socket
	loop    *dhcploop.Loop[*Machine, Lease, Action]
	status  atomic.Pointer[Status]
	release *dhcploop.Call // nil: none
}

// Open opens the socket and starts a client whose link is down: [Client.Link] tells it otherwise.
func Open(o Options) (*Client, error) {
	s, err := openSocket(o.Interface, o.Index, o.Inside)
	if err != nil {
		return nil, err
	}
	c := &Client{options: o, socket: s, config: Config{
		DUID: o.DUID, IAID: IAID(o.Interface), Addresses: o.Addresses, Prefixes: o.Prefixes, RapidCommit: o.Rapid,
		Timing: o.Timing, Random: rand.Uint64,
	}}
	c.loop = dhcploop.New(NewMachine(c.config, o.Last, nil), dhcploop.Client[*Machine, Lease, Action]{
		Do: c.do, Fresh: c.fresh, Bind: o.Bind, Note: c.note, Fault: o.Fault, Close: func() { _ = s.close() },
	})
	c.note()
	go s.receive(c.received)
	go c.loop.Run()
	return c, nil
}

// Close ends the client. The host is left as it is, and the server keeps the lease for it.
func (c *Client) Close() { c.loop.Close() }

// Status is what the client does now.
func (c *Client) Status() Status { return *c.status.Load() }

// Link tells whether the interface is up, has a carrier and a link-local address that may be used. It does not
// wait until the client has taken note.
func (c *Client) Link(up bool) { c.loop.Link(up) }

// Duplicate tells that another host has an address that was leased.
func (c *Client) Duplicate(a netip.Addr) {
	c.loop.Tell(func(m *Machine, now time.Time) []Action { return m.Duplicate(now, a) })
}

// received hands over an answer, and tells whether anybody is still there to take it.
func (c *Client) received(a *Answer) bool {
	return c.loop.Tell(func(m *Machine, now time.Time) []Action { return m.Receive(now, a) })
}

// Restart takes a new lease, from SOLICIT on, and then puts it in the place of the one that is in force, which
// stays in force until then, and beyond where none is to be had. It goes on until ctx ends. Its errors are those
// of [dhcploop.Loop.Restart].
func (c *Client) Restart(ctx context.Context) error { return c.loop.Restart(ctx) }

// fresh is the machine of a restart, which asks at once.
func (c *Client) fresh() (*Machine, error) {
	if c.release != nil {
		return nil, dhcploop.ErrRunning
	}
	config := c.config
	config.Timing.Delay = 0
	return NewMachine(config, nil, c.loop.Held().Lease()), nil
}

// Release gives the lease back. It returns when the server knows, none answers, or ctx ends; the host has nothing
// of the lease by then. A restart that is under way is given up.
func (c *Client) Release(ctx context.Context) error {
	return c.loop.Ask(ctx, c.giveBack, func(call *dhcploop.Call) {
		if call == c.release {
			c.release = nil
		}
	})
}

func (c *Client) giveBack(call *dhcploop.Call) {
	c.loop.Linked() // it may not have taken note yet
	c.loop.Finish(dhcploop.ErrRunning)
	c.released(dhcploop.ErrRunning)
	c.release = call
	held := c.loop.Held()
	c.loop.Act(held, held.Release(time.Now()))
}

// released ends a release.
func (c *Client) released(err error) {
	c.release.End(err)
	c.release = nil
}

// do does what a machine wants done.
func (c *Client) do(m *Machine, a Action) {
	switch a := a.(type) {
	case Send:
		c.loop.Fault(c.socket.send(a.Message))
	case Bind:
		m.config = c.config // it may be that of a restart
		c.loop.Bind(m, a.Lease)
	case Unbind:
		c.loop.Unbound()
		c.loop.Fault(c.options.Unbind(c.loop.Context(), a.Lease, a.Why))
	case Released:
		c.released(nil)
	}
}

// note publishes the status, and ends a release that no server can be told of any more.
func (c *Client) note() {
	held := c.loop.Held()
	c.status.Store(&Status{held.State(), held.Lease()})
	if !held.Up() {
		c.released(dhcploop.ErrNoLink)
	}
}
