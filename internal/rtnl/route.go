package rtnl

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Route is one route of a forwarding table (RTM_NEWROUTE). Slices hold until the next row.
type Route struct {
	Family   uint8 // AF_INET or AF_INET6
	Type     uint8 // unix.RTN_*
	Protocol uint8 // unix.RTPROT_*: who made it
	Scope    uint8 // unix.RT_SCOPE_*
	TOS      uint8
	Pref     uint8  // ICMPV6_ROUTER_PREF_*, where Has(RTA_PREF)
	Flags    uint32 // unix.RTNH_F_* in the low byte, unix.RTM_F_* above
	Table    uint32

	Dst     netip.Prefix // 0.0.0.0/0 and ::/0 for the default route
	Src     netip.Prefix // valid where packets must come from there (IPv6)
	Gateway netip.Addr   // RTA_GATEWAY, or RTA_VIA: then it may be of the other family
	PrefSrc netip.Addr

	OIF       int    // RTA_OIF; 0: none
	Priority  uint32 // RTA_PRIORITY
	Flow      uint32 // RTA_FLOW: realms, the source's in the upper half
	NextHopID uint32 // RTA_NH_ID
	EncapType uint16 // unix.LWTUNNEL_ENCAP_*; 0: none
	Encap     []byte // RTA_ENCAP: attributes of that type

	TTLPropagate uint8 // RTA_TTL_PROPAGATE
	CacheInfo    RouteCacheInfo
	Metrics      Metrics
	NextHops     []NextHop // RTA_MULTIPATH

	attrs attrSet
}

// Has tells whether the message had an attribute, one of unix.RTA_*.
func (r *Route) Has(attr uint16) bool { return r.attrs.has(attr) }

// RouteCacheInfo is struct rta_cacheinfo without what the kernel no longer fills. Times are in
// clock ticks of [UserHZ] a second.
type RouteCacheInfo struct {
	Expires int32 // until the kernel removes the route; 0: never
	Error   int32 // negative errno that packets are answered with; 0: none
}

// UserHZ is the kernel's USER_HZ: how many of its clock ticks make a second in structures that user
// space reads. It is 100 on every architecture that Go has a Linux port for.
const UserHZ = 100

// NextHop is one way of a route with several (struct rtnexthop and its attributes).
type NextHop struct {
	Flags     uint8 // unix.RTNH_F_*
	Weight    int   // 1 to 256, in newer kernels up to 65536
	OIF       int
	Gateway   netip.Addr
	Flow      uint32
	EncapType uint16
	Encap     []byte
}

// rtaNHID is RTA_NH_ID (Linux 5.3), which x/sys/unix does not have.
const rtaNHID = 30

// RouteFilter says which routes a dump yields. Everything but Dst is left to the kernel.
type RouteFilter struct {
	Family   uint8        // AF_INET or AF_INET6; one of them must be given
	Table    uint32       // 0: every table
	Protocol uint8        // 0: every protocol
	Type     uint8        // 0: every type
	OIF      int          // 0: every interface; a route with several ways is wanted for any of them
	Dst      netip.Prefix // not valid: every destination
}

// Routes yields the routes of one family. Cloned entries (the kernel's cache of path discoveries) are
// not routes and never come. A table that does not exist has no routes.
func (c *Conn) Routes(ctx context.Context, f RouteFilter) iter.Seq2[*Route, error] {
	req := c.sock.Request("dump routes", unix.RTM_GETROUTE)
	header := [unix.SizeofRtMsg]byte{0: f.Family, 5: f.Protocol, 7: f.Type}
	req.Raw(header[:])
	if f.Table != 0 {
		req.Uint32(unix.RTA_TABLE, f.Table)
	}
	if f.OIF != 0 {
		req.Uint32(unix.RTA_OIF, uint32(f.OIF))
	}
	rows := dump(ctx, c, req, unix.RTM_NEWROUTE, &c.route, func(b []byte) (bool, error) {
		if f.passed(b) {
			return false, errEnough
		}
		if !f.mayWant(b) {
			return false, nil
		}
		if err := c.route.decode(b); err != nil {
			return false, err
		}
		return f.wants(&c.route), nil
	})
	return withoutMissingTable(rows)
}

// passed tells whether an IPv4 dump of one table is beyond the destination that is wanted. The kernel
// walks its trie by rising address, so that the default routes come first and are found among a million
// routes without reading them. (IPv6 walks from the leaves to the root: ::/0 comes last.)
func (f *RouteFilter) passed(b []byte) bool {
	if f.Family != unix.AF_INET || f.Table == 0 || !f.Dst.IsValid() || len(b) < unix.SizeofRtMsg {
		return false
	}
	a := nlsock.Attributes(b[unix.SizeofRtMsg:])
	for a.Next() {
		if a.Type() == unix.RTA_DST {
			dst := AddrOf(a.Bytes())
			return dst.Is4() && f.Dst.Addr().Less(dst)
		}
	}
	return false
}

// withoutMissingTable turns the kernel's ENOENT for a table that does not exist into its rows: none.
func withoutMissingTable(rows iter.Seq2[*Route, error]) iter.Seq2[*Route, error] {
	return func(yield func(*Route, error) bool) {
		for r, err := range rows {
			if errors.Is(err, syscall.ENOENT) || !yield(r, err) {
				return
			}
		}
	}
}

// mayWant judges by struct rtmsg alone, before the attributes are looked at. The family is among it
// because a kernel without IPv6 answers a dump of AF_INET6 with the routes of every family it has.
func (f *RouteFilter) mayWant(b []byte) bool {
	if len(b) < unix.SizeofRtMsg {
		return true // for decode to complain about
	}
	return b[0] == f.Family &&
		(f.Protocol == 0 || b[5] == f.Protocol) &&
		(f.Type == 0 || b[7] == f.Type) &&
		(!f.Dst.IsValid() || int(b[1]) == f.Dst.Bits())
}

func (f *RouteFilter) wants(r *Route) bool {
	return r.Flags&unix.RTM_F_CLONED == 0 &&
		(f.Table == 0 || r.Table == f.Table) &&
		(!f.Dst.IsValid() || r.Dst == f.Dst)
}

// decode reads struct rtmsg (family, dst_len, src_len, tos, table, protocol, scope, type: a byte each;
// flags u32) and the attributes behind it.
func (r *Route) decode(b []byte) error {
	if len(b) < unix.SizeofRtMsg {
		return ErrMalformed
	}
	*r = Route{
		Family:   b[0],
		TOS:      b[3],
		Table:    uint32(b[4]),
		Protocol: b[5],
		Scope:    b[6],
		Type:     b[7],
		Flags:    native.Uint32(b[8:]),
		NextHops: r.NextHops[:0],
	}
	none, ok := unspecified(r.Family)
	if !ok {
		return ErrMalformed
	}
	dst, src := none, netip.Addr{}
	a := nlsock.Attributes(b[unix.SizeofRtMsg:])
	for a.Next() {
		r.attrs.add(a.Type())
		switch a.Type() {
		case unix.RTA_DST:
			dst = AddrOf(a.Bytes())
		case unix.RTA_SRC:
			src = AddrOf(a.Bytes())
		default:
			if err := r.attribute(&a); err != nil {
				return err
			}
		}
	}
	if err := a.Err(); err != nil {
		return err
	}
	return r.prefixes(dst, int(b[1]), src, int(b[2]))
}

func (r *Route) prefixes(dst netip.Addr, dstBits int, src netip.Addr, srcBits int) error {
	r.Dst = netip.PrefixFrom(dst, dstBits)
	if !r.Dst.IsValid() {
		return ErrMalformed
	}
	if src.IsValid() {
		if r.Src = netip.PrefixFrom(src, srcBits); !r.Src.IsValid() {
			return ErrMalformed
		}
	}
	return nil
}

func (r *Route) attribute(a *nlsock.Attrs) error {
	switch a.Type() {
	case unix.RTA_TABLE:
		r.Table = a.Uint32()
	case unix.RTA_OIF:
		r.OIF = int(a.Int32())
	case unix.RTA_PRIORITY:
		r.Priority = a.Uint32()
	case unix.RTA_GATEWAY:
		r.Gateway = AddrOf(a.Bytes())
	case unix.RTA_VIA:
		r.Gateway = via(a.Bytes())
	case unix.RTA_PREFSRC:
		r.PrefSrc = AddrOf(a.Bytes())
	case unix.RTA_FLOW:
		r.Flow = a.Uint32()
	case rtaNHID:
		r.NextHopID = a.Uint32()
	case unix.RTA_PREF:
		r.Pref = a.Uint8()
	case unix.RTA_TTL_PROPAGATE:
		r.TTLPropagate = a.Uint8()
	case unix.RTA_ENCAP_TYPE:
		r.EncapType = a.Uint16()
	case unix.RTA_ENCAP:
		r.Encap = a.Bytes()
	case unix.RTA_CACHEINFO:
		return r.CacheInfo.decode(a.Bytes())
	case unix.RTA_METRICS:
		return r.Metrics.decode(a.Bytes())
	case unix.RTA_MULTIPATH:
		return r.multipath(a.Bytes())
	}
	return nil
}

// decode reads struct rta_cacheinfo: clntref, lastuse, expires, error and more, four bytes each.
func (i *RouteCacheInfo) decode(b []byte) error {
	if len(b) < 16 {
		return ErrMalformed
	}
	i.Expires = int32(native.Uint32(b[8:]))
	i.Error = int32(native.Uint32(b[12:]))
	return nil
}

// multipath reads a run of struct rtnexthop (len u16, flags u8, hops u8, ifindex i32), each followed by
// its attributes.
func (r *Route) multipath(b []byte) error {
	for len(b) > 0 {
		if len(b) < unix.SizeofRtNexthop {
			return ErrMalformed
		}
		size := int(native.Uint16(b))
		if size < unix.SizeofRtNexthop || size > len(b) {
			return ErrMalformed
		}
		hop := NextHop{Flags: b[2], Weight: int(b[3]) + 1, OIF: int(int32(native.Uint32(b[4:])))}
		if err := hop.attributes(b[unix.SizeofRtNexthop:size]); err != nil {
			return err
		}
		r.NextHops = append(r.NextHops, hop)
		b = b[min((size+3)&^3, len(b)):]
	}
	return nil
}

func (h *NextHop) attributes(b []byte) error {
	a := nlsock.Attributes(b)
	for a.Next() {
		switch a.Type() {
		case unix.RTA_GATEWAY:
			h.Gateway = AddrOf(a.Bytes())
		case unix.RTA_VIA:
			h.Gateway = via(a.Bytes())
		case unix.RTA_FLOW:
			h.Flow = a.Uint32()
		case unix.RTA_ENCAP_TYPE:
			h.EncapType = a.Uint16()
		case unix.RTA_ENCAP:
			h.Encap = a.Bytes()
		}
	}
	return a.Err()
}
