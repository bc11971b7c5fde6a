package dhcploop

import "time"

// What follows is for the loop's goroutine alone.

// Held is the machine in force.
func (l *Loop[M, Lease, Action]) Held() M { return l.held }

// Restarting is the machine of a restart; zero: none.
func (l *Loop[M, Lease, Action]) Restarting() M { return l.fresh }

// Linked tells the machines of the last [Loop.Link], which they may not have been told of yet.
func (l *Loop[M, Lease, Action]) Linked() {
	up := l.up.Load()
	l.both(func(m M, now time.Time) []Action { return m.Link(now, up) })
	if !up {
		l.Finish(ErrNoLink)
	}
}

// Act does what a machine wants done.
func (l *Loop[M, Lease, Action]) Act(m M, actions []Action) {
	for _, a := range actions {
		l.client.Do(m, a)
	}
}

// Bind applies a machine's lease: a new one, or the one that the host has with other parts or times. Where that
// fails it is tried again some seconds later; that of a restart counts from then on, or not at all.
func (l *Loop[M, Lease, Action]) Bind(m M, lease *Lease) {
	err := l.client.Bind(l.ctx, lease)
	if m == l.fresh {
		if err == nil {
			l.held = m
			l.Unbound()
			l.client.Note()
		}
		l.Finish(err)
		return
	}
	l.Unbound()
	if err != nil {
		l.Fault(err)
		l.unapplied, l.retryAt = lease, time.Now().Add(again)
	}
}

// Unbound takes note that no lease is to be applied any more.
func (l *Loop[M, Lease, Action]) Unbound() { l.unapplied, l.retryAt = nil, time.Time{} }

// Finish ends the restart that is under way, if any.
func (l *Loop[M, Lease, Action]) Finish(err error) {
	l.restart.End(err)
	l.drop()
}

func (l *Loop[M, Lease, Action]) drop() {
	var none M
	l.fresh, l.restart = none, nil
}

// Fault tells the client of what failed; nil is nothing.
func (l *Loop[M, Lease, Action]) Fault(err error) {
	if err != nil && l.client.Fault != nil {
		l.client.Fault(err)
	}
}

// begin starts a restart.
func (l *Loop[M, Lease, Action]) begin(c *Call) {
	if l.restart != nil {
		c.End(ErrRunning)
		return
	}
	if !l.held.Up() {
		c.End(ErrNoLink)
		return
	}
	fresh, err := l.client.Fresh()
	if err != nil {
		c.End(err)
		return
	}
	l.restart, l.fresh = c, fresh
	l.Act(fresh, fresh.Link(time.Now(), true))
}

// both tells the machine in force and that of a restart of an event.
func (l *Loop[M, Lease, Action]) both(event func(M, time.Time) []Action) {
	now := time.Now()
	held, fresh := l.held, l.fresh
	var none M
	if fresh != none {
		l.Act(fresh, event(fresh, now))
	}
	if held == l.held { // not replaced by the fresh one
		l.Act(held, event(held, now))
	}
}

// retry applies what could not be applied.
func (l *Loop[M, Lease, Action]) retry() {
	if l.unapplied != nil && !time.Now().Before(l.retryAt) {
		l.Bind(l.held, l.unapplied)
	}
}

// aLongTime is when a loop looks at the clock although nothing is due.
const aLongTime = time.Hour

func (l *Loop[M, Lease, Action]) untilDeadline() time.Duration {
	next := Earlier(l.held.Deadline(), l.retryAt)
	var none M
	if l.fresh != none {
		next = Earlier(next, l.fresh.Deadline())
	}
	if next.IsZero() {
		return aLongTime
	}
	return min(max(time.Until(next), 0), aLongTime)
}

// Earlier is the first of two instants of which zero never comes.
func Earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
