package netops

import (
	"cmp"

	"github.com/geomind/my_os_server/pkg/registry"
)

// tellBridge adds to a bridge what is registered of it.
func (n *Net) tellBridge(b *registry.Bridge) {
	if spec, ok := n.kept.bridges.Get(b.Name); ok && spec.ovs() == (b.Backend == registry.BridgeBackendOvs) {
		b.Managed, b.Persistent, b.Tag = true, registry.Some(!spec.Passing), registry.NonZero(spec.Tag)
	}
	for i := range b.Ports {
		n.tellPort(&b.Ports[i])
	}
}

// tellPort adds to a port what is registered of it: as a port, a tap or an end of a connection.
func (n *Net) tellPort(p *registry.BridgePort) {
	if spec, ok := n.kept.ports.Get(p.Interface); ok && spec.Bridge == p.Bridge {
		p.Managed, p.Persistent = true, registry.Some(!spec.Passing)
	} else if spec, ok := n.kept.tapOf(p.Interface); ok && spec.Bridge == p.Bridge {
		p.Managed, p.Persistent = true, registry.Some(true)
	} else if spec, ok := n.kept.connectionOf(p.Interface); ok && (spec.A == p.Bridge || spec.B == p.Bridge) {
		p.Managed, p.Persistent = true, registry.Some(!spec.Passing)
	}
}

// absentBridges are the rows of bridges that are registered and not there.
func (n *Net) absentBridges(there []registry.Bridge, name registry.Opt[string]) (list []registry.Bridge) {
	known := map[string]bool{}
	for _, b := range there {
		known[b.Name] = true
	}
	for key, spec := range n.kept.bridges.All() {
		if known[key] || name.Or(key) != key {
			continue
		}
		b := registry.Bridge{Name: key, Backend: cmp.Or(spec.Backend, registry.BridgeBackendLinux), Exists: registry.Some(false), Ports: []registry.BridgePort{}}
		n.tellBridge(&b)
		list = append(list, b)
	}
	return list
}

// ourLink tells whether an interface is registered as made by this daemon, and marked as such.
func (n *Net) ourLink(name, alias string) bool {
	switch alias {
	case markBridge:
		return n.kept.bridges.Has(name)
	case markTap:
		_, ok := n.kept.tapOf(name)
		return ok
	case markConnection:
		_, ok := n.kept.connectionOf(name)
		return ok
	}
	return false
}
