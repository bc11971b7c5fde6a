package netconf

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
)

// The parts of a DHCPv4 message (RFC 2131 section 2) that a lease is made of: op, htype, hlen, hops, xid,
// secs, flags; from byte 12 ciaddr, yiaddr, siaddr, giaddr; chaddr 16 bytes, sname 64, file 128; at 236
// the cookie, then options: code, length, value.
const (
	bootpYiaddr  = 16
	bootpSiaddr  = 20
	bootpGiaddr  = 24
	bootpOptions = 240
	bootpCookie  = 0x63825363
)

// errDHCP is the fault of bytes that are no DHCP message.
var errDHCP = errors.New("not a DHCP message")

// parseDHCP4 reads the reply that a lease was made from, as dhcpcd keeps it.
func parseDHCP4(b []byte) (*Lease4, error) {
	if len(b) < bootpOptions || binary.BigEndian.Uint32(b[bootpOptions-4:]) != bootpCookie {
		return nil, errDHCP
	}
	options, err := dhcp4Options(b[bootpOptions:])
	if err != nil {
		return nil, err
	}
	l := &Lease4{
		Address:    netip.PrefixFrom(ipv4(b[bootpYiaddr:]), 32),
		NextServer: specified(ipv4(b[bootpSiaddr:])),
		Relay:      specified(ipv4(b[bootpGiaddr:])),
	}
	if l.Address.Addr().IsUnspecified() {
		return nil, errors.New("DHCP message leases no address")
	}
	l.options(options)
	return l, nil
}

func ipv4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }

// specified is a, or no address where it is 0.0.0.0.
func specified(a netip.Addr) netip.Addr {
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// dhcp4Options gathers options by code; the parts of one that comes several times are joined (RFC 3396).
func dhcp4Options(b []byte) (map[byte][]byte, error) {
	const pad, end = 0, 255
	options := map[byte][]byte{}
	for len(b) > 0 && b[0] != end {
		if b[0] == pad {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return nil, errors.New("DHCP option is cut off")
		}
		options[b[0]] = append(options[b[0]], b[2:2+int(b[1])]...)
		b = b[2+int(b[1]):]
	}
	return options, nil
}

// options takes over what the options say (RFC 2132, 3442, 3397).
func (l *Lease4) options(o map[byte][]byte) {
	if mask := o[1]; len(mask) == 4 {
		if p := withMask(l.Address.Addr(), ipv4(mask).String()); p.IsValid() {
			l.Address = p
		}
	}
	l.Routers, l.DNS, l.NTP = ipv4List(o[3]), ipv4List(o[6]), ipv4List(o[42])
	l.Hostname, l.Domain = text(o[12]), text(o[15])
	if v := o[26]; len(v) == 2 {
		l.MTU = binary.BigEndian.Uint16(v)
	}
	if v := ipv4List(o[28]); len(v) == 1 {
		l.Broadcast = v[0]
	}
	for v := o[33]; len(v) >= 8; v = v[8:] {
		l.Routes = append(l.Routes, Route4{Dst: classful(ipv4(v)), Gateway: specified(ipv4(v[4:]))})
	}
	if v := ipv4List(o[54]); len(v) == 1 {
		l.Server = v[0]
	}
	l.ClientID = slices.Clone(o[61])
	l.Search = domainList(o[119])
	if routes := classlessRoutes(o[121]); len(routes) > 0 {
		l.Routes = routes
	}
	if v := o[51]; len(v) == 4 {
		l.Lifetime, l.HasLifetime = binary.BigEndian.Uint32(v), true
	}
	if v := o[58]; len(v) == 4 {
		l.T1 = binary.BigEndian.Uint32(v)
	}
	if v := o[59]; len(v) == 4 {
		l.T2 = binary.BigEndian.Uint32(v)
	}
}

// text is the text of an option; some servers end it with a zero byte.
func text(b []byte) string {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return clean(string(b))
}

func ipv4List(b []byte) []netip.Addr {
	var list []netip.Addr
	for ; len(b) >= 4; b = b[4:] {
		list = append(list, ipv4(b))
	}
	return list
}

// classful is the network of an address by its class, as option 33 means it.
func classful(a netip.Addr) netip.Prefix {
	bits := 24
	switch b := a.As4()[0]; {
	case a.IsUnspecified():
		bits = 0
	case b < 128:
		bits = 8
	case b < 192:
		bits = 16
	}
	return netip.PrefixFrom(a, bits).Masked()
}

// classlessRoutes reads option 121: a prefix length, as many bytes of the network as that needs, a router.
func classlessRoutes(b []byte) []Route4 {
	var routes []Route4
	for len(b) > 0 {
		size := (int(b[0]) + 7) / 8
		if b[0] > 32 || len(b) < 1+size+4 {
			return routes
		}
		var dst [4]byte
		copy(dst[:], b[1:1+size])
		routes = append(routes, Route4{
			Dst:     netip.PrefixFrom(netip.AddrFrom4(dst), int(b[0])).Masked(),
			Gateway: specified(ipv4(b[1+size:])),
		})
		b = b[1+size+4:]
	}
	return routes
}

// domainList reads names in the form of DNS (RFC 1035 section 3.1): labels, each behind its length, a zero
// at the end of a name; two bytes with the highest bits set lead to an earlier place.
func domainList(b []byte) []string {
	var names []string
	for at := 0; at < len(b); {
		name, next, ok := domainName(b, at)
		if !ok {
			return names
		}
		if name != "" {
			names = append(names, name)
		}
		at = next
	}
	return names
}

const maxDomainName = 255

func domainName(b []byte, at int) (name string, next int, ok bool) {
	next = -1
	for len(name) <= maxDomainName && at < len(b) {
		size := int(b[at])
		switch {
		case size == 0:
			if next < 0 {
				next = at + 1
			}
			return clean(name), next, true
		case size&0xc0 == 0xc0:
			if at+1 >= len(b) {
				return "", 0, false
			}
			to := size&0x3f<<8 | int(b[at+1])
			if to >= at { // only back: so that it ends
				return "", 0, false
			}
			if next < 0 {
				next = at + 2
			}
			at = to
		case size > 63 || at+1+size > len(b):
			return "", 0, false
		default:
			if name != "" {
				name += "."
			}
			name += string(b[at+1 : at+1+size])
			at += 1 + size
		}
	}
	return "", 0, false
}
