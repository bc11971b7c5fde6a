package state

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Object names a thing that writes take turns on, as in link/br0. Whoever changes or removes it locks it
// exclusively; whoever only needs it to stay as it is, as a tap needs its bridge, locks it shared.
type Object struct {
	Name   string
	shared bool
}

// Exclusive is the object for one call alone.
func Exclusive(name string) Object { return Object{Name: name} }

// Shared is the object together with other calls that share it.
func Shared(name string) Object { return Object{Name: name, shared: true} }

// Clashes tells whether two calls cannot hold the two objects at a time.
func (o Object) Clashes(other Object) bool {
	return o.Name == other.Name && !(o.shared && other.shared)
}

// Lock waits until all the objects are free, in the order in which calls came, and returns what gives them
// back; call it once. Calls on different objects do not wait for each other. All objects of a call must be
// asked for at once: they are taken in the order of their names, so that no two calls wait for each other in
// a circle. An object that is named twice is exclusive if one of its names is. The error is ctx's.
func (s *Store) Lock(ctx context.Context, objects ...Object) (unlock func(), err error) {
	objects = slices.Clone(objects)
	slices.SortFunc(objects, func(a, b Object) int { // the exclusive one first
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return exclusivity(a) - exclusivity(b)
	})
	objects = slices.CompactFunc(objects, func(a, b Object) bool { return a.Name == b.Name })
	for i, o := range objects {
		if err := s.locks.take(ctx, o); err != nil {
			s.locks.release(objects[:i])
			return nil, fmt.Errorf("wait for %s: %w", o.Name, err)
		}
	}
	return func() { s.locks.release(objects) }, nil
}

func exclusivity(o Object) int {
	if o.shared {
		return 1
	}
	return 0
}

// locks are the objects that someone holds or waits for.
type locks struct {
	mu   sync.Mutex
	held map[string]*lock
}

// lock is one object. Waiters are served in the order in which they came, so that no stream of sharers
// keeps an exclusive one out.
type lock struct {
	holders   int
	exclusive bool // held so; there is one holder then
	queue     []*waiter
}

type waiter struct {
	shared  bool
	granted chan struct{} // closed once it is its turn
}

func (l *locks) take(ctx context.Context, o Object) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := l.join(o)
	select {
	case <-w.granted:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.held[o.Name]
	select {
	case <-w.granted: // at the same moment
		l.leave(o.Name, k)
	default:
		k.queue = slices.DeleteFunc(k.queue, func(other *waiter) bool { return other == w })
		l.serve(o.Name, k)
	}
	return ctx.Err()
}

func (l *locks) join(o Object) *waiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		l.held = map[string]*lock{}
	}
	k := l.held[o.Name]
	if k == nil {
		k = &lock{}
		l.held[o.Name] = k
	}
	w := &waiter{shared: o.shared, granted: make(chan struct{})}
	k.queue = append(k.queue, w)
	l.serve(o.Name, k)
	return w
}

// serve lets in whose turn it is, and drops a lock that nobody wants.
func (l *locks) serve(name string, k *lock) {
	for len(k.queue) > 0 {
		next := k.queue[0]
		if k.holders > 0 && (k.exclusive || !next.shared) {
			return
		}
		k.holders, k.exclusive = k.holders+1, !next.shared
		k.queue = k.queue[1:]
		close(next.granted)
	}
	if k.holders == 0 {
		delete(l.held, name)
	}
}

func (l *locks) leave(name string, k *lock) {
	k.holders--
	l.serve(name, k)
}

func (l *locks) release(objects []Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range objects {
		l.leave(o.Name, l.held[o.Name])
	}
}
