package netops

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Neighbors handles net.neighbors: two dumps a family, since the kernel keeps proxy entries apart, each
// row sent as it comes.
func (n *Net) Neighbors(ctx context.Context, p *registry.NetNeighborsParams, rows *registry.Stream[registry.Neighbor]) (*registry.NetNeighborsEnd, error) {
	conn, err := n.sockets.Get()
	if err != nil {
		return nil, err
	}
	defer n.sockets.Put(conn)
	filters, err := neighborFilters(conn, p)
	if err != nil {
		return nil, err
	}
	d := neighborDump{conn: conn, out: limitedTo(rows, p.Limit), row: neighborRow{names: namesBy(conn)}, state: p.State}
	consistent, err := consistently(rows, func() (bool, error) { return d.run(ctx, filters) })
	return &registry.NetNeighborsEnd{Consistent: consistent}, err
}

// neighborFilters makes the params a filter for each list that they leave open.
func neighborFilters(conn *rtnl.Conn, p *registry.NetNeighborsParams) ([]rtnl.NeighborFilter, error) {
	index := 0
	if name, ok := p.Interface.Get(); ok {
		var err error
		if index, err = interfaceIndex(conn, name); err != nil {
			return nil, err
		}
	}
	var filters []rtnl.NeighborFilter
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		if asked, ok := p.Family.Get(); ok && familyNumber(asked) != family {
			continue
		}
		f := rtnl.NeighborFilter{Family: family, Index: index}
		filters = append(filters, f)
		if !p.State.IsSet() {
			f.Proxy = true
			filters = append(filters, f)
		}
	}
	return filters, nil
}

// neighborDump sends what the kernel has for each of some filters.
type neighborDump struct {
	conn  *rtnl.Conn
	out   limited[registry.Neighbor]
	row   neighborRow
	state registry.Opt[registry.NeighborState]
}

func (d *neighborDump) run(ctx context.Context, filters []rtnl.NeighborFilter) (interrupted bool, err error) {
	for _, f := range filters {
		flagged, err := each(d.conn.Neighbors(ctx, f), d.send)
		interrupted = interrupted || flagged
		if err != nil {
			return interrupted, unlessEnough(err)
		}
	}
	return interrupted, nil
}

// send leaves out what is in another state than asked for: the kernel does not filter by it.
func (d *neighborDump) send(n *rtnl.Neighbor) error {
	row := d.row.of(n)
	if d.state.IsSet() && row.State != d.state {
		return nil
	}
	return d.out.send(row)
}

// neighborRow makes rows of net.neighbors out of the kernel's, in memory that each next row uses again.
type neighborRow struct {
	names *interfaceNames

	row   registry.Neighbor
	flags []string
}

// of returns the row for n. It holds until the next one is made.
func (b *neighborRow) of(n *rtnl.Neighbor) *registry.Neighbor {
	b.flags = rtnl.AppendNeighborFlags(b.flags[:0], n.Flags)
	b.row = registry.Neighbor{
		Address:        n.Addr,
		Family:         familyName(n.Family),
		Interface:      b.names.of(n.Index),
		InterfaceIndex: number(n.Index > 0, n.Index),
		MAC:            macText(n.LinkAddr),
		LinkAddress:    otherAddress(n.LinkAddr),
		Flags:          b.flags,
		Protocol:       when(n.Protocol != 0, protocolName(n.Protocol)),
		Probes:         number(n.Has(unix.NDA_PROBES), n.Probes),
		VlanID:         number(n.Has(unix.NDA_VLAN), n.VLAN),
		NexthopID:      nonZero(n.NextHopID),
		Managed:        n.Protocol == RouteProtocol,
	}
	if n.Flags&unix.NTF_PROXY == 0 {
		b.row.State = registry.NonZero(registry.NeighborState(rtnl.NeighborStateName(n.State)))
	}
	if n.Has(unix.NDA_CACHEINFO) {
		b.cache(&n.Cache)
	}
	return &b.row
}

func (b *neighborRow) cache(c *rtnl.NeighborCache) {
	b.row.UsedS = clockTicks(c.Used)
	b.row.ConfirmedS = clockTicks(c.Confirmed)
	b.row.UpdatedS = clockTicks(c.Updated)
	b.row.Refcount = registry.Some(int64(c.Refcount))
}

// clockTicks is a time in seconds that the kernel tells in ticks of 1/USER_HZ s.
func clockTicks[N integer](n N) registry.Opt[float64] {
	return registry.Some(float64(n) / rtnl.UserHZ)
}
