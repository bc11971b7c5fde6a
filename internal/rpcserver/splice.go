package rpcserver

import (
	"cmp"
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// What a backend passes on from another socket need not be copied into this process and out of it again: the kernel
// moves it from one socket to the other, through a pipe, since it knows no shorter way (splice(2)).

// pipeSize is how much is moved at a time: what a socket of the usual size holds.
const pipeSize = 256 << 10

// moved is a pipe, and what is in it.
type moved struct {
	in, out int
	left    int
}

func newMoved() (*moved, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("pipe2", err)
	}
	_, _ = unix.FcntlInt(uintptr(fds[1]), unix.F_SETPIPE_SZ, pipeSize) // a smaller one will do too
	return &moved{in: fds[1], out: fds[0]}, nil
}

func (m *moved) close() {
	_ = unix.Close(m.in)
	_ = unix.Close(m.out)
}

// spliceFlags: Go waits, not the kernel.
const spliceFlags = unix.SPLICE_F_NONBLOCK | unix.SPLICE_F_MOVE

// splice is splice(2), where nothing to be moved now is EAGAIN and the end is 0.
func splice(from, to, most int) (n int, err error) {
	for {
		moved, err := unix.Splice(from, nil, to, nil, most, spliceFlags)
		if !errors.Is(err, unix.EINTR) {
			return max(int(moved), 0), err
		}
	}
}

// fill moves up to most bytes that come over a socket into the pipe, which must be empty. It waits for some.
func (m *moved) fill(from syscall.RawConn, most int64) error {
	var err error
	waited := from.Read(func(fd uintptr) bool {
		m.left, err = splice(int(fd), m.in, int(min(most, pipeSize)))
		return !errors.Is(err, unix.EAGAIN)
	})
	switch {
	case waited != nil:
		return waited
	case err != nil:
		return os.NewSyscallError("splice", err)
	case m.left == 0:
		return io.ErrUnexpectedEOF
	}
	return nil
}

// empty moves what is in the pipe to the client, as push does. wait says whether to wait for room.
func (m *moved) empty(to syscall.RawConn, wait bool) (n int, err error) {
	for m.left > 0 {
		var moved int
		var err error
		waited := to.Write(func(fd uintptr) bool {
			moved, err = splice(m.out, int(fd), m.left)
			return !wait || !errors.Is(err, unix.EAGAIN)
		})
		switch {
		case waited != nil:
			return n, waited
		case errors.Is(err, unix.EAGAIN):
			return n, nil
		case err != nil:
			return n, os.NewSyscallError("splice", err)
		}
		m.left -= moved
		n += moved
	}
	return n, nil
}

// splice puts p on the wire, and n bytes behind it that come over a socket. broken is why the wire takes no more,
// err what is wrong with where they come from.
func (d *directWire) splice(p []byte, from syscall.RawConn, n int64) (broken, err error) {
	if err := d.frame(len(p) + int(n)); err != nil {
		return err, nil
	}
	_, broken = d.c.put(d.head, p)
	d.written()
	for n > 0 && broken == nil {
		if err := d.pipe.fill(from, n); err != nil {
			return nil, err
		}
		n -= int64(d.pipe.left)
		broken = d.c.pushMoved(d.pipe)
	}
	return broken, nil
}

// closePipe ends what an answer needed to be moved, with whatever is left in it.
func (d *directWire) closePipe() {
	if d.pipe != nil {
		d.pipe.close()
		d.pipe = nil
	}
}

// pushMoved moves what is in the pipe to the client.
func (c *conn) pushMoved(m *moved) error {
	if _, err := m.empty(c.out.socket, false); err != nil || m.left == 0 {
		return err
	}
	return c.persist(c.cutoff, func() (int, error) { return m.empty(c.out.socket, true) })
}

// splice is registry.Out's Splice for a call that runs on the connection's own goroutine. broken is kept for the other
// parts of the result.
func (x *exchange) splice(p []byte, from syscall.RawConn, n int64, broken *error) (err error) {
	if *broken != nil {
		return *broken
	}
	if *broken = x.openStream(); *broken != nil {
		return *broken
	}
	wire := &x.c.direct.wire
	if wire.pipe == nil {
		if wire.pipe, err = newMoved(); err != nil {
			return err
		}
	}
	*broken, err = wire.splice(p, from, n)
	x.streamed += len(p) + int(n)
	x.s.metrics.sent.Add(uint64(len(p)) + uint64(n))
	return cmp.Or(*broken, err)
}
