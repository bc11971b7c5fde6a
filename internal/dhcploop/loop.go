// Package dhcploop is what clients of DHCPv4 and DHCPv6 do alike. The life of a lease is a pure machine of theirs;
// a [Loop] gives it a goroutine and a clock, applies its leases and tries again what could not be applied, and has
// a second machine take a new lease beside the one that is in force.
package dhcploop

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// Machine is the life of a lease. It belongs to one goroutine: each of Link and Tick tells it what happened and
// returns what is to be done, in order.
type Machine[Lease, Action any] interface {
	comparable
	Link(now time.Time, up bool) []Action
	Up() bool // what Link told
	Tick(now time.Time) []Action
	Deadline() time.Time // of the next Tick; the zero time for never
	Lease() *Lease       // in force, or to be asked for again; nil: none
}

// Client is what a loop does the work of. The loop's goroutine calls all of it.
type Client[M any, Lease, Action any] struct {
	Do func(M, Action) // does what a machine wants done
	// Fresh makes a machine for a restart, whose link is down.
	Fresh func() (M, error)
	// Bind configures the host for a lease.
	Bind func(context.Context, *Lease) error
	// Note is called whenever the machine in force, or what it says, may have changed.
	Note  func()
	Fault func(error) // is told of what failed and is tried again; may be nil
	Close func()      // is called when the loop ends
}

// The errors of [Loop.Restart] and [Loop.Ask].
var (
	ErrNoLink  = errors.New("the link is down, or has no address to send from yet")
	ErrClosed  = errors.New("the DHCP client has ended")
	ErrRunning = errors.New("the lease is being restarted or given back already")
)

// again is how long to wait before a lease that could not be applied is tried again.
const again = 5 * time.Second

// Loop runs the machine of one lease until it is closed. Its methods may be called from several goroutines at
// once, but Held, Restarting, Linked, Act, Bind, Unbound, Finish and Fault: these are for the functions of its
// Client, and for what is passed to Tell and Ask.
type Loop[M Machine[Lease, Action], Lease, Action any] struct {
	client Client[M, Lease, Action]
	events chan func()
	up     atomic.Bool
	links  chan struct{} // up has a new value; buffered
	ctx    context.Context
	end    context.CancelFunc
	ended  chan struct{}

	held      M
	fresh     M      // of a restart; zero: none
	restart   *Call  // zero: none
	unapplied *Lease // that Bind failed for
	retryAt   time.Time
}

// Call is a call that waits for the loop.
type Call struct {
	done chan error // buffered
}

// End ends the call, with an error or with nil. A nil Call has nobody who waits.
func (c *Call) End(err error) {
	if c != nil {
		c.done <- err
	}
}

// New makes a loop of a machine whose link is down.
func New[M Machine[Lease, Action], Lease, Action any](held M, c Client[M, Lease, Action]) *Loop[M, Lease, Action] {
	l := &Loop[M, Lease, Action]{
		client: c, held: held, events: make(chan func()), links: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	l.ctx, l.end = context.WithCancel(context.Background())
	return l
}

// Run runs the loop until it is closed.
func (l *Loop[M, Lease, Action]) Run() {
	defer close(l.ended)
	defer l.client.Close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		l.client.Note()
		timer.Reset(l.untilDeadline())
		select {
		case <-l.ctx.Done():
			return
		case event := <-l.events:
			event()
		case <-l.links:
			l.Linked()
		case <-timer.C:
			l.both(M.Tick)
			l.retry()
		}
	}
}

// Context ends when the loop does.
func (l *Loop[M, Lease, Action]) Context() context.Context { return l.ctx }

// Close ends the loop. The host is left as it is, and the server keeps the lease for it.
func (l *Loop[M, Lease, Action]) Close() {
	l.end()
	<-l.ended
}

// Tell has both machines, the one in force and that of a restart, told of an event. It tells whether anybody is
// still there to take it.
func (l *Loop[M, Lease, Action]) Tell(event func(m M, now time.Time) []Action) bool {
	return l.give(func() { l.both(event) })
}

func (l *Loop[M, Lease, Action]) give(event func()) bool {
	select {
	case l.events <- event:
		return true
	case <-l.ended:
		return false
	}
}

// Link tells whether messages can be sent. It does not wait until the loop has taken note.
func (l *Loop[M, Lease, Action]) Link(up bool) {
	l.up.Store(up)
	select {
	case l.links <- struct{}{}:
	default: // the loop is still to take note of the last value
	}
}

// Restart takes a new lease, and then puts it in the place of the one that is in force, which stays in force until
// then, and beyond where none is to be had. It goes on until ctx ends. Its errors are ErrNoLink, ErrRunning, ErrClosed,
// that of ctx, and those of the client's Fresh and Bind.
func (l *Loop[M, Lease, Action]) Restart(ctx context.Context) error {
	return l.Ask(ctx, l.begin, func(c *Call) {
		if c == l.restart {
			l.drop()
		}
	})
}

// Ask has the loop's goroutine begin something, and waits until the call is ended, with what error it ends. Where ctx
// ends before, the goroutine is to forget the call, and the error is that of ctx; of a loop that is closed it is
// ErrClosed.
func (l *Loop[M, Lease, Action]) Ask(ctx context.Context, begin, forget func(*Call)) error {
	c := &Call{done: make(chan error, 1)}
	if !l.give(func() { begin(c) }) {
		return ErrClosed
	}
	select {
	case err := <-c.done:
		return err
	case <-l.ended:
		return ErrClosed
	case <-ctx.Done():
	}
	l.give(func() { forget(c) })
	select {
	case err := <-c.done: // it was done just then
		return err
	default:
		return ctx.Err()
	}
}
