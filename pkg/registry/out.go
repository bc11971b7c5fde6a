package registry

import (
	"errors"
	"syscall"
)

// FlushSize is how much of a streamed result is gathered before it goes to the wire. Below it the
// system calls dominate, above it only memory grows.
const FlushSize = 64 << 10

// ErrTooLarge is what a result that may not be streamed and exceeds Out.Limit ends with.
var ErrTooLarge = errors.New("result exceeds the limit of a call that cannot be streamed")

// Out takes the encoded result of one call. The caller of Method.Call may have put an envelope's
// opening into Buf before; results are appended behind it.
type Out struct {
	// Buf holds what is encoded and not yet on the wire.
	Buf []byte
	// Write puts bytes on the wire; it must not keep them. Where it is nil everything stays in Buf.
	Write func([]byte) error
	// Splice does the same, and puts n bytes behind them that come over a socket, without copying those. Where
	// they end early the error is io.ErrUnexpectedEOF. It is nil where that cannot be done.
	Splice func(p []byte, from syscall.RawConn, n int64) error
	// Limit bounds Buf where Write is nil; 0 is no bound.
	Limit int
	// Size is how many bytes the result will have, set before the first Spill by who knows; 0 is not
	// known. A result of another size then breaks off.
	Size int64

	sent bool
}

// Sent tells whether a part of the result is on the wire already, so that an error can no longer be
// answered and only cutting the connection is honest.
func (o *Out) Sent() bool { return o.sent }

// Spill is for a result that is JSON already and is appended to Buf by hand: to be called whenever Buf has
// grown. It flushes a full buffer, whose bytes are then Write's and no longer in Buf, or enforces the limit.
// An error means that nobody takes the rest.
func (o *Out) Spill() error { return o.spill() }

// Move is Spill for what is not in Buf at all: it puts Buf on the wire, and behind it n bytes that come over a
// socket. Splice must not be nil.
func (o *Out) Move(from syscall.RawConn, n int64) error {
	o.sent = true
	err := o.Splice(o.Buf, from, n)
	o.Buf = o.Buf[:0]
	return err
}

// spill is called when Buf has grown; it flushes a full buffer or enforces the limit.
func (o *Out) spill() error {
	if o.Write == nil {
		if o.Limit > 0 && len(o.Buf) > o.Limit {
			return ErrTooLarge
		}
		return nil
	}
	if len(o.Buf) < FlushSize {
		return nil
	}
	o.sent = true
	err := o.Write(o.Buf)
	o.Buf = o.Buf[:0]
	return err
}

// Stream takes the rows of a streamed result, one at a time, in constant memory.
type Stream[T any] struct {
	out    *Out
	base   int // where the result begins in out.Buf
	start  int // where the first row begins in out.Buf
	rows   int
	append func(*T, []byte) []byte
}

// Send encodes one row. The row may be reused by the caller as soon as Send returns. An error means
// that nobody takes the rest: the handler stops and returns it.
func (s *Stream[T]) Send(row *T) error {
	if s.rows > 0 {
		s.out.Buf = append(s.out.Buf, ',')
	}
	s.rows++
	s.out.Buf = s.append(row, s.out.Buf)
	return s.out.spill()
}

// Rows counts what was sent since the start or the last Restart.
func (s *Stream[T]) Rows() int { return s.rows }

// Restart forgets all rows, so that a dump which was interrupted can be taken again. It reports false,
// and does nothing, where some of them are on the wire already.
func (s *Stream[T]) Restart() bool {
	if s.out.sent {
		return false
	}
	s.out.Buf = s.out.Buf[:s.start]
	s.rows = 0
	return true
}

// newStream begins a streamed result with opening, the bytes up to where the first row goes.
func newStream[T any](out *Out, opening string, appendRow func(*T, []byte) []byte) *Stream[T] {
	base := len(out.Buf)
	out.Buf = append(out.Buf, opening...)
	return &Stream[T]{out: out, base: base, start: len(out.Buf), append: appendRow}
}

// errNoResult is a fault of a handler: it returned neither a result nor an error.
var errNoResult = errors.New("the handler returned no result")

// reply writes what a handler has returned.
func reply[T any, P interface {
	*T
	AppendJSON([]byte) []byte
}](out *Out, res P, err error) error {
	if err != nil {
		return err
	}
	if res == nil {
		return errNoResult
	}
	base := len(out.Buf)
	out.Buf = res.AppendJSON(out.Buf)
	return out.finish(base)
}

// replyRaw writes a result that is JSON already.
func replyRaw(out *Out, res RawJSON, err error) error {
	if err != nil {
		return err
	}
	if len(res) == 0 {
		return errNoResult
	}
	base := len(out.Buf)
	out.Buf = append(out.Buf, res...)
	return out.finish(base)
}

// replyStream ends a streamed result with the members that stand behind the rows; nil is none.
func replyStream[T, E any, P interface {
	*E
	appendMembers([]byte) []byte
}](rows *Stream[T], end P, err error) error {
	out := rows.out
	if err != nil {
		out.undo(rows.base)
		return err
	}
	out.Buf = append(out.Buf, ']')
	if end != nil {
		out.Buf = end.appendMembers(out.Buf)
	}
	out.Buf = append(out.Buf, '}')
	return out.finish(rows.base)
}

// finish is spill for the end of a result that began at base.
func (o *Out) finish(base int) error {
	err := o.spill()
	if err != nil {
		o.undo(base)
	}
	return err
}

// undo takes back what was appended since base, where that is still possible.
func (o *Out) undo(base int) {
	if !o.sent {
		o.Buf = o.Buf[:base]
	}
}
