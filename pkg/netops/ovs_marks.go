package netops

// ovsMark is the key in the external_ids of rows that we made; its value says as what. Rows without it are others'.
const ovsMark = "my_os_server"

// The values of ovsMark.
const (
	markOVSBridge     = "bridge"
	markOVSPort       = "port" // of an interface that others made
	markOVSTap        = "tap"
	markOVSConnection = "connection"
)

// ourOVSPort tells whether a port of a bridge is registered as what its mark says.
func (n *Net) ourOVSPort(bridge, name, mark string) bool {
	switch mark {
	case markOVSPort:
		p, ok := n.kept.ports.Get(name)
		return ok && p.ovs() && p.Bridge == bridge
	case markOVSTap:
		t, ok := n.kept.tapOf(name)
		return ok && t.ovs() && t.Bridge == bridge
	case markOVSConnection:
		c, ok := n.kept.connectionOf(name)
		return ok && c.ovs()
	case markOVSBridge: // the port that is the bridge's own interface
		b, ok := n.kept.bridges.Get(name)
		return ok && b.ovs() && b.Name == bridge
	}
	return false
}
