package proxy

import (
	"bytes"
	"context"
	"errors"
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

	// What the call that uses the connection waits by.
	ctx   context.Context
	alone func() bool // no other call is under way
	stop  func() bool // gives up ending waits with ctx; nil: they do not end with it yet

	raw      syscall.RawConn
	look     func(fd uintptr) // these are made once, since they would be made anew for each use
	alive    bool             // what look saw
	poll     func(fd uintptr)
	read     func(fd uintptr) bool
	write    func(fd uintptr) bool
	parts    [2][]byte // what is read into, or written
	blocking bool      // read waits for something to read
	n        int       // what read or write did
	err      error
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
		n.n, n.err = unix.Readv(int(fd), n.parts[:])
		return !n.blocking || !errors.Is(n.err, unix.EAGAIN)
	}
	n.write = func(fd uintptr) bool {
		n.n, n.err = unix.Write(int(fd), n.parts[0])
		return true
	}
	return n, nil
}

// begin gives the connection to a call.
func (c *conn) begin(ctx context.Context, alone func() bool) {
	c.ctx, c.alone, c.stop = ctx, alone, nil
}

// finish takes it back, and tells whether it can still be used.
func (c *conn) finish() bool {
	c.ctx, c.alone = nil, nil
	return c.stop == nil || c.stop()
}

// lateness is what an upstream that has been told the deadline gets to say so itself; it knows better what of
// the call has been done. It is shorter than what the pipeline waits for.
const lateness = 20 * time.Millisecond

// endWithCall has what waits on the connection end with the call. It is for when something has to be waited for:
// it costs timers and more.
func (c *conn) endWithCall() {
	if c.stop != nil {
		return
	}
	ctx := c.ctx
	c.stop = context.AfterFunc(ctx, func() {
		at := time.Now()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			at = at.Add(lateness)
		}
		_ = c.SetDeadline(at) // fails where the connection is closed
	})
}

// send writes p.
func (c *conn) send(p []byte) error {
	c.parts = [2][]byte{p}
	err := c.raw.Write(c.write)
	c.parts = [2][]byte{}
	switch {
	case err != nil:
		return err
	case c.err != nil && !errors.Is(c.err, unix.EAGAIN) && !errors.Is(c.err, unix.EINTR):
		return &net.OpError{Op: "write", Net: "unix", Err: c.err}
	case c.n == len(p):
		return nil
	}
	c.endWithCall()
	_, err = c.Write(p[max(c.n, 0):])
	return err
}

// receive reads what there is into p, and what does not fit there into more, by one system call. It waits for
// something to come: first in the kernel where that is worth it. The end of the connection is errCut.
func (c *conn) receive(p, more []byte) (int, error) {
	c.parts, c.blocking = [2][]byte{p, more}, false
	defer func() { c.parts = [2][]byte{} }()
	waited := false
	for {
		err := c.raw.Read(c.read)
		switch {
		case err != nil:
			return 0, err
		case errors.Is(c.err, unix.EINTR):
		case errors.Is(c.err, unix.EAGAIN) && !waited && c.alone():
			waited = true
			c.wait()
		case errors.Is(c.err, unix.EAGAIN):
			c.endWithCall()
			c.blocking = true
		case c.err != nil:
			return 0, &net.OpError{Op: "read", Net: "unix", Err: c.err}
		case c.n == 0:
			return 0, errCut
		default:
			return c.n, nil
		}
	}
}

// aheadOfChunks is how much is read along with a chunk of what follows it: the head of the next one.
const aheadOfChunks = 512

// readChunk reads into p, which ends where a chunk does, and a little of what follows into the buffer, which must
// be empty.
func (c *conn) readChunk(p []byte) (int, error) {
	n, err := c.receive(p, c.in[:aheadOfChunks])
	c.start, c.end = 0, max(0, n-len(p))
	return min(n, len(p)), err
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

// errCut is an upstream that hung up before its answer was whole.
var errCut = errors.New("it ended the connection in the midst of its answer")

// fill reads more into the buffer, in which there must be room. The end of the connection is errCut.
func (c *conn) fill() error {
	if c.start > 0 {
		copy(c.in[:], c.in[c.start:c.end])
		c.end -= c.start
		c.start = 0
	}
	n, err := c.receive(c.in[c.end:], nil)
	c.end += n
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
