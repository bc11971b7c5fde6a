package kernelrow

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Route makes rows of net.routes out of the kernel's, in memory that each next row uses again.
type Route struct {
	names *Names

	row     registry.Route
	flags   []string
	hops    []registry.RouteNextHop
	encap   registry.RouteEncap
	metrics registry.RouteMetrics
}

// NewRoute makes rows with the names of interfaces that conn tells.
func NewRoute(conn *rtnl.Conn) *Route { return &Route{names: NamesBy(conn)} }

// Of returns the row for r. It holds until the next one is made. (The row is filled in place: as one
// composite literal it would be made elsewhere and copied, a tenth of the time that a route takes.)
func (b *Route) Of(r *rtnl.Route) *registry.Route {
	b.row = registry.Route{}
	row := &b.row
	row.Dst = r.Dst
	row.Family = wire.Family(r.Family)
	row.Type = registry.RouteType(rtnl.RouteTypeName(r.Type))
	row.Table = int64(r.Table)
	row.Protocol = ProtocolName(r.Protocol)
	row.Scope = rtnl.ScopeName(r.Scope)
	row.Metric = wire.Number(r.Has(unix.RTA_PRIORITY), r.Priority)
	row.Tos = wire.NonZero(r.TOS)
	row.PreferredSource = wire.Addr(r.PrefSrc)
	row.Source = wire.When(r.Src.IsValid(), r.Src)
	row.NexthopID = wire.NonZero(r.NextHopID)
	row.Flags = b.flagNames(r.Flags)
	row.Metrics = b.metricsOf(&r.Metrics)
	row.Preference = preference(r)
	row.ExpiresS = wire.Number(r.CacheInfo.Expires != 0, max(r.CacheInfo.Expires, 0)/rtnl.UserHZ)
	row.TTLPropagate = wire.When(r.Has(unix.RTA_TTL_PROPAGATE), r.TTLPropagate != 0)
	row.Realm, row.RealmFrom = realm(r.Flow), realmFrom(r.Flow)
	row.Managed = r.Protocol == OwnProtocol
	if len(r.NextHops) > 0 {
		row.Nexthops = b.nextHops(r.NextHops)
	} else {
		b.way(r)
	}
	return row
}

// way fills in where a route with one way goes.
func (b *Route) way(r *rtnl.Route) {
	b.row.Gateway = wire.Addr(r.Gateway)
	b.row.Interface = b.names.Of(r.OIF)
	b.row.InterfaceIndex = wire.NonZero(r.OIF)
	if r.EncapType != unix.LWTUNNEL_ENCAP_NONE {
		b.encap = encap(r.EncapType, r.Encap)
		b.row.Encap = &b.encap
	}
}

// flagNames is nil where no flag is set, which most routes have in common.
func (b *Route) flagNames(flags uint32) []string {
	if flags == 0 {
		return nil
	}
	b.flags = rtnl.AppendRouteFlags(b.flags[:0], flags)
	return b.flags
}

func (b *Route) nextHops(hops []rtnl.NextHop) []registry.RouteNextHop {
	b.hops = b.hops[:0]
	for _, h := range hops {
		hop := registry.RouteNextHop{
			Gateway:        wire.Addr(h.Gateway),
			Interface:      b.names.Of(h.OIF),
			InterfaceIndex: wire.NonZero(h.OIF),
			Weight:         int64(h.Weight),
			Flags:          rtnl.AppendRouteFlags(nil, uint32(h.Flags)),
			Realm:          realm(h.Flow),
			RealmFrom:      realmFrom(h.Flow),
		}
		if h.EncapType != unix.LWTUNNEL_ENCAP_NONE {
			e := encap(h.EncapType, h.Encap)
			hop.Encap = &e
		}
		b.hops = append(b.hops, hop)
	}
	return b.hops
}

func encap(typ uint16, options []byte) registry.RouteEncap {
	return registry.RouteEncap{Type: rtnl.EncapName(typ), Raw: wire.Hex(options)}
}

// realm and realmFrom are the halves of RTA_FLOW.
func realm(flow uint32) registry.Opt[int64]     { return wire.NonZero(uint16(flow)) }
func realmFrom(flow uint32) registry.Opt[int64] { return wire.NonZero(uint16(flow >> 16)) }

// preference is RTA_PREF, the two bits of RFC 4191 (linux/icmpv6.h); the fourth value is reserved.
func preference(r *rtnl.Route) registry.Opt[registry.RoutePreference] {
	if !r.Has(unix.RTA_PREF) {
		return registry.Opt[registry.RoutePreference]{}
	}
	switch r.Pref {
	case 0:
		return registry.Some(registry.RoutePreferenceMedium)
	case 1:
		return registry.Some(registry.RoutePreferenceHigh)
	case 3:
		return registry.Some(registry.RoutePreferenceLow)
	}
	return registry.Opt[registry.RoutePreference]{}
}

// metricsOf is nil where the route has none, which most routes have in common.
func (b *Route) metricsOf(m *rtnl.Metrics) *registry.RouteMetrics {
	if m.IsZero() {
		return nil
	}
	value := func(rtax int) registry.Opt[int64] {
		v, ok := m.Get(rtax)
		return wire.Number(ok, v)
	}
	b.metrics = registry.RouteMetrics{
		Locked:           lockedMetrics(m),
		MTU:              value(unix.RTAX_MTU),
		Window:           value(unix.RTAX_WINDOW),
		RttS:             metricSeconds(m, unix.RTAX_RTT, 8000),
		RttvarS:          metricSeconds(m, unix.RTAX_RTTVAR, 4000),
		Ssthresh:         value(unix.RTAX_SSTHRESH),
		Cwnd:             value(unix.RTAX_CWND),
		Advmss:           value(unix.RTAX_ADVMSS),
		Reordering:       value(unix.RTAX_REORDERING),
		Hoplimit:         value(unix.RTAX_HOPLIMIT),
		Initcwnd:         value(unix.RTAX_INITCWND),
		Features:         features(m),
		RtoMinS:          metricSeconds(m, unix.RTAX_RTO_MIN, 1000),
		Initrwnd:         value(unix.RTAX_INITRWND),
		Quickack:         metricSwitch(m, unix.RTAX_QUICKACK),
		Congctl:          registry.NonZero(m.CongestionControl),
		FastopenNoCookie: metricSwitch(m, unix.RTAX_FASTOPEN_NO_COOKIE),
	}
	return &b.metrics
}

// metricSeconds is a time that the kernel keeps in units of which so many make a second.
func metricSeconds(m *rtnl.Metrics, rtax int, perSecond float64) registry.Opt[float64] {
	v, ok := m.Get(rtax)
	return wire.When(ok, float64(v)/perSecond)
}

func metricSwitch(m *rtnl.Metrics, rtax int) registry.Opt[bool] {
	v, ok := m.Get(rtax)
	return wire.When(ok, v != 0)
}

// metricNames are the members of RouteMetrics by the kernel's number of the metric.
var metricNames = [...]string{
	unix.RTAX_MTU: "mtu", unix.RTAX_WINDOW: "window", unix.RTAX_RTT: "rtt_s", unix.RTAX_RTTVAR: "rttvar_s",
	unix.RTAX_SSTHRESH: "ssthresh", unix.RTAX_CWND: "cwnd", unix.RTAX_ADVMSS: "advmss",
	unix.RTAX_REORDERING: "reordering", unix.RTAX_HOPLIMIT: "hoplimit", unix.RTAX_INITCWND: "initcwnd",
	unix.RTAX_FEATURES: "features", unix.RTAX_RTO_MIN: "rto_min_s", unix.RTAX_INITRWND: "initrwnd",
	unix.RTAX_QUICKACK: "quickack", unix.RTAX_CC_ALGO: "congctl", unix.RTAX_FASTOPEN_NO_COOKIE: "fastopen_no_cookie",
}

func lockedMetrics(m *rtnl.Metrics) []string {
	var names []string
	for rtax, name := range metricNames {
		if name != "" && m.Locked(rtax) {
			names = append(names, name)
		}
	}
	return names
}

// featureNames are RTAX_FEATURE_*, by bit.
var featureNames = [...]string{"ecn", "sack", "timestamp", "allfrag", "tcp_usec_ts"}

func features(m *rtnl.Metrics) []string {
	bits, _ := m.Get(unix.RTAX_FEATURES)
	var names []string
	for bit := range 32 {
		switch {
		case bits&(1<<bit) == 0:
		case bit < len(featureNames):
			names = append(names, featureNames[bit])
		default:
			names = append(names, "bit_"+strconv.Itoa(bit))
		}
	}
	return names
}
