package rpcserver

import (
	"cmp"
	"time"

	"github.com/geomind/my_os_server/pkg/registry"
)

// exchange is one HTTP request and its answer. It belongs to the goroutine that serves the connection,
// which lends what a handler needs to a worker; see task.
type exchange struct {
	s       *Server
	c       *conn
	wire    wire
	http    httpWire // the wire where net/http serves the request; else empty
	path    string   // of the request, without its query
	start   time.Time
	headers headers
	who     identified

	body      []byte
	bodyTaken int64 // what the body takes of the caller's share
	bodyLent  bool  // a handler that nobody waits for may still read the body

	buf      []byte // the answer, as far as it is not on the wire
	batch    bool
	lane     int   // of the call that is answered
	slot     bool  // a call's place in the lane is taken, until its result is out of memory
	stream   bool  // a stream's place in the lane is taken
	onWire   bool  // a part of the answer is on the wire
	streamed int   // how many bytes of it
	broken   error // why no more can be put there

	out     registry.Out // of a call that runs on the connection's goroutine
	opening int          // how many bytes of that answer stand before its result
}

// kept is the largest buffer that is kept for the next exchange: that of an answer that has just not been
// streamed.
const kept = registry.FlushSize + 16<<10

func (s *Server) borrow() *exchange {
	x := s.exchanges.Get().(*exchange)
	x.s = s
	return x
}

// giveBack ends an exchange, also one that ends in a panic, and everything it has taken.
func (s *Server) giveBack(x *exchange) {
	x.giveSlot()
	if x.stream {
		s.ledger.streams[x.lane].give(&x.c.share.streams[x.lane], 1)
	}
	if x.bodyTaken > 0 {
		s.ledger.bodies.give(&x.c.share.bodies, x.bodyTaken)
	}
	if x.c.gave.Load() { // a failed write closes the connection while it is still being served
		s.ledger.tidy(x.c.share)
	}
	body, buf := x.body, x.buf
	if x.bodyLent || cap(body) > kept {
		body = nil
	}
	if cap(buf) > kept {
		buf = nil
	}
	*x = exchange{body: body[:0], buf: buf[:0]}
	s.exchanges.Put(x)
}

// takeSlot takes a call's place in the lane; giveSlot gives it back where it is taken.
func (x *exchange) takeSlot() *limitError {
	limit := x.s.ledger.calls[x.lane].take(&x.c.share.calls[x.lane], 1, x.c.share.privileged)
	x.slot = limit == nil
	return limit
}

func (x *exchange) giveSlot() {
	if x.slot {
		x.s.ledger.calls[x.lane].give(&x.c.share.calls[x.lane], 1)
		x.slot = false
	}
}

// answer answers what the body holds: one call or a batch. Where x.broken is set then, what is on the wire is not
// whole, and must not look whole: the connection has to end.
func (x *exchange) answer() {
	if isBatch(x.body) {
		x.answerBatch()
	} else {
		x.answerSingle()
	}
}

func (x *exchange) answerSingle() {
	rec := record{start: x.start}
	c, err := readCall(x.body)
	if err != nil {
		x.fail(c.id, err, &rec)
	} else {
		x.call(&c, &rec)
	}
	x.send()
	rec.bytes += x.streamed
	if rec.err == nil {
		rec.cut = cmp.Or(rec.cut, x.broken)
	}
	x.conclude(&rec)
}

// answerFault answers a body with which something is wrong as a whole.
func (x *exchange) answerFault(err error) {
	rec := record{start: x.start}
	x.fail(nil, err, &rec)
	x.send()
	x.conclude(&rec)
}

// fail appends the answer to what is not a request. Its id is null where it could not be read.
func (x *exchange) fail(id []byte, err error, rec *record) {
	mark := len(x.buf)
	rec.err, rec.kind = x.s.wireError(err, &facts{})
	x.buf = appendError(x.buf, id, rec.err)
	rec.bytes = len(x.buf) - mark
}

// send puts what is left of the answer on the wire.
func (x *exchange) send() {
	switch {
	case x.broken != nil:
		return
	case len(x.buf) == 0 && !x.onWire:
		x.broken = x.wire.none()
		return
	case !x.onWire:
		x.c.allow(errorTime)
		x.wire.begin(len(x.buf))
	}
	x.broken = x.write(x.buf)
}

// announced is the size of a single call's answer that is about to be streamed, where it is known; else -1.
func (x *exchange) announced() int {
	if x.out.Size == 0 {
		return -1
	}
	return x.opening + int(x.out.Size) + len("}")
}

// write puts p on the wire behind what is there.
func (x *exchange) write(p []byte) error {
	n, err := x.wire.write(p)
	x.s.metrics.sent.Add(uint64(n))
	return err
}
