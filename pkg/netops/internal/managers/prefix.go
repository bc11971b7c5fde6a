package managers

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/dhcp6"
	"github.com/geomind/my_os_server/internal/netconf"
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/kernelrow"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// PrefixRoute is a route of IPv6 that may be to a delegated prefix or a part of one.
type PrefixRoute struct {
	dst      netip.Prefix
	index    int  // of the interface that the network is on; 0: it is on none
	refused  bool // unreachable, prohibit or blackhole
	protocol uint8
	expires  uint32 // seconds; rtnl.Forever
}

// ReadPrefixRoutes reads the routes of IPv6 to networks on a link, and those that refuse.
func ReadPrefixRoutes(ctx context.Context, conn *rtnl.Conn) ([]PrefixRoute, error) {
	var routes []PrefixRoute
	err := again(func() (bool, error) {
		routes = routes[:0]
		return wire.Each(conn.Routes(ctx, rtnl.RouteFilter{Family: unix.AF_INET6}), func(r *rtnl.Route) error {
			if p, ok := prefixRouteOf(r); ok {
				routes = append(routes, p)
			}
			return nil
		})
	})
	return routes, err
}

func prefixRouteOf(r *rtnl.Route) (PrefixRoute, bool) {
	p := PrefixRoute{dst: r.Dst, index: r.OIF, protocol: r.Protocol, expires: rtnl.Forever}
	if t := r.CacheInfo.Expires; t > 0 {
		p.expires = uint32(t) / rtnl.UserHZ
	}
	switch r.Type {
	case unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT, unix.RTN_BLACKHOLE:
		p.refused, p.index = true, 0
	case unix.RTN_UNICAST:
		if r.Gateway.IsValid() || len(r.NextHops) > 0 || r.NextHopID != 0 || r.Table == unix.RT_TABLE_LOCAL {
			return p, false
		}
	default:
		return p, false
	}
	global := !r.Dst.Addr().IsLinkLocalUnicast() && !r.Dst.Addr().IsMulticast()
	return p, global && r.Dst.Bits() > 0 && r.Dst.Bits() < hostBits
}

// prefixesOf are the prefixes that were delegated by way of an interface. One that has ended is history
// unless its holder runs.
func (v *View) prefixesOf(l *netconf.Link) []registry.DelegatedPrefix {
	rows := []registry.DelegatedPrefix{}
	for _, s := range v.sources {
		holder := s.holder(l, false)
		kept := s.leases().V6
		for i := range kept {
			if !isOf(&kept[i].Holder, l) {
				continue
			}
			for j := range kept[i].Prefixes {
				row, ok := v.prefixRow(l, &kept[i], &kept[i].Prefixes[j], holder.Manager == kept[i].Manager)
				if ok && !slices.ContainsFunc(rows, func(r registry.DelegatedPrefix) bool { return r.Prefix == row.Prefix }) {
					rows = append(rows, row)
				}
			}
		}
	}
	return append(rows, v.networkdPrefixes(l)...)
}

func (v *View) prefixRow(l *netconf.Link, lease *netconf.Lease6, p *netconf.IAPrefix, held bool) (registry.DelegatedPrefix, bool) {
	times := p.Times(p.Lifetimes)
	row := registry.DelegatedPrefix{
		Prefix:     p.Prefix,
		Interface:  l.Name,
		Iaid:       int64(p.IAID),
		ServerDuid: wire.Hex(lease.ServerDUID),
		Server:     wire.Addr(lease.Server),
		State:      leaseBound,
		ObtainedAt: instantOf(times.Obtained),
		RenewAt:    instantOf(times.Renew),
		RebindAt:   instantOf(times.Rebind),
		ExpiresAt:  instantOf(times.Expires),
		Manager:    registry.NonZero(lease.Manager),
		File:       registry.NonZero(lease.File),
	}
	if p.Known {
		row.PreferredS, row.ValidS = v.remaining(p.Starts, p.Preferred), v.remaining(p.Starts, p.Valid)
	}
	if state := v.own().States6[l.Name]; lease.Manager == Own && (state == string(dhcp6.Renewing) || state == string(dhcp6.Rebinding)) {
		row.State = state
	}
	if expired(times.Expires, v.Now) {
		row.State = leaseExpired
	}
	v.use(&row)
	return row, p.HasID && (held || row.State == leaseBound)
}

func expired(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }

// networkdPrefixes are those that systemd-networkd holds. It keeps no file of them, but makes a route that
// refuses what no interface has of a prefix, with the protocol dhcp and the prefix' life. They are told
// where one interface alone asks for leases of DHCPv6, so that they came by way of it.
func (v *View) networkdPrefixes(l *netconf.Link) []registry.DelegatedPrefix {
	state, ok := v.files.owners.Networkd[l.Index]
	if !ok || !state.HasIAID || v.holder(l, false).Manager != netconf.Networkd || v.asking() != 1 {
		return nil
	}
	var rows []registry.DelegatedPrefix
	for _, r := range v.Routes {
		if !r.refused || r.protocol != routeProtocolDHCP {
			continue
		}
		row := registry.DelegatedPrefix{
			Prefix:    r.dst,
			Interface: l.Name,
			Iaid:      int64(state.IAID),
			ValidS:    kernelrow.Lifetime(r.expires),
			ExpiresAt: instantOf(v.endOf(r.expires)),
			State:     leaseBound,
			Manager:   registry.Some(netconf.Networkd),
			File:      registry.Some(state.File),
		}
		v.use(&row)
		rows = append(rows, row)
	}
	return rows
}

// asking is by how many interfaces networkd asks for leases of DHCPv6.
func (v *View) asking() int {
	count := 0
	for _, state := range v.files.owners.Networkd {
		if state.HasIAID {
			count++
		}
	}
	return count
}

// use says which parts of a prefix interfaces have, and whether the rest is refused.
func (v *View) use(row *registry.DelegatedPrefix) {
	row.SubPrefixes = []registry.SubPrefix{}
	for i := range v.Links {
		for j := range v.Addresses[v.Links[i].Index] {
			a := &v.Addresses[v.Links[i].Index][j]
			p := kernelrow.AddressPrefix(a)
			if isGlobalV6(a) && row.Prefix.Contains(p.Addr()) && p.Bits() >= row.Prefix.Bits() {
				row.SubPrefixes = append(row.SubPrefixes, registry.SubPrefix{
					Prefix:    p.Masked(),
					Interface: registry.Some(v.Links[i].Name),
					Address:   registry.Some(p),
				})
			}
		}
	}
	refused := false
	for _, r := range v.Routes {
		if r.refused {
			refused = refused || r.dst == row.Prefix
			continue
		}
		v.routed(row, &r)
	}
	row.UnreachableRoute = registry.Some(refused)
	slices.SortStableFunc(row.SubPrefixes, func(a, b registry.SubPrefix) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
}

// routed adds a network on a link that has no address of ours in it.
func (v *View) routed(row *registry.DelegatedPrefix, r *PrefixRoute) {
	if !row.Prefix.Contains(r.dst.Addr()) || r.dst.Bits() < row.Prefix.Bits() {
		return
	}
	i := slices.IndexFunc(v.Links, func(l netconf.Link) bool { return l.Index == r.index })
	if i < 0 {
		return
	}
	name := registry.Some(v.Links[i].Name)
	if !slices.ContainsFunc(row.SubPrefixes, func(s registry.SubPrefix) bool { return s.Prefix == r.dst && s.Interface == name }) {
		row.SubPrefixes = append(row.SubPrefixes, registry.SubPrefix{Prefix: r.dst, Interface: name})
	}
}

// hostBits are as many as a route of IPv6 to a single address has.
const hostBits = 128

// routeProtocolDHCP is RTPROT_DHCP (linux/rtnetlink.h).
const routeProtocolDHCP = 16

// Prefixes is the answer of net.prefix.
func (v *View) Prefixes() *registry.NetPrefixResult {
	result := &registry.NetPrefixResult{Prefixes: []registry.DelegatedPrefix{}, Files: fileRows(v.files.files)}
	for i := range v.Links {
		result.Prefixes = append(result.Prefixes, v.prefixesOf(&v.Links[i])...)
	}
	slices.SortFunc(result.Prefixes, func(a, b registry.DelegatedPrefix) int {
		return cmp.Or(cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.Iaid, b.Iaid), a.Prefix.Addr().Compare(b.Prefix.Addr()))
	})
	return result
}
