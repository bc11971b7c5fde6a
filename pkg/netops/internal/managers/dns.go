package managers

import (
	"cmp"
	"slices"

	"github.com/geomind/my_os_server/internal/netconf"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// DNS is what the files of a host say about names.
type DNS struct {
	resolv   *netconf.ResolvConfFile // nil: none
	writer   string
	resolved *netconf.ResolvedConf // nil: systemd-resolved does not run
	links    map[int]netconf.LinkDNS
	files    []netconf.File
}

// ReadDNS reads resolv.conf, and what systemd-resolved has behind it.
func ReadDNS(r *netconf.Reader) DNS {
	h := DNS{resolv: r.ResolvConf(), links: map[int]netconf.LinkDNS{}}
	h.writer = None
	if h.resolv != nil {
		h.writer = h.resolv.Writer()
	}
	if r.Running(netconf.Resolved) != nil || h.writer == netconf.Resolved {
		h.resolved = r.ResolvedConf()
		for _, l := range r.NetworkdLinks() {
			h.links[l.Index] = l.DNS
		}
		for index, dns := range r.ResolvedLinks() { // what the bus was told counts
			h.links[index] = dns
		}
	}
	h.files = r.Files
	return h
}

func (h *DNS) resolvConf(to *registry.NetDnsResult) {
	c := h.resolv
	to.Nameservers = dnsRows(c.Servers)
	to.Search = append(to.Search, c.Search...)
	to.Options = append(to.Options, c.Options...)
	to.Sortlist = c.Sortlist
	to.Path, to.Target = registry.Some(c.Path), registry.NonZero(c.Target)
	if c.Unreadable {
		return
	}
	local := slices.ContainsFunc(c.Servers, func(s netconf.DNSServer) bool { return s.Address.IsLoopback() })
	to.Stub = registry.Some(local)
}

func dnsRows(servers []netconf.DNSServer) []registry.DnsServer {
	rows := make([]registry.DnsServer, 0, len(servers))
	for _, s := range servers {
		rows = append(rows, registry.DnsServer{
			Address:    s.Address,
			Port:       wire.NonZero(s.Port),
			Interface:  interfaceNameOpt(s.Interface),
			ServerName: registry.NonZero(s.Name),
		})
	}
	return rows
}

// interfaces are the rows of the interfaces that something is known of, by index.
func (h *DNS) interfaces(links []netconf.Link) []registry.DnsInterface {
	rows := []registry.DnsInterface{}
	for i := range links {
		dns, ok := h.links[links[i].Index]
		if !ok || dns.Empty() {
			continue
		}
		row := registry.DnsInterface{
			Interface:      links[i].Name,
			Index:          int64(links[i].Index),
			Nameservers:    dnsRows(dns.Servers),
			Search:         append([]string{}, dns.Search...),
			RoutingDomains: dns.Routing,
			Llmnr:          registry.NonZero(dns.LLMNR),
			Mdns:           registry.NonZero(dns.MDNS),
			Dnssec:         registry.NonZero(dns.DNSSEC),
			DNSOverTls:     registry.NonZero(dns.DNSOverTLS),
			File:           registry.Some(dns.File),
		}
		if dns.DefaultRoute != "" {
			row.DefaultRoute = registry.Some(dns.DefaultRoute == "yes")
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b registry.DnsInterface) int { return cmp.Compare(a.Index, b.Index) })
	return rows
}

// Result is the answer of net.dns for the interfaces that are there.
func (h *DNS) Result(links []netconf.Link) *registry.NetDnsResult {
	result := &registry.NetDnsResult{
		Nameservers: []registry.DnsServer{},
		Search:      []string{},
		Options:     []string{},
		Source:      h.writer,
		Files:       fileRows(h.files),
	}
	if h.resolv != nil {
		h.resolvConf(result)
	}
	if h.resolved != nil {
		result.Upstream = dnsRows(h.resolved.Servers)
		result.UpstreamSearch = h.resolved.Search
		if len(h.resolved.Fallback) > 0 {
			result.Fallback = dnsRows(h.resolved.Fallback)
		}
		result.Interfaces = h.interfaces(links)
	}
	return result
}
