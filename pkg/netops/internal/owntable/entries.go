package owntable

import (
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"
)

// Acceptance is what lets traffic in.
type Acceptance struct {
	Protocol      string       // ProtocolAny: all
	Port, PortEnd int          // 0: all of the protocol, and no range
	Source        netip.Prefix // not valid: every one
	Interface     string       // "": every one
	Family        uint8        // unix.NFPROTO_IPV4 or IPV6; 0: both
}

func (f Acceptance) shape() Shape {
	s := Shape{use: useOpen, family: f.Family, iface: f.Interface != ""}
	if f.Source.IsValid() && f.Source.Bits() > 0 {
		s.hasSource, s.bits = true, f.Source.Bits()
	}
	switch {
	case f.Protocol == ProtocolAny:
		s.ports = portAny
	case f.Port == 0:
		s.ports = portNone
	case f.PortEnd > f.Port:
		s.ports = portBlocks
	}
	return s
}

// RangePlace is the same for ranges of ports that must not overlap, since they share a set and all but the
// ports; "" for what is no range.
func (f Acceptance) RangePlace() string {
	if f.PortEnd <= f.Port {
		return ""
	}
	return strings.Join([]string{f.shape().Name(), f.Protocol, f.Source.String(), f.Interface}, " ")
}

// Elements are what stands in the table for it.
func (f Acceptance) Elements() (list []Element) {
	s := f.shape()
	var middle [][]byte
	if s.iface {
		middle = append(middle, ifnameBytes(f.Interface))
	}
	if s.hasSource {
		middle = append(middle, addressBytes(f.Source.Addr()))
	}
	add := func(parts ...[]byte) {
		list = append(list, Element{Shape: s, Key: joinKey(s.fields(), parts...)})
	}
	proto := []byte{ProtocolNumber(f.Protocol)}
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

// Forward is a port forward.
type Forward struct {
	Protocol      string
	Port, PortEnd int
	ToAddress     netip.Addr
	ToPort        int
	Interface     string       // "": every one
	Destination   netip.Addr   // not valid: the addresses of the node, or of iface
	Source        netip.Prefix // not valid: every one
	Subnet        netip.Prefix // that ToAddress is in, on one of the node's links; may be not valid
	Opens         []string     // interfaces that forward because of it
}

// Elements are what stands in the table for it. Those that other entries may have too are shared.
func (d Forward) Elements() (list []Element) {
	family := FamilyOf(d.ToAddress)
	s := Shape{use: useDNAT, family: family, iface: d.Interface != "", link: d.Interface, dest: d.Destination.IsValid()}
	var head [][]byte
	if d.Source.IsValid() && d.Source.Bits() > 0 {
		s.hasSource, s.bits = true, d.Source.Bits()
		head = append(head, addressBytes(d.Source.Addr()))
	}
	if s.dest {
		head = append(head, addressBytes(d.Destination))
	}
	head = append(head, []byte{ProtocolNumber(d.Protocol)})
	fields := s.fields()
	for port := d.Port; port <= max(d.Port, d.PortEnd); port++ {
		list = append(list, Element{
			Shape: s, Key: joinKey(fields, append(head[:len(head):len(head)], portBytes(port))...),
			Data: joinKey(s.data(), addressBytes(d.ToAddress), portBytes(d.ToPort+port-d.Port)),
		})
	}
	target := Shape{use: useForwarded, family: family, dest: true, ports: portUnused}
	list = append(list, Element{Shape: target, Key: addressBytes(d.ToAddress), Shared: true})
	if d.Subnet.IsValid() {
		near := Shape{use: useHairpin, family: family, hasSource: true, bits: d.Subnet.Bits(), dest: true, ports: portUnused}
		list = append(list, Element{Shape: near, Key: joinKey(near.fields(), addressBytes(d.Subnet.Addr()), addressBytes(d.ToAddress)), Shared: true})
	}
	return append(list, ClosedElements(family, d.Opens)...)
}

// ClosedElements are those that keep an interface from forwarding what nothing asks for.
func ClosedElements(family uint8, interfaces []string) (list []Element) {
	if family == unix.NFPROTO_IPV6 && len(interfaces) > 0 { // all interfaces forward, or none
		s := Shape{use: useClosed, family: family, ports: portUnused}
		return []Element{{Shape: s, Key: []byte{family}, Shared: true}}
	}
	s := Shape{use: useClosed, family: family, iface: true, ports: portUnused}
	for _, name := range interfaces {
		list = append(list, Element{Shape: s, Key: ifnameBytes(name), Shared: true})
	}
	return list
}

// Translation is a translation of sources.
type Translation struct {
	Source    netip.Prefix
	Interface string     // by which what is translated goes out; "": every one
	ToAddress netip.Addr // not valid: the address of the interface
	Opens     []string   // interfaces that forward because of it
}

// Elements are what stands in the table for it. Those that other entries may have too are shared.
func (s Translation) Elements() []Element {
	family := FamilyOf(s.Source.Addr())
	shapeOf := func(u use) Shape {
		return Shape{use: u, family: family, hasSource: true, bits: s.Source.Bits(), ports: portUnused}
	}
	net := addressBytes(s.Source.Addr())
	main := shapeOf(useMasquerade)
	var data []byte
	if s.ToAddress.IsValid() {
		main, data = shapeOf(useSNAT), addressBytes(s.ToAddress)
	}
	parts := [][]byte{net}
	if s.Interface != "" {
		main.iface = true
		parts = [][]byte{ifnameBytes(s.Interface), net}
	}
	inside := shapeOf(useInside)
	inside.dest = true
	sources := shapeOf(useSources)
	return append([]Element{
		{Shape: main, Key: joinKey(main.fields(), parts...), Data: data},
		{Shape: inside, Key: joinKey(inside.fields(), net, net), Shared: true},
		{Shape: sources, Key: net, Shared: true},
	}, ClosedElements(family, s.Opens)...)
}
