package rpcserver

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// What follows answers usual requests where they come in: while net/http waits for the next request of a connection.
// Nothing but the framing differs from the way over net/http. To that belongs for each request a goroutine that
// reads on while it is served, so as to see the client go; it is started and stopped on other threads, which for a
// small call is as much as all else. Here the client is watched only where somebody asks whether it is still
// there, which no call does that is answered at once.
//
// The first request of a connection is net/http's, as is whatever is not usual: then what has been read goes where
// it would have gone. A connection counts as idle with net/http while a usual request is served, so that
// http.Server.Shutdown closes it; that is put off until the answer is out.

// direct is what a connection needs for that.
type direct struct {
	between bool // net/http waits for a request, of which it has nothing
	wire    directWire
	renewed time.Time // when the connection's idle time was set anew

	ended time.Time // when the last request had been answered
	alone bool      // it came right behind the one before, and those of other connections are long ago

	mu      sync.Mutex
	serving bool
	closing bool // whoever serves closes the connection
}

// readBuffer is the size of the buffer that net/http reads requests into. One that is offered whole is empty.
const readBuffer = 4 << 10

// Read reads what the client sends, but for the usual requests, which it answers.
func (c *conn) Read(p []byte) (int, error) {
	if len(p) != readBuffer || !c.between {
		return c.read(p)
	}
	for {
		c.expectMore()
		n, err := c.read(p)
		if err != nil {
			return n, err
		}
		r, ok := readUsual(p[:n], c.s.alias != (Alias{}))
		if !ok || !c.enter() {
			c.between = false
			return n, nil
		}
		if err := c.serve(&r); err != nil {
			return 0, err
		}
	}
}

const (
	patience = time.Millisecond     // is how long expectMore waits
	solitude = 5 * time.Millisecond // without a call of any other connection make one that is alone
)

// expectMore waits a moment for the next request in the kernel where one is to be expected at once, as from a
// client that makes one call after the other. To wait the runtime's way costs several system calls and wakes other
// threads up. It keeps a thread, and so is for when nobody else has calls.
func (c *conn) expectMore() {
	if c.alone {
		_ = c.out.socket.Control(func(fd uintptr) {
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience.Milliseconds()))
		})
	}
}

// serve answers a request. With an error the connection must end.
func (c *conn) serve(r *usual) (err error) {
	s, now := c.s, time.Now()
	c.alone = s.latest.by(c, now) > solitude && now.Sub(c.ended) < patience
	c.cutoff = now.Add(s.deadlines.Read)
	x := s.borrow()
	defer func() {
		c.direct.wire.closePipe()
		s.giveBack(x)
		if c.leaveServing() && err == nil {
			err = net.ErrClosed
		}
	}()
	x.c, x.wire, x.path, x.start = c, &c.direct.wire, r.path, now
	x.headers = headers{deadline: r.deadline, caller: string(r.caller)}
	x.body = append(x.body[:0], r.body...)
	x.answer()
	if x.broken == nil {
		x.broken = c.direct.wire.end()
	}
	c.ended = time.Now()
	c.renew()
	if x.broken != nil || c.direct.wire.last {
		return net.ErrClosed
	}
	return nil
}

// latest is whose the latest usual request was.
type latest struct {
	conn  atomic.Pointer[conn]
	since atomic.Int64 // when the first of its requests came since those of others, in Unix nanoseconds
}

// by notes a request of c, and tells for how long there have been none of others.
func (l *latest) by(c *conn, now time.Time) time.Duration {
	if l.conn.Load() != c {
		l.conn.Store(c)
		l.since.Store(now.UnixNano())
	}
	return time.Duration(now.UnixNano() - l.since.Load())
}

// renew gives the connection its idle time again, and a little more, so that there is not a deadline to set for
// each request.
func (c *conn) renew() {
	idle := c.s.deadlines.Idle
	if step := idle / 16; c.ended.Sub(c.renewed) > step {
		c.renewed = c.ended
		_ = c.readBy.note(c.Conn, c.ended.Add(idle+step))
	}
}

// enter begins to serve a request, unless the connection has been closed.
func (c *conn) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing {
		return false
	}
	c.serving = true
	c.s.serving.Add(1)
	return true
}

// leaveServing is the end of that. It tells whether the connection has been closed meanwhile.
func (c *conn) leaveServing() (closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serving = false
	if c.closing {
		_ = c.Conn.Close()
	}
	c.s.serving.Done()
	return c.closing
}

// closeSoon closes the connection once nothing is being served on it here.
func (c *conn) closeSoon() error {
	c.s.latest.conn.CompareAndSwap(c, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing = true; c.serving {
		return nil
	}
	return c.Conn.Close()
}
