package netops

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/dhcp6"
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/internal/state"
)

// identity is who the DHCPv6 client is to servers, on all interfaces.
type identity struct {
	DUID dhcp6.Hex `json:"duid"`
}

// lease6Spec is a lease of our own DHCPv6 client, and what interfaces have by it: the addresses, and of each
// delegated prefix a route that refuses it as a whole, and networks of it on the interfaces that it is assigned
// to.
type lease6Spec struct {
	Interface string      `json:"interface"`
	AssignTo  []string    `json:"assign_to,omitempty"`
	Metric    uint32      `json:"metric"` // orders the name servers
	Lease     dhcp6.Lease `json:"lease"`

	// What earlier leases gave, and goes once this one stands.
	Former         []placed       `json:"former,omitempty"`
	FormerPrefixes []netip.Prefix `json:"former_prefixes,omitempty"`
}

// placed is an address on an interface.
type placed struct {
	Interface string       `json:"interface"`
	Address   netip.Prefix `json:"address"`
}

// placement is an address of a lease, where it is to be, and until when.
type placement struct {
	placed
	preferred, valid time.Time // zero: for ever
	assigned         bool      // of a delegated prefix
}

func (s lease6Spec) resource() string { return "lease6" }
func (s lease6Spec) id() string       { return s.Interface }
func (s lease6Spec) lasts() bool      { return true }

func (s lease6Spec) locks() []state.Object {
	list := []state.Object{state.Exclusive("lease6/" + s.Interface), shareLink(s.Interface)}
	for _, name := range s.AssignTo {
		list = append(list, shareLink(name))
	}
	return list
}

func (s lease6Spec) line() string {
	words := []string{"lease of", s.Interface}
	for _, p := range s.placements() {
		words = append(words, p.Address.String(), "on", p.Interface)
	}
	for _, r := range s.routes() {
		words = append(words, r.line())
	}
	return strings.Join(words, " ")
}

func (s lease6Spec) needs() needs {
	names := append([]string{s.Interface}, s.AssignTo...)
	for _, f := range s.Former {
		if !slices.Contains(names, f.Interface) {
			names = append(names, f.Interface)
		}
	}
	want := needs{links: names, addresses: names}
	for _, r := range s.routes() {
		want.routes = append(want.routes, r.key())
	}
	for _, p := range s.FormerPrefixes {
		want.routes = append(want.routes, refusing(p).key())
	}
	return want
}

// placements are the addresses of the lease, its own before those of prefixes.
func (s lease6Spec) placements() (list []placement) {
	for _, p := range s.Lease.Addresses {
		list = append(list, placement{placed{s.Interface, p.Prefix}, p.Preferred, p.Valid, false})
	}
	for _, p := range s.Lease.Prefixes {
		for i, name := range s.AssignTo {
			if network, ok := subPrefix(p.Prefix, i); ok {
				address := netip.PrefixFrom(network.Addr().Next(), network.Bits())
				list = append(list, placement{placed{name, address}, p.Preferred, p.Valid, true})
			}
		}
	}
	return list
}

// subBits is the length of the networks that interfaces get: hosts make addresses in no others (RFC 4862
// section 5.5.3, RFC 4291 section 2.5.1).
const subBits = 64

// subPrefix is the network with a number, from 0 on, of a prefix that has so many.
func subPrefix(p netip.Prefix, number int) (netip.Prefix, bool) {
	if p.Bits() > subBits || subBits-p.Bits() < 31 && number >= 1<<(subBits-p.Bits()) {
		return netip.Prefix{}, false
	}
	b := p.Masked().Addr().As16()
	binary.BigEndian.PutUint64(b[:], binary.BigEndian.Uint64(b[:])+uint64(number))
	return netip.PrefixFrom(netip.AddrFrom16(b), subBits), true
}

// routes refuse what no interface has of the prefixes.
func (s lease6Spec) routes() (list []routeSpec) {
	for _, p := range s.Lease.Prefixes {
		list = append(list, refusing(p.Prefix))
	}
	return list
}

// refusingMetric has every other route to the same network come first, as where the prefix is a single network.
const refusingMetric = 1 << 30

// refusing is the route that refuses a prefix, so that what no interface has of it does not go back to where the
// prefix came from (RFC 7084 section 4.3, WPD-5). The kernel has no end for such a route: it goes with the lease,
// where no daemon runs then at the next start.
func refusing(p netip.Prefix) routeSpec {
	return routeSpec{Dst: p, Table: unix.RT_TABLE_MAIN, Metric: refusingMetric, Type: "unreachable"}
}

func (s lease6Spec) over(now time.Time) bool {
	return s.Lease.At(now).Empty()
}

// plan brings addresses and routes to what the lease says, the new before the old go. An interface that is
// to have a network of a prefix and is not there, or has no IPv6, keeps the lease from nothing else.
func (s lease6Spec) plan(h *held) (p plan) {
	l := h.links[s.Interface]
	switch {
	case s.Lease.Empty() && len(s.Former)+len(s.FormerPrefixes) == 0:
		return p // information alone
	case l == nil:
		p.missing, p.waits = true, "interface "+s.Interface
		return p
	case s.over(h.now) && !s.Lease.Empty():
		return p // its client ends it
	case !l.Up && !s.Lease.Empty():
		p.waits = "interface " + s.Interface + " to be up"
		return p
	}
	stands := false
	for _, r := range s.routes() {
		of := r.plan(h)
		stands = stands || !of.missing
		switch {
		case of.obstacle != "":
			p.differ("route", r.line(), of.obstacle, nil)
		case !of.done():
			p.differ("route", r.line(), listWord(of.missing, "", "another"), nil)
			p.steps = append(p.steps, of.steps...)
		}
	}
	for _, a := range s.placements() {
		stands = a.plan(&p, h) || stands
	}
	if !stands && !s.Lease.Empty() {
		p.missing, p.differs = true, nil
	}
	p.steps = append(p.steps, s.formerSteps(h)...)
	return p
}

func listWord(which bool, yes, no string) string {
	if which {
		return yes
	}
	return no
}

// plan plans one address, and tells whether it stands.
func (a *placement) plan(p *plan, h *held) bool {
	field, text := listWord(a.assigned, "sub_prefix", "address"), a.Address.String()+" on "+a.Interface
	if !a.valid.IsZero() && !h.now.Before(a.valid) {
		return false // its client ends it
	}
	l := h.links[a.Interface]
	if l == nil {
		p.differ(field, text, "no interface "+a.Interface, nil)
		return false
	}
	put := putAddress6{*a}
	at := slices.IndexFunc(l.Addresses, func(have heldAddress) bool { return have.Prefix == a.Address })
	if at < 0 {
		p.differ(field, text, "", put)
		return false
	}
	have := l.Addresses[at]
	if !lasts(h.now, a.valid, have.Valid) || !lasts(h.now, a.preferred, have.Preferred) {
		p.differ("expires_at", instantText(a.valid), instantText(endAfter(h.now, have.Valid)), put)
	}
	return true
}

// lasts tells whether a lifetime in the kernel is that until an instant.
func lasts(now, until time.Time, have uint32) bool {
	if until.IsZero() || have == rtnl.Forever {
		return until.IsZero() && have == rtnl.Forever
	}
	d := time.Duration(have)*time.Second - max(until.Sub(now), 0)
	return d <= rounding && d >= -rounding
}

// endAfter is when a lifetime in the kernel ends; the zero time for never.
func endAfter(now time.Time, seconds uint32) time.Time {
	if seconds == rtnl.Forever {
		return time.Time{}
	}
	return now.Add(time.Duration(seconds) * time.Second)
}

// formerSteps take away what earlier leases gave.
func (s lease6Spec) formerSteps(h *held) (steps []step) {
	now := s.placements()
	for _, f := range s.Former {
		again := slices.ContainsFunc(now, func(p placement) bool { return p.placed == f })
		if l := h.links[f.Interface]; !again && l != nil && l.has(f.Address) {
			steps = append(steps, removal6(l, f)...)
		}
	}
	for _, p := range s.FormerPrefixes {
		if !slices.ContainsFunc(s.Lease.Prefixes, func(of dhcp6.Part) bool { return of.Prefix == p }) {
			steps = append(steps, ownRouteSteps(h, refusing(p))...)
		}
	}
	return steps
}

// removal6 takes an address away. The kernel has put a route to its network beside it, and leaves that until the
// lifetime ends: it goes first, unless another address has the same network.
func removal6(l *heldLink, a placed) (steps []step) {
	shared := slices.ContainsFunc(l.Addresses, func(have heldAddress) bool {
		return have.Prefix != a.Address && have.Prefix.Masked() == a.Address.Masked()
	})
	if !shared {
		steps = append(steps, removeOnLink{a})
	}
	return append(steps, removeAddress{a.Interface, a.Address})
}

func (s lease6Spec) removal(h *held) (p plan) {
	for _, a := range slices.Backward(s.placements()) {
		if l := h.links[a.Interface]; l != nil && l.has(a.Address) {
			p.steps = append(p.steps, removal6(l, a.placed)...)
		}
	}
	for _, r := range s.routes() {
		p.steps = append(p.steps, ownRouteSteps(h, r)...)
	}
	none := s
	none.Lease.Addresses, none.Lease.Prefixes = nil, nil
	p.steps = append(p.steps, none.formerSteps(h)...)
	return p
}

// succeeds is the spec where another lease of the same interface was in force: what that gave and this does not
// is to go.
func (s lease6Spec) succeeds(old lease6Spec) lease6Spec {
	now := s.placements()
	gone := func(f placed) bool {
		return !slices.Contains(s.Former, f) && !slices.ContainsFunc(now, func(p placement) bool { return p.placed == f })
	}
	for _, p := range old.placements() {
		if gone(p.placed) {
			s.Former = append(s.Former, p.placed)
		}
	}
	for _, f := range old.Former {
		if gone(f) {
			s.Former = append(s.Former, f)
		}
	}
	for _, p := range append(prefixesOf(old.Lease.Prefixes), old.FormerPrefixes...) {
		if !slices.Contains(prefixesOf(s.Lease.Prefixes), p) && !slices.Contains(s.FormerPrefixes, p) {
			s.FormerPrefixes = append(s.FormerPrefixes, p)
		}
	}
	return s
}

func prefixesOf(parts []dhcp6.Part) (list []netip.Prefix) {
	for _, p := range parts {
		list = append(list, p.Prefix)
	}
	return list
}

// putAddress6 gives an interface an address of a DHCPv6 lease for as long as that lasts: the kernel takes it away
// then, even where no daemon runs any more. Whether another host has it is looked for by the kernel (DAD).
type putAddress6 struct{ placement }

func (s putAddress6) String() string {
	return "put address " + s.Address.String() + " on " + s.Interface
}

func (s putAddress6) take(ctx context.Context, t *taker) error {
	err := s.put(ctx, t)
	if err != nil && s.assigned { // the lease goes on without
		t.net.leaseFault(s.Interface, err)
		return nil
	}
	return err
}

func (s putAddress6) put(ctx context.Context, t *taker) error {
	index, err := t.conn.LinkIndex(s.Interface)
	if err != nil {
		return fmt.Errorf("find %s: %w", s.Interface, err)
	}
	return t.conn.PutAddress(ctx, index, rtnl.LeasedAddress{
		Address: s.Address, Protocol: addressProtocol, Preferred: secondsUntil(s.preferred), Valid: max(secondsUntil(s.valid), 1),
	})
}

// secondsUntil is a lifetime as the kernel takes it.
func secondsUntil(t time.Time) uint32 {
	if t.IsZero() {
		return rtnl.Forever
	}
	return uint32(min(max((time.Until(t)+time.Second/2)/time.Second, 0), rtnl.Forever-1))
}

// removeOnLink takes away the route to an address' network that the kernel has put beside the address, if it is there.
type removeOnLink struct{ placed }

func (s removeOnLink) String() string {
	return "remove the route to " + s.Address.Masked().String() + " on " + s.Interface
}

func (s removeOnLink) take(ctx context.Context, t *taker) error {
	index, err := t.conn.LinkIndex(s.Interface)
	if err != nil {
		return fmt.Errorf("find %s: %w", s.Interface, err)
	}
	_, err = t.conn.DeleteRoute(ctx, rtnl.RouteChange{
		Dst: s.Address, Table: unix.RT_TABLE_MAIN, Priority: onLinkMetric, Protocol: unix.RTPROT_KERNEL, Scope: unix.RT_SCOPE_NOWHERE, OIF: index,
	})
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// onLinkMetric is that of the kernel's own routes of IPv6 (IP6_RT_PRIO_ADDRCONF).
const onLinkMetric = 256
