package netconf

import (
	"path"
	"slices"
	"strings"
)

const (
	ifupdownFile  = "/etc/network/interfaces"
	ifupdownState = "/run/network/ifstate"
	maxSourced    = 16 // files that source each other
	maxInherits   = 16
)

// ifupdown reads interfaces(5): stanzas of iface, auto, allow-…, mapping, source and source-directory, each
// of which goes on to the next such word.
func (r *Reader) ifupdown() []*Profile {
	p := ifupdownParser{reader: r, sourced: map[string]bool{}}
	p.file(ifupdownFile, 0)
	p.inherit()
	return p.profiles()
}

// stanza is one `iface` (or template) with its options.
type stanza struct {
	name, family, method string
	inherits             string
	template             bool
	document             *document
	line                 int
	options              []option
}

type option struct {
	key, value string
	document   *document
	line       int
}

type ifupdownParser struct {
	reader  *Reader
	sourced map[string]bool
	stanzas []*stanza
	marks   []mark
	maps    []mark
	current *stanza
}

// mark is an `auto` or `allow-…` line, or a mapping, for one interface.
type mark struct {
	word, name, value string
	path              string
	line              int
}

func (p *ifupdownParser) file(name string, depth int) {
	if depth > maxSourced || p.sourced[name] {
		return
	}
	p.sourced[name] = true
	if d := p.reader.read(Ifupdown, name); d != nil {
		p.parse(d, depth)
	}
}

// parse reads the lines of a file; depth is how many others led to it.
func (p *ifupdownParser) parse(d *document, depth int) {
	p.current = nil
	lines := strings.Split(d.text, "\n")
	var mapping []string // interfaces of the mapping stanza that is being read
	for i := 0; i < len(lines); i++ {
		number := i + 1
		line := strings.TrimSpace(lines[i])
		if strings.HasPrefix(line, "#") {
			continue
		}
		for strings.HasSuffix(line, "\\") && i+1 < len(lines) {
			i++
			line = strings.TrimSuffix(line, "\\") + strings.TrimSpace(lines[i])
		}
		word, rest, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
		rest = strings.TrimSpace(rest)
		switch {
		case word == "":
		case word == "iface" || word == "template":
			mapping = nil
			p.iface(d, number, word, strings.Fields(rest))
		case word == "mapping":
			p.current, mapping = nil, strings.Fields(rest)
		case word == "auto" || strings.HasPrefix(word, "allow-") || word == "no-auto-down" || word == "no-scripts" || word == "rename":
			p.current, mapping = nil, nil
			for _, name := range strings.Fields(rest) {
				p.marks = append(p.marks, mark{word: word, name: name, path: d.path, line: number})
			}
		case word == "source" || word == "source-dir" || word == "source-directory":
			p.source(d, number, word, rest, depth)
			p.current, mapping = nil, nil
		case mapping != nil:
			for _, name := range mapping {
				p.maps = append(p.maps, mark{word: "mapping." + word, name: name, value: rest, path: d.path, line: number})
			}
		case p.current != nil:
			p.current.options = append(p.current.options, option{key: word, value: rest, document: d, line: number})
		default:
			d.fault(number, "option %.60q stands in no stanza", word)
		}
	}
}

// iface begins a stanza: iface NAME [FAMILY METHOD] [inherits NAME].
func (p *ifupdownParser) iface(d *document, line int, word string, words []string) {
	s := &stanza{template: word == "template", document: d, line: line}
	p.current = s
	if i := slices.Index(words, "inherits"); i >= 0 {
		if i+1 < len(words) {
			s.inherits = words[i+1]
		}
		words = words[:i]
	}
	if len(words) == 0 {
		d.fault(line, "%s names no interface", word)
		return
	}
	s.name = words[0]
	if len(words) > 1 {
		s.family = words[1]
		if !slices.Contains([]string{"inet", "inet6", "ipx", "can", "link", "x25"}, s.family) {
			d.fault(line, "unknown address family %.60q", s.family)
		}
	}
	if len(words) > 2 {
		s.method = words[2]
	} else if !s.template && s.inherits == "" {
		d.fault(line, "iface %.60q has no family and method", s.name)
	}
	p.stanzas = append(p.stanzas, s)
}

// source reads further files: those of a shell pattern, or those of a folder whose names are of letters,
// digits, dashes and underscores.
func (p *ifupdownParser) source(d *document, line int, word, pattern string, depth int) {
	if pattern == "" {
		d.fault(line, "%s names nothing", word)
		return
	}
	if !path.IsAbs(pattern) {
		pattern = path.Join(path.Dir(d.path), pattern)
	}
	folder, base := path.Split(pattern)
	if word != "source" {
		folder, base = pattern, ""
	}
	folder = path.Clean(folder)
	if base != "" && !strings.ContainsAny(base, "*?[") {
		p.file(pattern, depth+1)
		return
	}
	for _, name := range p.reader.names(Ifupdown, folder) {
		if base == "" && plainName(name) || base != "" && !strings.HasPrefix(name, ".") && Glob(base, name) {
			p.file(path.Join(folder, name), depth+1)
		}
	}
}

func plainName(name string) bool {
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == ""
}

// inherit puts the options of the stanza that one inherits from before its own.
func (p *ifupdownParser) inherit() {
	for _, s := range p.stanzas {
		seen := 0
		for from := s.inherits; from != "" && seen < maxInherits; seen++ {
			of := p.ancestor(s, from)
			if of == nil {
				s.document.fault(s.line, "inherits from %.60q, which is not there", from)
				break
			}
			s.options = append(slices.Clone(of.options), s.options...)
			if s.family == "" {
				s.family = of.family
			}
			if s.method == "" {
				s.method = of.method
			}
			from = of.inherits
			if of.inherits == s.inherits {
				break
			}
		}
	}
}

// ancestor finds the stanza of a name and, where both say one, of the same family.
func (p *ifupdownParser) ancestor(s *stanza, name string) *stanza {
	for _, of := range p.stanzas {
		if of != s && of.name == name && (of.family == s.family || of.family == "" || s.family == "") {
			return of
		}
	}
	return nil
}

// profiles makes one profile of all stanzas of an interface.
func (p *ifupdownParser) profiles() []*Profile {
	var list []*Profile
	by := map[string]*Profile{}
	get := func(name, source string) *Profile {
		if by[name] == nil {
			by[name] = &Profile{Manager: Ifupdown, Source: source, Match: ifupdownMatch(name)}
			list = append(list, by[name])
		}
		return by[name]
	}
	for _, s := range p.stanzas {
		if !s.template && s.name != "" {
			get(s.name, s.document.path).stanza(s)
		}
	}
	for _, m := range append(p.marks, p.maps...) {
		to := get(m.name, m.path)
		to.addFact(m.word, or(m.value, m.name), m.path, m.line)
	}
	return list
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// ifupdownMatch: names are of interfaces, of logical interfaces that a mapping leads to, or patterns:
// /eth*, or /*/x=y.
func ifupdownMatch(name string) Match {
	if pattern, ok := strings.CutPrefix(name, "/"); ok {
		pattern, _, _ = strings.Cut(pattern, "/")
		return Match{Names: []string{pattern}}
	}
	plain, _, _ := strings.Cut(name, ":") // an alias is the interface's
	return Match{Names: []string{globEscape(plain)}}
}

func (p *Profile) stanza(s *stanza) {
	p.addFact("iface."+s.family, s.method, s.document.path, s.line)
	method := map[string]string{"loopback": "static", "static": "static", "dhcp": "dhcp", "bootp": "dhcp", "manual": "manual", "auto": "slaac",
		"v4tunnel": "static", "6to4": "static", "tunnel": "static"}[s.method]
	switch s.family {
	case "inet":
		p.Method4 = method
	case "inet6":
		p.Method6 = method
	}
	address, mask := option{}, ""
	for _, o := range s.options {
		p.addFact("iface."+s.family+"."+o.key, o.value, o.document.path, o.line)
		switch o.key {
		case "address":
			if s.method == "static" || s.method == "v4tunnel" || s.method == "tunnel" {
				address = o
			}
		case "netmask":
			mask = o.value
		case "dhcp":
			if s.family == "inet6" && s.method == "auto" && o.value == "1" {
				p.Method6 = "dhcp"
			}
		default:
			p.ifupdownOption(o)
		}
	}
	if address.key != "" {
		p.ifupdownAddress(address, mask)
	}
}

func (p *Profile) ifupdownOption(o option) {
	e := entry{key: o.key, value: o.value, line: o.line}
	switch o.key {
	case "gateway":
		p.addGateway(o.document, e)
	case "dns-nameservers", "dns-nameserver":
		p.DNS = append(p.DNS, addrs(strings.Fields(o.value))...)
	case "dns-search", "dns-domain":
		p.Search = append(p.Search, strings.Fields(o.value)...)
	case "mtu":
		p.MTU, _ = number(o.value)
	case "hwaddress":
		p.MAC = mac(strings.TrimSpace(strings.TrimPrefix(o.value, "ether")))
	case "bridge_ports", "bridge-ports", "bond-slaves", "bond_slaves":
		p.Creates = true
	case "bond-master", "bond_master":
		p.Bond = o.value
	case "vlan-raw-device", "vlan_raw_device":
		p.Parent, p.Creates = o.value, true
	case "vlan-id":
		if n, ok := number(o.value); ok && n < 4095 {
			p.VLAN, p.HasVLAN = int(n), true
		}
	}
}

// ifupdownAddress joins an address with its netmask, in either form.
func (p *Profile) ifupdownAddress(o option, mask string) {
	a := addrPrefix(o.value)
	if !a.IsValid() {
		o.document.fault(o.line, "not an address: %.60q", o.value)
		return
	}
	if mask != "" && !strings.Contains(o.value, "/") {
		if m := withMask(a.Addr(), mask); m.IsValid() {
			a = m
		} else if n, ok := number(mask); ok && int(n) <= a.Addr().BitLen() {
			a = prefixOf(a.Addr(), int(n))
		}
	}
	p.Addresses = append(p.Addresses, a)
}

// ifupdownPorts are bridge and bond ports by the stanza of their controller: name of the port to that of
// the controller.
func ifupdownPorts(profiles []*Profile) (bridges, bonds map[string]string) {
	bridges, bonds = map[string]string{}, map[string]string{}
	for _, p := range profiles {
		names := p.Match.PlainNames()
		if len(names) != 1 {
			continue
		}
		for _, f := range p.Facts {
			key := f.Name[strings.LastIndex(f.Name, ".")+1:]
			for _, w := range strings.Fields(f.Value) {
				switch key {
				case "bridge_ports", "bridge-ports":
					bridges[w] = names[0]
				case "bond-slaves", "bond_slaves":
					bonds[w] = names[0]
				}
			}
		}
	}
	return bridges, bonds
}

// IfupdownUp reads which interfaces ifup has brought up: ifstate has a line NAME=LOGICAL for each.
func (r *Reader) IfupdownUp() map[string]string {
	d := r.read(Ifupdown, ifupdownState)
	if d == nil {
		return nil
	}
	up := map[string]string{}
	for i, line := range strings.Split(d.text, "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, logical, ok := strings.Cut(line, "=")
		if !ok || !InterfaceName(name) {
			d.fault(i+1, "not an interface and its configuration: %.60q", line)
			continue
		}
		up[name] = logical
	}
	return up
}
