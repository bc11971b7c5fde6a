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

// conn is one connection. A goroutine reads from it until it ends.
type conn struct {
	socket net.Conn
	turn   chan struct{} // holds a token while somebody sends
	ended  chan struct{} // closed when it has ended

	mu      sync.Mutex
	last    uint64                  // id of the last request
	waiting map[uint64]chan message // by the id of the request
	cause   error                   // why it has ended
}

func newConn(socket net.Conn) *conn {
	c := &conn{socket: socket, turn: make(chan struct{}, 1), ended: make(chan struct{}), waiting: map[uint64]chan message{}}
	go c.receive()
	return c
}

// end closes the connection; whoever waits for an answer is told why.
func (c *conn) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause != nil {
		return
	}
	c.cause = cause
	c.socket.Close()
	close(c.ended)
}

func (c *conn) alive() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// idle tells whether nobody waits for an answer.
func (c *conn) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting) == 0
}

// receive takes what the server sends.
func (c *conn) receive() {
	f := newFramer(c.socket)
	for {
		raw, err := f.message()
		if err == nil {
			err = c.handle(raw)
		}
		if err != nil {
			c.end(err)
			return
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
	if answer := c.waiting[id]; ok && answer != nil {
		delete(c.waiting, id)
		answer <- m // it has room
	}
	return nil // else nobody waits for it any longer
}

// serve answers a request of the server: an echo by what it asks, others by a refusal. Notifications need none.
func (c *conn) serve(m *message) error {
	if len(m.ID) == 0 || string(m.ID) == "null" {
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

// send sends a message, in turn. Where only a part of it went out, the connection is of no use any more.
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
		c.end(io.ErrClosedPipe)
		if ctx.Err() != nil {
			err = ctx.Err()
		}
	}
	return n > 0, err
}

// call sends a request and waits for the answer.
func (c *conn) call(ctx context.Context, method string, params any) (m message, sent bool, err error) {
	answer := make(chan message, 1)
	c.mu.Lock()
	c.last++
	id := c.last
	c.waiting[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, id)
	}()
	if sent, err = c.send(ctx, map[string]any{"id": id, "method": method, "params": params}); err != nil {
		return m, sent, err
	}
	select {
	case m = <-answer:
		return m, true, nil
	case <-c.ended:
		return m, true, c.cause
	case <-ctx.Done():
		c.withdraw(id)
		return m, true, ctx.Err()
	}
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
