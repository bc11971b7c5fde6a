package netops

import "github.com/geomind/my_os_server/pkg/registry"

// linkName is the name under which the kernel has the link that is called so. A link may have alternative names
// (ip-link(8), property add), by which a call may mean it; but packet filters compare the one name alone, and the
// registry and the plans know a link by it. What no link is called stays as it is.
func (n *Net) linkName(called string) string {
	conn, err := n.sockets.Get()
	if err != nil {
		return called
	}
	defer n.sockets.Put(conn)
	index, err := conn.LinkIndex(called)
	if err != nil {
		return called
	}
	name, err := conn.LinkName(index)
	if err != nil {
		return called
	}
	return name
}

// linkNameOf is the same of a param that may be absent.
func (n *Net) linkNameOf(called registry.Opt[string]) registry.Opt[string] {
	if name, ok := called.Get(); ok {
		return registry.Some(n.linkName(name))
	}
	return called
}
