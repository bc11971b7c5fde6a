package netconf

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// netplanFolders hold netplan's YAML; a file of /run masks one of its name in /etc, and that one in /lib.
var netplanFolders = []string{"/run/netplan", "/etc/netplan", "/usr/lib/netplan", "/lib/netplan"}

// netplanKinds are the groups of definitions below network:, and whether they make their interfaces.
var netplanKinds = map[string]bool{"ethernets": false, "wifis": false, "modems": false, "bridges": true, "bonds": true, "vlans": true,
	"tunnels": true, "dummy-devices": true, "vrfs": true, "nm-devices": false, "virtual-ethernets": true}

// netplan reads all of netplan's files, in order of their names; of what two of them say the later counts,
// lists join. It is no manager itself: it writes files for systemd-networkd or NetworkManager.
func (r *Reader) netplan() []*Profile {
	n := newNetplanReader()
	for _, name := range r.layered(Netplan, netplanFolders, ".yaml") {
		if d := r.read(Netplan, name); d != nil {
			n.document = d
			n.read()
		}
	}
	return n.profiles()
}

func newNetplanReader() *netplanReader {
	return &netplanReader{by: map[netplanID]*Profile{}, ports: map[string]netplanID{}}
}

// profiles works out what only all files together say.
func (n *netplanReader) profiles() []*Profile {
	list := make([]*Profile, 0, len(n.list))
	for _, of := range n.list {
		p := n.by[of]
		n.settle(p, of)
		list = append(list, p)
	}
	return list
}

type netplanReader struct {
	document *document
	list     []netplanID
	by       map[netplanID]*Profile
	nodes    int
	ports    map[string]netplanID // id of a port: its controller
}

// Bounds of a document: aliases may make a short text a long one.
const (
	maxYAMLNodes = 100_000
	maxYAMLDepth = 32
)

func (n *netplanReader) read() {
	var root yaml.Node
	if err := decodeYAML(n.document.text, &root); err != nil {
		n.document.fault(yamlLine(err), "%v", err)
		return
	}
	n.nodes = 0
	top := &root
	if top.Kind == yaml.DocumentNode && len(top.Content) > 0 {
		top = top.Content[0]
	}
	if top.Kind == 0 || top.Tag == "!!null" {
		return // an empty file
	}
	if top.Kind != yaml.MappingNode {
		n.document.fault(top.Line, "not a mapping")
		return
	}
	each(top, func(key, value *yaml.Node) {
		if key.Value == "network" {
			n.network(value)
		}
	})
}

// decodeYAML keeps a panic of the library, which is for files that people write, from ending a call.
func decodeYAML(text string, to *yaml.Node) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("yaml: %v", v)
		}
	}()
	if strings.ContainsRune(text, 0) {
		return errors.New("yaml: has a zero byte")
	}
	return yaml.Unmarshal([]byte(text), to)
}

var yamlLinePattern = regexp.MustCompile(`line (\d+)`)

// yamlLine is the line that a complaint of the library names; 0 for none.
func yamlLine(err error) int {
	m := yamlLinePattern.FindStringSubmatch(err.Error())
	if m == nil {
		return 0
	}
	line, _ := strconv.Atoi(m[1])
	return line
}

// each calls f for the pairs of a mapping.
func each(n *yaml.Node, f func(key, value *yaml.Node)) {
	if n = resolved(n); n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		f(resolved(n.Content[i]), resolved(n.Content[i+1]))
	}
}

func resolved(n *yaml.Node) *yaml.Node {
	for depth := 0; n.Kind == yaml.AliasNode && n.Alias != nil && depth < maxYAMLDepth; depth++ {
		n = n.Alias
	}
	return n
}

// network reads `network:`: a version, a renderer, and groups of definitions by id.
func (n *netplanReader) network(top *yaml.Node) {
	if top.Kind != yaml.MappingNode {
		n.document.fault(top.Line, "network is not a mapping")
		return
	}
	each(top, func(group, definitions *yaml.Node) {
		creates, known := netplanKinds[group.Value]
		if !known {
			if definitions.Kind == yaml.MappingNode && group.Value != "openvswitch" {
				n.document.fault(group.Line, "unknown definition type %.60q", group.Value)
			}
			return
		}
		each(definitions, func(id, definition *yaml.Node) {
			if definition.Kind != yaml.MappingNode && definition.Tag != "!!null" {
				n.document.fault(definition.Line, "definition of %.60q is not a mapping", id.Value)
				return
			}
			of := netplanID{group.Value, id.Value}
			n.flatten(n.profile(of, creates), of, "", definition, 0)
		})
	})
}

// netplanID names a definition. The id may have dots.
type netplanID struct{ group, id string }

func (n *netplanReader) profile(of netplanID, creates bool) *Profile {
	p := n.by[of]
	if p == nil {
		p = &Profile{Manager: Netplan, Source: n.document.path, Creates: creates, Match: Match{Names: []string{globEscape(of.id)}, Nothing: !InterfaceName(of.id)}}
		n.by[of] = p
		n.list = append(n.list, of)
	}
	return p
}

// flatten makes facts of everything below a definition: names are paths with dots, items of a list have
// that of the list.
func (n *netplanReader) flatten(p *Profile, of netplanID, name string, value *yaml.Node, depth int) {
	value = resolved(value)
	if n.nodes++; n.nodes > maxYAMLNodes || depth > maxYAMLDepth {
		n.document.fault(value.Line, "too large a document")
		return
	}
	switch value.Kind {
	case yaml.MappingNode:
		each(value, func(key, v *yaml.Node) { n.flatten(p, of, strings.TrimPrefix(name+"."+key.Value, "."), v, depth+1) })
	case yaml.SequenceNode:
		for _, item := range value.Content {
			n.flatten(p, of, name, item, depth+1)
		}
		if len(value.Content) == 0 {
			p.addFact(of.fact(name), "[]", n.document.path, value.Line)
		}
	case yaml.ScalarNode:
		n.scalar(p, of, name, value)
	}
}

// fact is the name of a setting of a definition.
func (of netplanID) fact(name string) string { return of.group + "." + of.id + "." + name }

func (n *netplanReader) scalar(p *Profile, of netplanID, name string, value *yaml.Node) {
	if name == "" {
		return // a definition of nothing
	}
	p.addFact(of.fact(name), value.Value, n.document.path, value.Line)
	v, e := value.Value, entry{key: name, value: value.Value, line: value.Line}
	switch name {
	case "match.name":
		p.Match.Names, p.Match.Nothing = []string{v}, false
	case "match.macaddress":
		p.matchInsteadOfID(of)
		p.Match.PermMACs = []string{strings.ToLower(v)}
	case "match.driver":
		p.matchInsteadOfID(of)
		p.Match.Drivers = append(p.Match.Drivers, v)
	case "addresses":
		p.addAddress(n.document, value.Line, v)
	case "gateway4", "gateway6":
		p.addGateway(n.document, e)
	case "routes.via":
		p.Gateways = append(p.Gateways, addrs([]string{v})...)
	case "nameservers.addresses":
		p.DNS = append(p.DNS, addrs([]string{v})...)
	case "nameservers.search":
		p.Search = append(p.Search, v)
	case "mtu":
		p.MTU, _ = number(v)
	case "macaddress":
		p.MAC = mac(v)
	case "id":
		if id, ok := number(v); ok && of.group == "vlans" && id < 4095 {
			p.VLAN, p.HasVLAN = int(id), true
		}
	case "link":
		p.Parent = v
	case "interfaces":
		n.port(of, v)
	}
}

// matchInsteadOfID takes away the id from what names interfaces: with a match it is only a handle.
func (p *Profile) matchInsteadOfID(of netplanID) {
	if lastFact(p.Facts, of.fact("match.name")) == "" {
		p.Match.Names = nil
	}
	p.Match.Nothing = false
}

func (n *netplanReader) port(controller netplanID, name string) { n.ports[name] = controller }

func (n *netplanReader) settle(p *Profile, of netplanID) {
	get := func(key string) string { return lastFact(p.Facts, of.fact(key)) }
	if yes(get("dhcp4")) {
		p.Method4 = "dhcp"
	} else if hasFamily(p, true) {
		p.Method4 = "static"
	}
	switch {
	case yes(get("dhcp6")):
		p.Method6 = "dhcp"
	case hasFamily(p, false):
		p.Method6 = "static"
	case yes(get("accept-ra")):
		p.Method6 = "slaac"
	}
	switch to := n.ports[of.id]; to.group {
	case "bridges":
		p.Bridge = to.id
	case "bonds":
		p.Bond = to.id
	}
}
