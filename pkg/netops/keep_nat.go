package netops

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/netops/internal/owntable"
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
func (d dnatSpec) family() uint8         { return owntable.FamilyOf(d.ToAddress) }
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
	words := []string{"forward", d.Protocol, owntable.PortsText(d.Port, d.PortEnd)}
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

func (d dnatSpec) elements() []owntable.Element {
	return owntable.Forward{
		Protocol: d.Protocol, Port: d.Port, PortEnd: d.PortEnd, ToAddress: d.ToAddress, ToPort: d.ToPort, Interface: d.Interface,
		Destination: d.Destination, Source: d.Source, Subnet: d.Subnet, Opens: d.Opens,
	}.Elements()
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
func (s snatSpec) family() uint8         { return owntable.FamilyOf(s.Source.Addr()) }

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

func (s snatSpec) elements() []owntable.Element {
	return owntable.Translation{Source: s.Source, Interface: s.OutInterface, ToAddress: s.ToAddress, Opens: s.Opens}.Elements()
}
