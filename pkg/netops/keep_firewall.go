package netops

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/state"
)

// firewallSpec is a rule that lets traffic in.
type firewallSpec struct {
	ID        string       `json:"id"`
	Protocol  string       `json:"protocol"` // any: all
	Port      int          `json:"port,omitempty"`
	PortEnd   int          `json:"port_end,omitempty"`
	Source    netip.Prefix `json:"source,omitzero"`
	Interface string       `json:"interface,omitempty"`
	Family    string       `json:"family,omitempty"`
	Comment   string       `json:"comment,omitempty"`
	Tag       string       `json:"tag,omitempty"`
}

const protocolAny = "any"

// protocolNumbers are the numbers of the protocols that entries are for.
var protocolNumbers = map[string]uint8{
	"tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP, "sctp": unix.IPPROTO_SCTP, "icmp": unix.IPPROTO_ICMP, "icmpv6": unix.IPPROTO_ICMPV6,
}

func (f firewallSpec) resource() string { return "firewall_rule" }
func (f firewallSpec) id() string       { return f.ID }
func (f firewallSpec) lasts() bool      { return true }
func (f firewallSpec) label() string    { return labelOf(f.ID, f.Comment) }
func (f firewallSpec) locks() []state.Object {
	return []state.Object{state.Exclusive("firewall/" + f.ID)}
}
func (f firewallSpec) needs() needs         { return needsOf(f) }
func (f firewallSpec) plan(h *held) plan    { return planEntry(f, h) }
func (f firewallSpec) removal(h *held) plan { return planRemoval(f, h) }

func (f firewallSpec) line() string {
	words := []string{"accept", f.Protocol}
	if f.Port != 0 {
		words = append(words, portsText(f.Port, f.PortEnd))
	}
	if f.Source.IsValid() {
		words = append(words, "from", f.Source.String())
	}
	if f.Interface != "" {
		words = append(words, "on", f.Interface)
	}
	if f.Family != "" {
		words = append(words, f.Family)
	}
	return strings.Join(words, " ")
}

// labelOf is the comment of an entry's elements.
func labelOf(id, comment string) string {
	if comment == "" {
		return id
	}
	return id + " " + comment
}

func portsText(first, last int) string {
	if last == 0 || last == first {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

// family is that of the source, or the one that was asked for; 0: both.
func (f firewallSpec) family() uint8 {
	switch {
	case f.Source.IsValid():
		return nfFamily(f.Source.Addr())
	case f.Family == "ipv4":
		return unix.NFPROTO_IPV4
	case f.Family == "ipv6":
		return unix.NFPROTO_IPV6
	}
	return 0
}

func (f firewallSpec) shape() shape {
	s := shape{use: useOpen, family: f.family(), iface: f.Interface != ""}
	if f.Source.IsValid() && f.Source.Bits() > 0 {
		s.hasSource, s.bits = true, f.Source.Bits()
	}
	switch {
	case f.Protocol == protocolAny:
		s.ports = portAny
	case f.Port == 0:
		s.ports = portNone
	case f.PortEnd > f.Port:
		s.ports = portBlocks
	}
	return s
}

// rangePlace is the same for ranges of ports that must not overlap, since they share a set and all but the
// ports; "" for what is no range.
func (f firewallSpec) rangePlace() string {
	if f.PortEnd <= f.Port {
		return ""
	}
	return strings.Join([]string{f.shape().name(), f.Protocol, f.Source.String(), f.Interface}, " ")
}

func (f firewallSpec) elements() (list []element) {
	s := f.shape()
	var middle [][]byte
	if s.iface {
		middle = append(middle, ifnameBytes(f.Interface))
	}
	if s.hasSource {
		middle = append(middle, addressBytes(f.Source.Addr()))
	}
	add := func(parts ...[]byte) {
		list = append(list, element{shape: s, key: joinKey(s.fields(), parts...)})
	}
	proto := []byte{protocolNumbers[f.Protocol]}
	switch s.ports {
	case portAny:
		families := []uint8{s.family}
		if s.family == 0 {
			families = []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6}
		}
		for _, family := range families {
			add(append([][]byte{{family}}, middle...)...)
		}
	case portNone:
		add(append(middle, proto)...)
	case portBlocks:
		for _, b := range blocksOf(f.Port, f.PortEnd) {
			s.ports = portBlocks
			if b.bits == 0 {
				s.ports = portSingles
			}
			add(append(middle[:len(middle):len(middle)], proto, portBytes(b.middle()))...)
		}
	default:
		add(append(middle, proto, portBytes(f.Port))...)
	}
	return list
}
