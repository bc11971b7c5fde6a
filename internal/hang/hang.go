// Package hang runs system calls that may never return: statfs(2) on a file server that is gone, a
// read from a disk that does not answer. No signal and no deadline ends such a call; all that can be
// done is to stop waiting, and not to pile up more of them.
//
// A Group lets few calls be under way for one key (a filesystem, a device) and few in all. A caller
// stops waiting when its context ends; the call goes on, on its own, and counts until it returns. A
// key on which as many calls as may be make no progress answers *BusyError at once.
//
// The package is for calls into the kernel. It does not end work in user space: that should look at
// its context.
package hang

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// ErrExhausted is the answer where as many calls as the group allows hang already, whatever their keys.
var ErrExhausted = errors.New("too many system calls hang")

// BusyError is the answer where calls with the same key hang already.
type BusyError struct {
	Calls int // how many
}

// Error says what so many calls wait on.
// Error says how many wait, and not on what: the caller knows.
func (e *BusyError) Error() string {
	return fmt.Sprintf("%d calls wait on it already", e.Calls)
}

// Limits says how much a Group bears.
type Limits struct {
	PerKey int // calls under way with one key
	Total  int // calls under way in all, each of which may hold a thread
	// Patience is how long a key (or the group) that is full may go without one of its calls ending
	// before it counts as hung. Until then further callers queue, so that a burst of calls on
	// something healthy is not turned away.
	Patience time.Duration
}

// DefaultLimits are those of the daemon: four calls a filesystem or device, 64 in all.
func DefaultLimits() Limits {
	return Limits{PerKey: 4, Total: 64, Patience: 100 * time.Millisecond}
}

// Group bounds calls by key. Its methods and Do may be called from several goroutines at once.
type Group[K comparable] struct {
	limits Limits

	mu      sync.Mutex // guards what follows and the fields of every lane and call
	all     *lane
	lanes   map[K]*lane // those that calls are under way or queue on
	blocked int
}

// New makes a group. Each limit must be positive.
func New[K comparable](limits Limits) *Group[K] {
	if limits.PerKey < 1 || limits.Total < 1 || limits.Patience <= 0 {
		panic(fmt.Sprintf("hang: limits %+v: each must be positive", limits))
	}
	return &Group[K]{limits: limits, all: &lane{size: limits.Total}, lanes: make(map[K]*lane)}
}

// Blocked is how many calls go on although nobody waits for them any more.
func (g *Group[K]) Blocked() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.blocked
}

// Stuck is Blocked for one key. Where it is not 0, a further call would most likely hang too.
func (g *Group[K]) Stuck(key K) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.lanes[key]; l != nil {
		return l.blocked
	}
	return 0
}

// Do runs f on a goroutine of its own and returns what it returns. Errors besides f's: *BusyError,
// ErrExhausted, and ctx.Err() where ctx ends first; then f goes on and what it returns is dropped, so
// f must not hand out what has to be closed. A panic of f becomes one of the caller, if that still
// waits.
func Do[K comparable, T any](ctx context.Context, g *Group[K], key K, f func() (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	l, err := g.enter(ctx, key)
	if err != nil {
		return none, err
	}
	c := &call[T]{done: make(chan struct{})}
	go func() {
		c.run(f)
		if abandoned := g.leave(key, l, &c.state); abandoned {
			endThread()
		}
		close(c.done)
	}()
	select {
	case <-c.done:
	case <-ctx.Done():
		if g.abandon(l, &c.state) {
			return none, ctx.Err()
		}
	}
	return c.result()
}

// call is one run of a caller's function.
type call[T any] struct {
	state
	done  chan struct{} // closed behind everything else
	value T
	err   error
	panic *panicked
}

// state says who is through with a call; the group's mutex guards it.
type state struct{ ended, abandoned bool }

// panicked carries a panic from the call's goroutine to its caller.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) String() string { return fmt.Sprintf("%v\n\n%s", p.value, p.stack) }

func (c *call[T]) run(f func() (T, error)) {
	defer func() {
		if v := recover(); v != nil {
			c.panic = &panicked{v, debug.Stack()}
		}
	}()
	c.value, c.err = f()
}

// result waits for the call, which has ended or is about to.
func (c *call[T]) result() (T, error) {
	<-c.done
	if c.panic != nil {
		panic(c.panic)
	}
	return c.value, c.err
}

// endThread has a thread of this process end together with a goroutine. The Go runtime starts a thread
// for each call that blocks for long and keeps it for ever after; this is how it becomes one less again.
// It is the thread that runs the calling goroutine, which must end next, or another where that is the
// process' first thread: that one cannot go.
func endThread() {
	runtime.LockOSThread() // a goroutine that ends so takes its thread along
	if unix.Gettid() != os.Getpid() {
		return
	}
	ended := make(chan struct{})
	go func() { // on another thread, since ours is locked to us
		defer close(ended)
		runtime.LockOSThread()
	}()
	<-ended
	runtime.UnlockOSThread()
}
