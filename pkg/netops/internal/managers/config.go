package managers

import (
	"cmp"
	"os"
	"slices"

	"github.com/geomind/my_os_server/internal/netconf"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Config is what the files of a host say about its network.
type Config struct {
	config   *netconf.Config
	owners   *netconf.Owners
	running  []netconf.Process
	hostname *netconf.Fact
	files    []netconf.File
	own      map[string]func(*netconf.Settings) // what the daemon has the interfaces do that it looks after itself
}

// ReadConfig reads what the host is configured to do, whichever manager does it.
func ReadConfig(r *netconf.Reader) Config {
	h := Config{config: r.Config(), owners: r.Owners(), hostname: r.Hostname(), running: r.Processes()}
	h.files = r.Files
	return h
}

// interfaces makes a row of every interface that is there or that files name, by name.
func (h *Config) interfaces(links []netconf.Link) []registry.InterfaceConfig {
	rows := make([]registry.InterfaceConfig, 0, len(links))
	there := map[string]bool{}
	for i := range links {
		there[links[i].Name] = true
		for _, alt := range links[i].AltNames {
			there[alt] = true
		}
		rows = append(rows, h.row(&links[i]))
	}
	for _, name := range h.config.Names() {
		if !there[name] {
			rows = append(rows, h.row(&netconf.Link{Name: name}))
		}
	}
	slices.SortFunc(rows, func(a, b registry.InterfaceConfig) int { return cmp.Compare(a.Interface, b.Interface) })
	return rows
}

// row resolves one interface; one without an index is not there.
func (h *Config) row(l *netconf.Link) registry.InterfaceConfig {
	var owner netconf.Owner
	if l.Index != 0 {
		owner = h.owners.Of(l.Index, l.Name)
	}
	s, facts := h.config.Resolve(l, owner)
	if own := h.own[l.Name]; own != nil && (owner.Manager == "" || owner.Manager == netconf.Kernel) {
		owner = netconf.Owner{Manager: Own}
		own(&s)
	}
	return registry.InterfaceConfig{
		Interface:     l.Name,
		Exists:        l.Index != 0,
		Manager:       managerName(owner),
		ManagerSource: registry.NonZero(owner.Source),
		Ipv4Method:    registry.NonZero(s.Method4),
		Ipv6Method:    registry.NonZero(s.Method6),
		Addresses:     s.Addresses,
		Gateways:      s.Gateways,
		DNS:           s.DNS,
		Search:        s.Search,
		MTU:           wire.NonZero(s.MTU),
		MAC:           registry.NonZero(s.MAC),
		Bridge:        interfaceNameOpt(s.Bridge),
		Bond:          interfaceNameOpt(s.Bond),
		VlanID:        wire.Number(s.HasVLAN, s.VLAN),
		Parent:        interfaceNameOpt(s.Parent),
		Facts:         factRows(facts),
	}
}

func factRows(facts []netconf.Fact) []registry.ConfigFact {
	rows := make([]registry.ConfigFact, 0, len(facts))
	for _, f := range facts {
		rows = append(rows, registry.ConfigFact{Name: f.Name, Value: f.Value, Source: f.Source, Line: wire.NonZero(f.Line)})
	}
	return rows
}

// managers lists those that have a configuration or run, each with the interfaces that it owns.
func (h *Config) managers(rows []registry.InterfaceConfig) []registry.ConfigManager {
	var list []registry.ConfigManager
	place := map[string]int{}
	at := func(name string) *registry.ConfigManager {
		i, ok := place[name]
		if !ok {
			i = len(list)
			place[name] = i
			list = append(list, registry.ConfigManager{Name: name})
		}
		return &list[i]
	}
	for _, name := range h.config.Configured() {
		at(name)
	}
	for _, p := range h.running {
		if p.Name == netconf.Resolved {
			continue
		}
		if m := at(p.Name); !m.Running {
			m.Running, m.Pid = true, registry.Some(int64(p.PID))
		}
	}
	if len(h.own) > 0 {
		m := at(Own)
		m.Running, m.Pid = true, registry.Some(int64(os.Getpid()))
	}
	for i := range rows {
		if name := rows[i].Manager; name != None && name != netconf.Kernel {
			m := at(name)
			m.Interfaces = append(m.Interfaces, rows[i].Interface)
		}
	}
	if list == nil {
		list = []registry.ConfigManager{}
	}
	return list
}

// commandLine is what the kernel was booted with; nil where that is not known.
func commandLine(c *netconf.CommandLine) *registry.KernelCommandLine {
	if c == nil {
		return nil
	}
	row := &registry.KernelCommandLine{
		Text:        c.Text,
		Bootdev:     registry.NonZero(c.BootDev),
		Nameservers: c.NameServers,
		Vlans:       c.VLANs,
		Bonds:       c.Bonds,
		Bridges:     c.Bridges,
	}
	if c.IfNames == "0" || c.IfNames == "1" {
		row.NetIfnames = registry.Some(c.IfNames == "1")
	}
	for i := range c.IP {
		row.IP = append(row.IP, kernelIP(&c.IP[i]))
	}
	for i := range c.MosIP {
		if b := &c.MosIP[i]; b.Six {
			row.Mosip6 = append(row.Mosip6, bootIP(b, registry.AddressFamilyIpv6))
		} else {
			row.Mosip4 = append(row.Mosip4, bootIP(b, registry.AddressFamilyIpv4))
		}
	}
	for i := range c.MosNAT {
		row.Mosnat = append(row.Mosnat, BootNAT(&c.MosNAT[i]))
	}
	for _, b := range c.MosBridge {
		row.Mosbridge = append(row.Mosbridge, registry.BootBridge{
			Value:     b.Value,
			Name:      interfaceNameOpt(b.Name),
			Ports:     b.Ports,
			Addresses: b.Addresses,
			Error:     registry.NonZero(b.Err),
		})
	}
	return row
}

func kernelIP(ip *netconf.KernelIP) registry.KernelIp {
	return registry.KernelIp{
		Value:     ip.Value,
		Address:   wire.When(ip.Address.IsValid(), ip.Address),
		Server:    wire.Addr(ip.Server),
		Gateway:   wire.Addr(ip.Gateway),
		Hostname:  registry.NonZero(ip.Hostname),
		Interface: registry.NonZero(ip.Device),
		Autoconf:  registry.NonZero(ip.Autoconf),
		DNS:       ip.DNS,
		Ntp:       ip.NTP,
		Error:     registry.NonZero(ip.Err),
	}
}

func bootIP(b *netconf.BootIP, family registry.AddressFamily) registry.BootIp {
	return registry.BootIp{
		Value:     b.Value,
		Family:    family,
		Interface: interfaceNameOpt(b.Interface),
		Method:    registry.NonZero(b.Method),
		Addresses: b.Addresses,
		Gateway:   wire.Addr(b.Gateway),
		Error:     registry.NonZero(b.Err),
	}
}

// BootNAT is what a mosnat= of the kernel's command line says.
func BootNAT(b *netconf.BootNAT) registry.BootNat {
	return registry.BootNat{
		Value:        b.Value,
		Enabled:      wire.When(b.Said, b.Enabled),
		Source:       wire.When(b.Source.IsValid(), b.Source),
		OutInterface: interfaceNameOpt(b.Out),
		Error:        registry.NonZero(b.Err),
	}
}

// Result is the answer of net.config for the interfaces that are there. The daemon looks after some itself: each of
// own sets what it has one of those do.
func (h *Config) Result(links []netconf.Link, own map[string]func(*netconf.Settings)) *registry.NetConfigResult {
	h.own = own
	result := &registry.NetConfigResult{
		CommandLine: commandLine(h.config.CommandLine),
		Interfaces:  h.interfaces(links),
		Files:       fileRows(h.files),
	}
	if h.hostname != nil {
		result.Hostname = &factRows([]netconf.Fact{*h.hostname})[0]
	}
	result.Managers = h.managers(result.Interfaces)
	return result
}
