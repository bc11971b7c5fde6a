package dhcp

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
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

// The errors of [Client.Restart].
var (
	ErrNoLink  = errors.New("the link is down")
	ErrClosed  = errors.New("the DHCP client has ended")
	ErrRunning = errors.New("the lease is being restarted already")
)

// again is how long to wait before a Bind that failed is tried again.
const again = 5 * time.Second

// Client leases an address for one interface until it is closed. Its methods may be called from several
// goroutines at once.
type Client struct {
	options  Options
	config   Config
	sockets  *sockets
	messages chan *dhcpv4.DHCPv4
	heard    chan ARP
	up       atomic.Bool
	links    chan struct{} // up has a new value; buffered
	restarts chan *restart
	gaveUp   chan *restart
	ctx      context.Context
	end      context.CancelFunc
	ended    chan struct{}

	held      *Machine
	fresh     *Machine // of a restart
	restart   *restart // nil: none
	unapplied *Lease   // that Bind failed for
	retryAt   time.Time

	mu     sync.Mutex
	status Status // guarded by mu
}

// restart is a call of Restart.
type restart struct {
	done chan error // buffered
}

// Open opens the sockets and starts a client whose link is down: [Client.Link] tells it otherwise.
func Open(o Options) (*Client, error) {
	s, err := openSockets(device{o.Interface, o.Index, o.Inside})
	if err != nil {
		return nil, err
	}
	c := &Client{
		options: o, sockets: s, config: Config{MAC: o.MAC, MTU: o.MTU, Timing: o.Timing, Random: rand.Uint64},
		messages: make(chan *dhcpv4.DHCPv4), heard: make(chan ARP), links: make(chan struct{}, 1),
		restarts: make(chan *restart), gaveUp: make(chan *restart), ended: make(chan struct{}),
	}
	c.ctx, c.end = context.WithCancel(context.Background())
	c.held = NewMachine(c.config, o.Last, o.Stands, netip.Addr{})
	c.note()
	go s.messages(c.messages, c.ended)
	go c.run()
	return c, nil
}

// Close ends the client. The interface is left as it is, and the server keeps the lease for it.
func (c *Client) Close() {
	c.end()
	<-c.ended
}

// Done is closed when the client has ended.
func (c *Client) Done() <-chan struct{} { return c.ended }

// Status is what the client does now.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// Link tells whether the interface is up and has a carrier. It does not wait until the client has taken note.
func (c *Client) Link(up bool) {
	c.up.Store(up)
	select {
	case c.links <- struct{}{}:
	default: // the client is still to take note of the last value
	}
}

// Restart takes a new lease, from DISCOVER on, and then puts it in the place of the one that is in force, which
// stays in force until then, and beyond where none is to be had. It goes on until ctx ends.
func (c *Client) Restart(ctx context.Context) error {
	r := &restart{done: make(chan error, 1)}
	if !give(c.restarts, r, c.ended) {
		return ErrClosed
	}
	select {
	case err := <-r.done:
		return err
	case <-c.ended:
		return ErrClosed
	case <-ctx.Done():
		give(c.gaveUp, r, c.ended)
		select {
		case err := <-r.done: // it was done just then
			return err
		default:
			return ctx.Err()
		}
	}
}

func (c *Client) run() {
	defer close(c.ended)
	defer c.sockets.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		c.note()
		timer.Reset(c.untilDeadline())
		select {
		case <-c.ctx.Done():
			return
		case d := <-c.messages:
			c.both(func(m *Machine, now time.Time) []Action { return m.Receive(now, d) })
		case a := <-c.heard:
			c.both(func(m *Machine, now time.Time) []Action { return m.Heard(now, a) })
		case <-c.links:
			up := c.up.Load()
			c.both(func(m *Machine, now time.Time) []Action { return m.Link(now, up) })
			if !up {
				c.finish(ErrNoLink)
			}
		case r := <-c.restarts:
			c.begin(r)
		case r := <-c.gaveUp:
			if r == c.restart {
				c.fresh, c.restart = nil, nil
			}
		case <-timer.C:
			c.both((*Machine).Tick)
			c.retry()
		}
		c.listen()
	}
}

// note publishes the status.
func (c *Client) note() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = Status{c.held.State(), c.held.Lease()}
}

// aLongTime is when a client looks at the clock although nothing is due.
const aLongTime = time.Hour

func (c *Client) untilDeadline() time.Duration {
	next := earlier(c.held.Deadline(), c.retryAt)
	if c.fresh != nil {
		next = earlier(next, c.fresh.Deadline())
	}
	if next.IsZero() {
		return aLongTime
	}
	return min(max(time.Until(next), 0), aLongTime)
}

// both tells the machine in force and that of a restart of an event.
func (c *Client) both(event func(*Machine, time.Time) []Action) {
	now := time.Now()
	held, fresh := c.held, c.fresh
	if fresh != nil {
		c.act(fresh, event(fresh, now))
	}
	if held == c.held { // not replaced by the fresh one
		c.act(held, event(held, now))
	}
}

// begin starts a restart.
func (c *Client) begin(r *restart) {
	switch {
	case c.restart != nil:
		r.done <- ErrRunning
		return
	case !c.held.up:
		r.done <- ErrNoLink
		return
	}
	var own netip.Addr
	if l := c.held.Lease(); l != nil && c.held.stood {
		own = l.Address.Addr()
	}
	c.restart, c.fresh = r, NewMachine(c.config, nil, false, own)
	c.act(c.fresh, c.fresh.Link(time.Now(), true))
}

// finish ends a restart.
func (c *Client) finish(err error) {
	if c.restart != nil {
		c.restart.done <- err
	}
	c.fresh, c.restart = nil, nil
}

// act does what a machine wants done.
func (c *Client) act(m *Machine, actions []Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case Send:
			c.fault(c.sockets.send(a))
		case Probe:
			c.fault(c.sockets.sendARP(ARP{Request: true, SenderMAC: c.options.MAC, Target: a.Address}))
		case Announce:
			c.fault(c.sockets.sendARP(ARP{Request: true, SenderMAC: c.options.MAC, Sender: a.Address, Target: a.Address}))
		case Bind:
			c.bind(m, a.Lease)
		case Unbind:
			c.unapplied, c.retryAt = nil, time.Time{}
			c.fault(c.options.Unbind(c.ctx, a.Lease, a.Why))
		}
	}
}

// bind applies a lease. That of a restart counts from then on, or not at all.
func (c *Client) bind(m *Machine, l *Lease) {
	err := c.options.Bind(c.ctx, l)
	if m == c.fresh {
		if err == nil {
			c.held = m
			c.unapplied, c.retryAt = nil, time.Time{}
			c.note()
		}
		c.finish(err)
		return
	}
	c.unapplied, c.retryAt = nil, time.Time{}
	if err != nil {
		c.fault(err)
		c.unapplied, c.retryAt = l, time.Now().Add(again)
	}
}

// retry applies what could not be applied.
func (c *Client) retry() {
	if c.unapplied != nil && !time.Now().Before(c.retryAt) {
		c.bind(c.held, c.unapplied)
	}
}

// listen hears ARP while an address is probed for.
func (c *Client) listen() {
	if c.held.State() == Probing || c.fresh != nil && c.fresh.State() == Probing {
		c.fault(c.sockets.listenARP(c.heard, c.ended))
	} else {
		c.sockets.ignoreARP()
	}
}

func (c *Client) fault(err error) {
	if err != nil && c.options.Fault != nil {
		c.options.Fault(err)
	}
}
