package netops

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/geomind/my_os_server/internal/ovsdb"
)

// The plans of what stands in Open vSwitch's database. They are made out of the rows; the interfaces that
// ovs-vswitchd makes of them are looked at for what it leaves to others: addresses, and being up.

// ovsAbsent notes that nothing can be said or done for want of Open vSwitch.
func (p *plan) ovsAbsent(h *held, l *heldLink) bool {
	if h.ovs.gone == nil {
		return false
	}
	p.missing, p.waits = l == nil, "Open vSwitch: "+h.ovs.gone.Error()
	return true
}

func (b bridgeSpec) planOVS(h *held) (p plan) {
	l := h.links[b.Name]
	if p.ovsAbsent(h, l) {
		return p
	}
	row := h.ovs.bridges[b.Name]
	switch {
	case row == nil && h.ovs.ports[b.Name] != nil:
		p.obstacle = "a port of Open vSwitch is called " + b.Name
		return p
	case row == nil && l != nil && l.Alias != markBridge: // else ovs-vswitchd left it as it ended, and takes it again
		p.obstacle = foreignLink(l)
		return p
	case row == nil:
		p.missing = true
		p.steps = append(p.steps, addOVSBridge{b.Name, b.MAC, b.MTU, b.STP, string(b.DatapathType)})
		if l == nil {
			l = &heldLink{Name: b.Name}
		}
	case row.Mark != markOVSBridge:
		p.obstacle = foreignOVS("bridge", b.Name)
		return p
	default:
		b.optionsOVS(&p, row)
	}
	if l == nil {
		p.waits = "interface " + b.Name + " of ovs-vswitchd"
		return p
	}
	b.linkOVS(&p, l)
	return p
}

// linkOVS plans what a bridge's own interface has of us.
func (b bridgeSpec) linkOVS(p *plan, l *heldLink) {
	if l.Alias != markBridge {
		b.differs(p, "alias", markBridge, l.Alias, setAlias{b.Name, markBridge})
	}
	if l.MTU != b.MTU { // the kernel's datapath takes it from the ports until it is set here too
		b.differs(p, "mtu", strconv.Itoa(b.MTU), strconv.Itoa(l.MTU), setMTU{b.Name, b.MTU})
	}
	for _, a := range b.Addresses {
		if !l.has(a) {
			b.differs(p, "address", a.String(), "", addAddress{b.Name, a})
		}
	}
	if l.Up != b.Up {
		b.differs(p, "up", strconv.FormatBool(b.Up), strconv.FormatBool(l.Up), setUp{b.Name, b.Up})
	}
}

// optionsOVS plans the columns of a bridge that stands.
func (b bridgeSpec) optionsOVS(p *plan, row *heldOVSBridge) {
	if row.MAC != b.MAC {
		p.differ("mac", b.MAC, row.MAC, setOVSBridge{b.Name, row.UUID, "mac", b.MAC, ovsSetKey("other_config", "hwaddr", b.MAC)})
	}
	if row.MTU != int64(b.MTU) {
		p.differ("mtu", strconv.Itoa(b.MTU), strconv.FormatInt(row.MTU, 10), setOVSMTU{b.Name, b.MTU})
	}
	if row.STP != b.STP {
		on := strconv.FormatBool(b.STP)
		p.differ("stp", on, strconv.FormatBool(row.STP), setOVSBridge{b.Name, row.UUID, "stp", on, ovsSet("stp_enable", b.STP)})
	}
	if want := string(b.DatapathType); row.DatapathType != want {
		p.differ("datapath_type", want, row.DatapathType, setOVSBridge{b.Name, row.UUID, "datapath_type", want, ovsSet("datapath_type", want)})
	}
}

func (b bridgeSpec) removalOVS(h *held) (p plan) {
	if p.ovsAbsent(h, h.links[b.Name]) {
		return p
	}
	if row := h.ovs.bridges[b.Name]; row != nil && row.Mark == markOVSBridge {
		p.steps = append(p.steps, deleteOVSBridge{b.Name, row.UUID})
	}
	return p
}

// foreignOVS says that a row that is not ours has a name.
func foreignOVS(what, name string) string {
	return "a " + what + " of Open vSwitch that this daemon did not make is called " + name
}

// ovsPort is what a port of a bridge of Open vSwitch is to be.
type ovsPort struct {
	Bridge, Name, Mark string
	Peer               string // of a patch port; "": it is an interface of the kernel's
	portSettings
}

// plan adds what makes it stand, and tells whether something stands in its way or lacks. Several that are missing
// go into one step: add.
func (w *ovsPort) plan(h *held, p *plan, add *addOVSPorts) (goesOn bool) {
	row := h.ovs.ports[w.Name]
	bridge := h.ovs.bridges[w.Bridge]
	switch {
	case row != nil && row.Mark != w.Mark:
		p.obstacle = foreignOVS("port", w.Name)
		return false
	case bridge == nil:
		p.waits = "bridge " + w.Bridge
		return false
	case row == nil:
		p.missing = true
		add.Ports = append(add.Ports, *w)
		return true
	case row.Bridge != w.Bridge || row.Peer != w.Peer:
		p.differ("bridge", w.Bridge, row.Bridge, deleteOVSPort{row.Bridge, w.Name, row.UUID})
		add.Ports = append(add.Ports, *w)
		return true
	}
	w.differences(p, row)
	return true
}

func (w *ovsPort) differences(p *plan, row *heldOVSPort) {
	var mend step = setOVSPort{w.Name, row.UUID, w.portSettings}
	note := func(field, expected, actual string) {
		if expected != actual {
			p.differ(field, expected, actual, mend)
			mend = nil // one step for all of them
		}
	}
	mode, tag, trunks := w.ovsVLANs()
	note("vlan_mode", mode, row.Mode)
	note("tag", tagText(tag), tagText(row.Tag))
	note("trunks", idsText(trunks), idsText(row.Trunks))
	note("isolated", strconv.FormatBool(w.Isolated), strconv.FormatBool(row.Protected))
	if row.Fault != "" {
		p.differ("error", "", row.Fault, retryOVSPort{w.Name})
	}
}

func tagText(tag int64) string {
	if tag == 0 {
		return ""
	}
	return strconv.FormatInt(tag, 10)
}

func idsText(ids []int64) string {
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(ids)), " "), "[]")
}

// ovsVLANs are the VLANs of a port in the words of Open vSwitch: a port with a pvid alone is an access port, one
// with vlans alone carries these, tagged; with both, pvid is the native one, which leaves without a tag. None of
// them: every frame passes as it is.
func (o *portSettings) ovsVLANs() (mode string, tag int64, trunks []int64) {
	for _, r := range o.VLANs {
		for id := range vlanIDs(r) {
			trunks = append(trunks, int64(id))
		}
	}
	slices.Sort(trunks)
	trunks = slices.Compact(trunks)
	switch {
	case o.PVID != 0 && len(trunks) == 0:
		return "access", int64(o.PVID), nil
	case o.PVID != 0:
		return "native-untagged", int64(o.PVID), trunks
	case len(trunks) > 0:
		return "trunk", 0, trunks
	}
	return "", 0, nil
}

// ovsColumns are a port's settings as columns, empty ones too.
func (o *portSettings) ovsColumns() ovsdb.Row {
	mode, tag, trunks := o.ovsVLANs()
	row := ovsdb.Row{"vlan_mode": ovsdb.Set{}, "tag": ovsdb.Set{}, "trunks": ovsdb.Set{}, "protected": o.Isolated}
	if mode != "" {
		row["vlan_mode"] = mode
	}
	if tag != 0 {
		row["tag"] = tag
	}
	set := ovsdb.Set{}
	for _, id := range trunks {
		set = append(set, id)
	}
	row["trunks"] = set
	return row
}

// removal adds what takes the port away.
func (w *ovsPort) removal(h *held, p *plan) {
	if row := h.ovs.ports[w.Name]; row != nil && row.Bridge == w.Bridge && (row.Mark == w.Mark || w.Mark == "") {
		p.steps = append(p.steps, deleteOVSPort{w.Bridge, w.Name, row.UUID})
	}
}

func (p portSpec) ovsPort() ovsPort {
	w := ovsPort{Bridge: p.Bridge, Name: p.Interface, Mark: markOVSPort, portSettings: p.portSettings}
	if p.named {
		w.Mark = ""
	}
	return w
}

func (p portSpec) planOVS(h *held) (out plan) {
	l := h.links[p.Interface]
	if out.ovsAbsent(h, l) {
		return out
	}
	if l == nil {
		out.missing, out.waits = true, "interface "+p.Interface
		return out
	}
	w, add := p.ovsPort(), addOVSPorts{}
	w.plan(h, &out, &add)
	out.steps = append(out.steps, add.steps()...)
	return out
}

func (p portSpec) removalOVS(h *held) (out plan) {
	if out.ovsAbsent(h, nil) {
		return out
	}
	w := p.ovsPort()
	w.removal(h, &out)
	return out
}

func (t tapSpec) ovsPort() ovsPort {
	return ovsPort{Bridge: t.Bridge, Name: t.Name, Mark: markOVSTap, portSettings: t.portSettings}
}

// planOVS adds what makes the tap a port.
func (t tapSpec) planOVS(h *held, p *plan) {
	if h.ovs.gone != nil {
		if t.Bridge != "" {
			p.waits = "Open vSwitch: " + h.ovs.gone.Error()
		}
		return
	}
	w, add := t.ovsPort(), addOVSPorts{}
	if row := h.ovs.ports[t.Name]; t.Bridge == "" {
		if row != nil && row.Mark == markOVSTap {
			p.differ("bridge", "", row.Bridge, deleteOVSPort{row.Bridge, t.Name, row.UUID})
		}
		return
	}
	missing := p.missing
	w.plan(h, p, &add)
	if len(add.Ports) > 0 && !missing && p.missing { // the tap stands, what it is to be a port does not
		p.missing = false
		p.differ("bridge", t.Bridge, "", add.steps()[0])
		return
	}
	p.steps = append(p.steps, add.steps()...)
}

func (c connectionSpec) ovsPorts() [2]ovsPort {
	return [2]ovsPort{
		{Bridge: c.A, Name: c.APort, Mark: markOVSConnection, Peer: c.BPort},
		{Bridge: c.B, Name: c.BPort, Mark: markOVSConnection, Peer: c.APort},
	}
}

func (c connectionSpec) planOVS(h *held) (p plan) {
	if p.ovsAbsent(h, nil) {
		return p
	}
	var add addOVSPorts
	for _, w := range c.ovsPorts() {
		if l := h.links[w.Name]; l != nil && h.ovs.ports[w.Name] == nil {
			p.obstacle = foreignLink(l)
			return p
		}
		if !w.plan(h, &p, &add) {
			p.steps = nil // both or none
			return p
		}
	}
	p.steps = append(p.steps, add.steps()...)
	return p
}

func (c connectionSpec) removalOVS(h *held) (p plan) {
	if p.ovsAbsent(h, nil) {
		return p
	}
	for _, w := range c.ovsPorts() {
		w.removal(h, &p)
	}
	return p
}
