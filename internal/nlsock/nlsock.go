// Package nlsock is the floor under the codecs of single netlink families: it sends one request and
// walks the answer in place.
//
// A [Conn] is a socket that github.com/mdlayher/netlink opened and configured (strict checking,
// extended acknowledgement, network namespace). Receiving is done here, on that socket's descriptor,
// for three reasons. mdlayher/netlink keeps the closing NLMSG_DONE to itself, and with it one of the
// places where the kernel says that a dump was interrupted by changes (NLM_F_DUMP_INTR). It reads a
// dump to its end when the caller stops early, which makes the first ten of a million rows as dear
// as all. And it copies every datagram to memory of its own.
//
// Messages and attributes are slices of the receive buffer: they hold until the next step of the
// iteration and must be copied to be kept. A Conn serves one request at a time and belongs to one
// goroutine at a time; a [Pool] keeps idle ones.
//
// Notifications come by sockets of their own ([Listen]), which ask for nothing.
//
// The package knows no message of any family, and does not resume a dump: what was interrupted is reported,
// and taking it again is the caller's decision.
package nlsock

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// bufferSize holds the largest datagram of a dump: the kernel fills at most 32 KiB of what the reader
// offers, more only where a single object needs more (a link with hundreds of virtual functions).
const bufferSize = 64 << 10

// Conn is one netlink socket. Its zero value is not usable; see [Dial].
type Conn struct {
	file *os.File
	raw  syscall.RawConn

	seq       uint32
	inUse     bool        // a request was sent whose answer has not been read to its end
	answer    *answer     // that is being read, or nil
	cancelled atomic.Bool // nothing is sent or received any more

	buf []byte  // what is received goes here
	req Request // what is sent is built here

	// The transfer between the callbacks of raw and their callers. The callbacks are made once, in
	// Dial, because a closure for each datagram would be garbage for each datagram.
	n         int
	err       error
	recv      func(fd uintptr) bool
	send      func(fd uintptr) bool
	interrupt func()
}

// Dial opens a socket of a netlink protocol (unix.NETLINK_ROUTE and so on; netlink(7)) with strict
// checking of requests, so that the kernel refuses a filter that it does not know instead of ignoring
// it (Linux 4.20). netns is a descriptor of the network namespace to work in, 0 for the calling
// thread's.
func Dial(protocol, netns int) (*Conn, error) {
	nl, err := netlink.Dial(protocol, &netlink.Config{
		Strict:            true,
		MessageBufferSize: bufferSize,
		NetNS:             netns,
	})
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	file, err := unpolled(nl)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	c := &Conn{file: file, buf: make([]byte, bufferSize)}
	if c.raw, err = file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("open netlink socket: %w", err), file.Close())
	}
	c.recv, c.send, c.interrupt = c.recvNow, c.sendNow, c.interruptNow
	return c, nil
}

// patience is how long a receiver sits in the kernel before it looks whether it is still wanted.
const patience = 50 * time.Millisecond

// unpolled is the socket of nl, which is closed, as a file that the Go runtime does not poll. The kernel answers
// a request before the call that sends it returns, and makes the next datagram of a dump while one is received: nobody
// has to be woken. Were the socket polled, each datagram would wake a thread of the runtime that finds nothing to do.
func unpolled(nl *netlink.Conn) (*os.File, error) {
	defer nl.Close() // which ends the polling; the socket stays
	raw, err := nl.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	control := raw.Control(func(polled uintptr) { fd, err = unix.FcntlInt(polled, unix.F_DUPFD_CLOEXEC, 0) })
	if err := errors.Join(control, err); err != nil {
		return nil, err
	}
	limit := unix.NsecToTimeval(patience.Nanoseconds())
	if err := errors.Join(unix.SetNonblock(fd, false), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit)); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// Close closes the socket and has whoever waits on it return soon.
func (c *Conn) Close() error {
	c.cancelled.Store(true)
	return c.file.Close()
}

// Reusable tells whether the socket can carry another request. It cannot while an answer is not read
// to its end: after an early stop, a cancelled context or a broken message, close it.
func (c *Conn) Reusable() bool { return !c.inUse }

// Control calls f with the socket's descriptor, for ioctls; f must not keep it.
func (c *Conn) Control(f func(fd uintptr)) error { return c.raw.Control(f) }

// begin sends req and arms ctx: when ctx ends, what waits on the socket returns. The caller must call
// the returned function when it stops reading; it reports false where ctx has struck.
func (c *Conn) begin(ctx context.Context, req *Request, flags uint16) (end func() bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, &OpError{Op: req.op, Err: err}
	}
	if c.inUse {
		return nil, &OpError{Op: req.op, Err: errInUse}
	}
	c.seq++
	req.finish(flags, c.seq)
	return c.sendPrepared(ctx, req.op)
}

// sendPrepared is begin for what stands in c.req as it is to be sent.
func (c *Conn) sendPrepared(ctx context.Context, op string) (end func() bool, err error) {
	c.inUse = true
	end = func() bool { return true }
	if ctx.Done() != nil {
		end = context.AfterFunc(ctx, c.interrupt)
	}
	if err := c.transmit(); err != nil {
		end()
		return nil, c.wrap(ctx, op, err)
	}
	return end, nil
}

var errInUse = errors.New("socket has an unfinished request")

// interruptNow makes every wait on the socket end, now and in future: a Conn whose request was
// cancelled is not used again.
func (c *Conn) interruptNow() { c.cancelled.Store(true) }

func (c *Conn) transmit() error {
	if err := c.raw.Write(c.send); err != nil {
		return err
	}
	return c.err
}

// sendNow writes the request. A netlink socket that is not connected sends to the kernel (port 0).
func (c *Conn) sendNow(fd uintptr) bool {
	if c.err = c.unwanted(); c.err == nil {
		_, c.err = ignoringEINTR(func() (int, error) { return unix.Write(int(fd), c.req.b) })
	}
	return true
}

// unwanted is the error of a Conn on which nobody waits any more.
func (c *Conn) unwanted() error {
	if c.cancelled.Load() {
		return os.ErrDeadlineExceeded
	}
	return nil
}

// receive returns the next datagram.
func (c *Conn) receive() ([]byte, error) {
	if err := c.raw.Read(c.recv); err != nil {
		return nil, err
	}
	return c.whole(datagram{c.buf, c.n, c.err})
}

// whole is what was received. A datagram that is larger than the buffer is lost; the buffer is grown so
// that the same request succeeds when it is made again on this socket.
func (c *Conn) whole(d datagram) ([]byte, error) {
	if d.err != nil {
		return nil, d.err
	}
	if d.n > len(d.buf) {
		c.buf = make([]byte, align(d.n))
		return nil, fmt.Errorf("%w: %d bytes for %d", ErrTruncated, d.n, len(d.buf))
	}
	return d.buf[:d.n], nil
}

// recvNow reads one datagram, and waits for it until nobody wants it any more.
func (c *Conn) recvNow(fd uintptr) bool {
	for {
		if c.err = c.unwanted(); c.err != nil {
			return true
		}
		if c.n, c.err = recvInto(fd, c.buf, 0); c.err != unix.EAGAIN {
			return true
		}
	}
}

// recvInto reads one datagram. With MSG_TRUNC the kernel returns its real length (recv(2)).
func recvInto(fd uintptr, buf []byte, flags int) (int, error) {
	return ignoringEINTR(func() (int, error) {
		n, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_TRUNC|flags)
		return n, err
	})
}

func ignoringEINTR(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// wrap names the request in an error; a wait that ctx ended is ctx's error.
func (c *Conn) wrap(ctx context.Context, op string, err error) error {
	if ctxErr := ctx.Err(); ctxErr != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		err = ctxErr
	}
	var told *OpError
	if errors.As(err, &told) {
		if told.Op == "" {
			told.Op = op
		}
		return told
	}
	return &OpError{Op: op, Err: err}
}

// native is the byte order of netlink headers and of attributes that do not say otherwise.
var native = binary.NativeEndian

// align rounds up to NLMSG_ALIGNTO, which is NLA_ALIGNTO as well.
func align(n int) int { return (n + 3) &^ 3 }
