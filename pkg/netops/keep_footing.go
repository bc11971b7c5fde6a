package netops

import (
	"context"
	"slices"
	"time"
)

// A bridge has a carrier before it has a port. With an address it would find no other host that has the same one
// (RFC 4862, section 5.4: duplicate address detection), and routes would lead into it, before anybody is behind it. So
// a bridge that is made again with its ports is up, and has its addresses, once these are in it.

// footing is a finding of a bridge that is missing, with the steps that its ports need.
func (f finding) footing() finding {
	end := slices.IndexFunc(f.plan.steps, func(s step) bool {
		switch s.(type) {
		case addAddress, setUp:
			return true
		}
		return false
	})
	if end >= 0 {
		f.plan.steps = f.plan.steps[:end]
	}
	return f
}

// isFooting tells whether there is such a part.
func (f *finding) isFooting() bool { return f.kind == "bridges" && f.plan.missing && f.mendable() }

// lastPorts is the last of the kinds that make ports of bridges.
const lastPorts = "ports"

// restoring are the kinds in the order in which they are made after a boot: bridges twice.
func (n *Net) restoring() (list []restoring) {
	for i := range n.kept.kinds {
		k := &n.kept.kinds[i]
		if k.asked {
			continue
		}
		list = append(list, restoring{k, k.name == "bridges"})
		if k.name == lastPorts {
			list = append(list, restoring{n.kept.kindByRegistry["bridges"], false})
		}
	}
	return list
}

// restoring is a kind that is made, or of bridges only what their ports need.
type restoring struct {
	*keeper
	footing bool
}

// lay makes what ports need of the bridges that are missing, where they are to be mended, and puts the rest of these
// bridges behind the ports.
func (r *reconciler) lay(ctx context.Context, found []finding, now time.Time) []finding {
	var early, late, bridges []finding
	for _, f := range found {
		switch {
		case f.isFooting():
			bridges = append(bridges, f)
			if r.repair.Load() && r.mayTry(f.name(), now) {
				r.layOne(ctx, f)
			}
		case r.net.rank(f.kind) <= r.net.rank(lastPorts):
			early = append(early, f)
		default:
			late = append(late, f)
		}
	}
	return slices.Concat(early, bridges, late)
}

// layOne makes the footing of one bridge. What fails is told when it is the bridge's turn.
func (r *reconciler) layOne(ctx context.Context, f finding) {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	_ = r.net.inTurn(ctx, f.place(), func(now finding) error {
		if !now.isFooting() {
			return nil
		}
		return r.net.mend(ctx, now.footing())
	})
}

// rank is the place of a kind in the order of dependence.
func (n *Net) rank(kind string) int {
	return slices.IndexFunc(n.kept.kinds, func(k keeper) bool { return k.name == kind })
}
