package netops

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/dhcp6"
	"github.com/geomind/my_os_server/internal/state"
)

// sixth is what an interface has of DHCPv6.
type sixth struct {
	client    *dhcp6.Client       // nil: it is not asked for, or not there, or not ours
	ready     bool                // the link carries IPv6
	standings map[string]standing // of the interfaces that networks of a prefix are assigned to
}

// standing is what an interface was when it got a network of a prefix.
type standing struct {
	index int
	up    bool
}

// asks6 tells whether the configuration has the interface lease something by DHCPv6.
func (r *leaser) asks6() bool { return r.IPv6 == "dhcp" || r.PrefixDelegation }

// settle6th has a DHCPv6 client run for the interface where one is wanted: also, for information, where routers
// say that there is some (RFC 4861 section 4.2: the O flag), and tells it of the link.
func (r *leaser) settle6th(ctx context.Context, link *heldLink, timing dhcp6.Timing) {
	ready := link.Up && link.Carrier && carriesIPv6(link)
	r.solicit(link, ready)
	if inform := r.IPv6 == "slaac" && link.OtherConfig; !r.asks6() && !inform {
		return
	}
	r.mu.Lock()
	client := r.six.client
	r.mu.Unlock()
	if client == nil {
		var err error
		if client, err = r.open6(ctx, link, timing); err != nil {
			r.noteOf("DHCPv6", err.Error())
			return
		}
		r.noteOf("DHCPv6", "")
	}
	client.Link(ready)
	r.leaseFault6(r.follow(ctx))
}

func (r *leaser) leaseFault6(err error) { r.net.leaseFault(r.Name, err) }

// carriesIPv6 tells whether an interface has a link-local address that may be used: duplicate detection is over.
func carriesIPv6(link *heldLink) bool {
	return slices.ContainsFunc(link.Addresses, func(a heldAddress) bool {
		usable := a.Flags&unix.IFA_F_TENTATIVE == 0 || a.Flags&unix.IFA_F_OPTIMISTIC != 0
		return a.Prefix.Addr().Is6() && a.Prefix.Addr().IsLinkLocalUnicast() && usable
	})
}

// solicit asks the routers on a link, once it carries IPv6, for what the kernel does not keep of their
// advertisements.
func (r *leaser) solicit(link *heldLink, ready bool) {
	r.mu.Lock()
	ask := ready && !r.six.ready && (r.IPv6 == "slaac" || r.IPv6 == "dhcp")
	r.six.ready = ready
	r.mu.Unlock()
	if ask {
		r.leaseFault6(dhcp6.SolicitRouters(link.Name, link.Index, r.net.inside))
	}
}

// open6 starts the DHCPv6 client of an interface, and sets the interface up.
func (r *leaser) open6(ctx context.Context, link *heldLink, timing dhcp6.Timing) (*dhcp6.Client, error) {
	duid, err := r.net.duid()
	if err != nil {
		return nil, err
	}
	addresses, prefixes := r.IPv6 == "dhcp", r.PrefixDelegation
	last, err := r.lastLease6(ctx, addresses, prefixes)
	if err != nil {
		return nil, err
	}
	client, err := dhcp6.Open(dhcp6.Options{
		Interface: link.Name, Index: link.Index, DUID: duid, Addresses: addresses, Prefixes: prefixes, Timing: timing, Last: last,
		Inside: r.net.inside, Bind: r.bind6, Fault: r.leaseFault6,
		Unbind: func(ctx context.Context, _ *dhcp6.Lease, why dhcp6.Reason) error { return r.unbind6(ctx, why) },
	})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.six.client, r.six.standings = client, nil
	r.index, r.mac = link.Index, link.MAC
	r.mu.Unlock()
	if !link.Up {
		err = r.net.setUp(ctx, link.Name)
	}
	return client, err
}

// duid is that of the client, which is made once and kept.
func (n *Net) duid() ([]byte, error) {
	const key = "duid"
	n.leasing.naming.Lock()
	defer n.leasing.naming.Unlock()
	if id, ok := n.kept.identity.Get(key); ok && len(id.DUID) > 0 {
		return id.DUID, nil
	}
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	id := identity{DUID: dhcp6.NewDUID(random)}
	if err := n.state.Set(n.kept.identity.Put(key, id)); err != nil {
		return nil, err
	}
	return id.DUID, nil
}

// lastLease6 is the lease that an interface had when the daemon ended. One that is over, or of what is no longer
// asked for, is given up.
func (r *leaser) lastLease6(ctx context.Context, addresses, prefixes bool) (*dhcp6.Lease, error) {
	s, ok := r.net.kept.leases6.Get(r.Name)
	if !ok {
		return nil, nil
	}
	lease := s.Lease.Of(addresses, prefixes).At(time.Now())
	if lease.Empty() && !s.Lease.Empty() {
		return nil, r.net.unbind6(ctx, s)
	}
	return lease, nil
}

// spec6 is what the host is to have by a lease.
func (r *leaser) spec6(l *dhcp6.Lease) lease6Spec {
	return lease6Spec{Interface: r.Name, AssignTo: r.AssignTo, Metric: r.Metric, Lease: *l}
}

// bind6 has the host get what a lease says, and remembers it.
func (r *leaser) bind6(ctx context.Context, l *dhcp6.Lease) error {
	want := r.spec6(l)
	unlock, err := r.net.lock(ctx, want.locks()...)
	if err != nil {
		return err
	}
	defer unlock()
	w := write{method: "net.lease of " + r.Name, to: []spec{want}}
	old, had := r.net.kept.leases6.Get(r.Name)
	if had {
		back := old.succeeds(want)
		want = want.succeeds(old)
		w.from, w.to = []spec{back}, []spec{want}
	}
	w.changes = []state.Change{r.net.kept.leases6.Put(r.Name, want)}
	if err := r.net.perform(ctx, w); err != nil {
		return err
	}
	if text := leaseText(l); text != "" && (!had || leaseText(&old.Lease) != text) {
		r.net.options.Log.Info().Str("interface", r.Name).Str("leased", text).Stringer("server", l.Server).Msg("DHCPv6 lease")
	}
	return errors.Join(r.net.forgetFormer6(want), r.stood(ctx, want), r.net.writeResolvConf())
}

// leaseText are the addresses and prefixes of a lease in one line.
func leaseText(l *dhcp6.Lease) string {
	return listText(slices.Concat(prefixesOf(l.Addresses), prefixesOf(l.Prefixes)))
}

// forgetFormer6 forgets what earlier leases gave, once that is gone.
func (n *Net) forgetFormer6(s lease6Spec) error {
	if len(s.Former)+len(s.FormerPrefixes) == 0 {
		return nil
	}
	s.Former, s.FormerPrefixes = nil, nil
	return n.state.Set(n.kept.leases6.Put(s.Interface, s))
}

// stood notes on which interfaces networks of the prefixes were set.
func (r *leaser) stood(ctx context.Context, s lease6Spec) error {
	h, err := r.net.look(ctx, needs{links: s.AssignTo})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.six.standings = standingsOf(h, s.AssignTo)
	return nil
}

func standingsOf(h *held, names []string) map[string]standing {
	list := map[string]standing{}
	for _, name := range names {
		if l := h.links[name]; l != nil {
			list[name] = standing{l.Index, l.Up}
		}
	}
	return list
}

// follow sets the networks of the prefixes on interfaces that have come, or come up, since: the kernel takes
// addresses of IPv6 away from those that go down. What somebody removed from one that stayed is left to
// net.verify.
func (r *leaser) follow(ctx context.Context) error {
	s, ok := r.net.kept.leases6.Get(r.Name)
	if !ok || len(s.AssignTo) == 0 {
		return nil
	}
	h, err := r.net.look(ctx, needs{links: s.AssignTo})
	if err != nil {
		return err
	}
	now := standingsOf(h, s.AssignTo)
	r.mu.Lock()
	known := r.six.standings
	r.six.standings = now
	r.mu.Unlock()
	if known == nil || maps.Equal(known, now) {
		return nil
	}
	unlock, err := r.net.lock(ctx, s.locks()...)
	if err != nil {
		return err
	}
	defer unlock()
	if s, ok = r.net.kept.leases6.Get(r.Name); !ok {
		return nil
	}
	if h, err = r.net.look(ctx, s.needs()); err != nil {
		return err
	}
	var fresh []step
	p := s.plan(h)
	for _, step := range p.steps {
		put, is := step.(putAddress6)
		if is && put.assigned && now[put.Interface].up && known[put.Interface] != now[put.Interface] {
			fresh = append(fresh, step)
		}
	}
	return r.net.mend(ctx, finding{spec: s, plan: plan{steps: fresh}})
}

// unbind6 takes from the host what its lease gave.
func (r *leaser) unbind6(ctx context.Context, why dhcp6.Reason) error {
	s, ok := r.net.kept.leases6.Get(r.Name)
	if !ok {
		return nil
	}
	r.net.options.Log.Warn().Str("interface", r.Name).Str("leased", leaseText(&s.Lease)).Str("cause", string(why)).Msg("DHCPv6 lease ended")
	return r.net.unbind6(ctx, s)
}

func (n *Net) unbind6(ctx context.Context, s lease6Spec) error {
	unlock, err := n.lock(ctx, s.locks()...)
	if err != nil {
		return err
	}
	defer unlock()
	w := write{method: "net.lease of " + s.Interface + ", its end", from: []spec{s}, changes: []state.Change{n.kept.leases6.Remove(s.Interface)}}
	if err := n.perform(ctx, w); err != nil {
		return err
	}
	return n.writeResolvConf()
}

// mayMend6 tells whether the lease of an interface may be brought to what is registered: it was asked for again.
func (l *leasing) mayMend6(name string) bool {
	r := l.configured(name)
	if r == nil {
		return false
	}
	r.mu.Lock()
	client := r.six.client
	r.mu.Unlock()
	return client != nil && slices.Contains([]dhcp6.State{dhcp6.Bound, dhcp6.Renewing, dhcp6.Rebinding}, client.Status().State)
}

// giveBackTime is how long a server is told, at most, that a lease is no longer wanted.
const giveBackTime = 3 * time.Second

// giveBack tells the server that a lease is no longer wanted, since the configuration no longer has it, and takes
// from the host what the lease gave.
func (l *leasing) giveBack(ctx context.Context, s lease6Spec) {
	told, cancel := context.WithTimeout(ctx, giveBackTime)
	defer cancel()
	l.net.leaseFault(s.Interface, l.releaseLease(told, s))
	if s, still := l.net.kept.leases6.Get(s.Interface); still { // no server could be told
		l.net.leaseFault(s.Interface, l.net.unbind6(ctx, s))
	}
}

func (l *leasing) releaseLease(ctx context.Context, s lease6Spec) error {
	h, err := l.net.look(ctx, needs{links: []string{s.Interface}, addresses: []string{s.Interface}})
	if err != nil {
		return err
	}
	link := h.links[s.Interface]
	if link == nil || !link.Up || !link.Carrier || !carriesIPv6(link) || s.over(time.Now()) {
		return nil
	}
	duid, err := l.net.duid()
	if err != nil {
		return err
	}
	client, err := dhcp6.Open(dhcp6.Options{
		Interface: link.Name, Index: link.Index, DUID: duid, Timing: l.timing6, Last: &s.Lease,
		Addresses: len(s.Lease.Addresses) > 0, Prefixes: len(s.Lease.Prefixes) > 0, Inside: l.net.inside,
		Bind:   func(context.Context, *dhcp6.Lease) error { return nil },
		Unbind: func(ctx context.Context, _ *dhcp6.Lease, _ dhcp6.Reason) error { return l.net.unbind6(ctx, s) },
		Fault:  func(err error) { l.net.leaseFault(s.Interface, err) },
	})
	if err != nil {
		return err
	}
	defer client.Close()
	client.Link(true)
	return client.Release(ctx)
}

// duplicate tells the client of the interface with an index that another host has an address of its lease.
func (l *leasing) duplicate(index int, addr netip.Addr) {
	for _, r := range l.list {
		r.mu.Lock()
		client, of := r.six.client, r.linkIndex
		r.mu.Unlock()
		if client != nil && of == index {
			l.net.options.Log.Warn().Str("interface", r.Name).Stringer("address", addr).Msg("another host has an address that was leased")
			client.Duplicate(addr)
		}
	}
}
