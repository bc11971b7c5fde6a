package netops

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Verify handles net.verify: the plans that a start would take, told instead of taken.
func (n *Net) Verify(ctx context.Context, p *registry.NetVerifyParams) (*registry.NetVerifyResult, error) {
	if p.Confirm.IsSet() {
		if err := n.policing.confirm(ctx); err != nil {
			return nil, err
		}
	}
	drift, checked, err := n.drift(ctx)
	if err != nil {
		return nil, err
	}
	return &registry.NetVerifyResult{
		InSync: len(drift) == 0, Checked: int64(checked), Drift: drift,
		ReconcileMode: registry.Some(string(n.reconciler.mode())), CheckedAt: registry.Some(time.Now().UTC()),
		InputPolicy: n.policing.row(),
	}, nil
}

// drift is all that differs, by resource and id, and the number of objects that were compared.
func (n *Net) drift(ctx context.Context) (list []registry.Drift, checked int, err error) {
	found, strays, checked, err := n.compared(ctx)
	if err != nil {
		return nil, 0, err
	}
	list = []registry.Drift{}
	for _, f := range found {
		list = append(list, n.tell(f))
	}
	for i := range strays {
		list = append(list, n.tellStray(&strays[i]))
	}
	slices.SortStableFunc(list, func(a, b registry.Drift) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.ID, b.ID))
	})
	return list, checked, nil
}

// compared is what is registered beside what the kernel has: what differs, what is there and not registered, and
// the number of objects.
func (n *Net) compared(ctx context.Context) (found []finding, strays []stray, checked int, err error) {
	for i := range n.kept.kinds {
		k := &n.kept.kinds[i]
		for range k.all() {
			checked++
		}
		of, err := n.survey(ctx, k)
		if err != nil {
			return nil, nil, 0, err
		}
		found = append(found, slices.DeleteFunc(of, func(f finding) bool { return f.plan.gone })...)
	}
	strays, err = n.strays(ctx)
	return found, strays, checked, err
}

// tell is a finding in the table's words.
func (n *Net) tell(f finding) registry.Drift {
	d := registry.Drift{Resource: f.spec.resource(), ID: f.spec.id(), Kind: registry.DriftKindChanged, Differences: f.plan.differs}
	if f.plan.missing {
		d.Kind = registry.DriftKindMissing
		d.Expected = registry.Some(f.spec.line())
	}
	for _, s := range f.plan.steps {
		d.Repair = append(d.Repair, s.String())
	}
	d.WaitsFor = registry.NonZero(f.plan.waits)
	d.Cause = n.causes.of(d.Resource + " " + d.ID)
	if f.plan.obstacle != "" {
		d.Cause = registry.Some(f.plan.obstacle)
	}
	return d
}

// strays are the objects that bear our mark and are not registered.
func (n *Net) strays(ctx context.Context) ([]stray, error) {
	conn, err := n.sockets.Get()
	if err != nil {
		return nil, err
	}
	defer n.sockets.Put(conn)
	links, err := n.strayLinks(ctx, conn)
	if err != nil {
		return nil, err
	}
	routes, err := n.strayRoutes(ctx, conn)
	if err != nil {
		return nil, err
	}
	elements, err := n.strayElements(ctx)
	list := slices.Concat(links, routes, elements, n.strayRows(ctx))
	return slices.DeleteFunc(list, func(s stray) bool { return len(n.unknown.on(s.locks)) > 0 }), err
}

// markedAs is the resource whose objects bear a mark.
var markedAs = map[string]string{markBridge: "bridge", markTap: "tap", markConnection: "connection"}

func (n *Net) strayLinks(ctx context.Context, conn *rtnl.Conn) (list []stray, err error) {
	_, err = wire.Gathered(func() (bool, error) {
		list = nil
		return wire.Each(conn.Links(ctx, rtnl.LinkFilter{}), func(l *rtnl.Link) error {
			if resource := markedAs[l.Alias]; resource != "" && !n.ourLink(l.Name, l.Alias) {
				list = append(list, n.strayLink(resource, l))
			}
			return nil
		})
	})
	return list, err
}

func (n *Net) strayRoutes(ctx context.Context, conn *rtnl.Conn) (list []stray, err error) {
	_, err = wire.Gathered(func() (bool, error) {
		list = nil
		interrupted, leased := false, n.kept.leaseRoutes()
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			flagged, err := wire.Each(conn.Routes(ctx, rtnl.RouteFilter{Family: family, Protocol: RouteProtocol}), func(r *rtnl.Route) error {
				if key := keyOf(r).String(); !n.kept.routes.Has(key) && !leased[keyOf(r)] {
					list = append(list, n.strayRoute(r))
				}
				return nil
			})
			interrupted = interrupted || flagged
			if err != nil {
				return interrupted, err
			}
		}
		return interrupted, nil
	})
	return list, err
}

func unexpected(resource, id, actual string) registry.Drift {
	return registry.Drift{Resource: resource, ID: id, Kind: registry.DriftKindUnexpected, Actual: registry.Some(actual)}
}
