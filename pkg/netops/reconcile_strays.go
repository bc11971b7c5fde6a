package netops

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// stray is something that bears our mark, or stands in our own table, and is not registered.
type stray struct {
	resource, id, actual string

	step  step           // that takes it away
	locks []state.Object // of the object that it would be
	known func() bool    // whether it is registered by now
	gone  func(ctx context.Context) bool
	busy  bool // somebody uses it
	table bool // it stands in the own table, where everything is ours, and one step removes all of that
}

func (s *stray) name() string { return s.resource + " " + s.id }

// place is what is mended to have it gone.
func (s *stray) place() string {
	if s.table {
		return s.resource
	}
	return s.name()
}

// take takes it away, unless it was registered meanwhile: it may have been in the making.
func (s *stray) take(ctx context.Context, n *Net) error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	unlock, err := n.lock(ctx, s.locks...)
	if err != nil {
		return fmt.Errorf("wait for %s: %w", s.id, err)
	}
	defer unlock()
	if s.known() || s.gone(ctx) {
		return nil
	}
	conn, err := n.sockets.Get()
	if err != nil {
		return err
	}
	defer n.sockets.Put(conn)
	t := &taker{net: n, conn: conn}
	return t.take(ctx, []step{s.step})
}

// remove takes a stray away where the mode says so.
func (r *reconciler) remove(ctx context.Context, s *stray, now time.Time) {
	if r.repair.Load() && r.removable(s) && r.mayTry(s.place(), now) {
		r.tried(s.place(), s.take(ctx, r.net), now)
	}
}

// removable tells whether a stray is for a round to take away. In the own table everything is. A link or route with
// our mark is only where it came while the daemon ran, without its doing, and nobody uses it: what was there
// when it started may be all that is left after the state folder was lost.
func (r *reconciler) removable(s *stray) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.table {
		return len(r.net.state.Problems()) == 0
	}
	return r.born != nil && !r.born[s.name()] && !s.busy
}

// confirmedStrays looks at strays once more: what was seen may have been in the making.
func (r *reconciler) confirmedStrays(ctx context.Context, list []stray) []stray {
	r.mu.Lock()
	first := r.born == nil
	if first {
		r.born = map[string]bool{}
		for i := range list {
			r.born[list[i].name()] = true
		}
	}
	r.mu.Unlock()
	var sure []stray
	inTable := false
	for _, s := range list {
		if s.table {
			inTable = true
			continue
		}
		turn, cancel := context.WithTimeout(ctx, itemTime)
		unlock, err := r.net.lock(turn, s.locks...)
		cancel()
		if err != nil {
			continue
		}
		if !s.known() && !s.gone(ctx) {
			sure = append(sure, s)
		}
		unlock()
	}
	if inTable {
		sure = append(sure, r.strayElements(ctx)...)
	}
	return sure
}

// strayElements are the strays in the own table, while nobody changes it.
func (r *reconciler) strayElements(ctx context.Context) []stray {
	ctx, cancel := context.WithTimeout(ctx, itemTime)
	defer cancel()
	done, err := r.net.kept.table.take(ctx)
	if err != nil {
		return nil
	}
	defer done()
	list, err := r.net.strayElements(ctx)
	if err != nil {
		return nil
	}
	return list
}

// tellStray is a stray in the table's words.
func (n *Net) tellStray(s *stray) registry.Drift {
	d := unexpected(s.resource, s.id, s.actual)
	switch {
	case n.reconciler.removable(s):
		d.Repair = []string{s.step.String()}
	case s.busy:
		d.Cause = registry.Some("somebody uses it")
	case s.table:
		d.Cause = registry.Some("part of what is registered could not be read, and this may belong to it")
	default:
		d.Cause = registry.Some("it was there when the daemon started: remove it by hand where nobody needs it")
	}
	return d
}

// strayLink is a link with our mark.
func (n *Net) strayLink(resource string, l *rtnl.Link) stray {
	name, alias, index := l.Name, l.Alias, l.Index
	return stray{
		resource: resource, id: name, actual: "an interface of kind " + l.Kind, step: deleteLink{name, index},
		locks: []state.Object{lockLink(name)}, known: func() bool { return n.ourLink(name, alias) },
		gone: func(ctx context.Context) bool {
			h, err := n.look(ctx, needs{links: []string{name}})
			return err != nil || h.links[name] == nil || h.links[name].Index != index
		},
		busy: alias == markTap && l.Carrier,
	}
}

// strayRoute is a route with our mark.
func (n *Net) strayRoute(r *rtnl.Route) stray {
	key := keyOf(r)
	spec := routeSpec{Dst: key.Dst, Table: key.Table, TOS: key.TOS, Metric: key.Metric}
	return stray{
		resource: "route", id: key.String(), actual: "a route of our protocol", step: spec.removal(nil).steps[0],
		locks: spec.locks(), known: func() bool { return n.kept.routes.Has(key.String()) || n.kept.leaseRoutes()[key] },
		gone: func(ctx context.Context) bool {
			h, err := n.look(ctx, needs{routes: []ownKey{key}})
			return err != nil || !slices.ContainsFunc(h.routes[key], func(r heldRoute) bool { return r.Protocol == RouteProtocol })
		},
	}
}

// strayInTable is something in the own table, which goes as the table is made anew.
func strayInTable(id, actual string) stray {
	return stray{
		resource: "firewall_table", id: id, actual: actual, step: rebuildTable{tableSpecLine},
		known: func() bool { return false }, gone: func(context.Context) bool { return false }, table: true,
	}
}

// checkReconcile tells of the rounds.
func (n *Net) checkReconcile(context.Context) []registry.HealthCheck {
	return n.reconciler.check(time.Now())
}
