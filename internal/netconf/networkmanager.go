package netconf

import (
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

const (
	networkManagerState   = "/var/lib/NetworkManager"
	networkManagerDevices = "/run/NetworkManager/devices"
)

// networkManagerConnections are the folders of connections, the weightiest first.
var networkManagerConnections = []string{"/etc/NetworkManager/system-connections", "/run/NetworkManager/system-connections",
	"/usr/lib/NetworkManager/system-connections"}

// connections are what NetworkManager has for interfaces.
type connections struct {
	list   []*Profile
	byUUID map[string]*Profile
}

// networkManager reads NetworkManager.conf(5) with its conf.d folders and the connections, keyfiles
// (nm-settings-keyfile(5)).
func (r *Reader) networkManager() *connections {
	c := &connections{byUUID: map[string]*Profile{}}
	for _, name := range r.layered(NetworkManager, []string{"/run/NetworkManager/conf.d", "/usr/lib/NetworkManager/conf.d"}, ".conf") {
		r.general(name)
	}
	r.general("/etc/NetworkManager/NetworkManager.conf")
	for _, name := range r.layered(NetworkManager, []string{"/etc/NetworkManager/conf.d"}, ".conf") {
		r.general(name)
	}
	for _, name := range r.layered(NetworkManager, networkManagerConnections, "") {
		if strings.HasSuffix(name, "~") || path.Ext(name) == ".bak" || r.nullLink(name) {
			continue
		}
		if p, uuid := r.keyfile(name); p != nil {
			c.list = append(c.list, p)
			if uuid != "" {
				c.byUUID[uuid] = p
			}
		}
	}
	return c
}

// general reads a file of NetworkManager's own settings. None of them says what an interface is to have: what is
// wrong in the file is to be told, and nothing else.
func (r *Reader) general(name string) {
	if d := r.read(NetworkManager, name); d != nil {
		parseIni(d, keyfileStyle)
	}
}

// keyfileWords splits a list of GKeyFile: items end in a semicolon, or are parted by commas or blanks.
func keyfileWords(s string) []string {
	return strings.FieldsFunc(s, func(c rune) bool { return c == ';' || c == ',' || c == ' ' })
}

// keyfile reads a connection.
func (r *Reader) keyfile(name string) (p *Profile, uuid string) {
	d := r.read(NetworkManager, name)
	if d == nil {
		return nil, ""
	}
	p = &Profile{Manager: NetworkManager, Source: name}
	entries := parseIni(d, keyfileStyle)
	settings := map[string]string{}
	for _, e := range entries {
		p.addFact(e.section+"."+e.key, e.value, d.path, e.line)
		settings[e.section+"."+e.key] = e.value
		p.keyfileEntry(d, e)
	}
	p.keyfileMatch(settings)
	p.Method4, p.Method6 = keyfileMethods(settings["ipv4.method"], settings["ipv6.method"])
	p.keyfilePort(settings)
	return p, settings["connection.uuid"]
}

// keyfileTypes are connections that make an interface of their own.
var keyfileTypes = []string{"bridge", "bond", "vlan", "team", "vxlan", "tun", "ip-tunnel", "macvlan", "dummy", "vrf", "veth", "wireguard"}

func (p *Profile) keyfileMatch(s map[string]string) {
	m := &p.Match
	if name := s["connection.interface-name"]; name != "" {
		m.Names = []string{globEscape(name)}
		p.Creates = slices.Contains(keyfileTypes, s["connection.type"])
	}
	for _, w := range keyfileWords(s["match.interface-name"]) {
		m.Names = append(m.Names, strings.TrimPrefix(strings.TrimPrefix(w, "|"), "&"))
	}
	for _, section := range []string{"ethernet", "802-3-ethernet", "wifi", "802-11-wireless"} {
		if v := mac(s[section+".mac-address"]); v != "" {
			m.PermMACs = append(m.PermMACs, v)
		}
	}
	switch s["connection.type"] {
	case "ethernet", "802-3-ethernet":
		m.Types = []string{"ether"}
	case "wifi", "802-11-wireless":
		m.Types = []string{"wlan"}
	case "loopback":
		m.Types = []string{"loopback"}
	default:
		m.Nothing = len(m.Names) == 0
	}
	if no(s["connection.autoconnect"]) {
		m.Undecided = append(m.Undecided, "connection.autoconnect=false")
	}
}

// globEscape makes a name a pattern that only the name fits.
func globEscape(name string) string {
	if !strings.ContainsAny(name, `*?[\`) {
		return name
	}
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(name)
}

func keyfileMethods(four, six string) (method4, method6 string) {
	words := map[string]string{"manual": "static", "link-local": "link_local", "shared": "shared", "disabled": "disabled", "ignore": "manual", "dhcp": "dhcp"}
	method4, method6 = words[four], words[six]
	if four == "auto" {
		method4 = "dhcp"
	}
	if six == "auto" {
		method6 = "slaac"
	}
	return method4, method6
}

// keyfileEntry takes over what several keys say: addresses are address1=10.0.0.2/24,10.0.0.1 (the
// gateway behind the comma), name servers dns=192.0.2.53;192.0.2.54;.
func (p *Profile) keyfileEntry(d *document, e entry) {
	if e.section == "ipv4" || e.section == "ipv6" {
		p.keyfileIP(d, e)
		return
	}
	switch e.key {
	case "mtu":
		if n, ok := number(e.value); ok && n > 0 {
			p.MTU = n
		}
	case "cloned-mac-address":
		p.MAC = mac(e.value)
	case "id":
		if n, ok := number(e.value); ok && e.section == "vlan" && n < 4095 {
			p.VLAN, p.HasVLAN = int(n), true
		}
	case "parent":
		if e.section != "connection" && InterfaceName(e.value) {
			p.Parent = e.value
		}
	}
}

func (p *Profile) keyfileIP(d *document, e entry) {
	numbered := strings.TrimRight(e.key, "0123456789")
	switch {
	case numbered == "address" || numbered == "addresses":
		address, gateway, _ := strings.Cut(e.value, ",")
		p.addAddress(d, e.line, address)
		p.Gateways = append(p.Gateways, addrs([]string{gateway})...)
	case e.key == "gateway":
		p.addGateway(d, e)
	case numbered == "route":
		if words := strings.Split(e.value, ","); len(words) > 1 {
			p.Gateways = append(p.Gateways, specifiedOnly(addrs(words[1:2]))...)
		}
	case e.key == "dns":
		for _, w := range keyfileWords(e.value) {
			if s, ok := dnsServer(w); ok {
				p.DNS = append(p.DNS, s.Address)
			}
		}
	case e.key == "dns-search":
		p.Search = append(p.Search, keyfileWords(e.value)...)
	}
}

// specifiedOnly leaves out 0.0.0.0 and ::, which stand for no router.
func specifiedOnly(list []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(list, func(a netip.Addr) bool { return a.IsUnspecified() })
}

// keyfilePort reads of which controller the interface is a port: by name, or by the uuid of a connection,
// which only resolve can name.
func (p *Profile) keyfilePort(s map[string]string) {
	controller, kind := s["connection.controller"], s["connection.port-type"]
	if controller == "" {
		controller, kind = s["connection.master"], s["connection.slave-type"]
	}
	switch kind {
	case "bridge":
		p.Bridge = controller
	case "bond":
		p.Bond = controller
	}
}

// resolve replaces controllers that are named by uuid by their interfaces.
func (c *connections) resolve() {
	for _, p := range c.list {
		p.Bridge, p.Bond = c.controller(p.Bridge), c.controller(p.Bond)
	}
}

func (c *connections) controller(name string) string {
	if of := c.byUUID[name]; of != nil {
		names := of.Match.PlainNames()
		if len(names) == 0 {
			return ""
		}
		return names[0]
	}
	if !InterfaceName(name) {
		return ""
	}
	return name
}

// NMDevice is what NetworkManager keeps of an interface in /run/NetworkManager/devices/INDEX.
type NMDevice struct {
	File       string
	Index      int
	Managed    bool
	Said       bool   // whether Managed is known
	Connection string // uuid of the connection that it has; "" none
}

// nmDevices reads NetworkManager's state of every interface, by file name, and the leases that it keeps
// there.
func (r *Reader) nmDevices() (list []NMDevice, leases Leases) {
	for _, name := range r.names(NetworkManager, networkManagerDevices) {
		index, err := strconv.Atoi(name)
		if err != nil || index <= 0 {
			continue
		}
		d := r.read(NetworkManager, path.Join(networkManagerDevices, name))
		if d == nil {
			continue
		}
		v := map[string]string{}
		for _, e := range parseIni(d, keyfileStyle) {
			v[e.section+"."+strings.TrimPrefix(e.key, e.section+".")] = e.value
		}
		managed := v["device.managed"]
		list = append(list, NMDevice{File: d.path, Index: index, Managed: yes(managed), Said: yes(managed) || no(managed),
			Connection: v["device.connection-uuid"]})
		holder := d.holder(NetworkManager)
		holder.Index = index
		if l := nmLease4(v, holder); l != nil {
			leases.V4 = append(leases.V4, *l)
		}
		if l := nmLease6(v, holder); l != nil {
			leases.V6 = append(leases.V6, *l)
		}
	}
	return list, leases
}

// nmLease4 reads the section [dhcp4]: dhclient's option names, with underscores.
func nmLease4(v map[string]string, h Holder) *Lease4 {
	get := func(name string) string { return v["dhcp4."+name] }
	words := func(name string) []string { return strings.Fields(get(name)) }
	a := addr(get("ip_address"))
	if !a.Is4() {
		return nil
	}
	l := &Lease4{
		Holder:     h,
		Address:    addrPrefix(a.String()),
		Server:     addr(get("dhcp_server_identifier")),
		NextServer: specified(addr(get("next_server"))),
		Routers:    addrs(words("routers")),
		DNS:        addrs(words("domain_name_servers")),
		NTP:        addrs(words("ntp_servers")),
		Domain:     clean(get("domain_name")),
		Search:     domains(words("domain_search")),
		Hostname:   clean(get("host_name")),
		Broadcast:  addr(get("broadcast_address")),
		ClientID:   hexBytes(get("dhcp_client_identifier")),
		Routes:     pairRoutes(words("rfc3442_classless_static_routes")),
	}
	if p := withMask(a, get("subnet_mask")); p.IsValid() {
		l.Address = p
	}
	if n, ok := number(get("interface_mtu")); ok && n <= 0xffff {
		l.MTU = uint16(n)
	}
	l.Lifetime, l.HasLifetime = number(get("dhcp_lease_time"))
	l.T1, _ = number(get("dhcp_renewal_time"))
	l.T2, _ = number(get("dhcp_rebinding_time"))
	l.Expires = unixTime(get("expiry"))
	l.settle()
	return l
}

// pairRoutes reads pairs of a network and its router.
func pairRoutes(words []string) []Route4 {
	var routes []Route4
	for ; len(words) >= 2; words = words[2:] {
		if p := addrPrefix(words[0]); p.IsValid() && p.Addr().Is4() {
			routes = append(routes, Route4{Dst: p.Masked(), Gateway: specified(addr(words[1]))})
		}
	}
	return routes
}

// nmLease6 reads the section [dhcp6]. It has one association and no lifetimes: those are the kernel's.
func nmLease6(v map[string]string, h Holder) *Lease6 {
	l := &Lease6{
		Holder:     h,
		ClientDUID: hexBytes(v["dhcp6.dhcp6_client_id"]),
		ServerDUID: hexBytes(v["dhcp6.dhcp6_server_id"]),
		DNS:        addrs(strings.Fields(v["dhcp6.dhcp6_name_servers"])),
		Search:     domains(strings.Fields(v["dhcp6.dhcp6_domain_search"])),
		NTP:        addrs(strings.Fields(v["dhcp6.dhcp6_ntp_servers"])),
	}
	var ia IA
	if b := hexBytes(v["dhcp6.iaid"]); len(b) == 4 {
		ia.IAID, ia.HasID = uint32(b[0])<<24|uint32(b[1])<<16|uint32(b[2])<<8|uint32(b[3]), true
	}
	for _, w := range strings.Fields(v["dhcp6.ip6_address"]) {
		if a := addr(w); a.Is6() {
			l.Addresses = append(l.Addresses, IAAddress{IA: ia, Address: a})
		}
	}
	for _, w := range strings.Fields(v["dhcp6.ip6_prefix"]) {
		if p := addrPrefix(w); p.IsValid() && p.Addr().Is6() {
			l.Prefixes = append(l.Prefixes, IAPrefix{IA: ia, Prefix: p.Masked()})
		}
	}
	if l.ClientDUID == nil && l.Addresses == nil && l.DNS == nil {
		return nil
	}
	return l
}

// nmLeases reads the lease files of NetworkManager's own client, internal-UUID-INTERFACE.lease: in the
// form of systemd's, of which newer versions keep the address alone.
func (r *Reader) nmLeases(leases *Leases) {
	for _, name := range r.names(NetworkManager, networkManagerState) {
		rest, ok := strings.CutPrefix(strings.TrimSuffix(name, ".lease"), "internal-")
		const uuid = 36
		if !ok || !strings.HasSuffix(name, ".lease") || len(rest) <= uuid+1 || !InterfaceName(rest[uuid+1:]) {
			continue
		}
		d := r.read(NetworkManager, path.Join(networkManagerState, name))
		if d == nil {
			continue
		}
		if l := d.networkdLease(NetworkManager); l != nil {
			l.Interface = rest[uuid+1:]
			leases.V4 = append(leases.V4, *l)
		}
	}
}
