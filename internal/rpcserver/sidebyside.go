package rpcserver

import (
	"math/bits"
	"slices"
	"sync"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

// batched is one call of a batch.
type batched struct {
	text []byte
	lane int // noLane: the connection's own goroutine answers it
}

const noLane = -1

// split finds the lane of each call of a batch. It returns nil where they all go the same.
func (x *exchange) split() []batched {
	if x.s.laneN < 2 {
		return nil
	}
	var members []batched
	seen := uint(0)
	for values := jsonwire.ReadArray(x.body); values.Next(); {
		m := batched{values.Value(), x.s.laneOf(values.Value())}
		if m.lane != noLane {
			seen |= 1 << m.lane
		}
		members = append(members, m)
	}
	if bits.OnesCount(seen) < 2 {
		return nil
	}
	return members
}

// laneOf is the lane that the call in text goes. What is no call, or not for the backend, goes none.
func (s *Server) laneOf(text []byte) int {
	c, err := readCall(text)
	if err != nil {
		return noLane
	}
	m, known := s.lookup(c.method)
	if !known || s.inline[m.Index] {
		return noLane
	}
	return s.lanes[m.Index]
}

// answerSideBySide appends the answers of a batch whose calls go several lanes. Those of one lane run one after
// the other, since a batch may count on what an earlier member of it did; lanes know nothing of each other. It
// tells whether there is any answer.
func (x *exchange) answerSideBySide(members []batched) (answered bool) {
	_ = x.identify() // once for all; each call is told itself what it found
	ahead := newAhead(len(members))
	var running sync.WaitGroup
	for lane := range maxLanes {
		if slices.ContainsFunc(members, func(m batched) bool { return m.lane == lane }) {
			y := x.fork()
			running.Go(func() { y.answerLane(members, lane, ahead) })
			defer x.join(y)
		}
	}
	defer running.Wait()
	for i, m := range members {
		if m.lane == noLane {
			answered = x.answerMember(m.text, answered) || answered
		} else {
			answered = x.appendMember(ahead.take(i), answered) || answered
		}
		x.flush()
		x.giveSlot()
	}
	return answered
}

// appendMember appends an answer, where there is one, as answerMember does.
func (x *exchange) appendMember(answer []byte, answered bool) bool {
	if len(answer) == 0 {
		return false
	}
	if answered {
		x.buf = append(x.buf, ',')
	}
	x.buf = append(x.buf, answer...)
	return true
}

// fork makes an exchange that answers calls of the same request on another goroutine. It has nothing of what
// calls change but the caller's rights as they are found out, of which it takes a copy.
func (x *exchange) fork() *exchange {
	y := x.s.borrow()
	y.c, y.wire, y.http, y.path, y.start, y.headers, y.who, y.batch = x.c, x.wire, x.http, x.path, x.start, x.headers, x.who, true
	if x.who.plain != nil {
		plain := *x.who.plain
		plain.rights = slices.Clone(plain.rights)
		y.who.plain = &plain
	}
	return y
}

// join ends a fork that has answered all that it had to.
func (x *exchange) join(y *exchange) {
	x.bodyLent = x.bodyLent || y.bodyLent
	x.s.giveBack(y)
}

// answerLane answers the calls of one lane.
func (x *exchange) answerLane(members []batched, lane int, ahead *ahead) {
	for i, m := range members {
		if m.lane != lane {
			continue
		}
		x.answerMember(m.text, false)
		ahead.put(i, x.buf)
		x.buf = x.buf[:0]
		x.giveSlot()
	}
}

// aheadBytes is how much is kept of answers whose turn has not come. A lane that is further ahead waits.
const aheadBytes = 256 << 10

// ahead holds the answers of a batch's calls until it is their turn.
type ahead struct {
	mu      sync.Mutex
	changed sync.Cond
	answers [][]byte
	ready   []bool
	next    int // whose turn it is
	held    int // bytes
}

func newAhead(calls int) *ahead {
	a := &ahead{answers: make([][]byte, calls), ready: make([]bool, calls)}
	a.changed.L = &a.mu
	return a
}

// put takes a copy of the answer of call i. It waits while there is much already, unless it is that call's turn.
func (a *ahead) put(i int, answer []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.next != i && a.held > 0 && a.held+len(answer) > aheadBytes {
		a.changed.Wait()
	}
	a.answers[i], a.ready[i] = slices.Clone(answer), true
	a.held += len(answer)
	a.changed.Broadcast()
}

// take waits for the answer of call i, whose turn it is.
func (a *ahead) take(i int) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.next = i
	a.changed.Broadcast()
	for !a.ready[i] {
		a.changed.Wait()
	}
	answer := a.answers[i]
	a.answers[i] = nil
	a.held -= len(answer)
	return answer
}
