package netconf

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// hostOf writes a host's files; a value that begins with -> is a link.
func hostOf(t *testing.T, files map[string]string) *Reader {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "->"); ok {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return NewReader(root)
}

var (
	eth0 = &Link{Index: 2, Name: "eth0", AltNames: []string{"enp1s0"}, MAC: "52:54:00:00:00:01", PermMAC: "52:54:00:00:00:01", Type: "ether", Driver: "virtio_net"}
	wlan = &Link{Index: 3, Name: "wlan0", MAC: "52:54:00:00:00:02", PermMAC: "52:54:00:00:00:02", Type: "wlan"}
)

func TestMatch(t *testing.T) {
	for text, want := range map[string]string{
		"Name=eth0":                             "eth0",
		"Name=e*":                               "eth0",
		"Name=!eth0":                            "wlan0",
		"Name=enp1s0":                           "eth0",
		"Name=[!e]*":                            "wlan0",
		"Name=eth0 wlan0":                       "eth0 wlan0",
		"Type=wlan":                             "wlan0",
		"Type=!wlan":                            "eth0",
		"MACAddress=52:54:00:00:00:02":          "wlan0",
		"MACAddress=52-54-00-00-00-02":          "wlan0",
		"PermanentMACAddress=52:54:00:00:00:01": "eth0",
		"Driver=virtio*":                        "eth0",
		"Name=eth0\nType=wlan":                  "",
		"Name=x\nName=\nName=eth0":              "eth0",
		"Name=eth0\nSSID=lab":                   "",
		"Name=eth0\nVirtualization=vm":          "",
		"Kind=bridge":                           "",
		"Name=*":                                "eth0 wlan0",
		"# nothing":                             "",
		"MACAddress=52:54:00:00:00:01 52:54:0:0:0:0:2": "eth0",
	} {
		r := hostOf(t, map[string]string{"etc/systemd/network/a.network": "[Match]\n" + text + "\n"})
		c := r.Config()
		var got []string
		for _, l := range []*Link{eth0, wlan} {
			if _, facts := c.Resolve(l, Owner{}); len(facts) > 0 {
				got = append(got, l.Name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q matches %v, want %s", text, got, want)
		}
	}
}

// resolvedWords is what all files make of an interface, and the file that weighs most.
func resolvedWords(c *Config, l *Link, owner Owner) string {
	s, facts := c.Resolve(l, owner)
	var words []string
	say := func(name string, value any) {
		if text := fmt.Sprint(value); text != "" && text != "[]" && text != "0" {
			words = append(words, name+"="+text)
		}
	}
	say("v4", s.Method4)
	say("v6", s.Method6)
	say("addresses", s.Addresses)
	say("gateways", s.Gateways)
	say("dns", s.DNS)
	say("search", s.Search)
	say("mtu", s.MTU)
	say("mac", s.MAC)
	say("bridge", s.Bridge)
	say("bond", s.Bond)
	say("parent", s.Parent)
	if s.HasVLAN {
		say("vlan", s.VLAN)
	}
	if len(facts) > 0 {
		say("from", facts[0].Source)
	}
	return strings.Join(words, " ")
}

func TestResolve(t *testing.T) {
	const plain = "[Match]\nName=eth0\n"
	tests := []struct {
		name  string
		files map[string]string
		want  string
		owner Owner
	}{
		{"networkd: /etc before /run before /usr/lib", map[string]string{
			"etc/systemd/network/50-a.network":     plain + "[Network]\nAddress=10.0.0.1/24\nGateway=10.0.0.254\nDNS=192.0.2.1\nDomains=a.test ~b.test\n",
			"run/systemd/network/50-a.network":     plain + "[Network]\nDHCP=yes\n",
			"usr/lib/systemd/network/60-b.network": plain + "[Network]\nDHCP=yes\n",
		}, "v4=static v6=slaac addresses=[10.0.0.1/24] gateways=[10.0.0.254] dns=[192.0.2.1] search=[a.test] from=/etc/systemd/network/50-a.network", Owner{}},
		{"networkd: masked by a link to /dev/null", map[string]string{
			"etc/systemd/network/50-a.network":     "->/dev/null",
			"run/systemd/network/50-a.network":     plain + "[Network]\nDHCP=yes\n",
			"usr/lib/systemd/network/60-b.network": plain + "[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n",
		}, "v4=dhcp v6=disabled from=/usr/lib/systemd/network/60-b.network", Owner{}},
		{"networkd: masked by an empty file", map[string]string{
			"etc/systemd/network/50-a.network": "",
			"run/systemd/network/50-a.network": plain + "[Network]\nDHCP=yes\n",
		}, "", Owner{}},
		{"networkd: drop-ins, and an empty value takes back", map[string]string{
			"usr/lib/systemd/network/50-a.network":           plain + "[Network]\nAddress=10.0.0.1/24\nDHCP=ipv4\n[Link]\nMTUBytes=9K\n",
			"etc/systemd/network/50-a.network.d/10-x.conf":   "[Network]\nAddress=\nAddress=10.0.0.2/24\nDHCP=no\n",
			"run/systemd/network/50-a.network.d/10-x.conf":   "[Network]\nAddress=10.0.0.3/24\n",
			"usr/lib/systemd/network/50-a.network.d/99.conf": "[Network]\nIPv6AcceptRA=no\nLinkLocalAddressing=ipv6\n",
		}, "v4=static v6=link_local addresses=[10.0.0.2/24] mtu=9216 from=/usr/lib/systemd/network/50-a.network.d/99.conf", Owner{}},
		{"networkd: what the daemon says that it applies", map[string]string{
			"etc/systemd/network/10.network": plain + "[Network]\nDHCP=yes\n",
			"etc/systemd/network/20.network": "[Match]\nSSID=x\n[Network]\nBridge=br0\n",
		}, "bridge=br0 from=/etc/systemd/network/20.network", Owner{Manager: Networkd, Config: "/etc/systemd/network/20.network"}},
		{"link file and netplan fill what the manager leaves open", map[string]string{
			"etc/systemd/network/10.link":    "[Match]\nOriginalName=eth0\n[Link]\nMACAddress=52:54:00:aa:bb:cc\n",
			"etc/systemd/network/10.network": plain + "[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n",
			"etc/netplan/a.yaml":             "network: {ethernets: {eth0: {dhcp4: true, mtu: 1400}}, bonds: {bond0: {interfaces: [eth0]}}}\n",
		}, "v4=dhcp v6=disabled mtu=1400 mac=52:54:00:aa:bb:cc bond=bond0 from=/etc/systemd/network/10.network", Owner{}},
		{"netplan: a later file counts, lists join, a match names other interfaces than the id", map[string]string{
			"etc/netplan/10.yaml": "network:\n  ethernets:\n    up:\n      match: {macaddress: \"52:54:00:00:00:01\"}\n      dhcp4: true\n      addresses: [10.0.0.1/24]\n",
			"etc/netplan/20.yaml": "network:\n  ethernets:\n    up:\n      dhcp4: no\n      addresses: [2001:db8::1/64]\n      routes: [{to: default, via: 10.0.0.9}]\n      nameservers: {addresses: [192.0.2.7], search: [n.test]}\n",
			"run/netplan/10.yaml": "network:\n  ethernets:\n    up:\n      match: {macaddress: \"52:54:00:00:00:01\"}\n      dhcp4: true\n",
		}, "v6=static addresses=[2001:db8::1/64] gateways=[10.0.0.9] dns=[192.0.2.7] search=[n.test] from=/etc/netplan/20.yaml", Owner{}},
		{"NetworkManager: the active connection, a port by uuid", map[string]string{
			"etc/NetworkManager/system-connections/br.nmconnection":   "[connection]\nuuid=u-br\ntype=bridge\ninterface-name=br7\n",
			"etc/NetworkManager/system-connections/port.nmconnection": "[connection]\nuuid=u-1\ntype=ethernet\nmaster=u-br\nslave-type=bridge\n[ethernet]\nmtu=1300\n",
			"run/NetworkManager/system-connections/auto.nmconnection": "[connection]\nuuid=u-2\ntype=ethernet\n[ipv4]\nmethod=auto\n",
		}, "mtu=1300 bridge=br7 from=/etc/NetworkManager/system-connections/port.nmconnection", Owner{Manager: NetworkManager, Config: "u-1"}},
		{"NetworkManager: addresses with gateways", map[string]string{
			"etc/NetworkManager/system-connections/a": "[connection]\nuuid=u\ntype=ethernet\n[ipv4]\nmethod=manual\naddress1=10.0.0.2/24,10.0.0.1\ndns=192.0.2.1;192.0.2.2;\ndns-search=x.test;\n[ipv6]\nmethod=auto\n",
		}, "v4=static v6=slaac addresses=[10.0.0.2/24] gateways=[10.0.0.1] dns=[192.0.2.1 192.0.2.2] search=[x.test] from=/etc/NetworkManager/system-connections/a", Owner{}},
		{"ifupdown: patterns, and ports of a bridge's stanza", map[string]string{
			"etc/network/interfaces": "auto /eth*\niface /eth* inet dhcp\niface br0 inet manual\n bridge_ports eth0 eth1\n",
		}, "v4=dhcp bridge=br0 from=/etc/network/interfaces", Owner{}},
		{"dhcpcd.conf", map[string]string{
			"etc/dhcpcd.conf": "hostname\ninterface eth0\nstatic ip_address=10.0.0.5/24\nstatic routers=10.0.0.1\nstatic domain_name_servers=192.0.2.5 192.0.2.6\ninterface eth1\nnoipv4\n",
		}, "v4=static addresses=[10.0.0.5/24] gateways=[10.0.0.1] dns=[192.0.2.5 192.0.2.6] from=/etc/dhcpcd.conf", Owner{}},
		{"ip= of the command line", map[string]string{
			"proc/cmdline": "quiet ip=192.0.2.10::192.0.2.1:255.255.255.0:n:eth0:off:192.0.2.53\n",
		}, "v4=static addresses=[192.0.2.10/24] gateways=[192.0.2.1] dns=[192.0.2.53] from=/proc/cmdline", Owner{}},
		{"ip= by MAC address", map[string]string{"proc/cmdline": "ip=52-54-00-00-00-01:dhcp\n"}, "v4=dhcp from=/proc/cmdline", Owner{}},
		{"the owner's file counts, not that of the weightier manager", map[string]string{
			"etc/systemd/network/10.network": plain + "[Network]\nDHCP=yes\n",
			"etc/network/interfaces":         "iface eth0 inet static\n address 10.0.0.7/24\n",
		}, "v4=static addresses=[10.0.0.7/24] from=/etc/network/interfaces", Owner{Manager: Ifupdown}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := hostOf(t, test.files)
			if got := resolvedWords(r.Config(), eth0, test.owner); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
			for _, f := range r.Files {
				if f.Err != nil {
					t.Errorf("%s:%d: %v", f.Path, f.Line, f.Err)
				}
			}
		})
	}
}

func TestVirtualInterfaces(t *testing.T) {
	c := hostOf(t, map[string]string{
		"etc/systemd/network/10-vlan.netdev":  "[NetDev]\nName=uplink.7\nKind=vlan\nMTUBytes=1496\n[VLAN]\nId=7\n",
		"etc/systemd/network/20-up.network":   "[Match]\nName=eth0\n[Network]\nVLAN=uplink.7\n",
		"etc/systemd/network/30-vlan.network": "[Match]\nName=uplink.7\n[Network]\nDHCP=ipv4\n",
		"usr/lib/systemd/network/80.network":  "[Match]\nVirtualization=container\nName=host0\n[Network]\nDHCP=yes\n",
		"etc/netplan/a.yaml":                  "network:\n  vlans:\n    lab.9: {id: 9, link: eth0, addresses: [10.9.0.1/24]}\n  tunnels:\n    wg0: {mode: wireguard, key: aaaa, keys: {private: bbbb}}\n",
	}).Config()
	if got := c.Names(); !slices.Equal(got, []string{"eth0", "lab.9", "uplink.7", "wg0"}) {
		t.Errorf("names: %v", got)
	}
	if got, want := resolvedWords(c, &Link{Name: "uplink.7"}, Owner{}), "v4=dhcp v6=slaac mtu=1496 parent=eth0 vlan=7 from=/etc/systemd/network/30-vlan.network"; got != want {
		t.Errorf("uplink.7: %q", got)
	}
	if got, want := resolvedWords(c, &Link{Name: "lab.9"}, Owner{}), "v4=static addresses=[10.9.0.1/24] parent=eth0 vlan=9 from=/etc/netplan/a.yaml"; got != want {
		t.Errorf("lab.9: %q", got)
	}
	_, facts := c.Resolve(&Link{Name: "wg0"}, Owner{})
	if len(facts) != 1 || facts[0].Name != "tunnels.wg0.mode" {
		t.Errorf("facts of wg0: %v", facts)
	}
}

func TestSecrets(t *testing.T) {
	for _, name := range []string{"WireGuard.PrivateKey", "WireGuardPeer.PresharedKey", "wifi-security.psk", "802-1x.password", "802-1x.private-key-password",
		"wifi-security.wep-key0", "iface.inet.wpa-psk", "iface.inet.wireless-key1", "wifis.w.access-points.lab.password", "tunnels.wg0.keys.private",
		"tunnels.wg0.key", "MACsecTransmitAssociation.Key", "gsm.pin", "vpn-secrets.x"} {
		if !secret(name) {
			t.Errorf("%s is told", name)
		}
	}
	for _, name := range []string{"Network.DHCP", "wifi-security.key-mgmt", "wifi.ssid", "iface.inet.address", "ipv4.method", "GRE.KeyName"} {
		if secret(name) {
			t.Errorf("%s is withheld", name)
		}
	}
}

func TestParseCommandLine(t *testing.T) {
	p := netip.MustParsePrefix
	a := netip.MustParseAddr
	got := ParseCommandLine(`root=/dev/vda1 ip=192.0.2.10:192.0.2.2:192.0.2.1:255.255.255.128:node1:eth0:off:192.0.2.53:192.0.2.54:192.0.2.123 ip=dhcp ip=eth1:dhcp6 ` +
		`ip=[2001:db8::1]::[2001:db8::ff]:64:n6:eth2:none ip=192.0.2.9::x:255.0.255.0 ip=nonsense net.ifnames=0 nameserver=192.0.2.7 vlan=v7:eth0 "bond=b0:a,b" ` +
		`mosip4=dhcp mosip4=10.0.0.2/24,gw=10.0.0.1,dev=eth0 mosip6=slaac mosip6=what? mosnat=10.0.0.0/24,out=eth0 mosnat=1 mosbridge=br0:eth1,eth2,10.0.0.1/24 mosbridge=::: -- ip=dhcp` + "\n")
	want := &CommandLine{
		Text: got.Text,
		IP: []KernelIP{
			{Value: "192.0.2.10:192.0.2.2:192.0.2.1:255.255.255.128:node1:eth0:off:192.0.2.53:192.0.2.54:192.0.2.123", Address: p("192.0.2.10/25"), Server: a("192.0.2.2"),
				Gateway: a("192.0.2.1"), Hostname: "node1", Device: "eth0", Autoconf: "off", DNS: []netip.Addr{a("192.0.2.53"), a("192.0.2.54")}, NTP: []netip.Addr{a("192.0.2.123")}},
			{Value: "dhcp", Autoconf: "dhcp"},
			{Value: "eth1:dhcp6", Device: "eth1", Autoconf: "dhcp6"},
			{Value: "[2001:db8::1]::[2001:db8::ff]:64:n6:eth2:none", Address: p("2001:db8::1/64"), Gateway: a("2001:db8::ff"), Hostname: "n6", Device: "eth2", Autoconf: "none"},
			{Value: "192.0.2.9::x:255.0.255.0", Err: `netmask: "255.0.255.0" is none`},
			{Value: "nonsense", Autoconf: "nonsense", Err: `autoconf: "nonsense" is none of its words`},
		},
		MosIP: []BootIP{
			{Value: "dhcp", Method: "dhcp"},
			{Value: "10.0.0.2/24,gw=10.0.0.1,dev=eth0", Method: "static", Interface: "eth0", Addresses: []netip.Prefix{p("10.0.0.2/24")}, Gateway: a("10.0.0.1")},
			{Value: "slaac", Six: true, Method: "slaac"},
			{Value: "what?", Six: true, Err: `"what?" is not understood`},
		},
		MosNAT:    []BootNAT{{Value: "10.0.0.0/24,out=eth0", Source: p("10.0.0.0/24"), Out: "eth0"}, {Value: "1", Said: true, Enabled: true}},
		MosBridge: []BootBridge{{Value: "br0:eth1,eth2,10.0.0.1/24", Name: "br0", Ports: []string{"eth1", "eth2"}, Addresses: []netip.Prefix{p("10.0.0.1/24")}}, {Value: ":::", Err: `":::" is not understood`}},
		IfNames:   "0", NameServers: []netip.Addr{a("192.0.2.7")}, VLANs: []string{"v7:eth0"}, Bonds: []string{"b0:a,b"},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

func TestWriterOfResolvConf(t *testing.T) {
	for text, want := range map[string]string{
		"->../run/systemd/resolve/stub-resolv.conf":                                        Resolved,
		"->/run/NetworkManager/resolv.conf":                                                NetworkManager,
		"->../run/resolvconf/resolv.conf":                                                  "resolvconf",
		"# Generated by NetworkManager\n":                                                  NetworkManager,
		"# Generated by dhcpcd from eth0.dhcp\n":                                           Dhcpcd,
		"# Dynamic resolv.conf(5) file for glibc resolver(3) generated by resolvconf(8)\n": "resolvconf",
		"nameserver 192.0.2.1\n":                                                           "static",
	} {
		r := hostOf(t, map[string]string{"etc/resolv.conf": text, "run/systemd/resolve/stub-resolv.conf": "x", "run/NetworkManager/resolv.conf": "x", "run/resolvconf/resolv.conf": "x"})
		c := r.ResolvConf()
		if c == nil {
			t.Errorf("%q: %v", text, r.Files)
		} else if got := c.Writer(); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	c := hostOf(t, map[string]string{"etc/resolv.conf": "domain d.test\nsearch a.test. b.test\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver ::1\nnameserver 192.0.2.4\noptions ndots:2 rotate\noptions edns0\nsortlist 10.0.0.0/255.0.0.0\n"}).ResolvConf()
	want := &ResolvConfFile{Path: "/etc/resolv.conf", Search: []string{"a.test", "b.test"}, Options: []string{"ndots:2", "rotate", "edns0"}, Sortlist: []string{"10.0.0.0/255.0.0.0"},
		Servers: []DNSServer{{Address: netip.MustParseAddr("192.0.2.1")}, {Address: netip.MustParseAddr("fe80::1"), Interface: "eth0"}, {Address: netip.MustParseAddr("::1")}}}
	if diff := cmp.Diff(want, c, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
}

func TestNoResolvConf(t *testing.T) {
	if c := hostOf(t, nil).ResolvConf(); c != nil {
		t.Errorf("of no file: %+v", c)
	}
	if c := hostOf(t, map[string]string{"etc/resolv.conf": "->../run/gone"}).ResolvConf(); c != nil {
		t.Errorf("of a link to nowhere: %+v", c)
	}
	r := hostOf(t, map[string]string{"etc/resolv.conf/x": ""})
	if c := r.ResolvConf(); c == nil || c.Writer() != "unknown" || r.Files[0].Err == nil {
		t.Errorf("of a folder: %+v", c)
	}
}

// TestStaysBelowRoot: links out of a host lead back into it.
func TestStaysBelowRoot(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("nameserver 192.0.2.66\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{outside, "../../../../../../../.." + outside} {
		if c := hostOf(t, map[string]string{"etc/resolv.conf": "->" + target}).ResolvConf(); c != nil {
			t.Errorf("%s: %+v", target, c)
		}
	}
}
