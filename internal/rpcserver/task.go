package rpcserver

import (
	"cmp"
	"context"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/geomind/my_os_server/pkg/registry"
)

// task is a call in the hands of a worker. A handler may be stuck in a system call that no context ends; so
// it runs on a goroutine of its own, and the connection's goroutine waits for it no longer than a grace
// beyond the deadline. From then on the task belongs to the worker alone, with all that the handler can
// reach: its buffer, its params, the body they stand in. Its call's place stays taken until the handler
// comes back, so that what hangs cannot pile up.
type task struct {
	s       *Server
	share   *share
	lane    int
	ctx     context.Context
	backend Backend
	method  *registry.Method
	params  any
	raw     []byte
	out     registry.Out
	done    chan error // takes what the handler returned, where someone waits for it

	mu        sync.Mutex
	finished  bool      // the handler came back in time
	abandoned bool      // nobody waits any more
	x         *exchange // whose answer it is; reached by the worker under mu, while the task is not abandoned
	failed    error     // why the wire took no more
	turn      bool      // a turn is taken
}

func newTask() *task {
	return &task{done: make(chan error, 1)}
}

// run hands the call to a worker and waits for it.
func (x *exchange) run(c *call, m *registry.Method, params any, rec *record) error {
	if !time.Now().Before(rec.deadline) {
		return errNotBegun
	}
	ctx, cancel := x.context(m, rec)
	defer cancel()
	if x.s.prompt {
		return x.runHere(ctx, c, m, params, rec)
	}
	t := x.s.tasks.Get().(*task)
	t.s, t.share, t.lane, t.x = x.s, x.c.share, x.lane, x
	t.ctx, t.backend, t.method, t.params, t.raw = ctx, x.s.backend, m, params, c.params
	mark := len(x.buf)
	x.aim(&t.out, c, t.write, rec)
	x.s.workers.start(t)
	err, came := t.await(ctx, x.s.deadlines.Grace)
	if !came {
		x.abandon(mark)
		return err
	}
	x.buf = t.out.Buf
	if t.failed != nil {
		err = t.failed
	}
	x.s.recycle(t)
	return x.checkSize(mark, err)
}

// aim has a result go where it belongs: into the buffer of a batch, nowhere for a notification, else to write,
// as it grows.
func (x *exchange) aim(out *registry.Out, c *call, write func([]byte) error, rec *record) {
	out.Buf = appendResult(x.buf, c.id)
	switch {
	case x.batch:
		out.Limit = len(out.Buf) + x.s.limits.MemberBytes
	case c.id == nil:
		out.Write = discard
	default:
		x.c.cutoff = rec.deadline
		out.Write = write
	}
}

// runHere runs the call of a backend that is prompt.
func (x *exchange) runHere(ctx context.Context, c *call, m *registry.Method, params any, rec *record) error {
	var failed error // why the wire took no more
	mark := len(x.buf)
	x.out = registry.Out{}
	x.aim(&x.out, c, func(p []byte) error {
		if failed == nil {
			failed = x.pass(p)
		}
		return failed
	}, rec)
	if x.wire == &x.c.direct.wire && x.out.Write != nil && c.id != nil {
		x.out.Splice = func(p []byte, from syscall.RawConn, n int64) error { return x.splice(p, from, n, &failed) }
	}
	x.opening = len(x.out.Buf) - mark
	err := x.s.invoke(ctx, x.s.backend, m, params, c.params, &x.out)
	x.buf = x.out.Buf
	return x.checkSize(mark, cmp.Or(failed, err))
}

// recycle keeps a task that nobody uses any more for the next call.
func (s *Server) recycle(t *task) {
	*t = task{done: t.done}
	s.tasks.Put(t)
}

// abandon leaves to the handler what it may still use, and goes on with a copy of what was answered before.
func (x *exchange) abandon(mark int) {
	x.buf = slices.Clone(x.buf[:mark])
	x.bodyLent = true
	x.slot = false // settle gives it back
	x.s.metrics.abandoned.Add(1)
}

func discard([]byte) error { return nil }

// await waits for the handler, and, once the context is done, for a grace more.
func (t *task) await(ctx context.Context, grace time.Duration) (err error, came bool) {
	select {
	case err := <-t.done:
		return err, true
	case <-ctx.Done():
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case err := <-t.done:
		return err, true
	case <-timer.C:
	}
	t.mu.Lock()
	t.abandoned = !t.finished
	t.giveTurn()
	t.mu.Unlock()
	if !t.abandoned {
		return <-t.done, true
	}
	return ctx.Err(), false
}

// perform runs the handler; it is what a worker does.
func (t *task) perform() error {
	return t.s.invoke(t.ctx, t.backend, t.method, t.params, t.raw, &t.out)
}

// finish passes on how the handler ended.
func (t *task) finish(err error) {
	t.mu.Lock()
	t.finished = !t.abandoned
	t.giveTurn()
	t.mu.Unlock()
	if t.finished {
		t.done <- err
		return
	}
	t.s.ledger.settle(t.share, t.lane)
	t.s.metrics.abandoned.Add(-1)
	t.s.log.Warn().Str("method", t.method.Name).AnErr("error", err).Msg("a handler came back after its call had ended")
	if err != nil {
		t.s.wireError(err, &facts{method: t.method}) // logs what nobody expected
	}
}

// write puts a part of the result on the wire. The first part makes the answer a stream.
func (t *task) write(p []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.abandoned {
		return context.DeadlineExceeded
	}
	if t.failed == nil {
		t.giveTurn()
		if t.failed = t.x.pass(p); t.failed == nil {
			t.turn = t.s.turns.take()
		}
	}
	return t.failed
}

// giveTurn gives the turn back where there is one. t.mu is held.
func (t *task) giveTurn() {
	if t.turn {
		t.s.turns.give()
		t.turn = false
	}
}

// pass puts a part of a streamed result on the wire.
func (x *exchange) pass(p []byte) error {
	if err := x.openStream(); err != nil {
		return err
	}
	x.streamed += len(p)
	return x.write(p)
}

// openStream begins a streamed answer with the first part of its result.
func (x *exchange) openStream() error {
	if x.onWire {
		return nil
	}
	if limit := x.s.ledger.streams[x.lane].take(&x.c.share.streams[x.lane], 1, x.c.share.privileged); limit != nil {
		return limit
	}
	x.stream, x.onWire = true, true
	x.wire.begin(x.announced())
	return nil
}

// panicError is what a handler's panic becomes.
type panicError struct {
	value any
	stack []byte
}

// invoke calls the backend. A panic there is that call's error and nothing else.
func (s *Server) invoke(ctx context.Context, b Backend, m *registry.Method, params any, raw []byte, out *registry.Out) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicError{v, debug.Stack()}
		}
	}()
	return b.Call(ctx, m, params, raw, out)
}
