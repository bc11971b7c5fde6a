package netops

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/kernelrow"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Routes handles net.routes: one dump a family, filtered by the kernel, each row sent as it comes.
func (n *Net) Routes(ctx context.Context, p *registry.NetRoutesParams, rows *registry.Stream[registry.Route]) (*registry.NetRoutesEnd, error) {
	conn, err := n.sockets.Get()
	if err != nil {
		return nil, err
	}
	defer n.sockets.Put(conn)
	filters, err := routeFilters(conn, p)
	if err != nil {
		return nil, err
	}
	d := routeDump{conn: conn, out: wire.LimitedTo(rows, p.Limit), row: kernelrow.NewRoute(conn), local: p.Table.IsSet(), kept: n.kept, tag: p.Tag}
	consistent, err := wire.Consistently(rows, func() (bool, error) { return d.run(ctx, filters) })
	if name, ok := p.Interface.Get(); ok && errors.Is(err, syscall.ENODEV) {
		err = noInterface(name) // it went between the look-up and the dump
	}
	return &registry.NetRoutesEnd{Consistent: consistent}, err
}

// routeDump sends what the kernel has for each of some filters.
type routeDump struct {
	conn  *rtnl.Conn
	out   wire.Limited[registry.Route]
	row   *kernelrow.Route
	local bool // rows of the table local are wanted
	kept  *kept
	tag   registry.Opt[string]
}

func (d *routeDump) run(ctx context.Context, filters []rtnl.RouteFilter) (interrupted bool, err error) {
	for _, f := range filters {
		flagged, err := wire.Each(d.conn.Routes(ctx, f), d.send)
		interrupted = interrupted || flagged
		if err != nil {
			return interrupted, wire.UnlessEnough(err)
		}
	}
	return interrupted, nil
}

func (d *routeDump) send(r *rtnl.Route) error {
	if r.Table == unix.RT_TABLE_LOCAL && !d.local {
		return nil
	}
	spec, ours := routeSpec{}, false
	if r.Protocol == RouteProtocol {
		spec, ours = d.kept.routes.Get(keyOf(r).String())
	}
	if tag, ok := d.tag.Get(); ok && spec.Tag != tag {
		return nil
	}
	row := d.row.Of(r)
	row.Managed, row.Tag, row.Persistent = ours, registry.NonZero(spec.Tag), wire.When(ours, !spec.Passing)
	return d.out.Send(row)
}

// routeFilters makes the params a filter for each family that they leave open.
func routeFilters(conn *rtnl.Conn, p *registry.NetRoutesParams) ([]rtnl.RouteFilter, error) {
	f := rtnl.RouteFilter{Table: uint32(p.Table.Or(0))}
	f.Dst, _ = p.Dst.Get()
	if err := setProtocol(&f, p); err != nil {
		return nil, err
	}
	if name, ok := p.Interface.Get(); ok {
		index, err := interfaceIndex(conn, name)
		if err != nil {
			return nil, err
		}
		f.OIF = index
	}
	if p.Table == registry.Some[int64](unix.RT_TABLE_UNSPEC) {
		return nil, nil // no route stands there
	}
	if p.Tag.IsSet() && !p.Protocol.IsSet() {
		f.Protocol = RouteProtocol // tags are kept with our own routes alone
	}
	return forFamilies(f, p), nil
}

func setProtocol(f *rtnl.RouteFilter, p *registry.NetRoutesParams) error {
	name, ok := p.Protocol.Get()
	if !ok {
		return nil
	}
	number, ok := kernelrow.ParseProtocol(name)
	if !ok {
		return &registry.ParamsError{Faults: []registry.Fault{{
			Path:    "protocol",
			Message: fmt.Sprintf("must be the name of a route protocol or a number from 0 to 255, got %q", name),
		}}}
	}
	f.Protocol = number
	return nil
}

func forFamilies(f rtnl.RouteFilter, p *registry.NetRoutesParams) []rtnl.RouteFilter {
	var filters []rtnl.RouteFilter
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		asked, ok := p.Family.Get()
		if ok && wire.FamilyNumber(asked) != family {
			continue
		}
		if f.Dst.IsValid() && f.Dst.Addr().Is4() != (family == unix.AF_INET) {
			continue
		}
		f.Family = family
		filters = append(filters, f)
	}
	return filters
}
