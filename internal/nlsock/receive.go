package nlsock

import (
	"context"
	"errors"
	"iter"
	"syscall"

	"golang.org/x/sys/unix"
)

// Message is one message of an answer. Data is what follows the netlink header, a slice of the
// receive buffer that holds until the next message is taken.
type Message struct {
	Type  uint16
	Flags uint16
	Data  []byte
}

// Dump sends req as a dump and yields the messages of the answer as they come. An error is yielded
// last: an [*OpError] around the kernel's errno, the context's error, [ErrTruncated] or
// [ErrInterrupted], before which every message has been yielded.
//
// A consumer that stops early may leave the socket with an unread answer: see [Conn.Reusable].
func (c *Conn) Dump(ctx context.Context, req *Request) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		a := answer{multi: true, take: func(m Message) bool { return yield(m, nil) }}
		err := c.exchange(ctx, req, unix.NLM_F_DUMP, &a)
		if err != nil && !a.stopped {
			yield(Message{}, err)
		}
	}
}

// Do sends req with flags and returns the one message that answers it, empty where the kernel only
// acknowledges (NLM_F_ACK). The message holds until the socket's next request.
func (c *Conn) Do(ctx context.Context, req *Request, flags uint16) (Message, error) {
	var reply Message
	a := answer{take: func(m Message) bool { reply = m; return true }}
	if err := c.exchange(ctx, req, flags, &a); err != nil {
		return Message{}, err
	}
	return reply, nil
}

// exchange sends req and reads its answer, and notes whether the socket is clean afterwards.
func (c *Conn) exchange(ctx context.Context, req *Request, flags uint16, a *answer) error {
	op := req.op
	end, err := c.begin(ctx, req, flags)
	if err != nil {
		return err
	}
	a.seq = c.seq
	c.answer = a
	err = c.read(a)
	c.answer = nil
	undisturbed := end()
	c.inUse = !a.done || !undisturbed
	if err == nil && a.interrupted {
		err = ErrInterrupted
	}
	if err != nil {
		return c.wrap(ctx, op, err)
	}
	return nil
}

// answer is the state of reading one answer.
type answer struct {
	seq         uint32
	rest        []byte             // of the datagram, behind the message that was taken last
	multi       bool               // it ends with NLMSG_DONE
	take        func(Message) bool // false: stop
	stopped     bool               // take said so
	done        bool               // read to its end
	interrupted bool
	truncated   error
}

// drainAtMost datagrams are read after an early stop: what is left of a short dump, which is mostly its
// end alone, costs less than the new socket that an unread one would; each datagram of a long one makes
// the kernel fill the next.
const drainAtMost = 1

// read receives until the answer is complete, or its consumer and then its patience has stopped. An
// answer that had a datagram too large for the buffer is read to its end, untaken, so that the socket,
// whose buffer has grown, can make the request again.
func (c *Conn) read(a *answer) error {
	in := intake{conn: c, multi: a.multi}
	defer in.end()
	for patience := drainAtMost; !a.done && patience >= 0; {
		b, err := in.next()
		switch {
		case errors.Is(err, ErrTruncated):
			a.truncated = err
			a.done = !a.multi
			a.take = func(Message) bool { return true }
		case err != nil:
			return err
		default:
			if err := a.datagram(b); err != nil {
				return err
			}
		}
		if a.stopped {
			patience--
		}
	}
	return a.truncated
}

// intake is where the datagrams of one answer come from.
type intake struct {
	conn  *Conn
	multi bool
	count int
	ahead *ahead // nil before the answer has shown to be long, and after its end
}

func (in *intake) next() ([]byte, error) {
	if in.count++; in.count == aheadAfter && in.multi && len(in.conn.buf) == bufferSize {
		in.ahead = in.conn.receiveAhead()
	}
	if in.ahead != nil {
		if d, ok := in.ahead.next(); ok {
			return in.conn.whole(d)
		}
		in.end()
	}
	return in.conn.receive()
}

func (in *intake) end() {
	if in.ahead != nil {
		in.ahead.stop()
		in.ahead = nil
	}
}

// datagram takes every message of one datagram. A Conn whose answer was not read to its end is not used
// again, so a foreign sequence number can only be a notification's, and is passed over.
func (a *answer) datagram(b []byte) error {
	a.rest = b
	for len(a.rest) > 0 && !a.done {
		m, seq, err := a.next()
		if err != nil {
			return err
		}
		if seq != a.seq {
			continue
		}
		if err := a.message(m); err != nil {
			return err
		}
	}
	return nil
}

// next takes the next message off the datagram.
func (a *answer) next() (m Message, seq uint32, err error) {
	b := a.rest
	if len(b) < headerSize {
		return m, 0, ErrMalformed
	}
	size := int(native.Uint32(b))
	if size < headerSize || size > len(b) {
		return m, 0, ErrMalformed
	}
	a.rest = b[min(align(size), len(b)):]
	return Message{
		Type:  native.Uint16(b[4:]),
		Flags: native.Uint16(b[6:]),
		Data:  b[headerSize:size:size],
	}, native.Uint32(b[8:]), nil
}

// Ahead yields the messages that came in the same datagram behind the one that a dump has come to, which yields
// them later: what is already there need not be asked for.
func (c *Conn) Ahead() iter.Seq[Message] {
	return func(yield func(Message) bool) {
		if c.answer == nil {
			return
		}
		for a := (answer{rest: c.answer.rest}); ; {
			m, seq, err := a.next()
			if err != nil || seq != c.answer.seq || !yield(m) {
				return
			}
		}
	}
}

func (a *answer) message(m Message) error {
	a.interrupted = a.interrupted || m.Flags&unix.NLM_F_DUMP_INTR != 0
	switch m.Type {
	case unix.NLMSG_NOOP:
		return nil
	case unix.NLMSG_OVERRUN:
		return syscall.ENOBUFS
	case unix.NLMSG_ERROR:
		a.done = true
		return errorOf(m)
	case unix.NLMSG_DONE:
		a.done = true
		return doneError(m)
	}
	a.done = !a.multi
	a.stopped = a.stopped || !a.take(m)
	return nil
}
