package netops

import (
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/netops/internal/owntable"
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
		words = append(words, owntable.PortsText(f.Port, f.PortEnd))
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

// family is that of the source, or the one that was asked for; 0: both.
func (f firewallSpec) family() uint8 {
	switch {
	case f.Source.IsValid():
		return owntable.FamilyOf(f.Source.Addr())
	case f.Family == "ipv4":
		return unix.NFPROTO_IPV4
	case f.Family == "ipv6":
		return unix.NFPROTO_IPV6
	}
	return 0
}

// accepts is what the own table has for it.
func (f firewallSpec) accepts() owntable.Acceptance {
	return owntable.Acceptance{Protocol: f.Protocol, Port: f.Port, PortEnd: f.PortEnd, Source: f.Source, Interface: f.Interface, Family: f.family()}
}

func (f firewallSpec) elements() []owntable.Element { return f.accepts().Elements() }
