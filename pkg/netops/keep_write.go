package netops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// writeTime bounds the steps of one write once it has begun: the caller's deadline no longer counts then,
// since half of a write is worse than a late answer.
const writeTime = 30 * time.Second

// write is a write that is about to happen: from one spec to another, of which either may be missing.
type write struct {
	method  string
	changes []state.Change
	detail  json.RawMessage   // see forwardedOn; may be nil
	from    []spec            // what is registered; what a failure goes back to
	to      []spec            // what is to be
	route   func(*rtnl.Route) // see taker
	flows   *int              // see taker; may be nil

	// exists is the answer where the kernel says that something stands in its place; nil: what it said.
	exists func(context.Context) error

	// exclusive says that making it fails where something stands in its place, so that nothing need be
	// looked at before: the cost of one does not grow with what is there.
	exclusive bool

	// seen is what was read under the same locks for a link that is not there, nil where it is to be read again:
	// making it fails where one has come since.
	seen *held
}

// halfDone is the error of a step that changed something before it failed.
type halfDone struct{ error }

func (e halfDone) Unwrap() error { return e.error }

// perform journals the intent, takes the steps and journals the outcome. The kernel is read after the
// intent, so that what the steps start from is what a start after a crash would see. Where a step fails,
// what was done is taken back.
func (n *Net) perform(ctx context.Context, w write) error {
	if err := n.claim(); err != nil {
		return err
	}
	begun, err := n.state.Begin(ctx, state.Intent{Method: w.method, Changes: w.changes, Detail: w.detail})
	if err != nil {
		return stateError(err)
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.time(ctx))
	defer cancel()
	t := taker{route: w.route, flows: w.flows, blind: w.exclusive, seen: w.seen}
	if err := n.transit(bound, w.from, w.to, &t); err != nil {
		return n.takeBack(ctx, begun, w, &t, err)
	}
	if err := begun.Done(); err != nil {
		return stateError(err)
	}
	n.reconciler.noticeOVS(w.to)
	return t.late
}

// time is how long the steps may take. Where they are for Open vSwitch, whose daemons may hang, the caller's
// deadline counts, and a part of it is kept for taking back.
func (w *write) time(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok || !anyOnOVS(w.from, w.to) {
		return writeTime
	}
	return max(min(writeTime, time.Until(deadline)*3/4), leastTime)
}

// leastTime is for the steps of a write whose caller has no time left.
const leastTime = 100 * time.Millisecond

// takeBack undoes a write that failed. Where that fails too, the intent stays open, and nobody's turn on its objects comes
// before it is settled.
func (n *Net) takeBack(ctx context.Context, begun *state.Write, w write, t *taker, cause error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.time(ctx))
	defer cancel()
	var half halfDone
	if t.taken > 0 || errors.As(cause, &half) {
		u := &unknownWrite{begun: begun, from: w.from, to: w.to, known: t.known}
		err := n.awaitKnown(ctx, u)
		if err == nil {
			back := taker{cutOff: true, back: true, known: t.known}
			err = n.transit(ctx, w.to, w.from, &back)
			u.known = back.known
		}
		if err != nil {
			n.leaveUnknown(u)
			return writeError(errors.Join(cause, fmt.Errorf("take back: %w", err)), registry.AppliedUnknown)
		}
	}
	if err := begun.Undone(cause); err != nil {
		return stateError(err)
	}
	if w.exists != nil && errors.Is(cause, syscall.EEXIST) {
		return w.exists(ctx)
	}
	return writeError(cause, registry.AppliedNo)
}

// transit brings the kernel from some specs to others: those that have no successor with the same id are
// removed first, last come first gone.
func (n *Net) transit(ctx context.Context, from, to []spec, t *taker) error {
	conn, err := n.sockets.Get()
	if err != nil {
		return err
	}
	defer n.sockets.Put(conn)
	t.net, t.conn = n, conn
	for _, s := range slices.Backward(from) {
		if !slices.ContainsFunc(to, func(other spec) bool { return sameObject(s, other) }) {
			if err := n.settle(ctx, t, s, spec.removal); err != nil {
				return err
			}
		}
	}
	for _, s := range to {
		if err := n.settle(ctx, t, s, spec.plan); err != nil {
			return err
		}
	}
	return nil
}

func sameObject(a, b spec) bool { return a.resource() == b.resource() && a.id() == b.id() }

// settle reads what one plan looks at and takes its steps. A plan that waits for something, or that
// something stands in the way of, is an error.
func (n *Net) settle(ctx context.Context, t *taker, s spec, plans func(spec, *held) plan) error {
	h, err := n.before(ctx, t, s)
	if err != nil {
		return err
	}
	h.cutOff = t.cutOff
	p := plans(s, h)
	if p.obstacle != "" {
		return &registry.ConflictError{
			ConflictData: registry.ConflictData{Resource: s.resource(), ID: s.id(), Managed: registry.Some(false)},
			Message:      p.obstacle,
		}
	}
	if err := t.take(ctx, p.steps); err != nil {
		return err
	}
	if p.waits != "" {
		return &registry.NotFoundError{
			NotFoundData: registry.NotFoundData{Resource: s.resource(), ID: s.id()},
			Message:      fmt.Sprintf("%s %s needs %s, which is not there", s.resource(), s.id(), p.waits),
		}
	}
	return nil
}

// before is what the kernel has of what a plan looks at.
func (n *Net) before(ctx context.Context, t *taker, s spec) (*held, error) {
	if h := t.seen; h != nil {
		t.seen = nil
		return h, nil
	}
	r := reader{n, t.conn, newHeld()}
	want := s.needs()
	if t.blind {
		want.routes, want.elements = nil, nil
	}
	if err := r.read(ctx, want); err != nil {
		return nil, err
	}
	return r.held, r.held.ovsTrouble()
}

// stateError is an error of the journal in the table's words. Nothing was done where Begin failed.
func stateError(err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		errno = unix.EROFS
	}
	return &registry.OSError{
		OsErrorData: registry.OsErrorData{Op: "write journal", Errno: errnoName(errno), Applied: registry.Some(registry.AppliedNo)},
		Message:     err.Error(),
	}
}

func errnoName(errno syscall.Errno) string {
	if name := unix.ErrnoName(errno); name != "" {
		return name
	}
	return fmt.Sprintf("errno_%d", int(errno))
}

// writeError tells of a step that failed, and whether it left something.
func writeError(err error, applied registry.Applied) error {
	var typed registry.WireError
	var errno syscall.Errno
	switch {
	case errors.As(err, &typed):
		return withApplied(err, applied)
	case !errors.As(err, &errno):
		return err
	case errno == unix.EXFULL: // br_add_if of the kernel's net/bridge
		return &registry.ResourceExhaustedError{
			ResourceExhaustedData: registry.ResourceExhaustedData{Limit: "bridge_ports", Maximum: registry.Some[int64](maxPorts)},
			Message:               fmt.Sprintf("a Linux bridge takes %d ports at most", maxPorts),
		}
	}
	var needs interface{ Capability() string }
	if errors.As(err, &needs) && needs.Capability() != "" {
		return err // no_privilege
	}
	data := registry.OsErrorData{Op: err.Error(), Errno: errnoName(errno), Applied: registry.Some(applied)}
	var op *rtnl.OpError
	if errors.As(err, &op) {
		data.Op, data.Text = op.Op, registry.NonZero(op.Message)
	}
	return &registry.OSError{OsErrorData: data, Message: err.Error()}
}

// maxPorts is how many ports a Linux bridge takes (BR_MAX_PORTS less the number 0).
const maxPorts = 1023

// The locks of objects.
func lockLink(name string) state.Object  { return state.Exclusive("link/" + name) }
func shareLink(name string) state.Object { return state.Shared("link/" + name) }
