package netops

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/dhcp6"
	"github.com/geomind/my_os_server/pkg/registry"
)

// TestOwnLease6IsHadRenewedAndLost: an address and a prefix, all that they bring, renewal, silence, end.
func TestOwnLease6IsHadRenewedAndLost(t *testing.T) {
	t.Parallel()
	lab := newSixLab(t)
	lab.node.Run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
	router := lab.advertise("--dhcp-range=::,constructor:s0,ra-only,64,10m", "--ra-param=s0,low,4,600")
	server := lab.dhcpd6(leases6{addresses: "2001:db8:5::1000 2001:db8:5::1000", prefixes: one56, preferred: 8, valid: 12})
	began := time.Now()
	lab.start()
	row := lab.bound6()
	t.Logf("bound after %v", time.Since(began))
	lease := row["dhcp6"].(object)
	wantMembers(t, "row", row, object{"manager": "my_os_server", "managed": true, "manager_pid": float64(os.Getpid())})
	wantMembers(t, "lease", lease, object{"dns": []any{"2001:db8:5::53"}, "search": []any{lab.domain}})
	wantMembers(t, "address", objects(lease["addresses"])[0], object{"address": "2001:db8:5::1000", "iaid": float64(dhcp6.IAID("eth0"))})
	want(t, "addresses", lab.global("eth0"), []string{"2001:db8:5::1000/128"})
	want(t, "networks", lab.global("lan0"), []string{"2001:db8:100::1/64"})
	want(t, "routes", lab.refusals(), []string{"unreachable 2001:db8:100::/56"})
	for _, line := range []string{"nameserver 2001:db8:5::53\n", "search " + lab.domain + "\n"} {
		if text := lab.resolvConf(lab.dir + "/state/resolv.conf"); !strings.Contains(text, line) {
			t.Errorf("resolv.conf lacks %q:\n%s", line, text)
		}
	}
	prefix := lab.prefixes()[0]
	wantMembers(t, "prefix", prefix, object{"prefix": "2001:db8:100::/56", "interface": "eth0", "iaid": float64(dhcp6.IAID("eth0")), "state": "bound", "manager": "my_os_server",
		"unreachable_route": true, "server_duid": lease["server_duid"], "server": "fe80::1",
		"sub_prefixes": []any{object{"prefix": "2001:db8:100::/64", "interface": "lan0", "address": "2001:db8:100::1/64"}}})
	if v := prefix["valid_s"].(float64); v < 1 || v > 12 {
		t.Errorf("valid for %v s", v)
	}
	config := mustCall(t, lab.net, "net.config", object{})
	wantMembers(t, "config", find(t, config["interfaces"], "interface", "eth0"), object{"manager": "my_os_server", "ipv6_method": "dhcp"})
	lab.inSync()

	// From behind the node to beyond it, and back.
	lab.client.IP("addr add 2001:db8:100::9/64 dev c0 nodad", "route add default via 2001:db8:100::1")
	node := strings.Fields(lab.node.Run("ip", "-6", "-o", "addr", "show", "dev", "eth0", "scope", "link"))
	lab.server.IP("route add 2001:db8:100::/56 via " + strings.TrimSuffix(node[3], "/64") + " dev s0")
	lab.reaches(lab.client, "2001:db8:5::1")
	if out, err := lab.server.Try("", "ping", "-6", "-c1", "-W2", "-n", "2001:db8:100:7::1"); err == nil || !strings.Contains(out+err.Error(), "nreachable") {
		t.Errorf("what nobody has of the prefix: %v %s", err, out)
	}
	lab.until6("router", func() bool { return strings.Contains(lab.node.Run("ip", "-6", "route", "show", "default"), "fe80::1") })

	first := lease["obtained_at"]
	lab.until6("renewal", func() bool {
		l, _ := lab.row()["dhcp6"].(object)
		return l["state"] == "bound" && l["obtained_at"] != first
	})
	lab.inSync()
	server.stop()
	lab.until6("renewing", func() bool { // a busy machine may see the next state alone
		s := lab.state6()
		return s == "rebinding" || s == "renewing" && lab.prefixes()[0]["state"] == "renewing"
	})
	lab.until6("rebinding", func() bool { s := lab.state6(); return s == "rebinding" || s == "soliciting" })
	if addresses := lab.global("eth0"); lab.state6() == "rebinding" {
		want(t, "while rebinding", addresses, []string{"2001:db8:5::1000/128"})
	}
	lab.until6("end", func() bool { return lab.state6() == "soliciting" })
	lab.until6("nothing of it", func() bool { return len(lab.global("eth0"))+len(lab.global("lan0"))+len(lab.refusals()) == 0 })
	want(t, "prefixes", len(lab.prefixes()), 0)
	if text := lab.resolvConf(lab.dir + "/state/resolv.conf"); strings.Contains(text, "2001:db8:5::53") {
		t.Errorf("resolv.conf:\n%s", text)
	}
	lab.inSync()
	router.stop()
}

// TestOwnLease6IsReboundByAnotherServer that knows of the lease.
func TestOwnLease6IsReboundByAnotherServer(t *testing.T) {
	t.Parallel()
	lab := newSixLab(t)
	gives := leases6{addresses: "2001:db8:5::1000 2001:db8:5::1000", prefixes: one56, preferred: 6, valid: 60, settings: "option dhcp6.server-id 00:03:00:01:02:00:00:00:00:01;"}
	server := lab.dhcpd6(gives)
	lab.start()
	first := lab.bound6()["dhcp6"].(object)["server_duid"]
	server.stop()
	lab.keepLeases = true
	gives.settings = "option dhcp6.server-id 00:03:00:01:02:00:00:00:00:02;"
	lab.dhcpd6(gives)
	lab.until6("another server's answer", func() bool {
		l, _ := lab.row()["dhcp6"].(object)
		return l["state"] == "bound" && l["server_duid"] != first
	})
	want(t, "addresses", lab.global("eth0"), []string{"2001:db8:5::1000/128"})
	want(t, "networks", lab.global("lan0"), []string{"2001:db8:100::1/64"})
	lab.inSync()
}

// TestPrefixIsReplaced: the old one is deprecated, and goes.
func TestPrefixIsReplaced(t *testing.T) {
	t.Parallel()
	lab := newSixLab(t)
	server := lab.dhcpd6(leases6{prefixes: one56, preferred: 5, valid: 10})
	lab.options.Interfaces[0].IPv6 = "slaac" // a prefix alone
	lab.start()
	lab.bound6()
	want(t, "networks", lab.global("lan0"), []string{"2001:db8:100::1/64"})
	server.stop()
	lab.dhcpd6(leases6{prefixes: two56, preferred: 300, valid: 600})
	lab.until6("another prefix", func() bool { return slices.Contains(lab.global("lan0"), "2001:db8:200::1/64") })
	flags := lab.node.Run("ip", "-6", "addr", "show", "dev", "lan0", "deprecated")
	if networks := lab.global("lan0"); len(networks) > 1 && !strings.Contains(flags, "2001:db8:100::1/64") {
		t.Errorf("the old one is not deprecated:\n%s", lab.node.Run("ip", "-6", "addr", "show", "dev", "lan0"))
	}
	lab.until6("end of the old one", func() bool {
		return len(lab.prefixes()) == 1 && len(lab.global("lan0")) == 1 && len(lab.refusals()) == 1
	})
	want(t, "networks", lab.global("lan0"), []string{"2001:db8:200::1/64"})
	want(t, "routes", lab.refusals(), []string{"unreachable 2001:db8:200::/56"})
	lab.inSync()
}

// TestRestartOfOwnLease6: a full exchange, of both protocols. The new stands before the old goes; without an answer
// the old stays.
func TestRestartOfOwnLease6(t *testing.T) {
	lab := newSixLab(t)
	lab.options.Interfaces[0].DHCP4 = true
	lab.dhcpd(300, 120, 200, "198.51.100.50", "")
	server := lab.dhcpd6(leases6{addresses: "2001:db8:5::1000 2001:db8:5::1000", prefixes: one56, preferred: 200, valid: 300})
	lab.start()
	lab.bound(20 * time.Second)
	lab.bound6()
	result := mustCall(t, lab.net, "net.lease.restart", object{"interface": "eth0"})
	wantMembers(t, "the same", result, object{"ipv4_restarted": true, "ipv6_restarted": true, "address_changed": false,
		"addresses": []any{"198.51.100.50/24", "2001:db8:5::1000/128"}, "nameservers": []any{lab.dns, "2001:db8:5::53"}})
	if n := strings.Count(server.log.String(), "Solicit message"); n < 2 {
		t.Errorf("the server saw %d of SOLICIT:\n%s", n, server.log.String())
	}

	server.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	_, err := lab.net.LeaseRestart(ctx, &registry.NetLeaseRestartParams{Interface: "eth0"})
	cancel()
	var late *registry.DeadlineExceededError
	if !errors.As(err, &late) || !strings.Contains(err.Error(), "DHCPv6") {
		t.Errorf("restart without a server: %v", err)
	}
	want(t, "addresses", lab.global("eth0"), []string{"2001:db8:5::1000/128"})
	want(t, "networks", lab.global("lan0"), []string{"2001:db8:100::1/64"})
	want(t, "state", lab.state6(), "bound")
	lab.inSync()

	lab.dhcpd6(leases6{addresses: "2001:db8:5::2000 2001:db8:5::2000", prefixes: two56, preferred: 200, valid: 300})
	monitor := lab.run(lab.node, "ip", "-6", "-o", "monitor", "address")
	time.Sleep(300 * time.Millisecond)
	result = mustCall(t, lab.net, "net.lease.restart", object{"interface": "eth0"})
	wantMembers(t, "another", result, object{"address_changed": true, "previous_addresses": []any{"198.51.100.50/24", "2001:db8:5::1000/128"},
		"addresses": []any{"198.51.100.50/24", "2001:db8:5::2000/128"}})
	want(t, "addresses", lab.global("eth0"), []string{"2001:db8:5::2000/128"})
	lab.until6("events", func() bool { return strings.Contains(monitor.log.String(), "Deleted") })
	monitor.stop()
	if text := monitor.log.String(); strings.Index(text, "2001:db8:5::2000") > strings.Index(text, "Deleted") || !strings.Contains(text, "2001:db8:5::2000") {
		t.Errorf("events:\n%s", text)
	}
	networks := lab.global("lan0")
	slices.Sort(networks)
	want(t, "networks", networks, []string{"2001:db8:100::1/64", "2001:db8:200::1/64"})
	if text := lab.node.Run("ip", "-6", "addr", "show", "dev", "lan0", "deprecated"); !strings.Contains(text, "2001:db8:100::1") || strings.Contains(text, "2001:db8:200::1") {
		t.Errorf("deprecated:\n%s", text)
	}
	lab.inSync()
}

// TestOwnLease6IsAskedForAgain after a crash of the daemon and after a boot, with a server and with none, under the
// same name.
func TestOwnLease6IsAskedForAgain(t *testing.T) {
	lab := newSixLab(t)
	server := lab.dhcpd6(leases6{addresses: "2001:db8:5::1000 2001:db8:5::1fff", prefixes: "2001:db8:100:: 2001:db8:1ff:: /56", preferred: 200, valid: 300})
	lab.start()
	lab.bound6()
	addresses, networks, routes := lab.global("eth0"), lab.global("lan0"), lab.refusals()
	duid := lab.row()["dhcp6"].(object)["client_duid"]
	check := func(what string) {
		t.Helper()
		want(t, what+": addresses", lab.global("eth0"), addresses)
		want(t, what+": networks", lab.global("lan0"), networks)
		want(t, what+": routes", lab.refusals(), routes)
	}
	lab.crash()
	check("without the daemon")
	lab.start()
	lab.bound6()
	check("after a crash")
	want(t, "client", lab.row()["dhcp6"].(object)["client_duid"], duid)
	lab.inSync()

	server.stop()
	lab.crash()
	lab.start()
	lab.until6("question", func() bool { s := lab.state6(); return s == "confirming" || s == "bound" })
	check("while nobody answers")
	lab.bound6() // again
	check("where nobody answers")
	lab.stop()

	lab.node.IP("addr flush dev lan0", "link set eth0 down", "link set lan0 down") // as after a boot
	lab.node.Run("ip", "-6", "route", "flush", "proto", "109")
	lab.node.IP("link set lan0 up")
	lab.boot = "boot-2"
	lab.keepLeases = true
	server = lab.dhcpd6(leases6{addresses: "2001:db8:5::1000 2001:db8:5::1fff", prefixes: "2001:db8:100:: 2001:db8:1ff:: /56", preferred: 200, valid: 300})
	lab.start()
	lab.bound6()
	check("after a boot")
	lab.inSync()
	if n := strings.Count(server.log.String(), "Solicit message"); n != 0 {
		t.Errorf("the server saw %d of SOLICIT:\n%s", n, server.log.String())
	}
	lab.stop()

	lab.options.Interfaces = []Interface{{Name: "eth0", IPv6: "slaac"}} // no longer asked for
	lab.start()
	lab.until6("end", func() bool { return len(lab.global("eth0"))+len(lab.global("lan0"))+len(lab.refusals()) == 0 })
	lab.until6("release", func() bool { return strings.Contains(server.log.String(), "Release message") })
	lab.inSync()
}

// TestAddress6ThatAnotherHostHasIsDeclined: the kernel finds out, and the prefix stays.
func TestAddress6ThatAnotherHostHasIsDeclined(t *testing.T) {
	lab := newSixLab(t)
	lab.node.Run("sysctl", "-qw", "net.ipv6.conf.eth0.accept_dad=1")
	// The server answers for another host: it would not lease an address of its own.
	lab.server.Run("sysctl", "-qw", "net.ipv6.conf.s0.proxy_ndp=1", "net.ipv6.neigh.s0.proxy_delay=0")
	lab.server.IP("neigh add proxy 2001:db8:5::1000 dev s0")
	server := lab.dhcpd6(leases6{addresses: "2001:db8:5::1000 2001:db8:5::1000", prefixes: one56, preferred: 200, valid: 300})
	lab.start()
	lab.until6("prefix alone", func() bool {
		return strings.Contains(server.log.String(), "Decline message") && lab.state6() == "bound" && len(lab.global("eth0")) == 0
	})
	want(t, "networks", lab.global("lan0"), []string{"2001:db8:100::1/64"})
	lab.inSync()
	server.stop()
	lab.dhcpd6(leases6{addresses: "2001:db8:5::2000 2001:db8:5::2000", prefixes: one56, preferred: 200, valid: 300})
	wantMembers(t, "another", mustCall(t, lab.net, "net.lease.restart", object{"interface": "eth0"}), object{"addresses": []any{"2001:db8:5::2000/128"}})
	want(t, "addresses", lab.global("eth0"), []string{"2001:db8:5::2000/128"})
	want(t, "networks", lab.global("lan0"), []string{"2001:db8:100::1/64"})
	lab.inSync()
}

// TestAddress6AloneIsConfirmed after a crash and when the link comes up; on another network it is given up for another.
func TestAddress6AloneIsConfirmed(t *testing.T) {
	lab := newSixLab(t)
	lab.options.Interfaces = []Interface{{Name: "eth0", IPv6: "dhcp"}}
	server := lab.advertise("--dhcp-range=2001:db8:5::1000,2001:db8:5::1fff,64,10m", "--ra-param=s0,4,600")
	lab.start()
	lab.bound6()
	addresses := lab.global("eth0")
	if len(addresses) != 1 || !strings.HasPrefix(addresses[0], "2001:db8:5::1") {
		t.Fatalf("leased: %q", addresses)
	}
	lab.crash()
	lab.start()
	lab.bound6()
	want(t, "after a crash", lab.global("eth0"), addresses)
	confirms := func(p *process) int { return strings.Count(p.log.String(), "DHCPCONFIRM") }
	before := confirms(server)
	if before == 0 {
		t.Errorf("the server saw no CONFIRM:\n%s", server.log.String())
	}
	again := func(of *process, seen int) {
		t.Helper()
		lab.until6("question", func() bool { // a busy node may not see that the link was away
			lab.node.IP("link set eth0 down")
			time.Sleep(500 * time.Millisecond)
			lab.node.IP("link set eth0 up")
			for end := time.Now().Add(4 * time.Second); time.Now().Before(end) && confirms(of) == seen; {
				time.Sleep(30 * time.Millisecond)
			}
			return confirms(of) > seen
		})
	}
	again(server, before)
	lab.bound6()
	want(t, "on the same network", lab.global("eth0"), addresses)
	lab.inSync()

	server.stop()
	lab.server.IP("addr flush dev s0 scope global", "addr add 2001:db8:6::1/64 dev s0 nodad")
	server = lab.advertise("--dhcp-range=2001:db8:6::1000,2001:db8:6::1fff,64,10m", "--ra-param=s0,4,600")
	lab.until6("the other server", func() bool { return strings.Contains(server.log.String(), "sockets bound") })
	again(server, 0)
	lab.until6("an address of the other network", func() bool {
		l := lab.global("eth0")
		return lab.state6() == "bound" && len(l) == 1 && strings.HasPrefix(l[0], "2001:db8:6::1")
	})
	lab.inSync()
}

// TestNamesThatRoutersAdvertise: RDNSS and DNSSL, and what a stateless server tells, as long as it holds.
func TestNamesThatRoutersAdvertise(t *testing.T) {
	lab := newSixLab(t)
	lab.node.IP("link set eth0 up")
	lab.options.Interfaces = []Interface{{Name: "eth0", IPv6: "slaac"}}
	router := lab.advertise("--dhcp-range=::,constructor:s0,ra-only,64,10m", "--ra-param=s0,4,600", "--dhcp-option=option6:dns-server,[2001:db8:5::54],[fe80::1]", "--dhcp-option=option6:domain-search,"+lab.domain)
	lab.start()
	resolv := func() string { return lab.resolvConf(lab.dir + "/state/resolv.conf") }
	text := resolvMark + "search " + lab.domain + "\nnameserver 2001:db8:5::54\nnameserver fe80::1%eth0\n"
	lab.until6("names", func() bool { return resolv() == text })
	lab.until6("the same in /etc", func() bool { return lab.resolvConf(lab.root+"/etc/resolv.conf") == text })
	if lab.row()["dhcp6"] != nil {
		t.Errorf("a lease: %v", lab.row())
	}
	lab.stop()
	if err := os.Remove(lab.dir + "/state/resolv.conf"); err != nil {
		t.Fatal(err)
	}
	lab.start() // the kernel keeps none of it: the router is asked
	lab.until6("names again", func() bool { return resolv() == text })
	router.stop()
	over := noticeOf(lab, 0, "2001:db8:5::54", "fe80::1")
	over.Search = []string{lab.domain}
	lab.until6("names taken back", func() bool { lab.net.leasing.heard(over); return resolv() == resolvMark })
	lab.net.leasing.heard(noticeOf(lab, 2, "2001:db8:5::55"))
	lab.until6("a short life", func() bool { return strings.Contains(resolv(), "2001:db8:5::55") })
	lab.until6("its end", func() bool { return resolv() == resolvMark })
}

// TestInformationAlone: routers say that a server has some.
func TestInformationAlone(t *testing.T) {
	lab := newSixLab(t)
	lab.node.IP("link set eth0 up")
	lab.options.Interfaces = []Interface{{Name: "eth0", IPv6: "slaac"}}
	lab.advertise("--dhcp-range=::,constructor:s0,ra-stateless,64,10m", "--ra-param=s0,4,600", "--dhcp-option=option6:dns-server,[2001:db8:5::56]", "--dhcp-option=option6:ntp-server,[2001:db8:5::123]")
	lab.start()
	lease := lab.bound6()["dhcp6"].(object)
	wantMembers(t, "lease", lease, object{"addresses": []any{}, "dns": []any{"2001:db8:5::56"}, "ntp": []any{"2001:db8:5::123"}})
	lab.inSync()
}

// TestInterfaceForAPrefixComesLater, and goes down and up.
func TestInterfaceForAPrefixComesLater(t *testing.T) {
	lab := newSixLab(t)
	lab.options.Interfaces[0].AssignTo = []string{"later0", "lan0"}
	lab.dhcpd6(leases6{addresses: "2001:db8:5::1000 2001:db8:5::1000", prefixes: "2001:db8:100:0:: 2001:db8:100:0:: /63", preferred: 200, valid: 300})
	lab.start()
	lab.bound6()
	want(t, "networks", lab.global("lan0"), []string{"2001:db8:100:1::1/64"})
	if v := mustCall(t, lab.net, "net.verify", object{}); v["in_sync"] == true {
		t.Error("nothing is told of what is lacking")
	}
	lab.node.IP("link add later0 type bridge", "link set later0 up")
	lab.until6("network of what came", func() bool { return slices.Equal(lab.global("later0"), []string{"2001:db8:100::1/64"}) })
	lab.inSync()
	lab.node.IP("link set lan0 down")
	lab.until6("end of its address", func() bool { return len(lab.global("lan0")) == 0 })
	time.Sleep(300 * time.Millisecond)
	lab.node.IP("link set lan0 up")
	lab.until6("address again", func() bool { return slices.Equal(lab.global("lan0"), []string{"2001:db8:100:1::1/64"}) })
	lab.inSync()
	lab.node.IP("addr del 2001:db8:100:1::1/64 dev lan0") // by somebody
	lab.net.leasing.look(context.Background())
	want(t, "what somebody removed", len(lab.global("lan0")), 0)
}

// TestInterfaceWithALeaseIsNoPort without force: of our own clients, also before they have any, and of others.
func TestInterfaceWithALeaseIsNoPort(t *testing.T) {
	lab := newSixLab(t)
	lab.start()
	lab.until6("client", func() bool { return lab.state6() == "soliciting" })
	mustCall(t, lab.net, "net.bridge.add", object{"name": "br0"})
	_, err := call(t, lab.net, "net.bridge.add_port", object{"bridge": "br0", "interface": "eth0"})
	var refused *registry.RefusedError
	if !errors.As(err, &refused) || refused.Rule != "interface_has_lease" || !strings.Contains(err.Error(), "my_os_server") {
		t.Errorf("a port: %v", err)
	}
	mustCall(t, lab.net, "net.bridge.add_port", object{"bridge": "br0", "interface": "lan0"})

	other := newClientLab(t)
	script := other.dir + "/script"
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	other.node.IP("link set eth0 up")
	other.root, other.options = "", Options{}
	other.run(other.node, "dhclient", "-4", "-d", "-cf", "/dev/null", "-sf", script, "-pf", other.dir+"/dhclient.pid", "-lf", other.dir+"/dhclient.leases", "eth0")
	other.start()
	mustCall(t, other.net, "net.bridge.add", object{"name": "br0"})
	other.until("refusal", 20*time.Second, func() bool {
		_, err := call(t, other.net, "net.bridge.add_port", object{"bridge": "br0", "interface": "eth0"})
		if err == nil { // dhclient was not there yet
			mustCall(t, other.net, "net.bridge.remove_port", object{"bridge": "br0", "interface": "eth0"})
		}
		return errors.As(err, &refused) && strings.Contains(err.Error(), "dhclient")
	})
	mustCall(t, other.net, "net.bridge.add_port", object{"bridge": "br0", "interface": "eth0", "force": true})
}
