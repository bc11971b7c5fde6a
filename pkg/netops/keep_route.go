package netops

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
)

// ownKey is what makes two routes the same to the kernel, as far as we make them.
type ownKey struct {
	Dst    netip.Prefix
	Table  uint32
	TOS    uint8
	Metric uint32
}

// String is the key as net.verify tells it, and as the registry keeps it.
func (k ownKey) String() string {
	return fmt.Sprintf("%s %d %s tos %d metric %d", wire.Family(familyOf(k.Dst)), k.Table, k.Dst, k.TOS, k.Metric)
}

func keyOf(r *rtnl.Route) ownKey { return ownKey{r.Dst, r.Table, r.TOS, r.Priority} }

// routeSpec is a route of ours. What is absent is the kernel's to choose.
type routeSpec struct {
	Dst       netip.Prefix `json:"dst"`
	Table     uint32       `json:"table"`
	TOS       uint8        `json:"tos,omitempty"`
	Metric    uint32       `json:"metric,omitempty"`
	Type      string       `json:"type"`
	Gateway   netip.Addr   `json:"gateway,omitzero"`
	Interface string       `json:"interface,omitempty"`
	OnLink    bool         `json:"onlink,omitempty"`
	PrefSrc   netip.Addr   `json:"preferred_source,omitzero"`
	MTU       uint32       `json:"mtu,omitempty"`
	NextHops  []hopSpec    `json:"nexthops,omitempty"`
	Passing   bool         `json:"not_persistent,omitempty"`
	Tag       string       `json:"tag,omitempty"`
}

// hopSpec is one of several ways.
type hopSpec struct {
	Gateway   netip.Addr `json:"gateway,omitzero"`
	Interface string     `json:"interface,omitempty"`
	Weight    int        `json:"weight"`
	OnLink    bool       `json:"onlink,omitempty"`
}

func (r routeSpec) key() ownKey      { return ownKey{r.Dst, r.Table, r.TOS, r.Metric} }
func (r routeSpec) resource() string { return "route" }
func (r routeSpec) id() string       { return r.key().String() }
func (r routeSpec) lasts() bool      { return !r.Passing }

func (r routeSpec) locks() []state.Object { return []state.Object{state.Exclusive("route/" + r.id())} }

func (r routeSpec) line() string {
	words := []string{r.Dst.String()}
	if r.Type != typeUnicast {
		words = append([]string{r.Type}, words...)
	}
	words = append(words, wayText(r.Gateway, r.Interface)...)
	for _, h := range r.NextHops {
		words = append(append(append(words, "nexthop"), wayText(h.Gateway, h.Interface)...), "weight", strconv.Itoa(h.Weight))
	}
	if r.Metric != 0 {
		words = append(words, "metric", strconv.FormatUint(uint64(r.Metric), 10))
	}
	if r.Table != unix.RT_TABLE_MAIN {
		words = append(words, "table", strconv.FormatUint(uint64(r.Table), 10))
	}
	return strings.Join(words, " ")
}

func wayText(gateway netip.Addr, dev string) (words []string) {
	if gateway.IsValid() {
		words = append(words, "via", gateway.String())
	}
	if dev != "" {
		words = append(words, "dev", dev)
	}
	return words
}

const typeUnicast = "unicast"

// routeTypes are the types that a route of ours may have.
var routeTypes = map[string]uint8{
	typeUnicast: unix.RTN_UNICAST, "blackhole": unix.RTN_BLACKHOLE, "unreachable": unix.RTN_UNREACHABLE, "prohibit": unix.RTN_PROHIBIT,
	"throw": unix.RTN_THROW,
}

func (r routeSpec) interfaces() (names []string) {
	if r.Interface != "" {
		names = append(names, r.Interface)
	}
	for _, h := range r.NextHops {
		if h.Interface != "" {
			names = append(names, h.Interface)
		}
	}
	return names
}

func (r routeSpec) needs() needs { return needs{links: r.interfaces(), routes: []ownKey{r.key()}} }

// heldRoute is a route that the kernel has.
type heldRoute struct {
	Key      ownKey
	Protocol uint8
	Type     string
	Gateway  netip.Addr
	OIF      int
	OnLink   bool
	PrefSrc  netip.Addr
	MTU      uint32
	Hops     []heldHop
	Full     rtnl.RouteChange // what deletes exactly this one
}

type heldHop struct {
	Gateway netip.Addr
	OIF     int
	Weight  int
	OnLink  bool
}

// route copies a route out of the dump.
func (r *reader) route(m *rtnl.Route) heldRoute {
	k := heldRoute{
		Key: keyOf(m), Protocol: m.Protocol, Type: rtnl.RouteTypeName(m.Type), Gateway: m.Gateway, OIF: m.OIF,
		OnLink: m.Flags&unix.RTNH_F_ONLINK != 0, PrefSrc: m.PrefSrc,
	}
	k.MTU, _ = m.Metrics.Get(unix.RTAX_MTU)
	k.Full = rtnl.RouteChange{
		Dst: m.Dst, Table: m.Table, TOS: m.TOS, Priority: m.Priority, Type: m.Type, Protocol: m.Protocol,
		Scope: m.Scope, Gateway: m.Gateway, OIF: m.OIF, NextHop: m.NextHopID,
	}
	for _, h := range m.NextHops {
		k.Hops = append(k.Hops, heldHop{h.Gateway, h.OIF, h.Weight, h.Flags&unix.RTNH_F_ONLINK != 0})
		r.note(h.OIF)
	}
	r.note(m.OIF)
	return k
}

// note finds out the name of a link. It may be called during a dump.
func (r *reader) note(index int) {
	if index <= 0 || r.held.names[index] != "" {
		return
	}
	if name, err := r.conn.LinkName(index); err == nil {
		r.held.names[index] = name
	}
}

func (r routeSpec) plan(h *held) (p plan) {
	for _, name := range r.interfaces() {
		if h.links[name] == nil {
			p.waits = "interface " + name
		}
	}
	var ours, foreign *heldRoute
	for i, have := range h.routes[r.key()] {
		if have.Protocol == RouteProtocol {
			ours = &h.routes[r.key()][i]
		} else {
			foreign = &h.routes[r.key()][i]
		}
	}
	switch {
	case ours != nil:
		r.compare(&p, h, ours)
		if len(p.differs) > 0 && p.waits == "" {
			p.steps = append(p.steps, addRoute{r, true})
		}
	case foreign != nil:
		p.missing = true
		p.obstacle = "a route to " + r.Dst.String() + " with the same key stands that this daemon did not make"
	default:
		p.missing = true
		if p.waits == "" {
			p.steps = append(p.steps, addRoute{r, false})
		}
	}
	return p
}

// compare notes where the kernel's route is not as registered. What the kernel chose by itself is not
// compared.
func (r routeSpec) compare(p *plan, h *held, have *heldRoute) {
	if len(r.NextHops) == 1 && len(have.Hops) == 0 { // which to the kernel is no multipath route
		way := r.NextHops[0]
		r.Gateway, r.Interface, r.OnLink, r.NextHops = way.Gateway, way.Interface, way.OnLink, nil
	}
	differ := func(field, want, is string) {
		if want != is {
			p.differ(field, want, is, nil)
		}
	}
	differ("type", r.Type, have.Type)
	if r.Gateway.IsValid() || len(r.NextHops) == 0 {
		differ("gateway", addrText(r.Gateway), addrText(have.Gateway))
	}
	if r.Interface != "" {
		differ("interface", r.Interface, h.nameOf(have.OIF))
	}
	if r.PrefSrc.IsValid() {
		differ("preferred_source", addrText(r.PrefSrc), addrText(have.PrefSrc))
	}
	if r.OnLink {
		differ("onlink", "true", strconv.FormatBool(have.OnLink))
	}
	if r.MTU != 0 || have.MTU != 0 {
		differ("mtu", strconv.Itoa(int(r.MTU)), strconv.Itoa(int(have.MTU)))
	}
	if len(r.NextHops) > 0 || len(have.Hops) > 0 {
		r.compareHops(h, have, differ)
	}
}

// compareHops compares the ways, in whatever order the kernel has them.
func (r routeSpec) compareHops(h *held, have *heldRoute, differ func(field, want, is string)) {
	var want, is []string
	for _, hop := range r.NextHops {
		want = append(want, strings.Join(append(wayText(hop.Gateway, hop.Interface), "weight", strconv.Itoa(hop.Weight)), " "))
	}
	for _, hop := range have.Hops {
		name := h.nameOf(hop.OIF)
		if len(r.NextHops) > 0 && !slices.ContainsFunc(r.NextHops, func(s hopSpec) bool { return s.Gateway == hop.Gateway && s.Interface != "" }) {
			name = "" // chosen by the kernel
		}
		is = append(is, strings.Join(append(wayText(hop.Gateway, name), "weight", strconv.Itoa(hop.Weight)), " "))
	}
	slices.Sort(want)
	slices.Sort(is)
	differ("nexthops", strings.Join(want, "; "), strings.Join(is, "; "))
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// removal needs not look: the step deletes our own route alone, if it is there.
func (r routeSpec) removal(*held) plan {
	return plan{steps: []step{deleteRoute{rtnl.RouteChange{
		Dst: r.Dst, Table: r.Table, TOS: r.TOS, Priority: r.Metric, Protocol: RouteProtocol, Scope: unix.RT_SCOPE_NOWHERE,
	}}}}
}

// addRoute makes a route where none has its key, or replaces ours.
type addRoute struct {
	Route   routeSpec
	Replace bool
}

func (s addRoute) String() string {
	if s.Replace {
		return "replace route " + s.Route.line()
	}
	return "add route " + s.Route.line()
}

func (s addRoute) take(ctx context.Context, t *taker) error {
	c, err := s.Route.change(t.conn)
	if err != nil {
		return err
	}
	made, err := t.conn.AddRoute(ctx, c, s.Replace)
	if err == nil && made != nil && t.route != nil {
		t.route(made)
	}
	return err
}

// change is the route as the kernel takes it.
func (r routeSpec) change(conn *rtnl.Conn) (c rtnl.RouteChange, err error) {
	c = rtnl.RouteChange{
		Dst: r.Dst, Table: r.Table, TOS: r.TOS, Priority: r.Metric, Type: routeTypes[r.Type], Protocol: RouteProtocol,
		Scope: r.scope(), Gateway: r.Gateway, OnLink: r.OnLink, PrefSrc: r.PrefSrc, MTU: r.MTU,
	}
	if c.OIF, err = indexOf(conn, r.Interface); err != nil {
		return c, err
	}
	for _, h := range r.NextHops {
		hop := rtnl.NextHop{Gateway: h.Gateway, Weight: h.Weight}
		if hop.OIF, err = indexOf(conn, h.Interface); err != nil {
			return c, err
		}
		if h.OnLink {
			hop.Flags = unix.RTNH_F_ONLINK
		}
		c.Hops = append(c.Hops, hop)
	}
	return c, nil
}

// scope is that of the route's next hop, as ip-route(8) chooses it: a route without a gateway ends on the
// link. IPv6 has no such thing.
func (r routeSpec) scope() uint8 {
	if r.Type == typeUnicast && r.Dst.Addr().Is4() && !r.Gateway.IsValid() &&
		!slices.ContainsFunc(r.NextHops, func(h hopSpec) bool { return h.Gateway.IsValid() }) {
		return unix.RT_SCOPE_LINK
	}
	return unix.RT_SCOPE_UNIVERSE
}

func indexOf(conn *rtnl.Conn, name string) (int, error) {
	if name == "" {
		return 0, nil
	}
	index, err := conn.LinkIndex(name)
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", name, err)
	}
	return index, nil
}

// deleteRoute deletes one route, if it is there.
type deleteRoute struct{ Route rtnl.RouteChange }

func (s deleteRoute) String() string { return "delete route " + s.Route.Dst.String() }
func (s deleteRoute) take(ctx context.Context, t *taker) error {
	gone, err := t.conn.DeleteRoute(ctx, s.Route)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	if err == nil && gone != nil && t.route != nil {
		t.route(gone)
	}
	return err
}
