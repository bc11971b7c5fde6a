package netconf

import (
	"path"
	"strings"
)

// dhcpcdFolders are where dhcpcd keeps its leases: since version 9, and before that.
var dhcpcdFolders = []string{"/var/lib/dhcpcd", "/var/lib/dhcpcd5", "/var/db/dhcpcd"}

// dhcpcdLeases reads dhcpcd's lease files: INTERFACE.lease (or dhcpcd-INTERFACE.lease of old, with
// -SSID behind the interface for a wireless network) is the server's DHCPv4 reply, INTERFACE.lease6 the
// DHCPv6 one, byte for byte. dhcpcd counts from the time of the file.
func (r *Reader) dhcpcdLeases(leases *Leases) {
	for _, folder := range dhcpcdFolders {
		for _, name := range r.names(Dhcpcd, folder) {
			six := strings.HasSuffix(name, ".lease6")
			if !six && !strings.HasSuffix(name, ".lease") {
				continue
			}
			d := r.read(Dhcpcd, path.Join(folder, name))
			if d == nil || d.text == "" {
				continue
			}
			if six {
				d.dhcpcdLease6(leases)
			} else {
				d.dhcpcdLease4(leases)
			}
		}
	}
}

func (d *document) holder(manager string) Holder { return Holder{Manager: manager, File: d.path} }

// dhcpcdInterface is the interface that a lease file is named for.
func dhcpcdInterface(file string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(path.Base(file), "dhcpcd-"), ".lease")
	if InterfaceName(name) {
		return name
	}
	name, _, _ = strings.Cut(name, "-") // followed by the network's name
	return name
}

func (d *document) dhcpcdLease4(leases *Leases) {
	l, err := parseDHCP4([]byte(d.text))
	if err != nil {
		d.fault(0, "%v", err)
		return
	}
	l.Holder = d.holder(Dhcpcd)
	l.Interface = dhcpcdInterface(d.path)
	l.Obtained = instant(d.changed.Unix())
	l.settle()
	leases.V4 = append(leases.V4, *l)
}

func (d *document) dhcpcdLease6(leases *Leases) {
	l, err := parseDHCP6([]byte(d.text))
	if err != nil {
		d.fault(0, "%v", err)
	}
	if l == nil {
		return
	}
	l.Holder = d.holder(Dhcpcd)
	l.Interface = dhcpcdInterface(d.path)
	l.Obtained = instant(d.changed.Unix())
	for i := range l.Addresses {
		l.Addresses[i].Starts = l.Obtained
	}
	for i := range l.Prefixes {
		l.Prefixes[i].Starts = l.Obtained
	}
	leases.V6 = append(leases.V6, *l)
}

// dhcpcdConfigs reads dhcpcd.conf(5): lines of an option and its value; `interface` begins a block for
// one interface (or several), `ssid` and `profile` blocks of other kinds. static options are
// name=value.
func (r *Reader) dhcpcdConfigs() []*Profile {
	d := r.read(Dhcpcd, "/etc/dhcpcd.conf")
	if d == nil {
		return nil
	}
	all := &Profile{Manager: Dhcpcd, Source: d.path, Match: Match{Nothing: true}}
	p, blocks := all, []*Profile{}
	for i, line := range strings.Split(d.text, "\n") {
		key, value, ok := dhcpcdLine(line)
		if !ok {
			continue
		}
		switch key {
		case "interface":
			p = &Profile{Manager: Dhcpcd, Source: d.path, Match: Match{Names: strings.Fields(value)}}
			p.Match.Nothing = len(p.Match.Names) == 0
			blocks = append(blocks, p)
			continue
		case "ssid", "profile":
			p = nil
		case "denyinterfaces", "allowinterfaces":
			p = all
		}
		if p != nil {
			p.dhcpcdOption(d, key, value, i+1)
		}
	}
	return blocks
}

func dhcpcdLine(line string) (key, value string, ok bool) {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return "", "", false
	}
	key, value, _ = strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
	return key, strings.TrimSpace(value), true
}

func (p *Profile) dhcpcdOption(d *document, key, value string, line int) {
	name := key
	if key == "static" || key == "inform" || key == "request" {
		option, v, ok := strings.Cut(value, "=")
		if key == "static" && !ok {
			d.fault(line, "static has no value: %.60q", value)
			return
		}
		if ok {
			name, value = key+"."+strings.TrimSpace(option), strings.TrimSpace(v)
		}
	}
	p.addFact(name, value, d.path, line)
	switch name {
	case "static.ip_address":
		p.Method4 = "static"
		p.addAddress(d, line, strings.Fields(value)...)
	case "static.ip6_address":
		p.Method6 = "static"
		p.addAddress(d, line, strings.Fields(value)...)
	case "static.routers":
		p.Gateways = append(p.Gateways, addrs(strings.Fields(value))...)
	case "static.domain_name_servers":
		p.DNS = append(p.DNS, addrs(strings.Fields(value))...)
	case "static.domain_search", "static.domain_name":
		p.Search = append(p.Search, strings.Fields(value)...)
	case "static.interface_mtu", "mtu":
		p.MTU, _ = number(value)
	case "noipv4":
		p.Method4 = "disabled"
	case "noipv6":
		p.Method6 = "disabled"
	}
}

// addAddress adds the addresses that the words are, and notes those that are none.
func (p *Profile) addAddress(d *document, line int, words ...string) {
	for _, w := range words {
		a := addrPrefix(w)
		if !a.IsValid() {
			d.fault(line, "not an address: %.60q", w)
			continue
		}
		p.Addresses = append(p.Addresses, a)
	}
}
