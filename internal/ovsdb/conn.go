package ovsdb

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"sync"
	"time"
)

// echoTime bounds the sending of what nobody waits for: answers to echo requests, and withdrawals.
const echoTime = 5 * time.Second

// conn is one connection. A goroutine reads from it until the server has closed it, or it was closed here.
type conn struct {
	socket net.Conn
	notice func(*message) error // takes the server's notifications; may be nil
	turn   chan struct{}        // holds a token while somebody sends
	ended  chan struct{}        // closed when nothing can be asked any more
	over   chan struct{}        // closed when nothing comes any more either

	mu      sync.Mutex
	last    uint64             // id of the last request
	waiting map[uint64]*waiter // by the id of the request
	cause   error              // why it has ended
}

// waiter is a request without an answer.
type waiter struct {
	answer chan message  // has room for it
	known  chan struct{} // closed when there will be no other news of it; nil as long as its caller waits
}

func newConn(socket net.Conn, limit int, notice func(*message) error) *conn {
	c := &conn{
		socket: socket, notice: notice, turn: make(chan struct{}, 1),
		ended: make(chan struct{}), over: make(chan struct{}), waiting: map[uint64]*waiter{},
	}
	go c.receive(limit)
	return c
}

// end closes the connection; whoever waits for an answer is told why.
func (c *conn) end(cause error) {
	c.retire(cause)
	c.socket.Close()
}

// drain has the connection send nothing more. What was sent may still be carried out, and is answered: it is over
// when the server closes it too.
func (c *conn) drain(cause error) {
	c.retire(cause)
	if half, ok := c.socket.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		c.socket.Close()
	}
}

func (c *conn) retire(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		c.cause = cause
		close(c.ended)
	}
}

func (c *conn) alive() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// idle tells whether nothing is without an answer that may have one.
func (c *conn) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting) == 0
}

// receive takes what the server sends.
func (c *conn) receive(limit int) {
	f := newFramer(c.socket)
	f.limit = limit
	for {
		raw, err := f.message()
		if err == nil {
			err = c.handle(raw)
		}
		if err != nil {
			c.end(err)
			c.finish()
			return
		}
	}
}

// finish says of what was never answered that it never will be.
func (c *conn) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.over)
	for id, w := range c.waiting {
		if w.known != nil {
			close(w.known)
			delete(c.waiting, id)
		}
	}
}

func (c *conn) handle(raw []byte) error {
	m, err := decodeMessage(raw)
	if err != nil {
		return err
	}
	if m.Method != "" {
		return c.serve(&m)
	}
	id, ok := m.number()
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.waiting[id]; ok && w != nil {
		delete(c.waiting, id)
		w.answer <- m
		if w.known != nil {
			close(w.known)
		}
	}
	return nil // else nobody waits for it any longer
}

// serve answers a request of the server: an echo by what it asks, others by a refusal. Notifications need none.
func (c *conn) serve(m *message) error {
	if len(m.ID) == 0 || string(m.ID) == "null" {
		if c.notice != nil {
			return c.notice(m)
		}
		return nil
	}
	answer := map[string]any{"id": m.ID, "result": nil, "error": "unknown method"}
	if m.Method == "echo" && len(m.Params) > 0 {
		answer = map[string]any{"id": m.ID, "result": m.Params, "error": nil}
	}
	ctx, cancel := context.WithTimeout(context.Background(), echoTime)
	defer cancel()
	_, err := c.send(ctx, answer)
	return err
}

// send sends a message, in turn, and tells whether all of it went out. Where a part did, it is nothing that a server
// can take for a request, and the connection is of no use any more.
func (c *conn) send(ctx context.Context, m any) (sent bool, err error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return false, err
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return false, ctx.Err()
	case <-c.ended:
		return false, c.cause
	}
	deadline, _ := ctx.Deadline()
	if err := c.socket.SetWriteDeadline(deadline); err != nil {
		return false, err
	}
	n, err := c.socket.Write(raw)
	if err != nil {
		c.drain(io.ErrClosedPipe)
		if ctx.Err() != nil {
			err = ctx.Err()
		}
	}
	return n == len(raw), err
}

// call sends a request and waits for the answer. Of a change that was sent and not answered, known tells when
// nothing will become of it any more that has not: see Unavailable.
func (c *conn) call(ctx context.Context, method string, params any, reads bool) (m message, sent bool, known <-chan struct{}, err error) {
	w := &waiter{answer: make(chan message, 1)}
	c.mu.Lock()
	c.last++
	id := c.last
	c.waiting[id] = w
	c.mu.Unlock()
	if sent, err = c.send(ctx, map[string]any{"id": id, "method": method, "params": params}); err != nil {
		c.forget(id)
		return m, sent, nil, err
	}
	select {
	case m = <-w.answer:
		return m, true, nil, nil
	case <-c.ended:
		err = c.cause
	case <-ctx.Done():
		err = ctx.Err()
		c.withdraw(id)
	}
	if reads {
		c.forget(id)
		return m, true, nil, err
	}
	known = c.leave(id, w)
	select {
	case m = <-w.answer: // it came at the last moment
		return m, true, nil, nil
	default:
		return m, true, known, err
	}
}

func (c *conn) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// leave has a request go on without a caller.
func (c *conn) leave(id uint64, w *waiter) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	w.known = make(chan struct{})
	select {
	case <-c.over:
		delete(c.waiting, id)
		close(w.known)
	default:
		if c.waiting[id] == nil {
			close(w.known)
		}
	}
	return w.known
}

// withdraw tells the server that nobody waits any longer: a transaction that waits for something is given up then
// (RFC 7047, section 4.1.4). Nobody waits for that to be sent either.
func (c *conn) withdraw(id uint64) {
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), echoTime)
		defer cancel()
		_, _ = c.send(ctx, map[string]any{"id": nil, "method": "cancel", "params": []uint64{id}})
	}()
}
