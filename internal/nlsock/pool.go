package nlsock

import (
	"slices"
	"sync"
	"time"
)

// maxIdle sockets are kept. A kept socket saves the 50 µs that opening and configuring one takes, which is
// more than a small request needs; each holds a receive buffer of 64 KiB, so more than a burst of small
// calls has under way at a time would be memory for nothing.
const maxIdle = 16

// idleTime is for how long a socket is kept that nobody takes. What a burst of calls opened does not
// stay for good, and a daemon that nobody calls holds no socket and has no timer.
const idleTime = 10 * time.Second

// Socket is what a [Pool] keeps: a [Conn], or a family's type around one.
type Socket interface {
	Reusable() bool
	Close() error
}

// Pool keeps idle sockets. It is safe for concurrent use; a socket that it hands out belongs to the
// taker until it is put back.
type Pool[S Socket] struct {
	dial func() (S, error)

	mu     sync.Mutex
	idle   []kept[S] // the one that was put back last is the last
	timer  *time.Timer
	closed bool
}

// kept is an idle socket.
type kept[S Socket] struct {
	socket S
	since  time.Time
}

// NewPool makes a pool whose sockets are opened by dial.
func NewPool[S Socket](dial func() (S, error)) *Pool[S] { return &Pool[S]{dial: dial} }

// Get returns an idle socket, or a new one.
func (p *Pool[S]) Get() (S, error) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		s := p.idle[n-1].socket
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return s, nil
	}
	p.mu.Unlock()
	return p.dial()
}

// Put takes a socket back. One that cannot carry another request, or is one too many, is closed.
func (p *Pool[S]) Put(s S) {
	p.mu.Lock()
	keep := s.Reusable() && len(p.idle) < maxIdle && !p.closed
	if keep {
		p.idle = append(p.idle, kept[S]{s, time.Now()})
		p.arm()
	}
	p.mu.Unlock()
	if !keep {
		_ = s.Close()
	}
}

// arm has the idle sockets looked at in a while, unless that is under way already. p.mu is held.
func (p *Pool[S]) arm() {
	if p.timer == nil {
		p.timer = time.AfterFunc(idleTime, p.expire)
	}
}

// expire closes the sockets that nobody has taken for idleTime.
func (p *Pool[S]) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = nil
	old := 0
	for old < len(p.idle) && time.Since(p.idle[old].since) >= idleTime {
		_ = p.idle[old].socket.Close()
		old++
	}
	p.idle = slices.Delete(p.idle, 0, old)
	if len(p.idle) > 0 {
		p.arm()
	}
}

// Close closes the idle sockets; those that are out are closed when they are put back.
func (p *Pool[S]) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, k := range p.idle {
		_ = k.socket.Close()
	}
	p.idle = nil
	if p.timer != nil {
		p.timer.Stop()
	}
}
