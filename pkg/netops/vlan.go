package netops

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/kernelrow"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Vlan handles net.vlan: one dump of links has bridges, ports and VLAN interfaces, two more have the
// VLANs of bridges and ports and what bridges keep by VLAN.
func (n *Net) Vlan(ctx context.Context, p *registry.NetVlanParams) (*registry.NetVlanResult, error) {
	conn, err := n.sockets.Get()
	if err != nil {
		return nil, err
	}
	defer n.sockets.Put(conn)
	d := vlanDump{conn: conn, names: kernelrow.NamesBy(conn), filter: rtnl.VLANFilter{Stats: p.Stats.Or(false)}}
	consistent, err := wire.Gathered(func() (bool, error) { return d.run(ctx) })
	if err != nil {
		return nil, err
	}
	result := &registry.NetVlanResult{Consistent: consistent}
	var missing *registry.NotFoundError
	if name, ok := p.Bridge.Get(); ok {
		err = d.only(name)
		if err != nil && !errors.As(err, &missing) {
			return nil, err
		}
	}
	result.Bridges, result.Interfaces = d.rows()
	if !p.Bridge.IsSet() || missing != nil {
		result.Bridges = append(result.Bridges, n.ovsVLANs(ctx, p.Bridge)...)
	}
	if missing != nil && len(result.Bridges) == 0 {
		return nil, err
	}
	return result, nil
}

// vlanDump gathers the VLANs of a host.
type vlanDump struct {
	conn   *rtnl.Conn
	names  *kernelrow.Names
	filter rtnl.VLANFilter

	bridges    []vlanBridge
	ports      []vlanPort
	interfaces []registry.VlanInterface
	vlans      *kernelrow.VLANs
	globals    map[int][]registry.VlanGlobal // by the bridge's index
}

type vlanBridge struct {
	index int
	row   registry.VlanBridge
}

type vlanPort struct {
	index, bridge int
	name          string
}

func (d *vlanDump) run(ctx context.Context) (interrupted bool, err error) {
	d.bridges, d.ports, d.interfaces = nil, nil, []registry.VlanInterface{}
	d.vlans, d.globals = &kernelrow.VLANs{}, map[int][]registry.VlanGlobal{}
	interrupted, err = wire.Each(d.conn.Links(ctx, rtnl.LinkFilter{}), d.link)
	if err != nil {
		return false, err
	}
	d.order()
	d.nameParents()
	if len(d.bridges) == 0 {
		return interrupted, nil
	}
	var flagged bool
	if d.vlans, flagged, err = kernelrow.ReadVLANs(ctx, d.conn, d.filter); err != nil {
		return false, err
	}
	interrupted = interrupted || flagged
	flagged, err = d.readGlobals(ctx)
	return interrupted || flagged, err
}

// readGlobals reads what bridges keep by VLAN.
func (d *vlanDump) readGlobals(ctx context.Context) (interrupted bool, err error) {
	if !d.vlans.Filtering() {
		return false, nil
	}
	return wire.Each(d.conn.GlobalVLANs(ctx, 0), func(v *rtnl.GlobalVLANs) error {
		for i := range v.VLANs {
			d.globals[v.Index] = append(d.globals[v.Index], d.global(&v.VLANs[i]))
		}
		return nil
	})
}

// link takes what a link has to do with VLANs.
func (d *vlanDump) link(l *rtnl.Link) error {
	d.names.Note(l.Index, l.Name)
	if l.PortKind == kindBridge {
		d.ports = append(d.ports, vlanPort{index: l.Index, bridge: l.Master, name: l.Name})
	}
	switch l.Kind {
	case kindBridge:
		o, err := rtnl.DecodeBridge(l.Data)
		if err != nil {
			return err
		}
		d.bridges = append(d.bridges, vlanBridge{index: l.Index, row: registry.VlanBridge{
			Bridge:      l.Name,
			Backend:     registry.BridgeBackendLinux,
			Filtering:   o.VLANFiltering,
			Protocol:    wire.When(o.Has(unix.IFLA_BR_VLAN_PROTOCOL), rtnl.TagName(o.VLANProtocol)),
			DefaultPvid: wire.Number(o.Has(unix.IFLA_BR_VLAN_DEFAULT_PVID), o.VLANDefaultPVID),
		}})
	case kindVLAN:
		v, err := rtnl.DecodeVLAN(l.Data)
		if err != nil {
			return err
		}
		d.interfaces = append(d.interfaces, vlanInterface(l, &v))
	}
	return nil
}

// vlanInterface is a row whose parent is not named yet. A parent in another network namespace has no
// name here, and its index counts there.
func vlanInterface(l *rtnl.Link, v *rtnl.VLAN) registry.VlanInterface {
	return registry.VlanInterface{
		Interface:   l.Name,
		Index:       int64(l.Index),
		ParentIndex: wire.Number(l.Link > 0, l.Link),
		LinkNetnsid: wire.Number(l.Has(unix.IFLA_LINK_NETNSID), max(l.LinkNetNSID, -1)),
		VlanID:      int64(v.ID),
		Protocol:    v.ProtocolName(),
		Flags:       v.FlagNames(),
		AdminUp:     kernelrow.AdminUp(l),
		IngressQos:  kernelrow.QoSMap(v.Ingress),
		EgressQos:   kernelrow.QoSMap(v.Egress),
	}
}

// order sorts by index, since older kernels dump links by a hash of it.
func (d *vlanDump) order() {
	slices.SortFunc(d.bridges, func(a, b vlanBridge) int { return cmp.Compare(a.index, b.index) })
	slices.SortFunc(d.ports, func(a, b vlanPort) int { return cmp.Compare(a.index, b.index) })
	slices.SortFunc(d.interfaces, func(a, b registry.VlanInterface) int { return cmp.Compare(a.Index, b.Index) })
}

func (d *vlanDump) nameParents() {
	for i := range d.interfaces {
		v := &d.interfaces[i]
		if !v.LinkNetnsid.IsSet() {
			v.Parent = d.names.Of(int(v.ParentIndex.Or(0)))
		}
	}
}

// only drops all that has not to do with one bridge.
func (d *vlanDump) only(name string) error {
	index, err := d.conn.LinkIndex(name)
	if err != nil && !errors.Is(err, syscall.ENODEV) {
		return err
	}
	d.bridges = slices.DeleteFunc(d.bridges, func(b vlanBridge) bool { return b.index != index })
	if len(d.bridges) == 0 {
		return noBridge(name)
	}
	d.ports = slices.DeleteFunc(d.ports, func(p vlanPort) bool { return p.bridge != index })
	d.interfaces = slices.DeleteFunc(d.interfaces, func(v registry.VlanInterface) bool {
		return v.LinkNetnsid.IsSet() || !d.concerns(int(v.ParentIndex.Or(0)))
	})
	return nil
}

// concerns tells whether an interface is one of the bridges or ports.
func (d *vlanDump) concerns(index int) bool {
	return slices.ContainsFunc(d.bridges, func(b vlanBridge) bool { return b.index == index }) ||
		slices.ContainsFunc(d.ports, func(p vlanPort) bool { return p.index == index })
}

// rows puts together what was gathered.
func (d *vlanDump) rows() ([]registry.VlanBridge, []registry.VlanInterface) {
	ports := map[int][]registry.VlanPort{}
	for _, p := range d.ports {
		ranges := d.vlans.Of(p.index)
		ports[p.bridge] = append(ports[p.bridge], registry.VlanPort{
			Interface: p.name,
			Pvid:      kernelrow.PVIDOf(ranges),
			Vlans:     slices.Concat([]registry.VlanRange{}, ranges),
		})
	}
	rows := make([]registry.VlanBridge, 0, len(d.bridges))
	for _, b := range d.bridges {
		b.row.Vlans = d.vlans.Of(b.index)
		b.row.Pvid = kernelrow.PVIDOf(b.row.Vlans)
		b.row.Global = d.globals[b.index]
		b.row.Ports = slices.Concat([]registry.VlanPort{}, ports[b.index])
		rows = append(rows, b.row)
	}
	return rows, d.interfaces
}

func (d *vlanDump) global(v *rtnl.GlobalVLAN) registry.VlanGlobal {
	g := registry.VlanGlobal{
		Vlan:    int64(v.First),
		VlanEnd: wire.Number(v.Last != v.First, v.Last),
		Msti:    wire.Number(v.Has(rtnl.GlobalVLANMSTI), v.MSTI),
	}
	if !v.Has(rtnl.GlobalVLANMcastSnooping) {
		return g
	}
	g.McastSnooping = registry.Some(v.Snooping)
	g.McastQuerier = registry.Some(v.Querier)
	g.McastIgmpVersion = registry.Some(int64(v.IGMPVersion))
	g.McastMldVersion = wire.Number(v.MLDVersion != 0, v.MLDVersion)
	g.McastLastMemberCount = registry.Some(int64(v.LastMemberCount))
	g.McastStartupQueryCount = registry.Some(int64(v.StartupQueryCount))
	g.McastLastMemberIntervalS = wire.Ticks(true, v.LastMemberInterval)
	g.McastMembershipIntervalS = wire.Ticks(true, v.MembershipInterval)
	g.McastQuerierIntervalS = wire.Ticks(true, v.QuerierInterval)
	g.McastQueryIntervalS = wire.Ticks(true, v.QueryInterval)
	g.McastQueryResponseIntervalS = wire.Ticks(true, v.QueryResponseInterval)
	g.McastStartupQueryIntervalS = wire.Ticks(true, v.StartupQueryInterval)
	q := &v.QuerierState
	g.McastQuerierIpv4Address, g.McastQuerierIpv4Port = wire.Addr(q.IPv4.Addr), d.names.Of(q.IPv4.Port)
	g.McastQuerierIpv4TimerS = wire.Ticks(q.IPv4.Port != 0, q.IPv4.OtherTimer)
	g.McastQuerierIpv6Address, g.McastQuerierIpv6Port = wire.Addr(q.IPv6.Addr), d.names.Of(q.IPv6.Port)
	g.McastQuerierIpv6TimerS = wire.Ticks(q.IPv6.Port != 0, q.IPv6.OtherTimer)
	for _, index := range v.RouterPorts {
		if name, ok := d.names.Of(index).Get(); ok {
			g.McastRouterPorts = append(g.McastRouterPorts, name)
		}
	}
	return g
}
