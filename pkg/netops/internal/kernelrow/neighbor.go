package kernelrow

import (
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Neighbor makes rows of net.neighbors out of the kernel's, in memory that each next row uses again.
type Neighbor struct {
	names *Names

	row   registry.Neighbor
	flags []string
}

// NewNeighbor makes rows with the names of interfaces that conn tells.
func NewNeighbor(conn *rtnl.Conn) *Neighbor { return &Neighbor{names: NamesBy(conn)} }

// Of returns the row for n. It holds until the next one is made.
func (b *Neighbor) Of(n *rtnl.Neighbor) *registry.Neighbor {
	b.flags = rtnl.AppendNeighborFlags(b.flags[:0], n.Flags)
	b.row = registry.Neighbor{
		Address:        n.Addr,
		Family:         wire.Family(n.Family),
		Interface:      b.names.Of(n.Index),
		InterfaceIndex: wire.Number(n.Index > 0, n.Index),
		MAC:            wire.MAC(n.LinkAddr),
		LinkAddress:    otherAddress(n.LinkAddr),
		Flags:          b.flags,
		Protocol:       wire.When(n.Protocol != 0, ProtocolName(n.Protocol)),
		Probes:         wire.Number(n.Has(unix.NDA_PROBES), n.Probes),
		VlanID:         wire.Number(n.Has(unix.NDA_VLAN), n.VLAN),
		NexthopID:      wire.NonZero(n.NextHopID),
		Managed:        n.Protocol == OwnProtocol,
	}
	if n.Flags&unix.NTF_PROXY == 0 {
		b.row.State = registry.NonZero(registry.NeighborState(rtnl.NeighborStateName(n.State)))
	}
	if n.Has(unix.NDA_CACHEINFO) {
		b.cache(&n.Cache)
	}
	return &b.row
}

func (b *Neighbor) cache(c *rtnl.NeighborCache) {
	b.row.UsedS = clockTicks(c.Used)
	b.row.ConfirmedS = clockTicks(c.Confirmed)
	b.row.UpdatedS = clockTicks(c.Updated)
	b.row.Refcount = registry.Some(int64(c.Refcount))
}

// clockTicks is a time in seconds that the kernel tells in ticks of 1/USER_HZ s.
func clockTicks[N wire.Integer](n N) registry.Opt[float64] {
	return registry.Some(float64(n) / rtnl.UserHZ)
}
