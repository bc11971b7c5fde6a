package netops

import (
	"context"
	"errors"
	"slices"
	"syscall"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/netops/internal/kernelrow"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// BridgeAddPort handles net.bridge.add_port.
func (n *Net) BridgeAddPort(ctx context.Context, p *registry.NetBridgeAddPortParams) (*registry.NetBridgeAddPortResult, error) {
	p.Bridge, p.Interface = n.linkName(p.Bridge), n.linkName(p.Interface)
	var f faults
	f.checkVLANs(p.Pvid, p.Vlans, p.Untagged)
	if p.Bridge == p.Interface {
		f.add("interface", "must not be the bridge itself")
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	unlock, err := n.lock(ctx, shareLink(p.Bridge), lockLink(p.Interface))
	if err != nil {
		return nil, err
	}
	defer unlock()
	at, err := n.bridgeAt(ctx, p.Bridge)
	if err != nil {
		return nil, err
	}
	if at.ovs() {
		f.checkOVSPort(p.Pvid, p.Untagged, p.Hairpin)
		if err := f.err(); err != nil {
			return nil, err
		}
	}
	want := portSpec{Bridge: p.Bridge, Interface: p.Interface, Passing: !p.Persistent.Or(true), portSettings: portSettings{
		PVID: int(p.Pvid.Or(0)), VLANs: p.Vlans, Untagged: p.Untagged, Isolated: p.Isolated.Or(false), Hairpin: p.Hairpin.Or(false),
	}, backed: at.backed}
	w := write{method: "net.bridge.add_port", to: []spec{want}, changes: []state.Change{n.kept.ports.Put(p.Interface, want)}}
	if standing, held, err := n.portStanding(p); err != nil {
		return nil, err
	} else if held {
		w.from, w.to, w.changes = []spec{standing}, []spec{standing}, nil
	}
	missing, err := n.checkPort(ctx, p, w.to[0], w.from != nil)
	if err != nil {
		return nil, err
	}
	if missing {
		if err := n.perform(ctx, w); err != nil {
			return nil, err
		}
	}
	row, err := n.portRow(ctx, at, p.Interface)
	if err != nil {
		return nil, err
	}
	return &registry.NetBridgeAddPortResult{Created: missing, Bridge: p.Bridge, Port: *row}, nil
}

// portStanding is what makes an interface a port already: a port that is registered, a tap with a bridge, or
// an end of a connection. With other properties it is a conflict.
func (n *Net) portStanding(p *registry.NetBridgeAddPortParams) (standing spec, held bool, err error) {
	var c comparison
	compare := func(bridge string, o *portSettings) {
		given(&c, "bridge", registry.Some(p.Bridge), bridge)
		given(&c, "pvid", p.Pvid, int64(o.PVID))
		givenList(&c, "vlans", vlansOf(p.Vlans), vlansOf(o.VLANs))
		givenList(&c, "untagged", vlansOf(p.Untagged), vlansOf(o.Untagged))
		given(&c, "isolated", p.Isolated, o.Isolated)
		given(&c, "hairpin", p.Hairpin, o.Hairpin)
	}
	if port, ok := n.kept.ports.Get(p.Interface); ok {
		compare(port.Bridge, &port.portSettings)
		given(&c, "persistent", p.Persistent, !port.Passing)
		standing, held = port, true
	} else if tap, ok := n.kept.tapOf(p.Interface); ok && tap.Bridge != "" {
		compare(tap.Bridge, &tap.portSettings)
		standing, held = tap, true
	} else if pair, ok := n.kept.connectionOf(p.Interface); ok {
		bridge := pair.A
		if pair.BPort == p.Interface {
			bridge = pair.B
		}
		compare(bridge, &portSettings{})
		standing, held = pair, true
	}
	return standing, held, c.conflict("bridge_port", p.Interface)
}

// checkPort refuses what would cut the node off or take another's port, and tells whether anything is to be
// done.
func (n *Net) checkPort(ctx context.Context, p *registry.NetBridgeAddPortParams, want spec, registered bool) (missing bool, err error) {
	look := want.needs()
	look.addresses = append(look.addresses, p.Interface)
	h, err := n.look(ctx, look)
	if err != nil {
		return false, err
	}
	if err := h.ovsTrouble(); err != nil {
		return false, err
	}
	l := h.links[p.Interface]
	switch {
	case l == nil && onOVS(want) && registered: // a patch port, which is no interface
	case l == nil:
		return false, noInterface(p.Interface)
	case !registered && h.ovsHolds(p.Interface) != "":
		return false, otherMaster(p, h.ovsHolds(p.Interface), l)
	case l.Kind == kindBridge:
		return false, (&faults{{Path: "interface", Message: "must not be a bridge: net.bridge.connect connects two"}}).err()
	case l.Master != 0 && !registered:
		return false, otherMaster(p, h.nameOf(l.Master), l)
	}
	out := want.plan(h)
	if out.obstacle != "" {
		return false, foreign(want.resource(), want.id(), out.obstacle)
	}
	if !registered && !p.Force.Or(false) {
		if holder, err := n.leaseHolder(ctx, l); err != nil {
			return false, err
		} else if holder != "" {
			return false, refused("interface_has_lease", "force", "%s leases addresses for %s, which would stop to work; force takes it all the same", holder, p.Interface)
		}
		for _, a := range l.Addresses {
			if !a.Prefix.Addr().IsLinkLocalUnicast() {
				return false, refused("interface_has_addresses", "force", "%s has the address %s, which would stop to work; force takes it all the same", p.Interface, a.Prefix)
			}
		}
	}
	return !out.done(), nil
}

// otherMaster is the conflict where an interface is a port already, by others' hands.
func otherMaster(p *registry.NetBridgeAddPortParams, master string, l *heldLink) error {
	if master == "" {
		master = "another interface"
	}
	return &registry.ConflictError{
		ConflictData: registry.ConflictData{
			Resource: "bridge_port", ID: p.Interface, Managed: registry.Some(false),
			Differences: []registry.Difference{{Field: "bridge", Existing: master, Asked: p.Bridge}},
		},
		Message: l.Name + " is a port of " + master + " already, which this daemon did not do: take it out first",
	}
}

// portRow is a port as the kernel has it now.
func (n *Net) portRow(ctx context.Context, at bridgeAt, name string) (*registry.BridgePort, error) {
	if at.ovs() {
		return n.ovsBridgePort(ctx, at.name, name)
	}
	conn, err := n.sockets.Get()
	if err != nil {
		return nil, err
	}
	defer n.sockets.Put(conn)
	l, err := conn.LinkByName(ctx, name)
	if errors.Is(err, syscall.ENODEV) {
		return nil, noInterface(name)
	}
	if err != nil {
		return nil, err
	}
	options, err := rtnl.DecodeBridgePort(l.PortData)
	if err != nil {
		return nil, err
	}
	row := kernelrow.BridgePort(l, &options)
	row.Bridge = at.name
	vlans, _, err := kernelrow.ReadVLANs(ctx, conn, rtnl.VLANFilter{Index: l.Index})
	if err != nil {
		return nil, err
	}
	row.Vlans = vlans.Of(int(row.Index.Or(0)))
	row.Pvid = kernelrow.PVIDOf(row.Vlans)
	n.tellPort(&row)
	return &row, nil
}

// portNames are the names of the ports of a bridge, by its index.
func portNames(ctx context.Context, conn *rtnl.Conn, index int) (names []string, err error) {
	_, err = wire.Gathered(func() (bool, error) {
		names = nil
		return wire.Each(conn.Links(ctx, rtnl.LinkFilter{Master: index}), func(l *rtnl.Link) error {
			names = append(names, l.Name)
			return nil
		})
	})
	slices.Sort(names)
	return names, err
}

// BridgeRemovePort handles net.bridge.remove_port.
func (n *Net) BridgeRemovePort(ctx context.Context, p *registry.NetBridgeRemovePortParams) (*registry.NetBridgeRemovePortResult, error) {
	p.Bridge, p.Interface = n.linkName(p.Bridge), n.linkName(p.Interface)
	unlock, pair, paired, err := n.lockPort(ctx, p)
	if err != nil {
		return nil, err
	}
	defer unlock()
	w := write{method: "net.bridge.remove_port"}
	port := portSpec{Bridge: p.Bridge, Interface: p.Interface, named: true}
	result := &registry.NetBridgeRemovePortResult{Deleted: true}
	switch tap, isTap := n.kept.tapOf(p.Interface); {
	case paired:
		w.from, w.changes = []spec{pair}, []state.Change{n.kept.connections.Remove(pair.APort)}
		result.RemovedInterfaces = []string{pair.APort, pair.BPort}
	case isTap && tap.Bridge == p.Bridge:
		port.backed = tap.backed
		w.from, w.changes = []spec{port}, []state.Change{n.kept.taps.Put(tapKey(tap.VMID, tap.NIC), tap.outOfBridge())}
	case n.isRegisteredPort(p):
		port, _ = n.kept.ports.Get(p.Interface)
		w.from, w.changes = []spec{port}, []state.Change{n.kept.ports.Remove(p.Interface)}
	default:
		at, err := n.bridgeAt(ctx, p.Bridge)
		if err != nil {
			return nil, err
		}
		port.backed = at.backed
		member, err := n.isMember(ctx, p, at)
		if err != nil {
			return nil, err
		}
		if !member {
			return &registry.NetBridgeRemovePortResult{}, nil
		}
		w.from = []spec{port}
	}
	if err := n.perform(ctx, w); err != nil {
		return nil, err
	}
	return result, nil
}

// lockPort locks a port; and where it is an end of a connection, the other end and both bridges.
func (n *Net) lockPort(ctx context.Context, p *registry.NetBridgeRemovePortParams) (unlock func(), pair connectionSpec, paired bool, err error) {
	for {
		before, was := n.endOf(p)
		objects := []state.Object{shareLink(p.Bridge), lockLink(p.Interface)}
		if was {
			objects = append(objects, lockLink(before.APort), lockLink(before.BPort), shareLink(before.A), shareLink(before.B))
		}
		if unlock, err = n.lock(ctx, objects...); err != nil {
			return nil, pair, false, err
		}
		if pair, paired = n.endOf(p); pair == before && paired == was {
			return unlock, pair, paired, nil
		}
		unlock()
	}
}

// endOf is the connection whose end in the bridge the interface is.
func (n *Net) endOf(p *registry.NetBridgeRemovePortParams) (connectionSpec, bool) {
	c, ok := n.kept.connectionOf(p.Interface)
	if !ok || !(c.APort == p.Interface && c.A == p.Bridge || c.BPort == p.Interface && c.B == p.Bridge) {
		return connectionSpec{}, false
	}
	return c, true
}

func (n *Net) isRegisteredPort(p *registry.NetBridgeRemovePortParams) bool {
	port, ok := n.kept.ports.Get(p.Interface)
	return ok && port.Bridge == p.Bridge
}

// isMember tells whether the kernel has the interface as a port of the bridge, which must exist.
func (n *Net) isMember(ctx context.Context, p *registry.NetBridgeRemovePortParams, at bridgeAt) (bool, error) {
	if at.ovs() {
		return n.isOVSMember(ctx, p)
	}
	h, err := n.look(ctx, needs{links: []string{p.Bridge, p.Interface}})
	if err != nil {
		return false, err
	}
	bridge, l := h.links[p.Bridge], h.links[p.Interface]
	return bridge != nil && l != nil && l.Master == bridge.Index, nil
}

// BridgeConnect handles net.bridge.connect.
func (n *Net) BridgeConnect(ctx context.Context, p *registry.NetBridgeConnectParams) (*registry.NetBridgeConnectResult, error) {
	p.A, p.B = n.linkName(p.A), n.linkName(p.B)
	if p.A == p.B {
		return nil, (&faults{{Path: "b", Message: "must be another bridge than a"}}).err()
	}
	want, err := connectionOf(p)
	if err != nil {
		return nil, err
	}
	unlock, err := n.lock(ctx, state.Exclusive("connections"), shareLink(p.A), shareLink(p.B), lockLink(want.APort), lockLink(want.BPort))
	if err != nil {
		return nil, err
	}
	defer unlock()
	if want.backed, err = n.backedOfPair(ctx, p); err != nil {
		return nil, err
	}
	standing, registered := n.kept.connections.Get(want.APort)
	if registered {
		var c comparison
		given(&c, "a", registry.Some(want.A), standing.A)
		given(&c, "b", registry.Some(want.B), standing.B)
		given(&c, "persistent", p.Persistent, !standing.Passing)
		if err := c.conflict("connection", want.APort); err != nil {
			return nil, err
		}
		want = standing
	}
	plan, err := n.checkConnection(ctx, p, want, registered)
	if err != nil {
		return nil, err
	}
	if !plan.done() {
		w := write{method: "net.bridge.connect", to: []spec{want}, changes: []state.Change{n.kept.connections.Put(want.APort, want)}}
		if registered {
			w.from = []spec{standing}
		}
		if err := n.perform(ctx, w); err != nil {
			return nil, err
		}
	}
	return &registry.NetBridgeConnectResult{Created: plan.missing, A: want.A, B: want.B, APort: want.APort, BPort: want.BPort}, nil
}

// connectionOf makes the params a spec. Where no name is given, the same two bridges make the same one in
// either order.
func connectionOf(p *registry.NetBridgeConnectParams) (connectionSpec, error) {
	c := connectionSpec{A: p.A, B: p.B, Passing: !p.Persistent.Or(true)}
	stem, ok := p.Name.Get()
	if !ok {
		if c.A > c.B {
			c.A, c.B = c.B, c.A
		}
		stem = "p" + digest("connection", c.A, c.B)[:8]
	}
	c.APort, c.BPort = stem+"-a", stem+"-b"
	var f faults
	f.checkNewName("name", c.APort)
	if len(c.APort) > maxLinkName {
		f.add("name", "must be at most 13 bytes, because -a and -b come behind it")
	}
	return c, f.err()
}

// maxLinkName is the length of the longest name of a link (IFNAMSIZ less its NUL).
const maxLinkName = 15

// checkConnection refuses what would make a loop.
func (n *Net) checkConnection(ctx context.Context, p *registry.NetBridgeConnectParams, want connectionSpec, registered bool) (*plan, error) {
	if want.ovs() {
		return n.checkPatch(ctx, p, want, registered)
	}
	conn, err := n.sockets.Get()
	if err != nil {
		return nil, err
	}
	defer n.sockets.Put(conn)
	r := reader{n, conn, newHeld()}
	if err := r.allLinks(ctx); err != nil {
		return nil, err
	}
	h := r.held
	for _, name := range []string{p.A, p.B} {
		if l := h.links[name]; l == nil || l.Kind != kindBridge {
			return nil, noBridge(name)
		}
	}
	for _, name := range []string{want.APort, want.BPort} {
		if l := h.links[name]; l != nil && !registered {
			return nil, taken("connection", l)
		}
	}
	spanning := h.links[p.A].Bridge.STP != 0 && h.links[p.B].Bridge.STP != 0
	if !registered && !spanning && !p.Force.Or(false) && h.connected(p.A, p.B) {
		return nil, refused("bridge_loop", "force", "%s and %s are connected already: another connection would make a loop without spanning tree", p.A, p.B)
	}
	out := want.plan(h)
	if out.obstacle != "" {
		return nil, foreign("connection", want.id(), out.obstacle)
	}
	return &out, nil
}

// connected tells whether frames come from one bridge to the other by veth pairs, whoever made them.
func (h *held) connected(a, b string) bool {
	ways := map[int][]int{} // bridges by index
	byIndex := map[int]*heldLink{}
	for _, l := range h.links {
		byIndex[l.Index] = l
	}
	for _, l := range h.links {
		if peer := byIndex[l.Peer]; l.Kind == kindVeth && l.IsPort && peer != nil && peer.Kind == kindVeth && peer.IsPort && peer.Peer == l.Index {
			ways[l.Master] = append(ways[l.Master], peer.Master)
		}
	}
	from, to := h.links[a].Index, h.links[b].Index
	seen := map[int]bool{from: true}
	for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
		if queue[0] == to {
			return true
		}
		for _, next := range ways[queue[0]] {
			if !seen[next] {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	return false
}
