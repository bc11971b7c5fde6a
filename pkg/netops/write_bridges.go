package netops

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strconv"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/registry"
)

const (
	defaultMTU = 1500
	minMTU6    = 1280 // RFC 8200, section 5
)

// BridgeAdd handles net.bridge.add.
func (n *Net) BridgeAdd(ctx context.Context, p *registry.NetBridgeAddParams) (*registry.NetBridgeAddResult, error) {
	if err := n.checkBridge(p); err != nil {
		return nil, err
	}
	unlock, err := n.lock(ctx, lockLink(p.Name))
	if err != nil {
		return nil, err
	}
	defer unlock()
	want, registered := n.kept.bridges.Get(p.Name)
	var from []spec
	if registered {
		if err := bridgeDifferences(p, &want).conflict("bridge", p.Name); err != nil {
			return nil, err
		}
		from = []spec{want}
	} else {
		want = n.bridgeOf(p)
	}
	standing, err := n.standing(ctx, want, registered, p.Name)
	if err != nil {
		return nil, err
	}
	if !standing.done() {
		if err := n.perform(ctx, write{
			method: "net.bridge.add", from: from, to: []spec{want}, seen: standing.seen,
			changes: []state.Change{n.kept.bridges.Put(p.Name, want)},
		}); err != nil {
			return nil, err
		}
	}
	row, err := n.bridgeRowOf(ctx, p.Name)
	if err != nil {
		return nil, err
	}
	return &registry.NetBridgeAddResult{Created: standing.missing, Bridge: *row}, nil
}

// standing is what lacks that an object stands, before it is made or made whole. Where it is not registered,
// a link with its name is a conflict.
func (n *Net) standing(ctx context.Context, want spec, registered bool, name string) (*lacking, error) {
	return n.standingBy(ctx, newHeld(), want, registered, name)
}

// standingBy is standing where a part was read already: see lookFurther.
func (n *Net) standingBy(ctx context.Context, read *held, want spec, registered bool, name string) (*lacking, error) {
	h, err := n.lookFurther(ctx, read, want.needs())
	if err != nil {
		return nil, err
	}
	if err := h.ovsTrouble(); err != nil {
		return nil, err
	}
	if err := h.ovsTaken(want.resource(), name); err != nil && !registered {
		return nil, err
	}
	if l := h.links[name]; l != nil && !registered {
		return nil, taken(want.resource(), l)
	}
	p := want.plan(h)
	if p.obstacle != "" {
		return nil, foreign(want.resource(), want.id(), p.obstacle)
	}
	out := &lacking{plan: p}
	if p.missing && !registered && !onOVS(want) {
		out.seen = h
	}
	return out, nil
}

// lacking is what standing found.
type lacking struct {
	plan
	seen *held // see write
}

func (n *Net) checkBridge(p *registry.NetBridgeAddParams) error {
	var f faults
	f.checkNewName("name", p.Name)
	if n.backendFor(p) == registry.BridgeBackendOvs {
		f.checkOVSBridge(p)
	} else if p.DatapathType.IsSet() {
		f.add("datapath_type", "must not be given for a Linux bridge")
	}
	if mac, ok := p.MAC.Get(); ok {
		f.checkMAC("mac", mac)
	}
	for i, a := range p.Addresses {
		path := "addresses[" + strconv.Itoa(i) + "]"
		f.checkAddress(path, a)
		if a.Addr().Is6() && p.MTU.Or(defaultMTU) < minMTU6 {
			f.add("mtu", "must be at least %d where there is an IPv6 address", minMTU6)
		}
		// To the kernel an IPv6 address is the same whatever the length of its prefix.
		if slices.ContainsFunc(p.Addresses[:i], func(b netip.Prefix) bool { return a == b || a.Addr().Is6() && a.Addr() == b.Addr() }) {
			f.add(path, "must not be given twice")
		}
	}
	return f.err()
}

// checkAddress notes what is wrong with an address that an interface is to have.
func (f *faults) checkAddress(path string, p netip.Prefix) {
	a := p.Addr()
	switch {
	case a.IsUnspecified(), a.IsMulticast(), a.IsLoopback(), a.Is4In6(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		f.add(path, "must be an address that an interface can have, got %s", p)
	case p.Bits() == 0:
		f.add(path, "must have a prefix length above 0")
	}
}

// bridgeOf makes the params a spec.
func (n *Net) bridgeOf(p *registry.NetBridgeAddParams) bridgeSpec {
	b := bridgeSpec{
		Name: p.Name, MAC: n.macFor(p.MAC, "bridge", p.Name), MTU: int(p.MTU.Or(defaultMTU)), STP: p.Stp.Or(false),
		VLANFiltering: p.VlanFiltering.Or(false), Addresses: p.Addresses, Up: p.Up.Or(true), Passing: !p.Persistent.Or(true), Tag: p.Tag.Or(""),
		backed: backedBy(n.backendFor(p)),
	}
	if b.ovs() {
		b.DatapathType = p.DatapathType.Or(n.options.OVSDatapathType)
	}
	return b
}

func bridgeDifferences(p *registry.NetBridgeAddParams, b *bridgeSpec) (c comparison) {
	given(&c, "backend", p.Backend, cmp.Or(b.Backend, registry.BridgeBackendLinux))
	given(&c, "datapath_type", p.DatapathType, b.DatapathType)
	given(&c, "mtu", p.MTU, int64(b.MTU))
	given(&c, "mac", p.MAC, b.MAC)
	given(&c, "stp", p.Stp, b.STP)
	given(&c, "vlan_filtering", p.VlanFiltering, b.VLANFiltering)
	given(&c, "up", p.Up, b.Up)
	given(&c, "persistent", p.Persistent, !b.Passing)
	givenList(&c, "addresses", p.Addresses, b.Addresses)
	return c
}

// bridgeRowOf is a bridge of ours as the kernel has it now.
func (n *Net) bridgeRowOf(ctx context.Context, name string) (*registry.Bridge, error) {
	result, err := n.Bridge(ctx, &registry.NetBridgeParams{Name: registry.Some(name)})
	if err != nil {
		return nil, err
	}
	if len(result.Bridges) != 1 {
		return nil, noBridge(name)
	}
	return &result.Bridges[0], nil
}

// BridgeDelete handles net.bridge.delete.
func (n *Net) BridgeDelete(ctx context.Context, p *registry.NetBridgeDeleteParams) (*registry.NetBridgeDeleteResult, error) {
	p.Name = n.linkName(p.Name)
	d, unlock, err := n.lockBridge(ctx, p.Name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	h, err := n.look(ctx, needs{links: []string{p.Name}})
	if err != nil {
		return nil, err
	}
	l := h.links[p.Name]
	if !d.registered {
		return &registry.NetBridgeDeleteResult{}, n.foreignBridge(ctx, p.Name, l)
	}
	var ports []string
	if d.bridge.ovs() {
		ports, err = n.ovsPortsOf(ctx, p.Name)
	} else {
		ports, err = n.portsOf(ctx, l)
	}
	if err != nil {
		return nil, err
	}
	if len(ports) > 0 && !p.Force.Or(false) {
		return nil, busyPorts(p.Name, ports)
	}
	if err := n.perform(ctx, d.write(n)); err != nil {
		return nil, err
	}
	released := slices.DeleteFunc(ports, func(name string) bool {
		return slices.ContainsFunc(d.pairs, func(c connectionSpec) bool { return c.APort == name || c.BPort == name })
	})
	result := &registry.NetBridgeDeleteResult{Deleted: true}
	if len(released) > 0 {
		result.PortsReleased = released
	}
	return result, nil
}

// departure is a bridge that is to go, with all that hangs on it.
type departure struct {
	bridge     bridgeSpec
	registered bool
	pairs      []connectionSpec
	ports      []portSpec
	taps       []tapSpec
}

// lockBridge locks a bridge and what is registered as a port of it. What that is may change until all is
// locked: then it begins anew.
func (n *Net) lockBridge(ctx context.Context, name string) (*departure, func(), error) {
	for {
		before := n.departureOf(name)
		objects := []state.Object{lockLink(name)}
		for _, link := range before.links() {
			objects = append(objects, lockLink(link))
		}
		unlock, err := n.lock(ctx, objects...)
		if err != nil {
			return nil, nil, err
		}
		d := n.departureOf(name)
		if slices.Equal(before.links(), d.links()) {
			return d, unlock, nil
		}
		unlock()
	}
}

func (n *Net) departureOf(name string) *departure {
	d := &departure{}
	d.bridge, d.registered = n.kept.bridges.Get(name)
	d.pairs = n.kept.connectionsOf(name)
	for _, p := range n.kept.portsByBridge.Find(name) {
		d.ports = append(d.ports, p)
	}
	for _, t := range n.kept.tapsByBridge.Find(name) {
		d.taps = append(d.taps, t)
	}
	return d
}

func (d *departure) links() (names []string) {
	for _, c := range d.pairs {
		names = append(names, c.APort, c.BPort)
	}
	for _, p := range d.ports {
		names = append(names, p.Interface)
	}
	for _, t := range d.taps {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return names
}

// write is what takes the bridge and its pairs away and lets its other ports go.
func (d *departure) write(n *Net) write {
	w := write{method: "net.bridge.delete", from: []spec{d.bridge}, changes: []state.Change{n.kept.bridges.Remove(d.bridge.Name)}}
	for _, c := range d.pairs {
		w.from = append(w.from, c)
		w.changes = append(w.changes, n.kept.connections.Remove(c.APort))
	}
	for _, p := range d.ports {
		w.changes = append(w.changes, n.kept.ports.Remove(p.Interface))
	}
	for _, t := range d.taps {
		w.changes = append(w.changes, n.kept.taps.Put(tapKey(t.VMID, t.NIC), t.outOfBridge()))
	}
	return w
}

// portsOf are the names of the ports that the kernel has of a bridge.
func (n *Net) portsOf(ctx context.Context, bridge *heldLink) ([]string, error) {
	if bridge == nil {
		return nil, nil
	}
	conn, err := n.sockets.Get()
	if err != nil {
		return nil, err
	}
	defer n.sockets.Put(conn)
	return portNames(ctx, conn, bridge.Index)
}

func busyPorts(name string, ports []string) error {
	var holders []registry.Holder
	for _, p := range ports {
		holders = append(holders, registry.Holder{Kind: registry.HolderKindBridge, Name: registry.Some(p)})
	}
	return &registry.BusyError{
		BusyData: registry.BusyData{Holders: holders},
		Message:  "bridge " + name + " has ports; force lets them go",
	}
}
