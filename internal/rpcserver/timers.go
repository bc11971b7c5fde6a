package rpcserver

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What follows saves a connection most of its timers. Each deadline that is set moves a timer of the
// runtime, and wakes a thread up where it is the next to pass; for a small call that costs as much as all
// of the pipeline.

// readDeadline is the read deadline of a connection. net/http sets one at each step of a request: for the
// headers, for the body, for none while the handler runs, for the next request. But a request that came in
// one piece is read in one go, and most of those deadlines are replaced before anyone reads. So a deadline
// is only noted, and set when there is something to wait for. The exception is one that has passed: with it
// net/http wakes a reader up.
type readDeadline struct {
	mu          sync.Mutex
	wanted, set time.Time // zero is none
}

// note is SetReadDeadline.
func (d *readDeadline) note(c net.Conn, t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	if t.IsZero() || time.Until(t) > 0 {
		return nil
	}
	return d.apply(c)
}

// ready is called before a read.
func (d *readDeadline) ready(c net.Conn) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.apply(c)
}

// apply sets the deadline that is wanted. d.mu is held, so that a reader that is just about to begin cannot
// undo the deadline that is to wake it.
func (d *readDeadline) apply(c net.Conn) error {
	if d.wanted.Equal(d.set) {
		return nil
	}
	d.set = d.wanted
	return c.SetReadDeadline(d.wanted)
}

// immediateWriter writes what a socket takes at once, for which no deadline is needed. It belongs to
// whoever may write to the connection.
type immediateWriter struct {
	socket syscall.RawConn // nil: there is no socket to write to directly, as under TLS
	parts  [2][]byte       // what is to be written, one behind the other
	n      int
	err    error
	try    func(fd uintptr) bool // made once, since it would be made anew for each write
}

func (w *immediateWriter) open(c net.Conn) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	socket, err := s.SyscallConn()
	if err != nil {
		return
	}
	w.socket = socket
	w.try = func(fd uintptr) bool {
		if len(w.parts[0]) == 0 {
			w.n, w.err = syscall.Write(int(fd), w.parts[1])
		} else {
			w.n, w.err = unix.Writev(int(fd), w.parts[:])
		}
		return true
	}
}

// write writes as much of first and then of p as the socket has room for, which may be nothing.
func (w *immediateWriter) write(first, p []byte) (int, error) {
	if w.socket == nil {
		return 0, nil
	}
	w.parts, w.n, w.err = [2][]byte{first, p}, 0, nil
	err := w.socket.Write(w.try)
	w.parts = [2][]byte{}
	switch {
	case err != nil:
		return 0, err
	case errors.Is(w.err, syscall.EAGAIN), errors.Is(w.err, syscall.EINTR):
		return 0, nil
	case w.err != nil:
		return 0, &net.OpError{Op: "write", Err: w.err}
	}
	return w.n, nil
}
