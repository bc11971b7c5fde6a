package netops

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/geomind/my_os_server/internal/dhcp6"
	"github.com/geomind/my_os_server/internal/rtnl"
)

// advertised is what routers told of names (RFC 8106), which the kernel hands on and does not keep.
type advertised struct {
	mu   sync.Mutex
	list []advert // in the order in which they came first
}

// advert is one name server or domain.
type advert struct {
	index  int // of the interface
	server netip.Addr
	domain string
	until  time.Time // zero: for ever
}

// mostAdverts is how many servers and domains of one interface are kept: a router may advertise without end.
const mostAdverts = 16

// take keeps what was advertised, and tells whether names are to be resolved otherwise now.
func (a *advertised) take(n rtnl.Notice, now time.Time) (changed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	until := endAfter(now, n.Lifetime)
	for _, s := range n.Servers {
		if s.IsUnspecified() || s.IsMulticast() || s.IsLoopback() || s.Is4In6() {
			continue
		}
		changed = a.put(advert{index: n.Index, server: s, until: until}, n.Lifetime == 0) || changed
	}
	for _, d := range dhcp6.DomainNames(n.Search) {
		changed = a.put(advert{index: n.Index, domain: d, until: until}, n.Lifetime == 0) || changed
	}
	return changed
}

// put keeps one, or with over forgets it.
func (a *advertised) put(v advert, over bool) bool {
	at := slices.IndexFunc(a.list, func(o advert) bool { return o.index == v.index && o.server == v.server && o.domain == v.domain })
	switch {
	case at >= 0 && over:
		a.list = slices.Delete(a.list, at, at+1)
		return true
	case at >= 0:
		a.list[at].until = v.until
		return false
	case over:
		return false
	}
	of := 0
	for _, o := range a.list {
		of += boolInt(o.index == v.index)
	}
	if of >= mostAdverts {
		return false
	}
	a.list = append(a.list, v)
	return true
}

// expire forgets what is over, and tells whether anything was, and when the next will be; zero: never.
func (a *advertised) expire(now time.Time) (changed bool, next time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = slices.DeleteFunc(a.list, func(o advert) bool {
		over := !o.until.IsZero() && !now.Before(o.until)
		changed = changed || over
		return over
	})
	for _, o := range a.list {
		if !o.until.IsZero() && (next.IsZero() || o.until.Before(next)) {
			next = o.until
		}
	}
	return changed, next
}

// of are the servers and domains of an interface. A link-local server is reached by the interface that is its zone.
func (a *advertised) of(index int, name string) (servers []netip.Addr, search []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, o := range a.list {
		switch {
		case o.index != index || index == 0:
		case o.domain != "":
			search = append(search, o.domain)
		default:
			servers = append(servers, zoned(o.server, name))
		}
	}
	return servers, search
}

func zoned(a netip.Addr, name string) netip.Addr {
	if a.IsLinkLocalUnicast() {
		return a.WithZone(name)
	}
	return a
}

// names are what one interface brought of DNS.
type names struct {
	metric  uint32
	servers []netip.Addr
	search  []string
}

// nameServers are those of all leases and routers, of the interface with the least metric first, each once. Of one
// interface DHCP comes before routers (RFC 8106 section 5.3.1).
func (n *Net) nameServers() (servers []netip.Addr, search []string) {
	var all []names
	for _, s := range n.kept.leases.All() {
		of := names{s.Metric, s.Lease.DNS, s.Lease.Search}
		if len(of.search) == 0 && s.Lease.Domain != "" {
			of.search = []string{s.Lease.Domain}
		}
		all = append(all, of)
	}
	for _, s := range n.kept.leases6.All() {
		of := names{metric: s.Metric, search: s.Lease.Search}
		for _, a := range s.Lease.DNS {
			of.servers = append(of.servers, zoned(a, s.Interface))
		}
		all = append(all, of)
	}
	for _, r := range n.leasing.list {
		r.mu.Lock()
		index := r.linkIndex
		r.mu.Unlock()
		of := names{metric: r.Metric}
		of.servers, of.search = n.leasing.advertised.of(index, r.Name)
		all = append(all, of)
	}
	slices.SortStableFunc(all, func(a, b names) int { return int(int64(a.metric) - int64(b.metric)) })
	for _, of := range all {
		servers, search = appendNew(servers, of.servers), appendNew(search, of.search)
	}
	return servers, search
}

// appendNew appends what is not there yet.
func appendNew[T comparable](list, more []T) []T {
	for _, v := range more {
		if !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}

// heard takes a notice of the kernel's about an interface that the configuration gives to the daemon.
func (l *leasing) heard(n rtnl.Notice) {
	if n.Duplicate.IsValid() {
		l.duplicate(n.Index, n.Duplicate)
		return
	}
	for _, r := range l.list {
		r.mu.Lock()
		taken := r.linkIndex == n.Index && (r.IPv6 == "slaac" || r.IPv6 == "dhcp")
		r.mu.Unlock()
		if !taken {
			continue
		}
		if l.advertised.take(n, time.Now()) {
			l.rewrite()
		}
		select {
		case l.woken <- struct{}{}: // something ends sooner now
		default:
		}
	}
}

// rewrite has resolv.conf say what is known now.
func (l *leasing) rewrite() {
	if err := l.net.writeResolvConf(); err != nil {
		l.net.options.Log.Warn().Err(err).Msg("resolv.conf could not be written")
	}
}
