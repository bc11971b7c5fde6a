package nlsock

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// aheadAfter datagrams of a dump are received one after the other. What is longer is received ahead: the
// kernel makes a datagram of a dump while it is being received, so that a dump of a million objects keeps
// one processor busy with making them and another one with what is done with them.
const aheadAfter = 8

// ahead receives a dump's datagrams on a goroutine of its own, one before they are taken. It never waits:
// where the kernel has nothing at hand, as after the end, it is over, and the rest is received as usual.
type ahead struct {
	full  chan datagram // closed by the goroutine at its end
	empty chan []byte   // closed by the taker
	taken []byte        // the buffer whose datagram was taken last
	spare *[bufferSize]byte
}

// datagram is one that was received: n bytes, of which buf holds those that it had room for.
type datagram struct {
	buf []byte
	n   int
	err error
}

var spares = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// receiveAhead begins receiving ahead, into the buffer of c and a spare one. The caller ends it by stop,
// before anything else is received.
func (c *Conn) receiveAhead() *ahead {
	h := &ahead{full: make(chan datagram, 1), empty: make(chan []byte, 2), spare: spares.Get().(*[bufferSize]byte)}
	h.empty <- c.buf
	h.empty <- h.spare[:]
	go h.run(c)
	return h
}

func (h *ahead) run(c *Conn) {
	defer close(h.full)
	var d datagram
	receive := func(fd uintptr) bool {
		d.n, d.err = recvInto(fd, d.buf)
		return true
	}
	for d.buf = range h.empty {
		if err := c.raw.Read(receive); err != nil {
			d.err = err
		}
		if errors.Is(d.err, unix.EAGAIN) {
			return
		}
		h.full <- d
	}
}

// next returns the next datagram, which holds until next is called again; false where none is to be had
// this way.
func (h *ahead) next() (datagram, bool) {
	if h.taken != nil {
		h.empty <- h.taken
	}
	d, ok := <-h.full
	h.taken = d.buf
	return d, ok
}

// stop waits until nothing is being received any more.
func (h *ahead) stop() {
	close(h.empty)
	for range h.full { // one at most was received and not taken
	}
	spares.Put(h.spare)
}
