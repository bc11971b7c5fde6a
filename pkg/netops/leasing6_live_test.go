package netops

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/dhcp6"
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// sixLab is a clientLab whose server has IPv6, and whose node has a second interface, lan0, with a client behind.
type sixLab struct {
	*clientLab
	client *testhost.NetNS
}

// quick6 are waits that a test can wait for.
func quick6() dhcp6.Timing {
	const ms = time.Millisecond
	retry := dhcp6.Retry{First: 300 * ms, Most: time.Second}
	few := dhcp6.Retry{First: 300 * ms, Most: time.Second, Tries: 4}
	return dhcp6.Timing{
		Delay: 50 * ms, Solicit: retry, Request: few, Renew: retry, Rebind: retry, Information: retry, Decline: few, Release: few,
		Confirm: dhcp6.Retry{First: 300 * ms, Most: time.Second, Whole: 1500 * ms},
		Failed:  300 * ms, FailedMost: time.Second, Declined: 500 * ms, LeastUpdate: time.Second,
	}
}

func newSixLab(t *testing.T) *sixLab {
	lab := &sixLab{newClientLab(t), testhost.NewNetNS(t)}
	lab.server.Run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
	lab.server.IP("addr add 2001:db8:5::1/64 dev s0 nodad", "addr add fe80::1/64 dev s0 nodad")
	for _, name := range []string{"default", "eth0"} {
		lab.node.Run("sysctl", "-qw", "net.ipv6.conf."+name+".accept_dad=0")
	}
	lab.client.Run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
	lab.node.IP("link set lo up", fmt.Sprintf("link add lan0 type veth peer name c0 netns %s", lab.client.Path()), "link set lan0 up")
	lab.client.IP("link set c0 up")
	lab.options.Interfaces = []Interface{{Name: "eth0", IPv6: "dhcp", PrefixDelegation: true, AssignTo: []string{"lan0"}}}
	return lab
}

// leases6 says what a server of DHCPv6 gives: addresses "FIRST LAST", prefixes "FIRST LAST /BITS", and for how
// long, in seconds. T1 is half and T2 four fifths of what is preferred.
type leases6 struct {
	addresses, prefixes string
	preferred, valid    int
	settings            string
}

// dhcpd6 starts isc dhcpd.
func (lab *sixLab) dhcpd6(l leases6) *process {
	lab.t.Helper()
	var pools string
	if l.addresses != "" {
		pools += "range6 " + l.addresses + "; "
	}
	if l.prefixes != "" {
		pools += "prefix6 " + l.prefixes + "; "
	}
	config := fmt.Sprintf(`authoritative; ddns-update-style none; default-lease-time %d; preferred-lifetime %d; min-lease-time 1; max-lease-time %[1]d;
option dhcp-renewal-time %[3]d; option dhcp-rebinding-time %[4]d; option dhcp6.name-servers 2001:db8:5::53; option dhcp6.domain-search "%[5]s"; %[6]s
subnet6 2001:db8:5::/64 { %[7]s }
`, l.valid, l.preferred, l.preferred/2, l.preferred*4/5, lab.domain, l.settings, pools)
	for name, text := range map[string]string{"dhcpd6.conf": config, "dhcpd6.leases": ""} {
		if name == "dhcpd6.leases" && lab.keepLeases {
			continue
		}
		if err := os.WriteFile(filepath.Join(lab.dir, name), []byte(text), 0o666); err != nil {
			lab.t.Fatal(err)
		}
	}
	return lab.run(lab.server, "dhcpd", "-6", "-d", "-f", "--no-pid", "-user", "root", "-group", "root", "-cf", lab.dir+"/dhcpd6.conf", "-lf", lab.dir+"/dhcpd6.leases", "s0")
}

// advertise starts dnsmasq as a router that advertises itself and a name server.
func (lab *sixLab) advertise(args ...string) *process {
	lab.t.Helper()
	return lab.run(lab.server, "dnsmasq", append([]string{"--no-daemon", "--conf-file=/dev/null", "--user=root", "--port=0", "--interface=s0", "--bind-interfaces", "--no-ping",
		"--enable-ra", "--dhcp-leasefile=" + lab.dir + "/dnsmasq.leases", "--dhcp-authoritative", "--log-dhcp"}, args...)...)
}

// row is what net.lease says of eth0.
func (lab *sixLab) row() object {
	lab.t.Helper()
	return objects(mustCall(lab.t, lab.net, "net.lease", object{"interface": "eth0"})["interfaces"])[0]
}

func (lab *sixLab) state6() any {
	lease, _ := lab.row()["dhcp6"].(object)
	return lease["state"]
}

// until6 waits for something to become true.
func (lab *sixLab) until6(what string, true_ func() bool) {
	lab.t.Helper()
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(30 * time.Millisecond) {
		if true_() {
			return
		}
	}
	lab.t.Fatalf("no %s\n%v\n%s%s", what, lab.row(), lab.node.Run("ip", "-6", "addr"), lab.node.Run("ip", "-6", "route"))
}

func (lab *sixLab) bound6() object {
	lab.t.Helper()
	lab.until6("lease", func() bool { return lab.state6() == "bound" })
	return lab.row()
}

// global are the global addresses of IPv6 of an interface that no router advertised, by the kernel's own tool.
func (lab *sixLab) global(name string) []string {
	lab.t.Helper()
	list := []string{}
	for _, l := range decode[[]object](lab.t, lab.node.Witness("-6", "addr", "show", "dev", name, "scope", "global")) {
		for _, a := range objects(l["addr_info"]) {
			if a["local"] != nil && a["mngtmpaddr"] == nil && a["temporary"] == nil {
				list = append(list, fmt.Sprint(a["local"], "/", a["prefixlen"]))
			}
		}
	}
	return list
}

// refusals are the unreachable routes of this daemon.
func (lab *sixLab) refusals() []string {
	lab.t.Helper()
	list := []string{}
	for _, r := range decode[[]object](lab.t, lab.node.Witness("-6", "route", "show", "proto", "109")) {
		list = append(list, fmt.Sprint(r["type"], " ", r["dst"]))
	}
	return list
}

// prefixes are what net.prefix says.
func (lab *sixLab) prefixes() []object {
	lab.t.Helper()
	return objects(mustCall(lab.t, lab.net, "net.prefix", object{})["prefixes"])
}

func (lab *sixLab) reaches(ns *testhost.NetNS, address string) {
	lab.t.Helper()
	lab.until6("way to "+address, func() bool {
		_, err := ns.Try("", "ping", "-6", "-c1", "-W1", "-n", address)
		return err == nil
	})
}

const (
	one56 = "2001:db8:100:: 2001:db8:100:: /56"
	two56 = "2001:db8:200:: 2001:db8:200:: /56"
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
	lab.until6("renewing", func() bool { return lab.state6() == "renewing" && lab.prefixes()[0]["state"] == "renewing" })
	lab.until6("rebinding", func() bool { return lab.state6() == "rebinding" })
	want(t, "while rebinding", lab.global("eth0"), []string{"2001:db8:5::1000/128"})
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

// snapshot is the state folder as a crash leaves it now.
func (lab *sixLab) snapshot() string {
	lab.t.Helper()
	to := filepath.Join(lab.t.TempDir(), "state")
	if err := os.CopyFS(to, os.DirFS(lab.dir+"/state")); err != nil {
		lab.t.Fatal(err)
	}
	return to
}

// crash ends the node's daemon part without a word, and puts the state folder back to what it was.
func (lab *sixLab) crash() {
	lab.t.Helper()
	kept := lab.snapshot()
	lab.stop()
	if err := errors.Join(os.RemoveAll(lab.dir+"/state"), os.CopyFS(lab.dir+"/state", os.DirFS(kept))); err != nil {
		lab.t.Fatal(err)
	}
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
	lab.until6("question", func() bool { return lab.state6() == "confirming" })
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
	want(t, "/etc/resolv.conf", lab.resolvConf(lab.root+"/etc/resolv.conf"), text)
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
	lab.net.leasing.heard(over)
	want(t, "taken back", resolv(), resolvMark)
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

// noticeOf is an advertisement of name servers on eth0.
func noticeOf(lab *sixLab, lifetime uint32, servers ...string) rtnl.Notice {
	lab.t.Helper()
	n := rtnl.Notice{Index: int(lab.row()["index"].(float64)), Lifetime: lifetime}
	for _, s := range servers {
		n.Servers = append(n.Servers, netip.MustParseAddr(s))
	}
	return n
}
