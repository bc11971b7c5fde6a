package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bufferSize is what a connection reads ahead, and so the size of the largest head of an answer.
const bufferSize = 16 << 10

// conn is one connection to an upstream. One call at a time uses it.
type conn struct {
	*net.UnixConn
	path string
	used bool // an answer has come over it

	in         [bufferSize]byte
	start, end int // what of in has been read and not been taken

	raw   syscall.RawConn
	look  func(fd uintptr) // made once, since it would be made anew for each look
	alive bool
}

func newConn(c *net.UnixConn, path string) (*conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	n := &conn{UnixConn: c, path: path, raw: raw}
	n.look = func(fd uintptr) {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		n.alive = errors.Is(err, unix.EAGAIN)
	}
	return n, nil
}

// usable tells whether the other side has neither hung up nor sent what nobody asked for.
func (c *conn) usable() bool {
	c.alive = false
	err := c.raw.Control(c.look)
	return err == nil && c.alive && c.start == c.end
}

// lateness is what an upstream that has been told the deadline gets to say so itself; it knows better what of
// the call has been done. It is shorter than what the pipeline waits for.
const lateness = 20 * time.Millisecond

// endWith ends what waits on the connection when ctx is done. The function that comes back gives that up, and
// tells whether the connection can still be used.
func (c *conn) endWith(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		at := time.Now()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			at = at.Add(lateness)
		}
		_ = c.SetDeadline(at) // fails where the connection is closed
	})
}

// errCut is an upstream that hung up before its answer was whole.
var errCut = errors.New("it ended the connection in the midst of its answer")

// fill reads more into the buffer, in which there must be room. The end of the connection is errCut.
func (c *conn) fill() error {
	if c.start > 0 {
		copy(c.in[:], c.in[c.start:c.end])
		c.end -= c.start
		c.start = 0
	}
	n, err := c.Read(c.in[c.end:])
	c.end += n
	if errors.Is(err, io.EOF) {
		return errCut
	}
	return err
}

// buffered is what has been read and not been taken.
func (c *conn) buffered() []byte { return c.in[c.start:c.end] }

// until takes from the connection up to and with the mark, at most so many bytes. The slice is good until the
// next read.
func (c *conn) until(mark string, most int) ([]byte, error) {
	for from := 0; ; {
		b := c.buffered()
		if i := bytes.Index(b[from:], []byte(mark)); i >= 0 && from+i+len(mark) <= most {
			n := from + i + len(mark)
			c.start += n
			return b[:n], nil
		}
		if len(b) >= most {
			return nil, errTooLong
		}
		from = max(0, len(b)-len(mark)+1)
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}
