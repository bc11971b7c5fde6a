package netops

import (
	"fmt"
	"strconv"

	"github.com/geomind/my_os_server/internal/state"
)

// tapSpec is a persistent tap interface of ours. Its key is the machine's id and the number of its card.
type tapSpec struct {
	VMID       string  `json:"vm_id"`
	NIC        int     `json:"nic"`
	Name       string  `json:"name"`
	Bridge     string  `json:"bridge,omitempty"`
	MAC        string  `json:"mac"`      // of the guest
	HostMAC    string  `json:"host_mac"` // of the interface
	MTU        int     `json:"mtu"`
	OwnerUID   *uint32 `json:"owner_uid,omitempty"`
	OwnerGID   *uint32 `json:"owner_gid,omitempty"`
	MultiQueue bool    `json:"multi_queue,omitempty"`
	VnetHdr    bool    `json:"vnet_hdr,omitempty"`
	portSettings
	Tag string `json:"tag,omitempty"`
	backed
}

const kindTun = "tun"

// tapKey is the key of a tap in its registry.
func tapKey(vmID string, nic int) string { return fmt.Sprintf("%s/%d", vmID, nic) }

func (t tapSpec) resource() string { return "tap" }
func (t tapSpec) id() string       { return t.Name }
func (t tapSpec) lasts() bool      { return true }
func (t tapSpec) line() string {
	line := fmt.Sprintf("tap %s of %s nic %d mac %s mtu %d", t.Name, t.VMID, t.NIC, t.HostMAC, t.MTU)
	if t.Bridge != "" {
		line += " in " + t.Bridge
	}
	return line
}

func (t tapSpec) locks() []state.Object {
	list := []state.Object{state.Exclusive("tap/" + tapKey(t.VMID, t.NIC)), lockLink(t.Name)}
	if t.Bridge != "" {
		list = append(list, shareLink(t.Bridge))
	}
	return list
}

func (t tapSpec) needs() needs {
	n := needs{links: []string{t.Name}}
	if t.ovs() {
		n.switched = []string{t.Name, t.Bridge} // the database has nothing without a name
		return n
	}
	if t.Bridge != "" {
		n.links = append(n.links, t.Bridge)
		n.hairpins = []string{t.Bridge}
	}
	if t.vlans() != nil {
		n.vlans = []string{t.Name}
	}
	return n
}

func (t tapSpec) plan(h *held) (p plan) {
	l := h.links[t.Name]
	switch {
	case l == nil:
		p.missing = true
		l = t.make(&p)
	case !t.ours(h, l):
		p.obstacle = foreignLink(l)
		return p
	case !t.made(l):
		// Owner and flags belong to the making: what lacks them is made anew, or is half made.
		p.differ("options", t.options(), optionsOf(l), deleteLink{t.Name, l.Index})
		l = t.make(&p)
	}
	t.link(&p, l)
	switch {
	case t.ovs():
		t.planOVS(h, &p)
	case t.Bridge != "":
		t.portSettings.plan(h, &p, l, t.Bridge)
	}
	if !l.Up {
		t.differs(&p, "up", "true", "false", setUp{t.Name, true})
	}
	return p
}

// ours tells whether a link is this tap, marked or just made.
func (t tapSpec) ours(h *held, l *heldLink) bool {
	return h.ours(l, kindTun, markTap) && l.Tun.Tap && (l.Alias == markTap || t.made(l) && !l.Up && l.Master == 0)
}

// make adds the making, and returns the link as it is then.
func (t tapSpec) make(p *plan) *heldLink {
	p.steps = append(p.steps, addTap{t.Name, t.OwnerUID, t.OwnerGID, t.MultiQueue, t.VnetHdr})
	return &heldLink{Name: t.Name}
}

// made tells whether a tap has what only the making gives it.
func (t tapSpec) made(l *heldLink) bool {
	return l.Tun.Persistent && sameID(t.OwnerUID, l.Tun.Owner, l.Tun.HasOwner) && sameID(t.OwnerGID, l.Tun.Group, l.Tun.HasGroup) &&
		t.MultiQueue == l.Tun.MultiQueue
}

func sameID(want *uint32, have uint32, has bool) bool {
	if want == nil {
		return !has
	}
	return has && *want == have
}

func (t tapSpec) options() string {
	return fmt.Sprintf("owner %s, group %s, multi_queue %v, persistent", idText(t.OwnerUID), idText(t.OwnerGID), t.MultiQueue)
}

func optionsOf(l *heldLink) string {
	owner, group := &l.Tun.Owner, &l.Tun.Group
	if !l.Tun.HasOwner {
		owner = nil
	}
	if !l.Tun.HasGroup {
		group = nil
	}
	persistent := "persistent"
	if !l.Tun.Persistent {
		persistent = "not persistent"
	}
	return fmt.Sprintf("owner %s, group %s, multi_queue %v, %s", idText(owner), idText(group), l.Tun.MultiQueue, persistent)
}

func idText(id *uint32) string {
	if id == nil {
		return "none"
	}
	return strconv.FormatUint(uint64(*id), 10)
}

func (t tapSpec) differs(p *plan, field, expected, actual string, s step) {
	if p.missing {
		p.steps = append(p.steps, s)
		return
	}
	p.differ(field, expected, actual, s)
}

// link plans the properties that every interface has.
func (t tapSpec) link(p *plan, l *heldLink) {
	if l.Alias != markTap {
		t.differs(p, "alias", markTap, l.Alias, setAlias{t.Name, markTap})
	}
	if l.MAC != t.HostMAC {
		t.differs(p, "host_mac", t.HostMAC, l.MAC, setMAC{t.Name, t.HostMAC})
	}
	if l.MTU != t.MTU {
		t.differs(p, "mtu", strconv.Itoa(t.MTU), strconv.Itoa(l.MTU), setMTU{t.Name, t.MTU})
	}
}

func (t tapSpec) removal(h *held) (p plan) {
	if t.ovs() && !p.ovsAbsent(h, nil) {
		w := t.ovsPort()
		w.removal(h, &p)
	}
	if l := h.links[t.Name]; l != nil && t.ours(h, l) {
		p.steps = append(p.steps, deleteLink{t.Name, l.Index})
	}
	return p
}
