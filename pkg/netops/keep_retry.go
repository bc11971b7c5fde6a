package netops

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/geomind/my_os_server/internal/state"
)

// Bounds of a start.
const (
	restoreTime = 60 * time.Second       // for all that is registered
	settleTime  = 200 * time.Millisecond // events come in bursts
)

// Start restores what is registered, and then compares it with the kernel at every change that is heard of:
// see reconciler. It is called once, before the first call.
func (n *Net) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	n.stopRounds = cancel
	if n.state.ReadOnly() {
		if len(n.leasing.list) > 0 {
			n.options.Log.Error().Msg("no address is asked for: a lease that cannot be remembered cannot be taken back")
		}
		return
	}
	// It listens before the first look, so that nothing that comes in between is missed.
	links, tables := n.reconciler.listen(ctx)
	bound, done := context.WithTimeout(ctx, restoreTime)
	out, err := n.Restore(bound)
	done()
	n.log(out, err)
	bound, done = context.WithTimeout(ctx, restoreTime)
	_ = n.policing.apply(bound, false) // the log and net.health tell
	done()
	n.leasing.start()
	n.reconciler.start(ctx, links, tables, out.open)
}

// netnsFD is the descriptor of the Net's namespace, 0 for the process' own.
func (n *Net) netnsFD() int {
	if n.netns == nil {
		return 0
	}
	return int(n.netns.Fd())
}

// log tells what a start did.
func (n *Net) log(out *Restored, err error) {
	l := &n.options.Log
	if err != nil {
		l.Error().Err(err).Msg("the network could not be restored")
	}
	for _, w := range out.Finished {
		l.Warn().Str("write", w).Msg("a write that was cut off is finished")
	}
	for _, w := range out.Undone {
		l.Warn().Str("write", w).Msg("a write that was cut off is undone")
	}
	for _, f := range out.Failed {
		l.Error().Str("object", f).Msg("could not be restored")
	}
	for _, w := range out.Waiting {
		l.Warn().Str("object", w).Msg("waits to be restored")
	}
	if out.Made > 0 {
		l.Info().Int("changes", out.Made).Msg("the network is restored")
	}
}

// stopLooking ends what Start began.
func (n *Net) stopLooking() {
	n.kept.table.stop()
	if n.stopRounds != nil {
		n.reconciler.stop()
		n.stopRounds()
	}
}

// place is where an object is registered.
type place struct {
	Kind string `json:"kind"`
	Key  string `json:"key"`
}

// String is the place in one word, for a registry.
func (p place) String() string { return p.Kind + ":" + p.Key }

// noteWaiting registers what waits now in place of what did, so that another start in this boot goes on with
// it. What has gone missing since is not among it: that somebody else removed, and net.verify tells.
func (n *Net) noteWaiting(open map[place]bool) error {
	var changes []state.Change
	for key, p := range n.kept.waiting.All() {
		if !open[p] {
			changes = append(changes, n.kept.waiting.Remove(key))
		}
	}
	for p := range open {
		if !n.kept.waiting.Has(p.String()) {
			changes = append(changes, n.kept.waiting.Put(p.String(), p))
		}
	}
	if len(changes) == 0 {
		return nil
	}
	return n.state.Set(changes...)
}

// resumeWaiting tries what waited when the daemon ended.
func (n *Net) resumeWaiting(ctx context.Context, out *Restored) {
	waiting := map[place]bool{}
	for _, p := range n.kept.waiting.All() {
		waiting[p] = true
	}
	for _, p := range n.inOrder(waiting) {
		if !n.tryAgain(ctx, p) {
			out.open[p] = true
			out.Waiting = append(out.Waiting, p.String())
		}
	}
}

// tryOpen tries the objects that could not be restored again, and writes down which still cannot.
func (n *Net) tryOpen(ctx context.Context, open map[place]bool) {
	before := len(open)
	for _, p := range n.inOrder(open) {
		if n.tryAgain(ctx, p) {
			delete(open, p)
		}
	}
	if len(open) == before {
		return
	}
	if err := n.noteWaiting(open); err != nil {
		n.options.Log.Error().Err(err).Msg("what waits to be restored could not be written down")
	}
}

// inOrder are the places in the order of dependence.
func (n *Net) inOrder(open map[place]bool) []place {
	return slices.SortedFunc(maps.Keys(open), func(a, b place) int { return n.rank(a.Kind) - n.rank(b.Kind) })
}

// tryAgain brings one object to what is registered, and tells whether nothing remains to be done: also where
// it is registered no longer.
func (n *Net) tryAgain(ctx context.Context, p place) bool {
	done := true
	err := n.inTurn(ctx, p, func(f finding) error {
		if err := n.mend(ctx, f); err != nil {
			n.causes.note(f.name(), err)
			return err
		}
		n.causes.drop(f.name())
		done = f.plan.waits == "" && f.plan.obstacle == ""
		return nil
	})
	return err == nil && done
}
