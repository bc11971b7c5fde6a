package netconf

import (
	"os"
	"path/filepath"
	"testing"
	"unicode/utf8"
)

// fromText is a document of a text that stands in no file.
func fromText(text string) *document {
	r := NewReader("/does/not/exist")
	return &document{path: "/text", text: text, reader: r, index: r.note("test", "/text")}
}

func seeds(f *testing.F, pattern string, more ...string) {
	names, err := filepath.Glob(pattern)
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	for _, text := range more {
		f.Add(text)
	}
}

// checkFacts fails on what may not stand in an answer.
func checkFacts(t *testing.T, p *Profile) {
	for _, f := range p.Facts {
		if !utf8.ValidString(f.Value) || secret(f.Name) {
			t.Fatalf("fact %+v", f)
		}
	}
	for _, a := range p.Addresses {
		if !a.IsValid() {
			t.Fatalf("address %v", a)
		}
	}
}

func checkLease4(t *testing.T, l *Lease4) {
	if !l.Address.Addr().Is4() || l.Address.Bits() < 0 {
		t.Fatalf("lease of %v", l.Address)
	}
	for _, r := range l.Routes {
		if r.Dst != r.Dst.Masked() {
			t.Fatalf("route to %v", r.Dst)
		}
	}
	for _, s := range append(l.Search, l.Domain, l.Hostname) {
		if !utf8.ValidString(s) {
			t.Fatalf("name %q", s)
		}
	}
	for _, at := range []Times{l.Times} {
		if at.Expires.Year() > 9999 || at.Obtained.Year() > 9999 {
			t.Fatalf("times %v", at)
		}
	}
}

func FuzzDHCP4(f *testing.F) {
	seeds(f, "testdata/leases/*.lease")
	f.Fuzz(func(t *testing.T, text string) {
		if l, err := parseDHCP4([]byte(text)); err == nil {
			checkLease4(t, l)
		}
	})
}

func FuzzDHCP6(f *testing.F) {
	seeds(f, "testdata/leases/*.lease6")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := parseDHCP6([]byte(text))
		if err == nil && l == nil {
			t.Fatal("neither a lease nor an error")
		}
		if l == nil {
			return
		}
		for _, p := range l.Prefixes {
			if p.Prefix != p.Prefix.Masked() || !p.Prefix.IsValid() {
				t.Fatalf("prefix %v", p.Prefix)
			}
		}
	})
}

func FuzzDhclientLeases(f *testing.F) {
	seeds(f, "testdata/leases/*.leases")
	f.Fuzz(func(t *testing.T, text string) {
		v4, _ := fromText(text).dhclientLeases(Dhclient)
		for _, l := range v4 {
			if l.Address.IsValid() {
				checkLease4(t, l)
			}
		}
	})
}

func FuzzNetworkdLease(f *testing.F) {
	f.Add("ADDRESS=198.51.100.67\nNETMASK=255.255.255.0\nLIFETIME=600\nT1=300\nCLASSLESS_ROUTES=10.9.0.0/16,198.51.100.7\nCLIENTID=01b6\n")
	f.Fuzz(func(t *testing.T, text string) {
		if l := fromText(text).networkdLease(Networkd); l != nil {
			checkLease4(t, l)
		}
		fromText(text).networkdLink(1)
		fromText(text).resolvedLink()
	})
}

func FuzzNetworkdUnit(f *testing.F) {
	f.Add("[Match]\nName=eth* !eth0\n[Network]\nDHCP=yes\nAddress=10.0.0.1/24\n[Route]\nGateway=_dhcp4\n# c\n[Link]\nMTUBytes=9K \\\n;x\n 1\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, settle := range []func(*Profile, *document, entry){(*Profile).networkdNetwork, (*Profile).networkdNetdev, (*Profile).networkdLink} {
			p := &Profile{}
			p.unit(fromText(text), settle)
			p.networkdMethods()
			p.Match.Matches(&Link{Name: "eth0", MAC: "52:54:00:00:00:01", Type: "ether"})
			checkFacts(t, p)
		}
	})
}

func FuzzKeyfile(f *testing.F) {
	f.Add("[connection]\nid=a\nuuid=6f7e\ntype=ethernet\ninterface-name=eth0\n[ipv4]\naddress1=10.0.0.2/24,10.0.0.1\ndns=192.0.2.1;\nroute1=10.0.0.0/8,10.0.0.9\n[dhcp4]\ndhcp4.ip_address=1.2.3.4\n[wifi-security]\npsk=x\n")
	f.Fuzz(func(t *testing.T, text string) {
		d := fromText(text)
		p := &Profile{}
		settings := map[string]string{}
		for _, e := range parseIni(d, keyfileStyle) {
			p.addFact(e.section+"."+e.key, e.value, d.path, e.line)
			settings[e.section+"."+e.key] = e.value
			p.keyfileEntry(d, e)
		}
		p.keyfileMatch(settings)
		p.Match.Matches(&Link{Name: "eth0"})
		checkFacts(t, p)
		if l := nmLease4(settings, Holder{}); l != nil {
			checkLease4(t, l)
		}
		nmLease6(settings, Holder{})
	})
}

func FuzzIfupdown(f *testing.F) {
	f.Add("auto lo eth0\niface lo inet loopback\niface base inet static\n address 10.0.0.1\n netmask 255.255.255.0\niface eth0 inherits base\n  mtu \\\n 1400\nmapping eth1\n script /x\nsource /etc/x/*\nsource-directory y\n")
	f.Fuzz(func(t *testing.T, text string) {
		p := ifupdownParser{reader: NewReader("/does/not/exist"), sourced: map[string]bool{}}
		p.parse(fromText(text), 0)
		p.inherit()
		list := p.profiles()
		ifupdownPorts(list)
		for _, profile := range list {
			checkFacts(t, profile)
		}
	})
}

func FuzzNetplan(f *testing.F) {
	f.Add("network:\n  version: 2\n  ethernets:\n    eth0: &a\n      match: {macaddress: \"52:54:00:00:00:01\"}\n      dhcp4: true\n      addresses: [10.0.0.1/24]\n    eth1: *a\n  wifis: {w: {access-points: {x: {password: secret}}}}\n  bridges: {br0: {interfaces: [eth0]}}\n")
	f.Fuzz(func(t *testing.T, text string) {
		n := newNetplanReader()
		n.document = fromText(text)
		n.read()
		for _, p := range n.profiles() {
			p.Match.Matches(&Link{Name: "eth0"})
			checkFacts(t, p)
		}
	})
}

func FuzzCommandLine(f *testing.F) {
	seeds(f, "", "ip=192.0.2.10::192.0.2.1:255.255.255.0:node1:eth0:off", "ip=[2001:db8::1]::[2001:db8::ff]:64::eth0:none ip=eth0:dhcp,dhcp6 -- ip=x",
		"mosip4=dhcp mosip6=slaac,dev=eth0 mosnat=10.0.0.0/24 mosbridge=br0:eth0,eth1 net.ifnames=0 nameserver=[::1] \"ip=dhcp\" x=\"a b\"")
	f.Fuzz(func(t *testing.T, text string) {
		c := ParseCommandLine(text)
		for _, p := range c.profiles() {
			checkFacts(t, p)
		}
		for _, ip := range c.IP {
			if !utf8.ValidString(ip.Value) {
				t.Fatalf("%q", ip.Value)
			}
		}
	})
}

func FuzzResolvConf(f *testing.F) {
	f.Add("# Generated by dhcpcd\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nsearch a.test b.test.\noptions edns0 ndots:2\nsortlist 10.0.0.0\n", "192.0.2.53:5353#ns.test [::1]:53 fe80::1%eth0")
	f.Fuzz(func(t *testing.T, text, servers string) {
		c := fromText(text).resolvConf()
		c.Writer()
		for _, s := range append(c.Servers, dnsServers(servers)...) {
			if !s.Address.IsValid() || s.Address.Zone() != "" || s.Interface != "" && !InterfaceName(s.Interface) {
				t.Fatalf("server %+v", s)
			}
		}
		if len(c.Servers) > maxServers {
			t.Fatalf("%d servers", len(c.Servers))
		}
	})
}

func FuzzDhcpcdConf(f *testing.F) {
	f.Add("hostname\ninterface eth0\nstatic ip_address=10.0.0.2/24\nstatic routers=10.0.0.1\nssid x\npsk y\n")
	f.Fuzz(func(t *testing.T, text string) {
		p := &Profile{}
		for key, value, ok := dhcpcdLine(text); ok; ok = false {
			p.dhcpcdOption(fromText(text), key, value, 1)
		}
		checkFacts(t, p)
		dhcpcdInterface(text)
		(&Process{}).dhcpcdTitle(text)
		(&Process{}).dhclientArguments([]string{text, "-lf"})
	})
}
