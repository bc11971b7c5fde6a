package proxy

import (
	"sync"
	"time"
)

const (
	keptConns = 64               // wait for the next call, at most
	connRest  = 30 * time.Second // between two looks for connections that nobody has used
)

// pool keeps connections for the next calls, the one first that was used last. Those that nobody needs any more
// are closed, so that an idle server has none and sets no timer.
type pool struct {
	mu     sync.Mutex
	idle   []*conn
	busy   int
	spare  int         // how many of idle have not been used since the last look
	looks  *time.Timer // set while there are any
	closed bool
}

// take returns a kept connection that is still good, or nil.
func (p *pool) take() *conn {
	for {
		c := p.pop()
		if c == nil || c.usable() {
			return c
		}
		p.drop(c)
	}
}

func (p *pool) pop() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	c := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	p.spare = min(p.spare, n-1)
	p.busy++
	return c
}

// add counts a new connection, which its maker uses.
func (p *pool) add() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy++
}

// drop ends a connection that is used.
func (p *pool) drop(c *conn) {
	_ = c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy--
}

// keep takes a connection back for the next call.
func (p *pool) keep(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy--
	if p.closed || len(p.idle) >= keptConns {
		_ = c.Close()
		return
	}
	p.idle = append(p.idle, c)
	if p.looks == nil {
		p.looks = time.AfterFunc(connRest, p.look)
	}
}

// look closes the connections that nobody has used since the last time.
func (p *pool) look() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dismiss(p.spare)
	p.spare = len(p.idle)
	p.rest()
	if p.spare > 0 {
		p.looks = time.AfterFunc(connRest, p.look)
	}
}

// dismiss closes the n connections that have waited longest. p.mu is held.
func (p *pool) dismiss(n int) {
	for _, c := range p.idle[:n] {
		_ = c.Close()
	}
	kept := copy(p.idle, p.idle[n:])
	clear(p.idle[kept:])
	p.idle = p.idle[:kept]
}

// rest sets no further look. p.mu is held.
func (p *pool) rest() {
	if p.looks != nil {
		p.looks.Stop()
		p.looks = nil
	}
}

// close ends all connections that are kept, and those in use when they come back.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.dismiss(len(p.idle))
	p.spare = 0
	p.rest()
}

// alone tells whether no more than one connection is in use.
func (p *pool) alone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy <= 1
}

// count is how many connections are in use and how many wait.
func (p *pool) count() (busy, idle int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy, len(p.idle)
}
