package volops

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// itemTime is how long a list waits for one device or filesystem that may hang. Up to so many as are
	// asked at a time are waited for together, and from the first that hangs on each of the others
	// gets leastTime only, so that a list is late by a second or so whatever hangs.
	itemTime  = 750 * time.Millisecond
	leastTime = 100 * time.Millisecond
)

// allowance is the time that one list has for what may hang. It is the waits that end in vain that use
// it up, not the length of the list.
type allowance struct {
	call context.Context
	late *atomic.Bool // something hung
}

// newAllowance starts afresh. The call's own deadline stays in force.
func newAllowance(call context.Context) (allowance, context.CancelFunc) {
	call, cancel := context.WithCancel(call)
	return allowance{call, new(atomic.Bool)}, cancel
}

// next is the context for the next thing that may hang. It is to be cancelled when that has ended, or
// is no longer waited for.
func (a allowance) next() (context.Context, context.CancelFunc) {
	d := itemTime
	if a.late.Load() {
		d = leastTime
	}
	ctx, cancel := context.WithTimeout(a.call, d)
	return ctx, func() {
		if ctx.Err() != nil {
			a.late.Store(true)
		}
		cancel()
	}
}

// errEnough ends a list that has reached its limit.
var errEnough = errors.New("limit reached")

// inOrder makes n rows and hands them to send one by one in their order. What now has at once is sent
// at once; for the others later is run, up to width of them at a time, so that a list waits for all that
// is slow together, and holds width rows at most. The first error of send ends it, once what is
// under way has ended. A panic of later becomes one of the caller.
func inOrder[T any](n, width int, now func(i int) (T, bool), later func(i int) T, send func(i int, row T) error) error {
	w := window[T]{send: send, pending: make([]<-chan made[T], 0, width)}
	var underWay sync.WaitGroup
	defer underWay.Wait() // they use what the caller is about to close
	for i := range n {
		if err := w.drain(width - 1); err != nil {
			return err
		}
		row, ok := now(i)
		if ok && len(w.pending) == 0 {
			if err := w.deliver(row); err != nil {
				return err
			}
			continue
		}
		c := make(chan made[T], 1)
		if ok {
			c <- made[T]{row: row}
		} else {
			underWay.Go(func() { run(c, i, later) })
		}
		w.pending = append(w.pending, c)
	}
	return w.drain(0)
}

// window holds the rows that are on their way, oldest first.
type window[T any] struct {
	send    func(i int, row T) error
	sent    int
	pending []<-chan made[T]
}

// made is how the work for one row ended.
type made[T any] struct {
	row      T
	panicked string // what it panicked with, and where
}

// drain sends the rows that are ready, and waits for the oldest until no more than most are pending.
func (w *window[T]) drain(most int) error {
	for len(w.pending) > 0 {
		var m made[T]
		select {
		case m = <-w.pending[0]:
		default:
			if len(w.pending) <= most {
				return nil
			}
			m = <-w.pending[0]
		}
		w.pending = append(w.pending[:0], w.pending[1:]...)
		if m.panicked != "" {
			panic(m.panicked)
		}
		if err := w.deliver(m.row); err != nil {
			return err
		}
	}
	return nil
}

func (w *window[T]) deliver(row T) error {
	w.sent++
	return w.send(w.sent-1, row)
}

func run[T any](c chan<- made[T], i int, later func(i int) T) {
	var m made[T]
	defer func() {
		if v := recover(); v != nil {
			m.panicked = fmt.Sprintf("%v\n\n%s", v, debug.Stack())
		}
		c <- m
	}()
	m.row = later(i)
}
