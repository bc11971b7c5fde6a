package managers

import (
	"net/netip"
	"slices"
	"time"

	"github.com/geomind/my_os_server/internal/netconf"
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// candidate4 is a lease with what is found out of it.
type candidate4 struct {
	lease netconf.Lease4
	state string
	held  bool // by the manager that holds the interface's leases now
}

// dhcp4 is the DHCPv4 lease of an interface: of several that files keep that of the holder, else the one
// whose address is there, else the one that ends last. nil: none.
func (v *View) dhcp4(l *netconf.Link) *registry.Dhcp4Lease {
	holder := v.holder(l, true)
	var best *candidate4
	for _, s := range v.sources {
		kept := s.leases().V4
		for i := range kept {
			if !isOf(&kept[i].Holder, l) {
				continue
			}
			c := v.judge4(kept[i], l, holder)
			if own, ok := s.(*OwnLeases); ok {
				c.state = own.States[l.Name]
			}
			if c.state != "" && (best == nil || c.before(best)) {
				best = c
			}
		}
	}
	if best == nil {
		return nil
	}
	return lease4Row(best)
}

// before tells whether c is the lease rather than d. Of equals the source that was read first counts.
func (c *candidate4) before(d *candidate4) bool {
	if c.held != d.held {
		return c.held
	}
	if (c.state == leaseBound) != (d.state == leaseBound) {
		return c.state == leaseBound
	}
	const rounding = 2 * time.Second
	return c.lease.Expires.After(d.lease.Expires.Add(rounding))
}

func (v *View) judge4(lease netconf.Lease4, l *netconf.Link, holder netconf.Owner) *candidate4 {
	a := v.address(l, lease.Address.Addr())
	if a != nil {
		if a.Valid != rtnl.Forever {
			lease.SetExpiry(v.endOf(a.Valid))
		}
		if lease.Address.IsSingleIP() {
			lease.Address = netip.PrefixFrom(a.Local, a.PrefixLen)
		}
	}
	held := holder.Manager == lease.Manager
	return &candidate4{lease: lease, held: held, state: v.stateOf(a != nil, held, lease.Expires)}
}

// address finds an address on an interface; nil where it is not there.
func (v *View) address(l *netconf.Link, addr netip.Addr) *rtnl.Address {
	list := v.Addresses[l.Index]
	i := slices.IndexFunc(list, func(a rtnl.Address) bool { return a.Local == addr })
	if i < 0 {
		return nil
	}
	return &list[i]
}

func lease4Row(c *candidate4) *registry.Dhcp4Lease {
	l := &c.lease
	row := &registry.Dhcp4Lease{
		State:      c.state,
		Address:    wire.When(l.Address.IsValid(), l.Address),
		Server:     wire.Addr(l.Server),
		NextServer: wire.Addr(l.NextServer),
		Relay:      wire.Addr(l.Relay),
		Routers:    l.Routers,
		DNS:        l.DNS,
		Domain:     registry.NonZero(l.Domain),
		Search:     l.Search,
		Ntp:        l.NTP,
		Hostname:   registry.NonZero(l.Hostname),
		MTU:        wire.NonZero(l.MTU),
		Broadcast:  wire.Addr(l.Broadcast),
		ClientID:   wire.Hex(l.ClientID),
		LeaseS:     wire.Number(l.HasLifetime, l.Lifetime),
		ObtainedAt: instantOf(l.Obtained),
		RenewAt:    instantOf(l.Renew),
		RebindAt:   instantOf(l.Rebind),
		ExpiresAt:  instantOf(l.Expires),
		File:       registry.NonZero(l.File),
	}
	for _, r := range l.Routes {
		row.Routes = append(row.Routes, registry.DhcpRoute{Dst: r.Dst, Gateway: wire.Addr(r.Gateway)})
	}
	return row
}
