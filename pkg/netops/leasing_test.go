package netops

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/dhcp"
	"github.com/geomind/my_os_server/internal/hostexec"
	"github.com/geomind/my_os_server/internal/netconf"
	"github.com/geomind/my_os_server/pkg/registry"
)

// aLease is one of 192.0.2.5/24 that ends in 100 s, with a default route and one on the link.
func aLease(now time.Time) leaseSpec {
	return leaseSpec{
		Interface: "eth0", MAC: "02:00:00:00:00:01", Metric: 1025,
		Lease: dhcp.Lease{
			Address: netip.MustParsePrefix("192.0.2.5/24"), Server: netip.MustParseAddr("192.0.2.1"), Classless: true, Expires: now.Add(100 * time.Second),
			Routes: []dhcp.Route{
				{Dst: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("198.51.100.1")},
				{Dst: netip.MustParsePrefix("198.51.100.1/32")},
				{Dst: netip.MustParsePrefix("192.0.2.0/24")}, // of the address itself
			},
		},
	}
}

func ownRoute(dst, gateway string) heldRoute {
	r := heldRoute{Key: ownKey{Dst: netip.MustParsePrefix(dst), Table: unix.RT_TABLE_MAIN, Metric: 1025}, Protocol: RouteProtocol, Type: typeUnicast,
		OIF: 2, PrefSrc: netip.MustParseAddr("192.0.2.5")}
	if gateway != "" {
		r.Gateway, r.OnLink = netip.MustParseAddr(gateway), true
	}
	return r
}

// eth0With is a kernel whose eth0 is up and has addresses of ours that end in 100 s, and routes.
func eth0With(now time.Time, addresses []string, routes ...heldRoute) *held {
	l := &heldLink{Index: 2, Name: "eth0", MTU: 1500, Up: true}
	for _, a := range addresses {
		l.Addresses = append(l.Addresses, heldAddress{Prefix: netip.MustParsePrefix(a), Protocol: addressProtocol, Valid: 100})
	}
	h := newHeld()
	h.now, h.links["eth0"], h.names[2] = now, l, "eth0"
	for _, r := range routes {
		h.routes[r.Key] = append(h.routes[r.Key], r)
	}
	return h
}

func stepText(p plan) (list []string) {
	for _, s := range p.steps {
		list = append(list, s.String())
	}
	return list
}

func TestPlanOfALease(t *testing.T) {
	now := time.Now()
	direct, byGateway := ownRoute("198.51.100.1/32", ""), ownRoute("0.0.0.0/0", "198.51.100.1")
	foreign := byGateway
	foreign.Protocol = unix.RTPROT_STATIC
	moved := byGateway
	moved.Gateway = netip.MustParseAddr("198.51.100.9")
	const put, routeDirect, routeDefault = "put address 192.0.2.5/24 on eth0", "add route 198.51.100.1/32 dev eth0 metric 1025",
		"add route 0.0.0.0/0 via 198.51.100.1 dev eth0 metric 1025"
	for name, c := range map[string]struct {
		held    *held
		spec    func(*leaseSpec)
		steps   []string
		missing bool
		waits   string
		differs []string
	}{
		"nothing stands": {held: eth0With(now, nil), steps: []string{put, routeDirect, routeDefault}, missing: true},
		"all stands":     {held: eth0With(now, []string{"192.0.2.5/24"}, direct, byGateway)},
		"extended": {held: eth0With(now, []string{"192.0.2.5/24"}, direct, byGateway), spec: func(s *leaseSpec) { s.Lease.Expires = now.Add(200 * time.Second) },
			steps: []string{put}, differs: []string{"expires_at"}},
		"without an end": {held: eth0With(now, []string{"192.0.2.5/24"}, direct, byGateway), spec: func(s *leaseSpec) { s.Lease.Expires = time.Time{} },
			steps: []string{put}, differs: []string{"expires_at"}},
		"over":         {held: eth0With(now, nil), spec: func(s *leaseSpec) { s.Lease.Expires = now }},
		"no interface": {held: newHeld(), missing: true, waits: "interface eth0"},
		"another network": {held: eth0With(now, []string{"203.0.113.5/24"}), missing: true,
			spec:  func(s *leaseSpec) { s.Former = []netip.Prefix{netip.MustParsePrefix("203.0.113.5/24")} },
			steps: []string{put, routeDirect, routeDefault, "remove address 203.0.113.5/24 from eth0"}},
		"another address of the network": {held: eth0With(now, []string{"192.0.2.9/24"}), missing: true,
			spec:  func(s *leaseSpec) { s.Former = []netip.Prefix{netip.MustParsePrefix("192.0.2.9/24")} },
			steps: []string{put, routeDirect, routeDefault, "set promote_secondaries of eth0 to 1", "remove address 192.0.2.9/24 from eth0"}},
		"a former route": {held: eth0With(now, []string{"192.0.2.5/24"}, direct, byGateway, ownRoute("10.0.0.0/8", "198.51.100.1")),
			spec: func(s *leaseSpec) {
				s.FormerRoutes = []routeSpec{{Dst: netip.MustParsePrefix("10.0.0.0/8"), Table: unix.RT_TABLE_MAIN, Metric: 1025, Type: typeUnicast}}
			},
			steps: []string{"delete route 10.0.0.0/8"}},
		"another's route in the place": {held: eth0With(now, []string{"192.0.2.5/24"}, direct, foreign), differs: []string{"route"}},
		"a route changed": {held: eth0With(now, []string{"192.0.2.5/24"}, direct, moved),
			steps: []string{"replace route 0.0.0.0/0 via 198.51.100.1 dev eth0 metric 1025"}, differs: []string{"route"}},
		"a route gone": {held: eth0With(now, []string{"192.0.2.5/24"}, direct), steps: []string{routeDefault}, differs: []string{"route"}},
		"an MTU": {held: eth0With(now, []string{"192.0.2.5/24"}, direct, byGateway), spec: func(s *leaseSpec) { s.MTU, s.MTUBefore = 1400, 1500 },
			steps: []string{"set mtu of eth0 to 1400"}, differs: []string{"mtu"}},
	} {
		s := aLease(now)
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
	down := eth0With(now, nil)
	down.links["eth0"].Up = false
	if p := aLease(now).plan(down); p.waits != "interface eth0 to be up" || len(p.steps) > 0 {
		t.Errorf("down: %+v", p)
	}
}

func TestEndOfALease(t *testing.T) {
	now := time.Now()
	s := aLease(now)
	s.MTU, s.MTUBefore = 1400, 1500
	h := eth0With(now, []string{"192.0.2.5/24", "192.0.2.6/24"}, ownRoute("198.51.100.1/32", ""), ownRoute("0.0.0.0/0", "198.51.100.1"))
	h.links["eth0"].MTU = 1400
	want(t, "removal", stepText(s.removal(h)), []string{"delete route 0.0.0.0/0", "delete route 198.51.100.1/32", "remove address 192.0.2.5/24 from eth0", "set mtu of eth0 to 1500"})
	h.links["eth0"].MTU = 1300 // somebody else's
	want(t, "of nothing", stepText(s.removal(eth0With(now, nil))), []string(nil))
	if text := strings.Join(stepText(s.removal(h)), "; "); strings.Contains(text, "mtu") {
		t.Error(text)
	}
}

// TestALeaseSucceedsAnother: what the old one gave and the new one does not is to go.
func TestALeaseSucceedsAnother(t *testing.T) {
	now := time.Now()
	old, next := aLease(now), aLease(now)
	old.MTU, old.MTUBefore = 1400, 1500
	next.Lease.Address = netip.MustParsePrefix("192.0.2.7/24")
	next.Lease.Routes = next.Lease.Routes[:1]
	got := next.succeeds(old)
	want(t, "former", listText(got.Former), "192.0.2.5/24")
	if len(got.FormerRoutes) != 1 || got.FormerRoutes[0].Dst.String() != "198.51.100.1/32" {
		t.Errorf("%+v", got.FormerRoutes)
	}
	if got.MTU != 1500 || got.MTUBefore != 1500 { // put back
		t.Errorf("MTU %d, %d", got.MTU, got.MTUBefore)
	}
}

// TestRestartWhereOthersHoldTheLease: a manager with a tool is asked by that, which may lack; others are named.
func TestRestartWhereOthersHoldTheLease(t *testing.T) {
	var n Net
	restart := func(manager string) error {
		return n.restartBy(t.Context(), &registry.InterfaceLease{Interface: "eth9", Manager: manager})
	}
	for manager, tool := range map[string]hostexec.Program{netconf.Networkd: hostexec.Networkctl, netconf.NetworkManager: hostexec.Nmcli} {
		err := restart(manager)
		var missing *registry.ToolMissingError
		var refused *registry.OSError
		if lacks := tool.Installed() != nil; lacks != errors.As(err, &missing) || !lacks && !errors.As(err, &refused) {
			t.Errorf("%s: %v", manager, err)
		}
	}
	for _, manager := range []string{netconf.Dhclient, netconf.Dhcpcd, netconf.Ifupdown} {
		var conflict *registry.ConflictError
		if err := restart(manager); !errors.As(err, &conflict) || !strings.Contains(err.Error(), manager+" holds the leases of eth9") {
			t.Errorf("%s: %v", manager, err)
		}
	}
}

func TestIPv6Settings(t *testing.T) {
	want(t, "slaac", len(ipv6Settings("slaac", false)), 3)
	want(t, "a host", ipv6Settings("slaac", false)[0] == ipv6Setting{"accept_ra", "1"}, true)
	want(t, "a router", ipv6Settings("slaac", true)[0] == ipv6Setting{"accept_ra", "2"}, true)
	want(t, "none", ipv6Settings("none", false)[0] == ipv6Setting{"disable_ipv6", "1"}, true)
	want(t, "left alone", len(ipv6Settings("", true)), 0)
}

// TestEtcResolvConf: a file is replaced, a link is not, and an empty list is never written.
func TestEtcResolvConf(t *testing.T) {
	dir := t.TempDir()
	path, text := filepath.Join(dir, "resolv.conf"), resolvConf([]netip.Addr{netip.MustParseAddr("192.0.2.53")}, []string{"a.test", "b.test"})
	want(t, "text", string(text), resolvMark+"search a.test b.test\nnameserver 192.0.2.53\n")
	for range 2 {
		if err := writeEtcResolvConf(path, text); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v %v", info, err)
	}
	if names, _ := filepath.Glob(dir + "/.*"); len(names) > 0 {
		t.Errorf("left behind: %v", names)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("resolv.conf", link); err != nil {
		t.Fatal(err)
	}
	if err := writeEtcResolvConf(link, nil); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("%v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != string(text) {
		t.Errorf("%q", b)
	}
}

// TestDefaultMetrics follow the places of the interfaces.
func TestDefaultMetrics(t *testing.T) {
	l := newLeasing(&Net{options: Options{Interfaces: []Interface{{Name: "a"}, {Name: "b", Metric: 7}, {Name: "c", DHCP4: true}}}})
	want(t, "metrics", []uint32{l.list[0].Metric, l.list[1].Metric, l.list[2].Metric}, []uint32{1025, 7, 1027})
	if l.ofName("c") == nil || l.ofName("a") != nil || l.configured("a") == nil || l.configured("d") != nil {
		t.Error("interfaces are mistaken for one another")
	}
}
