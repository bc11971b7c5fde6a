package hang

import (
	"context"
	"errors"
	"slices"
	"time"
)

// errHung is what a full lane in which nothing moves answers with.
var errHung = errors.New("lane is full and nothing moves")

// lane lets a number of calls in at a time; the others queue. The group's mutex guards all of it.
type lane struct {
	size    int
	users   int       // calls that are under way or queue
	running int       // calls under way
	blocked int       // those of them that nobody waits for
	moved   time.Time // when a call last began or ended

	queue []chan struct{} // who waits, in order; closed as its place is handed over
}

// enter takes a place in the key's lane and in the lane of all.
func (g *Group[K]) enter(ctx context.Context, key K) (*lane, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.join(key)
	if err := g.take(ctx, l); err != nil {
		g.part(key, l)
		if err == errHung {
			return nil, &BusyError{Calls: l.size}
		}
		return nil, err
	}
	if err := g.take(ctx, g.all); err != nil {
		l.release()
		g.part(key, l)
		if err == errHung {
			return nil, ErrExhausted
		}
		return nil, err
	}
	return l, nil
}

// join finds the key's lane, or makes it.
func (g *Group[K]) join(key K) *lane {
	l := g.lanes[key]
	if l == nil {
		l = &lane{size: g.limits.PerKey}
		g.lanes[key] = l
	}
	l.users++
	return l
}

// part undoes join.
func (g *Group[K]) part(key K, l *lane) {
	if l.users--; l.users == 0 {
		delete(g.lanes, key)
	}
}

// take waits for a place in the lane for as long as something in it moves. The mutex is let go of
// meanwhile.
func (g *Group[K]) take(ctx context.Context, l *lane) error {
	if l.running < l.size {
		l.running++
		l.moved = time.Now()
		return nil
	}
	ticket := make(chan struct{})
	l.queue = append(l.queue, ticket)
	for {
		patience := g.limits.Patience - time.Since(l.moved)
		if patience <= 0 {
			return l.give(ticket, errHung)
		}
		g.mu.Unlock()
		expired := wait(ctx, ticket, patience)
		g.mu.Lock()
		if !slices.Contains(l.queue, ticket) {
			return nil
		}
		if !expired {
			return l.give(ticket, ctx.Err())
		}
	}
}

// give takes a ticket that got no place out of the queue.
func (l *lane) give(ticket chan struct{}, err error) error {
	l.queue = slices.DeleteFunc(l.queue, func(c chan struct{}) bool { return c == ticket })
	return err
}

// wait ends with the ticket, the context or the time; it tells whether it was the time.
func wait(ctx context.Context, ticket chan struct{}, d time.Duration) (expired bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ticket:
		return false
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// release hands a place over to the first in the queue, or leaves it free.
func (l *lane) release() {
	l.moved = time.Now()
	if len(l.queue) == 0 {
		l.running--
		return
	}
	close(l.queue[0])
	l.queue = l.queue[1:]
}

// leave gives up the places of a call that has ended, and tells whether its caller had gone before.
func (g *Group[K]) leave(key K, l *lane, c *state) (abandoned bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c.ended = true
	if c.abandoned {
		l.blocked--
		g.blocked--
	}
	g.all.release()
	l.release()
	g.part(key, l)
	return c.abandoned
}

// abandon notes that nobody waits for a call any more; false where it has ended meanwhile.
func (g *Group[K]) abandon(l *lane, c *state) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.ended {
		return false
	}
	c.abandoned = true
	l.blocked++
	g.blocked++
	return true
}
