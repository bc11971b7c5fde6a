package netops

import (
	"context"
	"net/netip"
	"slices"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/netops/internal/owntable"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// NATAddDNAT handles net.nat.add_dnat.
func (n *Net) NATAddDNAT(ctx context.Context, p *registry.NetNATAddDNATParams) (*registry.NetNatAddDnatResult, error) {
	if err := checkDNAT(p); err != nil {
		return nil, err
	}
	p.Interface = n.linkNameOf(p.Interface)
	want := wantedDNAT(p)
	if want.ToAddress.IsLoopback() {
		return nil, refused("loopback_target", "", "to_address %s is a loopback address, which nothing can be forwarded to from outside", want.ToAddress)
	}
	if err := n.checkLink(ctx, want.Interface); err != nil {
		return nil, err
	}
	facts, err := n.facts(ctx)
	if err != nil {
		return nil, err
	}
	near := facts.Network(want.ToAddress)
	want.Subnet, want.Behind = near.Prefix, near.Link
	need, unlock, err := n.lockNAT(ctx, want, want.family(), facts.Interfaces(want.ToAddress.Is4()))
	if err != nil {
		return nil, err
	}
	defer unlock()
	want.Opens = need.opens
	standing, registered := n.kept.dnats.Get(want.ID)
	if registered {
		if err := dnatDifferences(p, &standing).conflict("dnat", want.ID); err != nil {
			return nil, err
		}
		want, need = standing, nil
	} else if !p.Force.Or(false) {
		if kept, taken := n.policing.keepsOpen(&want); taken {
			return nil, refused("kept_open", "force", "port %s stays open on this node, and a forward would take it away", kept)
		}
		if err := n.refuseListener(ctx, &want, &facts); err != nil {
			return nil, err
		}
	}
	flows := 0
	created, err := n.putTableEntry(ctx, "net.nat.add_dnat", want, registered, n.kept.dnats.Put(want.ID, want), need, &flows)
	if err != nil {
		return nil, err
	}
	result := &registry.NetNatAddDnatResult{Created: created, DNAT: want.row(), ConntrackDeleted: registry.Some(int64(flows))}
	result.DNAT.Exists = true
	if need != nil {
		result.ForwardingEnabled = need.enabled()
	}
	result.MayBeBlockedBy, err = n.blockers(ctx, want.family(), hookForward)
	return result, err
}

// lockNAT locks an entry and the settings that it needs: exclusively where some are to be changed.
func (n *Net) lockNAT(ctx context.Context, e entry, family uint8, interfaces []string) (*forwardingNeed, func(), error) {
	for _, lock := range []state.Object{shareForwarding(family), lockForwarding(family)} {
		unlock, err := n.lock(ctx, append(e.locks(), lock)...)
		if err != nil {
			return nil, nil, err
		}
		need, err := n.forwardingFor(family, interfaces)
		if err != nil {
			unlock()
			return nil, nil, err
		}
		if len(need.settings) == 0 || lock == lockForwarding(family) {
			return need, unlock, nil
		}
		unlock()
	}
	panic("unreachable: the second lock is exclusive")
}

// refuseListener refuses a port that a service of the node listens on.
func (n *Net) refuseListener(ctx context.Context, d *dnatSpec, facts *owntable.Facts) error {
	var found *listener
	err := n.listeners(ctx, d.Protocol, d.Port, d.last(), func(l listener) bool {
		if l.takes(d, facts) {
			found = &l
			return false
		}
		return true
	})
	if err == nil && found != nil {
		err = refused("local_listener", "force", "%s port %d has a listener on this node (%s), which would get nothing from outside any more", d.Protocol, found.port, netip.AddrPortFrom(found.address, uint16(found.port)))
	}
	return err
}

func checkDNAT(p *registry.NetNATAddDNATParams) error {
	var f faults
	f.checkPorts(registry.Some(p.Port), p.PortEnd)
	to := p.ToAddress
	f.checkHost("to_address", to)
	if length := p.PortEnd.Or(p.Port) - p.Port; p.ToPort.Or(p.Port)+length > 65535 {
		f.add("to_port", "must leave room for %d ports below 65536, got %d", length+1, p.ToPort.Or(p.Port))
	}
	if d, ok := p.Destination.Get(); ok {
		f.checkHost("destination", d)
		if d.Is4() != to.Is4() {
			f.add("destination", "must be of the family of to_address, got %s", d)
		}
		if d.IsLoopback() {
			f.add("destination", "must not be a loopback address, got %s", d)
		}
	}
	if s, ok := p.Source.Get(); ok {
		f.checkPrefix("source", s)
		if s.Addr().Is4() != to.Is4() {
			f.add("source", "must be of the family of to_address, got %s", s)
		}
	}
	return f.err()
}

// checkHost notes what is wrong with the address of a host.
func (f *faults) checkHost(path string, a netip.Addr) {
	switch {
	case a.Is4In6():
		f.add(path, "must not be an IPv4-mapped address, got %s", a)
	case a.IsUnspecified(), a.IsMulticast(), a.IsLinkLocalUnicast() && a.Is6(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		f.add(path, "must be the address of a host that can be routed to, got %s", a)
	}
}

// wantedDNAT makes the params a spec. Its id follows from all that makes two forwards the same.
func wantedDNAT(p *registry.NetNATAddDNATParams) dnatSpec {
	d := dnatSpec{
		Protocol: string(p.Protocol), Port: int(p.Port), ToAddress: p.ToAddress, ToPort: int(p.ToPort.Or(p.Port)),
		Interface: p.Interface.Or(""), Destination: p.Destination.Or(netip.Addr{}), Source: butAll(p.Source.Or(netip.Prefix{})),
		Comment: p.Comment.Or(""), Tag: p.Tag.Or(""),
	}
	if end := int(p.PortEnd.Or(0)); end > d.Port {
		d.PortEnd = end
	}
	d.ID = "dnat-" + digest("dnat", d.Protocol, familyText(d.family()), d.Destination.String(), d.Interface, owntable.PortsText(d.Port, d.PortEnd), d.Source.String())[:12]
	return d
}

func dnatDifferences(p *registry.NetNATAddDNATParams, d *dnatSpec) (c comparison) {
	given(&c, "to_address", registry.Some(p.ToAddress), d.ToAddress)
	given(&c, "to_port", registry.Some(p.ToPort.Or(p.Port)), int64(d.ToPort))
	return c
}

// row is the forward in the table's words.
func (d dnatSpec) row() registry.NatDnat {
	row := registry.NatDnat{
		ID: d.ID, Protocol: registry.NatProtocol(d.Protocol), Family: registry.AddressFamily(familyText(d.family())),
		Destination: wire.Addr(d.Destination), Interface: registry.NonZero(d.Interface), Source: wire.Prefix(d.Source),
		Port: int64(d.Port), PortEnd: wire.NonZero(d.PortEnd), ToAddress: d.ToAddress, ToPort: int64(d.ToPort),
		Comment: registry.NonZero(d.Comment), Tag: registry.NonZero(d.Tag), Managed: true,
	}
	if d.PortEnd > 0 {
		row.ToPortEnd = registry.Some(int64(d.ToPort + d.PortEnd - d.Port))
	}
	return row
}

// NATRemoveDNAT handles net.nat.remove_dnat.
func (n *Net) NATRemoveDNAT(ctx context.Context, p *registry.NetNATRemoveDNATParams) (*registry.NetNatRemoveDnatResult, error) {
	standing, registered := n.kept.dnats.Get(p.ID)
	if !registered {
		return &registry.NetNatRemoveDnatResult{}, nil
	}
	deleted, flows, err := n.removeNAT(ctx, "net.nat.remove_dnat", standing, standing.family(), standing.Opens, n.kept.dnats.Remove(p.ID), func() bool { return n.kept.dnats.Has(p.ID) })
	if err != nil {
		return nil, err
	}
	return &registry.NetNatRemoveDnatResult{Deleted: deleted, ConntrackDeleted: wire.When(deleted, int64(flows))}, nil
}

// removeNAT removes an entry and puts back the settings that were changed for it alone.
func (n *Net) removeNAT(ctx context.Context, method string, e entry, family uint8, opens []string, remove state.Change, still func() bool) (deleted bool, flows int, err error) {
	unlock, err := n.lock(ctx, append(e.locks(), lockForwarding(family))...)
	if err != nil {
		return false, 0, err
	}
	defer unlock()
	if !still() {
		return false, 0, nil
	}
	w := write{method: method, flows: &flows, changes: []state.Change{remove}}
	for _, f := range n.freed(e, family, opens) {
		if len(f.Forwarded) > 0 {
			if w.detail, err = n.forwardOn(&f); err != nil {
				return false, 0, err
			}
		}
		w.from = append(w.from, f)
		w.changes = append(w.changes, n.kept.forwarding.Remove(f.id()))
	}
	w.from = append(w.from, e) // which goes first
	err = n.perform(ctx, w)
	return true, flows, err
}

// NATAddSNAT handles net.nat.add_snat.
func (n *Net) NATAddSNAT(ctx context.Context, p *registry.NetNATAddSNATParams) (*registry.NetNatAddSnatResult, error) {
	if err := checkSNAT(p); err != nil {
		return nil, err
	}
	p.OutInterface = n.linkNameOf(p.OutInterface)
	want := wantedSNAT(p)
	if err := n.checkLink(ctx, want.OutInterface); err != nil {
		return nil, err
	}
	facts, err := n.facts(ctx)
	if err != nil {
		return nil, err
	}
	interfaces := facts.Interfaces(want.Source.Addr().Is4())
	if want.OutInterface != "" && !slices.Contains(interfaces, want.OutInterface) {
		interfaces = append(interfaces, want.OutInterface)
	}
	need, unlock, err := n.lockNAT(ctx, want, want.family(), interfaces)
	if err != nil {
		return nil, err
	}
	defer unlock()
	want.Opens = need.opens
	standing, registered := n.kept.snats.Get(want.ID)
	if registered {
		if standing.ToAddress != want.ToAddress {
			c := comparison{{Field: "to_address", Existing: translationText(standing.ToAddress), Asked: translationText(want.ToAddress)}}
			return nil, c.conflict("snat", want.ID)
		}
		want, need = standing, nil
	}
	flows := 0
	created, err := n.putTableEntry(ctx, "net.nat.add_snat", want, registered, n.kept.snats.Put(want.ID, want), need, &flows)
	if err != nil {
		return nil, err
	}
	result := &registry.NetNatAddSnatResult{Created: created, SNAT: want.row(), ConntrackDeleted: registry.Some(int64(flows))}
	result.SNAT.Exists = true
	if need != nil {
		result.ForwardingEnabled = need.enabled()
	}
	result.MayBeBlockedBy, err = n.blockers(ctx, want.family(), hookForward)
	return result, err
}

func translationText(a netip.Addr) string {
	if !a.IsValid() {
		return "masquerade"
	}
	return a.String()
}

func checkSNAT(p *registry.NetNATAddSNATParams) error {
	var f faults
	f.checkPrefix("source", p.Source)
	if p.Source.Bits() == 0 {
		f.add("source", "must be a part of all addresses: what goes to the source itself is not translated, got %s", p.Source)
	}
	if to, ok := p.ToAddress.Get(); ok {
		f.checkHost("to_address", to)
		if to.Is4() != p.Source.Addr().Is4() {
			f.add("to_address", "must be of the family of source, got %s", to)
		}
		if to.IsLoopback() {
			f.add("to_address", "must not be a loopback address, got %s", to)
		}
	}
	return f.err()
}

func wantedSNAT(p *registry.NetNATAddSNATParams) snatSpec {
	s := snatSpec{
		Source: p.Source, OutInterface: p.OutInterface.Or(""), ToAddress: p.ToAddress.Or(netip.Addr{}),
		Comment: p.Comment.Or(""), Tag: p.Tag.Or(""),
	}
	s.ID = "snat-" + digest("snat", s.Source.String(), s.OutInterface)[:12]
	return s
}

func (s snatSpec) row() registry.NatSnat {
	return registry.NatSnat{
		ID: s.ID, Family: registry.AddressFamily(familyText(s.family())), Source: s.Source, OutInterface: registry.NonZero(s.OutInterface),
		ToAddress: wire.Addr(s.ToAddress), Masquerade: !s.ToAddress.IsValid(),
		Comment: registry.NonZero(s.Comment), Tag: registry.NonZero(s.Tag), Managed: true,
	}
}

// NATRemoveSNAT handles net.nat.remove_snat.
func (n *Net) NATRemoveSNAT(ctx context.Context, p *registry.NetNATRemoveSNATParams) (*registry.NetNatRemoveSnatResult, error) {
	standing, registered := n.kept.snats.Get(p.ID)
	if !registered {
		return &registry.NetNatRemoveSnatResult{}, nil
	}
	deleted, flows, err := n.removeNAT(ctx, "net.nat.remove_snat", standing, standing.family(), standing.Opens, n.kept.snats.Remove(p.ID), func() bool { return n.kept.snats.Has(p.ID) })
	if err != nil {
		return nil, err
	}
	return &registry.NetNatRemoveSnatResult{Deleted: deleted, ConntrackDeleted: wire.When(deleted, int64(flows))}, nil
}
