package netops

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"syscall"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/kernelrow"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Kinds of links.
const (
	kindBridge = "bridge"
	kindVLAN   = "vlan"
	kindVeth   = "veth"
)

// Bridge handles net.bridge: one dump of links has bridges and ports alike, another their VLANs.
func (n *Net) Bridge(ctx context.Context, p *registry.NetBridgeParams) (*registry.NetBridgeResult, error) {
	conn, err := n.sockets.Get()
	if err != nil {
		return nil, err
	}
	defer n.sockets.Put(conn)
	d := bridgeDump{conn: conn, names: kernelrow.NamesBy(conn), addresses: kernelrow.NewAddressBook(conn)}
	result := &registry.NetBridgeResult{}
	result.Consistent, err = wire.Gathered(func() (bool, error) { return d.run(ctx, p.Name) })
	var missing *registry.NotFoundError
	if !p.Name.IsSet() || errors.As(err, &missing) {
		d.bridges = append(d.bridges, n.ovsBridges(ctx, conn, p.Name)...)
	}
	result.Bridges = append(d.bridges, n.absentBridges(d.bridges, p.Name)...)
	if err != nil && !(errors.As(err, &missing) && len(result.Bridges) > 0) {
		return nil, err
	}
	for i := range result.Bridges {
		n.tellBridge(&result.Bridges[i])
	}
	if tag, ok := p.Tag.Get(); ok {
		result.Bridges = slices.DeleteFunc(result.Bridges, func(b registry.Bridge) bool { return b.Tag.Or("") != tag })
	}
	return result, nil
}

// bridgeDump gathers bridges with their ports.
type bridgeDump struct {
	conn      *rtnl.Conn
	names     *kernelrow.Names
	addresses *kernelrow.AddressBook

	bridges []registry.Bridge
	ports   map[int][]bridgePort // by the bridge's index
}

// bridgePort is a port and what is to be looked up when the dump is over.
type bridgePort struct {
	row    registry.BridgePort
	backup int
}

// run gathers all bridges, or the one with a name.
func (d *bridgeDump) run(ctx context.Context, name registry.Opt[string]) (interrupted bool, err error) {
	d.bridges, d.ports = []registry.Bridge{}, map[int][]bridgePort{}
	d.addresses.Forget()
	filter := rtnl.LinkFilter{}
	if name, ok := name.Get(); ok {
		if filter.Master, err = d.one(ctx, name); err != nil {
			return false, err
		}
	}
	interrupted, err = wire.Each(d.conn.Links(ctx, filter), func(l *rtnl.Link) error { return d.link(l, filter.Master == 0) })
	if err != nil || len(d.bridges) == 0 {
		return interrupted, err
	}
	vlans, within, err := kernelrow.ReadVLANs(ctx, d.conn, rtnl.VLANFilter{})
	if err != nil {
		return false, err
	}
	if err := d.finish(ctx, vlans); err != nil {
		return false, err
	}
	return interrupted || within || d.addresses.Interrupted(), nil
}

// one takes the bridge with a name and returns its index.
func (d *bridgeDump) one(ctx context.Context, name string) (index int, err error) {
	l, err := d.conn.LinkByName(ctx, name)
	if errors.Is(err, syscall.ENODEV) || err == nil && l.Kind != kindBridge {
		return 0, noBridge(name)
	}
	if err != nil {
		return 0, err
	}
	return l.Index, d.link(l, true)
}

func noBridge(name string) error {
	return &registry.NotFoundError{
		NotFoundData: registry.NotFoundData{Resource: "bridge", ID: name},
		Message:      "there is no bridge " + name,
	}
}

// link takes what a link has to do with bridges. A bridge cannot be the port of another.
func (d *bridgeDump) link(l *rtnl.Link, bridges bool) error {
	d.names.Note(l.Index, l.Name)
	switch {
	case l.Kind == kindBridge && bridges:
		options, err := rtnl.DecodeBridge(l.Data)
		if err != nil {
			return err
		}
		d.bridges = append(d.bridges, kernelrow.Bridge(l, &options, d.names))
	case l.PortKind == kindBridge:
		options, err := rtnl.DecodeBridgePort(l.PortData)
		if err != nil {
			return err
		}
		d.ports[l.Master] = append(d.ports[l.Master], bridgePort{row: kernelrow.BridgePort(l, &options), backup: options.BackupPort})
	}
	return nil
}

// finish orders the bridges, since older kernels dump links by a hash of their index, and gives each
// what only now is known.
func (d *bridgeDump) finish(ctx context.Context, vlans *kernelrow.VLANs) error {
	byIndex := func(a, b registry.Opt[int64]) int { return cmp.Compare(a.Or(0), b.Or(0)) }
	slices.SortFunc(d.bridges, func(a, b registry.Bridge) int { return byIndex(a.Index, b.Index) })
	for i := range d.bridges {
		b := &d.bridges[i]
		index := int(b.Index.Or(0))
		addresses, err := d.addresses.Of(ctx, index)
		if err != nil {
			return err
		}
		b.Addresses = slices.Concat([]registry.InterfaceAddress{}, addresses)
		b.Vlans = vlans.Of(index)
		ports := d.ports[index]
		slices.SortFunc(ports, func(a, b bridgePort) int { return byIndex(a.row.Index, b.row.Index) })
		b.Ports = make([]registry.BridgePort, 0, len(ports))
		for _, p := range ports {
			p.row.Bridge = b.Name
			p.row.BackupPort = d.names.Of(p.backup)
			p.row.Vlans = vlans.Of(int(p.row.Index.Or(0)))
			p.row.Pvid = kernelrow.PVIDOf(p.row.Vlans)
			b.Ports = append(b.Ports, p.row)
		}
	}
	return nil
}
