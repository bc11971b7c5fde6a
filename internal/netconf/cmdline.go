package netconf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// CommandLine is what the kernel was booted with, as far as it regards the network.
type CommandLine struct {
	Text        string
	IP          []KernelIP
	MosIP       []BootIP // mosip4= and mosip6=
	MosNAT      []BootNAT
	MosBridge   []BootBridge
	IfNames     string // value of net.ifnames=, "" not given
	BootDev     string
	NameServers []netip.Addr
	VLANs       []string
	Bonds       []string
	Bridges     []string
}

// KernelIP is one ip= (Documentation/admin-guide/nfs/nfsroot.rst, dracut.cmdline(7)).
type KernelIP struct {
	Value    string
	Address  netip.Prefix
	Server   netip.Addr
	Gateway  netip.Addr
	Hostname string
	Device   string
	Autoconf string
	DNS, NTP []netip.Addr
	Err      string
}

// BootIP is one mosip4= or mosip6=.
type BootIP struct {
	Value     string
	Six       bool
	Interface string
	Method    string // dhcp, static, slaac, none
	Addresses []netip.Prefix
	Gateway   netip.Addr
	Err       string
}

// BootNAT is one mosnat=.
type BootNAT struct {
	Value   string
	Said    bool // whether Enabled is known
	Enabled bool
	Source  netip.Prefix
	Out     string
	Err     string
}

// BootBridge is one mosbridge=.
type BootBridge struct {
	Value     string
	Name      string
	Ports     []string
	Addresses []netip.Prefix
	Err       string
}

const commandLinePath = "/proc/cmdline"

// CommandLine reads /proc/cmdline; nil where there is none.
func (r *Reader) CommandLine() *CommandLine {
	d := r.read(Kernel, commandLinePath)
	if d == nil {
		return nil
	}
	return ParseCommandLine(d.text)
}

// ParseCommandLine reads the parameters of the network: words parted by blanks, in which double quotes keep
// blanks together; what stands behind -- is init's.
func ParseCommandLine(text string) *CommandLine {
	c := &CommandLine{Text: clean(strings.Trim(text, "\n\x00"))}
	for _, word := range kernelWords(c.Text) {
		if word == "--" {
			break
		}
		if key, value, ok := strings.Cut(word, "="); ok {
			c.parameter(key, unquote(value))
		}
	}
	return c
}

// kernelWords splits as next_arg of the kernel does.
func kernelWords(text string) []string {
	quoted := false
	words := strings.FieldsFunc(text, func(c rune) bool {
		if c == '"' {
			quoted = !quoted
		}
		return !quoted && (c == ' ' || c == '\t' || c == '\n')
	})
	for i, w := range words {
		if len(w) > 1 && w[0] == '"' { // quotes around the whole parameter
			words[i] = unquote(w)
		}
	}
	return words
}

func (c *CommandLine) parameter(key, value string) {
	switch key {
	case "ip":
		c.IP = append(c.IP, parseKernelIP(value))
	case "mosip4", "mosip6":
		c.MosIP = append(c.MosIP, parseBootIP(value, key == "mosip6"))
	case "mosnat":
		c.MosNAT = append(c.MosNAT, parseBootNAT(value))
	case "mosbridge":
		c.MosBridge = append(c.MosBridge, parseBootBridge(value))
	case "net.ifnames":
		c.IfNames = value
	case "bootdev":
		c.BootDev = value
	case "nameserver":
		if a := addr(strings.Trim(value, "[]")); a.IsValid() {
			c.NameServers = append(c.NameServers, a)
		}
	case "vlan":
		c.VLANs = append(c.VLANs, value)
	case "bond":
		c.Bonds = append(c.Bonds, value)
	case "bridge":
		c.Bridges = append(c.Bridges, value)
	}
}

// autoconfWords are what ip= says in the place of autoconf: the kernel's, dracut's and initramfs-tools'.
var autoconfWords = []string{"off", "none", "on", "any", "dhcp", "bootp", "rarp", "both", "dhcp6", "auto6", "either6", "ibft",
	"link6", "link-local", "single-dhcp"}

// parseKernelIP reads
//
//	<client-ip>:<server-ip>:<gw-ip>:<netmask>:<hostname>:<device>:<autoconf>:<dns0-ip>:<dns1-ip>:<ntp0-ip>
//
// <autoconf>, and dracut's <device>:<autoconf>. Fields may be empty, and those at the end absent; IPv6
// addresses stand in brackets.
func parseKernelIP(value string) KernelIP {
	ip := KernelIP{Value: value}
	f := colonFields(value)
	switch {
	case len(f) == 1 && !addr(f[0]).IsValid():
		ip.setAutoconf(f[0])
		return ip
	case len(f) >= 2 && len(f) <= 4 && !addr(f[0]).IsValid() && slices.Contains(autoconfWords, firstOf(f[1])):
		ip.Device = f[0]
		ip.setAutoconf(f[1])
		return ip
	}
	f = append(f, make([]string, 10)...)
	ip.setAddress(f[0], f[3])
	ip.Server, ip.Gateway = ip.address("server", f[1]), ip.address("gateway", f[2])
	ip.Hostname, ip.Device = f[4], f[5]
	if f[6] != "" {
		ip.setAutoconf(f[6])
	}
	for _, s := range f[7:9] {
		if a := ip.address("dns", s); a.IsValid() {
			ip.DNS = append(ip.DNS, a)
		}
	}
	if a := ip.address("ntp", f[9]); a.IsValid() {
		ip.NTP = append(ip.NTP, a)
	}
	return ip
}

// firstOf is the first of several words with commas between them, as dracut takes them.
func firstOf(s string) string {
	s, _, _ = strings.Cut(s, ",")
	return s
}

func (ip *KernelIP) setAutoconf(s string) {
	ip.Autoconf = s
	if !slices.Contains(autoconfWords, firstOf(s)) {
		ip.fail("autoconf: %q is none of its words", s)
	}
}

func (ip *KernelIP) fail(format string, args ...any) {
	if ip.Err == "" {
		ip.Err = clean(fmt.Sprintf(format, args...))
	}
}

func (ip *KernelIP) address(field, s string) netip.Addr {
	a := addr(s)
	if s != "" && !a.IsValid() {
		ip.fail("%s: %q is not an address", field, s)
	}
	return specified(a)
}

// setAddress joins the client's address with the netmask, which may be a number of bits.
func (ip *KernelIP) setAddress(client, mask string) {
	a := ip.address("client", client)
	if !a.IsValid() {
		if p, err := netip.ParsePrefix(client); err == nil {
			ip.Address, ip.Err = p, ""
		}
		return
	}
	if mask == "" {
		return // the kernel makes one by the address' class; it is not said here
	}
	if p := withMask(a, mask); p.IsValid() {
		ip.Address = p
	} else if n, ok := number(mask); ok && a.Is6() && n <= 128 {
		ip.Address = prefixOf(a, int(n))
	} else {
		ip.fail("netmask: %q is none", mask)
	}
}

// colonFields splits at colons that stand in no brackets, and takes those away.
func colonFields(s string) []string {
	var fields []string
	depth, from := 0, 0
	for i, c := range s {
		switch c {
		case '[':
			depth++
		case ']':
			depth = max(depth-1, 0)
		case ':':
			if depth == 0 {
				fields = append(fields, s[from:i])
				from = i + 1
			}
		}
	}
	fields = append(fields, s[from:])
	for i, f := range fields {
		fields[i] = strings.NewReplacer("[", "", "]", "").Replace(f)
	}
	return fields
}

// The parameters that begin with mos have no description. They are carried as they stand, and what follows
// plainly from the words in them, parted by commas, semicolons or, where no address is meant, colons, is
// said beside: an address with its length, a method, an interface.

// parseBootIP reads one word of a method or addresses, with key=value pairs where they stand.
func parseBootIP(value string, six bool) BootIP {
	b := BootIP{Value: value, Six: six}
	for _, w := range mosWords(value) {
		key, v, pair := strings.Cut(w, "=")
		if !pair {
			key, v = "", w
		}
		b.word(key, v)
	}
	return b
}

func (b *BootIP) word(key, v string) {
	switch {
	case slices.Contains([]string{"dhcp", "static", "slaac", "none"}, v) && (key == "" || key == "method"):
		b.Method = v
	case v == "off" && key == "":
		b.Method = "none"
	case key == "gw" || key == "gateway":
		b.Gateway = addr(v)
	case strings.Contains(v, "/") && addrPrefix(v).IsValid():
		b.Addresses = append(b.Addresses, addrPrefix(v))
		if b.Method == "" {
			b.Method = "static"
		}
	case (key == "dev" || key == "interface" || key == "if") && InterfaceName(v):
		b.Interface = v
	default:
		b.Err = notUnderstood(b.Err, v)
	}
}

func notUnderstood(before, word string) string {
	if before != "" {
		return before
	}
	return clean(fmt.Sprintf("%.60q is not understood", word))
}

// mosWords splits a value whose syntax is not described.
func mosWords(value string) []string {
	return strings.FieldsFunc(value, func(c rune) bool { return c == ',' || c == ';' || c == ' ' })
}

func parseBootNAT(value string) BootNAT {
	b := BootNAT{Value: value}
	for _, w := range mosWords(value) {
		key, v, pair := strings.Cut(w, "=")
		switch p := addrPrefix(w); {
		case !pair && (yes(w) || w == "enable" || w == "enabled"):
			b.Said, b.Enabled = true, true
		case !pair && (no(w) || w == "none" || w == "disable" || w == "disabled"):
			b.Said, b.Enabled = true, false
		case !pair && strings.Contains(w, "/") && p.IsValid():
			b.Source = p.Masked()
		case (key == "out" || key == "dev") && InterfaceName(v):
			b.Out = v
		default:
			b.Err = notUnderstood(b.Err, w)
		}
	}
	return b
}

// parseBootBridge: a name alone, or a name, a colon and the ports with commas between them, as dracut's
// bridge= has it; addresses with their length may stand among them.
func parseBootBridge(value string) BootBridge {
	b := BootBridge{Value: value}
	name, rest, _ := strings.Cut(value, ":")
	if first, more, ok := strings.Cut(name, ","); ok {
		name, rest = first, more+","+rest
	}
	if !InterfaceName(name) {
		b.Err = notUnderstood("", value)
		return b
	}
	b.Name = name
	for _, w := range mosWords(rest) {
		switch {
		case strings.Contains(w, "/") && addrPrefix(w).IsValid():
			b.Addresses = append(b.Addresses, addrPrefix(w))
		case InterfaceName(w):
			b.Ports = append(b.Ports, w)
		default:
			b.Err = notUnderstood(b.Err, w)
		}
	}
	return b
}

// profiles are what ip= makes of interfaces.
func (c *CommandLine) profiles() []*Profile {
	var list []*Profile
	for _, ip := range c.IP {
		p := &Profile{Manager: Kernel, Source: commandLinePath}
		p.Match.Names = []string{globEscape(ip.Device)}
		p.Match.Nothing = !InterfaceName(ip.Device)
		if m := mac(strings.ReplaceAll(ip.Device, "-", ":")); m != "" {
			p.Match = Match{MACs: []string{m}}
		}
		p.addFact("ip", ip.Value, commandLinePath, 0)
		p.Method4 = kernelMethod(ip)
		switch firstOf(ip.Autoconf) {
		case "dhcp6":
			p.Method6 = "dhcp"
		case "auto6", "either6":
			p.Method6 = "slaac"
		}
		if ip.Address.IsValid() {
			p.Addresses = []netip.Prefix{ip.Address}
		}
		if ip.Gateway.IsValid() {
			p.Gateways = []netip.Addr{ip.Gateway}
		}
		p.DNS = ip.DNS
		list = append(list, p)
	}
	return list
}

func kernelMethod(ip KernelIP) string {
	switch firstOf(ip.Autoconf) {
	case "on", "any", "dhcp", "bootp", "rarp", "both", "single-dhcp":
		return "dhcp"
	case "link-local":
		return "link_local"
	}
	if ip.Address.IsValid() && ip.Address.Addr().Is4() {
		return "static"
	}
	return ""
}
