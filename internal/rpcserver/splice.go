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

// pipeBuf is how much a pipe takes in one piece, or not at all (PIPE_BUF in pipe(7)).
const pipeBuf = 4 << 10

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

// put writes first and then p into the pipe where they are short, so that what is moved behind them goes out in one
// piece with them: a client is woken up once, not twice. The pipe must be empty.
func (m *moved) put(first, p []byte) bool {
	if len(first)+len(p) > pipeBuf {
		return false
	}
	n, err := unix.Writev(m.in, [][]byte{first, p})
	m.left = max(n, 0)
	return err == nil
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

// fill moves up to most bytes that come over a socket into the pipe, as many as there are. It waits for some, for which
// there must be room.
func (m *moved) fill(from syscall.RawConn, most int64) (n int64, err error) {
	waited := from.Read(func(fd uintptr) bool {
		n, err = m.fillNow(int(fd), most)
		if n < most && m.left < pipeSize && errors.Is(err, unix.EAGAIN) {
			giveWay()
			var more int64
			more, err = m.fillNow(int(fd), most-n)
			n += more
		}
		return n > 0 || !errors.Is(err, unix.EAGAIN)
	})
	switch {
	case waited != nil:
		return n, waited
	case n > 0:
		return n, nil // what is wrong stays so
	case err != nil:
		return 0, os.NewSyscallError("splice", err)
	}
	return 0, io.ErrUnexpectedEOF
}

// fillNow moves what there is, as far as there is room for it.
func (m *moved) fillNow(from int, most int64) (n int64, err error) {
	for n < most && m.left < pipeSize {
		come, err := splice(from, m.in, int(min(most-n, int64(pipeSize-m.left))))
		if come == 0 {
			return n, err
		}
		n += int64(come)
		m.left += come
	}
	return n, nil
}

// giveWay lets whoever sends go on where there are fewer processors than there are processes at work: what comes meanwhile
// is moved at once, where to wait for it piece by piece costs the sleep and the waking up of each.
func giveWay() { _, _, _ = unix.Syscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

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
	if !d.pipe.put(d.head, p) {
		_, broken = d.c.put(d.head, p)
	}
	d.written()
	for n > 0 && broken == nil {
		come, err := d.pipe.fill(from, n)
		if err != nil {
			return nil, err
		}
		n -= come
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
