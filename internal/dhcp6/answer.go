package dhcp6

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
)

// Forever is a lifetime without end, in seconds (RFC 8415 section 7.7).
const Forever = math.MaxUint32

// Answer is what a server's message says to this client.
type Answer struct {
	kind        dhcpv6.MessageType // Advertise or Reply
	transaction dhcpv6.TransactionID
	client      []byte
	server      []byte
	from        netip.Addr
	preference  uint8
	rapid       bool
	status      iana.StatusCode
	addresses   map[uint32]*association // by IAID
	prefixes    map[uint32]*association
	dns, ntp    []netip.Addr
	search      []string
	solicitMost time.Duration // SOL_MAX_RT; 0: not given
	informMost  time.Duration // INF_MAX_RT; 0: not given
	refresh     time.Duration // of information; 0: not given
}

// association is an IA_NA or IA_PD.
type association struct {
	t1, t2 uint32 // seconds; 0: the client's choice
	status iana.StatusCode
	parts  []given
}

// given is an address or prefix with its lifetimes in seconds.
type given struct {
	prefix           netip.Prefix
	preferred, valid uint32
}

// names tells whether an answer says anything of an address or prefix.
func (a *association) names(p netip.Prefix) bool {
	return slices.ContainsFunc(a.parts, func(g given) bool { return g.prefix == p })
}

// partsFrom are the parts that are leased, from now on. A lifetime of 0 takes one back.
func (a *association) partsFrom(now time.Time) (parts []Part) {
	for _, g := range a.parts {
		if g.valid > 0 {
			parts = append(parts, Part{g.prefix, after(now, g.preferred), after(now, g.valid)})
		}
	}
	return parts
}

// after is so many seconds later; zero: never.
func after(now time.Time, seconds uint32) time.Time {
	if seconds == Forever {
		return time.Time{}
	}
	return now.Add(time.Duration(seconds) * time.Second)
}

// usable tells whether anything is leased.
func (a *association) usable() bool {
	return a != nil && slices.ContainsFunc(a.parts, func(g given) bool { return g.valid > 0 })
}

// errNoAnswer is the fault of bytes that are no server's message to a client.
var errNoAnswer = errors.New("not a message of a DHCPv6 server")

// header is the size of what every message begins with: its type and the transaction.
const header = 4

// ParseAnswer reads a server's message. An option that is malformed or makes no sense is as if it were not
// there; without both identifiers it is no answer.
func ParseAnswer(b []byte, from netip.Addr) (*Answer, error) {
	if len(b) < header {
		return nil, errNoAnswer
	}
	a := &Answer{kind: dhcpv6.MessageType(b[0]), transaction: dhcpv6.TransactionID(b[1:header]), from: from,
		addresses: map[uint32]*association{}, prefixes: map[uint32]*association{}}
	if a.kind != dhcpv6.MessageTypeAdvertise && a.kind != dhcpv6.MessageTypeReply {
		return nil, errNoAnswer
	}
	var options dhcpv6.Options
	if err := options.FromBytesWithParser(b[header:], parseOption); err != nil {
		return nil, errNoAnswer
	}
	for _, o := range options {
		a.take(o)
	}
	if len(a.client) == 0 || len(a.server) == 0 || len(a.server) > maxDUID {
		return nil, errNoAnswer
	}
	return a, nil
}

// maxDUID is the size of the largest DUID (RFC 8415 section 11.1: a type of two bytes and at most 128).
const maxDUID = 130

// parseOption reads the options that mean something here. What it cannot read gets a code that means nothing.
func parseOption(code dhcpv6.OptionCode, b []byte) (dhcpv6.Option, error) {
	switch code {
	case dhcpv6.OptionIANA, dhcpv6.OptionIAPD, dhcpv6.OptionStatusCode, dhcpv6.OptionDNSRecursiveNameServer,
		dhcpv6.OptionDomainSearchList, dhcpv6.OptionNTPServer:
		o, err := dhcpv6.ParseOption(code, b)
		if err != nil {
			return &dhcpv6.OptionGeneric{}, nil
		}
		return o, nil
	}
	return &dhcpv6.OptionGeneric{OptionCode: code, OptionData: bytes.Clone(b)}, nil
}

func (a *Answer) take(o dhcpv6.Option) {
	switch o := o.(type) {
	case *dhcpv6.OptIANA:
		put(a.addresses, o.IaId, addressAssociation(o))
	case *dhcpv6.OptIAPD:
		put(a.prefixes, o.IaId, prefixAssociation(o))
	case *dhcpv6.OptStatusCode:
		a.status = o.StatusCode
	case *dhcpv6.OptionGeneric:
		a.takeBytes(o.OptionCode, o.OptionData)
	default:
		a.takeList(o)
	}
}

// put keeps the first association of an identifier. One whose T1 is after its T2 is passed over (RFC 8415
// sections 21.4 and 21.21).
func put(to map[uint32]*association, id [4]byte, a *association) {
	key := binary.BigEndian.Uint32(id[:])
	if to[key] == nil && (a.t1 <= a.t2 || a.t2 == 0) {
		to[key] = a
	}
}

func (a *Answer) takeBytes(code dhcpv6.OptionCode, b []byte) {
	seconds := func(least, most uint32) time.Duration {
		if len(b) != 4 {
			return 0
		}
		if v := binary.BigEndian.Uint32(b); v >= least && v <= most {
			return time.Duration(v) * time.Second
		}
		return 0
	}
	switch code {
	case dhcpv6.OptionClientID:
		a.client = b
	case dhcpv6.OptionServerID:
		a.server = b
	case dhcpv6.OptionPreference:
		if len(b) == 1 {
			a.preference = b[0]
		}
	case dhcpv6.OptionRapidCommit:
		a.rapid = true
	case dhcpv6.OptionSolMaxRT: // RFC 8415 section 21.24: 60 to 86400
		a.solicitMost = seconds(60, 86400)
	case dhcpv6.OptionInfMaxRT:
		a.informMost = seconds(60, 86400)
	case dhcpv6.OptionInformationRefreshTime:
		a.refresh = seconds(1, Forever)
	}
}

func (a *Answer) takeList(o dhcpv6.Option) {
	m := dhcpv6.MessageOptions{Options: dhcpv6.Options{o}}
	switch o.Code() {
	case dhcpv6.OptionDNSRecursiveNameServer:
		a.dns = hosts(a.dns, m.DNS())
	case dhcpv6.OptionNTPServer:
		a.ntp = hosts(a.ntp, m.NTPServers())
	case dhcpv6.OptionDomainSearchList:
		if l := m.DomainSearchList(); l != nil {
			a.search = DomainNames(l.Labels)
		}
	}
}

// hosts appends addresses that a host can have, each once.
func hosts(list []netip.Addr, ips []net.IP) []netip.Addr {
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip); ok && isHost(a) && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// isHost tells whether a host of another machine can have an address.
func isHost(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback()
}

func statusOf(s *dhcpv6.OptStatusCode) iana.StatusCode {
	if s == nil {
		return iana.StatusSuccess
	}
	return s.StatusCode
}

func addressAssociation(o *dhcpv6.OptIANA) *association {
	a := &association{t1: toSeconds(o.T1), t2: toSeconds(o.T2), status: statusOf(o.Options.Status())}
	for _, p := range o.Options.Addresses() {
		if addr, ok := netip.AddrFromSlice(p.IPv6Addr); ok {
			a.add(given{netip.PrefixFrom(addr, addr.BitLen()), toSeconds(p.PreferredLifetime), toSeconds(p.ValidLifetime)})
		}
	}
	return a
}

func prefixAssociation(o *dhcpv6.OptIAPD) *association {
	a := &association{t1: toSeconds(o.T1), t2: toSeconds(o.T2), status: statusOf(o.Options.Status())}
	for _, p := range o.Options.Prefixes() {
		if p.Prefix == nil {
			continue
		}
		addr, ok := netip.AddrFromSlice(p.Prefix.IP)
		if bits, of := p.Prefix.Mask.Size(); ok && of == addr.BitLen() {
			a.add(given{netip.PrefixFrom(addr, bits).Masked(), toSeconds(p.PreferredLifetime), toSeconds(p.ValidLifetime)})
		}
	}
	return a
}

// add takes an address or prefix that can be one, once. One that is preferred for longer than it is valid is
// passed over (RFC 8415 sections 21.6 and 21.22).
func (a *association) add(g given) {
	if isHost(g.prefix.Addr()) && !g.prefix.Addr().IsLinkLocalUnicast() && g.preferred <= g.valid && !a.names(g.prefix) {
		a.parts = append(a.parts, g)
	}
}

func toSeconds(d time.Duration) uint32 { return uint32(d / time.Second) }

// DomainNames keeps what can be a domain name and can stand in a line of resolv.conf(5), each once.
func DomainNames(names []string) (list []string) {
	for _, n := range names {
		n = strings.TrimRight(n, ".")
		if len(n) > 0 && len(n) <= 253 && strings.IndexFunc(n, notInName) < 0 && !slices.Contains(list, n) {
			list = append(list, n)
		}
	}
	return list
}

func notInName(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_')
}
