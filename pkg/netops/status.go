package netops

import (
	"cmp"
	"context"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/hostinfo"
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/kernelrow"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Status handles net.status. What cannot be read is absent; only the caller's deadline fails the call.
func (n *Net) Status(ctx context.Context, _ *registry.NetStatusParams) (*registry.NetStatusResult, error) {
	now := time.Now()
	uname := hostinfo.ReadUname()
	uptime := hostinfo.Uptime()
	s := &registry.NetStatusResult{
		Mode:          n.options.Mode,
		Version:       n.options.Version,
		Pid:           int64(os.Getpid()),
		Uid:           int64(os.Geteuid()),
		StartedAt:     n.options.StartedAt.UTC(),
		UptimeS:       max(0, wire.Seconds(now.Sub(n.options.StartedAt))),
		Hostname:      uname.NodeName,
		BootID:        registry.NonZero(n.bootID),
		Kernel:        uname.Release,
		KernelVersion: registry.NonZero(uname.Version),
		Architecture:  uname.Machine,
		OS:            registry.NonZero(hostinfo.OSName(n.options.Root)),
		Unavailable:   n.unavailable(),
	}
	if uptime > 0 {
		s.NodeUptimeS = registry.Some(wire.Seconds(uptime))
		s.BootedAt = registry.Some(now.Add(-uptime).UTC().Truncate(time.Second))
	}
	if conn, err := n.sockets.Get(); err == nil {
		s.Addresses = nodeAddresses(ctx, conn)
		s.DefaultRoutes = n.defaultRoutes(ctx)
		n.sockets.Put(conn)
	}
	return s, ctx.Err()
}

// nodeAddresses are the addresses of the interfaces that are up, without the loopback's.
func nodeAddresses(ctx context.Context, conn *rtnl.Conn) []registry.NodeAddress {
	var list []registry.NodeAddress
	names := kernelrow.NamesBy(conn)
	_, _ = wire.Each(conn.Addresses(ctx, rtnl.AddressFilter{}), func(a *rtnl.Address) error {
		name, ok := names.Of(a.Index).Get()
		if !ok {
			return nil
		}
		flags, err := conn.LinkFlags(name)
		if err != nil || flags&unix.IFF_UP == 0 || flags&unix.IFF_LOOPBACK != 0 {
			return nil
		}
		list = append(list, registry.NodeAddress{
			Interface: name,
			Address:   kernelrow.AddressPrefix(a),
			Family:    wire.Family(a.Family),
			Scope:     rtnl.ScopeName(a.Scope),
		})
		return nil
	})
	return list
}

// defaultRoutes are those that can be listed.
func (n *Net) defaultRoutes(ctx context.Context) []registry.Route {
	list, _ := n.listDefaultRoutes(ctx)
	return list
}

// listDefaultRoutes lists those of the table main, by rising metric. Where a family cannot be listed the others'
// are there beside the error. Each has a socket of its own: the dump of many routes is left once it is past the
// default ones, and a socket takes no other request then.
func (n *Net) listDefaultRoutes(ctx context.Context) (list []registry.Route, err error) {
	for _, f := range []rtnl.RouteFilter{
		{Family: unix.AF_INET, Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0)},
		{Family: unix.AF_INET6, Dst: netip.PrefixFrom(netip.IPv6Unspecified(), 0)},
	} {
		f.Table = unix.RT_TABLE_MAIN
		conn, failed := n.sockets.Get()
		if failed == nil {
			_, failed = wire.Each(conn.Routes(ctx, f), func(r *rtnl.Route) error {
				list = append(list, *kernelrow.NewRoute(conn).Of(r))
				return nil
			})
			n.sockets.Put(conn)
		}
		err = cmp.Or(err, failed)
	}
	slices.SortStableFunc(list, func(a, b registry.Route) int { return cmp.Compare(a.Metric.Or(0), b.Metric.Or(0)) })
	return list, err
}
