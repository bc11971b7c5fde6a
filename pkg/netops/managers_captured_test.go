package netops

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// netOf makes a Net of a namespace, with files below root.
func netOf(t *testing.T, ns *testhost.NetNS, root string) *Net {
	t.Helper()
	n, err := New(Options{NetNS: ns.Path(), Root: root, Mode: registry.NodeModeNative, Version: "0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// uplinkHost is a namespace whose interface eth0 has index 2, as in the captured hosts.
func uplinkHost(t *testing.T, commands ...string) *testhost.NetNS {
	t.Helper()
	testhost.Root(t)
	ns := testhost.NewNetNS(t)
	ns.IP(append([]string{"link add eth0 index 2 type veth peer name far index 3", "link set eth0 up", "link set far up"}, commands...)...)
	return ns
}

// find is the row of a list whose member has a value.
func find(t *testing.T, list any, member, value string) object {
	t.Helper()
	for _, o := range objects(list) {
		if o[member] == value {
			return o
		}
	}
	t.Fatalf("no row with %s %s in %v", member, value, list)
	return nil
}

// wantMembers compares some members of an object.
func wantMembers(t *testing.T, what string, got, want object) {
	t.Helper()
	for name, w := range want {
		if text(got[name]) != text(w) {
			t.Errorf("%s: %s: got %v, want %v", what, name, got[name], w)
		}
	}
}

// noFaults fails where a file was not understood.
func noFaults(t *testing.T, result object) {
	t.Helper()
	for _, f := range objects(result["files"]) {
		if f["error"] != nil {
			t.Errorf("file %v", f)
		}
	}
}

func TestCapturedNetworkd(t *testing.T) {
	ns := uplinkHost(t,
		"addr add 198.51.100.68/24 dev eth0 valid_lft 590 preferred_lft 590",
		"addr add 2001:db8:5::16f/128 dev eth0 valid_lft 1190 preferred_lft 1100 nodad noprefixroute",
		"addr add 2001:db8:5::beef/64 dev eth0 valid_lft 1190 preferred_lft 1100 nodad noprefixroute",
		"addr add 2001:db8:100:1::1/64 dev far nodad",
		"route add unreachable 2001:db8:100::/56 proto dhcp expires 7000",
		"route add 2001:db8:100:2::/64 dev far")
	n := netOf(t, ns, testhost.Tree(t, "debian12-networkd"))

	config := mustCall(t, n, "net.config", object{})
	noFaults(t, config)
	wantMembers(t, "eth0", find(t, config["interfaces"], "interface", "eth0"), object{
		"exists": true, "manager": "systemd-networkd", "manager_source": "/run/systemd/netif/links/2", "ipv4_method": "dhcp", "ipv6_method": "slaac",
		"dns": []any{"192.0.2.53", "fe80::1"}, "search": []any{"corp.test"},
	})
	wantMembers(t, "lo", find(t, config["interfaces"], "interface", "lo"), object{"manager": "none"})
	wantMembers(t, "fact", find(t, find(t, config["interfaces"], "interface", "eth0")["facts"], "name", "Network.DHCP"), object{
		"value": "ipv4", "source": "/etc/systemd/network/10-eth0.network", "line": 4.0})
	wantMembers(t, "manager", find(t, config["managers"], "name", "systemd-networkd"), object{"running": true, "pid": 412.0, "interfaces": []any{"eth0"}})
	wantMembers(t, "command line", config["command_line"].(object), object{"net_ifnames": false})
	wantMembers(t, "hostname", config["hostname"].(object), object{"value": "node1", "source": "/etc/hostname"})

	dns := mustCall(t, n, "net.dns", object{})
	noFaults(t, dns)
	wantMembers(t, "dns", dns, object{
		"source": "systemd-resolved", "target": "/run/systemd/resolve/stub-resolv.conf", "stub": true,
		"search": []any{"global.test", "corp.test"}, "options": []any{"edns0", "trust-ad"}, "upstream_search": []any{"global.test"},
		"upstream": []any{object{"address": "9.9.9.9", "server_name": "dns.quad9.net"}}, "fallback": []any{object{"address": "1.1.1.1"}},
	})
	wantMembers(t, "dns of eth0", find(t, dns["interfaces"], "interface", "eth0"), object{
		"nameservers": []any{object{"address": "192.0.2.53", "port": 5353.0, "server_name": "ns.test"}, object{"address": "fe80::1"},
			object{"address": "198.51.100.1"}, object{"address": "198.51.100.2"}, object{"address": "2001:db8:5::1"}},
		"search": []any{"corp.test"}, "routing_domains": []any{"route.test"}, "default_route": false, "llmnr": "no", "dnssec": "allow-downgrade",
		"file": "/run/systemd/netif/links/2",
	})
	networkdLeases(t, n)
}

func networkdLeases(t *testing.T, n *Net) {
	t.Helper()
	lease := mustCall(t, n, "net.lease", object{})
	noFaults(t, lease)
	eth0 := find(t, lease["interfaces"], "interface", "eth0")
	wantMembers(t, "eth0", eth0, object{"manager": "systemd-networkd", "manager_pid": 412.0})
	wantMembers(t, "dhcp4", eth0["dhcp4"].(object), object{
		"state": "bound", "address": "198.51.100.68/24", "server": "198.51.100.1", "routers": []any{"198.51.100.1"}, "dns": []any{"198.51.100.1", "198.51.100.2"},
		"domain": "lab.test", "lease_s": 600.0, "client_id": "ffb9c119ae00020000ab110033bdebf95e192c", "file": "/run/systemd/netif/leases/2",
		"routes": []any{object{"dst": "10.9.0.0/16", "gateway": "198.51.100.7"}, object{"dst": "0.0.0.0/0", "gateway": "198.51.100.1"}},
	})
	near(t, eth0["dhcp4"], "expires_at", 590)
	near(t, eth0["dhcp4"], "renew_at", 290) // T1 of 300 s, 10 s of which are gone
	wantMembers(t, "dhcp6", eth0["dhcp6"].(object), object{"state": "bound", "client_duid": "00020000ab110033bdebf95e192c"})
	wantMembers(t, "address", objects(eth0["dhcp6"].(object)["addresses"])[0], object{"address": "2001:db8:5::16f", "iaid": float64(0xb9c119ae)})
	if slaac := objects(eth0["slaac"]); len(slaac) != 1 || slaac[0]["address"] != "2001:db8:5::beef/64" || slaac[0]["prefix"] != "2001:db8:5::/64" {
		t.Errorf("slaac: %v", slaac)
	}
	prefixes := objects(mustCall(t, n, "net.prefix", object{})["prefixes"])
	if len(prefixes) != 1 {
		t.Fatalf("prefixes: %v", prefixes)
	}
	wantMembers(t, "prefix", prefixes[0], object{"prefix": "2001:db8:100::/56", "interface": "eth0", "iaid": float64(0xb9c119ae), "state": "bound",
		"unreachable_route": true, "manager": "systemd-networkd",
		"sub_prefixes": []any{object{"prefix": "2001:db8:100:1::/64", "interface": "far", "address": "2001:db8:100:1::1/64"},
			object{"prefix": "2001:db8:100:2::/64", "interface": "far"}}})
}

// near fails unless an instant is some seconds away, give or take the time that the test takes.
func near(t *testing.T, row any, member string, seconds float64) {
	t.Helper()
	word, _ := row.(object)[member].(string)
	at, err := time.Parse(time.RFC3339, word)
	if err != nil {
		t.Errorf("%s: %v", member, err)
		return
	}
	if left := time.Until(at).Seconds(); left > seconds+3 || left < seconds-8 {
		t.Errorf("%s is in %v s, want %v", member, left, seconds)
	}
}

func TestCapturedNetworkManager(t *testing.T) {
	ns := uplinkHost(t,
		"addr add 198.51.100.67/24 dev eth0 valid_lft 590 preferred_lft 590",
		"addr add 2001:db8:5::1ab/128 dev eth0 valid_lft 1190 preferred_lft 1100 nodad noprefixroute",
		"addr add 2001:db8:5::beef/64 dev eth0 valid_lft 1190 preferred_lft 1100 nodad noprefixroute")
	root := testhost.Tree(t, "debian12-networkmanager")
	n := netOf(t, ns, root)

	config := mustCall(t, n, "net.config", object{})
	noFaults(t, config)
	wantMembers(t, "eth0", find(t, config["interfaces"], "interface", "eth0"), object{"exists": true, "manager": "NetworkManager",
		"manager_source": "/run/NetworkManager/devices/2", "ipv4_method": "dhcp", "ipv6_method": "slaac"})
	wlan := find(t, config["interfaces"], "interface", "wlan0")
	wantMembers(t, "wlan0", wlan, object{"exists": false, "manager": "none", "ipv4_method": "dhcp"})
	if strings.Contains(text(config), "correct horse") || text(find(t, wlan["facts"], "name", "wifi.ssid")["value"]) != "lab" {
		t.Errorf("facts of wlan0: %v", wlan["facts"])
	}

	dns := mustCall(t, n, "net.dns", object{})
	wantMembers(t, "dns", dns, object{"source": "NetworkManager", "stub": false, "target": "/run/NetworkManager/resolv.conf",
		"search": []any{"lab.test", "example.net", "lab6.test"}})

	lease := mustCall(t, n, "net.lease", object{})
	noFaults(t, lease)
	eth0 := find(t, lease["interfaces"], "interface", "eth0")
	wantMembers(t, "eth0", eth0, object{"manager": "NetworkManager", "manager_pid": 511.0})
	// The capture is of an hour long past, and the kernel says that the lease was extended since.
	wantMembers(t, "dhcp4", eth0["dhcp4"].(object), object{
		"state": "bound", "address": "198.51.100.67/24", "server": "198.51.100.1", "mtu": 1400.0, "search": []any{"lab.test", "example.net"},
		"client_id": "01b6579e7f9265", "lease_s": 600.0, "file": "/run/NetworkManager/devices/2",
	})
	near(t, eth0["dhcp4"], "expires_at", 590)
	near(t, eth0["dhcp4"], "obtained_at", -10)
	wantMembers(t, "dhcp6", eth0["dhcp6"].(object), object{"state": "bound", "dns": []any{"2001:db8:5::1"}, "search": []any{"lab6.test"}})
	wantMembers(t, "address", objects(eth0["dhcp6"].(object)["addresses"])[0], object{"address": "2001:db8:5::1ab", "iaid": float64(0x2b506735)})
	if slaac := objects(eth0["slaac"]); len(slaac) != 1 || slaac[0]["address"] != "2001:db8:5::beef/64" {
		t.Errorf("slaac: %v", slaac)
	}

	// Without the daemon nobody has the interface, and its files still say what is configured.
	if err := os.RemoveAll(filepath.Join(root, "proc/511")); err != nil {
		t.Fatal(err)
	}
	wantMembers(t, "eth0", find(t, mustCall(t, n, "net.config", object{})["interfaces"], "interface", "eth0"), object{"manager": "none", "ipv4_method": "dhcp"})
}

// TestBrokenFiles: what cannot be read or understood is said, and everything else still answered.
func TestBrokenFiles(t *testing.T) {
	ns := uplinkHost(t)
	root := testhost.Tree(t, "debian12-networkd")
	put(t, root, map[string]string{
		"etc/systemd/network/05-broken.network":   "[Match\nName=far\nwhat is this\n",
		"etc/netplan/50-cloud.yaml":               "network:\n  ethernets:\n    eth7: {dhcp4: true}\n    eth8: [x]\n",
		"etc/netplan/90-broken.yaml":              "network: {\n",
		"etc/network/interfaces":                  "iface eth9 inet static\n  address 10.0.0.9/24\niface eth5 inet7 static\nsource interfaces.d/*\n",
		"etc/network/interfaces.d/loop":           "source /etc/network/interfaces\niface eth6 inet dhcp\n",
		"var/lib/dhcp/dhclient.eth0.leases":       "lease { interface \"eth0",
		"var/lib/dhcpcd/eth0.lease":               "short",
		"var/lib/dhcpcd/eth0.lease6":              "\x07abc\x00\x03\xff",
		"run/systemd/netif/leases/3":              "NETMASK=255.255.255.0\n",
		"etc/NetworkManager/system-connections/x": "[connection\n",
		"etc/resolv.conf.d":                       "",
	})
	// What is no file must not be waited for.
	pipe := filepath.Join(root, "etc/systemd/network/06-pipe.network")
	if err := mkfifo(pipe); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(root, "etc/netplan/50-cloud.yaml"), 0); err != nil {
		t.Fatal(err)
	}
	put(t, root, map[string]string{"etc/netplan/60-large.yaml": strings.Repeat("#", 1<<20+1), "etc/netplan/70-good.yaml": "network:\n  ethernets:\n    eth7: {dhcp4: true}\n    eth8: [x]\n"})
	n := netOf(t, ns, root)

	config := mustCall(t, n, "net.config", object{})
	faultOf := map[string]string{}
	for _, f := range objects(config["files"]) {
		if f["error"] != nil {
			faultOf[f["path"].(string)] = text(f["line"]) + " " + text(f["error"])
		}
	}
	for path, want := range map[string]string{
		"/etc/systemd/network/05-broken.network":   "1 section header",
		"/etc/systemd/network/06-pipe.network":     "<nil> not a regular file",
		"/etc/netplan/60-large.yaml":               "<nil> larger than",
		"/etc/netplan/70-good.yaml":                "4 definition of",
		"/etc/netplan/90-broken.yaml":              "1 yaml",
		"/etc/network/interfaces":                  "3 unknown address family \"inet7\"",
		"/etc/NetworkManager/system-connections/x": "1 section header",
	} {
		if !strings.HasPrefix(faultOf[path], want) {
			t.Errorf("%s: %q, want %q", path, faultOf[path], want)
		}
	}
	for name, method := range map[string]string{"eth6": "dhcp", "eth7": "dhcp", "eth9": "static", "eth0": "dhcp"} {
		wantMembers(t, name, find(t, config["interfaces"], "interface", name), object{"ipv4_method": method})
	}
	lease := mustCall(t, n, "net.lease", object{})
	var faults []string
	for _, f := range objects(lease["files"]) {
		if f["error"] != nil {
			faults = append(faults, f["path"].(string))
		}
	}
	for _, path := range []string{"/var/lib/dhcp/dhclient.eth0.leases", "/var/lib/dhcpcd/eth0.lease", "/var/lib/dhcpcd/eth0.lease6", "/run/systemd/netif/leases/3"} {
		if !slices.Contains(faults, path) {
			t.Errorf("%s is not said to be broken: %v", path, faults)
		}
	}
	mustCall(t, n, "net.prefix", object{})
	mustCall(t, n, "net.dns", object{})
}

func mkfifo(path string) error { return syscall.Mkfifo(path, 0o644) }

func put(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// unreadableRoot tells a child of TestUnreadableFiles where the host is.
const unreadableRoot = "NETOPS_TEST_UNREADABLE"

// TestUnreadableFiles: what the daemon may not read is said, and everything else still answered.
func TestUnreadableFiles(t *testing.T) {
	if root := os.Getenv(unreadableRoot); root != "" {
		unreadable(t, netIn(t, root))
		return
	}
	testhost.Root(t)
	root := testhost.Tree(t, "debian12-networkmanager")
	for name, mode := range map[string]os.FileMode{"": 0o755, "..": 0o755, unreadableWifi: 0, "run/NetworkManager/resolv.conf": 0, "var/lib/NetworkManager": 0} {
		if err := os.Chmod(filepath.Join(root, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(unreadableRoot, root)
	testhost.AsNobody(t)
}

const unreadableWifi = "etc/NetworkManager/system-connections/uplink-wifi.nmconnection"

func unreadable(t *testing.T, n *Net) {
	config := mustCall(t, n, "net.config", object{})
	wantMembers(t, "file", find(t, config["files"], "path", "/"+unreadableWifi), object{"error": "open: permission denied"})
	find(t, config["managers"], "name", "NetworkManager")

	lease := mustCall(t, n, "net.lease", object{})
	wantMembers(t, "folder", find(t, lease["files"], "path", "/var/lib/NetworkManager"), object{"error": "open: permission denied"})
	wantMembers(t, "dns", mustCall(t, n, "net.dns", object{}), object{"source": "NetworkManager", "nameservers": []any{}})
	mustCall(t, n, "net.prefix", object{})
}

// TestLeaseOfNoInterface: a name that is not there, and an interface that nobody has.
func TestLeaseOfNoInterface(t *testing.T) {
	n := netOf(t, uplinkHost(t), t.TempDir())
	_, err := call(t, n, "net.lease", object{"interface": "nobody"})
	var notFound *registry.NotFoundError
	if !errors.As(err, &notFound) || notFound.Resource != "interface" {
		t.Errorf("%v, want not_found", err)
	}
	row := objects(mustCall(t, n, "net.lease", object{"interface": "eth0"})["interfaces"])[0]
	wantMembers(t, "row", row, object{"manager": "none", "slaac": []any{}, "prefixes": []any{}, "dhcp4": nil, "dhcp6": nil})
	dns := mustCall(t, n, "net.dns", object{})
	wantMembers(t, "dns", dns, object{"source": "none", "nameservers": []any{}, "files": []any{}})
	wantMembers(t, "config", mustCall(t, n, "net.config", object{}), object{"managers": []any{}, "files": []any{}, "command_line": nil})
}
