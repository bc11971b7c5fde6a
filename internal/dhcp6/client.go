package dhcp6

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
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

// The errors of [Client.Restart] and [Client.Release].
var (
	ErrNoLink  = errors.New("the link is down, or has no address of its own yet")
	ErrClosed  = errors.New("the DHCPv6 client has ended")
	ErrRunning = errors.New("the lease is being restarted already")
)

// again is how long to wait before a Bind that failed is tried again.
const again = 5 * time.Second

// Client leases addresses and prefixes by one interface until it is closed. Its methods may be called from
// several goroutines at once.
type Client struct {
	options    Options
	config     Config
	socket     *socket
	answers    chan *Answer
	duplicates chan netip.Addr
	up         atomic.Bool
	links      chan struct{} // up has a new value; buffered
	restarts   chan *call
	releases   chan *call
	gaveUp     chan *call
	ctx        context.Context
	end        context.CancelFunc
	ended      chan struct{}

	held      *Machine
	fresh     *Machine // of a restart
	restart   *call    // nil: none
	release   *call    // nil: none
	unapplied *Lease   // that Bind failed for
	retryAt   time.Time

	mu     sync.Mutex
	status Status // guarded by mu
}

// call is a call of Restart or Release.
type call struct {
	done chan error // buffered
}

// Open opens the socket and starts a client whose link is down: [Client.Link] tells it otherwise.
func Open(o Options) (*Client, error) {
	s, err := openSocket(o.Interface, o.Index, o.Inside)
	if err != nil {
		return nil, err
	}
	c := &Client{
		options: o, socket: s, answers: make(chan *Answer), duplicates: make(chan netip.Addr), links: make(chan struct{}, 1),
		config:   Config{DUID: o.DUID, IAID: IAID(o.Interface), Addresses: o.Addresses, Prefixes: o.Prefixes, RapidCommit: o.Rapid, Timing: o.Timing, Random: rand.Uint64},
		restarts: make(chan *call), releases: make(chan *call), gaveUp: make(chan *call), ended: make(chan struct{}),
	}
	c.ctx, c.end = context.WithCancel(context.Background())
	c.held = NewMachine(c.config, o.Last, nil)
	c.note()
	go s.receive(c.answers, c.ended)
	go c.run()
	return c, nil
}

// Close ends the client. The host is left as it is, and the server keeps the lease for it.
func (c *Client) Close() {
	c.end()
	<-c.ended
}

// Status is what the client does now.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// Link tells whether the interface is up, has a carrier and a link-local address that may be used. It does not
// wait until the client has taken note.
func (c *Client) Link(up bool) {
	c.up.Store(up)
	select {
	case c.links <- struct{}{}:
	default: // the client is still to take note of the last value
	}
}

// Duplicate tells that another host has an address that was leased.
func (c *Client) Duplicate(a netip.Addr) { give(c.duplicates, a, c.ended) }

// Restart takes a new lease, from SOLICIT on, and then puts it in the place of the one that is in force, which
// stays in force until then, and beyond where none is to be had. It goes on until ctx ends.
func (c *Client) Restart(ctx context.Context) error { return c.ask(ctx, c.restarts) }

// Release gives the lease back. It returns when the server knows, none answers, or ctx ends; the host has nothing
// of the lease by then.
func (c *Client) Release(ctx context.Context) error { return c.ask(ctx, c.releases) }

// ask has the client's goroutine do something, and waits.
func (c *Client) ask(ctx context.Context, what chan<- *call) error {
	r := &call{done: make(chan error, 1)}
	if !give(what, r, c.ended) {
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
	defer c.socket.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		c.note()
		timer.Reset(c.untilDeadline())
		select {
		case <-c.ctx.Done():
			return
		case a := <-c.answers:
			c.both(func(m *Machine, now time.Time) []Action { return m.Receive(now, a) })
		case a := <-c.duplicates:
			c.both(func(m *Machine, now time.Time) []Action { return m.Duplicate(now, a) })
		case <-c.links:
			c.linked(c.up.Load())
		case r := <-c.restarts:
			c.begin(r)
		case r := <-c.releases:
			c.linked(c.up.Load()) // it may not have taken note yet
			c.finish(ErrRunning)
			c.release = r
			c.act(c.held, c.held.Release(time.Now()))
		case r := <-c.gaveUp:
			c.forget(r)
		case <-timer.C:
			c.both((*Machine).Tick)
			c.retry()
		}
	}
}

func (c *Client) linked(up bool) {
	c.both(func(m *Machine, now time.Time) []Action { return m.Link(now, up) })
	if !up {
		c.finish(ErrNoLink)
		c.released(ErrNoLink)
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
func (c *Client) begin(r *call) {
	switch {
	case c.restart != nil || c.release != nil:
		r.done <- ErrRunning
		return
	case !c.held.up:
		r.done <- ErrNoLink
		return
	}
	config := c.config
	config.Timing.Delay = 0
	c.restart, c.fresh = r, NewMachine(config, nil, c.held.Lease())
	c.act(c.fresh, c.fresh.Link(time.Now(), true))
}

// finish ends a restart.
func (c *Client) finish(err error) {
	if c.restart != nil {
		c.restart.done <- err
	}
	c.fresh, c.restart = nil, nil
}

// released ends a release.
func (c *Client) released(err error) {
	if c.release != nil {
		c.release.done <- err
	}
	c.release = nil
}

// forget is for calls whose callers have gone.
func (c *Client) forget(r *call) {
	if r == c.restart {
		c.fresh, c.restart = nil, nil
	}
	if r == c.release {
		c.release = nil
	}
}

// act does what a machine wants done.
func (c *Client) act(m *Machine, actions []Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case Send:
			c.fault(c.socket.send(a.Message))
		case Bind:
			c.bind(m, a.Lease)
		case Unbind:
			c.unapplied, c.retryAt = nil, time.Time{}
			c.fault(c.options.Unbind(c.ctx, a.Lease, a.Why))
		case Released:
			c.released(nil)
		}
	}
}

// bind applies a lease. That of a restart counts from then on, or not at all.
func (c *Client) bind(m *Machine, l *Lease) {
	err := c.options.Bind(c.ctx, l)
	if m == c.fresh {
		if err == nil {
			c.held, m.config = m, c.config
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

func (c *Client) fault(err error) {
	if err != nil && c.options.Fault != nil {
		c.options.Fault(err)
	}
}
