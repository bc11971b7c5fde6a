package netops

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/netops/internal/kernelrow"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// defaultMetric6 is what the kernel takes for an IPv6 route without a metric (IP6_RT_PRIO_USER).
const defaultMetric6 = 1024

// RoutesAdd handles net.routes.add.
func (n *Net) RoutesAdd(ctx context.Context, p *registry.NetRoutesAddParams) (*registry.NetRoutesAddResult, error) {
	if err := checkRoute(p); err != nil {
		return nil, err
	}
	p.Interface = n.linkNameOf(p.Interface)
	for i := range p.Nexthops {
		p.Nexthops[i].Interface = n.linkNameOf(p.Nexthops[i].Interface)
	}
	want := wantedRoute(p)
	id := want.id()
	unlock, err := n.lock(ctx, want.locks()...)
	if err != nil {
		return nil, err
	}
	defer unlock()
	standing, registered := n.kept.routes.Get(id)
	if !registered {
		return n.makeRoute(ctx, want)
	}
	c := routeDifferences(p, &standing)
	if c, err = n.butChosen(ctx, c, standing); err != nil {
		return nil, err
	}
	switch {
	case len(c) == 0:
		return n.keepRoute(ctx, standing)
	case p.Replace.Or(false):
		return n.replaceRoute(ctx, standing, want)
	}
	return nil, c.conflict("route", id)
}

// makeRoute adds a route that is not registered. The kernel refuses it where something has its key.
func (n *Net) makeRoute(ctx context.Context, want routeSpec) (*registry.NetRoutesAddResult, error) {
	if err := n.checkInterfaces(ctx, want); err != nil {
		return nil, err
	}
	result := &registry.NetRoutesAddResult{Created: true}
	err := n.performRoute(ctx, write{
		method: "net.routes.add", to: []spec{want}, exclusive: true, changes: []state.Change{n.kept.routes.Put(want.id(), want)},
		exists: func(ctx context.Context) error { return n.foreignRoute(ctx, want) },
	}, want, &result.Route)
	if err != nil {
		return nil, err
	}
	return result, nil
}

// keepRoute answers with a route that stands as asked, and puts it back where it is gone.
func (n *Net) keepRoute(ctx context.Context, want routeSpec) (*registry.NetRoutesAddResult, error) {
	p, err := n.standing(ctx, want, true, "")
	if err != nil {
		return nil, err
	}
	if p.waits != "" {
		return nil, n.checkInterfaces(ctx, want)
	}
	result := &registry.NetRoutesAddResult{Created: p.missing}
	if p.done() {
		row, err := n.routeRowOf(ctx, want.key())
		if err != nil {
			return nil, err
		}
		result.Route = *row
		tellRoute(&result.Route, want)
		return result, nil
	}
	err = n.performRoute(ctx, write{method: "net.routes.add", from: []spec{want}, to: []spec{want}}, want, &result.Route)
	return result, err
}

// replaceRoute puts a route in the place of ours with the same key.
func (n *Net) replaceRoute(ctx context.Context, standing, want routeSpec) (*registry.NetRoutesAddResult, error) {
	if err := n.checkInterfaces(ctx, want); err != nil {
		return nil, err
	}
	result := &registry.NetRoutesAddResult{Created: true, Replaced: registry.Some(true)}
	err := n.performRoute(ctx, write{
		method: "net.routes.add", from: []spec{standing}, to: []spec{want}, changes: []state.Change{n.kept.routes.Put(want.id(), want)},
	}, want, &result.Route)
	return result, err
}

// tellRoute adds to a route what is registered of it.
func tellRoute(row *registry.Route, spec routeSpec) {
	row.Managed, row.Tag, row.Persistent = true, registry.NonZero(spec.Tag), registry.Some(!spec.Passing)
}

// performRoute performs a write and fills in the route as the kernel made it.
func (n *Net) performRoute(ctx context.Context, w write, want routeSpec, row *registry.Route) error {
	told := false
	w.route = func(m *rtnl.Route) {
		conn, err := n.sockets.Get() // m is a row of the other
		if err != nil {
			return
		}
		defer n.sockets.Put(conn)
		*row, told = cloneRoute(kernelrow.NewRoute(conn).Of(m)), true
	}
	if err := n.perform(ctx, w); err != nil {
		return err
	}
	if !told {
		read, err := n.routeRowOf(ctx, want.key())
		if err != nil {
			return err
		}
		*row = *read
	}
	tellRoute(row, want)
	return nil
}

// cloneRoute copies a row out of the memory that the next one uses again.
func cloneRoute(r *registry.Route) registry.Route {
	c := *r
	c.Flags = slices.Clone(r.Flags)
	c.Nexthops = slices.Clone(r.Nexthops)
	if r.Encap != nil {
		encap := *r.Encap
		c.Encap = &encap
	}
	if r.Metrics != nil {
		metrics := *r.Metrics
		c.Metrics = &metrics
	}
	return c
}

// routeRowOf is our route with a key, as the kernel has it now.
func (n *Net) routeRowOf(ctx context.Context, key ownKey) (*registry.Route, error) {
	conn, err := n.sockets.Get()
	if err != nil {
		return nil, err
	}
	defer n.sockets.Put(conn)
	row := kernelrow.NewRoute(conn)
	var found *registry.Route
	filter := rtnl.RouteFilter{Family: familyOf(key.Dst), Table: key.Table, Protocol: RouteProtocol, Dst: key.Dst}
	_, err = wire.Gathered(func() (bool, error) {
		found = nil
		return wire.Each(conn.Routes(ctx, filter), func(m *rtnl.Route) error {
			if keyOf(m) == key {
				r := cloneRoute(row.Of(m))
				found = &r
			}
			return nil
		})
	})
	if err == nil && found == nil {
		err = notFound("route", key.String())
	}
	return found, err
}

// checkInterfaces looks for the interfaces that a route names.
func (n *Net) checkInterfaces(ctx context.Context, r routeSpec) error {
	h, err := n.look(ctx, needs{links: r.interfaces()})
	if err != nil {
		return err
	}
	for _, name := range r.interfaces() {
		if h.links[name] == nil {
			return noInterface(name)
		}
	}
	return nil
}

// foreignRoute is the conflict with a route that has the key and is not registered.
func (n *Net) foreignRoute(ctx context.Context, want routeSpec) error {
	h, err := n.look(ctx, want.needs())
	if err != nil {
		return err
	}
	what := "a route"
	for _, r := range h.routes[want.key()] {
		what = "a route of protocol " + kernelrow.ProtocolName(r.Protocol)
	}
	if len(h.routes[want.key()]) == 0 && len(want.NextHops) > 1 { // the kernel took the first ways back
		return (&faults{{Path: "nexthops", Message: "must be different ways for an IPv6 destination; the kernel finds two of them the same"}}).err()
	}
	return foreign("route", want.id(), fmt.Sprintf("%s to %s stands with this table, tos and metric, which this daemon did not make: choose another metric, or delete it with force", what, want.Dst))
}

// wantedRoute makes the params a spec.
func wantedRoute(p *registry.NetRoutesAddParams) routeSpec {
	r := routeSpec{
		Dst: p.Dst, Table: uint32(p.Table.Or(unix.RT_TABLE_MAIN)), TOS: uint8(p.Tos.Or(0)), Metric: metricOf(p.Dst, p.Metric),
		Type: string(p.Type.Or(registry.RouteTypeParamUnicast)), Gateway: p.Gateway.Or(netip.Addr{}), Interface: p.Interface.Or(""),
		OnLink: p.Onlink.Or(false), PrefSrc: p.PreferredSource.Or(netip.Addr{}), MTU: uint32(p.MTU.Or(0)),
		Passing: !p.Persistent.Or(true), Tag: p.Tag.Or(""),
	}
	for _, h := range p.Nexthops {
		r.NextHops = append(r.NextHops, hopOf(h))
	}
	return r
}

func hopOf(h registry.RouteNextHopParam) hopSpec {
	return hopSpec{Gateway: h.Gateway.Or(netip.Addr{}), Interface: h.Interface.Or(""), Weight: int(h.Weight.Or(1)), OnLink: h.Onlink.Or(false)}
}

// metricOf is the metric that a route gets: none is 0 for IPv4, and for IPv6, where 0 is none too, 1024.
func metricOf(dst netip.Prefix, asked registry.Opt[int64]) uint32 {
	metric := uint32(asked.Or(0))
	if metric == 0 && dst.Addr().Is6() {
		return defaultMetric6
	}
	return metric
}

func routeDifferences(p *registry.NetRoutesAddParams, r *routeSpec) (c comparison) {
	given(&c, "type", p.Type, registry.RouteTypeParam(r.Type))
	given(&c, "gateway", p.Gateway, r.Gateway)
	given(&c, "interface", p.Interface, r.Interface)
	given(&c, "onlink", p.Onlink, r.OnLink)
	given(&c, "preferred_source", p.PreferredSource, r.PrefSrc)
	given(&c, "mtu", p.MTU, int64(r.MTU))
	given(&c, "persistent", p.Persistent, !r.Passing)
	if p.Nexthops != nil {
		var asked []hopSpec
		for _, h := range p.Nexthops {
			asked = append(asked, hopOf(h))
		}
		givenList(&c, "nexthops", asked, r.NextHops)
	}
	return c
}

// butChosen takes out of a comparison the interface that was left to the kernel and that it chose so.
func (n *Net) butChosen(ctx context.Context, c comparison, standing routeSpec) (comparison, error) {
	at := slices.IndexFunc(c, func(d registry.Difference) bool { return d.Field == "interface" })
	if at < 0 || standing.Interface != "" || len(standing.NextHops) > 0 {
		return c, nil
	}
	h, err := n.look(ctx, standing.needs())
	if err != nil {
		return nil, err
	}
	for _, have := range h.routes[standing.key()] {
		if have.Protocol == RouteProtocol && h.nameOf(have.OIF) == c[at].Asked {
			return slices.Delete(c, at, at+1), nil
		}
	}
	return c, nil
}

// String is the way in the words of ip-route(8).
func (h hopSpec) String() string {
	words := append(wayText(h.Gateway, h.Interface), "weight", strconv.Itoa(h.Weight))
	if h.OnLink {
		words = append(words, "onlink")
	}
	return fmt.Sprint(words)
}

// checkRoute refuses params that do not go together.
func checkRoute(p *registry.NetRoutesAddParams) error {
	var f faults
	unicast := p.Type.Or(registry.RouteTypeParamUnicast) == registry.RouteTypeParamUnicast
	ways := p.Gateway.IsSet() || p.Interface.IsSet() || p.Nexthops != nil
	switch {
	case unicast && !ways:
		f.add("gateway", "must be given, or interface or nexthops, for a route of type unicast")
	case !unicast && ways:
		f.add("type", "%s takes none of gateway, interface and nexthops", p.Type.Or(""))
	case p.Nexthops != nil && (p.Gateway.IsSet() || p.Interface.IsSet()):
		f.add("nexthops", "must not be given together with gateway or interface")
	}
	if p.Tos.Or(0) != 0 && p.Dst.Addr().Is6() {
		f.add("tos", "must not be given for IPv6")
	}
	if p.Table == registry.Some[int64](unix.RT_TABLE_LOCAL) {
		f.add("table", "must not be %d (local), which is the kernel's", unix.RT_TABLE_LOCAL)
	}
	if p.Onlink.Or(false) && !(p.Gateway.IsSet() && p.Interface.IsSet()) {
		f.add("onlink", "must be given together with gateway and interface")
	}
	if src, ok := p.PreferredSource.Get(); ok && src.Is4() != p.Dst.Addr().Is4() {
		f.add("preferred_source", "must be of the family of dst, got %s", src)
	}
	if p.Dst.Addr().IsMulticast() {
		f.add("dst", "must not be a multicast network")
	}
	f.checkGateway("gateway", p.Dst, p.Gateway)
	for i, h := range p.Nexthops {
		path := "nexthops[" + strconv.Itoa(i) + "]"
		if same := slices.IndexFunc(p.Nexthops[:i], func(o registry.RouteNextHopParam) bool {
			return o.Gateway == h.Gateway && o.Interface == h.Interface
		}); same >= 0 && p.Dst.Addr().Is6() {
			f.add(path, "must not be the way of nexthops[%d] again for an IPv6 destination: weight says how often it is taken", same)
		}
		if !h.Gateway.IsSet() && !h.Interface.IsSet() {
			f.add(path, "must have a gateway or an interface")
		}
		f.checkGateway(path+".gateway", p.Dst, h.Gateway)
	}
	return f.err()
}

// checkGateway notes what is wrong with a next hop.
func (f *faults) checkGateway(path string, dst netip.Prefix, gateway registry.Opt[netip.Addr]) {
	g, ok := gateway.Get()
	switch {
	case !ok:
	case g.Is4() && dst.Addr().Is6():
		f.add(path, "must be IPv6 for an IPv6 destination, got %s", g)
	case g.IsUnspecified(), g.IsMulticast(), g.IsLoopback(), g.Is4In6():
		f.add(path, "must be the address of another host, got %s", g)
	}
}

// RoutesDelete handles net.routes.delete.
func (n *Net) RoutesDelete(ctx context.Context, p *registry.NetRoutesDeleteParams) (*registry.NetRoutesDeleteResult, error) {
	p.Interface = n.linkNameOf(p.Interface)
	key := ownKey{p.Dst, uint32(p.Table.Or(unix.RT_TABLE_MAIN)), uint8(p.Tos.Or(0)), metricOf(p.Dst, p.Metric)}
	unlock, err := n.lock(ctx, state.Exclusive("route/"+key.String()))
	if err != nil {
		return nil, err
	}
	defer unlock()
	standing, registered := n.kept.routes.Get(key.String())
	if !registered || p.Gateway.IsSet() || p.Interface.IsSet() {
		return n.deleteHeld(ctx, p, key, standing, registered)
	}
	return n.deleteOwn(ctx, standing)
}

// deleteOwn deletes a registered route, without a look at what stands.
func (n *Net) deleteOwn(ctx context.Context, standing routeSpec) (*registry.NetRoutesDeleteResult, error) {
	result := &registry.NetRoutesDeleteResult{Deleted: true}
	w := write{
		method: "net.routes.delete", from: []spec{standing}, exclusive: true,
		changes: []state.Change{n.kept.routes.Remove(standing.id())},
	}
	w.route = n.intoResult(result)
	if err := n.perform(ctx, w); err != nil {
		return nil, err
	}
	return result, nil
}

func (n *Net) intoResult(result *registry.NetRoutesDeleteResult) func(*rtnl.Route) {
	return func(m *rtnl.Route) {
		conn, err := n.sockets.Get()
		if err != nil {
			return
		}
		defer n.sockets.Put(conn)
		row := cloneRoute(kernelrow.NewRoute(conn).Of(m))
		result.Route = &row
	}
}

// deleteHeld deletes the route that stands with a key and, where they are given, a gateway and an interface.
func (n *Net) deleteHeld(ctx context.Context, p *registry.NetRoutesDeleteParams, key ownKey, standing routeSpec, registered bool) (*registry.NetRoutesDeleteResult, error) {
	h, err := n.look(ctx, needs{routes: []ownKey{key}})
	if err != nil {
		return nil, err
	}
	gone := registered && !slices.ContainsFunc(h.routes[key], func(r heldRoute) bool { return r.Protocol == RouteProtocol })
	found := slices.DeleteFunc(h.routes[key], func(r heldRoute) bool { return !r.goes(h, p) })
	switch {
	case len(found) == 0 && gone && standing.goes(p): // else it would be there again after a boot
		return n.deleteOwn(ctx, standing)
	case len(found) == 0:
		return &registry.NetRoutesDeleteResult{}, nil
	case len(found) > 1:
		return nil, foreign("route", key.String(), fmt.Sprintf("%d routes have this key: say which by gateway and interface", len(found)))
	case found[0].Protocol == RouteProtocol && registered:
		return n.deleteOwn(ctx, standing)
	case found[0].Protocol != RouteProtocol && !p.Force.Or(false):
		return nil, refused("foreign_route", "force", "the route to %s is of protocol %s: this daemon did not make it; force deletes it all the same", p.Dst, kernelrow.ProtocolName(found[0].Protocol))
	}
	result := &registry.NetRoutesDeleteResult{Deleted: true}
	w := write{method: "net.routes.delete", from: []spec{foundRoute{found[0]}}, route: n.intoResult(result)}
	if err := n.perform(ctx, w); err != nil {
		return nil, err
	}
	return result, nil
}

// goes tells whether a route goes by the gateway and the interface that a call names.
func (r *heldRoute) goes(h *held, p *registry.NetRoutesDeleteParams) bool {
	gateway, hasGateway := p.Gateway.Get()
	name, hasName := p.Interface.Get()
	hops := append([]heldHop{{Gateway: r.Gateway, OIF: r.OIF}}, r.Hops...)
	return slices.ContainsFunc(hops, func(hop heldHop) bool {
		return (!hasGateway || hop.Gateway == gateway) && (!hasName || h.nameOf(hop.OIF) == name)
	})
}

// goes tells the same of a route that is registered. An interface that is left to the kernel may be any.
func (r routeSpec) goes(p *registry.NetRoutesDeleteParams) bool {
	gateway, hasGateway := p.Gateway.Get()
	name, hasName := p.Interface.Get()
	ways := r.NextHops
	if len(ways) == 0 {
		ways = []hopSpec{{Gateway: r.Gateway, Interface: r.Interface}}
	}
	return slices.ContainsFunc(ways, func(way hopSpec) bool {
		return (!hasGateway || way.Gateway == gateway) && (!hasName || way.Interface == "" || way.Interface == name)
	})
}

// foundRoute is a route that is not registered and that a call named to be deleted.
type foundRoute struct{ heldRoute }

func (r foundRoute) resource() string      { return "route" }
func (r foundRoute) id() string            { return r.Key.String() }
func (r foundRoute) line() string          { return r.Key.Dst.String() }
func (r foundRoute) lasts() bool           { return false }
func (r foundRoute) locks() []state.Object { return nil }
func (r foundRoute) needs() needs          { return needs{} }
func (r foundRoute) plan(*held) plan       { return plan{} }
func (r foundRoute) removal(*held) plan {
	return plan{steps: []step{deleteRoute{r.Full}}}
}
