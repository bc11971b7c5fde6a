package dhcp

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/geomind/my_os_server/internal/dhcploop"
)

// Options say which interface a client is for, and who is told what it leases.
type Options struct {
	Interface string
	Index     int
	MAC       net.HardwareAddr // 6 bytes
	MTU       int
	Timing    Timing

	Last   *Lease // to be asked for again; nil: none
	Stands bool   // the interface still has its address

	// Inside runs a function in the interface's network namespace.
	Inside func(func() error) error
	// Bind configures the interface for a lease: a new one, or the one that it has with new times. Where it
	// fails it is called again some seconds later.
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

// Client leases an address for one interface until it is closed. Its methods may be called from several
// goroutines at once.
type Client struct {
	options Options
	config  Config
	sockets *sockets
	loop    *dhcploop.Loop[*Machine, Lease, Action]
	status  atomic.Pointer[Status]
}

// Open opens the sockets and starts a client whose link is down: [Client.Link] tells it otherwise.
func Open(o Options) (*Client, error) {
	s, err := openSockets(device{o.Interface, o.Index, o.Inside})
	if err != nil {
		return nil, err
	}
	c := &Client{options: o, sockets: s, config: Config{MAC: o.MAC, MTU: o.MTU, Timing: o.Timing, Random: rand.Uint64}}
	held := NewMachine(c.config, o.Last, o.Stands, netip.Addr{})
	c.loop = dhcploop.New(held, dhcploop.Client[*Machine, Lease, Action]{
		Do: c.do, Fresh: c.fresh, Bind: o.Bind, Note: c.note, Fault: o.Fault, Close: func() { _ = s.close() },
	})
	c.publish()
	go s.messages(c.received)
	go c.loop.Run()
	return c, nil
}

// Close ends the client. The interface is left as it is, and the server keeps the lease for it.
func (c *Client) Close() { c.loop.Close() }

// Status is what the client does now.
func (c *Client) Status() Status { return *c.status.Load() }

// Link tells whether the interface is up and has a carrier. It does not wait until the client has taken note.
func (c *Client) Link(up bool) { c.loop.Link(up) }

// Restart takes a new lease, from DISCOVER on, and then puts it in the place of the one that is in force, which
// stays in force until then, and beyond where none is to be had. It goes on until ctx ends. Its errors are those
// of [dhcploop.Loop.Restart].
func (c *Client) Restart(ctx context.Context) error { return c.loop.Restart(ctx) }

// received and heard hand over what came in, and tell whether anybody is still there to take it.
func (c *Client) received(d *dhcpv4.DHCPv4) bool {
	return c.loop.Tell(func(m *Machine, now time.Time) []Action { return m.Receive(now, d) })
}

func (c *Client) heard(a ARP) bool {
	return c.loop.Tell(func(m *Machine, now time.Time) []Action { return m.Heard(now, a) })
}

// fresh is the machine of a restart. An address that the interface has needs no probe.
func (c *Client) fresh() (*Machine, error) {
	var own netip.Addr
	if held := c.loop.Held(); held.lease != nil && held.stood {
		own = held.lease.Address.Addr()
	}
	return NewMachine(c.config, nil, false, own), nil
}

// do does what a machine wants done.
func (c *Client) do(m *Machine, a Action) {
	switch a := a.(type) {
	case Send:
		c.loop.Fault(c.sockets.send(a))
	case Probe:
		c.loop.Fault(c.sockets.sendARP(ARP{Request: true, SenderMAC: c.options.MAC, Target: a.Address}))
	case Announce:
		c.loop.Fault(c.sockets.sendARP(ARP{Request: true, SenderMAC: c.options.MAC, Sender: a.Address, Target: a.Address}))
	case Bind:
		c.loop.Bind(m, a.Lease)
	case Unbind:
		c.loop.Unbound()
		c.loop.Fault(c.options.Unbind(c.loop.Context(), a.Lease, a.Why))
	}
}

// note publishes the status, and hears ARP while an address is probed for.
func (c *Client) note() {
	c.publish()
	fresh := c.loop.Restarting()
	if c.loop.Held().State() == Probing || fresh != nil && fresh.State() == Probing {
		c.loop.Fault(c.sockets.listenARP(c.heard))
	} else {
		c.sockets.ignoreARP()
	}
}

func (c *Client) publish() {
	held := c.loop.Held()
	c.status.Store(&Status{held.State(), held.Lease()})
}
