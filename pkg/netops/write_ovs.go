package netops

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/geomind/my_os_server/internal/ovsdb"
	"github.com/geomind/my_os_server/pkg/netops/internal/ovsrow"
	"github.com/geomind/my_os_server/pkg/registry"
)

// What the writes on bridges ask where a bridge is one of Open vSwitch.

// backendFor is whose bridge net.bridge.add is to make.
func (n *Net) backendFor(p *registry.NetBridgeAddParams) registry.BridgeBackend {
	return p.Backend.Or(cmp.Or(n.options.BridgeBackend, registry.BridgeBackendLinux))
}

func (f *faults) checkOVSBridge(p *registry.NetBridgeAddParams) {
	if !p.VlanFiltering.Or(true) {
		f.add("vlan_filtering", "must not be false for a bridge of Open vSwitch, which always filters")
	}
}

// checkOVSPort notes what a port of Open vSwitch cannot be.
func (f *faults) checkOVSPort(pvid registry.Opt[int64], untagged []string, hairpin registry.Opt[bool]) {
	if hairpin.Or(false) {
		f.add("hairpin", "must not be given on a bridge of Open vSwitch, which has no such mode")
	}
	for _, r := range untagged {
		if r != fmt.Sprint(pvid.Or(0)) {
			f.add("untagged", "must be the pvid alone on a bridge of Open vSwitch, where one VLAN leaves untagged at most")
			return
		}
	}
}

// bridgeAt finds a bridge by name: one of ours, one of the kernel's, or one in Open vSwitch's database.
func (n *Net) bridgeAt(ctx context.Context, name string) (bridgeAt, error) {
	return n.bridgeBy(ctx, newHeld(), name)
}

// bridgeBy is bridgeAt, which adds what it reads of the kernel's links to what was read already.
func (n *Net) bridgeBy(ctx context.Context, read *held, name string) (bridgeAt, error) {
	if b, ok := n.kept.bridges.Get(name); ok && b.ovs() {
		return bridgeAt{b.backed, name, b.MTU}, n.hasOVSBridge(ctx, name)
	}
	h, err := n.lookFurther(ctx, read, needs{links: []string{name}})
	if err != nil {
		return bridgeAt{}, err
	}
	l := h.links[name]
	if l != nil && l.Kind == kindBridge {
		return bridgeAt{backed{}, name, l.MTU}, nil
	}
	if err := n.hasOVSBridge(ctx, name); err != nil {
		return bridgeAt{}, err
	}
	at := bridgeAt{backed{registry.BridgeBackendOvs}, name, defaultMTU}
	if l != nil {
		at.mtu = l.MTU
	}
	return at, nil
}

// hasOVSBridge is nil where the database has a bridge. Where no Open vSwitch runs there is none.
func (n *Net) hasOVSBridge(ctx context.Context, name string) error {
	h, err := n.look(ctx, needs{switched: []string{name}})
	if err != nil {
		return err
	}
	var none *registry.UnsupportedError
	switch {
	case errors.As(h.ovs.gone, &none):
		return noBridge(name)
	case h.ovs.gone != nil:
		return h.ovsTrouble()
	case h.ovs.bridges[name] == nil:
		return noBridge(name)
	}
	return nil
}

// ovsTaken is the answer where the name of what is to be made is in the database already.
func (h *held) ovsTaken(resource, name string) error {
	switch {
	case h.ovs == nil:
		return nil
	case h.ovs.bridges[name] != nil:
		return foreign(resource, name, foreignOVS("bridge", name)+": choose another name, or remove it")
	case h.ovs.ports[name] != nil:
		return foreign(resource, name, foreignOVS("port", name)+": choose another name, or remove it")
	}
	return nil
}

// ovsHolds is the bridge of Open vSwitch that an interface is a port of; "": of none.
func (h *held) ovsHolds(name string) string {
	if h.ovs == nil || h.ovs.ports[name] == nil {
		return ""
	}
	return h.ovs.ports[name].Bridge
}

// foreignBridge refuses to delete a bridge that is not ours; nil where there is none.
func (n *Net) foreignBridge(ctx context.Context, name string, l *heldLink) error {
	var missing *registry.NotFoundError
	switch err := n.hasOVSBridge(ctx, name); {
	case err == nil:
		return refused("foreign_bridge", "", "%s; it is not deleted", foreignOVS("bridge", name))
	case l != nil:
		return refused("foreign_bridge", "", "%s; it is not deleted", foreignLink(l))
	case !errors.As(err, &missing):
		return err
	}
	return nil
}

// ovsPortsOf are the names of the ports that the database has of a bridge, but for its own interface.
func (n *Net) ovsPortsOf(ctx context.Context, bridge string) ([]string, error) {
	results, err := n.askOVS(ctx, ovsdb.Select("Bridge", ovsdb.Has("name", bridge), "ports"), ovsdb.Select("Port", nil, "_uuid", "name"))
	if err != nil {
		return nil, withApplied(err, registry.AppliedNo)
	}
	names := map[ovsdb.UUID]string{}
	for _, row := range results[1].Rows {
		names[row.UUID()] = row.Text("name")
	}
	var ports []string
	for _, row := range results[0].Rows {
		for _, id := range row.Refs("ports") {
			if name := names[id]; name != bridge && name != "" {
				ports = append(ports, name)
			}
		}
	}
	slices.Sort(ports)
	return ports, nil
}

// isOVSMember tells whether the database has a port of a bridge. The bridge's own interface is none that can go.
func (n *Net) isOVSMember(ctx context.Context, p *registry.NetBridgeRemovePortParams) (bool, error) {
	if p.Interface == p.Bridge {
		return false, (&faults{{Path: "interface", Message: "must not be the bridge's own interface"}}).err()
	}
	h, err := n.look(ctx, needs{switched: []string{p.Interface}})
	if err != nil {
		return false, err
	}
	return h.ovsHolds(p.Interface) == p.Bridge, h.ovsTrouble()
}

// backedOfPair is the backend of two bridges that are to be connected.
func (n *Net) backedOfPair(ctx context.Context, p *registry.NetBridgeConnectParams) (backed, error) {
	a, err := n.bridgeAt(ctx, p.A)
	if err != nil {
		return backed{}, err
	}
	b, err := n.bridgeAt(ctx, p.B)
	if err != nil {
		return backed{}, err
	}
	if a.ovs() != b.ovs() {
		return backed{}, (&faults{{Path: "b", Message: "must be a bridge of the same backend as a: no pair of ports connects Open vSwitch with a Linux bridge"}}).err()
	}
	return a.backed, nil
}

// checkPatch refuses patch ports that would make a loop.
func (n *Net) checkPatch(ctx context.Context, p *registry.NetBridgeConnectParams, want connectionSpec, registered bool) (*plan, error) {
	h, err := n.look(ctx, want.needs())
	if err != nil {
		return nil, err
	}
	if err := h.ovsTrouble(); err != nil {
		return nil, err
	}
	if !registered {
		for _, name := range []string{want.APort, want.BPort} {
			if err := h.ovsTaken("connection", name); err != nil {
				return nil, err
			}
		}
		spanning := h.ovs.bridges[p.A].STP && h.ovs.bridges[p.B].STP
		if err := n.checkPatchLoop(ctx, p, spanning); err != nil {
			return nil, err
		}
	}
	out := want.plan(h)
	if out.obstacle != "" {
		return nil, foreign("connection", want.id(), out.obstacle)
	}
	return &out, nil
}

func (n *Net) checkPatchLoop(ctx context.Context, p *registry.NetBridgeConnectParams, spanning bool) error {
	if spanning || p.Force.Or(false) {
		return nil
	}
	d, err := n.readOVS(ctx)
	if err != nil {
		return withApplied(err, registry.AppliedNo)
	}
	if reaches(patches(d), p.A, p.B) {
		return refused("bridge_loop", "force", "%s and %s are connected already: another connection would make a loop without spanning tree", p.A, p.B)
	}
	return nil
}

// patches are the bridges that each bridge has a pair of patch ports with, whoever made them.
func patches(d *ovsrow.Database) map[string][]string {
	type end struct{ bridge, peer string }
	ends := map[string]end{} // by the name of the port
	for _, b := range d.Bridges() {
		for _, p := range b.Ports {
			for _, i := range p.Interfaces {
				if i.Type.Or("") == "patch" {
					ends[i.Name] = end{b.Name, i.Options["peer"]}
				}
			}
		}
	}
	ways := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(ends)) {
		e := ends[name]
		if other, ok := ends[e.peer]; ok && other.peer == name {
			ways[e.bridge] = append(ways[e.bridge], other.bridge)
		}
	}
	return ways
}

// reaches tells whether a leads to b.
func reaches(ways map[string][]string, a, b string) bool {
	seen := map[string]bool{a: true}
	for queue := []string{a}; len(queue) > 0; queue = queue[1:] {
		if queue[0] == b {
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
