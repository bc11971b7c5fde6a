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
	look  func(fd uintptr) // these are made once, since they would be made anew for each use
	alive bool             // what look saw
	poll  func(fd uintptr)
	read  func(fd uintptr) bool
	into  [2][]byte // what read reads into
	n     int       // what read did
	err   error
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
	n.poll = func(fd uintptr) {
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, patience)
	}
	n.read = func(fd uintptr) bool {
		n.n, n.err = unix.Readv(int(fd), n.into[:])
		return !errors.Is(n.err, unix.EAGAIN)
	}
	return n, nil
}

// aheadOfChunks is how much is read along with a chunk of what follows it: the head of the next one.
const aheadOfChunks = 512

// readChunk reads into p, which ends where a chunk does, and a little of what follows into the buffer, which must
// be empty, by one system call.
func (c *conn) readChunk(p []byte) (int, error) {
	c.into = [2][]byte{p, c.in[:aheadOfChunks]}
	err := c.raw.Read(c.read)
	c.into = [2][]byte{}
	switch {
	case err != nil:
		return 0, err
	case errors.Is(c.err, unix.EINTR):
		return 0, nil
	case c.err != nil:
		return 0, &net.OpError{Op: "read", Net: "unix", Err: c.err}
	case c.n == 0:
		return 0, errCut
	}
	c.start, c.end = 0, max(0, c.n-len(p))
	return min(c.n, len(p)), nil
}

// usable tells whether the other side has neither hung up nor sent what nobody asked for.
func (c *conn) usable() bool {
	c.alive = false
	err := c.raw.Control(c.look)
	return err == nil && c.alive && c.start == c.end
}

// patience is how long wait waits, in milliseconds.
const patience = 1

// wait waits a moment for an answer in the kernel. To wait the runtime's way costs a handful of system calls and
// wakes other threads up, which is as much as all else that a small call costs here. It is for when there is
// nothing else to do, since it keeps a thread.
func (c *conn) wait() {
	_ = c.raw.Control(c.poll)
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
