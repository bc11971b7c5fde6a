package netops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/geomind/my_os_server/internal/ovsdb"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// A database server may hang or die exactly over a transaction of ours: whether it was carried out is known only once
// it answers again. And a write that failed may fail to be taken back. Until it is settled such a write stays open in the
// journal, and nobody else's turn on its objects comes: the next start would finish it over what they did since.

// unknownWrite is a write of which nobody knows yet what became of it.
type unknownWrite struct {
	begun    *state.Write
	from, to []spec
	known    <-chan struct{} // closed once the database can tell; nil: it can
	earlier  bool            // a daemon before this one made the write
}

// locks are those of all objects of the write.
func (u *unknownWrite) locks() (list []state.Object) {
	for _, s := range slices.Concat(u.from, u.to) {
		list = append(list, s.locks()...)
	}
	return list
}

// tells whether the database can say by now what became of the write.
func (u *unknownWrite) tells() bool {
	select {
	case <-u.known:
		return true
	default:
		return u.known == nil
	}
}

// unknownWrites are all of them.
type unknownWrites struct {
	mu   sync.Mutex
	list []*unknownWrite
}

func (w *unknownWrites) all() []*unknownWrite {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.list)
}

func (w *unknownWrites) drop(u *unknownWrite) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = slices.DeleteFunc(w.list, func(other *unknownWrite) bool { return other == u })
}

// on are those whose objects a call may not hold beside them.
func (w *unknownWrites) on(objects []state.Object) (list []*unknownWrite) {
	for _, u := range w.all() {
		if clash(u.locks(), objects) {
			list = append(list, u)
		}
	}
	return list
}

func clash(a, b []state.Object) bool {
	return slices.ContainsFunc(a, func(o state.Object) bool {
		return slices.ContainsFunc(b, o.Clashes)
	})
}

// onOVS tells whether Open vSwitch's database has to do with the write.
func (u *unknownWrite) onOVS() bool { return anyOnOVS(u.from, u.to) }

// leaveUnknown keeps a write open until it is settled: by the next call on its objects, the next look at what has
// changed, or the next start.
func (n *Net) leaveUnknown(u *unknownWrite) {
	n.unknown.mu.Lock()
	n.unknown.list = append(n.unknown.list, u)
	n.unknown.mu.Unlock()
	log := n.options.Log.Warn().Str("write", u.begun.Intent().Method)
	if u.onOVS() {
		log.Msg("nobody knows what became of a write: Open vSwitch's database is asked as soon as it answers")
	} else {
		log.Msg("a write was neither finished nor taken back: that is tried again before its objects are touched")
	}
	if u.known != nil {
		go func() {
			<-u.known
			n.reconciler.hurry()
		}()
	}
}

// lock takes turns on objects, as state.Store.Lock does, after what became of earlier writes on them is known.
func (n *Net) lock(ctx context.Context, objects ...state.Object) (unlock func(), err error) {
	for {
		for _, u := range n.unknown.on(objects) {
			if err := n.awaitKnown(ctx, u); err != nil {
				return nil, fmt.Errorf("an earlier %s is still open: %w", u.begun.Intent().Method, err)
			}
			if err := n.settleUnknown(ctx, u); err != nil {
				return nil, fmt.Errorf("an earlier %s is still open: %w", u.begun.Intent().Method, withApplied(err, registry.AppliedNo))
			}
		}
		if unlock, err = n.state.Lock(ctx, objects...); err != nil {
			return nil, err
		}
		if len(n.unknown.on(objects)) == 0 {
			return unlock, nil
		}
		unlock()
	}
}

// awaitKnown waits, not for long, until the database can tell what became of a write.
func (n *Net) awaitKnown(ctx context.Context, u *unknownWrite) error {
	if u.tells() {
		return nil
	}
	bound, cancel := context.WithTimeout(ctx, mostOf(ctx, hungPatience))
	defer cancel()
	select {
	case <-u.known:
		return nil
	case <-bound.Done():
		return ovsGone(n.database.Socket(), "it does not answer", false)
	}
}

// settleUnknowns ends those writes of which the database can tell by now.
func (n *Net) settleUnknowns(ctx context.Context) {
	for _, u := range n.unknown.all() {
		if !u.tells() {
			continue
		}
		bound, cancel := context.WithTimeout(ctx, 2*itemTime)
		_ = n.settleUnknown(bound, u) // it stays, and the next round tries again
		cancel()
	}
}

// settleUnknown ends one write: it is finished where the database has carried out any of it, else taken back. One of
// a daemon before this one is finished in any case where that can be, as at a start.
func (n *Net) settleUnknown(ctx context.Context, u *unknownWrite) error {
	unlock, err := n.state.Lock(ctx, u.locks()...)
	if err != nil {
		return err
	}
	defer unlock()
	if !slices.Contains(n.unknown.all(), u) {
		return nil // somebody else was first
	}
	forward, err := n.carriedOut(ctx, u)
	if err != nil {
		return err
	}
	log := n.options.Log.Warn().Str("write", u.begun.Intent().Method)
	if forward || u.earlier {
		if u.onOVS() {
			if err := n.followSwitch(ctx, u.from, u.to); err != nil {
				return err // it is not known yet whether the switch can do it
			}
		}
		if err = n.transit(ctx, u.from, u.to, &taker{cutOff: true}); err == nil {
			n.unknown.drop(u)
			log.Msg("a write that was left open is finished")
			return u.begun.Done()
		}
	}
	if back := n.transit(ctx, u.to, u.from, &taker{cutOff: true, back: true}); back != nil {
		return errors.Join(err, back)
	}
	n.afterSwitch(ctx, u.to, u.from)
	n.unknown.drop(u)
	log.AnErr("cause", err).Msg("a write that was left open is undone")
	return u.begun.Undone(err)
}

// afterSwitch gives ovs-vswitchd a while to let go of what a write has taken away, whose name the next call may want.
func (n *Net) afterSwitch(ctx context.Context, from, to []spec) {
	if !anyOnOVS(withoutSuccessor(from, to)) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, mostOf(ctx, itemTime))
	defer cancel()
	_ = n.followSwitch(ctx, from, to)
}

// beforeSwitch gives ovs-vswitchd a while to make what the database has of a write already, before the rest of it is
// judged: it may have lost the database with us, and come back to it later.
func (n *Net) beforeSwitch(ctx context.Context, from, to []spec) {
	if !anyOnOVS(from, to) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, mostOf(ctx, itemTime))
	defer cancel()
	_ = n.followSwitch(ctx, nil, nil)
}

// followSwitch waits until ovs-vswitchd has done what the database says, as a write does whose transaction was
// answered, and until the interfaces of bridges that are no more are gone.
func (n *Net) followSwitch(ctx context.Context, from, to []spec) error {
	conn, err := n.sockets.Get()
	if err != nil {
		return err
	}
	defer n.sockets.Put(conn)
	results, err := n.askOVS(ctx, ovsdb.Select("Open_vSwitch", nil, "next_cfg"))
	if err != nil {
		return err
	}
	t := &taker{net: n, conn: conn}
	for _, row := range results[0].Rows { // there is one
		next, _ := row.Int("next_cfg")
		if err := t.awaitSwitch(ctx, ovsChange{}, next); err != nil {
			return err
		}
	}
	for _, s := range withoutSuccessor(from, to) {
		if b, ok := s.(bridgeSpec); ok {
			t.awaitGone(ctx, b.Name)
		}
	}
	return nil
}

// carriedOut tells whether the database has any of what a write is to make, or lacks any of what it is to remove.
func (n *Net) carriedOut(ctx context.Context, u *unknownWrite) (bool, error) {
	if !u.onOVS() {
		return false, nil
	}
	var want needs
	for _, s := range slices.Concat(u.from, u.to) {
		want.add(s.needs())
	}
	h, err := n.look(ctx, want)
	if err != nil {
		return false, err
	}
	if err := h.ovsTrouble(); err != nil {
		return false, err
	}
	stands := func(s spec) bool {
		p := s.removal(h)
		return slices.ContainsFunc(p.steps, removesOVS)
	}
	made, removed := withoutSuccessor(u.to, u.from), withoutSuccessor(u.from, u.to)
	if len(made)+len(removed) == 0 {
		return true, nil // it brings what is registered to be as it is registered
	}
	return slices.ContainsFunc(made, func(s spec) bool { return onOVS(s) && stands(s) }) ||
		slices.ContainsFunc(removed, func(s spec) bool { return onOVS(s) && !stands(s) }), nil
}

// removesOVS tells whether a step takes something out of Open vSwitch's database.
func removesOVS(s step) bool {
	switch s.(type) {
	case deleteOVSBridge, deleteOVSPort:
		return true
	}
	return false
}
