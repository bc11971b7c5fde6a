package netops

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/internal/state"
)

// portSettings are the properties of a bridge port. The VLANs are the kernel's to choose where none are given.
type portSettings struct {
	PVID     int      `json:"pvid,omitempty"`
	VLANs    []string `json:"vlans,omitempty"`
	Untagged []string `json:"untagged,omitempty"`
	Isolated bool     `json:"isolated,omitempty"`
	Hairpin  bool     `json:"hairpin,omitempty"`
}

// plan adds what makes a link a port of a bridge with these options. The port may be missing: its link or
// its membership.
func (o *portSettings) plan(h *held, p *plan, l *heldLink, bridge string) {
	note := func(field, expected, actual string, s step) {
		if p.missing {
			p.steps = append(p.steps, s)
			return
		}
		p.differ(field, expected, actual, s)
	}
	in := h.nameOf(l.Master)
	member := in == bridge
	if !member {
		if h.links[bridge] == nil {
			p.waits = "bridge " + bridge
			return
		}
		note("bridge", bridge, in, setMaster{l.Name, bridge})
	}
	hairpin, isolated := member && l.Port.Hairpin, member && l.Port.Isolated
	if want := o.Hairpin || h.hairpin(bridge); hairpin != want {
		note("hairpin", strconv.FormatBool(want), strconv.FormatBool(hairpin), setPort{Name: l.Name, Hairpin: &want})
	}
	if isolated != o.Isolated {
		note("isolated", strconv.FormatBool(o.Isolated), strconv.FormatBool(isolated), setPort{Name: l.Name, Isolated: &o.Isolated})
	}
	o.planVLANs(h, l, member, bridge, note)
}

func (o *portSettings) planVLANs(h *held, l *heldLink, member bool, bridge string, note func(field, expected, actual string, s step)) {
	want := o.vlans()
	if want == nil {
		return
	}
	have := l.VLANs
	if !member { // joining gives it the bridge's default
		have = nil
		if pvid := h.links[bridge].Bridge.VLANDefaultPVID; pvid != 0 {
			have = []rtnl.PortVLAN{{ID: pvid, PVID: true, Untagged: true}}
		}
	}
	change := setVLANs{Name: l.Name}
	for _, v := range want {
		if !slices.Contains(have, v) {
			change.Add = append(change.Add, v)
		}
	}
	for _, v := range have {
		if !slices.ContainsFunc(want, func(w rtnl.PortVLAN) bool { return w.ID == v.ID }) {
			change.Delete = append(change.Delete, v)
		}
	}
	if len(change.Add)+len(change.Delete) > 0 {
		note("vlans", vlanText(want), vlanText(have), change)
	}
}

// vlans are the VLANs that the port is to take, rising; nil where that is the kernel's to choose.
func (o *portSettings) vlans() []rtnl.PortVLAN {
	if o.PVID == 0 && len(o.VLANs) == 0 {
		return nil
	}
	set := map[uint16]rtnl.PortVLAN{}
	for _, r := range o.VLANs {
		for id := range vlanIDs(r) {
			set[id] = rtnl.PortVLAN{ID: id}
		}
	}
	if o.PVID != 0 {
		set[uint16(o.PVID)] = rtnl.PortVLAN{ID: uint16(o.PVID), PVID: true, Untagged: len(o.Untagged) == 0}
	}
	for _, r := range o.Untagged {
		for id := range vlanIDs(r) {
			v := set[id]
			v.ID, v.Untagged = id, true
			set[id] = v
		}
	}
	list := make([]rtnl.PortVLAN, 0, len(set))
	for _, v := range set {
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b rtnl.PortVLAN) int { return int(a.ID) - int(b.ID) })
	return list
}

// vlanIDs yields the ids of a range: "10", "20-29". A range whose end lies before its start has none.
func vlanIDs(text string) func(yield func(uint16) bool) {
	first, last, _ := vlanBounds(text)
	return func(yield func(uint16) bool) {
		for id := first; id <= last; id++ {
			if !yield(uint16(id)) {
				return
			}
		}
	}
}

func vlanBounds(text string) (first, last int, ok bool) {
	from, to, ranged := strings.Cut(text, "-")
	if !ranged {
		to = from
	}
	first, err1 := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	if err1 != nil || err2 != nil || first < 1 || last > maxVLAN || last < first {
		return 1, 0, false
	}
	return first, last, true
}

const maxVLAN = 4094

// vlanText is a list of VLANs as bridge(8) shows it.
func vlanText(list []rtnl.PortVLAN) string {
	var words []string
	for _, v := range list {
		word := strconv.Itoa(int(v.ID))
		if v.PVID {
			word += " pvid"
		}
		if v.Untagged {
			word += " untagged"
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

// portSpec is an interface that others made, as a port of a bridge.
type portSpec struct {
	Bridge    string `json:"bridge"`
	Interface string `json:"interface"`
	portSettings
	Passing bool `json:"not_persistent,omitempty"`
	backed

	named bool // a call named it: it is taken out whoever made it a port
}

func (p portSpec) resource() string { return "bridge_port" }
func (p portSpec) id() string       { return p.Interface }
func (p portSpec) lasts() bool      { return !p.Passing }
func (p portSpec) line() string     { return fmt.Sprintf("port %s of %s", p.Interface, p.Bridge) }

func (p portSpec) locks() []state.Object {
	return []state.Object{shareLink(p.Bridge), lockLink(p.Interface)}
}

func (p portSpec) needs() needs {
	if p.ovs() {
		return needs{links: []string{p.Interface}, switched: []string{p.Interface, p.Bridge}}
	}
	n := needs{links: []string{p.Interface, p.Bridge}, hairpins: []string{p.Bridge}}
	if p.vlans() != nil {
		n.vlans = []string{p.Interface}
	}
	return n
}

func (p portSpec) plan(h *held) (out plan) {
	if p.ovs() {
		return p.planOVS(h)
	}
	l := h.links[p.Interface]
	if l == nil {
		out.missing, out.waits = true, "interface "+p.Interface
		return out
	}
	out.missing = h.nameOf(l.Master) != p.Bridge
	p.portSettings.plan(h, &out, l, p.Bridge)
	return out
}

func (p portSpec) removal(h *held) (out plan) {
	if p.ovs() {
		return p.removalOVS(h)
	}
	if l := h.links[p.Interface]; l != nil && l.Master != 0 && h.nameOf(l.Master) == p.Bridge {
		out.steps = append(out.steps, setMaster{p.Interface, ""})
	}
	return out
}
