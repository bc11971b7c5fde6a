package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/rfc1035label"
)

// Lease is what a server leased. Zero values were not given.
type Lease struct {
	Address    netip.Prefix `json:"address"`
	Server     netip.Addr   `json:"server"` // option 54
	NextServer netip.Addr   `json:"next_server,omitzero"`
	Relay      netip.Addr   `json:"relay,omitzero"`
	Routers    []netip.Addr `json:"routers,omitempty"` // option 3
	Routes     []Route      `json:"routes,omitempty"`  // option 121, else 33
	Classless  bool         `json:"classless,omitempty"`
	DNS        []netip.Addr `json:"dns,omitempty"`
	Domain     string       `json:"domain,omitempty"`
	Search     []string     `json:"search,omitempty"`
	NTP        []netip.Addr `json:"ntp,omitempty"`
	Hostname   string       `json:"hostname,omitempty"`
	MTU        uint16       `json:"mtu,omitempty"`
	Broadcast  netip.Addr   `json:"broadcast,omitzero"`
	Lifetime   uint32       `json:"lease_s"` // seconds; Forever
	Obtained   time.Time    `json:"obtained"`
	Renew      time.Time    `json:"renew,omitzero"`   // T1; zero: never, as the other two
	Rebind     time.Time    `json:"rebind,omitzero"`  // T2
	Expires    time.Time    `json:"expires,omitzero"` // end
}

// Route is a route that came with a lease.
type Route struct {
	Dst     netip.Prefix `json:"dst"`
	Gateway netip.Addr   `json:"gateway,omitzero"` // not valid: on the link
}

// Forever is a lifetime without end, in seconds (RFC 2131 section 3.3).
const Forever = 0xffffffff

// DefaultRoutes are the routes that the lease asks for: those of option 121, and where there are none the
// first router and what option 33 says (RFC 3442).
func (l *Lease) DefaultRoutes() []Route {
	if l.Classless {
		return l.Routes
	}
	routes := slices.Clone(l.Routes)
	if len(l.Routers) > 0 {
		routes = append(routes, Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: l.Routers[0]})
	}
	return routes
}

// ended tells whether the lease is over.
func (l *Lease) ended(now time.Time) bool { return !l.Expires.IsZero() && !now.Before(l.Expires) }

// errNoLease is why an OFFER or ACK cannot be used.
var errNoLease = errors.New("message leases nothing")

// leaseOf reads what an OFFER or ACK leases from an instant on. An option that is malformed or makes no sense
// is as if it were not there; without an address, a server and a lifetime there is no lease.
func leaseOf(m *dhcpv4.DHCPv4, from time.Time) (*Lease, error) {
	l := &Lease{Server: addrOption(m, dhcpv4.OptionServerIdentifier), NextServer: given(m.ServerIPAddr), Relay: given(m.GatewayIPAddr)}
	address := given(m.YourIPAddr)
	if !address.Is4() || !hostAddress(address) {
		return nil, fmt.Errorf("%w: its address is %v", errNoLease, m.YourIPAddr)
	}
	if !l.Server.IsValid() {
		return nil, fmt.Errorf("%w: it names no server", errNoLease)
	}
	seconds := m.Options.Get(dhcpv4.OptionIPAddressLeaseTime)
	if len(seconds) != 4 || binary.BigEndian.Uint32(seconds) == 0 {
		return nil, fmt.Errorf("%w: it has no lifetime", errNoLease)
	}
	l.Address = netip.PrefixFrom(address, prefixLength(m, address))
	l.Lifetime = binary.BigEndian.Uint32(seconds)
	l.times(m, from)
	l.options(m)
	return l, nil
}

// times sets the instants: T1 and T2 as the server says, where they are in order, else at half and seven
// eighths of the lease (RFC 2131 section 4.4.5).
func (l *Lease) times(m *dhcpv4.DHCPv4, from time.Time) {
	l.Obtained = from
	if l.Lifetime == Forever {
		return
	}
	whole := time.Duration(l.Lifetime) * time.Second
	t1, t2 := seconds(m, dhcpv4.OptionRenewTimeValue), seconds(m, dhcpv4.OptionRebindingTimeValue)
	if t2 <= 0 || t2 >= whole {
		t2 = whole * 7 / 8
	}
	if t1 <= 0 || t1 >= t2 {
		t1 = min(whole/2, t2*4/7)
	}
	l.Renew, l.Rebind, l.Expires = from.Add(t1), from.Add(t2), from.Add(whole)
}

func seconds(m *dhcpv4.DHCPv4, code dhcpv4.OptionCode) time.Duration {
	b := m.Options.Get(code)
	if len(b) != 4 {
		return 0
	}
	return time.Duration(binary.BigEndian.Uint32(b)) * time.Second
}

func (l *Lease) options(m *dhcpv4.DHCPv4) {
	l.Routers = addrsOption(m, dhcpv4.OptionRouter)
	l.DNS = addrsOption(m, dhcpv4.OptionDomainNameServer)
	l.NTP = addrsOption(m, dhcpv4.OptionNTPServers)
	l.Broadcast = addrOption(m, dhcpv4.OptionBroadcastAddress)
	if names := nameOption(m, dhcpv4.OptionDomainName); len(names) == 1 {
		l.Domain = names[0]
	}
	if names := nameOption(m, dhcpv4.OptionHostName); len(names) == 1 {
		l.Hostname = names[0]
	}
	if b := m.Options.Get(dhcpv4.OptionDNSDomainSearchList); len(b) > 0 {
		if labels, err := rfc1035label.FromBytes(b); err == nil {
			l.Search = domainNames(labels.Labels)
		}
	}
	if b := m.Options.Get(dhcpv4.OptionInterfaceMTU); len(b) == 2 && binary.BigEndian.Uint16(b) >= leastMTU {
		l.MTU = binary.BigEndian.Uint16(b)
	}
	if b := m.Options.Get(dhcpv4.OptionClasslessStaticRoute); len(b) > 0 {
		l.Routes, l.Classless = classlessRoutes(b)
	}
	if !l.Classless {
		l.Routes = staticRoutes(m.Options.Get(dhcpv4.OptionStaticRoutingTable))
	}
}

// leastMTU is the smallest MTU that an interface is given: what every host must take in one piece (RFC 791).
// (RFC 2132 allows 68, with which hardly anything works.)
const leastMTU = 576

// classlessRoutes reads option 121 (RFC 3442): a prefix length, as many bytes of the network as that needs, a
// router, 0.0.0.0 for none. It is not ok where it is malformed at any place: half of the routes may be worse
// than none.
func classlessRoutes(b []byte) (routes []Route, ok bool) {
	for len(b) > 0 {
		bits := int(b[0])
		size := (bits + 7) / 8
		if bits > 32 || len(b) < 1+size+4 {
			return nil, false
		}
		var dst [4]byte
		copy(dst[:], b[1:1+size])
		routes = append(routes, Route{
			Dst:     netip.PrefixFrom(netip.AddrFrom4(dst), bits).Masked(),
			Gateway: given(b[1+size : 1+size+4]),
		})
		b = b[1+size+4:]
	}
	return oncePerNetwork(routes), true
}

// staticRoutes reads option 33 (RFC 2132): pairs of a destination and a router. The destination is a host, or
// a network by its class where its host part is zero; the default route is not allowed.
func staticRoutes(b []byte) (routes []Route) {
	if len(b)%8 != 0 {
		return nil
	}
	for ; len(b) > 0; b = b[8:] {
		dst, gateway := given(b[:4]), given(b[4:8])
		if dst.IsValid() && gateway.IsValid() {
			routes = append(routes, Route{Dst: classful(dst), Gateway: gateway})
		}
	}
	return oncePerNetwork(routes)
}

func classful(a netip.Addr) netip.Prefix {
	bits := 24
	switch b := a.As4()[0]; {
	case b < 128:
		bits = 8
	case b < 192:
		bits = 16
	}
	if p := netip.PrefixFrom(a, bits); p.Masked().Addr() == a {
		return p
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// oncePerNetwork keeps the first route to each network.
func oncePerNetwork(routes []Route) (once []Route) {
	seen := map[netip.Prefix]bool{}
	for _, r := range routes {
		if !seen[r.Dst] {
			seen[r.Dst] = true
			once = append(once, r)
		}
	}
	return once
}

// given is an IPv4 address; none for 0.0.0.0 and for what is no address.
func given(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	a = a.Unmap()
	if !a.Is4() || a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// hostAddress tells whether an interface can have an address.
func hostAddress(a netip.Addr) bool {
	return !a.IsLoopback() && !a.IsMulticast() && a.As4()[0] != 0 && a.As4()[0] < 240
}

// prefixLength is that of the subnet mask, or by the address's class where there is none or it has holes.
func prefixLength(m *dhcpv4.DHCPv4, a netip.Addr) int {
	if b := m.Options.Get(dhcpv4.OptionSubnetMask); len(b) == 4 {
		mask := binary.BigEndian.Uint32(b)
		for bits := 1; bits <= 32; bits++ {
			if mask == ^uint32(0)<<(32-bits) {
				return bits
			}
		}
	}
	class := classful(netip.AddrFrom4([4]byte{a.As4()[0]}))
	return min(class.Bits(), 24)
}

func addrOption(m *dhcpv4.DHCPv4, code dhcpv4.OptionCode) netip.Addr {
	if b := m.Options.Get(code); len(b) == 4 {
		return given(b)
	}
	return netip.Addr{}
}

// addrsOption reads a list of addresses, each once.
func addrsOption(m *dhcpv4.DHCPv4, code dhcpv4.OptionCode) (list []netip.Addr) {
	b := m.Options.Get(code)
	if len(b)%4 != 0 {
		return nil
	}
	for ; len(b) > 0; b = b[4:] {
		if a := given(b[:4]); a.IsValid() && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

func nameOption(m *dhcpv4.DHCPv4, code dhcpv4.OptionCode) []string {
	return domainNames([]string{string(m.Options.Get(code))})
}

// domainNames keeps what can be a domain name and can stand in a line of resolv.conf(5).
func domainNames(names []string) (list []string) {
	for _, n := range names {
		n = strings.TrimRight(n, "\x00.")
		if len(n) > 0 && len(n) <= 253 && utf8.ValidString(n) && strings.IndexFunc(n, notInName) < 0 && !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	return list
}

func notInName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
}
