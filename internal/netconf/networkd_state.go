package netconf

import (
	"path"
	"strconv"
	"strings"
)

const (
	networkdLinks  = "/run/systemd/netif/links"
	networkdLeases = "/run/systemd/netif/leases"
)

// NetworkdLink is what systemd-networkd says of an interface in /run/systemd/netif/links/INDEX.
type NetworkdLink struct {
	File        string
	Index       int
	AdminState  string // pending, initialized, configuring, configured, unmanaged, failed, linger
	NetworkFile string // the .network file that it applies; "" none
	ClientDUID  []byte // of its DHCPv6 client; nil: it has none
	IAID        uint32 // of that, valid where HasIAID
	HasIAID     bool
	DNS         LinkDNS
}

// Managed tells whether networkd has the interface: it has a configuration for it.
func (l *NetworkdLink) Managed() bool {
	switch l.AdminState {
	case "configuring", "configured", "failed":
		return true
	}
	return false
}

// NetworkdLinks reads networkd's state of every interface, by file name.
func (r *Reader) NetworkdLinks() []NetworkdLink {
	var list []NetworkdLink
	for _, name := range r.names(Networkd, networkdLinks) {
		index, err := strconv.Atoi(name)
		if err != nil || index <= 0 {
			continue
		}
		if d := r.read(Networkd, path.Join(networkdLinks, name)); d != nil {
			list = append(list, d.networkdLink(index))
		}
	}
	return list
}

func (d *document) networkdLink(index int) NetworkdLink {
	v := values(parseIni(d, stateStyle))
	l := NetworkdLink{File: d.path, Index: index, AdminState: v["ADMIN_STATE"], NetworkFile: v["NETWORK_FILE"]}
	if kind, raw, ok := strings.Cut(v["DHCP6_CLIENT_DUID"], ":"); ok {
		l.ClientDUID = networkdDUID(kind, raw)
	}
	if id, ok := strings.CutPrefix(v["DHCP6_CLIENT_IAID"], "0x"); ok {
		if n, err := strconv.ParseUint(id, 16, 32); err == nil {
			l.IAID, l.HasIAID = uint32(n), true
		}
	}
	l.DNS = LinkDNS{
		File:         d.path,
		Servers:      dnsServers(v["DNS"]),
		Search:       domains(strings.Fields(v["DOMAINS"])),
		Routing:      routingDomains(strings.Fields(v["ROUTE_DOMAINS"])),
		LLMNR:        v["LLMNR"],
		MDNS:         v["MDNS"],
		DNSSEC:       v["DNSSEC"],
		DNSOverTLS:   v["DNSOVERTLS"],
		DefaultRoute: v["DNS_DEFAULT_ROUTE"],
	}
	return l
}

// networkdDUID puts the type of a DUID, which networkd spells out, before its bytes (RFC 8415 section 11).
func networkdDUID(kind, raw string) []byte {
	types := map[string]byte{"DUID-LLT": 1, "DUID-EN/Vendor": 2, "DUID-LL": 3, "DUID-UUID": 4}
	b := hexBytes(strings.ReplaceAll(raw, ":", ""))
	t, ok := types[kind]
	if !ok || b == nil {
		return nil
	}
	return append([]byte{0, t}, b...)
}

// networkdLeases reads networkd's DHCPv4 leases, /run/systemd/netif/leases/INDEX. It keeps no instants
// there: those come from the address' lifetime.
func (r *Reader) networkdLeases(leases *Leases) {
	for _, name := range r.names(Networkd, networkdLeases) {
		index, err := strconv.Atoi(name)
		if err != nil || index <= 0 {
			continue
		}
		d := r.read(Networkd, path.Join(networkdLeases, name))
		if d == nil {
			continue
		}
		if l := d.networkdLease(Networkd); l != nil {
			l.Index = index
			leases.V4 = append(leases.V4, *l)
		}
	}
}

// networkdLease reads the form that sd-dhcp-lease writes; nil where it leases no address.
func (d *document) networkdLease(manager string) *Lease4 {
	v := values(parseIni(d, stateStyle))
	a := addr(v["ADDRESS"])
	if !a.Is4() {
		d.fault(0, "has no ADDRESS")
		return nil
	}
	l := &Lease4{
		Holder:     d.holder(manager),
		Address:    addrPrefix(a.String()),
		Server:     addr(v["SERVER_ADDRESS"]),
		NextServer: addr(v["NEXT_SERVER"]),
		Routers:    addrs(strings.Fields(v["ROUTER"])),
		DNS:        addrs(strings.Fields(v["DNS"])),
		NTP:        addrs(strings.Fields(v["NTP"])),
		Domain:     clean(v["DOMAINNAME"]),
		Search:     domains(strings.Fields(v["DOMAIN_SEARCH_LIST"])),
		Hostname:   clean(v["HOSTNAME"]),
		Broadcast:  addr(v["BROADCAST"]),
		ClientID:   hexBytes(v["CLIENTID"]),
	}
	if p := withMask(a, v["NETMASK"]); p.IsValid() {
		l.Address = p
	}
	if n, ok := number(v["MTU"]); ok && n <= 0xffff {
		l.MTU = uint16(n)
	}
	l.Lifetime, l.HasLifetime = number(v["LIFETIME"])
	l.T1, _ = number(v["T1"])
	l.T2, _ = number(v["T2"])
	for _, key := range []string{"CLASSLESS_ROUTES", "STATIC_ROUTES", "ROUTES"} {
		if l.Routes == nil {
			l.Routes = networkdRoutes(v[key])
		}
	}
	l.settle()
	return l
}

// networkdRoutes reads routes of the form 10.0.0.0/8,192.0.2.1.
func networkdRoutes(s string) []Route4 {
	var routes []Route4
	for _, w := range strings.Fields(s) {
		dst, gateway, _ := strings.Cut(w, ",")
		if p := addrPrefix(dst); p.IsValid() && p.Addr().Is4() {
			routes = append(routes, Route4{Dst: p.Masked(), Gateway: specified(addr(gateway))})
		}
	}
	return routes
}
