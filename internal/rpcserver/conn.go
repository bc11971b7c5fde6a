package rpcserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/identity"
	"github.com/geomind/my_os_server/internal/tlssock"
)

// conn is one connection: who is at its other end, what that one may do, and how long it may take over
// an answer.
type conn struct {
	net.Conn
	s     *Server
	peer  identity.Peer
	share *share
	tls   bool
	plain plainCaller
	leave sync.Once
	gave  atomic.Bool // the connection has been given back

	readBy readDeadline
	out    immediateWriter
	gather bool   // a large piece of an answer is on its way through net/http
	held   []byte // the beginning of it

	// cutoff is when the answer that is being written must be with the client, to its last byte; zero
	// is no such instant. It belongs to the goroutine that serves the connection, which lends it to a
	// worker together with the right to write.
	cutoff time.Time

	direct
}

type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

func connFrom(ctx context.Context) *conn { return ctx.Value(connKey{}).(*conn) }

// listener accepts connections for the server, and only as many as one caller may have.
type listener struct {
	net.Listener
	s *Server
}

// Accept waits for the next connection that is let in. One that is not is closed without a word: to
// answer it would cost what the limit is there to save.
func (l *listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.s.admit(raw); c != nil {
			return c, nil
		}
		raw.Close()
	}
}

// admit finds out who is at the other end and takes a connection of that one's share; nil is no.
func (s *Server) admit(raw net.Conn) *conn {
	peer, err := identity.PeerOf(raw)
	if err != nil {
		s.log.Debug().Err(err).Msg("connection refused: its peer is unknown")
		return nil
	}
	share, limit := s.ledger.enter(&peer, tlssock.AddrOf(raw))
	if limit != nil {
		s.metrics.refusedConns.Inc()
		s.log.Debug().Stringer("peer", peerName(peer)).Err(limit).Msg("connection refused")
		return nil
	}
	c := &conn{Conn: raw, s: s, peer: peer, share: share}
	_, c.tls = raw.(*tls.Conn)
	c.direct.wire.c = c
	c.out.open(raw)
	return c
}

// errorTime is what a client gets, at least, to take an answer that says that time is up.
const errorTime = time.Second

// allow moves the cutoff on where there is less than d left.
func (c *conn) allow(d time.Duration) {
	if soon := time.Now().Add(d); c.cutoff.Before(soon) {
		c.cutoff = soon
	}
}

// read reads what the client sends.
func (c *conn) read(p []byte) (int, error) {
	if err := c.readBy.ready(c.Conn); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// SetReadDeadline sets when Read gives up.
func (c *conn) SetReadDeadline(t time.Time) error { return c.readBy.note(c.Conn, t) }

// SetWriteDeadline does nothing: Write sets what it needs. net/http calls it after each answer.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// Close closes the connection, once it is no longer being served, and gives it back to its caller's share.
func (c *conn) Close() error {
	c.leave.Do(func() {
		c.gave.Store(true)
		c.s.ledger.leave(c.share)
	})
	return c.closeSoon()
}

// CloseWrite ends our direction only. net/http uses it, where a connection has it, to let a client that
// is still sending read the answer before the connection is gone.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// Write sends p. It ends early when the client takes nothing for a while or the cutoff has come. What
// net/http refuses by itself, before a handler is asked, goes out without the text it puts behind it.
func (c *conn) Write(p []byte) (int, error) {
	if status := refusal(p); status != 0 {
		c.countRefusal(status)
		if _, err := c.push(bareAnswer(status), time.Time{}); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	if c.gather && len(c.held) == 0 && len(p) <= httpBuffer {
		c.held = append(c.held, p...)
		return len(p), nil
	}
	return c.putHeld(p)
}

// httpBuffer is the size of the buffer of net/http's connections, which is written first wherever something
// stands in it, as the length of a chunk does.
const httpBuffer = 4 << 10

// sendThrough has net/http write a piece of an answer to the connection. What it would write as a small part
// and then a large one goes out in one piece: a client is woken up once, not twice.
func (c *conn) sendThrough(w io.Writer, p []byte) (int, error) {
	c.gather = c.out.socket != nil && len(p) > httpBuffer
	n, err := w.Write(p)
	c.gather = false
	if len(c.held) > 0 {
		_, late := c.putHeld(nil)
		err = cmp.Or(err, late)
	}
	return n, err
}

// putHeld writes what is held and then p, and returns how much of p it wrote.
func (c *conn) putHeld(p []byte) (int, error) {
	held := c.held
	c.held = c.held[:0]
	return c.put(held, p)
}

// put writes first and then p, and returns how much of p it wrote.
func (c *conn) put(first, p []byte) (int, error) {
	n, err := c.out.write(first, p)
	if n < len(first) && err == nil {
		_, err = c.push(first[n:], c.cutoff)
		n = len(first)
	}
	n = max(n-len(first), 0)
	if err != nil || n == len(p) {
		return n, err
	}
	rest, err := c.push(p[n:], c.cutoff)
	return n + rest, err
}

// stallSteps is in how many steps the time is counted in which a client takes nothing.
const stallSteps = 4

// push writes p.
func (c *conn) push(p []byte, cutoff time.Time) (n int, err error) {
	err = c.persist(cutoff, func() (int, error) {
		m, err := c.Conn.Write(p[n:])
		n += m
		return m, err
	})
	return n, err
}

// persist has write write all that there is. It gives up at the cutoff, and where the client has taken nothing for
// as long as it may, and a step longer. A write is tried again at each step because a Unix socket does not call
// itself writable before three quarters of what is queued are taken (unix_writable in net/unix/af_unix.c), but
// takes more as soon as one buffer of it is.
func (c *conn) persist(cutoff time.Time, write func() (int, error)) (err error) {
	defer func() { err = cmp.Or(err, c.Conn.SetWriteDeadline(time.Time{})) }()
	for still := 0; still <= stallSteps; still++ {
		deadline := time.Now().Add(c.stallStep())
		last := !cutoff.IsZero() && !deadline.Before(cutoff)
		if last {
			deadline = cutoff
		}
		if err := c.Conn.SetWriteDeadline(deadline); err != nil {
			return err
		}
		var n int
		n, err = write()
		if err == nil || last || c.tls || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if n > 0 {
			still = 0
		}
	}
	return err
}

// stallStep is how long to wait before a write is tried again. On a TLS connection there is no second try:
// it cannot go on after a timeout.
func (c *conn) stallStep() time.Duration {
	if c.tls {
		return c.s.deadlines.Stall
	}
	return c.s.deadlines.Stall / stallSteps
}

// gone tells whether the client has closed the connection altogether. End of file alone does not say
// so: a client may close its sending direction (socat does) and wait for the answer. On a Unix socket the
// kernel tells the two apart; on TCP it cannot, and end of file has to be taken for the end.
func (c *conn) gone() bool {
	if _, ok := c.Conn.(*net.UnixConn); !ok {
		return true
	}
	gone := true
	err := c.out.socket.Control(func(fd uintptr) {
		state := []unix.PollFd{{Fd: int32(fd)}} // POLLHUP and POLLERR need not be asked for
		_, err := unix.Poll(state, 0)
		gone = err == nil && state[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	})
	return err != nil || gone
}
