package netops

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/geomind/my_os_server/internal/dhcp6"
	"github.com/geomind/my_os_server/internal/rtnl"
)

// aLease6 is one of an address and a /56, preferred for 50 s and valid for 100 s, assigned to br0 and br1.
func aLease6(now time.Time) lease6Spec {
	part := func(p string) []dhcp6.Part {
		return []dhcp6.Part{{Prefix: netip.MustParsePrefix(p), Preferred: now.Add(50 * time.Second), Valid: now.Add(100 * time.Second)}}
	}
	return lease6Spec{Interface: "eth0", AssignTo: []string{"br0", "br1"}, Lease: dhcp6.Lease{
		Addresses: part("2001:db8::5/128"), Prefixes: part("2001:db8:a::/56"), Obtained: now,
	}}
}

// host6 is a kernel with eth0, br0 and br1, and addresses "ADDRESS INTERFACE" that are preferred for 50 s and
// valid for 100 s.
func host6(now time.Time, addresses ...string) *held {
	h := newHeld()
	h.now = now
	for i, name := range []string{"eth0", "br0", "br1"} {
		h.links[name] = &heldLink{Index: i + 2, Name: name, MTU: 1500, Up: true}
		h.names[i+2] = name
	}
	for _, text := range addresses {
		address, name, _ := strings.Cut(text, " ")
		l := h.links[name]
		l.Addresses = append(l.Addresses, heldAddress{Prefix: netip.MustParsePrefix(address), Protocol: addressProtocol, Preferred: 50, Valid: 100})
	}
	return h
}

// refuses adds the route that refuses a prefix.
func (h *held) refuses(prefix string, protocol uint8) *held {
	key := refusing(netip.MustParsePrefix(prefix)).key()
	h.routes[key] = append(h.routes[key], heldRoute{Key: key, Protocol: protocol, Type: "unreachable", OIF: 1})
	return h
}

func TestPlanOfALease6(t *testing.T) {
	now := time.Now()
	const own, one, two = "2001:db8::5/128 eth0", "2001:db8:a::1/64 br0", "2001:db8:a:1::1/64 br1"
	const refuse = "add route unreachable 2001:db8:a::/56 metric 1073741824"
	const putOwn, putOne, putTwo = "put address 2001:db8::5/128 on eth0", "put address 2001:db8:a::1/64 on br0", "put address 2001:db8:a:1::1/64 on br1"
	all := func() *held { return host6(now, own, one, two).refuses("2001:db8:a::/56", RouteProtocol) }
	for name, c := range map[string]struct {
		held    *held
		spec    func(*lease6Spec)
		steps   []string
		differs []string
		missing bool
		waits   string
	}{
		"nothing stands": {held: host6(now), steps: []string{refuse, putOwn, putOne, putTwo}, missing: true},
		"all stands":     {held: all()},
		"extended": {held: all(), spec: func(s *lease6Spec) { s.Lease.Addresses[0].Valid = now.Add(200 * time.Second) },
			steps: []string{putOwn}, differs: []string{"expires_at"}},
		"deprecated": {held: all(), spec: func(s *lease6Spec) { s.Lease.Prefixes[0].Preferred = now.Add(-time.Second) },
			steps: []string{putOne, putTwo}, differs: []string{"expires_at", "expires_at"}},
		"without an end": {held: all(), spec: func(s *lease6Spec) {
			s.Lease.Addresses[0].Preferred, s.Lease.Addresses[0].Valid = time.Time{}, time.Time{}
		},
			steps: []string{putOwn}, differs: []string{"expires_at"}},
		"one is gone":                  {held: host6(now, own, two).refuses("2001:db8:a::/56", RouteProtocol), steps: []string{putOne}, differs: []string{"sub_prefix"}},
		"another's route in the place": {held: host6(now, own, one, two).refuses("2001:db8:a::/56", unix.RTPROT_STATIC), differs: []string{"route"}},
		"an interface is lacking":      {held: all(), spec: func(s *lease6Spec) { s.AssignTo = append(s.AssignTo, "br2") }, differs: []string{"sub_prefix"}},
		"one network alone": {held: host6(now, own), spec: func(s *lease6Spec) { s.Lease.Prefixes[0].Prefix = netip.MustParsePrefix("2001:db8:a::/64") },
			steps: []string{"add route unreachable 2001:db8:a::/64 metric 1073741824", putOne}, differs: []string{"route", "sub_prefix"}},
		"no network at all": {held: host6(now, own), spec: func(s *lease6Spec) { s.Lease.Prefixes[0].Prefix = netip.MustParsePrefix("2001:db8:a::/72") },
			steps: []string{"add route unreachable 2001:db8:a::/72 metric 1073741824"}, differs: []string{"route"}},
		"over":             {held: host6(now), spec: func(s *lease6Spec) { s.Lease.Addresses[0].Valid, s.Lease.Prefixes[0].Valid = now, now }},
		"information":      {held: host6(now), spec: func(s *lease6Spec) { s.Lease = dhcp6.Lease{Obtained: now} }},
		"no interface":     {held: newHeld(), missing: true, waits: "interface eth0"},
		"a former address": {held: all(), spec: func(s *lease6Spec) { s.Former = []placed{{"eth0", netip.MustParsePrefix("2001:db8::9/128")}} }},
		"a former address that stands": {held: host6(now, own, one, two, "2001:db8::9/128 eth0").refuses("2001:db8:a::/56", RouteProtocol),
			spec:  func(s *lease6Spec) { s.Former = []placed{{"eth0", netip.MustParsePrefix("2001:db8::9/128")}} },
			steps: []string{"remove the route to 2001:db8::9/128 on eth0", "remove address 2001:db8::9/128 from eth0"}},
		"a former address in a network that another has": {held: host6(now, own, one, two, "2001:db8:a::9/64 br0").refuses("2001:db8:a::/56", RouteProtocol),
			spec: func(s *lease6Spec) { s.Former = []placed{{"br0", netip.MustParsePrefix("2001:db8:a::9/64")}} }, steps: []string{"remove address 2001:db8:a::9/64 from br0"}},
		"a former prefix": {held: all().refuses("2001:db8:b::/56", RouteProtocol), spec: func(s *lease6Spec) { s.FormerPrefixes = []netip.Prefix{netip.MustParsePrefix("2001:db8:b::/56")} },
			steps: []string{"delete route 2001:db8:b::/56"}},
	} {
		s := aLease6(now)
		if c.spec != nil {
			c.spec(&s)
		}
		p := s.plan(c.held)
		var differs []string
		for _, d := range p.differs {
			differs = append(differs, d.Field)
		}
		want(t, name+": steps", stepText(p), c.steps)
		want(t, name+": differs", differs, c.differs)
		if p.missing != c.missing || p.waits != c.waits || p.obstacle != "" {
			t.Errorf("%s: missing %v, waits %q, obstacle %q", name, p.missing, p.waits, p.obstacle)
		}
	}
	down := host6(now)
	down.links["eth0"].Up = false
	if p := aLease6(now).plan(down); p.waits != "interface eth0 to be up" || len(p.steps) > 0 {
		t.Errorf("down: %+v", p)
	}
	want(t, "removal", stepText(aLease6(now).removal(all())), []string{
		"remove the route to 2001:db8:a:1::/64 on br1", "remove address 2001:db8:a:1::1/64 from br1",
		"remove the route to 2001:db8:a::/64 on br0", "remove address 2001:db8:a::1/64 from br0",
		"remove the route to 2001:db8::5/128 on eth0", "remove address 2001:db8::5/128 from eth0", "delete route 2001:db8:a::/56",
	})
	want(t, "removal of nothing", stepText(aLease6(now).removal(host6(now))), []string(nil))
}

// TestALease6SucceedsAnother: what the old one gave and the new one does not is to go, also what was to go already.
func TestALease6SucceedsAnother(t *testing.T) {
	now := time.Now()
	old, next := aLease6(now), aLease6(now)
	old.Former = []placed{{"br7", netip.MustParsePrefix("2001:db8:7::1/64")}}
	next.AssignTo = []string{"br1"}
	next.Lease.Addresses[0].Prefix = netip.MustParsePrefix("2001:db8::6/128")
	got := next.succeeds(old)
	var former []string
	for _, f := range got.Former {
		former = append(former, f.Interface+" "+f.Address.String())
	}
	want(t, "former", former, []string{"eth0 2001:db8::5/128", "br0 2001:db8:a::1/64", "br1 2001:db8:a:1::1/64", "br7 2001:db8:7::1/64"})
	want(t, "prefixes", len(got.FormerPrefixes), 0)
	next.Lease.Prefixes = nil
	want(t, "prefixes", listText(next.succeeds(old).FormerPrefixes), "2001:db8:a::/56")
}

// TestSubPrefixes are distinct, within the prefix, and as many as it has.
func TestSubPrefixes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b [16]byte
		for i := range b {
			b[i] = rapid.Byte().Draw(t, "byte")
		}
		b[0] = 0x20
		p := netip.PrefixFrom(netip.AddrFrom16(b), rapid.IntRange(1, 128).Draw(t, "bits")).Masked()
		seen := map[netip.Prefix]bool{}
		for i := range 40 {
			sub, ok := subPrefix(p, i)
			if fits := p.Bits() <= 64 && (p.Bits() < 58 || i < 1<<(64-p.Bits())); ok != fits {
				t.Fatalf("%s has a network %d: %v", p, i, ok)
			}
			if !ok {
				continue
			}
			if sub.Bits() != 64 || !p.Overlaps(sub) || sub.Masked() != sub || seen[sub] {
				t.Fatalf("network %d of %s is %s", i, p, sub)
			}
			seen[sub] = true
		}
	})
}

// TestAdvertisedNames are kept for as long as they are advertised, and so many of them.
func TestAdvertisedNames(t *testing.T) {
	now := time.Now()
	var a advertised
	server := func(s ...string) (list []netip.Addr) {
		for _, text := range s {
			list = append(list, netip.MustParseAddr(text))
		}
		return list
	}
	of := func() string {
		servers, search := a.of(2, "eth0")
		return listText(servers) + " " + strings.Join(search, " ")
	}
	take := func(lifetime uint32, search []string, servers ...string) bool {
		return a.take(rtnl.Notice{Index: 2, Lifetime: lifetime, Servers: server(servers...), Search: search}, now)
	}
	want(t, "odd ones", take(60, []string{"a b", "-", ""}, "::", "::1", "ff02::1", "::ffff:192.0.2.1"), true) // "-" is a name
	take(0, []string{"-"})
	want(t, "new", take(60, []string{"lab.test"}, "2001:db8::53", "fe80::1"), true)
	want(t, "again", take(90, []string{"lab.test"}, "2001:db8::53"), false)
	want(t, "names", of(), "2001:db8::53, fe80::1%eth0 lab.test")
	if changed, next := a.expire(now.Add(70 * time.Second)); !changed || next.Sub(now) != 90*time.Second {
		t.Errorf("%v %v", changed, next.Sub(now))
	}
	want(t, "after a minute", of(), "2001:db8::53 lab.test")
	want(t, "over", take(0, nil, "2001:db8::53", "2001:db8::99"), true)
	want(t, "names", of(), " lab.test")
	want(t, "for ever", take(rtnl.Forever, []string{"lab.test"}), false)
	if changed, next := a.expire(now.Add(time.Hour)); changed || !next.IsZero() {
		t.Errorf("%v %v", changed, next)
	}
	for i := range 100 {
		a.take(rtnl.Notice{Index: 3, Lifetime: 60, Servers: []netip.Addr{netip.AddrFrom16([16]byte{0: 0x20, 15: byte(i)})}}, now)
	}
	servers, _ := a.of(3, "eth1")
	want(t, "the most", len(servers), mostAdverts)
	if servers, search := a.of(0, "gone"); len(servers)+len(search) > 0 {
		t.Error("names of no interface")
	}
}

// TestInterfacesOfIPv6: settings and methods of the ways that the configuration knows.
func TestInterfacesOfIPv6(t *testing.T) {
	want(t, "dhcp", ipv6Settings("dhcp", true)[0] == ipv6Setting{"accept_ra", "2"}, true)
	for _, c := range []struct {
		of   Interface
		asks bool
	}{{Interface{IPv6: "dhcp"}, true}, {Interface{IPv6: "slaac"}, false}, {Interface{PrefixDelegation: true}, true}, {Interface{DHCP4: true}, false}} {
		if r := (&leaser{Interface: c.of}); r.asks6() != c.asks {
			t.Errorf("%+v asks: %v", c.of, r.asks6())
		}
	}
	link := &heldLink{Addresses: []heldAddress{{Prefix: netip.MustParsePrefix("2001:db8::1/64")}, {Prefix: netip.MustParsePrefix("fe80::1/64"), Flags: unix.IFA_F_TENTATIVE}}}
	want(t, "tentative", carriesIPv6(link), false)
	link.Addresses[1].Flags |= unix.IFA_F_OPTIMISTIC
	want(t, "optimistic", carriesIPv6(link), true)
	link.Addresses[1].Flags = unix.IFA_F_PERMANENT
	want(t, "there", carriesIPv6(link), true)
}
