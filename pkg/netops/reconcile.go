package netops

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/geomind/my_os_server/internal/dhcp"
	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/internal/rtnl"
)

// ReconcileMode says what is done where the kernel is no longer as registered.
type ReconcileMode string

const (
	ReconcileReport ReconcileMode = "report" // it is told
	ReconcileRepair ReconcileMode = "repair" // it is mended too
)

// The pace of rounds.
const (
	settleMost = 2 * time.Second // for how long events that go on put a round off
	roundShare = 20              // a round is followed by a rest of so many times what it took
	restLeast  = 250 * time.Millisecond
	restMost   = 10 * time.Second
	sweepTime  = 5 * time.Minute // for what no event tells of, as accept_ra
	itemTime   = 5 * time.Second // for the turn on one object: a write that hangs stops no other
)

// reconciler compares the kernel with what is registered whenever an event says that something has changed. It
// tells what differs, in the log and in net.health, and mends it in the mode repair: by the plans that net.verify
// tells, under the locks of the writes. In any mode it makes the own table of the packet filter again where that
// has vanished, and tries what a start could not restore.
type reconciler struct {
	net    *Net
	repair atomic.Bool
	kick   chan struct{} // asks for a round
	haste  chan struct{} // ends the rest after one
	ended  chan struct{} // closed when no round comes any more; nil before start
	cancel context.CancelFunc

	mu       sync.Mutex
	watching []*rtnl.Listener
	deaf     string            // why events are not heard; "": they are
	switched *switchWatch      // hears of Open vSwitch's database; nil: nothing of ours is in it
	told     map[string]string // what the log was told of, by object
	born     map[string]bool   // strays that were there when the daemon started; nil: before the first look
	fights   map[string]*fight
	failed   string // why the last round could not look; "": it could
}

func newReconciler(n *Net) *reconciler {
	r := &reconciler{net: n, kick: make(chan struct{}, 1), haste: make(chan struct{}, 1), told: map[string]string{}, fights: map[string]*fight{}}
	r.repair.Store(n.options.Reconcile == ReconcileRepair)
	return r
}

// SetReconcile changes the mode of a Net that runs.
func (n *Net) SetReconcile(mode ReconcileMode) {
	n.reconciler.repair.Store(mode == ReconcileRepair)
	n.reconciler.look()
}

func (r *reconciler) mode() ReconcileMode {
	if r.repair.Load() {
		return ReconcileRepair
	}
	return ReconcileReport
}

// look asks for a round soon.
func (r *reconciler) look() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// hurry asks for a round without a rest before it.
func (r *reconciler) hurry() {
	select {
	case r.haste <- struct{}{}:
	default:
	}
	r.look()
}

// listen begins to hear events. A kernel without nf_tables, or a daemon without the privilege to hear of them,
// has those of links, addresses and routes alone.
func (r *reconciler) listen(ctx context.Context) (links, tables <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if l, err := rtnl.WatchAll(ctx, r.net.netnsFD(), r.concernsUs); err != nil {
		r.deaf = err.Error()
	} else {
		links, r.watching = l.Events, append(r.watching, l)
	}
	if l, err := nft.Watch(ctx, r.net.netnsFD(), own); err != nil {
		r.deaf = err.Error()
	} else {
		tables, r.watching = l.Events, append(r.watching, l)
	}
	return links, tables
}

// concernsUs tells whether a route is ours, or has the key of one.
func (r *reconciler) concernsUs(m *rtnl.Route) bool {
	k := r.net.kept
	return m.Protocol == RouteProtocol || k.routes.Has(keyOf(m).String()) || k.leases.Len() > 0 && k.leaseRoutes()[keyOf(m)]
}

// start begins the rounds, of which the first comes at once. open is what could not be restored.
func (r *reconciler) start(ctx context.Context, links, tables <-chan struct{}, open map[place]bool) {
	ctx, r.cancel = context.WithCancel(ctx)
	r.ended = make(chan struct{})
	r.look()
	go func() {
		defer close(r.ended)
		r.run(ctx, links, tables, open)
	}()
}

func (r *reconciler) stop() {
	if r.ended != nil {
		r.cancel()
		<-r.ended
	}
}

// run makes a round after each burst of events, until ctx ends.
func (r *reconciler) run(ctx context.Context, links, tables <-chan struct{}, open map[place]bool) {
	defer r.hearOVS(ctx, false)
	for next := time.Duration(0); ; {
		sweep := time.NewTimer(max(next, restLeast))
		heard := r.hear(ctx, &links, &tables, sweep.C)
		sweep.Stop()
		if !heard {
			return
		}
		r.settle(ctx, &links, &tables)
		begun, waited := time.Now(), r.net.ovsWaited.Load()
		r.hearOVS(ctx, r.net.needsOVS())
		next = r.round(ctx, open)
		took := time.Since(begun) - time.Duration(r.net.ovsWaited.Load()-waited) // to wait is no work
		if !r.rest(ctx, min(max(restLeast, roundShare*took), restMost)) {
			return
		}
	}
}

// rest waits, unless it is in a hurry; false: ctx has ended.
func (r *reconciler) rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-r.haste:
	case <-t.C:
	}
	return true
}

// hear waits for an event, a request or the time; false: ctx has ended.
func (r *reconciler) hear(ctx context.Context, links, tables *<-chan struct{}, at <-chan time.Time) bool {
	for {
		var ok bool
		select {
		case <-ctx.Done():
			return false
		case <-at:
			return true
		case <-r.kick:
			return true
		case _, ok = <-*links:
			if !ok {
				*links = r.lost(links)
			}
		case _, ok = <-*tables:
			if !ok {
				*tables = r.lost(tables)
			}
		}
		if ok {
			return true
		}
	}
}

// lost notes that a socket has failed. What it would have told is found by the sweep.
func (r *reconciler) lost(*<-chan struct{}) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deaf = "a socket for events has failed"
	return nil
}

// settle waits until nothing more is heard for a while: changes come in bursts, and a round in the middle of
// one would be for nothing.
func (r *reconciler) settle(ctx context.Context, links, tables *<-chan struct{}) {
	end := time.Now().Add(settleMost)
	for {
		quiet := time.NewTimer(min(settleTime, time.Until(end)))
		select {
		case <-ctx.Done():
		case <-quiet.C:
		case <-r.kick:
			quiet.Stop()
			continue
		case _, ok := <-*links:
			if !ok {
				*links = r.lost(links)
			}
			quiet.Stop()
			continue
		case _, ok := <-*tables:
			if !ok {
				*tables = r.lost(tables)
			}
			quiet.Stop()
			continue
		}
		quiet.Stop()
		return
	}
}

// pause waits; false: ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// round looks at all that is registered, and does about it what the mode says. It returns after what time the
// next one is due although nothing is heard.
func (r *reconciler) round(ctx context.Context, open map[place]bool) time.Duration {
	ctx, cancel := context.WithTimeout(ctx, restoreTime)
	defer cancel()
	r.net.settleUnknowns(ctx)
	r.net.tryOpen(ctx, open)
	now := time.Now()
	found, strays, _, err := r.net.compared(ctx)
	if r.note(ctx, err); err != nil {
		return sweepTime
	}
	standing := map[string]string{}
	for _, f := range r.lay(ctx, found, now) {
		if f = r.confirmed(ctx, f); f.spec != nil {
			r.act(ctx, f, standing, now)
		}
	}
	for _, s := range r.confirmedStrays(ctx, strays) {
		standing[s.name()] = "unexpected"
		r.remove(ctx, &s, now)
	}
	r.tell(standing)
	if len(standing) == 0 && len(r.net.hostSets()) > 0 {
		r.note(ctx, r.net.syncHost(ctx))
	}
	return r.net.soonest(open, r.nextTry(now))
}

// note remembers whether a round could look, and tells the log when that changes.
func (r *reconciler) note(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	r.mu.Lock()
	changed := r.failed != text
	r.failed = text
	r.mu.Unlock()
	if changed && err != nil {
		r.net.options.Log.Error().Err(err).Msg("what is registered could not be compared with the kernel")
	}
}

// confirmed looks at a finding once more, when it is its turn: what was seen may have been in the making. A
// finding without a spec says that there is none.
func (r *reconciler) confirmed(ctx context.Context, f finding) finding {
	ctx, cancel := context.WithTimeout(ctx, itemTime)
	defer cancel()
	var again finding
	_ = r.net.inTurn(ctx, f.place(), func(now finding) error {
		if !now.plan.done() {
			again = now
		}
		return nil
	})
	return again
}

// act notes a finding, and mends it where the mode says so.
func (r *reconciler) act(ctx context.Context, f finding, standing map[string]string, now time.Time) {
	standing[f.name()] = f.word()
	vanished := f.kind == tableKind && f.plan.missing
	if !r.repair.Load() && !vanished || !f.mendable() || !r.net.mayMend(f) || !r.mayTry(f.name(), now) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	err := r.net.inTurn(ctx, f.place(), func(now finding) error { return r.net.mend(ctx, now) })
	if err != nil {
		r.net.causes.note(f.name(), err)
	} else {
		r.net.causes.drop(f.name())
	}
	r.tried(f.name(), err, now)
}

// mayMend tells whether a kind's objects are for a round to mend: a lease is only once it was asked for.
func (n *Net) mayMend(f finding) bool {
	k := n.kept.kindByRegistry[f.kind]
	if !k.asked {
		return true
	}
	if f.kind == "leases6" {
		return n.leasing.mayMend6(f.key)
	}
	r := n.leasing.ofName(f.key)
	if f.kind != "leases" || r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client == nil {
		return false
	}
	return slices.Contains([]dhcp.State{dhcp.Bound, dhcp.Renewing, dhcp.Rebinding}, r.client.Status().State)
}

// tell has the log told of what differs now and did not before, and of what no longer does.
func (r *reconciler) tell(standing map[string]string) {
	r.mu.Lock()
	before := r.told
	r.told = standing
	r.mu.Unlock()
	log := &r.net.options.Log
	for what, word := range standing {
		if before[what] != word {
			log.Warn().Str("object", what).Str("drift", word).Str("mode", string(r.mode())).Msg("the kernel is not as registered")
		}
	}
	for what := range before {
		if standing[what] == "" {
			log.Info().Str("object", what).Msg("the kernel is as registered again")
		}
	}
}

// inTurn plans one object anew under its locks, as long as it is registered, and calls f with the finding.
func (n *Net) inTurn(ctx context.Context, p place, f func(finding) error) error {
	k := n.kept.kindByRegistry[p.Kind]
	if k == nil {
		return nil // of a version that keeps more
	}
	s, ok := k.mine(p.Key)
	if !ok {
		return nil
	}
	unlock, err := n.lock(ctx, s.locks()...)
	if err != nil {
		return fmt.Errorf("wait for %s: %w", s.id(), err)
	}
	defer unlock()
	if s, ok = k.mine(p.Key); !ok {
		return nil
	}
	now, err := n.planNow(ctx, s, p)
	if err != nil {
		return err
	}
	return f(now)
}

// planNow plans an object by what the kernel has now; the own table while nobody changes it.
func (n *Net) planNow(ctx context.Context, s spec, p place) (f finding, err error) {
	if p.Kind == tableKind {
		done, err := n.kept.table.take(ctx)
		if err != nil {
			return f, err
		}
		defer done()
	}
	h, err := n.look(ctx, s.needs())
	if err != nil {
		return f, err
	}
	return finding{spec: s, plan: s.plan(h), kind: p.Kind, key: p.Key}, nil
}
