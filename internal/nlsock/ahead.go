package nlsock

import (
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// aheadAfter datagrams of a dump are received one after the other. What is longer is received ahead: the
// kernel makes a datagram of a dump while it is being received, so that a dump of a million objects keeps
// one processor busy with making them and another one with what is done with them.
const aheadAfter = 8

// aheadAtMost datagrams are held that nobody has taken yet. One keeps the kernel busy; several do where the
// taker has to wait for something else before it begins.
const aheadAtMost = 16

// ahead receives a dump's datagrams on a goroutine of its own, some before they are taken. It never waits:
// where the kernel has nothing at hand, as after the end, it is over, and the rest is received as usual.
type ahead struct {
	full   chan datagram // closed by the goroutine at its end
	empty  chan []byte   // closed by the taker
	taken  []byte        // the buffer whose datagram was taken last
	spares []*[bufferSize]byte
	over   atomic.Bool // no more is wanted
}

// datagram is one that was received: n bytes, of which buf holds those that it had room for.
type datagram struct {
	buf []byte
	n   int
	err error
}

var spares = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// receiveAhead begins receiving ahead, into the buffer of c and spare ones. The caller ends it by stop,
// before anything else is received.
func (c *Conn) receiveAhead() *ahead {
	h := &ahead{full: make(chan datagram, aheadAtMost), empty: make(chan []byte, aheadAtMost+1)}
	h.empty <- c.buf
	go h.run(c)
	return h
}

func (h *ahead) run(c *Conn) {
	defer close(h.full)
	var d datagram
	receive := func(fd uintptr) bool {
		if d.err = c.unwanted(); d.err == nil {
			d.n, d.err = recvInto(fd, d.buf, unix.MSG_DONTWAIT)
		}
		return true
	}
	for !h.over.Load() {
		var ok bool
		if d.buf, ok = h.buffer(); !ok {
			return
		}
		if err := c.raw.Read(receive); err != nil {
			d.err = err
		}
		if errors.Is(d.err, unix.EAGAIN) {
			return
		}
		h.full <- d
	}
}

// buffer is the next one to receive into; false where no more is wanted.
func (h *ahead) buffer() ([]byte, bool) {
	if len(h.spares) < aheadAtMost {
		select {
		case b, ok := <-h.empty:
			return b, ok
		default:
			spare := spares.Get().(*[bufferSize]byte)
			h.spares = append(h.spares, spare)
			return spare[:], true
		}
	}
	b, ok := <-h.empty
	return b, ok
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
	h.over.Store(true)
	close(h.empty)
	for range h.full { // what was received and not taken
	}
	for _, b := range h.spares {
		spares.Put(b)
	}
}
