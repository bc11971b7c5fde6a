package netops

import (
	"context"
	"errors"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/kernelrow"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Interfaces handles net.interfaces: one dump of links, each row sent as it comes, with the addresses
// of its interface.
func (n *Net) Interfaces(ctx context.Context, p *registry.NetInterfacesParams, rows *registry.Stream[registry.Interface]) (*registry.NetInterfacesEnd, error) {
	conn, err := n.sockets.Get()
	if err != nil {
		return nil, err
	}
	defer n.sockets.Put(conn)
	second, err := n.sockets.Get() // for addresses while conn is in the middle of a dump
	if err != nil {
		return nil, err
	}
	defer n.sockets.Put(second)

	d := interfaceDumps.Get().(*interfaceDump)
	defer d.giveBack()
	d.conn, d.params, d.out, d.ours = conn, p, wire.LimitedTo(rows, p.Limit), n.ourLink
	d.row.Use(second)
	d.addresses.Use(second)
	if name, ok := p.Name.Get(); ok {
		return nil, d.one(ctx, name)
	}
	if d.filter, err = linkFilter(conn, p); err != nil {
		return nil, err
	}
	consistent, err := wire.Consistently(rows, func() (bool, error) { return d.all(ctx) })
	return &registry.NetInterfacesEnd{Consistent: consistent}, err
}

// linkFilter makes the params what the kernel can filter by.
func linkFilter(conn *rtnl.Conn, p *registry.NetInterfacesParams) (rtnl.LinkFilter, error) {
	f := rtnl.LinkFilter{Kind: p.Kind.Or("")}
	if name, ok := p.Master.Get(); ok {
		index, err := interfaceIndex(conn, name)
		if err != nil {
			return f, err
		}
		f.Master = index
	}
	return f, nil
}

// interfaceDump sends links as rows.
type interfaceDump struct {
	conn      *rtnl.Conn
	params    *registry.NetInterfacesParams
	filter    rtnl.LinkFilter
	out       wire.Limited[registry.Interface]
	row       *kernelrow.Interface
	addresses *kernelrow.AddressBook
	ours      func(name, alias string) bool
}

// interfaceDumps keeps the memory of dumps that have ended: that of thousands of addresses costs more to get
// and to tidy up than to fill.
var interfaceDumps = sync.Pool{New: func() any {
	return &interfaceDump{row: kernelrow.NewInterface(nil), addresses: kernelrow.NewAddressBook(nil)}
}}

func (d *interfaceDump) giveBack() {
	d.row.Use(nil)
	d.addresses.Use(nil)
	*d = interfaceDump{row: d.row, addresses: d.addresses}
	interfaceDumps.Put(d)
}

func (d *interfaceDump) all(ctx context.Context) (interrupted bool, err error) {
	d.addresses.Forget()
	if d.wantsAll() {
		if err := d.addresses.ReadAll(ctx); err != nil {
			return false, err
		}
	}
	interrupted, err = wire.Each(d.conn.Links(ctx, d.filter), func(l *rtnl.Link) error { return d.send(ctx, l) })
	return interrupted || d.addresses.Interrupted(), wire.UnlessEnough(err)
}

// wantsAll tells whether every interface is asked for, so that their addresses are wanted in one go.
func (d *interfaceDump) wantsAll() bool {
	p := d.params
	return !p.Kind.IsSet() && !p.Master.IsSet() && !p.Up.IsSet() && !p.Limit.IsSet()
}

// one sends the interface with a name where it fits the other filters too. A get is not a dump: it
// costs the same however many interfaces there are.
func (d *interfaceDump) one(ctx context.Context, name string) error {
	filter, err := linkFilter(d.conn, d.params)
	if err != nil {
		return err
	}
	l, err := d.conn.LinkByName(ctx, name)
	if errors.Is(err, syscall.ENODEV) {
		return noInterface(name)
	}
	if err != nil {
		return err
	}
	if !filter.Wants(l) {
		return nil
	}
	return wire.UnlessEnough(d.send(ctx, l))
}

func (d *interfaceDump) send(ctx context.Context, l *rtnl.Link) error {
	if up, ok := d.params.Up.Get(); ok && up != (l.Flags&unix.IFF_UP != 0) {
		return nil
	}
	addresses, err := d.addresses.Of(ctx, l.Index)
	if err != nil {
		return err
	}
	row, err := d.row.Of(l)
	if err != nil {
		return err
	}
	row.Addresses = addresses
	row.Managed = d.ours(l.Name, l.Alias)
	return d.out.Send(row)
}
