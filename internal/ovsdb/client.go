package ovsdb

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"
)

// idleTime is how long a connection is kept that nobody uses.
const idleTime = 15 * time.Second

// Client asks one server. It is safe for concurrent use.
type Client struct {
	socket string
	dialed chan struct{} // holds a token while somebody connects

	mu     sync.Mutex
	conn   *conn       // nil: none
	spent  []*conn     // of no use any more, but with changes that the server may still carry out
	timer  *time.Timer // gives up a connection that nobody uses; nil before the first
	closed bool
}

// New makes a client of the server behind a Unix socket, to which it connects when it is first asked something.
func New(socket string) *Client { return &Client{socket: socket, dialed: make(chan struct{}, 1)} }

// Socket is the path of the server's socket.
func (c *Client) Socket() string { return c.socket }

// Close gives up the connection. Calls under way fail.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.conn != nil {
		c.conn.end(ErrClosed)
	}
	for _, conn := range c.spent {
		conn.end(ErrClosed)
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	return nil
}

// Transact has the server carry out operations on a database, all or none of them, and returns a result for each.
// It waits until the context ends and no longer. The error is an *Unavailable, an *Error, or of the chain of
// ErrProtocol.
func (c *Client) Transact(ctx context.Context, database string, ops ...Operation) ([]Result, error) {
	params := make([]any, 0, 1+len(ops))
	params = append(params, database)
	reads := true
	for _, o := range ops {
		params = append(params, o)
		reads = reads && o.reads
	}
	raw, err := c.call(ctx, "transact", params, reads)
	if err != nil {
		return nil, err
	}
	return resultsOf(ops, raw)
}

// Databases are the names of the server's databases.
func (c *Client) Databases(ctx context.Context) ([]string, error) {
	raw, err := c.call(ctx, "list_dbs", []any{}, true)
	if err != nil {
		return nil, err
	}
	var names []string
	return names, unmarshal(raw, &names)
}

// call makes a request. Where the connection was lost over it, it is made again, once, on another: unless it changes
// something and was sent, so that it may have been carried out.
func (c *Client) call(ctx context.Context, method string, params any, reads bool) (json.RawMessage, error) {
	m, sent, known, err := c.once(ctx, method, params, reads)
	if err != nil && ctx.Err() == nil && lost(err) && (reads || !sent) {
		m, sent, known, err = c.once(ctx, method, params, reads)
	}
	if err != nil {
		return nil, &Unavailable{Socket: c.socket, Sent: sent, Known: known, Err: err}
	}
	if refused, ok := m.failure(); ok {
		return nil, refused
	}
	return m.Result, nil
}

// lost tells whether an error is that of a connection that the other side has closed.
func lost(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

func (c *Client) once(ctx context.Context, method string, params any, reads bool) (m message, sent bool, known <-chan struct{}, err error) {
	conn, err := c.get(ctx)
	if err != nil {
		return m, false, nil, err
	}
	defer c.touch()
	return conn.call(ctx, method, params, reads)
}

// get returns the connection, a new one where there is none.
func (c *Client) get(ctx context.Context) (*conn, error) {
	select {
	case c.dialed <- struct{}{}:
		defer func() { <-c.dialed }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if conn, err := c.current(); conn != nil || err != nil {
		return conn, err
	}
	socket, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		socket.Close()
		return nil, ErrClosed
	}
	c.retain()
	c.conn = newConn(socket, maxMessage, nil)
	return c.conn, nil
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	socket, err := (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return socket, err
}

// retain keeps the connection before, where it is not over, and lets go of those that are. c.mu is held.
func (c *Client) retain() {
	if c.conn != nil {
		c.spent = append(c.spent, c.conn)
	}
	c.spent = slices.DeleteFunc(c.spent, func(conn *conn) bool {
		select {
		case <-conn.over:
			return true
		default:
			return false
		}
	})
}

func (c *Client) current() (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, ErrClosed
	case c.conn != nil && c.conn.alive():
		return c.conn, nil
	}
	return nil, nil
}

// touch has the connection given up some time from now, unless it is used again.
func (c *Client) touch() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer == nil {
		c.timer = time.AfterFunc(idleTime, c.rest)
	} else if !c.closed {
		c.timer.Reset(idleTime)
	}
}

// rest gives up the connection where nobody uses it.
func (c *Client) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.conn == nil || c.closed:
	case c.conn.idle():
		c.conn.end(io.EOF)
		c.conn = nil
	default: // such as a change that the server hangs over
		c.timer.Reset(idleTime)
	}
}
