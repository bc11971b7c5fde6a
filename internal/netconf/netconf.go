// Package netconf reads how a host's network is configured, and what its managers hold, from the files
// that they keep: the kernel command line, systemd-networkd, netplan, ifupdown, NetworkManager, dhclient,
// dhcpcd, resolv.conf(5) and systemd-resolved. One file, or a few of one prefix, holds one of them.
//
// It asks no daemon and no bus, resolves no names, starts nothing and writes nothing. A file that is not
// there is no fact. One that cannot be read or understood is noted in [Reader.Files] with the reason, and
// whatever else there is still comes. Files are read whole, within bounds, and only regular ones: a pipe or
// a device in the place of a file is a fault, and nothing waits for it.
//
// Passwords and keys are dropped where they are read.
package netconf

import (
	"net/netip"
	"slices"
	"strings"
)

// The managers, by the names that facts, files and leases bear.
const (
	Kernel         = "kernel" // its command line
	Networkd       = "systemd-networkd"
	Netplan        = "netplan"
	Ifupdown       = "ifupdown"
	NetworkManager = "NetworkManager"
	Dhclient       = "dhclient"
	Dhcpcd         = "dhcpcd"
	ResolvConf     = "resolv.conf"
	Resolved       = "systemd-resolved"
)

// File is a file that was looked at.
type File struct {
	Path    string // below the root
	Manager string // whose file it is
	Err     error  // why it could not be read or understood; nil: it was
	Line    int    // of that error; 0: of no line
}

// Fact is one setting and where it stands.
type Fact struct {
	Name   string // in the words of its place: Network.DHCP, ipv4.method, iface.inet.address
	Value  string
	Source string // path of the file, /proc/cmdline
	Line   int    // 0: not a place in lines
}

// Link is what is known of an interface that is there, for files that name interfaces by properties.
type Link struct {
	Index    int
	Name     string
	AltNames []string
	MAC      string // lower-case pairs with colons; "" for none
	PermMAC  string // burnt in
	Type     string // ether, loopback, wlan: as networkctl prints it; "" unknown
	Kind     string // IFLA_INFO_KIND: bridge, veth; "" for a device
	Driver   string // of the device; "" unknown
}

// Settings is what a configuration makes of an interface. Zero values are not said.
type Settings struct {
	Method4   string // dhcp, static, link_local, shared, manual, disabled
	Method6   string // slaac, dhcp, static, link_local, shared, manual, disabled
	Addresses []netip.Prefix
	Gateways  []netip.Addr
	DNS       []netip.Addr
	Search    []string
	MTU       uint32
	MAC       string
	Bridge    string // that it is a port of
	Bond      string
	Parent    string // that a VLAN or another sub-interface stands on
	VLAN      int    // valid where HasVLAN
	HasVLAN   bool
}

// Profile is one configuration of a manager and the interfaces that it is for.
type Profile struct {
	Manager string
	Source  string // its main file
	Match   Match
	Creates bool // the manager makes the interface that Match names
	Facts   []Fact
	Settings
}

// Match says which interfaces a profile is for. All that is given must hold.
type Match struct {
	Names     []string // shell patterns of names; one that begins with ! turns the list around
	MACs      []string
	PermMACs  []string
	Types     []string // as Names
	Kinds     []string // as Names
	Drivers   []string // as Names
	Undecided []string // conditions that files alone do not decide: such a profile matches nothing
	Nothing   bool     // no condition is given and none means no interface
}

// Matches tells whether the profile is for the interface. Of one that is not there the name alone is
// known, and only who asks for that means it.
func (m *Match) Matches(l *Link) bool {
	if m.Nothing {
		return false
	}
	if l.Index == 0 {
		return slices.Contains(m.PlainNames(), l.Name)
	}
	if len(m.Undecided) > 0 {
		return false
	}
	names := append([]string{l.Name}, l.AltNames...)
	return matchList(m.Names, names...) && matchList(m.Types, l.Type) && matchList(m.Kinds, l.Kind) &&
		matchList(m.Drivers, l.Driver) && matchMAC(m.MACs, l.MAC) && matchMAC(m.PermMACs, l.PermMAC)
}

// PlainNames returns the plain names that the match asks for: interfaces that are meant, there or not.
func (m *Match) PlainNames() []string {
	var names []string
	for _, n := range m.Names {
		if !strings.ContainsAny(n, "*?[!\\") {
			names = append(names, n)
		}
	}
	return names
}

// matchList tells whether one of the values fits one of the patterns. No pattern fits all.
func matchList(patterns []string, values ...string) bool {
	if len(patterns) == 0 {
		return true
	}
	turned := strings.HasPrefix(patterns[0], "!")
	for i, p := range patterns {
		if i == 0 && turned {
			p = p[1:]
		}
		for _, v := range values {
			if v != "" && Glob(p, v) {
				return !turned
			}
		}
	}
	return turned
}

func matchMAC(macs []string, mac string) bool {
	return len(macs) == 0 || mac != "" && slices.Contains(macs, mac)
}

// secretWords are parts of the names of settings whose values nobody is told.
var secretWords = []string{"password", "passphrase", "psk", "privatekey", "presharedkey", "wepkey", "wirelesskey", "secret", "token", "community"}

// secret tells whether the setting of that name is a key or a password, and so none of our facts.
func secret(name string) bool {
	name = strings.ToLower(name)
	last := name[strings.LastIndexAny(name, ".")+1:]
	if last == "key" || last == "pin" || strings.Contains(name, ".keys.") {
		return true
	}
	name = strings.NewReplacer("-", "", "_", "").Replace(name)
	return slices.ContainsFunc(secretWords, func(w string) bool { return strings.Contains(name, w) })
}

// addFact notes a setting, unless it is a secret.
func (p *Profile) addFact(name, value, source string, line int) {
	if !secret(name) {
		p.Facts = append(p.Facts, Fact{Name: name, Value: clean(value), Source: source, Line: line})
	}
}

// clean is text that may stand in an answer: valid UTF-8, within bounds.
func clean(s string) string {
	const most = 4096
	if len(s) > most {
		s = s[:most]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
