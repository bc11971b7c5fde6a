package netconf

import (
	"path"
	"strconv"
	"strings"
)

// networkdFolders hold .network, .netdev and .link files, the weightiest first (systemd.network(5)).
var networkdFolders = []string{"/etc/systemd/network", "/run/systemd/network", "/usr/local/lib/systemd/network",
	"/usr/lib/systemd/network", "/lib/systemd/network"}

// networkdConfigs reads systemd-networkd's files, in the order in which the first that matches an
// interface is taken: .network first, then .netdev, then .link (systemd.link(5), which udev applies).
func (r *Reader) networkdConfigs() (networks, netdevs, links []*Profile) {
	return r.units(".network", (*Profile).networkdNetwork), r.units(".netdev", (*Profile).networkdNetdev),
		r.units(".link", (*Profile).networkdLink)
}

// units reads the files of a suffix with their drop-ins. A file that is empty or a link to /dev/null masks
// those of its name below it.
func (r *Reader) units(suffix string, settle func(*Profile, *document, entry)) []*Profile {
	var list []*Profile
	for _, name := range r.layered(Networkd, networkdFolders, suffix) {
		if r.nullLink(name) {
			continue
		}
		d := r.read(Networkd, name)
		if d == nil || strings.TrimSpace(d.text) == "" {
			continue
		}
		p := &Profile{Manager: Networkd, Source: d.path}
		p.Match.Nothing = true // until [Match] or [NetDev] says otherwise
		p.unit(d, settle)
		for _, dropIn := range r.dropIns(path.Base(name)) {
			if d := r.read(Networkd, dropIn); d != nil {
				p.unit(d, settle)
			}
		}
		list = append(list, p)
	}
	return list
}

// dropIns lists NAME.d/*.conf of all folders.
func (r *Reader) dropIns(name string) []string {
	folders := make([]string, len(networkdFolders))
	for i, f := range networkdFolders {
		folders[i] = path.Join(f, name+".d")
	}
	return r.layered(Networkd, folders, ".conf")
}

func (p *Profile) unit(d *document, settle func(*Profile, *document, entry)) {
	for _, e := range parseIni(d, unitStyle) {
		p.addFact(e.section+"."+e.key, e.value, d.path, e.line)
		settle(p, d, e)
	}
}

// networkdMatch reads [Match]: an empty value takes back the ones before it.
func (p *Profile) networkdMatch(e entry) {
	m := &p.Match
	m.Nothing = false
	lists := map[string]*[]string{"Name": &m.Names, "OriginalName": &m.Names, "Type": &m.Types, "Kind": &m.Kinds, "Driver": &m.Drivers}
	if list, ok := lists[e.key]; ok {
		*list = extend(*list, e.value)
		return
	}
	switch e.key {
	case "MACAddress":
		m.MACs = extendMACs(m.MACs, e.value)
	case "PermanentMACAddress":
		m.PermMACs = extendMACs(m.PermMACs, e.value)
	default:
		m.Undecided = extend(m.Undecided, strings.TrimSpace(e.key+" "+e.value))
	}
}

func extend(list []string, value string) []string {
	if value == "" {
		return nil
	}
	return append(list, strings.Fields(value)...)
}

func extendMACs(list []string, value string) []string {
	if value == "" {
		return nil
	}
	for _, w := range strings.Fields(value) {
		if m := mac(w); m != "" {
			list = append(list, m)
		}
	}
	return list
}

// networkdNetwork takes over one setting of a .network file.
func (p *Profile) networkdNetwork(d *document, e entry) {
	switch e.section {
	case "Match":
		p.networkdMatch(e)
	case "Link":
		p.networkdLinkSetting(d, e)
	case "Network":
		p.networkdGeneral(d, e)
	case "Address":
		if e.key == "Address" {
			p.addAddress(d, e.line, e.value)
		}
	case "Route":
		if e.key == "Gateway" && !strings.HasPrefix(e.value, "_") {
			p.addGateway(d, e)
		}
	}
}

func (p *Profile) addGateway(d *document, e entry) {
	a := addr(e.value)
	if !a.IsValid() {
		d.fault(e.line, "%s is not an address: %.60q", e.key, e.value)
		return
	}
	p.Gateways = append(p.Gateways, a)
}

func (p *Profile) networkdLinkSetting(d *document, e entry) {
	switch e.key {
	case "MTUBytes":
		n, ok := sizeBytes(e.value)
		if !ok {
			d.fault(e.line, "MTUBytes is not a size: %.60q", e.value)
			return
		}
		p.MTU = n
	case "MACAddress":
		p.MAC = mac(e.value)
	case "Unmanaged":
		if yes(e.value) {
			p.Method4, p.Method6 = "manual", "manual"
		}
	}
}

// sizeBytes parses a number with one of systemd's suffixes to the base of 1024.
func sizeBytes(s string) (uint32, bool) {
	shift := 0
	if i := strings.IndexAny(s, "KMG"); i > 0 && i == len(s)-1 {
		shift = 10 * (1 + strings.IndexByte("KMG", s[i]))
		s = s[:i]
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n<<shift > 0xffffffff {
		return 0, false
	}
	return uint32(n << shift), true
}

func (p *Profile) networkdGeneral(d *document, e entry) {
	switch e.key {
	case "Address":
		if e.value == "" {
			p.Addresses = nil
			return
		}
		p.addAddress(d, e.line, e.value)
	case "Gateway":
		if e.value == "" {
			p.Gateways = nil
		} else if !strings.HasPrefix(e.value, "_") { // _dhcp4, _ipv6ra
			p.addGateway(d, e)
		}
	case "DNS":
		if e.value == "" {
			p.DNS = nil
		}
		for _, w := range strings.Fields(e.value) {
			if s, ok := dnsServer(w); ok {
				p.DNS = append(p.DNS, s.Address)
			}
		}
	case "Domains":
		p.networkdDomains(e.value)
	case "Bridge":
		p.Bridge = e.value
	case "Bond":
		p.Bond = e.value
	}
}

func (p *Profile) networkdDomains(value string) {
	if value == "" {
		p.Search = nil
	}
	for _, w := range strings.Fields(value) {
		if !strings.HasPrefix(w, "~") {
			p.Search = append(p.Search, w)
		}
	}
}

// networkdMethods works out the methods from the settings of a .network file, whose defaults are
// systemd.network(5)'s.
func (p *Profile) networkdMethods() {
	if p.Method4 != "" { // Unmanaged=
		return
	}
	get := func(name string) string { return lastFact(p.Facts, "Network."+name) }
	dhcp, linkLocal, port := get("DHCP"), get("LinkLocalAddressing"), p.Bridge != "" || p.Bond != ""
	both := yes(dhcp) || dhcp == "both"
	switch {
	case both || dhcp == "ipv4" || dhcp == "v4":
		p.Method4 = "dhcp"
	case hasFamily(p, true):
		p.Method4 = "static"
	case yes(linkLocal) || linkLocal == "ipv4" || linkLocal == "fallback" || linkLocal == "ipv4-fallback":
		p.Method4 = "link_local"
	}
	local6 := linkLocal == "" || yes(linkLocal) || linkLocal == "ipv6"
	accept := get("IPv6AcceptRA")
	if accept == "" {
		accept = get("IPv6AcceptRouterAdvertisements")
	}
	switch {
	case both || dhcp == "ipv6" || dhcp == "v6":
		p.Method6 = "dhcp"
	case hasFamily(p, false):
		p.Method6 = "static"
	case yes(accept), accept == "" && local6 && !port && !forwards6(get("IPForward"), get("IPv6Forwarding")):
		p.Method6 = "slaac"
	case local6 && !port:
		p.Method6 = "link_local"
	case no(linkLocal) || linkLocal == "ipv4":
		p.Method6 = "disabled"
	}
}

func forwards6(old, current string) bool {
	return yes(old) || old == "ipv6" || yes(current)
}

// hasFamily tells whether an address of IPv4, or else of IPv6, is configured.
func hasFamily(p *Profile, four bool) bool {
	for _, a := range p.Addresses {
		if a.Addr().Is4() == four {
			return true
		}
	}
	return false
}

// lastFact is the value of the last fact of a name; "" for none.
func lastFact(facts []Fact, name string) string {
	value := ""
	for _, f := range facts {
		if f.Name == name {
			value = f.Value
		}
	}
	return value
}

// networkdNetdev takes over one setting of a .netdev file, whose interface is [NetDev] Name=.
func (p *Profile) networkdNetdev(d *document, e entry) {
	switch e.section + "." + e.key {
	case "NetDev.Name":
		p.Match = Match{Names: []string{e.value}, Nothing: !InterfaceName(e.value)}
		if p.Match.Nothing {
			d.fault(e.line, "not the name of an interface: %.60q", e.value)
		}
		p.Creates = true
	case "NetDev.MTUBytes":
		p.MTU, _ = sizeBytes(e.value)
	case "NetDev.MACAddress":
		p.MAC = mac(e.value)
	case "VLAN.Id":
		if n, ok := number(e.value); ok && n < 4095 {
			p.VLAN, p.HasVLAN = int(n), true
		}
	}
}

// networkdLink takes over one setting of a .link file.
func (p *Profile) networkdLink(d *document, e entry) {
	switch e.section {
	case "Match":
		p.networkdMatch(e)
	case "Link":
		switch e.key {
		case "MTUBytes", "MACAddress":
			p.networkdLinkSetting(d, e)
		}
	}
}
