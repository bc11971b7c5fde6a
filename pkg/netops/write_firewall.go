package netops

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/ct"
	"github.com/geomind/my_os_server/internal/sockdiag"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/netops/internal/owntable"
	"github.com/geomind/my_os_server/pkg/netops/internal/ruleset"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// FirewallAddRule handles net.firewall.add_rule.
func (n *Net) FirewallAddRule(ctx context.Context, p *registry.NetFirewallAddRuleParams) (*registry.NetFirewallAddRuleResult, error) {
	if err := checkFirewallRule(p); err != nil {
		return nil, err
	}
	p.Interface = n.linkNameOf(p.Interface)
	want := wantedRule(p)
	unlock, err := n.lock(ctx, append(want.locks(), rangeLock(want)...)...)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := n.checkLink(ctx, want.Interface); err != nil {
		return nil, err
	}
	standing, registered := n.kept.rules.Get(want.ID)
	if registered {
		want = standing
	} else if err := n.overlappingRange(want); err != nil {
		return nil, err
	}
	created, err := n.putTableEntry(ctx, "net.firewall.add_rule", want, registered, n.kept.rules.Put(want.ID, want), nil, nil)
	if err != nil {
		return nil, err
	}
	result := &registry.NetFirewallAddRuleResult{Created: created, Rule: want.row(), Effective: n.policing.drops()}
	result.Rule.Exists = true
	result.MayBeBlockedBy, err = n.blockers(ctx, want.family(), hookInput)
	return result, err
}

// rangeLock has ranges of ports that could overlap come one after the other.
func rangeLock(f firewallSpec) []state.Object {
	if f.accepts().RangePlace() == "" {
		return nil
	}
	return []state.Object{state.Exclusive("firewall ranges/" + f.accepts().RangePlace())}
}

// overlappingRange is the conflict with another range that has some of the ports.
func (n *Net) overlappingRange(want firewallSpec) error {
	place := want.accepts().RangePlace()
	if place == "" {
		return nil
	}
	for _, other := range n.kept.rangesByPlace.Find(place) {
		if other.ID != want.ID && other.Port <= want.PortEnd && want.Port <= other.PortEnd {
			return overlaps("firewall_rule", other.ID, owntable.PortsText(want.Port, want.PortEnd), owntable.PortsText(other.Port, other.PortEnd))
		}
	}
	return nil
}

// overlaps is the conflict of ports with those of an entry of ours.
func overlaps(resource, id, asked, existing string) error {
	return &registry.ConflictError{
		ConflictData: registry.ConflictData{
			Resource: resource, ID: id, Managed: registry.Some(true),
			Differences: []registry.Difference{{Field: "port", Existing: existing, Asked: asked}},
		},
		Message: fmt.Sprintf("ports %s overlap those of %s %s: %s", asked, resource, id, existing),
	}
}

// putTableEntry makes an entry of the own table, with the settings that it needs, and tells whether it was
// not there. exists is the answer where its elements are another's.
func (n *Net) putTableEntry(ctx context.Context, method string, e entry, registered bool, put state.Change, more *forwardingNeed, flows *int) (created bool, err error) {
	w := write{method: method, to: []spec{e}, flows: flows, changes: []state.Change{put}}
	if registered {
		p, err := n.standing(ctx, e, true, "")
		if err != nil || p.done() {
			return false, err
		}
		w.from, created = []spec{e}, p.missing
	} else {
		w.exclusive, created = true, true
		w.exists = func(ctx context.Context) error { return n.takenElement(ctx, e) }
	}
	if more != nil {
		for _, f := range more.settings {
			w.to, w.changes = append(w.to, f), append(w.changes, n.kept.forwarding.Put(f.id(), f))
		}
	}
	return created, n.perform(ctx, w)
}

// takenElement is the conflict with what has one of the elements of an entry.
func (n *Net) takenElement(ctx context.Context, e entry) error {
	h, err := n.look(ctx, e.needs())
	if err != nil {
		return err
	}
	for _, el := range e.elements() {
		have, there := h.elements[el.Ref()]
		if !there || el.Shared {
			continue
		}
		id, _, _ := strings.Cut(have.label, " ")
		if d, ok := n.kept.dnats.Get(id); ok {
			asked := e.(dnatSpec)
			return overlaps("dnat", id, owntable.PortsText(asked.Port, asked.PortEnd), owntable.PortsText(d.Port, d.PortEnd))
		}
		return foreign(e.resource(), e.id(), fmt.Sprintf("set %s of table inet %s has an element for this that is not registered: net.verify tells which", el.Set(), ruleset.OwnTable))
	}
	return foreign(e.resource(), e.id(), "table inet "+ruleset.OwnTable+" has an element for this that is not registered")
}

// checkLink looks for an interface that a param names; "" is none.
func (n *Net) checkLink(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	h, err := n.look(ctx, needs{links: []string{name}})
	if err == nil && h.links[name] == nil {
		err = noInterface(name)
	}
	return err
}

func checkFirewallRule(p *registry.NetFirewallAddRuleParams) error {
	var f faults
	protocol := p.Protocol
	withPorts := protocol == registry.FirewallProtocolTcp || protocol == registry.FirewallProtocolUdp || protocol == registry.FirewallProtocolSctp
	if p.Port.IsSet() && !withPorts {
		f.add("port", "must not be given for protocol %s", protocol)
	}
	f.checkPorts(p.Port, p.PortEnd)
	source, sourced := p.Source.Get()
	if sourced {
		f.checkPrefix("source", source)
	}
	if family, ok := p.Family.Get(); ok && sourced && (family == registry.AddressFamilyIpv4) != source.Addr().Is4() {
		f.add("family", "must be the family of source, got %s and %s", family, source)
	}
	four := sourced && source.Addr().Is4() || p.Family.Or("") == registry.AddressFamilyIpv4
	six := sourced && source.Addr().Is6() || p.Family.Or("") == registry.AddressFamilyIpv6
	if protocol == registry.FirewallProtocolIcmp && six || protocol == registry.FirewallProtocolIcmpv6 && four {
		f.add("protocol", "%s does not go with the family", protocol)
	}
	return f.err()
}

// checkPorts notes what is wrong with a range of ports.
func (f *faults) checkPorts(first, last registry.Opt[int64]) {
	end, ok := last.Get()
	switch {
	case ok && !first.IsSet():
		f.add("port_end", "must not be given without port")
	case ok && end < first.Or(0):
		f.add("port_end", "must not be below port, got %d and %d", end, first.Or(0))
	}
}

// checkPrefix notes what is wrong with a network that traffic comes from.
func (f *faults) checkPrefix(path string, p netip.Prefix) {
	switch a := p.Addr(); {
	case a.Is4In6():
		f.add(path, "must not be an IPv4-mapped network, got %s", p)
	case p.Bits() > 0 && a.IsMulticast():
		f.add(path, "must not be a multicast network, got %s", p)
	}
}

// wantedRule makes the params a spec. Its id follows from all that makes two rules the same.
func wantedRule(p *registry.NetFirewallAddRuleParams) firewallSpec {
	f := firewallSpec{
		Protocol: string(p.Protocol), Port: int(p.Port.Or(0)), Source: p.Source.Or(netip.Prefix{}), Interface: p.Interface.Or(""),
		Family: string(p.Family.Or("")), Comment: p.Comment.Or(""), Tag: p.Tag.Or(""),
	}
	if end := int(p.PortEnd.Or(0)); end > f.Port {
		f.PortEnd = end
	}
	if f.Source.IsValid() && f.Family == "" {
		f.Family = string(wire.Family(familyOf(f.Source)))
	}
	f.Source = butAll(f.Source)
	f.ID = "fw-" + digest("fw", f.line())[:12]
	return f
}

// butAll is a network that traffic comes from; that of all addresses of a family is the same as none, in the kernel too.
func butAll(source netip.Prefix) netip.Prefix {
	if source.Bits() == 0 {
		return netip.Prefix{}
	}
	return source
}

// row is the rule in the table's words.
func (f firewallSpec) row() registry.FirewallRule {
	return registry.FirewallRule{
		ID: f.ID, Protocol: registry.FirewallProtocol(f.Protocol), Port: wire.NonZero(f.Port), PortEnd: wire.NonZero(f.PortEnd),
		Source: wire.Prefix(f.Source), Interface: registry.NonZero(f.Interface), Family: registry.NonZero(registry.AddressFamily(f.Family)),
		Comment: registry.NonZero(f.Comment), Tag: registry.NonZero(f.Tag), Managed: true,
	}
}

// FirewallRemoveRule handles net.firewall.remove_rule.
func (n *Net) FirewallRemoveRule(ctx context.Context, p *registry.NetFirewallRemoveRuleParams) (*registry.NetFirewallRemoveRuleResult, error) {
	unlock, err := n.lock(ctx, state.Exclusive("firewall/"+p.ID))
	if err != nil {
		return nil, err
	}
	defer unlock()
	standing, registered := n.kept.rules.Get(p.ID)
	if !registered {
		return &registry.NetFirewallRemoveRuleResult{}, nil
	}
	w := write{method: "net.firewall.remove_rule", from: []spec{standing}, changes: []state.Change{n.kept.rules.Remove(p.ID)}}
	if err := n.perform(ctx, w); err != nil {
		return nil, err
	}
	result := &registry.NetFirewallRemoveRuleResult{Deleted: true}
	if p.DropExisting.Or(false) {
		count, err := n.dropAdmitted(ctx, standing)
		if err != nil {
			return nil, err
		}
		result.ConnectionsDropped = registry.Some(int64(count))
	}
	return result, nil
}

// dropAdmitted ends the flows that came in by a rule that is gone, and by no other. Under the policy accept there are
// none.
func (n *Net) dropAdmitted(ctx context.Context, gone firewallSpec) (int, error) {
	if none, err := n.tracksNothing(ctx); none || err != nil || !n.policing.drops() {
		return 0, err
	}
	facts, err := n.facts(ctx)
	if err != nil {
		return 0, err
	}
	policy, _ := n.kept.policy.Get(policyKey)
	var ends []connection
	count, err := n.forgetFlows(ctx, gone.flows(), func(e *ct.Entry) bool {
		if !gone.admits(e, &facts) || policy.keepsOpen(e) {
			return false
		}
		for _, other := range n.kept.rules.All() {
			if other.admits(e, &facts) {
				return false
			}
		}
		if e.Original.Proto == unix.IPPROTO_TCP {
			ends = append(ends, connection{netip.AddrPortFrom(e.Original.Dst, e.Original.DstPort), netip.AddrPortFrom(e.Original.Src, e.Original.SrcPort)})
		}
		return true
	})
	if err == nil {
		err = n.endConnections(ctx, ends)
	}
	return count, err
}

// connection is one of TCP that came in.
type connection struct{ local, remote netip.AddrPort }

// endConnections resets connections whose flows were forgotten: what the node itself still sends would make them known
// again. Where the kernel has no means for that, the flows alone have ended.
func (n *Net) endConnections(ctx context.Context, list []connection) error {
	conn, err := n.diagnosis.Get()
	if err != nil {
		return err
	}
	defer n.diagnosis.Put(conn)
	for _, c := range list {
		if _, err := conn.End(ctx, c.local, c.remote); err != nil && !errors.Is(err, sockdiag.ErrUnsupported) {
			return err
		}
	}
	return nil
}
