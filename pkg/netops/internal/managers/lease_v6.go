package managers

import (
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/netconf"
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/kernelrow"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// lease6 is the DHCPv6 lease of an interface that its holder keeps, or else one of which an address is
// there; nil: none.
func (v *View) lease6(l *netconf.Link) *netconf.Lease6 {
	holder := v.holder(l, false)
	if holder.Manager == netconf.Networkd {
		return v.networkdLease6(l)
	}
	var best *netconf.Lease6
	for _, s := range v.sources {
		kept := s.leases().V6
		for i := range kept {
			k := &kept[i]
			if !isOf(&k.Holder, l) {
				continue
			}
			if k.Manager == holder.Manager {
				return k
			}
			if best == nil && v.hasAny(l, k) {
				best = k
			}
		}
	}
	return best
}

// own are the leases of this daemon's clients.
func (v *View) own() *OwnLeases {
	for _, s := range v.sources {
		if own, ok := s.(*OwnLeases); ok {
			return own
		}
	}
	return &OwnLeases{Kept: &netconf.Leases{}}
}

func (v *View) hasAny(l *netconf.Link, k *netconf.Lease6) bool {
	return slices.ContainsFunc(k.Addresses, func(a netconf.IAAddress) bool { return v.address(l, a.Address) != nil })
}

// networkdLease6 is what systemd-networkd leased. It keeps no file of that: its state has the client's DUID
// and IAID once it asks, and the addresses are those that are there for themselves alone and not for ever,
// which it makes from nothing else.
func (v *View) networkdLease6(l *netconf.Link) *netconf.Lease6 {
	state, ok := v.files.owners.Networkd[l.Index]
	if !ok || !state.HasIAID {
		return nil
	}
	lease := &netconf.Lease6{Holder: netconf.Holder{Manager: netconf.Networkd, Index: l.Index, File: state.File}, ClientDUID: state.ClientDUID}
	ia := netconf.IA{IAID: state.IAID, HasID: true}
	for i := range v.Addresses[l.Index] {
		a := &v.Addresses[l.Index][i]
		if isGlobalV6(a) && a.PrefixLen == a.Local.BitLen() && a.Valid != rtnl.Forever && !a.Peer.IsValid() {
			lease.Addresses = append(lease.Addresses, netconf.IAAddress{IA: ia, Address: a.Local})
		}
	}
	if lease.Addresses == nil {
		return nil
	}
	return lease
}

// dhcp6 is the row of a DHCPv6 lease; nil where it is history or, of others than this daemon, was for prefixes
// alone.
func (v *View) dhcp6(l *netconf.Link, lease *netconf.Lease6) *registry.Dhcp6Lease {
	if lease == nil || len(lease.Addresses) == 0 && len(lease.Prefixes) > 0 && lease.Manager != Own {
		return nil
	}
	row := &registry.Dhcp6Lease{
		Addresses:  []registry.Dhcp6Address{},
		ClientDuid: wire.Hex(lease.ClientDUID),
		ServerDuid: wire.Hex(lease.ServerDUID),
		Server:     wire.Addr(lease.Server),
		DNS:        lease.DNS,
		Search:     lease.Search,
		Ntp:        lease.NTP,
		ObtainedAt: instantOf(lease.Obtained),
		File:       registry.NonZero(lease.File),
	}
	there, ends := len(lease.Addresses) == 0, time.Time{}
	for i := range lease.Addresses {
		a := &lease.Addresses[i]
		live := v.address(l, a.Address)
		there = there || live != nil
		times := a.Times(a.Lifetimes)
		if live != nil && times.Expires.IsZero() {
			times.Expires = v.endOf(live.Valid)
		}
		if times.Expires.After(ends) {
			ends = times.Expires
		}
		if i == 0 {
			row.RenewAt, row.RebindAt = instantOf(times.Renew), instantOf(times.Rebind)
		}
		if a.HasID {
			row.Addresses = append(row.Addresses, v.address6(a, live, times))
		}
	}
	row.ExpiresAt = instantOf(ends)
	row.State = v.stateOf(there, v.holder(l, false).Manager == lease.Manager, ends)
	if lease.Manager == Own {
		row.State = v.own().States6[l.Name]
	}
	if row.State == "" {
		return nil
	}
	return row
}

// address6 is one address: what is left of its life says the kernel where it is there, else the file.
func (v *View) address6(a *netconf.IAAddress, live *rtnl.Address, times netconf.Times) registry.Dhcp6Address {
	row := registry.Dhcp6Address{Address: a.Address, Iaid: int64(a.IAID), RenewAt: instantOf(times.Renew), RebindAt: instantOf(times.Rebind)}
	switch {
	case live != nil:
		row.PreferredS, row.ValidS = kernelrow.Lifetime(live.Preferred), kernelrow.Lifetime(live.Valid)
	case a.Known:
		row.PreferredS, row.ValidS = v.remaining(a.Starts, a.Preferred), v.remaining(a.Starts, a.Valid)
	}
	return row
}

// protocolRA is IFAPROT_KERNEL_RA (linux/if_addr.h, Linux 5.18).
const protocolRA = 2

// isSlaac tells whether an address was made from a router advertisement. The kernel says so of those that
// it made itself, in IFA_PROTO, or, before Linux 5.18, by the flag that lets temporary ones be made, and
// of temporary ones. Managers that take advertisements themselves (systemd-networkd, NetworkManager,
// dhcpcd) give such an address the prefix length of its network, an end, and no prefix route.
func (v *View) isSlaac(l *netconf.Link, a *rtnl.Address, lease *netconf.Lease6) bool {
	if !isGlobalV6(a) {
		return false
	}
	if a.Protocol == protocolRA || a.Flags&(unix.IFA_F_MANAGETEMPADDR|unix.IFA_F_TEMPORARY) != 0 {
		return true
	}
	if lease != nil && slices.ContainsFunc(lease.Addresses, func(of netconf.IAAddress) bool { return of.Address == a.Local }) {
		return false
	}
	if a.Flags&unix.IFA_F_PERMANENT != 0 || a.Flags&unix.IFA_F_NOPREFIXROUTE == 0 || a.PrefixLen == a.Local.BitLen() {
		return false
	}
	switch v.keeper(l).Manager {
	case netconf.Networkd, netconf.NetworkManager, netconf.Dhcpcd:
		return true
	}
	return false
}

func slaacRow(a *rtnl.Address) registry.SlaacAddress {
	p := kernelrow.AddressPrefix(a)
	return registry.SlaacAddress{
		Address:       p,
		Prefix:        p.Masked(),
		PreferredS:    kernelrow.Lifetime(a.Preferred),
		ValidS:        kernelrow.Lifetime(a.Valid),
		Temporary:     a.Flags&unix.IFA_F_TEMPORARY != 0,
		Deprecated:    a.Flags&unix.IFA_F_DEPRECATED != 0,
		Tentative:     wire.True(a.Flags&unix.IFA_F_TENTATIVE != 0),
		StablePrivacy: wire.True(a.Flags&unix.IFA_F_STABLE_PRIVACY != 0),
	}
}
