package netops

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

// bridgeSpec is a bridge of ours, the kernel's own or one of Open vSwitch. MAC and MTU are always set, so that they
// follow no port.
type bridgeSpec struct {
	Name          string         `json:"name"`
	MAC           string         `json:"mac"`
	MTU           int            `json:"mtu"`
	STP           bool           `json:"stp,omitempty"`
	VLANFiltering bool           `json:"vlan_filtering,omitempty"`
	Addresses     []netip.Prefix `json:"addresses,omitempty"`
	Up            bool           `json:"up"`
	Passing       bool           `json:"not_persistent,omitempty"` // it ends with the boot
	Tag           string         `json:"tag,omitempty"`
	backed

	DatapathType registry.OvsDatapathType `json:"datapath_type,omitempty"` // "": as Open vSwitch chooses
}

func (b bridgeSpec) resource() string { return "bridge" }
func (b bridgeSpec) id() string       { return b.Name }
func (b bridgeSpec) lasts() bool      { return !b.Passing }

func (b bridgeSpec) needs() needs {
	n := needs{links: []string{b.Name}, addresses: []string{b.Name}}
	if b.ovs() {
		n.switched = []string{b.Name}
	}
	return n
}

func (b bridgeSpec) locks() []state.Object { return []state.Object{lockLink(b.Name)} }

func (b bridgeSpec) line() string {
	words := []string{"bridge", b.Name, "mac", b.MAC, "mtu", strconv.Itoa(b.MTU)}
	for _, a := range b.Addresses {
		words = append(words, a.String())
	}
	return strings.Join(words, " ")
}

func (b bridgeSpec) plan(h *held) (p plan) {
	if b.ovs() {
		return b.planOVS(h)
	}
	l := h.links[b.Name]
	switch {
	case l == nil:
		p.missing = true
		p.steps = append(p.steps, addBridge{b.Name, b.MAC, b.MTU, b.STP, b.VLANFiltering}, setAlias{b.Name, markBridge}, setMTU{b.Name, b.MTU})
		l = &heldLink{Name: b.Name}
	case !b.ours(h, l):
		p.obstacle = foreignLink(l)
		return p
	default:
		b.options(&p, l)
	}
	for _, a := range b.Addresses {
		if !l.has(a) {
			b.differs(&p, "address", a.String(), "", addAddress{b.Name, a})
		}
	}
	if l.Up != b.Up {
		b.differs(&p, "up", strconv.FormatBool(b.Up), strconv.FormatBool(l.Up), setUp{b.Name, b.Up})
	}
	return p
}

// ours tells whether a link is this bridge, marked or just made.
func (b bridgeSpec) ours(h *held, l *heldLink) bool {
	return h.ours(l, kindBridge, markBridge) && (l.Alias == markBridge || l.MAC == b.MAC)
}

// differs notes a difference, but of a bridge that is missing only the step.
func (b bridgeSpec) differs(p *plan, field, expected, actual string, s step) {
	if p.missing {
		p.steps = append(p.steps, s)
		return
	}
	p.differ(field, expected, actual, s)
}

func (b bridgeSpec) options(p *plan, l *heldLink) {
	if l.Alias != markBridge {
		p.differ("alias", markBridge, l.Alias, setAlias{b.Name, markBridge})
	}
	if l.MAC != b.MAC {
		p.differ("mac", b.MAC, l.MAC, setMAC{b.Name, b.MAC})
	}
	if l.MTU != b.MTU {
		p.differ("mtu", strconv.Itoa(b.MTU), strconv.Itoa(l.MTU), setMTU{b.Name, b.MTU})
	}
	if stp := l.Bridge.STP != 0; stp != b.STP {
		p.differ("stp", strconv.FormatBool(b.STP), strconv.FormatBool(stp), setSTP{b.Name, b.STP})
	}
	if l.Bridge.VLANFiltering != b.VLANFiltering {
		p.differ("vlan_filtering", strconv.FormatBool(b.VLANFiltering), strconv.FormatBool(l.Bridge.VLANFiltering), setVLANFiltering{b.Name, b.VLANFiltering})
	}
}

func (b bridgeSpec) removal(h *held) (p plan) {
	if b.ovs() {
		return b.removalOVS(h)
	}
	if l := h.links[b.Name]; l != nil && b.ours(h, l) {
		p.steps = append(p.steps, deleteLink{b.Name, l.Index})
	}
	return p
}

// foreignLink says that something else has a name: what others made, or an object of ours of another kind.
func foreignLink(l *heldLink) string {
	what := "an interface"
	if kind := markedAs[l.Alias]; kind != "" {
		return "a " + kind + " with this daemon's mark is called " + l.Name
	}
	if l.Kind != "" {
		what = "an interface of kind " + l.Kind
	}
	return what + " that this daemon did not make is called " + l.Name
}

// connectionSpec is a veth pair of ours between two bridges, or a pair of patch ports. Its two ends are ports like others; what makes
// them ports stands here, since they come and go together.
type connectionSpec struct {
	A       string `json:"a"` // the bridges
	B       string `json:"b"`
	APort   string `json:"a_port"`
	BPort   string `json:"b_port"`
	Passing bool   `json:"not_persistent,omitempty"`
	backed
}

func (c connectionSpec) resource() string { return "connection" }
func (c connectionSpec) id() string       { return c.APort }
func (c connectionSpec) lasts() bool      { return !c.Passing }
func (c connectionSpec) locks() []state.Object {
	return []state.Object{state.Exclusive("connections"), shareLink(c.A), shareLink(c.B), lockLink(c.APort), lockLink(c.BPort)}
}

func (c connectionSpec) line() string {
	return "connection " + c.A + " (" + c.APort + ") to " + c.B + " (" + c.BPort + ")"
}

func (c connectionSpec) needs() needs {
	if c.ovs() {
		return needs{links: []string{c.APort, c.BPort}, switched: []string{c.APort, c.BPort, c.A, c.B}}
	}
	return needs{links: []string{c.APort, c.BPort, c.A, c.B}, hairpins: []string{c.A, c.B}}
}

func (c connectionSpec) plan(h *held) (p plan) {
	if c.ovs() {
		return c.planOVS(h)
	}
	a, b := h.links[c.APort], h.links[c.BPort]
	for _, l := range []*heldLink{a, b} {
		if l != nil && !h.ours(l, kindVeth, markConnection) {
			p.obstacle = foreignLink(l)
			return p
		}
	}
	if a == nil || b == nil {
		p.missing = true
		if a != nil || b != nil { // half a pair: its other end went to another namespace, or has another name
			p.steps = append(p.steps, c.removal(h).steps...)
		}
		p.steps = append(p.steps, addPair{c.APort, c.BPort})
		a, b = &heldLink{Name: c.APort}, &heldLink{Name: c.BPort}
	}
	for _, end := range []struct {
		link   *heldLink
		bridge string
	}{{a, c.A}, {b, c.B}} {
		c.end(h, &p, end.link, end.bridge)
	}
	return p
}

// end plans one end: marked, in its bridge, up.
func (c connectionSpec) end(h *held, p *plan, l *heldLink, bridge string) {
	note := func(field, expected, actual string, s step) {
		if p.missing {
			p.steps = append(p.steps, s)
			return
		}
		p.differ(l.Name+"."+field, expected, actual, s)
	}
	if l.Alias != markConnection {
		note("alias", markConnection, l.Alias, setAlias{l.Name, markConnection})
	}
	if in := h.nameOf(l.Master); in != bridge {
		if h.links[bridge] == nil {
			p.waits = "bridge " + bridge
		} else {
			note("bridge", bridge, in, setMaster{l.Name, bridge})
		}
	}
	if want, is := h.hairpin(bridge), l.Port.Hairpin && h.nameOf(l.Master) == bridge; want != is && p.waits == "" {
		note("hairpin", strconv.FormatBool(want), strconv.FormatBool(is), setPort{Name: l.Name, Hairpin: &want})
	}
	if !l.Up {
		note("up", "true", "false", setUp{l.Name, true})
	}
}

func (c connectionSpec) removal(h *held) (p plan) {
	if c.ovs() {
		return c.removalOVS(h)
	}
	for _, name := range []string{c.APort, c.BPort} {
		if l := h.links[name]; l != nil && h.ours(l, kindVeth, markConnection) {
			p.steps = append(p.steps, deleteLink{name, l.Index})
			if slices.Contains([]string{c.APort, c.BPort}, h.nameOf(l.Peer)) {
				return p // the other end goes with it
			}
		}
	}
	return p
}
