package netops

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Restored is what a start did.
type Restored struct {
	Finished []string // writes that a crash had cut off, by method, and were finished
	Undone   []string // those which could not be, and were taken back
	Made     int      // changes of the kernel
	Waiting  []string // objects that wait for something, as in "port eth1 of br0: interface eth1"
	Failed   []string // objects that could not be restored, with the cause

	open map[place]bool // those which wait or failed
}

// Restore brings the kernel to what is registered, before calls are served. What a crash cut off is finished
// or undone. After a boot, all that is registered is made anew, in order of dependence, but for what was to
// last for a boot alone, which is forgotten. In the same boot only what still waited is tried again: net.verify
// tells what else has changed meanwhile. One object that cannot be restored stops no other: it stays registered. The
// error means that the kernel or the journal could not be used at all.
func (n *Net) Restore(ctx context.Context) (*Restored, error) {
	out := &Restored{open: map[place]bool{}}
	before := n.steps.Load()
	for _, w := range n.state.Pending() {
		if err := n.resume(ctx, w, out); err != nil {
			return out, err
		}
	}
	if err := n.policing.rollBack(ctx, "the daemon ended before anybody confirmed it"); err != nil {
		out.Failed = append(out.Failed, "input policy: "+err.Error())
	}
	if !n.state.SameBoot("net") {
		if err := n.rereadForwarding(); err != nil && !errors.Is(err, state.ErrReadOnly) {
			out.Failed = append(out.Failed, "forwarding: "+err.Error())
		}
		if err := n.restoreAll(ctx, out); err != nil {
			return out, err
		}
	} else {
		n.resumeWaiting(ctx, out)
		if err := n.restoreTable(ctx, out); err != nil {
			return out, err
		}
	}
	n.kept.table.forget()
	if err := n.followIfNeeded(ctx); err != nil {
		out.Failed = append(out.Failed, err.Error())
	}
	if err := n.noteWaiting(out.open); err != nil {
		return out, err
	}
	out.Made = int(n.steps.Load() - before)
	if err := n.state.Restored("net"); err != nil && !errors.Is(err, state.ErrReadOnly) {
		return out, err
	}
	return out, nil
}

// resume ends a write of ours that was cut off. In the boot in which it began nobody was told of it, so that
// it may be taken back where it cannot be finished; in another one may have been, so it stands.
func (n *Net) resume(ctx context.Context, w *state.Write, out *Restored) error {
	in := w.Intent()
	from, to, ours := n.specsOf(in.Changes)
	if !ours || !strings.HasPrefix(in.Method, "net.") {
		return nil // of another part of the daemon
	}
	if !n.state.SameBoot("net") {
		n.removeOVS(ctx, withoutSuccessor(from, to), out)
		out.Finished = append(out.Finished, in.Method)
		return w.Done()
	}
	from = asIntended(from, in.Detail)
	n.beforeSwitch(ctx, from, to)
	err := n.transit(ctx, from, to, &taker{cutOff: true})
	if err == nil {
		n.afterSwitch(ctx, from, to)
		out.Finished = append(out.Finished, in.Method)
		return w.Done()
	}
	if back := n.transit(ctx, to, from, &taker{cutOff: true}); back != nil {
		out.Failed = append(out.Failed, fmt.Sprintf("%s: %v", in.Method, errors.Join(err, back)))
		n.leaveUnknown(&unknownWrite{begun: w, from: from, to: to, earlier: true})
		return nil
	}
	out.Undone = append(out.Undone, fmt.Sprintf("%s: %v", in.Method, err))
	return w.Undone(err)
}

// specsOf are the objects that some changes lead from and to. It is not ours where they are of other
// registries; changes of none are ours, since a write of what is not registered leaves nothing to be done.
func (n *Net) specsOf(changes []state.Change) (from, to []spec, ours bool) {
	for _, c := range changes {
		k := n.kept.kindByRegistry[c.Registry]
		if k == nil {
			return nil, nil, false
		}
		if s, ok := k.mine(c.Key); ok {
			from = append(from, s)
		}
		if s, ok := k.decode(c); ok {
			to = append(to, s)
		}
	}
	return from, to, true
}

// restoreAll makes what is registered, kind after kind.
func (n *Net) restoreAll(ctx context.Context, out *Restored) error {
	if err := n.forgetPassing(ctx, out); err != nil {
		return err
	}
	for _, r := range n.restoring() {
		found, err := n.survey(ctx, r.keeper)
		if err != nil {
			return err
		}
		for _, f := range found {
			if out.open[f.place()] {
				continue // its first part could not be made
			}
			if r.footing {
				f = f.footing()
			}
			if !n.restore(ctx, f, out) {
				out.open[f.place()] = true
			}
		}
	}
	return nil
}

// restore takes the steps of one plan, notes what became of it, and tells whether the object stands.
func (n *Net) restore(ctx context.Context, f finding, out *Restored) bool {
	what := f.name()
	err := n.mend(ctx, f)
	switch {
	case err != nil:
		out.Failed = append(out.Failed, what+": "+err.Error())
		n.causes.note(what, err)
	case f.plan.obstacle != "":
		out.Failed = append(out.Failed, what+": "+f.plan.obstacle)
	case f.plan.waits != "":
		out.Waiting = append(out.Waiting, what+": "+f.plan.waits)
	default:
		return true
	}
	return false
}

// mend takes the steps of one plan.
func (n *Net) mend(ctx context.Context, f finding) error {
	if len(f.plan.steps) == 0 || f.plan.obstacle != "" {
		return nil
	}
	conn, err := n.sockets.Get()
	if err != nil {
		return err
	}
	defer n.sockets.Put(conn)
	t := &taker{net: n, conn: conn}
	return t.take(ctx, f.plan.steps)
}

// forgetPassing drops what was to last for a boot alone.
func (n *Net) forgetPassing(ctx context.Context, out *Restored) error {
	var changes []state.Change
	var gone []spec
	for _, k := range n.kept.kinds {
		for key, s := range k.all() {
			if !s.lasts() {
				changes, gone = append(changes, state.Change{Registry: k.name, Key: key}), append(gone, s)
			}
		}
	}
	if len(changes) == 0 {
		return nil
	}
	n.removeOVS(ctx, gone, out)
	return n.state.Set(changes...)
}

// finding is an object that is not as registered.
type finding struct {
	spec spec
	plan plan
	kind string // its registry
	key  string // in that
}

func (f *finding) place() place { return place{f.kind, f.key} }
func (f *finding) name() string { return f.spec.resource() + " " + f.spec.id() }

// mendable tells whether there is something to be done about it.
func (f *finding) mendable() bool { return len(f.plan.steps) > 0 && f.plan.obstacle == "" }

// word is what is amiss, in one line.
func (f *finding) word() string {
	word := "changed"
	if f.plan.missing {
		word = "missing"
	}
	for _, d := range f.plan.differs {
		word += fmt.Sprintf(", %s is %q, not %q", d.Field, d.Actual.Or(""), d.Expected.Or(""))
	}
	if f.plan.waits != "" {
		word += ", waits for " + f.plan.waits
	}
	if f.plan.obstacle != "" {
		word += ", " + f.plan.obstacle
	}
	return word
}

// survey plans every object of a kind against what the kernel has now, and returns those for which there is
// something to tell or to do.
func (n *Net) survey(ctx context.Context, k *keeper) ([]finding, error) {
	var specs []spec
	var keys []string
	var want needs
	for key, s := range k.all() {
		specs, keys = append(specs, s), append(keys, key)
		want.add(s.needs())
	}
	if len(specs) == 0 {
		return nil, nil
	}
	h, err := n.look(ctx, want)
	if err != nil {
		return nil, fmt.Errorf("look at the %s: %w", k.name, err)
	}
	var found []finding
	for i, s := range specs {
		if p := s.plan(h); !p.done() {
			found = append(found, finding{s, p, k.name, keys[i]})
		}
	}
	return found, nil
}

// causes remembers why objects could not be made, for net.verify to tell.
type causes struct {
	mu   sync.Mutex
	text map[string]string
}

func (c *causes) note(what string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.text == nil {
		c.text = map[string]string{}
	}
	c.text[what] = err.Error()
}

func (c *causes) drop(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.text, what)
}

func (c *causes) of(what string) registry.Opt[string] {
	c.mu.Lock()
	defer c.mu.Unlock()
	return registry.NonZero(c.text[what])
}
