package netops

import (
	"os"
	"time"

	"github.com/geomind/my_os_server/internal/dhcp"
	"github.com/geomind/my_os_server/internal/dhcp6"
	"github.com/geomind/my_os_server/internal/netconf"
	"github.com/geomind/my_os_server/pkg/netops/internal/managers"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
)

// source is what the clients do now, and what they leased.
func (l *leasing) source() *managers.OwnLeases {
	o := &managers.OwnLeases{Kept: &netconf.Leases{}, States: map[string]string{}, States6: map[string]string{}, PID: os.Getpid()}
	for _, r := range l.list {
		r.source6(o)
		r.mu.Lock()
		client, index, mac := r.client, r.index, r.mac
		r.mu.Unlock()
		if client == nil {
			continue
		}
		status := client.Status()
		o.States[r.Name] = stateWord(status.State)
		holder := netconf.Holder{Manager: managers.Own, Interface: r.Name, Index: index}
		row := netconf.Lease4{Holder: holder, ClientID: dhcp.ClientID(wire.MACBytes(mac))}
		if status.Lease != nil {
			row = leaseRow(status.Lease, row)
		}
		o.Kept.V4 = append(o.Kept.V4, row)
	}
	return o
}

// stateWord is the table's word for a state: the check of an address is part of requesting it.
func stateWord(s dhcp.State) string {
	if s == dhcp.Probing {
		s = dhcp.Requesting
	}
	return string(s)
}

func leaseRow(l *dhcp.Lease, row netconf.Lease4) netconf.Lease4 {
	row.Times = netconf.Times{Obtained: l.Obtained, Renew: l.Renew, Rebind: l.Rebind, Expires: l.Expires}
	row.Address, row.Server, row.NextServer, row.Relay = l.Address, l.Server, l.NextServer, l.Relay
	row.Routers, row.DNS, row.NTP = l.Routers, l.DNS, l.NTP
	row.Domain, row.Search, row.Hostname = l.Domain, l.Search, l.Hostname
	row.MTU, row.Broadcast = l.MTU, l.Broadcast
	row.Lifetime, row.HasLifetime = l.Lifetime, true
	for _, r := range l.Routes {
		row.Routes = append(row.Routes, netconf.Route4{Dst: r.Dst, Gateway: r.Gateway})
	}
	return row
}

// source6 adds what the DHCPv6 client of an interface does, and what it leased.
func (r *leaser) source6(o *managers.OwnLeases) {
	r.mu.Lock()
	client, index := r.six.client, r.index
	r.mu.Unlock()
	if client == nil {
		return
	}
	status := client.Status()
	o.States6[r.Name] = string(status.State)
	row := netconf.Lease6{Holder: netconf.Holder{Manager: managers.Own, Interface: r.Name, Index: index}}
	if id, ok := r.net.kept.identity.Get("duid"); ok {
		row.ClientDUID = id.DUID
	}
	if l := status.Lease; l != nil {
		row.Obtained, row.ServerDUID, row.Server, row.DNS, row.NTP, row.Search = l.Obtained, l.ServerDUID, l.Server, l.DNS, l.NTP, l.Search
		ia := netconf.IA{IAID: l.IAID, HasID: true, Starts: l.Obtained, T1: spanOf(l.Obtained, l.Renew), T2: spanOf(l.Obtained, l.Rebind)}
		for _, p := range l.Addresses {
			row.Addresses = append(row.Addresses, netconf.IAAddress{IA: ia, Lifetimes: lifetimesOf(l, p), Address: p.Prefix.Addr()})
		}
		for _, p := range l.Prefixes {
			row.Prefixes = append(row.Prefixes, netconf.IAPrefix{IA: ia, Lifetimes: lifetimesOf(l, p), Prefix: p.Prefix})
		}
	}
	o.Kept.V6 = append(o.Kept.V6, row)
}

// spanOf are the seconds between two instants; 0 where the second never comes.
func spanOf(from, to time.Time) uint32 {
	if to.IsZero() {
		return 0
	}
	return uint32(min(max(to.Sub(from).Round(time.Second)/time.Second, 0), netconf.Forever-1))
}

func lifetimesOf(l *dhcp6.Lease, p dhcp6.Part) netconf.Lifetimes {
	span := func(t time.Time) uint32 {
		if t.IsZero() {
			return netconf.Forever
		}
		return spanOf(l.Obtained, t)
	}
	return netconf.Lifetimes{Known: true, Preferred: span(p.Preferred), Valid: span(p.Valid)}
}
