package netops

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// leaseLab is two hosts on one wire: a server of DHCPv4, DHCPv6, prefixes and router advertisements, with
// settings made at random, and a client with /run, /var/lib and resolv.conf of its own.
type leaseLab struct {
	t              *testing.T
	server, client *testhost.NetNS
	dir            string
	anchor         int // a process in the client's mount namespace
	net            *Net

	router, dns, domain string
	mtu                 int
	leaseS              int
}

// privateFolders gives the client an /etc, /run and /var/lib of its own, which DHCP clients write to, and a
// sysfs of its network namespace that nobody may write to: systemd-networkd then waits for no udev.
const privateFolders = `set -e
mount -t tmpfs run /run
cp -a /etc /run/etc
mkdir -p /run/etc/systemd/network /run/lib/dhcp /run/lib/dhcpcd /run/systemd/netif/links /run/systemd/netif/leases
rm -f /run/etc/resolv.conf; : >/run/resolv.conf; : >/run/etc/resolv.conf
mount --bind /run/etc /etc
mount --bind /run/resolv.conf /etc/resolv.conf
mount --bind /run/lib /var/lib
mount -t sysfs -o ro sysfs /sys
echo ready
exec sleep 600`

// dhclientFiles are dhclient's configuration and what it calls to set addresses: the host's own may do
// anything.
var dhclientFiles = map[string]string{
	"run/dhclient.conf": `option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;
request subnet-mask, broadcast-address, routers, domain-name, domain-name-servers, domain-search, interface-mtu,
rfc3442-classless-static-routes, dhcp6.name-servers, dhcp6.domain-search;
`,
	"run/dhclient-script": `#!/bin/sh
case $reason in
BOUND|RENEW|REBIND|REBOOT)
	ip addr replace $new_ip_address/24 dev $interface valid_lft $new_dhcp_lease_time preferred_lft $new_dhcp_lease_time ;;
BOUND6|RENEW6|REBIND6)
	[ -z "$new_ip6_address" ] || ip addr replace $new_ip6_address/128 dev $interface valid_lft $new_max_life preferred_lft $new_preferred_life ;;
esac
exit 0
`,
}

func newLeaseLab(t *testing.T) *leaseLab {
	testhost.Root(t)
	for tool, pkg := range map[string]string{"dnsmasq": "dnsmasq-base", "dhclient": "isc-dhcp-client", "dhcpd": "isc-dhcp-server", "dhcpcd": "dhcpcd-base",
		"nsenter": "util-linux", "sysctl": "procps"} {
		testhost.Tool(t, tool, pkg)
	}
	seed := testhost.Seed(t)
	rng := rand.New(rand.NewPCG(seed, 0))
	h := &leaseLab{t: t, server: testhost.NewNetNS(t), client: testhost.NewNetNS(t), dir: t.TempDir(),
		router: fmt.Sprintf("198.51.100.%d", 1+rng.IntN(40)), dns: fmt.Sprintf("192.0.2.%d", 1+rng.IntN(250)),
		domain: fmt.Sprintf("d%d.test", rng.IntN(1000)), mtu: 1300 + rng.IntN(200), leaseS: 120 + rng.IntN(3600)}
	if err := os.Chmod(h.dir, 0o777); err != nil {
		t.Fatal(err)
	}
	h.serve()
	h.enter()
	return h
}

// serve makes the wire and starts the servers.
func (h *leaseLab) serve() {
	h.t.Helper()
	h.server.IP(fmt.Sprintf("link add s0 type veth peer name eth0 netns %s", h.client.Path()),
		"addr add 198.51.100.1/24 dev s0", "addr add "+h.router+"/24 dev s0", "addr add 2001:db8:5::1/64 dev s0 nodad", "link set s0 up")
	h.server.Run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
	h.client.Run("sysctl", "-qw", "net.ipv6.conf.eth0.router_solicitation_delay=0", "net.ipv6.conf.eth0.accept_dad=0", "net.ipv6.conf.eth0.accept_ra=2",
		"net.ipv6.conf.eth0.use_tempaddr=2")
	h.run(h.server, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--port=0", "--interface=s0", "--bind-interfaces", "--no-ping",
		"--dhcp-authoritative", "--dhcp-leasefile="+h.dir+"/leases", fmt.Sprintf("--dhcp-range=198.51.100.50,198.51.100.90,255.255.255.0,%d", h.leaseS),
		"--dhcp-option=option:router,"+h.router, "--dhcp-option=option:dns-server,"+h.dns, "--dhcp-option=option:domain-name,"+h.domain,
		"--dhcp-option=option:domain-search,"+h.domain+",b.test", fmt.Sprintf("--dhcp-option=option:mtu,%d", h.mtu),
		"--dhcp-option=121,10.9.0.0/16,"+h.router+",0.0.0.0/0,"+h.router,
		"--enable-ra", "--dhcp-range=::,constructor:s0,ra-only,64,10m", "--ra-param=s0,low,4,600")
	config := `default-lease-time 300; preferred-lifetime 200; option dhcp-renewal-time 100; option dhcp-rebinding-time 160; authoritative;
subnet6 2001:db8:5::/64 { range6 2001:db8:5::1000 2001:db8:5::1fff; prefix6 2001:db8:100:: 2001:db8:1ff:: /56;
option dhcp6.name-servers 2001:db8:5::53; option dhcp6.domain-search "six.test"; }`
	for name, text := range map[string]string{"dhcpd6.conf": config, "leases6": ""} {
		if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o666); err != nil {
			h.t.Fatal(err)
		}
	}
	h.run(h.server, "dhcpd", "-6", "-f", "-q", "--no-pid", "-user", "root", "-group", "root", "-cf", h.dir+"/dhcpd6.conf", "-lf", h.dir+"/leases6", "s0")
	h.client.IP("link set eth0 up")
}

// enter makes the client's folders, and the Net that answers for it.
func (h *leaseLab) enter() {
	h.t.Helper()
	cmd := exec.Command("unshare", "-m", "sh", "-c", privateFolders)
	out, err := cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	h.start(h.client, cmd)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		h.t.Fatalf("folders of the client: %q %v", line, err)
	}
	h.anchor = cmd.Process.Pid
	root := fmt.Sprintf("/proc/%d/root", h.anchor)
	put(h.t, root, dhclientFiles)
	if err := os.Chmod(root+"/run/dhclient-script", 0o755); err != nil {
		h.t.Fatal(err)
	}
	h.net = netOf(h.t, h.client, root)
}

// start starts a process in a namespace, which ends with the test.
func (h *leaseLab) start(ns *testhost.NetNS, cmd *exec.Cmd) (stop func()) {
	h.t.Helper()
	var err error
	ns.Do(func() { err = cmd.Start() })
	if err != nil {
		h.t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
		killed := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		killed.Stop()
	}
	h.t.Cleanup(stop)
	return stop
}

// run starts a program in a namespace; what it says is shown where the test fails.
func (h *leaseLab) run(ns *testhost.NetNS, name string, args ...string) (pid int, stop func()) {
	h.t.Helper()
	cmd := exec.Command(name, args...)
	log := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.WaitDelay = time.Second
	h.t.Cleanup(func() {
		if h.t.Failed() {
			h.t.Logf("%s said:\n%s", name, log.String())
		}
	})
	stop = h.start(ns, cmd)
	return cmd.Process.Pid, stop
}

// inClient runs a program among the client's files.
func (h *leaseLab) inClient(args ...string) (pid int, stop func()) {
	h.t.Helper()
	return h.run(h.client, "nsenter", append([]string{"-m", "-t", strconv.Itoa(h.anchor)}, args...)...)
}

// eth0 waits for net.lease to say something of the uplink.
func (h *leaseLab) eth0(t *testing.T, what string, ready func(object) bool) object {
	t.Helper()
	var row object
	for end := time.Now().Add(25 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		result := mustCall(t, h.net, "net.lease", object{"interface": "eth0"})
		row = objects(result["interfaces"])[0]
		if ready(row) {
			noFaults(t, result)
			return row
		}
	}
	t.Fatalf("no %s: %v\n%s", what, row, h.client.Run("ip", "addr"))
	return nil
}

// isBound is ready once the lease of a protocol is bound.
func isBound(protocol string) func(object) bool {
	return func(row object) bool {
		lease, _ := row[protocol].(object)
		return lease["state"] == "bound"
	}
}

func TestLeasesLive(t *testing.T) {
	h := newLeaseLab(t)
	t.Run("slaac", h.slaac)
	t.Run("dhclient", h.dhclient)
	t.Run("dhclient6", h.dhclient6)
	t.Run("dhcpcd", h.dhcpcd)
	t.Run("networkd", h.networkd)
}

// slaac compares the addresses of router advertisements with ip's: the kernel made them, and they end.
func (h *leaseLab) slaac(t *testing.T) {
	row := h.eth0(t, "SLAAC addresses", func(o object) bool { return len(objects(o["slaac"])) == 2 })
	var want []object
	for _, a := range objects(decode[[]object](t, h.client.Witness("-6", "addr", "show", "dev", "eth0", "scope", "global"))[0]["addr_info"]) {
		if a["dynamic"] != true {
			continue
		}
		address := fmt.Sprintf("%v/%v", a["local"], a["prefixlen"])
		want = append(want, object{"address": address, "prefix": "2001:db8:5::/64", "temporary": a["temporary"] == true, "deprecated": a["deprecated"] == true,
			"preferred_s": a["preferred_life_time"], "valid_s": a["valid_life_time"]})
	}
	got := objects(row["slaac"])
	if len(want) != 2 || len(got) != 2 {
		t.Fatalf("%d addresses, ip has %d", len(got), len(want))
	}
	for i := range want {
		for _, name := range []string{"preferred_s", "valid_s"} {
			if d := got[i][name].(float64) - want[i][name].(float64); d < -2 || d > 2 {
				t.Errorf("%s: %v, ip says %v", name, got[i][name], want[i][name])
			}
			delete(want[i], name)
		}
		wantMembers(t, "address", got[i], want[i])
	}
	wantMembers(t, "row", row, object{"manager": "none"})
}

// want4 is what the server gave, by its own settings and list.
func (h *leaseLab) want4(t *testing.T) (want object, expires time.Time) {
	t.Helper()
	b, err := os.ReadFile(h.dir + "/leases")
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b)) // expiry, MAC, address, host name, client id
	if len(f) < 5 {
		t.Fatalf("the server's leases: %q", b)
	}
	seconds, err := strconv.ParseInt(f[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return object{"state": "bound", "address": f[2] + "/24", "server": "198.51.100.1", "dns": []any{h.dns}, "domain": h.domain, "mtu": float64(h.mtu),
		"search": []any{h.domain, "b.test"}, "lease_s": float64(h.leaseS), "broadcast": "198.51.100.255",
		"routes": []any{object{"dst": "10.9.0.0/16", "gateway": h.router}, object{"dst": "0.0.0.0/0", "gateway": h.router}}}, time.Unix(seconds, 0)
}

// check4 compares a lease with the server's.
func (h *leaseLab) check4(t *testing.T, row object, manager string, pid int, file string, without ...string) {
	t.Helper()
	wantMembers(t, "row", row, object{"manager": manager, "manager_pid": float64(pid)})
	lease := row["dhcp4"].(object)
	want, expires := h.want4(t)
	for _, name := range without {
		delete(want, name)
	}
	wantMembers(t, "dhcp4", lease, want)
	near(t, lease, "expires_at", time.Until(expires).Seconds()+2)
	near(t, lease, "obtained_at", time.Until(expires).Seconds()-float64(h.leaseS)+2)
	if lease["renew_at"] == nil || lease["rebind_at"] == nil || !strings.HasPrefix(lease["file"].(string), file) {
		t.Errorf("dhcp4: %v", lease)
	}
}

func (h *leaseLab) dhclient(t *testing.T) {
	pid, stop := h.inClient("dhclient", "-4", "-d", "-cf", "/run/dhclient.conf", "-sf", "/run/dhclient-script", "-pf", "/run/dhclient.eth0.pid", "-lf", "/var/lib/dhcp/dhclient.eth0.leases", "eth0")
	row := h.eth0(t, "lease", isBound("dhcp4"))
	h.check4(t, row, "dhclient", pid, "/var/lib/dhcp/dhclient.eth0.leases")
	wantMembers(t, "config", find(t, mustCall(t, h.net, "net.config", object{})["interfaces"], "interface", "eth0"), object{"manager": "dhclient"})
	wantMembers(t, "manager", find(t, mustCall(t, h.net, "net.config", object{})["managers"], "name", "dhclient"), object{"running": true, "interfaces": []any{"eth0"}})

	address, _, _ := strings.Cut(row["dhcp4"].(object)["address"].(string), "/")
	h.client.IP("addr del " + address + "/24 dev eth0")
	h.eth0(t, "stopped lease", func(o object) bool { l, _ := o["dhcp4"].(object); return l["state"] == "stopped" })
	stop()
	h.eth0(t, "end of the lease", func(o object) bool { return o["dhcp4"] == nil && o["manager"] == "none" })
	h.clean(t)
}

// clean takes away what a client left: its files too, so that the next one starts afresh.
func (h *leaseLab) clean(t *testing.T) {
	t.Helper()
	h.client.Run("ip", "-4", "addr", "flush", "dev", "eth0")
	h.client.IP("link set eth0 mtu 1500")
	root := fmt.Sprintf("/proc/%d/root", h.anchor)
	for _, folder := range []string{"/var/lib/dhcp/*", "/var/lib/dhcpcd/*"} {
		names, _ := filepath.Glob(root + folder)
		for _, name := range names {
			if err := os.RemoveAll(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// dhclient6 compares an address and a prefix with dhcpd's list.
func (h *leaseLab) dhclient6(t *testing.T) {
	pid, stop := h.inClient("dhclient", "-6", "-N", "-P", "-d", "-cf", "/run/dhclient.conf", "-sf", "/run/dhclient-script", "-pf", "/run/dhclient6.eth0.pid", "-lf", "/var/lib/dhcp/dhclient6.eth0.leases", "eth0")
	row := h.eth0(t, "lease", isBound("dhcp6"))
	wantMembers(t, "row", row, object{"manager": "dhclient", "manager_pid": float64(pid)})
	h.check6(t, row, "dhclient", "/var/lib/dhcp/dhclient6.eth0.leases")
	if len(objects(row["slaac"])) != 2 {
		t.Errorf("slaac: %v", row["slaac"])
	}
	stop()
	h.client.Run("ip", "-6", "addr", "flush", "dev", "eth0", "scope", "global")
	h.clean(t)
}

func (h *leaseLab) check6(t *testing.T, row object, manager, file string) {
	t.Helper()
	b, err := os.ReadFile(h.dir + "/leases6")
	if err != nil {
		t.Fatal(err)
	}
	lease := row["dhcp6"].(object)
	wantMembers(t, "dhcp6", lease, object{"dns": []any{"2001:db8:5::53"}, "search": []any{"six.test"}, "file": file})
	near(t, lease, "expires_at", 300)
	address := objects(lease["addresses"])[0]
	if !strings.Contains(string(b), "iaaddr "+text(address["address"])+" {") {
		t.Errorf("dhcpd did not give %v:\n%s", address, b)
	}
	for name, most := range map[string]float64{"preferred_s": 200, "valid_s": 300} {
		if got := address[name].(float64); got > most || got < most-15 {
			t.Errorf("%s: %v of %v", name, got, most)
		}
	}
	prefixes := objects(mustCall(t, h.net, "net.prefix", object{})["prefixes"])
	if len(prefixes) != 1 {
		t.Fatalf("prefixes: %v", prefixes)
	}
	h.checkPrefix(t, prefixes[0], string(b), manager)
}

// checkPrefix compares a delegated prefix with dhcpd's list, and what is made of it with what is said.
func (h *leaseLab) checkPrefix(t *testing.T, row object, server, manager string) {
	t.Helper()
	prefix := row["prefix"].(string)
	if !strings.Contains(server, "iaprefix "+prefix+" {") {
		t.Errorf("dhcpd did not delegate %s:\n%s", prefix, server)
	}
	wantMembers(t, "prefix", row, object{"interface": "eth0", "state": "bound", "manager": manager})
	if row["server_duid"] == nil || row["renew_at"] == nil || row["iaid"] == nil {
		t.Errorf("prefix: %v", row)
	}
	near(t, row, "expires_at", 300)

	p := netip.MustParsePrefix(prefix)
	part := p.Addr().As16()
	part[7] = 7
	sub := netip.PrefixFrom(netip.AddrFrom16(part), 64)
	part[15] = 1
	own := netip.PrefixFrom(netip.AddrFrom16(part), 64)
	h.client.IP("link add br0 type bridge", "link set br0 up", "addr add "+own.String()+" dev br0 nodad", "route add unreachable "+prefix)
	defer h.client.IP("link del br0", "route del unreachable "+prefix)
	again := objects(mustCall(t, h.net, "net.prefix", object{})["prefixes"])[0]
	if !strings.Contains(text(again["sub_prefixes"]), text(object{"address": own.String(), "interface": "br0", "prefix": sub.String()})) || again["unreachable_route"] != true {
		t.Errorf("in use: %v", again)
	}
}

func (h *leaseLab) dhcpcd(t *testing.T) {
	config := "duid\npersistent\noption domain_name_servers, domain_name, domain_search, interface_mtu, classless_static_routes, broadcast_address\n" +
		"noipv4ll\ninterface eth0\nia_na 1\nia_pd 2\nnoarp\n"
	path := filepath.Join(fmt.Sprintf("/proc/%d/root/run", h.anchor), "dhcpcd-test.conf")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	pid, stop := h.inClient("dhcpcd", "-B", "-f", "/run/dhcpcd-test.conf", "eth0")
	row := h.eth0(t, "lease", isBound("dhcp4"))
	_ = pid // dhcpcd goes on in a process of its own
	wantMembers(t, "row", row, object{"manager": "dhcpcd"})
	h.check4(t, row, "dhcpcd", int(row["manager_pid"].(float64)), "/var/lib/dhcpcd/eth0.lease")
	row = h.eth0(t, "lease", isBound("dhcp6"))
	wantMembers(t, "iaid", objects(row["dhcp6"].(object)["addresses"])[0], object{"iaid": 1.0})
	h.check6(t, row, "dhcpcd", "/var/lib/dhcpcd/eth0.lease6")
	if dns := mustCall(t, h.net, "net.dns", object{}); dns["source"] != "dhcpcd" {
		t.Errorf("dns: %v", dns)
	}
	stop()
	h.client.Run("ip", "-6", "addr", "flush", "dev", "eth0", "scope", "global")
	h.clean(t)
}

// networkd runs systemd-networkd on the client.
func (h *leaseLab) networkd(t *testing.T) {
	const program = "/lib/systemd/systemd-networkd"
	if _, err := os.Stat(program); err != nil {
		testhost.Missing(t, program+" (Debian package systemd)")
	}
	root := fmt.Sprintf("/proc/%d/root", h.anchor)
	put(t, root, map[string]string{"etc/machine-id": "0123456789abcdef0123456789abcdef\n", // it identifies itself to the server by that
		"etc/systemd/network/10-uplink.network": "[Match]\nName=eth*\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n[DHCPv4]\nUseMTU=yes\n"})
	testhost.Command(t, "chown", "-R", "systemd-network:systemd-network", root+"/run/systemd/netif")
	pid, stop := h.inClient(program)
	row := h.eth0(t, "lease", isBound("dhcp4"))
	h.check4(t, row, "systemd-networkd", pid, "/run/systemd/netif/leases/", "search", "mtu")
	wantMembers(t, "config", find(t, mustCall(t, h.net, "net.config", object{})["interfaces"], "interface", "eth0"),
		object{"manager": "systemd-networkd", "ipv4_method": "dhcp", "ipv6_method": "disabled"})
	stop()
	h.eth0(t, "end of the daemon", func(o object) bool { return o["manager"] == "none" })
}
