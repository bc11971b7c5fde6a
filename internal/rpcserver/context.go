package rpcserver

import (
	"context"
	"sync"
	"time"

	"github.com/geomind/my_os_server/pkg/registry"
)

// callContext is what a handler runs under. A read ends with its deadline, with its client and with the server;
// a write with its deadline, and where the server will not wait for it any longer. Timers and whatever
// watches the client are set up by the first who waits for the end, which for a call that is answered at once is
// nobody.
type callContext struct {
	parent   context.Context // ends with the server
	deadline time.Time
	wire     wire // its client is watched; nil: nobody is

	mu     sync.Mutex
	armed  context.Context // nil: nobody has asked for Done
	cancel context.CancelFunc
	unseen func() // watches the client no longer
	over   bool   // the call is
}

// context makes the context of a call, and what ends it.
func (x *exchange) context(m *registry.Method, rec *record) (context.Context, func()) {
	c := &callContext{parent: x.s.writes, deadline: rec.deadline}
	if m.Effect == registry.EffectRead {
		c.parent, c.wire = x.s.reads, x.wire
	}
	return registry.WithCaller(c, rec.caller), c.end
}

// Deadline is the call's.
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Done arms the context.
func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.armed == nil {
		c.armed, c.cancel = context.WithDeadline(c.parent, c.deadline)
		switch {
		case c.over:
			c.cancel()
		case c.wire != nil:
			c.unseen = c.wire.watch(c.cancel)
		}
	}
	return c.armed.Done()
}

// Err says why the context has ended.
func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.armed != nil:
		return c.armed.Err()
	case c.over:
		return context.Canceled
	case !time.Now().Before(c.deadline):
		return context.DeadlineExceeded
	}
	return c.parent.Err()
}

// Value finds, for package context, what Done belongs to, so that it needs no goroutine for a context made of
// this one.
func (c *callContext) Value(key any) any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.armed == nil {
		return nil
	}
	return c.armed.Value(key)
}

// end ends the context with its call.
func (c *callContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.armed == nil {
		return
	}
	if c.unseen != nil {
		c.unseen()
	}
	c.cancel()
}
