package netops

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/kernelrow"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
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
	d := neighborDump{conn: conn, out: wire.LimitedTo(rows, p.Limit), row: kernelrow.NewNeighbor(conn), state: p.State}
	consistent, err := wire.Consistently(rows, func() (bool, error) { return d.run(ctx, filters) })
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
		if asked, ok := p.Family.Get(); ok && wire.FamilyNumber(asked) != family {
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
	out   wire.Limited[registry.Neighbor]
	row   *kernelrow.Neighbor
	state registry.Opt[registry.NeighborState]
}

func (d *neighborDump) run(ctx context.Context, filters []rtnl.NeighborFilter) (interrupted bool, err error) {
	for _, f := range filters {
		flagged, err := wire.Each(d.conn.Neighbors(ctx, f), d.send)
		interrupted = interrupted || flagged
		if err != nil {
			return interrupted, wire.UnlessEnough(err)
		}
	}
	return interrupted, nil
}

// send leaves out what is in another state than asked for: the kernel does not filter by it.
func (d *neighborDump) send(n *rtnl.Neighbor) error {
	row := d.row.Of(n)
	if d.state.IsSet() && row.State != d.state {
		return nil
	}
	return d.out.Send(row)
}
