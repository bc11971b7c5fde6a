package netops

import (
	"context"
	"slices"
	"time"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/kernelrow"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// besideTime is how long net.bridge and net.vlan wait for Open vSwitch, whose bridges stand beside the kernel's own:
// one that hangs must not keep them from telling of these.
const besideTime = 2 * time.Second

// besideOVS is what the database has where an Open vSwitch runs and answers; else nothing, and net.health says why.
func (n *Net) besideOVS(ctx context.Context, name registry.Opt[string]) []registry.OvsBridge {
	if n.runsOVS() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, besideTime)
	defer cancel()
	d, err := n.readOVS(ctx)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(d.Bridges(), func(b registry.OvsBridge) bool { return b.Name != name.Or(b.Name) || len(b.Name) > maxLinkName })
}

// ovsBridges are the bridges of Open vSwitch, or the one with a name, as net.bridge tells them.
func (n *Net) ovsBridges(ctx context.Context, conn *rtnl.Conn, name registry.Opt[string]) (list []registry.Bridge) {
	bridges := n.besideOVS(ctx, name)
	if len(bridges) == 0 {
		return nil
	}
	links := ovsLinks{conn: conn, names: kernelrow.NamesBy(conn), addresses: kernelrow.NewAddressBook(conn)}
	if links.read(ctx) != nil {
		return nil
	}
	for i := range bridges {
		list = append(list, links.bridge(ctx, &bridges[i]))
	}
	return list
}

// ovsLinks are the interfaces that bridges of Open vSwitch have of the kernel.
type ovsLinks struct {
	conn      *rtnl.Conn
	names     *kernelrow.Names
	addresses *kernelrow.AddressBook
	bridges   map[string]registry.Bridge
	ports     map[string]registry.BridgePort
}

// read dumps the interfaces.
func (o *ovsLinks) read(ctx context.Context) error {
	o.bridges, o.ports = map[string]registry.Bridge{}, map[string]registry.BridgePort{}
	_, err := wire.Each(o.conn.Links(ctx, rtnl.LinkFilter{}), func(l *rtnl.Link) error {
		o.bridges[l.Name] = kernelrow.Bridge(l, &rtnl.Bridge{}, o.names)
		p := kernelrow.BridgePort(l, &rtnl.BridgePort{})
		p.State = registry.Opt[registry.BridgePortState]{} // of the kernel's bridges
		o.ports[l.Name] = p
		return nil
	})
	return err
}

// bridge is a bridge with its ports, without its own interface.
func (o *ovsLinks) bridge(ctx context.Context, b *registry.OvsBridge) registry.Bridge {
	row := o.bridges[b.Name]
	row.Name, row.Backend, row.Exists = b.Name, registry.BridgeBackendOvs, registry.Some(true)
	row.Stp, row.StpMode = b.Stp, registry.Some("none")
	switch {
	case b.Rstp.Or(false):
		row.Stp, row.StpMode = registry.Some(true), registry.Some("rstp")
	case b.Stp.Or(false):
		row.StpMode = registry.Some("stp")
	}
	row.McastSnooping, row.VlanFiltering = b.McastSnooping, registry.Some(true)
	row.DatapathType, row.FailMode = b.DatapathType, b.FailMode
	row.Addresses = []registry.InterfaceAddress{}
	if index, ok := row.Index.Get(); ok {
		addresses, err := o.addresses.Of(ctx, int(index))
		if err == nil {
			row.Addresses = append(row.Addresses, addresses...)
		}
	}
	row.Ports = make([]registry.BridgePort, 0, len(b.Ports))
	for i := range b.Ports {
		p := &b.Ports[i]
		if p.Name == b.Name {
			_, row.Vlans = ovsVLANRanges(p)
			continue
		}
		row.Ports = append(row.Ports, o.port(b.Name, p))
	}
	return row
}

// port is a port: what the kernel has of its interface, and what the database has.
func (o *ovsLinks) port(bridge string, p *registry.OvsPort) registry.BridgePort {
	row := o.ports[p.Name]
	row.Interface, row.Bridge, row.Exists = p.Name, bridge, registry.Some(true)
	row.Isolated, row.VlanMode = p.Protected, p.VlanMode
	row.State = registry.NonZero(registry.BridgePortState(p.Status["stp_state"]))
	row.Pvid, row.Vlans = ovsVLANRanges(p)
	if len(p.Interfaces) == 1 {
		i := &p.Interfaces[0]
		row.Ofport = i.Ofport
		if !row.MAC.IsSet() {
			row.MAC = i.MAC
		}
	}
	return row
}

// ovsBridgePort is a port of a bridge as it is now.
func (n *Net) ovsBridgePort(ctx context.Context, bridge, name string) (*registry.BridgePort, error) {
	d, err := n.readOVS(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := n.sockets.Get()
	if err != nil {
		return nil, err
	}
	defer n.sockets.Put(conn)
	links := ovsLinks{conn: conn, names: kernelrow.NamesBy(conn)}
	if err := links.read(ctx); err != nil {
		return nil, err
	}
	for _, b := range d.Bridges() {
		for i := range b.Ports {
			if b.Name == bridge && b.Ports[i].Name == name {
				row := links.port(bridge, &b.Ports[i])
				n.tellPort(&row)
				return &row, nil
			}
		}
	}
	return nil, noInterface(name)
}

// ovsVLANs are the bridges of Open vSwitch, or the one with a name, as net.vlan tells them.
func (n *Net) ovsVLANs(ctx context.Context, name registry.Opt[string]) (list []registry.VlanBridge) {
	for _, b := range n.besideOVS(ctx, name) {
		row := registry.VlanBridge{Bridge: b.Name, Backend: registry.BridgeBackendOvs, Filtering: true, Ports: []registry.VlanPort{}}
		for i := range b.Ports {
			p := &b.Ports[i]
			pvid, ranges := ovsVLANRanges(p)
			if p.Name == b.Name {
				row.Pvid, row.Vlans = pvid, ranges
				continue
			}
			row.Ports = append(row.Ports, registry.VlanPort{Interface: p.Name, Pvid: pvid, Vlans: ranges, VlanMode: p.VlanMode})
		}
		list = append(list, row)
	}
	return list
}

// ovsVLANMost is the last VLAN of a port that carries all; the first is 0, which is of frames without a tag.
const ovsVLANMost = 4095

// ovsVLANRanges are the VLANs that a port of Open vSwitch carries (ovs-vswitchd.conf.db(5), VLAN Configuration).
func ovsVLANRanges(p *registry.OvsPort) (pvid registry.Opt[int64], list []registry.VlanRange) {
	tag, tagged := p.VlanTag.Get()
	mode := p.VlanMode.Or("trunk")
	if tagged && !p.VlanMode.IsSet() {
		mode = "access"
	}
	if mode == "access" || mode == "dot1q-tunnel" {
		return wire.NonZero(tag), []registry.VlanRange{{Vlan: tag, Pvid: tag != 0, Untagged: true}}
	}
	carried := make(map[int64]bool, len(p.Trunks))
	for _, id := range p.Trunks {
		carried[id] = true
	}
	native := tagged && mode != "trunk"
	for id := range int64(ovsVLANMost + 1) {
		own := native && id == tag
		if len(p.Trunks) > 0 && !carried[id] && !own {
			continue
		}
		list = appendVLAN(list, registry.VlanRange{Vlan: id, Pvid: own && id != 0, Untagged: own && mode == "native-untagged"})
	}
	if native {
		pvid = wire.NonZero(tag)
	}
	return pvid, list
}

// appendVLAN adds an id to ranges, to the last of them where it goes on with that.
func appendVLAN(list []registry.VlanRange, v registry.VlanRange) []registry.VlanRange {
	if n := len(list) - 1; n >= 0 && list[n].Pvid == v.Pvid && list[n].Untagged == v.Untagged && list[n].VlanEnd.Or(list[n].Vlan)+1 == v.Vlan {
		list[n].VlanEnd = registry.Some(v.Vlan)
		return list
	}
	return append(list, v)
}
