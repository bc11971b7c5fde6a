package dhcploop

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// bind is the one action of a toy: it has a lease to be applied.
type bind struct{ lease *string }

// toy is a machine that leases what it is offered.
type toy struct {
	up       bool
	lease    *string
	deadline time.Time
}

func (m *toy) Link(_ time.Time, up bool) []bind { m.up = up; return nil }
func (m *toy) Up() bool                         { return m.up }
func (m *toy) Deadline() time.Time              { return m.deadline }
func (m *toy) Lease() *string                   { return m.lease }

func (m *toy) Tick(now time.Time) []bind {
	if !now.Before(m.deadline) {
		m.deadline = time.Time{}
	}
	return nil
}

func (m *toy) offer(lease string) []bind {
	m.lease = &lease
	return []bind{{&lease}}
}

// host is what a loop configures.
type host struct {
	loop    *Loop[*toy, string, bind]
	refuses error // of Bind
	tries   []string
	faults  []error
	seen    string // the lease of the machine in force, as last noted
	closed  bool
}

// start runs a loop whose link is up, in a bubble.
func start(t *testing.T) *host {
	h := &host{}
	h.loop = New(&toy{}, Client[*toy, string, bind]{
		Do:    func(m *toy, a bind) { h.loop.Bind(m, a.lease) },
		Fresh: func() (*toy, error) { return &toy{}, nil },
		Bind: func(_ context.Context, lease *string) error {
			h.tries = append(h.tries, *lease)
			return h.refuses
		},
		Note: func() {
			h.seen = ""
			if lease := h.loop.Held().Lease(); lease != nil {
				h.seen = *lease
			}
		},
		Fault: func(err error) { h.faults = append(h.faults, err) },
		Close: func() { h.closed = true },
	})
	go h.loop.Run()
	h.loop.Link(true)
	synctest.Wait()
	return h
}

// offer offers a lease to the machine in force, or to that of a restart alone.
func (h *host) offer(lease string, restart bool) bool {
	defer synctest.Wait()
	return h.loop.Tell(func(m *toy, _ time.Time) []bind {
		if restart != (m == h.loop.Restarting()) {
			return nil
		}
		return m.offer(lease)
	})
}

// inside has the loop's goroutine run something.
func (h *host) inside(f func()) {
	h.loop.give(f)
	synctest.Wait()
}

// pass lets time go by, and the loop come to rest.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// ask begins a restart, whose end comes by the channel.
func (h *host) ask(ctx context.Context) chan error {
	done := make(chan error, 1)
	go func() { done <- h.loop.Restart(ctx) }()
	synctest.Wait()
	return done
}

func wantEnd(t *testing.T, done <-chan error, want error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-done:
		if !errors.Is(err, want) {
			t.Errorf("the call ended with %v, want %v", err, want)
		}
	default:
		t.Errorf("the call goes on, want its end with %v", want)
	}
}

func TestRestartTakesOverWithItsLeaseAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		defer h.loop.Close()
		h.offer("old", false)
		done := h.ask(t.Context())
		if h.seen != "old" {
			t.Errorf("during the restart the lease is %q", h.seen)
		}
		wantEnd(t, h.ask(t.Context()), ErrRunning)
		h.offer("new", true)
		wantEnd(t, done, nil)
		if h.seen != "new" || h.loop.Restarting() != nil {
			t.Errorf("after the restart the lease is %q", h.seen)
		}
	})
}

func TestRestartThatCannotBeAppliedLeavesTheOldLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		defer h.loop.Close()
		h.offer("old", false)
		done := h.ask(t.Context())
		h.refuses = errors.New("no")
		h.offer("new", true)
		wantEnd(t, done, h.refuses)
		if h.seen != "old" || len(h.faults) != 0 {
			t.Errorf("the lease is %q, faults %v", h.seen, h.faults)
		}
	})
}

func TestRestartEndsWithItsCallerAndItsLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		defer h.loop.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		wantLater := h.ask(ctx)
		pass(2 * time.Minute)
		wantEnd(t, wantLater, context.DeadlineExceeded)
		if h.offer("late", true); h.seen != "" {
			t.Errorf("a restart that nobody waits for leased %q", h.seen)
		}
		done := h.ask(t.Context())
		h.loop.Link(false)
		wantEnd(t, done, ErrNoLink)
		wantEnd(t, h.ask(t.Context()), ErrNoLink)
	})
}

func TestLeaseThatCannotBeAppliedIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		defer h.loop.Close()
		h.refuses = errors.New("not yet")
		h.offer("it", false)
		pass(2*again + again/2)
		h.inside(func() { h.refuses = nil })
		pass(10 * again)
		if len(h.tries) != 4 || len(h.faults) != 3 {
			t.Errorf("tried %q, faults %v; want three that fail and one that does not", h.tries, h.faults)
		}
		h.inside(func() { h.refuses = errors.New("not yet") })
		h.offer("other", false)
		h.inside(h.loop.Unbound)
		pass(10 * again)
		if len(h.tries) != 5 {
			t.Errorf("tried %q after the lease was gone", h.tries)
		}
	})
}

func TestClosedLoopAnswersAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		done := h.ask(t.Context())
		h.loop.Close()
		wantEnd(t, done, ErrClosed)
		wantEnd(t, h.ask(t.Context()), ErrClosed)
		if h.offer("late", false) || !h.closed {
			t.Errorf("a closed loop took an event, or did not close its client (%v)", h.closed)
		}
		h.loop.Link(true) // must not wait
	})
}

func TestDeadlinesAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t)
		defer h.loop.Close()
		at := time.Now().Add(3*time.Hour + time.Minute)
		h.inside(func() { h.loop.Held().deadline = at })
		due := func() (due bool) {
			h.inside(func() { due = !h.loop.Held().deadline.IsZero() })
			return due
		}
		pass(time.Until(at) - time.Second)
		if !due() {
			t.Error("the machine was told of an instant before its time")
		}
		pass(2 * time.Second)
		if due() {
			t.Error("the machine was not told of its instant")
		}
	})
}
