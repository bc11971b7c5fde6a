package netconf

import (
	"slices"
	"strings"
)

// Config is what all configuration files of a host say.
type Config struct {
	CommandLine *CommandLine // nil: not known

	networks, netdevs, links []*Profile // systemd-networkd's
	manager                  *connections
	others                   map[string][]*Profile // by manager
	netplan                  []*Profile

	bridges, bonds map[string]string // ports of ifupdown's controllers
}

// Config reads the configuration files of every manager.
func (r *Reader) Config() *Config {
	c := &Config{CommandLine: r.CommandLine(), others: map[string][]*Profile{}}
	if c.CommandLine != nil {
		c.others[Kernel] = c.CommandLine.profiles()
	}
	c.networks, c.netdevs, c.links = r.networkdConfigs()
	for _, p := range c.networks {
		p.networkdMethods()
	}
	c.netplan = r.netplan()
	c.manager = r.networkManager()
	c.manager.resolve()
	c.others[Ifupdown] = r.ifupdown()
	c.others[Dhcpcd] = r.dhcpcdConfigs()
	c.others[Dhclient] = r.dhclientConfigs()
	c.bridges, c.bonds = ifupdownPorts(c.others[Ifupdown])
	return c
}

// managersInOrder are those whose configuration may settle an interface's, the weightiest first where
// none of them has the interface.
var managersInOrder = []string{Networkd, NetworkManager, Ifupdown, Dhcpcd, Dhclient, Kernel}

// Configured lists the managers that have a configuration of an interface, netplan among them.
func (c *Config) Configured() []string {
	var list []string
	for _, m := range managersInOrder {
		if m != Kernel && len(c.of(m)) > 0 {
			list = append(list, m)
		}
	}
	if len(c.netplan) > 0 {
		list = append(list, Netplan)
	}
	return list
}

func (c *Config) of(manager string) []*Profile {
	switch manager {
	case Networkd:
		return c.networks
	case NetworkManager:
		return c.manager.list
	}
	return c.others[manager]
}

// Names are the interfaces that files name plainly, there or not.
func (c *Config) Names() []string {
	var names []string
	all := slices.Concat(c.networks, c.netdevs, c.netplan, c.manager.list)
	for _, m := range managersInOrder[2:] {
		all = append(all, c.others[m]...)
	}
	for _, p := range all {
		undecided := p.Manager == Networkd && len(p.Match.Undecided) > 0 // files of the vendor for guests, say
		if !p.Match.Nothing && !undecided {
			names = append(names, p.Match.PlainNames()...)
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(n string) bool { return !InterfaceName(n) })
}

// Resolve works out what the files make of an interface. The settings are those of its owner's profile,
// or, where nobody has it, of the first manager's that has one for it, with what the files of the
// interface itself (.netdev, .link) and netplan add. The facts are all that regard it, the owner's first.
func (c *Config) Resolve(l *Link, owner Owner) (Settings, []Fact) {
	chosen, facts := c.choose(l, owner)
	var s Settings
	if chosen != nil {
		s = chosen.Settings
	}
	for _, p := range slices.Concat(firstMatch(c.netdevs, l), firstMatch(c.links, l), matching(c.netplan, l)) {
		fill(&s, &p.Settings)
		facts = append(facts, byWeight(p)...)
	}
	if s.Bridge == "" {
		s.Bridge = c.bridges[l.Name]
	}
	if s.Bond == "" {
		s.Bond = c.bonds[l.Name]
	}
	if s.Parent == "" {
		s.Parent = c.parent(l.Name)
	}
	return s, facts
}

// choose finds the profile that holds, and the facts of all that match, its own first.
func (c *Config) choose(l *Link, owner Owner) (chosen *Profile, facts []Fact) {
	order := managersInOrder
	if owner.Manager != "" {
		order = append([]string{owner.Manager}, slices.DeleteFunc(slices.Clone(order), func(m string) bool { return m == owner.Manager })...)
	}
	for _, m := range order {
		var found []*Profile
		switch m {
		case Networkd:
			found = c.network(l, owner)
		case NetworkManager:
			found = c.connection(l, owner)
		default:
			found = matching(c.others[m], l)
		}
		if chosen == nil && len(found) > 0 && (owner.Manager == "" || m == owner.Manager) {
			chosen = found[0]
		}
		for _, p := range found {
			facts = append(facts, byWeight(p)...)
		}
	}
	return chosen, facts
}

// byWeight are a profile's facts with those of its last file first, where a later file overrides: drop-ins,
// and netplan's.
func byWeight(p *Profile) []Fact {
	if p.Manager != Networkd && p.Manager != Netplan {
		return p.Facts
	}
	facts := make([]Fact, 0, len(p.Facts))
	for end := len(p.Facts); end > 0; {
		begin := end - 1
		for begin > 0 && p.Facts[begin-1].Source == p.Facts[end-1].Source {
			begin--
		}
		facts = append(facts, p.Facts[begin:end]...)
		end = begin
	}
	return facts
}

// network is the .network file that networkd says it applies, or else the first that matches.
func (c *Config) network(l *Link, owner Owner) []*Profile {
	if owner.Manager == Networkd && owner.Config != "" {
		for _, p := range c.networks {
			if p.Source == owner.Config {
				return []*Profile{p}
			}
		}
	}
	return firstMatch(c.networks, l)
}

// connection is the one that NetworkManager says it has active, or else all that could be.
func (c *Config) connection(l *Link, owner Owner) []*Profile {
	if p := c.manager.byUUID[owner.Config]; p != nil && owner.Manager == NetworkManager {
		return []*Profile{p}
	}
	return matching(c.manager.list, l)
}

func matching(profiles []*Profile, l *Link) []*Profile {
	var list []*Profile
	for _, p := range profiles {
		if p.Match.Matches(l) {
			list = append(list, p)
		}
	}
	return list
}

func firstMatch(profiles []*Profile, l *Link) []*Profile {
	for _, p := range profiles {
		if p.Match.Matches(l) {
			return []*Profile{p}
		}
	}
	return nil
}

// fill takes over what is not said yet.
func fill(s, from *Settings) {
	if s.Method4 == "" {
		s.Method4 = from.Method4
	}
	if s.Method6 == "" {
		s.Method6 = from.Method6
	}
	if s.Addresses == nil {
		s.Addresses = from.Addresses
	}
	if s.Gateways == nil {
		s.Gateways = from.Gateways
	}
	if s.DNS == nil {
		s.DNS = from.DNS
	}
	if s.Search == nil {
		s.Search = from.Search
	}
	if s.MTU == 0 {
		s.MTU = from.MTU
	}
	fillNames(s, from)
	if !s.HasVLAN {
		s.VLAN, s.HasVLAN = from.VLAN, from.HasVLAN
	}
}

func fillNames(s, from *Settings) {
	for _, f := range []struct {
		to   *string
		from string
	}{{&s.MAC, from.MAC}, {&s.Bridge, from.Bridge}, {&s.Bond, from.Bond}, {&s.Parent, from.Parent}} {
		if *f.to == "" {
			*f.to = f.from
		}
	}
}

// parent finds the .network file that puts a sub-interface on its interface.
func (c *Config) parent(name string) string {
	for _, p := range c.networks {
		names := p.Match.PlainNames()
		for _, f := range p.Facts {
			if len(names) != 1 || f.Value != name {
				continue
			}
			switch strings.TrimPrefix(f.Name, "Network.") {
			case "VLAN", "MACVLAN", "MACVTAP", "IPVLAN", "IPVTAP":
				return names[0]
			}
		}
	}
	return ""
}

// Hostname reads /etc/hostname: the first line that is no comment; nil where there is none.
func (r *Reader) Hostname() *Fact {
	const name = "/etc/hostname"
	text, _, err := r.load(name)
	if err != nil {
		return nil
	}
	for i, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return &Fact{Name: "hostname", Value: clean(line), Source: name, Line: i + 1}
		}
	}
	return nil
}

// dhclientConfigs reads dhclient.conf(5): statements for every interface, and blocks for one.
func (r *Reader) dhclientConfigs() []*Profile {
	var list []*Profile
	for _, name := range []string{"/etc/dhcp/dhclient.conf", "/etc/dhclient.conf"} {
		d := r.read(Dhclient, name)
		if d == nil {
			continue
		}
		for _, s := range parseISC(d) {
			if s.word(0) != "interface" || s.block == nil || !InterfaceName(s.word(1)) {
				continue
			}
			p := &Profile{Manager: Dhclient, Source: name, Match: Match{Names: []string{globEscape(s.word(1))}}}
			p.Method4 = "dhcp"
			p.dhclientBlock(d, s)
			list = append(list, p)
		}
	}
	return list
}

func (p *Profile) dhclientBlock(d *document, s *statement) {
	for _, in := range s.block {
		words := in.list(0)
		if len(words) == 0 {
			continue
		}
		value := strings.Join(words[1:], " ")
		p.addFact("interface."+words[0], value, d.path, in.line)
		if len(words) > 2 && slices.Contains([]string{"supersede", "default", "prepend"}, words[0]) && words[1] == "domain-name-servers" {
			p.DNS = append(p.DNS, addrs(words[2:])...)
		}
	}
}
