package rtnl

import (
	"context"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// AddAddress gives an interface an address, with a protocol (IFA_PROTO) that kernels before 5.18 pass over.
// One that it has already is EEXIST. IPv6 addresses are usable at once: duplicates are not looked for, since
// those that this is for are the node's own.
func (c *Conn) AddAddress(ctx context.Context, index int, addr netip.Prefix, protocol uint8) error {
	req := c.addressRequest("add address "+addr.String(), unix.RTM_NEWADDR, index, addr)
	if addr.Addr().Is4() {
		if b, ok := broadcast(addr); ok {
			req.Bytes(unix.IFA_BROADCAST, b.AsSlice())
		}
	} else {
		req.Uint32(unix.IFA_FLAGS, unix.IFA_F_NODAD)
	}
	req.Uint8(ifaProto, protocol)
	_, err := c.change(ctx, req, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	return err
}

// DeleteAddress takes an address from an interface. One that it does not have is EADDRNOTAVAIL.
func (c *Conn) DeleteAddress(ctx context.Context, index int, addr netip.Prefix) error {
	req := c.addressRequest("delete address "+addr.String(), unix.RTM_DELADDR, index, addr)
	_, err := c.change(ctx, req, 0)
	return err
}

func (c *Conn) addressRequest(op string, typ uint16, index int, addr netip.Prefix) *nlsock.Request {
	req := c.sock.Request(op, typ)
	header := [unix.SizeofIfAddrmsg]byte{0: familyOf(addr.Addr()), 1: byte(addr.Bits())}
	native.PutUint32(header[4:], uint32(index))
	req.Raw(header[:])
	req.Bytes(unix.IFA_LOCAL, addr.Addr().AsSlice())
	req.Bytes(unix.IFA_ADDRESS, addr.Addr().AsSlice())
	return req
}

// broadcast is the last address of a network that is large enough to have one.
func broadcast(p netip.Prefix) (netip.Addr, bool) {
	if p.Bits() >= 31 {
		return netip.Addr{}, false
	}
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b), true
}

func familyOf(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// RouteChange is a route to be added or deleted. What makes its key is family, table, dst, tos and priority.
type RouteChange struct {
	Dst      netip.Prefix
	Table    uint32
	TOS      uint8
	Priority uint32
	Type     uint8 // unix.RTN_*; 0: unicast to add, any to delete
	Protocol uint8 // unix.RTPROT_*; 0 to delete: any
	Scope    uint8 // unix.RT_SCOPE_*; to delete RT_SCOPE_NOWHERE: any
	Gateway  netip.Addr
	OIF      int
	OnLink   bool
	PrefSrc  netip.Addr
	MTU      uint32    // RTAX_MTU; 0: none
	Hops     []NextHop // instead of Gateway and OIF: several ways
	NextHop  uint32    // RTA_NH_ID, to delete a route that goes by a nexthop object
}

// AddRoute adds a route where none has its key (NLM_F_EXCL, EEXIST), or with replace takes the place of the
// first that has. It returns the route as the kernel made it, which holds until the next one is read; nil
// where the kernel did not tell.
func (c *Conn) AddRoute(ctx context.Context, r RouteChange, replace bool) (*Route, error) {
	flags := uint16(unix.NLM_F_CREATE | unix.NLM_F_EXCL | unix.NLM_F_ECHO)
	if replace {
		flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE | unix.NLM_F_ECHO
	}
	if r.Type == 0 {
		r.Type = unix.RTN_UNICAST
	}
	return c.changeRoute(ctx, "add route "+r.Dst.String(), unix.RTM_NEWROUTE, flags, &r)
}

// DeleteRoute deletes one route that has all that is given. That there is none is ESRCH. It returns the
// route that is gone; nil where the kernel did not tell.
func (c *Conn) DeleteRoute(ctx context.Context, r RouteChange) (*Route, error) {
	return c.changeRoute(ctx, "delete route "+r.Dst.String(), unix.RTM_DELROUTE, unix.NLM_F_ECHO, &r)
}

func (c *Conn) changeRoute(ctx context.Context, op string, typ, flags uint16, r *RouteChange) (*Route, error) {
	req := c.sock.Request(op, typ)
	r.encode(req)
	m, err := c.change(ctx, req, flags)
	if err != nil || m.Type != typ {
		return nil, err
	}
	if err := c.route.decode(m.Data); err != nil {
		return nil, req.Fail(err)
	}
	return &c.route, nil
}

// encode writes struct rtmsg (family, dst_len, src_len, tos, table, protocol, scope, type: a byte each; flags
// u32) and attributes.
func (r *RouteChange) encode(req *nlsock.Request) {
	header := [unix.SizeofRtMsg]byte{
		0: familyOf(r.Dst.Addr()), 1: byte(r.Dst.Bits()), 3: r.TOS, 4: unix.RT_TABLE_UNSPEC,
		5: r.Protocol, 6: r.Scope, 7: r.Type,
	}
	if r.OnLink && len(r.Hops) == 0 {
		native.PutUint32(header[8:], unix.RTNH_F_ONLINK)
	}
	req.Raw(header[:])
	req.Uint32(unix.RTA_TABLE, r.Table)
	if r.Dst.Bits() > 0 {
		req.Bytes(unix.RTA_DST, r.Dst.Masked().Addr().AsSlice())
	}
	if r.Priority != 0 {
		req.Uint32(unix.RTA_PRIORITY, r.Priority)
	}
	if r.PrefSrc.IsValid() {
		req.Bytes(unix.RTA_PREFSRC, r.PrefSrc.AsSlice())
	}
	if r.MTU != 0 {
		req.Nest(unix.RTA_METRICS, func() { req.Uint32(unix.RTAX_MTU, r.MTU) })
	}
	r.encodeWays(req)
}

func (r *RouteChange) encodeWays(req *nlsock.Request) {
	if r.OIF != 0 {
		req.Uint32(unix.RTA_OIF, uint32(r.OIF))
	}
	if r.NextHop != 0 {
		req.Uint32(rtaNHID, r.NextHop)
	}
	encodeGateway(req, r.Dst.Addr(), r.Gateway)
	if len(r.Hops) == 0 {
		return
	}
	req.Run(unix.RTA_MULTIPATH, func() {
		for _, h := range r.Hops { // struct rtnexthop: len u16, flags u8, hops u8, ifindex i32, and attributes
			req.Hop(h.Flags, uint8(max(h.Weight, 1)-1), int32(h.OIF), func() { encodeGateway(req, r.Dst.Addr(), h.Gateway) })
		}
	})
}

// encodeGateway writes a gateway: RTA_VIA (struct rtvia: family u16, address) where it is IPv6 and the
// destination is not.
func encodeGateway(req *nlsock.Request, dst, gateway netip.Addr) {
	switch {
	case !gateway.IsValid():
	case gateway.Is4() == dst.Is4():
		req.Bytes(unix.RTA_GATEWAY, gateway.AsSlice())
	default:
		b := native.AppendUint16(nil, uint16(familyOf(gateway)))
		req.Bytes(unix.RTA_VIA, append(b, gateway.AsSlice()...))
	}
}
