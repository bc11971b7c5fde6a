package netops

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Health handles net.health: it looks where net.interfaces, net.routes and the others look, and judges what is
// there. No packet is sent. What cannot be looked at is unknown and says why; only the caller's deadline fails
// the call.
func (n *Net) Health(ctx context.Context, _ *registry.NetHealthParams) (*registry.NetHealthResult, error) {
	var checks []registry.HealthCheck
	for _, check := range []func(context.Context) []registry.HealthCheck{
		n.checkLinks, n.checkWays, n.checkDNS, n.checkLeases, n.checkConntrack, n.checkDrift, n.checkReconcile, n.checkOVS, n.checkInputPolicy, n.checkState,
	} {
		checks = append(checks, check(ctx)...)
	}
	return &registry.NetHealthResult{
		Status: worst(checks), Checks: checks, CheckedAt: registry.Some(time.Now().UTC()),
	}, ctx.Err()
}

// unchecked is a check that could not look.
func unchecked(name string, err error) []registry.HealthCheck {
	return []registry.HealthCheck{{Name: name, Status: registry.CheckStatusUnknown, Message: err.Error()}}
}

func (n *Net) checkLinks(ctx context.Context) []registry.HealthCheck {
	conn, err := n.sockets.Get()
	if err != nil {
		return unchecked("links", err)
	}
	defer n.sockets.Put(conn)
	var links []linkHealth
	_, err = wire.Each(conn.Links(ctx, rtnl.LinkFilter{}), func(l *rtnl.Link) error {
		if h, ok := linkHealthOf(l); ok {
			links = append(links, h)
		}
		return nil
	})
	if err != nil {
		return unchecked("links", err)
	}
	return judgeLinks(links)
}

// linkHealth is what is looked at of an interface.
type linkHealth struct {
	name    string
	carrier bool
}

// linkHealthOf tells of an interface that is set up and should have a carrier. A bridge without ports, a tap that
// no guest has opened and what stands on another interface say nothing of the node.
func linkHealthOf(l *rtnl.Link) (linkHealth, bool) {
	plain := l.Kind == "" || l.Kind == kindVeth || l.Kind == "bond"
	up := l.Flags&unix.IFF_UP != 0 && l.Flags&unix.IFF_LOOPBACK == 0
	return linkHealth{l.Name, l.Carrier}, plain && up
}

func (n *Net) checkWays(ctx context.Context) []registry.HealthCheck {
	conn, err := n.sockets.Get()
	if err != nil {
		return unchecked("default_route", err)
	}
	defer n.sockets.Put(conn)
	ways, err := n.defaultWays(ctx, conn)
	if err != nil {
		return unchecked("default_route", err)
	}
	checks := judgeWays(ways)
	for _, w := range ways {
		if !w.gateway.IsValid() {
			continue
		}
		state, err := neighborState(ctx, conn, w)
		if err != nil {
			return append(checks, unchecked("gateway:"+w.gateway.String(), err)...)
		}
		checks = append(checks, judgeGateway(w, state))
	}
	return checks
}

// defaultWays are the ways of the default routes of the table main, each once, the preferred ones first.
func (n *Net) defaultWays(ctx context.Context, conn *rtnl.Conn) ([]way, error) {
	var ways []way
	seen := map[way]bool{}
	add := func(w way) {
		if !seen[w] {
			seen[w] = true
			ways = append(ways, w)
		}
	}
	routes, err := n.listDefaultRoutes(ctx)
	for _, r := range routes {
		if r.Type != registry.RouteTypeUnicast {
			continue
		}
		w := way{family: r.Family, link: r.Interface.Or("")}
		w.gateway, _ = r.Gateway.Get()
		if len(r.Nexthops) == 0 {
			add(w)
		}
		for _, hop := range r.Nexthops {
			w.link = hop.Interface.Or("")
			w.gateway, _ = hop.Gateway.Get()
			add(w)
		}
	}
	for i := range ways {
		if flags, err := conn.LinkFlags(ways[i].link); err == nil {
			ways[i].down = flags&unix.IFF_UP == 0 || flags&unix.IFF_RUNNING == 0
		}
	}
	return ways, err
}

// neighborState is the state of a gateway's neighbour entry (NUD_*); 0: there is none.
func neighborState(ctx context.Context, conn *rtnl.Conn, w way) (state uint16, err error) {
	index, err := conn.LinkIndex(w.link)
	if err != nil {
		return 0, err
	}
	family := uint8(unix.AF_INET6)
	if w.gateway.Is4() {
		family = unix.AF_INET
	}
	_, err = wire.Each(conn.Neighbors(ctx, rtnl.NeighborFilter{Family: family, Index: index}), func(e *rtnl.Neighbor) error {
		if e.Addr == w.gateway {
			state = e.State
		}
		return nil
	})
	return state, err
}

func (n *Net) checkDNS(ctx context.Context) []registry.HealthCheck {
	dns, err := n.DNS(ctx, &registry.NetDNSParams{})
	if err != nil {
		return unchecked("dns", err)
	}
	return judgeDNS(dns)
}

func (n *Net) checkLeases(ctx context.Context) []registry.HealthCheck {
	leases, err := n.Lease(ctx, &registry.NetLeaseParams{})
	if err != nil {
		return unchecked("leases", err)
	}
	return judgeLeases(leases, time.Now())
}

func (n *Net) checkConntrack(ctx context.Context) []registry.HealthCheck {
	stats := &registry.NetConntrackStatsResult{}
	if err := n.inside(func() error { return readConntrackState(n.options.Root, stats) }); err != nil {
		return nil // no connection tracking in this kernel, or none has begun
	}
	return judgeConntrack(stats.Count, stats.Max)
}

func (n *Net) checkDrift(ctx context.Context) []registry.HealthCheck {
	drift, checked, err := n.drift(ctx)
	if err != nil {
		return unchecked("drift", err)
	}
	return judgeDrift(drift, checked)
}

// checkState tells of registries that could not be read whole.
func (n *Net) checkState(context.Context) []registry.HealthCheck {
	if n.options.State == nil {
		return nil
	}
	return judgeState(n.options.State.Problems())
}
