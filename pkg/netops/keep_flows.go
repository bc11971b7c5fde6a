package netops

import (
	"context"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/ct"
	"github.com/geomind/my_os_server/pkg/netops/internal/owntable"
)

// Flows outlive the rules that made them, and those which are known already do not look at new ones. So the
// flows that an entry concerns are ended when it comes and when it goes: no others.

// flowJudge is an entry that concerns flows.
type flowJudge interface {
	entry
	// flows is what of connection tracking may be concerned.
	flows() ct.Filter
	// made tells whether the entry translated a flow.
	made(e *ct.Entry, f *owntable.Facts) bool
	// passed tells whether it would have, had it been there.
	passed(e *ct.Entry, f *owntable.Facts) bool
}

// dropFlows ends the flows that an entry translated, or those that went past it.
type dropFlows struct {
	Entry flowJudge
	Made  bool
}

func (s dropFlows) String() string {
	if s.Made {
		return "end the flows of " + s.Entry.id()
	}
	return "end the flows that went past " + s.Entry.id()
}

func (s dropFlows) take(ctx context.Context, t *taker) error {
	if none, err := t.net.tracksNothing(ctx); none || err != nil {
		return err
	}
	facts, err := t.net.facts(ctx)
	if err != nil {
		return err
	}
	judge := s.Entry.passed
	if s.Made {
		judge = s.Entry.made
	}
	count, err := t.net.forgetFlows(ctx, s.Entry.flows(), func(e *ct.Entry) bool { return judge(e, &facts) })
	if t.flows != nil {
		*t.flows += count
	}
	if errors.Is(err, ct.ErrNoConntrack) || errors.Is(err, syscall.EPROTONOSUPPORT) {
		return nil // nothing was tracked
	}
	return err
}

// tracksNothing tells whether there is no flow at all. To ask costs less than to walk an empty table, which has
// hundreds of thousands of places.
func (n *Net) tracksNothing(ctx context.Context) (bool, error) {
	conn, err := n.conntracks.Get()
	if err != nil {
		return false, err
	}
	defer n.conntracks.Put(conn)
	stats, err := conn.Stats(ctx)
	if errors.Is(err, ct.ErrNoConntrack) {
		return true, nil
	}
	return err == nil && stats.Entries == 0, err
}

const (
	statusSNAT = 1 << 4 // IPS_SRC_NAT
	statusDNAT = 1 << 5 // IPS_DST_NAT
)

func addressFamily(nf uint8) uint8 {
	if nf == unix.NFPROTO_IPV6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func (d dnatSpec) flows() ct.Filter {
	proto := owntable.ProtocolNumber(d.Protocol)
	return ct.Filter{Family: addressFamily(d.family()), Protocol: &proto, Source: d.Source}
}

// target is where a flow goes that the forward takes.
func (d dnatSpec) target(e *ct.Entry) (port uint16, ok bool) {
	asked := int(e.Original.DstPort)
	return uint16(d.ToPort + asked - d.Port), asked >= d.Port && asked <= d.last()
}

func (d dnatSpec) made(e *ct.Entry, _ *owntable.Facts) bool {
	port, ok := d.target(e)
	return ok && e.Status&statusDNAT != 0 && e.Reply.Src == d.ToAddress && e.Reply.SrcPort == port &&
		(!d.Destination.IsValid() || e.Original.Dst == d.Destination)
}

func (d dnatSpec) passed(e *ct.Entry, f *owntable.Facts) bool {
	if _, ok := d.target(e); !ok || d.made(e, f) {
		return false
	}
	dst := e.Original.Dst
	switch name, mine := f.Addresses[dst]; {
	case d.Destination.IsValid():
		return dst == d.Destination
	case d.Interface != "":
		return name == d.Interface
	default:
		return mine || dst.IsLinkLocalUnicast()
	}
}

func (f firewallSpec) flows() ct.Filter {
	filter := ct.Filter{Source: f.Source}
	if family := f.family(); family != 0 {
		filter.Family = addressFamily(family)
	}
	if f.Protocol != owntable.ProtocolAny {
		proto := owntable.ProtocolNumber(f.Protocol)
		filter.Protocol = &proto
	}
	return filter
}

// admits tells whether the rule lets a flow in. The kernel does not keep by which interface a flow came: that is taken to
// be the one that has the address.
func (f firewallSpec) admits(e *ct.Entry, facts *owntable.Facts) bool {
	dst := e.Original.Dst
	name, own := facts.Addresses[dst]
	port := int(e.Original.DstPort)
	switch {
	case !own && !dst.IsLinkLocalUnicast() && !dst.IsMulticast(), e.Status&statusDNAT != 0, facts.IsOwn(e.Original.Src):
		return false
	case f.Protocol != owntable.ProtocolAny && owntable.ProtocolNumber(f.Protocol) != e.Original.Proto:
		return false
	case f.Port != 0 && (port < f.Port || port > max(f.Port, f.PortEnd)):
		return false
	case f.family() != 0 && f.family() != owntable.FamilyOf(dst):
		return false
	case f.Source.IsValid() && !f.Source.Contains(e.Original.Src):
		return false
	}
	return f.Interface == "" || !own || f.Interface == name
}

// keepsOpen tells whether a flow is for a port that stays open.
func (s inputPolicySpec) keepsOpen(e *ct.Entry) bool {
	for _, text := range s.Kept {
		r, err := owntable.ParsePorts(text)
		if err == nil && owntable.ProtocolNumber(r.Protocol) == e.Original.Proto && r.First <= int(e.Original.DstPort) && int(e.Original.DstPort) <= r.Last {
			return true
		}
	}
	return false
}

func (s snatSpec) flows() ct.Filter {
	return ct.Filter{Family: addressFamily(s.family()), Source: s.Source}
}

func (s snatSpec) made(e *ct.Entry, f *owntable.Facts) bool {
	if e.Status&statusSNAT == 0 || s.Source.Contains(e.Reply.Src) { // that is a caller of its own network
		return false
	}
	switch {
	case s.ToAddress.IsValid():
		return e.Reply.Dst == s.ToAddress
	case s.OutInterface != "":
		return f.Addresses[e.Reply.Dst] == s.OutInterface
	}
	return e.Reply.Dst != e.Original.Src
}

func (s snatSpec) passed(e *ct.Entry, f *owntable.Facts) bool {
	dst := e.Reply.Src
	return e.Status&statusSNAT == 0 && !s.Source.Contains(dst) && !f.IsOwn(dst) && !dst.IsMulticast()
}
