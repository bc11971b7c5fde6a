package rtnl

import (
	"context"
	"iter"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// NDA_* of linux/neighbour.h that x/sys/unix does not have.
const (
	ndaProtocol = 12
	ndaNextHop  = 13 // NDA_NH_ID, Linux 5.8
	ndaFlagsExt = 15 // Linux 5.16
)

// Neighbor is one entry of a neighbour table (RTM_NEWNEIGH, struct ndmsg of linux/neighbour.h). Slices
// hold until the next row.
type Neighbor struct {
	Family    uint8 // AF_INET or AF_INET6
	Index     int   // of the interface; 0 for a proxy entry of every interface
	State     uint16
	Flags     uint32 // NTF_*, and NTF_EXT_* from bit 8 on
	Addr      netip.Addr
	LinkAddr  []byte // NDA_LLADDR; none where it is not resolved
	Protocol  uint8  // NDA_PROTOCOL, of RTPROT_*; 0: not said
	Probes    uint32
	VLAN      uint16
	NextHopID uint32
	Cache     NeighborCache

	attrs attrSet
}

// NeighborCache is struct nda_cacheinfo. The times are since then, in ticks of 1/[UserHZ] s.
type NeighborCache struct{ Confirmed, Used, Updated, Refcount uint32 }

// Has tells whether the message had an attribute, one of unix.NDA_*.
func (n *Neighbor) Has(attr uint16) bool { return n.attrs.has(attr) }

// NeighborFilter says which entries a dump yields.
type NeighborFilter struct {
	Family uint8 // AF_INET or AF_INET6
	Index  int   // of the interface; 0: every interface
	Proxy  bool  // those that the host answers for, which are a list of their own
}

// Neighbors yields the entries of one family's table, or its proxy entries.
func (c *Conn) Neighbors(ctx context.Context, f NeighborFilter) iter.Seq2[*Neighbor, error] {
	req := c.sock.Request("dump neighbours", unix.RTM_GETNEIGH)
	var header [unix.SizeofNdMsg]byte // family u8, pad u8, pad u16, index i32, state u16, flags u8, type u8
	header[0] = f.Family
	if f.Proxy {
		header[10] = unix.NTF_PROXY
	}
	req.Raw(header[:])
	if f.Index != 0 {
		req.Uint32(unix.NDA_IFINDEX, uint32(f.Index))
	}
	return dump(ctx, c, req, unix.RTM_NEWNEIGH, &c.neighbor, func(b []byte) (bool, error) {
		if len(b) >= 1 && b[0] != f.Family {
			return false, nil
		}
		if err := c.neighbor.decode(b); err != nil {
			return false, err
		}
		return f.wants(&c.neighbor), nil
	})
}

func (f *NeighborFilter) wants(n *Neighbor) bool {
	return (f.Index == 0 || n.Index == f.Index) && f.Proxy == (n.Flags&unix.NTF_PROXY != 0)
}

func (n *Neighbor) decode(b []byte) error {
	if len(b) < unix.SizeofNdMsg {
		return ErrMalformed
	}
	*n = Neighbor{
		Family: b[0],
		Index:  int(int32(native.Uint32(b[4:]))),
		State:  native.Uint16(b[8:]),
		Flags:  uint32(b[10]),
	}
	none, ok := unspecified(n.Family)
	if !ok {
		return ErrMalformed
	}
	attrs := nlsock.Attributes(b[unix.SizeofNdMsg:])
	for attrs.Next() {
		n.attrs.add(attrs.Type())
		n.attribute(&attrs)
	}
	if err := attrs.Err(); err != nil {
		return err
	}
	if n.Addr.BitLen() != none.BitLen() {
		return ErrMalformed
	}
	return nil
}

func (n *Neighbor) attribute(a *nlsock.Attrs) {
	switch a.Type() {
	case unix.NDA_DST:
		n.Addr = AddrOf(a.Bytes())
	case unix.NDA_LLADDR:
		n.LinkAddr = a.Bytes()
	case unix.NDA_CACHEINFO:
		n.Cache.Confirmed = a.Uint32()
		if b := a.Bytes(); len(b) >= 16 {
			n.Cache.Used, n.Cache.Updated, n.Cache.Refcount = native.Uint32(b[4:]), native.Uint32(b[8:]), native.Uint32(b[12:])
		}
	case unix.NDA_PROBES:
		n.Probes = a.Uint32()
	case unix.NDA_VLAN:
		n.VLAN = a.Uint16()
	case ndaProtocol:
		n.Protocol = a.Uint8()
	case ndaNextHop:
		n.NextHopID = a.Uint32()
	case ndaFlagsExt:
		n.Flags |= a.Uint32() << 8
	}
}

// neighborStates are NUD_*, one bit each.
var neighborStates = flagNames{"incomplete", "reachable", "stale", "delay", "probe", "failed", "noarp", "permanent"}

// NeighborStateName is the name of NUD_*: none for 0, and "" for a state that has no name. Of several
// that are set at once, which only a writer over netlink can do, it is the highest: noarp and permanent
// outlast the others.
func NeighborStateName(state uint16) string {
	if state == 0 {
		return "none"
	}
	for bit := len(neighborStates) - 1; bit >= 0; bit-- {
		if state&(1<<bit) != 0 {
			return neighborStates[bit]
		}
	}
	return ""
}

var neighborFlags = flagNames{"use", "self", "master", "proxy", "ext_learned", "offloaded", "sticky", "router",
	"managed", "locked", "ext_validated"}

// AppendNeighborFlags appends the names of [Neighbor.Flags]; bit_N for a bit that has none.
func AppendNeighborFlags(dst []string, flags uint32) []string {
	return neighborFlags.append(dst, flags)
}
