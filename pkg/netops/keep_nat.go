package netops

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/state"
)

// dnatSpec is a port forward.
type dnatSpec struct {
	ID          string       `json:"id"`
	Protocol    string       `json:"protocol"`
	Port        int          `json:"port"`
	PortEnd     int          `json:"port_end,omitempty"`
	ToAddress   netip.Addr   `json:"to_address"`
	ToPort      int          `json:"to_port"`
	Interface   string       `json:"interface,omitempty"`
	Destination netip.Addr   `json:"destination,omitzero"`
	Source      netip.Prefix `json:"source,omitzero"`
	Subnet      netip.Prefix `json:"subnet,omitzero"`  // that ToAddress is in, on one of the node's links
	Behind      string       `json:"behind,omitempty"` // that link
	Opens       []string     `json:"opens,omitempty"`  // interfaces that forward for it because of this daemon; see forwardingSpec
	Comment     string       `json:"comment,omitempty"`
	Tag         string       `json:"tag,omitempty"`
}

func (d dnatSpec) resource() string      { return "dnat" }
func (d dnatSpec) id() string            { return d.ID }
func (d dnatSpec) lasts() bool           { return true }
func (d dnatSpec) label() string         { return labelOf(d.ID, d.Comment) }
func (d dnatSpec) locks() []state.Object { return []state.Object{state.Exclusive("dnat/" + d.ID)} }
func (d dnatSpec) family() uint8         { return nfFamily(d.ToAddress) }
func (d dnatSpec) last() int             { return max(d.Port, d.PortEnd) }

func (d dnatSpec) needs() needs {
	n := needsOf(d)
	n.hairpins, n.allPorts = []string{d.Behind}, []string{d.Behind}
	return n
}

func (d dnatSpec) plan(h *held) plan {
	p := planEntry(d, h)
	if p.missing {
		p.steps = append(p.steps, dropFlows{d, false})
	}
	d.planHairpin(h, &p)
	return p
}

func (d dnatSpec) removal(h *held) plan {
	p := planRemoval(d, h)
	p.steps = append(p.steps, dropFlows{d, true})
	d.planHairpinRemoval(h, &p)
	return p
}

func (d dnatSpec) line() string {
	words := []string{"forward", d.Protocol, portsText(d.Port, d.PortEnd)}
	if d.Destination.IsValid() {
		words = append(words, "of", d.Destination.String())
	}
	if d.Interface != "" {
		words = append(words, "of", d.Interface)
	}
	if d.Source.IsValid() {
		words = append(words, "from", d.Source.String())
	}
	return strings.Join(append(words, "to", netip.AddrPortFrom(d.ToAddress, uint16(d.ToPort)).String()), " ")
}

func (d dnatSpec) elements() (list []element) {
	s := shape{use: useDNAT, family: d.family(), iface: d.Interface != "", link: d.Interface, dest: d.Destination.IsValid()}
	var head [][]byte
	if d.Source.IsValid() && d.Source.Bits() > 0 {
		s.hasSource, s.bits = true, d.Source.Bits()
		head = append(head, addressBytes(d.Source.Addr()))
	}
	if s.dest {
		head = append(head, addressBytes(d.Destination))
	}
	head = append(head, []byte{protocolNumbers[d.Protocol]})
	fields := s.fields()
	for port := d.Port; port <= d.last(); port++ {
		list = append(list, element{
			shape: s, key: joinKey(fields, append(head[:len(head):len(head)], portBytes(port))...),
			data: joinKey(s.data(), addressBytes(d.ToAddress), portBytes(d.ToPort+port-d.Port)),
		})
	}
	target := shape{use: useForwarded, family: d.family(), dest: true, ports: portUnused}
	list = append(list, element{shape: target, key: addressBytes(d.ToAddress), shared: true})
	if d.Subnet.IsValid() {
		near := shape{use: useHairpin, family: d.family(), hasSource: true, bits: d.Subnet.Bits(), dest: true, ports: portUnused}
		list = append(list, element{shape: near, key: joinKey(near.fields(), addressBytes(d.Subnet.Addr()), addressBytes(d.ToAddress)), shared: true})
	}
	return append(list, closedElements(d.family(), d.Opens)...)
}

// closedElements are those that keep an interface from forwarding what nothing asks for.
func closedElements(family uint8, interfaces []string) (list []element) {
	if family == unix.NFPROTO_IPV6 && len(interfaces) > 0 { // all interfaces forward, or none
		s := shape{use: useClosed, family: family, ports: portUnused}
		return []element{{shape: s, key: []byte{family}, shared: true}}
	}
	s := shape{use: useClosed, family: family, iface: true, ports: portUnused}
	for _, name := range interfaces {
		list = append(list, element{shape: s, key: ifnameBytes(name), shared: true})
	}
	return list
}

// snatSpec is a translation of sources.
type snatSpec struct {
	ID           string       `json:"id"`
	Source       netip.Prefix `json:"source"`
	OutInterface string       `json:"out_interface,omitempty"`
	ToAddress    netip.Addr   `json:"to_address,omitzero"`
	Opens        []string     `json:"opens,omitempty"`
	Comment      string       `json:"comment,omitempty"`
	Tag          string       `json:"tag,omitempty"`
}

func (s snatSpec) resource() string      { return "snat" }
func (s snatSpec) id() string            { return s.ID }
func (s snatSpec) lasts() bool           { return true }
func (s snatSpec) label() string         { return labelOf(s.ID, s.Comment) }
func (s snatSpec) locks() []state.Object { return []state.Object{state.Exclusive("snat/" + s.ID)} }
func (s snatSpec) needs() needs          { return needsOf(s) }
func (s snatSpec) family() uint8         { return nfFamily(s.Source.Addr()) }

func (s snatSpec) plan(h *held) plan {
	p := planEntry(s, h)
	if p.missing {
		p.steps = append(p.steps, dropFlows{s, false})
	}
	return p
}

func (s snatSpec) removal(h *held) plan {
	p := planRemoval(s, h)
	p.steps = append(p.steps, dropFlows{s, true})
	return p
}

func (s snatSpec) line() string {
	words := []string{"translate", s.Source.String()}
	if s.OutInterface != "" {
		words = append(words, "on", s.OutInterface)
	}
	if s.ToAddress.IsValid() {
		return fmt.Sprint(strings.Join(words, " "), " to ", s.ToAddress)
	}
	return strings.Join(append(words, "to the address of the interface"), " ")
}

func (s snatSpec) elements() []element {
	shapeOf := func(u use) shape {
		return shape{use: u, family: s.family(), hasSource: true, bits: s.Source.Bits(), ports: portUnused}
	}
	net := addressBytes(s.Source.Addr())
	main := shapeOf(useMasquerade)
	var data []byte
	if s.ToAddress.IsValid() {
		main, data = shapeOf(useSNAT), addressBytes(s.ToAddress)
	}
	parts := [][]byte{net}
	if s.OutInterface != "" {
		main.iface = true
		parts = [][]byte{ifnameBytes(s.OutInterface), net}
	}
	inside := shapeOf(useInside)
	inside.dest = true
	sources := shapeOf(useSources)
	return append([]element{
		{shape: main, key: joinKey(main.fields(), parts...), data: data},
		{shape: inside, key: joinKey(inside.fields(), net, net), shared: true},
		{shape: sources, key: net, shared: true},
	}, closedElements(s.family(), s.Opens)...)
}
