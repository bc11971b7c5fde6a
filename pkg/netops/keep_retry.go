package netops

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/internal/state"
)

// Bounds of a start.
const (
	restoreTime = 60 * time.Second       // for all that is registered
	settleTime  = 200 * time.Millisecond // events come in bursts
)

// Start restores what is registered, and then keeps trying what waits for a link or an address until it is
// there. It is called once, before the first call.
func (n *Net) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	n.stopRetry, n.retryEnded = cancel, make(chan struct{})
	if n.state.ReadOnly() {
		if len(n.leasing.list) > 0 {
			n.options.Log.Error().Msg("no address is asked for: a lease that cannot be remembered cannot be taken back")
		}
		close(n.retryEnded)
		return
	}
	// The watch begins before the first look, so that nothing that comes in between is missed.
	events, watchErr := rtnl.Watch(ctx, n.netnsFD())
	bound, done := context.WithTimeout(ctx, restoreTime)
	out, err := n.Restore(bound)
	done()
	n.log(out, err)
	n.leasing.start()
	if watchErr != nil || len(out.Waiting)+len(out.Failed) == 0 {
		cancel()
		close(n.retryEnded)
		return
	}
	go func() {
		defer close(n.retryEnded)
		defer cancel()
		n.retry(ctx, events, out.open)
	}()
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

// stopRetrying ends what Start began.
func (n *Net) stopRetrying() {
	n.kept.table.stop()
	if n.stopRetry != nil {
		n.stopRetry()
		<-n.retryEnded
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

// retry tries the objects that could not be restored again at each event, until all are.
func (n *Net) retry(ctx context.Context, events <-chan struct{}, open map[place]bool) {
	for len(open) > 0 {
		select {
		case <-ctx.Done():
			return
		case _, ok := <-events:
			if !ok {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(settleTime):
		}
		for _, p := range n.inOrder(open) {
			if n.tryAgain(ctx, p) {
				delete(open, p)
			}
		}
		if err := n.noteWaiting(open); err != nil {
			n.options.Log.Error().Err(err).Msg("what waits to be restored could not be written down")
		}
	}
}

// inOrder are the places in the order of dependence.
func (n *Net) inOrder(open map[place]bool) []place {
	rank := func(p place) int {
		return slices.IndexFunc(n.kept.kinds, func(k keeper) bool { return k.name == p.Kind })
	}
	return slices.SortedFunc(maps.Keys(open), func(a, b place) int { return rank(a) - rank(b) })
}

// tryAgain brings one object to what is registered, and tells whether nothing remains to be done: also where
// it is registered no longer.
func (n *Net) tryAgain(ctx context.Context, p place) bool {
	k := n.kept.kindByRegistry[p.Kind]
	if k == nil {
		return true // of a version that keeps more
	}
	s, ok := k.mine(p.Key)
	if !ok {
		return true
	}
	unlock, err := n.state.Lock(ctx, s.locks()...)
	if err != nil {
		return false
	}
	defer unlock()
	if s, ok = k.mine(p.Key); !ok {
		return true
	}
	h, err := n.look(ctx, s.needs())
	if err != nil {
		return false
	}
	f := finding{s, s.plan(h), p.Key}
	if err := n.mend(ctx, f); err != nil {
		n.causes.note(s.resource()+" "+s.id(), err)
		return false
	}
	n.causes.drop(s.resource() + " " + s.id())
	return f.plan.waits == "" && f.plan.obstacle == ""
}
