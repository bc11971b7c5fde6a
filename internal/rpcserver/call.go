package rpcserver

import (
	"time"

	"github.com/geomind/my_os_server/pkg/registry"
)

// call judges one call, runs it and appends its answer to the buffer, or nothing for a notification.
func (x *exchange) call(c *call, rec *record) {
	mark := len(x.buf)
	err := x.perform(c, rec)
	switch {
	case err != nil && x.onWire && !x.batch:
		// Nothing can be answered any more; what nobody expected is logged all the same.
		x.s.wireError(err, x.facts(rec))
		x.broken, rec.cut = err, err
		x.buf = x.buf[:0]
	case err != nil:
		x.buf = x.buf[:mark]
		rec.err, rec.kind = x.s.wireError(err, x.facts(rec))
		if c.id != nil {
			x.buf = appendError(x.buf, c.id, rec.err)
		}
	case c.id == nil:
		x.buf = x.buf[:mark]
	default:
		x.buf = append(x.buf, '}')
	}
	rec.bytes = len(x.buf) - mark
}

// perform does what a call asks for, in the order that decides what a caller is told who is wrong about
// several things at once: credential, method, right, params. Between right and params stands whether there
// is room for the call at all; before them all, whether a caller from elsewhere makes too many.
func (x *exchange) perform(c *call, rec *record) error {
	if limit := x.takePace(); limit != nil {
		return limit
	}
	m, known := x.s.lookup(c.method)
	if !known {
		if err := x.identify(); err != nil {
			return err
		}
		return &registry.MethodNotFoundError{
			MethodNotFoundData: registry.MethodNotFoundData{Method: cut(c.method, quotedBytes)},
			Message:            "there is no method " + quote(c.method),
		}
	}
	var err error
	rec.method = m
	if rec.caller, err = x.authorize(m); err != nil {
		return err
	}
	if x.s.inline[m.Index] {
		return x.performInline(c, m)
	}
	x.lane = x.s.lanes[m.Index]
	if limit := x.takeSlot(); limit != nil {
		return limit
	}
	params, err := m.Decode(c.params)
	if err != nil {
		return err
	}
	rec.deadline = x.deadline(m, rec.start)
	x.audit(m, c.params)
	return x.run(c, m, params, rec)
}

// performInline runs a method of the server itself.
func (x *exchange) performInline(c *call, m *registry.Method) error {
	params, err := m.Decode(c.params)
	if err != nil {
		return err
	}
	mark := len(x.buf)
	out := registry.Out{Buf: appendResult(x.buf, c.id)}
	err = x.s.invoke(x.s.reads, x.s.own, m, params, c.params, &out)
	x.buf = out.Buf
	return x.checkSize(mark, err)
}

// checkSize bounds a result that stands in the buffer from mark on, where it is one of a batch.
func (x *exchange) checkSize(mark int, err error) error {
	if err == nil && x.batch && len(x.buf)-mark > x.s.limits.MemberBytes {
		return registry.ErrTooLarge
	}
	return err
}

// deadline is when a call that begins at start must be answered. A batch as a whole has no more time than
// the longest call.
func (x *exchange) deadline(m *registry.Method, start time.Time) time.Time {
	limit := x.s.deadlines.Read
	if m.Effect != registry.EffectRead {
		limit = x.s.deadlines.Write
	}
	deadline := start.Add(limit)
	if x.batch {
		deadline = earlier(deadline, x.batchDeadline())
	}
	if x.headers.deadline > 0 {
		deadline = earlier(deadline, x.start.Add(x.headers.deadline))
	}
	return deadline
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// facts is what the pipeline knows about a call that failed.
func (x *exchange) facts(rec *record) *facts {
	now := time.Now()
	f := &facts{method: rec.method, right: rec.caller.Right, took: now.Sub(rec.start), stopping: x.s.reads.Err() != nil}
	if !rec.deadline.IsZero() && !now.Before(rec.deadline) {
		f.late, f.took = true, rec.deadline.Sub(x.start)
	}
	return f
}
