package rpcserver

import (
	"fmt"
	"time"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// isBatch tells whether a body is meant as a batch.
func isBatch(body []byte) bool { return jsonwire.KindOf(body) == jsonwire.Array }

// answerBatch answers the calls of a batch in their order, one after the other where they go the same lane: a
// batch may count on what an earlier member of it did. Answers go on the wire as they gather, so that a batch takes no more memory
// than its largest member.
func (x *exchange) answerBatch() {
	x.batch = true
	if err := x.judgeBatch(); err != nil {
		x.answerFault(err)
		return
	}
	x.buf = append(x.buf, '[')
	answered := false
	if members := x.split(); members != nil {
		answered = x.answerSideBySide(members)
	} else {
		answered = x.answerInTurn()
	}
	if !answered {
		x.buf = x.buf[:0] // nothing but notifications
	} else {
		x.buf = append(x.buf, ']')
	}
	x.c.cutoff = x.batchDeadline()
	x.send()
	if x.broken != nil {
		x.s.log.Debug().Stringer("peer", peerName(x.c.peer)).Err(x.broken).Msg("the answer to a batch was cut")
	}
}

// answerInTurn appends the answers of a batch whose calls run one after the other, and tells whether there is any.
func (x *exchange) answerInTurn() (answered bool) {
	for members := jsonwire.ReadArray(x.body); members.Next(); {
		answered = x.answerMember(members.Value(), answered) || answered
		x.flush()
		x.giveSlot()
	}
	return answered
}

// judgeBatch looks at the batch as a whole. It must be JSON to its end before any of its members runs.
func (x *exchange) judgeBatch() error {
	if err := jsonwire.Valid(x.body); err != nil {
		return notJSON(err)
	}
	n := 0
	for members := jsonwire.ReadArray(x.body); members.Next(); {
		n++
	}
	switch {
	case n == 0:
		return invalidRequest("a batch has at least one call")
	case n > x.s.limits.BatchCalls:
		return invalidRequest(fmt.Sprintf("a batch has at most %d calls, and this one has %d", x.s.limits.BatchCalls, n))
	}
	return nil
}

// answerMember appends the answer of one member, behind a comma where it is not the first, and tells
// whether there is one.
func (x *exchange) answerMember(text []byte, answered bool) bool {
	mark := len(x.buf)
	if answered {
		x.buf = append(x.buf, ',')
	}
	start := len(x.buf)
	rec := record{start: time.Now()}
	c, err := readCall(text)
	if err != nil {
		x.fail(c.id, err, &rec)
	} else {
		x.call(&c, &rec)
	}
	x.conclude(&rec)
	if len(x.buf) == start {
		x.buf = x.buf[:mark]
		return false
	}
	return true
}

// flush puts what has gathered on the wire where it is much. When that fails the remaining calls still
// run, for they were asked for and may be writes; only their answers are dropped.
func (x *exchange) flush() {
	if len(x.buf) < registry.FlushSize && x.broken == nil {
		return
	}
	if x.broken == nil {
		if !x.onWire {
			x.onWire = true
			x.wire.begin(-1)
		}
		x.c.cutoff = x.batchDeadline()
		x.c.allow(errorTime)
		x.broken = x.write(x.buf)
	}
	x.buf = x.buf[:0]
}

// batchDeadline is when a batch as a whole must be answered: as soon as the client asks, and no later than
// the longest single call.
func (x *exchange) batchDeadline() time.Time {
	longest := x.start.Add(max(x.s.deadlines.Read, x.s.deadlines.Write))
	if x.headers.deadline > 0 {
		return earlier(longest, x.start.Add(x.headers.deadline))
	}
	return longest
}
