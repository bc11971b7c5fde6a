package nlsock

import "sync"

// maxIdle sockets are kept. A kept socket saves the 50 µs that opening and configuring one takes; each
// holds a receive buffer of 64 KiB, so more than a few would be memory for nothing.
const maxIdle = 4

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
	idle   []S
	closed bool
}

// NewPool makes a pool whose sockets are opened by dial.
func NewPool[S Socket](dial func() (S, error)) *Pool[S] { return &Pool[S]{dial: dial} }

// Get returns an idle socket, or a new one.
func (p *Pool[S]) Get() (S, error) {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		s := p.idle[n-1]
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
		p.idle = append(p.idle, s)
	}
	p.mu.Unlock()
	if !keep {
		_ = s.Close()
	}
}

// Close closes the idle sockets; those that are out are closed when they are put back.
func (p *Pool[S]) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, s := range p.idle {
		_ = s.Close()
	}
	p.idle = nil
}
