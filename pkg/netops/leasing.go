package netops

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/geomind/my_os_server/internal/dhcp"
	"github.com/geomind/my_os_server/internal/dhcp6"
	"github.com/geomind/my_os_server/internal/netconf"
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
)

// Interface is an interface whose addresses the daemon looks after itself.
type Interface struct {
	Name   string
	DHCP4  bool   // it asks for an IPv4 lease
	IPv6   string // slaac: the kernel takes router advertisements; dhcp: and it asks for an IPv6 lease; none: no IPv6; "": as it is
	Metric uint32 // of the routes that it gets; 0: 1024 and its place in the list, from 1 on

	PrefixDelegation bool     // it asks for a prefix of IPv6
	AssignTo         []string // interfaces that get a network of it each, in this order
}

// DefaultMetric is what the metrics of interfaces count from that are given none.
const DefaultMetric = 1024

// leasing has DHCP clients run for each interface that asks for leases, as long as that is there and nobody else
// manages it.
type leasing struct {
	net        *Net
	timing     dhcp.Timing
	timing6    dhcp6.Timing
	list       []*leaser // in the order of the options
	cancel     context.CancelFunc
	ended      chan struct{}
	advertised advertised
	woken      chan struct{} // what routers advertised has changed; buffered
	naming     sync.Mutex    // held while the DUID is made
	resolv     sync.Mutex    // held while resolv.conf is written
}

// leaser is one interface.
type leaser struct {
	Interface
	net *Net

	mu        sync.Mutex
	client    *dhcp.Client // nil: it is not there, or not ours
	six       sixth
	index     int // that the clients are for
	mac       string
	mtu       int               // without what a lease asks for
	linkIndex int               // as it was seen last; 0: it is not there
	faults    map[string]string // why it, or a part of it, is not looked after, as it was told last
}

func newLeasing(n *Net) *leasing {
	l := &leasing{net: n, timing: dhcp.Standard(), timing6: dhcp6.Standard(), woken: make(chan struct{}, 1)}
	for i, c := range n.options.Interfaces {
		if c.Metric == 0 {
			c.Metric = DefaultMetric + uint32(i) + 1
		}
		l.list = append(l.list, &leaser{Interface: c, net: n})
	}
	return l
}

// ofName is the interface with a name that asks for leases; nil: none.
func (l *leasing) ofName(name string) *leaser {
	if r := l.configured(name); r != nil && r.DHCP4 {
		return r
	}
	return nil
}

// configured is the interface with a name that the configuration gives to the daemon; nil: none.
func (l *leasing) configured(name string) *leaser {
	i := slices.IndexFunc(l.list, func(r *leaser) bool { return r.Name == name })
	if i < 0 {
		return nil
	}
	return l.list[i]
}

// methods are the interface's, in the words of net.config.
func (r *leaser) methods(s *netconf.Settings) {
	if r.DHCP4 {
		s.Method4 = "dhcp"
	}
	switch r.IPv6 {
	case "slaac", "dhcp":
		s.Method6 = r.IPv6
	case "none":
		s.Method6 = "disabled"
	}
}

// start begins to look after the interfaces. What was leased to others, which the configuration no longer
// names, is given up.
func (l *leasing) start() {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel, l.ended = cancel, make(chan struct{})
	for name, s := range l.net.kept.leases.All() {
		if l.ofName(name) == nil {
			l.net.leaseFault(name, l.net.unbind(ctx, s))
		}
	}
	var over []lease6Spec
	for name, s := range l.net.kept.leases6.All() {
		if r := l.configured(name); r == nil || !r.asks6() && (r.IPv6 != "slaac" || !s.Lease.Empty()) {
			over = append(over, s)
		}
	}
	if len(l.list)+len(over) == 0 {
		close(l.ended)
		return
	}
	events, err := rtnl.Watch(ctx, l.net.netnsFD())
	if err != nil {
		l.net.options.Log.Error().Err(err).Msg("interfaces are looked at from time to time alone")
	}
	notices := l.watchNotices(ctx)
	go func() {
		defer close(l.ended)
		for _, s := range over {
			l.giveBack(ctx, s)
		}
		l.watch(ctx, events, notices)
	}()
}

// watchNotices hears what the kernel tells of IPv6 once; nil where it cannot.
func (l *leasing) watchNotices(ctx context.Context) <-chan struct{} {
	listener, err := rtnl.WatchNotices(ctx, l.net.netnsFD(), l.heard)
	if err != nil {
		l.net.options.Log.Error().Err(err).Msg("what routers advertise of names is not heard")
		return nil
	}
	return listener.Events
}

func (l *leasing) stop() {
	if l.cancel == nil {
		return
	}
	l.cancel()
	<-l.ended
	for _, r := range l.list {
		r.drop()
	}
}

// lookTime is how often interfaces are looked at although nothing is heard of them: other managers come and go
// without a sound.
const lookTime = 15 * time.Second

func (l *leasing) watch(ctx context.Context, events, notices <-chan struct{}) {
	ticker, names := time.NewTicker(lookTime), time.NewTimer(lookTime)
	defer ticker.Stop()
	defer names.Stop()
	for ctx.Err() == nil {
		l.look(ctx)
		l.forgetNames(names)
		select {
		case <-ctx.Done():
		case _, ok := <-events:
			if !ok {
				events = nil
			}
		case _, ok := <-notices:
			if !ok {
				notices = nil
			}
		case <-l.woken:
		case <-names.C:
		case <-ticker.C:
		}
	}
}

// forgetNames forgets the names that routers advertised and whose time is over, and sets the timer to the next.
func (l *leasing) forgetNames(timer *time.Timer) {
	changed, next := l.advertised.expire(time.Now())
	if changed {
		l.rewrite()
	}
	wait := lookTime
	if !next.IsZero() {
		wait = min(wait, max(time.Until(next), 0))
	}
	timer.Reset(wait)
}

// look brings each interface's client to what there is now.
func (l *leasing) look(ctx context.Context) {
	var want needs
	for _, r := range l.list {
		want.links = append(want.links, r.Name)
		want.addresses = append(want.addresses, r.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	h, err := l.net.look(ctx, want)
	if err != nil {
		return // what cannot be seen now is seen the next time
	}
	owners, err := readFiles(ctx, l.net, func(r *netconf.Reader) *netconf.Owners { return r.Owners() })
	if err != nil {
		return
	}
	for _, r := range l.list {
		if link := h.links[r.Name]; r.wanted(link, owners) {
			r.settle(ctx, link, l)
		}
	}
}

// wanted tells whether an interface is there and ours to look after. A client for what it was before is ended.
// The kernel's own ip= is no manager: it asks once and never again.
func (r *leaser) wanted(link *heldLink, owners *netconf.Owners) bool {
	r.seen(link)
	if link == nil {
		r.drop()
		r.note("there is no such interface")
		return false
	}
	if owner := owners.Of(link.Index, link.Name); owner.Manager != "" && owner.Manager != netconf.Kernel {
		r.drop()
		r.note(owner.Manager + " manages it")
		return false
	}
	r.mu.Lock()
	changed := (r.client != nil || r.six.client != nil) && (link.Index != r.index || link.MAC != r.mac)
	r.mu.Unlock()
	if changed {
		r.drop()
	}
	return true
}

// seen notes which interface has the name now; nil: none.
func (r *leaser) seen(link *heldLink) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.linkIndex = 0
	if link != nil {
		r.linkIndex = link.Index
	}
}

// settle brings an interface to what the configuration says, and tells its clients of the link.
func (r *leaser) settle(ctx context.Context, link *heldLink, l *leasing) {
	if err := r.settle6(); err != nil {
		r.note(err.Error())
	}
	if r.DHCP4 {
		r.settle4(ctx, link, l.timing)
	}
	r.settle6th(ctx, link, l.timing6)
}

func (r *leaser) settle4(ctx context.Context, link *heldLink, timing dhcp.Timing) {
	r.mu.Lock()
	client := r.client
	r.mu.Unlock()
	if client == nil {
		var err error
		if client, err = r.open(ctx, link, timing); err != nil {
			r.note(err.Error())
			return
		}
		r.note("")
	}
	client.Link(link.Up && link.Carrier)
}

// note says why an interface is not looked after, once.
func (r *leaser) note(fault string) { r.noteOf("", fault) }

// noteOf is note of a part of it.
func (r *leaser) noteOf(part, fault string) {
	r.mu.Lock()
	changed := r.faults[part] != fault
	if r.faults == nil {
		r.faults = map[string]string{}
	}
	r.faults[part] = fault
	r.mu.Unlock()
	if changed && fault != "" {
		r.net.options.Log.Warn().Str("interface", r.Name).Str("cause", fault).Msg("the interface is not looked after as configured")
	}
}

// drop ends the clients. Their leases stay: who manages the interface now will see to the addresses, or the kernel
// takes them away when their time is over.
func (r *leaser) drop() {
	r.mu.Lock()
	client, six := r.client, r.six.client
	r.client, r.six = nil, sixth{}
	r.mu.Unlock()
	if client != nil {
		client.Close()
	}
	if six != nil {
		six.Close()
	}
}

// MACSize bytes are what an interface is known to servers by.
var errHardware = fmt.Errorf("it has no hardware address of %d bytes", wire.MACSize)

// open starts the client of an interface, and sets the interface up.
func (r *leaser) open(ctx context.Context, link *heldLink, timing dhcp.Timing) (*dhcp.Client, error) {
	mac := wire.MACBytes(link.MAC)
	if len(mac) != wire.MACSize {
		return nil, errHardware
	}
	last, stands, err := r.lastLease(ctx, link)
	if err != nil {
		return nil, err
	}
	client, err := dhcp.Open(dhcp.Options{
		Interface: link.Name, Index: link.Index, MAC: mac, MTU: link.MTU, Timing: timing, Last: last, Stands: stands,
		Inside: r.net.inside, Bind: r.bind, Fault: func(err error) { r.net.leaseFault(r.Name, err) },
		Unbind: func(ctx context.Context, _ *dhcp.Lease, why dhcp.Reason) error { return r.unbind(ctx, why) },
	})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.client, r.index, r.mac, r.mtu = client, link.Index, link.MAC, link.MTU
	if s, ok := r.net.kept.leases.Get(r.Name); ok && s.MTU != 0 && s.MTU == link.MTU {
		r.mtu = s.MTUBefore
	}
	r.mu.Unlock()
	if !link.Up {
		err = r.net.setUp(ctx, link.Name)
	}
	return client, err
}

// lastLease is the lease that an interface had when the daemon ended, and whether its address stands. One that
// is over, or was for another hardware address, is given up.
func (r *leaser) lastLease(ctx context.Context, link *heldLink) (*dhcp.Lease, bool, error) {
	s, ok := r.net.kept.leases.Get(r.Name)
	if !ok {
		return nil, false, nil
	}
	if s.over(time.Now()) || s.MAC != link.MAC {
		return nil, false, r.net.unbind(ctx, s)
	}
	lease := s.Lease
	return &lease, link.has(lease.Address), nil
}

// setUp sets an interface up.
func (n *Net) setUp(ctx context.Context, name string) error {
	conn, err := n.sockets.Get()
	if err != nil {
		return err
	}
	defer n.sockets.Put(conn)
	t := &taker{net: n, conn: conn}
	return t.take(ctx, []step{setUp{name, true}})
}

func (n *Net) leaseFault(name string, err error) {
	if err != nil {
		n.options.Log.Warn().Str("interface", name).Err(err).Msg("DHCP")
	}
}

// leastMTU6 is the least MTU of an interface that carries IPv6 (RFC 8200 section 5): with less the kernel turns
// IPv6 off there.
const leastMTU6 = 1280

// spec is what an interface is to have by a lease. An MTU above the interface's own is not taken, since the
// device, or what is behind it, may not manage it, and none that would end IPv6.
func (r *leaser) spec(l *dhcp.Lease) leaseSpec {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := leaseSpec{Interface: r.Name, MAC: r.mac, Metric: r.Metric, Lease: *l}
	if mtu := int(l.MTU); (mtu >= leastMTU6 || mtu > 0 && r.IPv6 == "none") && mtu < r.mtu {
		s.MTU, s.MTUBefore = mtu, r.mtu
	}
	return s
}

// bind has the interface get what a lease says, and remembers it.
func (r *leaser) bind(ctx context.Context, l *dhcp.Lease) error {
	want := r.spec(l)
	unlock, err := r.net.lock(ctx, want.locks()...)
	if err != nil {
		return err
	}
	defer unlock()
	w := write{method: "net.lease of " + r.Name, to: []spec{want}}
	old, had := r.net.kept.leases.Get(r.Name)
	if had {
		want = want.succeeds(old)
		back := old
		if old.Lease.Address != want.Lease.Address {
			back.Former = append(slices.Clone(old.Former), want.Lease.Address)
		}
		w.from, w.to = []spec{back}, []spec{want}
	}
	w.changes = []state.Change{r.net.kept.leases.Put(r.Name, want)}
	if err := r.net.perform(ctx, w); err != nil {
		return err
	}
	if !had || old.Lease.Address != l.Address {
		r.net.options.Log.Info().Str("interface", r.Name).Stringer("address", l.Address).Stringer("server", l.Server).Msg("DHCP lease")
	}
	return errors.Join(r.net.complete(ctx, want), r.net.writeResolvConf())
}

// complete takes what steps remain, since the kernel may have taken away more than it was told to, and forgets
// what earlier leases gave: who gives that to the interface from now on means it.
func (n *Net) complete(ctx context.Context, s leaseSpec) error {
	h, err := n.look(ctx, s.needs())
	if err != nil {
		return err
	}
	if err := n.mend(ctx, finding{spec: s, plan: s.plan(h)}); err != nil {
		return err
	}
	if len(s.Former)+len(s.FormerRoutes) == 0 {
		return nil
	}
	s.Former, s.FormerRoutes = nil, nil
	return n.state.Set(n.kept.leases.Put(s.Interface, s))
}

// unbind takes from the interface what its lease gave.
func (r *leaser) unbind(ctx context.Context, why dhcp.Reason) error {
	s, ok := r.net.kept.leases.Get(r.Name)
	if !ok {
		return nil
	}
	r.net.options.Log.Warn().Str("interface", r.Name).Stringer("address", s.Lease.Address).Str("cause", string(why)).Msg("DHCP lease ended")
	return r.net.unbind(ctx, s)
}

func (n *Net) unbind(ctx context.Context, s leaseSpec) error {
	unlock, err := n.lock(ctx, s.locks()...)
	if err != nil {
		return err
	}
	defer unlock()
	err = n.perform(ctx, write{method: "net.lease of " + s.Interface + ", its end", from: []spec{s}, changes: []state.Change{n.kept.leases.Remove(s.Interface)}})
	if err != nil {
		return err
	}
	return n.writeResolvConf()
}

// settings are what the interfaces that the daemon looks after are told to do, by their names.
func (l *leasing) settings() map[string]func(*netconf.Settings) {
	list := map[string]func(*netconf.Settings){}
	for _, r := range l.list {
		list[r.Name] = r.methods
	}
	return list
}
