package netops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
)

// A machine that calls its own public port gets the answer by the port of the bridge that it asked by. Where bridged packets
// pass the filters of IP (br_netfilter), such a port has to be one with hairpin: our ports get that while there is a
// port forward to a machine behind their bridge.

// heldHairpin is what decides whether the ports of a bridge get hairpin.
type heldHairpin struct {
	filtered map[uint8]bool   // families of which bridged packets pass the filters of IP
	behind   map[string]uint8 // port forwards to machines behind the bridge, two of each family at most: one and another
	ports    []heldPort       // our ports of the bridge, where some family is filtered
}

// heldPort is a port of ours, and whether it is registered as one with hairpin.
type heldPort struct {
	name    string
	hairpin bool
}

// wanted tells whether a forward other than one wants hairpin.
func (x *heldHairpin) wanted(but string) bool {
	if x == nil {
		return false
	}
	for id, family := range x.behind {
		if id != but && x.filtered[family] {
			return true
		}
	}
	return false
}

// hairpin tells whether the ports of a bridge of ours get hairpin whatever is registered of them.
func (h *held) hairpin(bridge string) bool { return h.hairpins[bridge].wanted("") }

// hairpins reads what decides about bridges, and of some all ports of ours: a port of one bridge costs the same however
// many it has.
func (r *reader) hairpins(ctx context.Context, bridges, withPorts []string) error {
	for _, bridge := range bridges {
		if bridge == "" || r.held.hairpins[bridge] != nil {
			continue
		}
		if err := r.hairpin(bridge, slices.Contains(withPorts, bridge)); err != nil {
			return err
		}
		if x := r.held.hairpins[bridge]; slices.Contains(withPorts, bridge) && (x.filtered[unix.NFPROTO_IPV4] || x.filtered[unix.NFPROTO_IPV6]) {
			if err := r.portsOf(ctx, bridge, x); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reader) hairpin(bridge string, always bool) error {
	x := &heldHairpin{filtered: map[uint8]bool{}, behind: map[string]uint8{}}
	if r.held.hairpins == nil {
		r.held.hairpins = map[string]*heldHairpin{}
	}
	r.held.hairpins[bridge] = x
	for _, family := range []uint8{unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		for _, id := range r.net.kept.dnatsByBridge.Some(behindKey(bridge, family), 2) {
			x.behind[id] = family
		}
	}
	if len(x.behind) == 0 && !always {
		return nil
	}
	const four, six = "bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"
	values, err := r.net.settings([]string{four, six})
	if err != nil {
		return err
	}
	x.filtered[unix.NFPROTO_IPV4], x.filtered[unix.NFPROTO_IPV6] = values[four] != 0, values[six] != 0
	return nil
}

// behindKey is under what a port forward to a machine behind a bridge is found.
func behindKey(bridge string, family uint8) string {
	if bridge == "" {
		return ""
	}
	return familyText(family) + " " + bridge
}

// portsOf reads our ports of a bridge.
func (r *reader) portsOf(ctx context.Context, bridge string, x *heldHairpin) error {
	k := r.net.kept
	for _, t := range k.tapsByBridge.Find(bridge) {
		if !t.ovs() {
			x.ports = append(x.ports, heldPort{t.Name, t.Hairpin})
		}
	}
	for _, p := range k.portsByBridge.Find(bridge) {
		if !p.ovs() {
			x.ports = append(x.ports, heldPort{p.Interface, p.Hairpin})
		}
	}
	for _, c := range k.connectionsOf(bridge) {
		if !c.ovs() {
			x.ports = append(x.ports, heldPort{c.portOf(bridge), false})
		}
	}
	for _, p := range x.ports {
		if err := r.link(ctx, p.name); err != nil {
			return err
		}
	}
	return r.link(ctx, bridge)
}

// portOf is the end of a connection that is in a bridge.
func (c connectionSpec) portOf(bridge string) string {
	if c.A == bridge {
		return c.APort
	}
	return c.BPort
}

// planHairpin has the ports of the bridge behind which the machine is get hairpin.
func (d dnatSpec) planHairpin(h *held, p *plan) {
	x := h.hairpins[d.Behind]
	if x == nil || !x.filtered[d.family()] {
		return
	}
	for _, port := range x.ports {
		l := h.links[port.name]
		if l == nil || h.nameOf(l.Master) != d.Behind || l.Port.Hairpin {
			continue
		}
		if s := (setHairpin{port.name, true}); p.missing {
			p.steps = append(p.steps, s)
		} else {
			p.differ("hairpin of "+port.name, "true", "false", s)
		}
	}
}

// planHairpinRemoval puts it back where no other forward needs it.
func (d dnatSpec) planHairpinRemoval(h *held, p *plan) {
	x := h.hairpins[d.Behind]
	if x == nil || x.wanted(d.ID) {
		return
	}
	for _, port := range x.ports {
		if l := h.links[port.name]; l != nil && h.nameOf(l.Master) == d.Behind && l.Port.Hairpin && !port.hairpin {
			p.steps = append(p.steps, setHairpin{port.name, false})
		}
	}
}

// setHairpin is for a port that another call may take away meanwhile: then there is nothing to be set.
type setHairpin struct {
	Name string
	On   bool
}

func (s setHairpin) String() string {
	return "set hairpin of port " + s.Name + " to " + strconv.FormatBool(s.On)
}

func (s setHairpin) take(ctx context.Context, t *taker) error {
	index, err := t.conn.LinkIndex(s.Name)
	if err == nil {
		err = t.conn.ChangeBridgePort(ctx, index, rtnl.PortChange{Hairpin: &s.On})
	}
	if errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("set hairpin of %s: %w", s.Name, err)
	}
	return nil
}
