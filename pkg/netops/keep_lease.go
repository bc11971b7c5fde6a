package netops

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/dhcp"
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/internal/state"
)

// leaseSpec is a lease of our own DHCP client, and what an interface has by it.
type leaseSpec struct {
	Interface string     `json:"interface"`
	MAC       string     `json:"mac"` // that it was leased to
	Metric    uint32     `json:"metric"`
	Lease     dhcp.Lease `json:"lease"`
	MTU       int        `json:"mtu,omitempty"`        // that the lease asks for; 0: none that is taken
	MTUBefore int        `json:"mtu_before,omitempty"` // of the interface, to be put back

	// What earlier leases gave, and goes once this one's address stands.
	Former       []netip.Prefix `json:"former,omitempty"`
	FormerRoutes []routeSpec    `json:"former_routes,omitempty"`
}

func (s leaseSpec) resource() string { return "lease" }
func (s leaseSpec) id() string       { return s.Interface }
func (s leaseSpec) lasts() bool      { return true }

func (s leaseSpec) locks() []state.Object {
	return []state.Object{state.Exclusive("lease/" + s.Interface), shareLink(s.Interface)}
}

func (s leaseSpec) line() string {
	words := []string{"lease of", s.Interface, s.Lease.Address.String(), "from", s.Lease.Server.String()}
	for _, r := range s.routes() {
		words = append(words, "route", r.line())
	}
	return strings.Join(words, " ")
}

func (s leaseSpec) needs() needs {
	want := needs{links: []string{s.Interface}, addresses: []string{s.Interface}}
	for _, r := range append(s.routes(), s.FormerRoutes...) {
		want.routes = append(want.routes, r.key())
	}
	return want
}

// routes are those of the lease, the ones on the link first. The network of the address itself has a route
// by the address. A router that the network does not hold is taken to be on the link (RFC 3442 leaves that open).
func (s leaseSpec) routes() (list []routeSpec) {
	network := s.Lease.Address.Masked()
	for _, r := range s.Lease.DefaultRoutes() {
		if r.Dst == network {
			continue
		}
		list = append(list, routeSpec{
			Dst: r.Dst, Table: unix.RT_TABLE_MAIN, Metric: s.Metric, Type: typeUnicast, Gateway: r.Gateway, Interface: s.Interface,
			OnLink: r.Gateway.IsValid() && !network.Contains(r.Gateway), PrefSrc: s.Lease.Address.Addr(),
		})
	}
	slices.SortStableFunc(list, func(a, b routeSpec) int {
		return boolInt(a.Gateway.IsValid()) - boolInt(b.Gateway.IsValid())
	})
	return list
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// rounding is how far the kernel's lifetimes, in whole seconds, may be from ours.
const rounding = 2 * time.Second

// plan brings address, routes and MTU to what the lease says, the new before the old goes.
func (s leaseSpec) plan(h *held) (p plan) {
	l := h.links[s.Interface]
	switch {
	case l == nil:
		p.missing, p.waits = true, "interface "+s.Interface
		return p
	case s.over(h.now):
		return p // its client ends it
	case !l.Up:
		p.waits = "interface " + s.Interface + " to be up"
		return p
	}
	if s.MTU != 0 && l.MTU != s.MTU {
		p.differ("mtu", strconv.Itoa(s.MTU), strconv.Itoa(l.MTU), setMTU{s.Interface, s.MTU})
	}
	s.planAddress(&p, h, l)
	for _, r := range s.routes() {
		s.planRoute(&p, h, r)
	}
	p.steps = append(p.steps, s.formerSteps(h, l)...)
	return p
}

func (s leaseSpec) over(now time.Time) bool {
	return !s.Lease.Expires.IsZero() && !now.Before(s.Lease.Expires)
}

func (s leaseSpec) planAddress(p *plan, h *held, l *heldLink) {
	put := putAddress{s.Interface, s.Lease, s.Metric}
	at := slices.IndexFunc(l.Addresses, func(a heldAddress) bool { return a.Prefix == s.Lease.Address })
	if at < 0 {
		p.missing = true
		p.steps = append(p.steps, put)
		return
	}
	var ends time.Time
	if have := l.Addresses[at].Valid; have != rtnl.Forever {
		ends = h.now.Add(time.Duration(have) * time.Second)
	}
	if d := ends.Sub(s.Lease.Expires); ends.IsZero() != s.Lease.Expires.IsZero() || d > rounding || d < -rounding {
		p.differ("expires_at", instantText(s.Lease.Expires), instantText(ends), put)
	}
}

func instantText(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

// planRoute plans one route. What stands in its place and is not ours is left there, and told of: it keeps
// the lease from nothing else.
func (s leaseSpec) planRoute(p *plan, h *held, r routeSpec) {
	of := r.plan(h)
	if of.done() {
		return
	}
	if p.missing && of.obstacle == "" {
		p.steps = append(p.steps, of.steps...)
		return
	}
	actual := "another"
	switch {
	case of.obstacle != "":
		actual = of.obstacle
	case of.missing:
		actual = ""
	}
	p.differ("route", r.line(), actual, nil)
	p.steps = append(p.steps, of.steps...)
}

// formerSteps take away what earlier leases gave.
func (s leaseSpec) formerSteps(h *held, l *heldLink) (steps []step) {
	for _, r := range s.FormerRoutes {
		steps = append(steps, ownRouteSteps(h, r)...)
	}
	for _, a := range s.Former {
		if a == s.Lease.Address || !l.has(a) {
			continue
		}
		if a.Masked() == s.Lease.Address.Masked() {
			steps = append(steps, promoteSecondaries{s.Interface})
		}
		steps = append(steps, removeAddress{s.Interface, a})
	}
	return steps
}

// ownRouteSteps delete a route if one of ours has its key.
func ownRouteSteps(h *held, r routeSpec) []step {
	ours := func(have heldRoute) bool { return have.Protocol == RouteProtocol }
	if !slices.ContainsFunc(h.routes[r.key()], ours) {
		return nil
	}
	return r.removal(h).steps
}

func (s leaseSpec) removal(h *held) (p plan) {
	l := h.links[s.Interface]
	if l == nil {
		return p
	}
	for _, r := range slices.Backward(s.routes()) {
		p.steps = append(p.steps, ownRouteSteps(h, r)...)
	}
	p.steps = append(p.steps, s.formerSteps(h, l)...)
	if l.has(s.Lease.Address) {
		p.steps = append(p.steps, removeAddress{s.Interface, s.Lease.Address})
	}
	if s.MTU != 0 && l.MTU == s.MTU && s.MTUBefore != 0 && s.MTUBefore != s.MTU {
		p.steps = append(p.steps, setMTU{s.Interface, s.MTUBefore})
	}
	return p
}

// succeeds is the spec where another lease of the same interface was in force.
func (s leaseSpec) succeeds(old leaseSpec) leaseSpec {
	if old.MTU != 0 {
		s.MTUBefore = old.MTUBefore
	}
	if s.MTU == 0 && old.MTU != 0 {
		s.MTU = old.MTUBefore
	}
	if old.Lease.Address != s.Lease.Address {
		s.Former = []netip.Prefix{old.Lease.Address}
	}
	now := s.routes()
	for _, r := range old.routes() {
		if !slices.ContainsFunc(now, func(n routeSpec) bool { return n.key() == r.key() }) {
			s.FormerRoutes = append(s.FormerRoutes, r)
		}
	}
	return s
}

// leaseRoutes are the keys of the routes that leases gave.
func (k *kept) leaseRoutes() map[ownKey]bool {
	keys := map[ownKey]bool{}
	for _, s := range k.leases.All() {
		for _, r := range s.routes() {
			keys[r.key()] = true
		}
	}
	for _, s := range k.leases6.All() {
		for _, r := range s.routes() {
			keys[r.key()] = true
		}
	}
	return keys
}

// putAddress gives an interface the address of a lease for as long as the lease lasts: the kernel takes it
// away then, even where no daemon runs any more.
type putAddress struct {
	Name   string
	Lease  dhcp.Lease
	Metric uint32
}

func (s putAddress) String() string {
	return "put address " + s.Lease.Address.String() + " on " + s.Name
}
func (s putAddress) take(ctx context.Context, t *taker) error {
	index, err := t.conn.LinkIndex(s.Name)
	if err != nil {
		return fmt.Errorf("find %s: %w", s.Name, err)
	}
	left := uint32(rtnl.Forever)
	if !s.Lease.Expires.IsZero() {
		left = uint32(max(time.Until(s.Lease.Expires)/time.Second, 1))
	}
	return t.conn.PutAddress(ctx, index, rtnl.LeasedAddress{
		Address: s.Lease.Address, Broadcast: s.Lease.Broadcast, Protocol: addressProtocol, Metric: s.Metric, Preferred: left, Valid: left,
	})
}

// promoteSecondaries has an interface keep the other addresses of a network when the first of them goes, which
// takes them with it otherwise (ip-sysctl: promote_secondaries). Where the setting cannot be written, what went
// is made again by the next plan.
type promoteSecondaries struct{ Name string }

func (s promoteSecondaries) String() string { return "set promote_secondaries of " + s.Name + " to 1" }
func (s promoteSecondaries) take(_ context.Context, t *taker) error {
	path := t.net.options.Root + "/proc/sys/net/ipv4/conf/" + s.Name + "/promote_secondaries"
	err := t.net.inside(func() error { return os.WriteFile(path, []byte("1"), 0) })
	if err != nil {
		t.net.leaseFault(s.Name, err)
	}
	return nil
}

// removeAddress takes an address away, if it is there.
type removeAddress struct {
	Name    string
	Address netip.Prefix
}

func (s removeAddress) String() string {
	return "remove address " + s.Address.String() + " from " + s.Name
}

func (s removeAddress) take(ctx context.Context, t *taker) error {
	index, err := t.conn.LinkIndex(s.Name)
	if err != nil {
		return fmt.Errorf("find %s: %w", s.Name, err)
	}
	err = t.conn.DeleteAddress(ctx, index, s.Address)
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return nil
	}
	return err
}
