package netconf

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
)

// Options of DHCPv6 (RFC 8415 section 21, RFC 3646, RFC 5908).
const (
	opt6ClientID  = 1
	opt6ServerID  = 2
	opt6IANA      = 3
	opt6IATA      = 4
	opt6IAAddress = 5
	opt6Unicast   = 12
	opt6DNS       = 23
	opt6Search    = 24
	opt6IAPD      = 25
	opt6IAPrefix  = 26
	opt6SNTP      = 31
	opt6NTP       = 56
)

// errCut is the fault of an option that ends behind its message.
var errCut = errors.New("DHCPv6 option is cut off")

// parseDHCP6 reads the reply that a lease was made from, as dhcpcd keeps it: type, transaction, and options
// of code u16, length u16, value.
func parseDHCP6(b []byte) (*Lease6, error) {
	const header, advertise, reply = 4, 2, 7
	if len(b) < header || b[0] != reply && b[0] != advertise {
		return nil, errors.New("not a DHCPv6 reply")
	}
	l := &Lease6{}
	err := options6(b[header:], l.option)
	return l, err
}

// options6 calls f for every option.
func options6(b []byte, f func(code uint16, v []byte) error) error {
	for len(b) > 0 {
		if len(b) < 4 {
			return errCut
		}
		code, size := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if len(b) < 4+size {
			return errCut
		}
		if err := f(code, b[4:4+size]); err != nil {
			return err
		}
		b = b[4+size:]
	}
	return nil
}

func (l *Lease6) option(code uint16, v []byte) error {
	switch code {
	case opt6ClientID:
		l.ClientDUID = slices.Clone(v)
	case opt6ServerID:
		l.ServerDUID = slices.Clone(v)
	case opt6Unicast:
		if len(v) == 16 {
			l.Server = netip.AddrFrom16([16]byte(v))
		}
	case opt6DNS:
		l.DNS = append(l.DNS, ipv6List(v)...)
	case opt6SNTP:
		l.NTP = append(l.NTP, ipv6List(v)...)
	case opt6NTP:
		const address, multicast = 1, 2
		return options6(v, func(code uint16, v []byte) error {
			if code == address || code == multicast {
				l.NTP = append(l.NTP, ipv6List(v)...)
			}
			return nil
		})
	case opt6Search:
		l.Search = append(l.Search, domainList(v)...)
	case opt6IANA, opt6IAPD:
		return l.association(v, 12)
	case opt6IATA:
		return l.association(v, 4)
	}
	return nil
}

func ipv6List(b []byte) []netip.Addr {
	var list []netip.Addr
	for ; len(b) >= 16; b = b[16:] {
		list = append(list, netip.AddrFrom16([16]byte(b[:16])))
	}
	return list
}

// association reads IA_NA and IA_PD (IAID, T1, T2, options) and IA_TA (IAID, options).
func (l *Lease6) association(b []byte, header int) error {
	if len(b) < header {
		return errCut
	}
	ia := IA{IAID: binary.BigEndian.Uint32(b), HasID: true}
	if header == 12 {
		ia.T1, ia.T2 = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
	}
	return options6(b[header:], func(code uint16, v []byte) error {
		switch code {
		case opt6IAAddress: // address, preferred, valid, options
			if len(v) < 24 {
				return errCut
			}
			l.Addresses = append(l.Addresses, IAAddress{IA: ia, Lifetimes: lifetimes6(v[16:]), Address: netip.AddrFrom16([16]byte(v[:16]))})
		case opt6IAPrefix: // preferred, valid, length, prefix, options
			if len(v) < 25 {
				return errCut
			}
			if p := netip.PrefixFrom(netip.AddrFrom16([16]byte(v[9:25])), int(v[8])); p.IsValid() {
				l.Prefixes = append(l.Prefixes, IAPrefix{IA: ia, Lifetimes: lifetimes6(v), Prefix: p.Masked()})
			}
		}
		return nil
	})
}

func lifetimes6(b []byte) Lifetimes {
	return Lifetimes{Known: true, Preferred: binary.BigEndian.Uint32(b), Valid: binary.BigEndian.Uint32(b[4:])}
}
