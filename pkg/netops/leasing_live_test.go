package netops

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/geomind/my_os_server/internal/dhcp"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// clientLab is a server and a node whose own DHCP client is tried, on one wire: s0 on the server, eth0 on the
// node.
type clientLab struct {
	t            *testing.T
	server, node *testhost.NetNS
	dir, root    string
	boot         string
	options      Options
	store        *state.Store
	net          *Net
	dns, domain  string
	keepLeases   bool // of dhcpd, from one start to the next
}

// quick are waits that a test can wait for.
func quick() dhcp.Timing {
	return dhcp.Timing{
		First: 400 * time.Millisecond, Most: 2 * time.Second, Tries: 2, Renew: time.Minute,
		Probes: 2, ProbeWait: 50 * time.Millisecond, ProbeLeast: 50 * time.Millisecond, ProbeMost: 100 * time.Millisecond,
		AnnounceWait: 200 * time.Millisecond, AnnounceSpread: 100 * time.Millisecond, Announcements: 2, Declined: 300 * time.Millisecond,
	}
}

func newClientLab(t *testing.T) *clientLab {
	testhost.Root(t)
	for tool, pkg := range map[string]string{"dnsmasq": "dnsmasq-base", "dhcpd": "isc-dhcp-server", "dhclient": "isc-dhcp-client", "sysctl": "procps"} {
		testhost.Tool(t, tool, pkg)
	}
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 0))
	lab := &clientLab{t: t, server: testhost.NewNetNS(t), node: testhost.NewNetNS(t), dir: t.TempDir(), root: t.TempDir(), boot: "boot-1",
		dns: fmt.Sprintf("192.0.2.%d", 1+rng.IntN(250)), domain: fmt.Sprintf("d%d.test", rng.IntN(1000))}
	if err := errors.Join(os.Chmod(lab.dir, 0o777), os.Mkdir(lab.root+"/etc", 0o755), os.Symlink("/proc", lab.root+"/proc")); err != nil {
		t.Fatal(err)
	}
	lab.server.IP(fmt.Sprintf("link add s0 type veth peer name eth0 netns %s", lab.node.Path()), "addr add 198.51.100.1/24 dev s0", "link set s0 up")
	lab.options = Options{Interfaces: []Interface{{Name: "lo"}, {Name: "eth0", DHCP4: true, IPv6: "none"}}, EtcResolvConf: true}
	t.Cleanup(lab.stop)
	return lab
}

// start starts the node's daemon part.
func (lab *clientLab) start() {
	lab.t.Helper()
	var err error
	state_ := filepath.Join(lab.dir, "state")
	if err := os.MkdirAll(state_, 0o700); err != nil {
		lab.t.Fatal(err)
	}
	if lab.store, err = state.Open(state_, state.Options{Boot: state.Boot{ID: lab.boot}, FoldIdle: -1}); err != nil {
		lab.t.Fatal(err)
	}
	o := lab.options
	o.NetNS, o.Root, o.Mode, o.State, o.StateDir = lab.node.Path(), lab.root, registry.NodeModeNative, lab.store, state_
	o.Log = zerolog.New(zerolog.NewTestWriter(lab.t))
	if lab.net, err = New(o); err != nil {
		lab.t.Fatal(err)
	}
	lab.net.leasing.timing, lab.net.leasing.timing6 = quick(), quick6()
	lab.net.Start()
}

func (lab *clientLab) stop() {
	if lab.net == nil {
		return
	}
	if err := errors.Join(lab.net.Close(), lab.store.Close()); err != nil {
		lab.t.Error(err)
	}
	lab.net = nil
}

// process is a server that runs.
type process struct {
	cmd  *exec.Cmd
	log  *testhost.Log
	done bool
}

func (p *process) stop() {
	if !p.done {
		p.done = true
		_ = p.cmd.Process.Signal(syscall.SIGCONT)
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

func (lab *clientLab) run(ns *testhost.NetNS, name string, args ...string) *process {
	lab.t.Helper()
	p := &process{cmd: exec.Command(name, args...), log: new(testhost.Log)}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	var err error
	ns.Do(func() { err = p.cmd.Start() })
	if err != nil {
		lab.t.Fatal(err)
	}
	lab.t.Cleanup(func() {
		p.stop()
		if lab.t.Failed() {
			lab.t.Logf("%s said:\n%s", name, p.log.String())
		}
	})
	return p
}

// dhcpd starts isc dhcpd with leases of some seconds from a range, and settings of its configuration besides.
func (lab *clientLab) dhcpd(lease, t1, t2 int, pool, settings string) *process {
	lab.t.Helper()
	config := fmt.Sprintf(`authoritative; ddns-update-style none; ping-check false; default-lease-time %d; min-lease-time 1; max-lease-time %d;
option dhcp-renewal-time %d; option dhcp-rebinding-time %d; option rfc3442 code 121 = array of unsigned integer 8;
option domain-name-servers %s; option domain-name "%s"; option interface-mtu 1400; %s
subnet %s.0 netmask 255.255.255.0 { option routers %[8]s.1; range %s; }
`, lease, lease, t1, t2, lab.dns, lab.domain, settings, strings.TrimSuffix(netip.MustParsePrefix(strings.Fields(pool)[0]+"/24").Masked().Addr().String(), ".0"), pool)
	for name, text := range map[string]string{"dhcpd.conf": config, "dhcpd.leases": ""} {
		if name == "dhcpd.leases" && lab.keepLeases {
			continue
		}
		if err := os.WriteFile(filepath.Join(lab.dir, name), []byte(text), 0o666); err != nil {
			lab.t.Fatal(err)
		}
	}
	return lab.run(lab.server, "dhcpd", "-4", "-d", "-f", "--no-pid", "-user", "root", "-group", "root", "-cf", lab.dir+"/dhcpd.conf", "-lf", lab.dir+"/dhcpd.leases", "s0")
}

// until waits for something to become true.
func (lab *clientLab) until(what string, within time.Duration, true_ func() bool) {
	lab.t.Helper()
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(30 * time.Millisecond) {
		if true_() {
			return
		}
	}
	lab.t.Fatalf("no %s\n%v\n%s%s", what, lab.lease(), lab.node.Run("ip", "-4", "addr", "show", "dev", "eth0"), lab.node.Run("ip", "-4", "route"))
}

// lease is what net.lease says of the node's lease; nil for nothing.
func (lab *clientLab) lease() object {
	lab.t.Helper()
	rows := objects(mustCall(lab.t, lab.net, "net.lease", object{"interface": "eth0"})["interfaces"])
	lease, _ := rows[0]["dhcp4"].(object)
	return lease
}

func (lab *clientLab) bound(within time.Duration) object {
	lab.t.Helper()
	lab.until("lease", within, func() bool { l := lab.lease(); return l != nil && l["state"] == "bound" })
	return lab.lease()
}

// addresses are the IPv4 addresses of eth0, by the kernel's own tool.
func (lab *clientLab) addresses() (list []string) {
	lab.t.Helper()
	for _, l := range decode[[]object](lab.t, lab.node.Witness("-4", "addr", "show", "dev", "eth0")) {
		for _, a := range objects(l["addr_info"]) {
			list = append(list, fmt.Sprint(a["local"], "/", a["prefixlen"]))
		}
	}
	return list
}

func (lab *clientLab) routes() (list []string) {
	lab.t.Helper()
	for _, r := range decode[[]object](lab.t, lab.node.Witness("-4", "route")) {
		list = append(list, fmt.Sprint(r["dst"], " ", r["gateway"], " ", r["protocol"], " ", r["metric"], " ", r["prefsrc"]))
	}
	return list
}

func (lab *clientLab) inSync() {
	lab.t.Helper()
	if v := mustCall(lab.t, lab.net, "net.verify", object{}); v["in_sync"] != true {
		lab.t.Errorf("drift: %v", v["drift"])
	}
}

func (lab *clientLab) resolvConf(where string) string {
	b, _ := os.ReadFile(where)
	return string(b)
}

// TestOwnLeaseIsHadRenewedAndLost: DORA, everything that the lease says, renewal by the same server, silence, end.
func TestOwnLeaseIsHadRenewedAndLost(t *testing.T) {
	lab := newClientLab(t)
	server := lab.dhcpd(8, 2, 5, "198.51.100.50", "option rfc3442 16,10,9,198,51,100,7, 32,203,0,113,9,0,0,0,0, 0,198,51,100,3;")
	lab.start()
	lease := lab.bound(10 * time.Second)
	wantMembers(t, "lease", lease, object{"address": "198.51.100.50/24", "server": "198.51.100.1", "dns": []any{lab.dns}, "domain": lab.domain, "mtu": 1400.0, "lease_s": 8.0})
	row := objects(mustCall(t, lab.net, "net.lease", object{"interface": "eth0"})["interfaces"])[0]
	wantMembers(t, "row", row, object{"manager": "my_os_server", "managed": true, "manager_pid": float64(os.Getpid())})
	config := mustCall(t, lab.net, "net.config", object{})
	wantMembers(t, "config", find(t, config["interfaces"], "interface", "eth0"), object{"manager": "my_os_server", "ipv4_method": "dhcp", "ipv6_method": "disabled"})
	wantMembers(t, "manager", find(t, config["managers"], "name", "my_os_server"), object{"running": true, "pid": float64(os.Getpid()), "interfaces": []any{"eth0", "lo"}})
	if text := string(lab.node.Run("ip", "-6", "addr", "show", "dev", "eth0")); text != "" {
		t.Errorf("IPv6: %s", text)
	}
	want(t, "addresses", lab.addresses(), []string{"198.51.100.50/24"})
	want(t, "routes", lab.routes(), []string{ // those of option 121 alone: no router of option 3
		"default 198.51.100.3 109 1026 198.51.100.50",
		"10.9.0.0/16 198.51.100.7 109 1026 198.51.100.50",
		"198.51.100.0/24 <nil> kernel 1026 198.51.100.50",
		"203.0.113.9 <nil> 109 1026 198.51.100.50",
	})
	text := resolvMark + "search " + lab.domain + "\nnameserver " + lab.dns + "\n"
	want(t, "resolv.conf", lab.resolvConf(lab.dir+"/state/resolv.conf"), text)
	want(t, "/etc/resolv.conf", lab.resolvConf(lab.root+"/etc/resolv.conf"), text)
	if mtu := decode[[]object](t, lab.node.Witness("link", "show", "dev", "eth0"))[0]["mtu"]; mtu != 1400.0 {
		t.Errorf("mtu %v", mtu)
	}
	lab.inSync()

	first := lease["obtained_at"]
	lab.until("renewal", 6*time.Second, func() bool { return lab.lease()["obtained_at"] != first })
	want(t, "renewed", lab.bound(time.Second)["address"], "198.51.100.50/24")
	lab.inSync()

	server.stop()
	lab.until("renewing", 6*time.Second, func() bool { return lab.lease()["state"] == "renewing" })
	lab.until("rebinding", 6*time.Second, func() bool { return lab.lease()["state"] == "rebinding" })
	want(t, "while rebinding", lab.addresses(), []string{"198.51.100.50/24"})
	lab.until("end", 8*time.Second, func() bool { return lab.lease()["state"] == "selecting" })
	want(t, "addresses after the end", len(lab.addresses())+len(lab.routes()), 0)
	if mtu := decode[[]object](t, lab.node.Witness("link", "show", "dev", "eth0"))[0]["mtu"]; mtu != 1500.0 {
		t.Errorf("mtu %v", mtu)
	}
	want(t, "resolv.conf", lab.resolvConf(lab.dir+"/state/resolv.conf"), resolvMark)
	lab.inSync()

	lab.dhcpd(8, 2, 5, "198.51.100.60", "")
	want(t, "later", lab.bound(8 * time.Second)["address"], "198.51.100.60/24")
	want(t, "routes", lab.routes(), []string{"default 198.51.100.1 109 1026 198.51.100.60", "198.51.100.0/24 <nil> kernel 1026 198.51.100.60"})
}

// TestOwnLeaseIsReboundByAnotherServer that knows of the lease.
func TestOwnLeaseIsReboundByAnotherServer(t *testing.T) {
	lab := newClientLab(t)
	server := lab.dhcpd(10, 2, 4, "198.51.100.50", "")
	lab.start()
	lab.bound(10 * time.Second)
	server.stop()
	lab.server.IP("addr del 198.51.100.1/24 dev s0", "addr add 198.51.100.2/24 dev s0")
	lab.keepLeases = true
	lab.dhcpd(10, 2, 4, "198.51.100.50", "server-identifier 198.51.100.2;")
	lab.until("another server's answer", 8*time.Second, func() bool { return lab.lease()["server"] == "198.51.100.2" })
	wantMembers(t, "lease", lab.lease(), object{"state": "bound", "address": "198.51.100.50/24"})
	want(t, "addresses", lab.addresses(), []string{"198.51.100.50/24"})
	lab.inSync()
	at := lab.lease()["obtained_at"]
	lab.until("renewal there", 5*time.Second, func() bool { return lab.lease()["obtained_at"] != at })
}

// TestRestartOfOwnLease: a full exchange. The new address stands before the old one goes; without an answer the
// old one stays, and is renewed in its time.
func TestRestartOfOwnLease(t *testing.T) {
	lab := newClientLab(t)
	server := lab.dhcpd(30, 12, 20, "198.51.100.50", "")
	lab.start()
	lab.bound(10 * time.Second)
	result := mustCall(t, lab.net, "net.lease.restart", object{"interface": "eth0"})
	delete(result, "duration_s")
	delete(result, "expires_at")
	want(t, "the same address", result, object{"interface": "eth0", "manager": "my_os_server", "ipv4_restarted": true, "ipv6_restarted": false,
		"address_changed": false, "previous_addresses": []any{"198.51.100.50/24"}, "addresses": []any{"198.51.100.50/24"},
		"routers": []any{"198.51.100.1"}, "nameservers": []any{lab.dns}})
	if n := strings.Count(server.log.String(), "DHCPDISCOVER"); n != 2 {
		t.Errorf("the server saw %d DISCOVERs", n)
	}

	server.stop() // silent
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	_, err := lab.net.LeaseRestart(ctx, &registry.NetLeaseRestartParams{Interface: "eth0"})
	cancel()
	var late *registry.DeadlineExceededError
	if !errors.As(err, &late) {
		t.Errorf("restart without a server: %v", err)
	}
	wantMembers(t, "lease", lab.lease(), object{"state": "bound", "address": "198.51.100.50/24"})
	want(t, "addresses", lab.addresses(), []string{"198.51.100.50/24"})
	lab.inSync()

	lab.dhcpd(30, 12, 20, "198.51.100.77", "") // another address
	gaps := lab.watchAddresses()
	result = mustCall(t, lab.net, "net.lease.restart", object{"interface": "eth0"})
	wantMembers(t, "another address", result, object{"address_changed": true, "previous_addresses": []any{"198.51.100.50/24"}, "addresses": []any{"198.51.100.77/24"}})
	want(t, "addresses", lab.addresses(), []string{"198.51.100.77/24"})
	want(t, "routes", lab.routes(), []string{"default 198.51.100.1 109 1026 198.51.100.77", "198.51.100.0/24 <nil> kernel 1026 198.51.100.77"})
	want(t, "events", gaps(), []string{"+198.51.100.77/24", "-198.51.100.50/24", "+198.51.100.77/24"}) // the last: no secondary any more
	lab.inSync()

	lab.server.IP("link set s0 down")
	time.Sleep(300 * time.Millisecond)
	if _, err := call(t, lab.net, "net.lease.restart", object{"interface": "eth0"}); err == nil || !strings.Contains(err.Error(), "no link") {
		t.Errorf("restart without a link: %v", err)
	}
	if _, err := call(t, lab.net, "net.lease.restart", object{"interface": "eth9"}); err == nil || !strings.Contains(err.Error(), "no interface eth9") {
		t.Errorf("restart of nothing: %v", err)
	}
	if _, err := call(t, lab.net, "net.lease.restart", object{"interface": "lo"}); err == nil || !strings.Contains(err.Error(), "nobody asks for leases") {
		t.Errorf("restart of what asks for none: %v", err)
	}
}

// TestNewAddressWherePromotionCannotBeSet: what the kernel takes along with the old address is made again.
func TestNewAddressWherePromotionCannotBeSet(t *testing.T) {
	lab := newClientLab(t)
	if err := os.Remove(lab.root + "/proc"); err != nil {
		t.Fatal(err)
	}
	lab.options.Interfaces[1].IPv6 = ""
	server := lab.dhcpd(30, 12, 20, "198.51.100.50", "")
	lab.start()
	lab.bound(10 * time.Second)
	server.stop()
	lab.dhcpd(30, 12, 20, "198.51.100.77", "")
	mustCall(t, lab.net, "net.lease.restart", object{"interface": "eth0"})
	want(t, "addresses", lab.addresses(), []string{"198.51.100.77/24"})
	want(t, "routes", lab.routes(), []string{"default 198.51.100.1 109 1026 198.51.100.77", "198.51.100.0/24 <nil> kernel 1026 198.51.100.77"})
	lab.inSync()
}

// TestIPv6AsConfigured: settings of the kernel, of a host and of a router, and addresses from advertisements.
func TestIPv6AsConfigured(t *testing.T) {
	lab := newClientLab(t)
	lab.server.IP("addr add 2001:db8:5::1/64 dev s0 nodad")
	conf := "net.ipv6.conf.eth0."
	lab.node.Run("sysctl", "-qw", conf+"accept_ra=0", conf+"autoconf=0", conf+"disable_ipv6=1", conf+"forwarding=1", conf+"accept_dad=0")
	lab.node.IP("link set eth0 up")
	lab.options.Interfaces = []Interface{{Name: "eth0", IPv6: "slaac"}}
	lab.run(lab.server, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--port=0", "--interface=s0", "--bind-interfaces",
		"--enable-ra", "--dhcp-range=::,constructor:s0,ra-only,64,10m", "--ra-param=s0,low,4,600", "--dhcp-leasefile="+lab.dir+"/dnsmasq.leases")
	lab.start()
	lab.until("address from an advertisement", time.Minute, func() bool { // dnsmasq lets up to 20 s go by between two
		return strings.Contains(lab.node.Run("ip", "-6", "addr", "show", "dev", "eth0"), "2001:db8:5:")
	})
	for name, value := range map[string]string{"disable_ipv6": "0", "accept_ra": "2", "autoconf": "1"} {
		want(t, name, strings.TrimSpace(lab.node.Run("sysctl", "-n", conf+name)), value)
	}
	row := objects(mustCall(t, lab.net, "net.lease", object{"interface": "eth0"})["interfaces"])[0]
	if len(objects(row["slaac"])) == 0 || row["dhcp4"] != nil {
		t.Errorf("row: %v", row)
	}
}

// watchAddresses has ip(8) listen for changes of eth0's addresses until the result is called.
func (lab *clientLab) watchAddresses() func() []string {
	lab.t.Helper()
	p := lab.run(lab.node, "ip", "-4", "-o", "monitor", "address")
	time.Sleep(300 * time.Millisecond)
	return func() (events []string) {
		time.Sleep(300 * time.Millisecond)
		p.stop()
		for line := range strings.Lines(p.log.String()) {
			words := strings.Fields(line)
			sign := "+"
			if words[0] == "Deleted" {
				sign, words = "-", words[1:]
			}
			if at := slices.Index(words, "inet"); at >= 0 {
				events = append(events, sign+words[at+1])
			}
		}
		return events
	}
}

// TestOwnLeaseIsRefusedAndHadAnew: a server that knows nothing of the address says NAK while the client renews.
func TestOwnLeaseIsRefusedAndHadAnew(t *testing.T) {
	lab := newClientLab(t)
	server := lab.dhcpd(20, 1, 2, "198.51.100.50", "")
	lab.start()
	lab.bound(10 * time.Second)
	server.stop()
	lab.server.IP("addr del 198.51.100.1/24 dev s0", "addr add 203.0.113.1/24 dev s0")
	server = lab.run(lab.server, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--port=0", "--interface=s0", "--bind-interfaces", "--no-ping",
		"--dhcp-authoritative", "--dhcp-leasefile="+lab.dir+"/dnsmasq.leases", "--dhcp-range=203.0.113.77,203.0.113.77,255.255.255.0,120", "--log-dhcp") // the wire has another network now
	lab.until("another lease", 10*time.Second, func() bool { return lab.lease()["address"] == "203.0.113.77/24" })
	want(t, "addresses", lab.addresses(), []string{"203.0.113.77/24"})
	want(t, "routes", lab.routes(), []string{"default 203.0.113.1 109 1026 203.0.113.77", "203.0.113.0/24 <nil> kernel 1026 203.0.113.77"})
	lab.inSync()
	server.stop()
	if !strings.Contains(server.log.String(), "DHCPNAK") {
		t.Errorf("the server never refused:\n%s", server.log.String())
	}
}

// TestAddressThatAnotherHostHasIsDeclined: the first address of the range is taken.
func TestAddressThatAnotherHostHasIsDeclined(t *testing.T) {
	lab := newClientLab(t)
	other := testhost.NewNetNS(t)
	lab.server.IP("link add name sw type bridge", "link add o0 type veth peer name o1 netns "+other.Path(), "link set o0 master sw", "link set o0 up", "link set sw up",
		"addr del 198.51.100.1/24 dev s0", "link set s0 master sw", "link set s0 down", "link set s0 name p0", "link set p0 up", "link set sw down", "link set sw name s0", "link set s0 up", "addr add 198.51.100.1/24 dev s0")
	other.IP("link set o1 up", "addr add 198.51.100.50/24 dev o1", "addr add 198.51.100.51/24 dev o1")
	server := lab.dhcpd(60, 20, 40, "198.51.100.50 198.51.100.52", "")
	lab.start()
	want(t, "address", lab.bound(15 * time.Second)["address"], "198.51.100.52/24")
	want(t, "addresses", lab.addresses(), []string{"198.51.100.52/24"})
	server.stop()
	for _, a := range []string{"198.51.100.50", "198.51.100.51"} {
		if !strings.Contains(server.log.String(), "DHCPDECLINE of "+a) && strings.Contains(server.log.String(), "DHCPACK on "+a) {
			t.Errorf("%s was not declined:\n%s", a, server.log.String())
		}
	}
	if !strings.Contains(server.log.String(), "DHCPDECLINE of ") {
		t.Errorf("nothing was declined:\n%s", server.log.String())
	}
}

// TestOwnLeaseIsAskedForAgain after the daemon's start and after a boot, with a server and with none.
func TestOwnLeaseIsAskedForAgain(t *testing.T) {
	lab := newClientLab(t)
	server := lab.dhcpd(60, 30, 45, "198.51.100.50 198.51.100.90", "")
	lab.start()
	first := lab.bound(10 * time.Second)
	time.Sleep(time.Second) // instants are told to the second
	lab.stop()
	want(t, "without the daemon", lab.addresses(), []string{first["address"].(string)})

	lab.start()
	lab.until("answer", 5*time.Second, func() bool {
		l := lab.lease()
		return l["state"] == "bound" && l["obtained_at"] != first["obtained_at"]
	})
	want(t, "address", lab.lease()["address"], first["address"])
	lab.stop()

	server.stop() // nobody answers
	lab.start()
	lab.until("question", 3*time.Second, func() bool { return lab.lease()["state"] == "rebooting" })
	want(t, "meanwhile", lab.addresses(), []string{first["address"].(string)})
	want(t, "address", lab.bound(8 * time.Second)["address"], first["address"])
	lab.stop()

	lab.node.IP("addr flush dev eth0", "link set eth0 down") // as after a boot
	lab.boot = "boot-2"
	lab.start()
	want(t, "address after a boot, unconfirmed", lab.bound(8 * time.Second)["address"], first["address"])
	want(t, "addresses", lab.addresses(), []string{first["address"].(string)})
	lab.inSync()
	log := server.log.String()
	if n := strings.Count(log, "DHCPDISCOVER"); n != 1 {
		t.Errorf("the server saw %d DISCOVERs:\n%s", n, log)
	}
	lab.stop()

	lab.options.Interfaces = nil // no longer asked for
	lab.start()
	want(t, "given up", len(lab.addresses()), 0)
	lab.inSync()
}

// TestLinkOfOwnLeaseGoesAndComes: the lease is kept meanwhile, and asked for again.
func TestLinkOfOwnLeaseGoesAndComes(t *testing.T) {
	lab := newClientLab(t)
	lab.dhcpd(60, 30, 45, "198.51.100.50 198.51.100.90", "")
	lab.start()
	first := lab.bound(10 * time.Second)
	lab.server.IP("link set s0 down")
	time.Sleep(time.Second)
	want(t, "without a link", lab.lease()["state"], "bound")
	lab.server.IP("link set s0 up")
	lab.until("answer", 10*time.Second, func() bool {
		l := lab.lease()
		return l["state"] == "bound" && l["obtained_at"] != first["obtained_at"]
	})
	want(t, "address", lab.lease()["address"], first["address"])

	lab.server.IP("link del s0") // and eth0 with it
	lab.until("end of the interface", 5*time.Second, func() bool {
		_, err := call(t, lab.net, "net.lease", object{"interface": "eth0"})
		return err != nil
	})
}

// TestInterfaceThatDhclientHoldsIsNotTaken until dhclient ends.
func TestInterfaceThatDhclientHoldsIsNotTaken(t *testing.T) {
	lab := newClientLab(t)
	lab.dhcpd(60, 30, 45, "198.51.100.50 198.51.100.90", "")
	script := lab.dir + "/script"
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	lab.node.IP("link set eth0 up")
	lab.root = ""
	lab.options.EtcResolvConf = false
	other := lab.run(lab.node, "dhclient", "-4", "-d", "-cf", "/dev/null", "-sf", script, "-pf", lab.dir+"/dhclient.pid", "-lf", lab.dir+"/dhclient.leases", "eth0")
	time.Sleep(500 * time.Millisecond)
	lab.start()
	time.Sleep(time.Second)
	row := objects(mustCall(t, lab.net, "net.lease", object{"interface": "eth0"})["interfaces"])[0]
	wantMembers(t, "row", row, object{"manager": "dhclient", "manager_pid": float64(other.cmd.Process.Pid)})
	want(t, "addresses", len(lab.addresses()), 0)
	_, err := call(t, lab.net, "net.lease.restart", object{"interface": "eth0"})
	var conflict *registry.ConflictError
	if !errors.As(err, &conflict) || !strings.Contains(err.Error(), "dhclient") {
		t.Errorf("restart: %v", err)
	}
	other.stop()
	lab.net.leasing.look(context.Background())
	lab.bound(10 * time.Second)
}
