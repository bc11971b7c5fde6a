package config

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Fault is a value that breaks a rule.
type Fault struct {
	Key    Key
	Reason string // "must be from 1 to 100"
}

// rules are those of single values that tags do not tell. Each returns what is wrong, or nothing.
var rules = map[string]func(c *Config) string{
	"sockets":     func(c *Config) string { return firstOf(c.Sockets, absolute) },
	"socket_mode": func(c *Config) string { return socketMode(c.SocketMode) },
	"state_dir":   func(c *Config) string { return orEmpty(c.StateDir, absolute) },
	"acl":         func(c *Config) string { return orEmpty(c.ACL, absolute) },
	"listen":      func(c *Config) string { return firstOf(c.Listen, address) },
	"node_name":   func(c *Config) string { return orEmpty(c.NodeName, nodeName) },

	"ovs_run_dir":    func(c *Config) string { return orEmpty(c.OVSRunDir, absolute) },
	"mosnet_socket":  func(c *Config) string { return orEmpty(c.MosnetSocket, absolute) },
	"storage_socket": func(c *Config) string { return orEmpty(c.StorageSocket, absolute) },

	"firewall.input_policy": func(c *Config) string { return oneOf(c.Firewall.InputPolicy, InputPolicies) },
	"firewall.keep_open":    func(c *Config) string { return firstOf(c.Firewall.KeepOpen, ports) },
	"reconcile.mode":        func(c *Config) string { return oneOf(c.Reconcile.Mode, ReconcileModes) },
	"bridge.backend":        func(c *Config) string { return oneOf(c.Bridge.Backend, BridgeBackends) },
	"bridge.ovs_datapath_type": func(c *Config) string {
		return orEmpty(c.Bridge.OVSDatapathType, func(s string) string { return oneOf(s, OVSDatapathTypes) })
	},

	"tls.certificate": func(c *Config) string { return cmp.Or(orEmpty(c.TLS.Certificate, absolute), pair(c)) },
	"tls.key":         func(c *Config) string { return cmp.Or(orEmpty(c.TLS.Key, absolute), pair(c)) },
	"tls.client_ca":   func(c *Config) string { return orEmpty(c.TLS.ClientCA, absolute) },

	"log.level":  func(c *Config) string { return oneOf(c.Log.Level, Levels) },
	"log.format": func(c *Config) string { return oneOf(c.Log.Format, Formats) },
}

// bounds are numbers that must not exceed another, which comes first: more would never be reached.
var bounds = []struct{ part, whole string }{
	{"limits.connections_per_user", "limits.connections"},
	{"limits.calls_per_user", "limits.calls"},
	{"limits.streams_per_user", "limits.streams"},
	{"limits.bodies_per_user_bytes", "limits.bodies_bytes"},
	{"limits.body_bytes", "limits.bodies_per_user_bytes"},
}

// Faults lists the values that break a rule, in the order of Config.
func (c *Config) Faults() []Fault {
	var faults []Fault
	for _, k := range Keys() {
		if k.inner != nil {
			continue
		}
		reason := k.inRange(c)
		if rule := rules[k.Name]; reason == "" && rule != nil {
			reason = rule(c)
		}
		if reason == "" {
			reason = k.inBounds(c)
		}
		if reason != "" {
			faults = append(faults, Fault{k, reason})
		}
	}
	return append(faults, c.interfaceFaults()...)
}

// interfaceFaults are those of [[interface]].
func (c *Config) interfaceFaults() (faults []Fault) {
	seen := map[string]bool{}
	for i := range c.Interfaces {
		n := &c.Interfaces[i]
		add := func(name, reason string) {
			if reason == "" {
				return
			}
			k := keyNamed("interface." + name)
			k.Name = fmt.Sprintf("interface[%d].%s", i, name)
			faults = append(faults, Fault{k, reason})
		}
		add("name", interfaceName(n.Name))
		if seen[n.Name] {
			add("name", "is given twice")
		}
		seen[n.Name] = true
		add("ipv4", orEmpty(n.IPv4, func(s string) string { return oneOf(s, IPv4Methods) }))
		add("ipv6", orEmpty(n.IPv6, func(s string) string { return oneOf(s, IPv6Methods) }))
		add("metric", keyNamed("interface.metric").judge(reflect.ValueOf(n.Metric)))
		add("prefix_delegation", delegation(n))
		add("assign_to", assignees(n))
	}
	return faults
}

func delegation(n *Interface) string {
	if n.PrefixDelegation && n.IPv6 == "none" {
		return "must be false where ipv6 is \"none\": a prefix is asked for by IPv6"
	}
	return ""
}

// assignees judges the interfaces that get parts of a delegated prefix. The one that it comes by must have none
// (RFC 8415 section 6.3).
func assignees(n *Interface) string {
	if len(n.AssignTo) > 0 && !n.PrefixDelegation {
		return "must be empty where prefix_delegation is false: there is nothing to assign"
	}
	for i, name := range n.AssignTo {
		reason := interfaceName(name)
		switch {
		case reason == "" && name == n.Name:
			reason = "must not be the interface that the prefix comes by"
		case reason == "" && slices.Contains(n.AssignTo[:i], name):
			reason = "is given twice"
		}
		if reason != "" {
			return fmt.Sprintf("%q: %s", name, reason)
		}
	}
	return ""
}

// interfaceName asks for what the kernel takes (dev_valid_name of net/core/dev.c).
func interfaceName(s string) string {
	odd := func(r rune) bool { return r <= ' ' || r > '~' || r == '/' || r == ':' }
	if s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsFunc(s, odd) {
		return "must be the name of a network interface: 1 to 15 printable ASCII characters, no blank, slash or colon"
	}
	return ""
}

// inBounds judges a number by the other that bounds it.
func (k Key) inBounds(c *Config) string {
	for _, b := range bounds {
		if b.part != k.Name {
			continue
		}
		if n, most := k.value(c).Int(), keyNamed(b.whole).value(c).Int(); n > most {
			return fmt.Sprintf("is %d, must be at most %s, which is %d", n, b.whole, most)
		}
	}
	return ""
}

// fit lowers defaults to the numbers that bound them: who sets a small total need not set its parts.
func (c *Config) fit(named func(key string) bool) {
	for _, b := range bounds {
		part, whole := keyNamed(b.part).value(c), keyNamed(b.whole).value(c)
		if !named(b.part) && part.Int() > whole.Int() {
			part.Set(whole)
		}
	}
}

func keyNamed(name string) Key {
	keys := Keys()
	return keys[slices.IndexFunc(keys, func(k Key) bool { return k.Name == name })]
}

// inRange judges a number by its range tag.
func (k Key) inRange(c *Config) string {
	if k.Range == "" {
		return ""
	}
	return k.judge(k.value(c))
}

// judge judges a number by the range tag of a key. NaN is in no range.
func (k Key) judge(v reflect.Value) string {
	low, high, _ := strings.Cut(k.Range, "..")
	lowest, _ := strconv.ParseFloat(low, 64)
	highest, _ := strconv.ParseFloat(high, 64)
	if n := v.Convert(reflect.TypeFor[float64]()).Float(); n >= lowest && n <= highest {
		return ""
	}
	return fmt.Sprintf("must be from %s to %s", low, high)
}

func firstOf(values []string, rule func(string) string) string {
	for _, v := range values {
		if reason := rule(v); reason != "" {
			return fmt.Sprintf("%q: %s", v, reason)
		}
	}
	return ""
}

func orEmpty(value string, rule func(string) string) string {
	if value == "" {
		return ""
	}
	return rule(value)
}

func absolute(path string) string {
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
		return "must be an absolute path"
	}
	return ""
}

// address asks for what a TCP socket can be bound to, in numbers: names would be looked up at a time when
// the network is not there yet.
func address(s string) string {
	host, port, err := net.SplitHostPort(s)
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || n == 0 {
		return "must be [ADDRESS]:PORT, with a port from 1 to 65535"
	}
	if _, err := netip.ParseAddr(host); host != "" && err != nil {
		return "must begin with an IP address, or with : for all of the node's"
	}
	return ""
}

// ports asks for a protocol and its ports: tcp/443, udp/5000-5010.
func ports(s string) string {
	protocol, list, _ := strings.Cut(s, "/")
	first, last, ranged := strings.Cut(list, "-")
	if !ranged {
		last = first
	}
	a, errA := strconv.ParseUint(first, 10, 16)
	b, errB := strconv.ParseUint(last, 10, 16)
	if !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) || errA != nil || errB != nil || a == 0 || b < a {
		return "must be tcp, udp or sctp, a slash, and a port from 1 to 65535 or a rising range of them"
	}
	return ""
}

func pair(c *Config) string {
	if (c.TLS.Certificate == "") != (c.TLS.Key == "") {
		return "tls.certificate and tls.key go together"
	}
	return ""
}

// socketMode asks for what chmod(1) takes, of permission bits only.
func socketMode(s string) string {
	mode, err := strconv.ParseUint(s, 8, 32)
	if err != nil || mode > 0o777 || len(s) > 4 {
		return `must be up to four octal digits from "0" to "0777"`
	}
	return ""
}

// nodeName keeps a name in one line and one word: it is one line of what a signed request signs.
func nodeName(s string) string {
	odd := func(r rune) bool { return r <= ' ' || r > '~' }
	if len(s) > 253 || strings.ContainsFunc(s, odd) {
		return "must be at most 253 printable ASCII characters without blanks"
	}
	return ""
}

// IsNodeName tells whether a name can be a node's: the host's own need not be.
func IsNodeName(s string) bool { return s != "" && nodeName(s) == "" }

func oneOf(value string, all []string) string {
	if slices.Contains(all, value) {
		return ""
	}
	return "must be one of " + strings.Join(all, ", ")
}
