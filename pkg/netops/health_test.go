package netops

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// TestHealthOfAHost breaks a host in one way after the other.
func TestHealthOfAHost(t *testing.T) {
	ns := testhost.NewNetNS(t)
	n := newNet(t, ns)
	status := func(check string) (all, one string) {
		t.Helper()
		result := mustCall(t, n, "net.health", object{})
		for _, c := range result["checks"].([]any) {
			if c := c.(object); c["name"] == check {
				one = c["status"].(string)
			}
		}
		return result["status"].(string), one
	}
	expect := func(what, check, wantAll, want string) {
		t.Helper()
		all, one := status(check)
		agree := func() bool { return one == want && (wantAll == "" || all == wantAll) }
		for end := time.Now().Add(10 * time.Second); !agree() && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			all, one = status(check) // the kernel tells of a lost carrier up to a second later
		}
		if !agree() {
			t.Errorf("%s: %s is %q and the node %q, want %q and %q: %v", what, check, one, all, want, wantAll, mustCall(t, n, "net.health", object{})["checks"])
		}
	}
	expect("nothing set up", "default_route", "", "degraded")
	expect("nothing set up", "links", "", "")
	ns.IP("link set lo up", "link add up0 type veth peer name gw0", "link set up0 up", "link set gw0 up",
		"addr add 192.0.2.2/24 dev up0", "route add default via 192.0.2.1", "neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev up0 nud reachable")
	expect("a way out", "default_route", "", "ok")
	expect("a way out", "links", "", "ok")
	expect("a way out", "gateway:192.0.2.1", "", "ok")
	ns.IP("neigh replace 192.0.2.1 lladdr 02:00:00:00:00:01 dev up0 nud failed")
	expect("a gateway that does not answer", "gateway:192.0.2.1", "failed", "failed")
	ns.IP("neigh del 192.0.2.1 dev up0")
	expect("a gateway that nobody has spoken to", "gateway:192.0.2.1", "", "unknown")
	ns.IP("link set gw0 down")
	expect("the cable is out", "links", "failed", "failed")
	expect("the cable is out", "default_route", "failed", "failed")
	ns.IP("link add spare type bridge", "link set spare up", "link set gw0 up")
	expect("a bridge without ports", "links", "", "ok")
	ns.IP("addr add 2001:db8::2/64 dev up0 nodad", "route add default via 2001:db8::1", "neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev up0 nud reachable")
	ns.FillRoutes(5000) // the dump of which is left early
	expect("among many routes", "default_route", "", "ok")
	expect("among many routes", "gateway:192.0.2.1", "", "ok")
	expect("among many routes", "gateway:2001:db8::1", "", "unknown")
	if got := mustCall(t, n, "net.status", object{})["default_routes"].([]any); len(got) != 2 {
		t.Errorf("default routes among many: %v", got)
	}
}

func TestJudgeLinks(t *testing.T) {
	for _, test := range []struct {
		links []linkHealth
		want  registry.CheckStatus
		text  string
	}{
		{[]linkHealth{{"a", true}, {"b", true}}, registry.CheckStatusOk, "2 of 2"},
		{[]linkHealth{{"a", true}, {"b", false}}, registry.CheckStatusDegraded, "1 of 2"},
		{[]linkHealth{{"a", false}}, registry.CheckStatusFailed, "0 of 1"},
	} {
		if c := judgeLinks(test.links)[0]; c.Status != test.want || !strings.HasPrefix(c.Message, test.text) {
			t.Errorf("%v: %+v", test.links, c)
		}
	}
}

func TestJudgeWays(t *testing.T) {
	four, six := registry.AddressFamilyIpv4, registry.AddressFamilyIpv6
	gateway := netip.MustParseAddr("192.0.2.1")
	for _, test := range []struct {
		ways []way
		want registry.CheckStatus
		text string
	}{
		{nil, registry.CheckStatusDegraded, "there is no default route"},
		{[]way{{family: four, link: "a", gateway: gateway}}, registry.CheckStatusOk, "IPv4 by way of 192.0.2.1 on a"},
		{[]way{{family: six, link: "a"}}, registry.CheckStatusOk, "IPv6 on a"},
		{[]way{{family: four, link: "a", gateway: gateway, down: true}}, registry.CheckStatusFailed, "IPv4 by way of 192.0.2.1 on a, which is down"},
		{[]way{{family: four, link: "a", gateway: gateway, down: true}, {family: six, link: "b"}}, registry.CheckStatusDegraded, "IPv4 by way of 192.0.2.1 on a, which is down; IPv6 on b"},
	} {
		if c := judgeWays(test.ways)[0]; c.Status != test.want || c.Message != test.text {
			t.Errorf("%v: %+v", test.ways, c)
		}
	}
}

func TestJudgeGateway(t *testing.T) {
	w := way{family: registry.AddressFamilyIpv4, link: "a", gateway: netip.MustParseAddr("192.0.2.1")}
	for state, want := range map[uint16]registry.CheckStatus{
		0: registry.CheckStatusUnknown, unix.NUD_REACHABLE: registry.CheckStatusOk, unix.NUD_PERMANENT: registry.CheckStatusOk,
		unix.NUD_NOARP: registry.CheckStatusOk, unix.NUD_STALE: registry.CheckStatusOk, unix.NUD_DELAY: registry.CheckStatusOk,
		unix.NUD_PROBE: registry.CheckStatusOk, unix.NUD_INCOMPLETE: registry.CheckStatusFailed, unix.NUD_FAILED: registry.CheckStatusFailed,
	} {
		if c := judgeGateway(w, state); c.Status != want || c.Name != "gateway:192.0.2.1" {
			t.Errorf("%#x: %+v", state, c)
		}
	}
}

func TestJudgeDNS(t *testing.T) {
	server := []registry.DnsServer{{Address: netip.MustParseAddr("192.0.2.53")}}
	for _, test := range []struct {
		name string
		dns  registry.NetDnsResult
		want registry.CheckStatus
	}{
		{"a server", registry.NetDnsResult{Source: "static", Nameservers: server}, registry.CheckStatusOk},
		{"none", registry.NetDnsResult{Source: "static"}, registry.CheckStatusDegraded},
		{"no file", registry.NetDnsResult{Source: "none"}, registry.CheckStatusDegraded},
		{"unreadable", registry.NetDnsResult{Source: "unknown"}, registry.CheckStatusUnknown},
		{"a local resolver", registry.NetDnsResult{Source: "static", Nameservers: server, Stub: registry.Some(true)}, registry.CheckStatusUnknown},
		{"one that tells", registry.NetDnsResult{Source: "systemd-resolved", Nameservers: server, Stub: registry.Some(true), Upstream: server}, registry.CheckStatusOk},
		{"one that tells by interface", registry.NetDnsResult{Source: "systemd-resolved", Nameservers: server, Stub: registry.Some(true),
			Interfaces: []registry.DnsInterface{{Nameservers: server}}}, registry.CheckStatusOk},
	} {
		if c := judgeDNS(&test.dns)[0]; c.Status != test.want {
			t.Errorf("%s: %+v", test.name, c)
		}
	}
}

func TestJudgeLeases(t *testing.T) {
	now := time.Unix(1e9, 0)
	in := func(d time.Duration) registry.Opt[time.Time] { return registry.Some(now.Add(d)) }
	for _, test := range []struct {
		name  string
		lease registry.Dhcp4Lease
		want  registry.CheckStatus
	}{
		{"young", registry.Dhcp4Lease{State: "bound", RebindAt: in(time.Hour), ExpiresAt: in(2 * time.Hour)}, registry.CheckStatusOk},
		{"not renewed", registry.Dhcp4Lease{State: "rebinding", RebindAt: in(-time.Minute), ExpiresAt: in(time.Hour)}, registry.CheckStatusDegraded},
		{"over", registry.Dhcp4Lease{State: "bound", RebindAt: in(-time.Hour), ExpiresAt: in(0)}, registry.CheckStatusFailed},
		{"expired", registry.Dhcp4Lease{State: "expired"}, registry.CheckStatusFailed},
		{"for ever", registry.Dhcp4Lease{State: "bound"}, registry.CheckStatusOk},
	} {
		c := judgeLeases(&registry.NetLeaseResult{Interfaces: []registry.InterfaceLease{{Interface: "none"}, {Interface: "a", Dhcp4: &test.lease}}}, now)
		six := registry.Dhcp6Lease{State: test.lease.State, RebindAt: test.lease.RebindAt, ExpiresAt: test.lease.ExpiresAt}
		c6 := judgeLeases(&registry.NetLeaseResult{Interfaces: []registry.InterfaceLease{{Interface: "a", Dhcp6: &six}}}, now)
		if len(c6) != 1 || c6[0].Status != test.want || c6[0].Name != "leases6:a" {
			t.Errorf("%s: DHCPv6: %+v", test.name, c6)
		}
		if len(c) != 1 || c[0].Status != test.want || c[0].Name != "leases:a" {
			t.Errorf("%s: %+v", test.name, c)
		}
	}
}

func TestJudgeConntrack(t *testing.T) {
	for count, want := range map[int64]registry.CheckStatus{
		0: registry.CheckStatusOk, 899: registry.CheckStatusOk, 900: registry.CheckStatusDegraded, 989: registry.CheckStatusDegraded,
		990: registry.CheckStatusFailed, 1000: registry.CheckStatusFailed,
	} {
		if c := judgeConntrack(count, 1000)[0]; c.Status != want {
			t.Errorf("%d of 1000: %+v", count, c)
		}
	}
	if c := judgeConntrack(0, 0); c != nil {
		t.Errorf("without a table: %+v", c)
	}
}

func TestJudgeDriftAndState(t *testing.T) {
	if c := judgeDrift(nil, 0); c != nil {
		t.Errorf("nothing kept: %+v", c)
	}
	if c := judgeDrift(nil, 3)[0]; c.Status != registry.CheckStatusOk {
		t.Errorf("in sync: %+v", c)
	}
	if c := judgeDrift([]registry.Drift{{Resource: "bridge", ID: "br0", Kind: registry.DriftKindMissing}}, 3)[0]; c.Status != registry.CheckStatusDegraded || c.Data["first"] != "bridge br0: missing" {
		t.Errorf("drift: %+v", c)
	}
	if c := judgeState(nil); c != nil {
		t.Errorf("state is whole: %+v", c)
	}
	if c := judgeState([]state.Problem{{File: "routes.json", Cause: "unexpected end"}})[0]; c.Status != registry.CheckStatusDegraded || !strings.Contains(c.Message, "unexpected end") {
		t.Errorf("state is not: %+v", c)
	}
}

func TestWorst(t *testing.T) {
	check := func(s ...registry.CheckStatus) (checks []registry.HealthCheck) {
		for _, status := range s {
			checks = append(checks, registry.HealthCheck{Status: status})
		}
		return checks
	}
	for want, checks := range map[registry.NodeHealth][]registry.HealthCheck{
		registry.NodeHealthOk:       check(registry.CheckStatusOk, registry.CheckStatusUnknown),
		registry.NodeHealthDegraded: check(registry.CheckStatusOk, registry.CheckStatusDegraded, registry.CheckStatusUnknown),
		registry.NodeHealthFailed:   check(registry.CheckStatusDegraded, registry.CheckStatusFailed, registry.CheckStatusOk),
	} {
		if got := worst(checks); got != want {
			t.Errorf("%v: %s, want %s", checks, got, want)
		}
	}
}
