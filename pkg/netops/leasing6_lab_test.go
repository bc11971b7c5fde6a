package netops

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/dhcp6"
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/internal/testhost"
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
	lab.server.IP("link set s0 addrgenmode none") // fe80::1 is to be the only one
	lab.server.Run("ip", "-6", "addr", "flush", "dev", "s0", "scope", "link")
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

// noticeOf is an advertisement of name servers on eth0.
func noticeOf(lab *sixLab, lifetime uint32, servers ...string) rtnl.Notice {
	lab.t.Helper()
	n := rtnl.Notice{Index: int(lab.row()["index"].(float64)), Lifetime: lifetime}
	for _, s := range servers {
		n.Servers = append(n.Servers, netip.MustParseAddr(s))
	}
	return n
}
