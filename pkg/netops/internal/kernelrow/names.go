package kernelrow

import (
	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Names finds the names of interfaces by their index, each once a call: names change.
type Names struct {
	conn  *rtnl.Conn
	names map[int]string
	last  int // the index asked for before, which is likely to come again
	name  string
}

// NamesBy finds names by conn, which must not be in the middle of a dump then.
func NamesBy(conn *rtnl.Conn) *Names {
	return &Names{conn: conn, names: map[int]string{}}
}

// forget empties the list and keeps its memory.
func (n *Names) forget() {
	clear(n.names)
	n.last, n.name = 0, ""
}

// Note keeps a name that the kernel has told in passing.
func (n *Names) Note(index int, name string) { n.names[index] = name }

// beside is Of for the interface that l stands on or is paired with, whose name may have come with l.
func (n *Names) beside(l *rtnl.Link) registry.Opt[string] {
	if _, known := n.names[l.Link]; !known && l.Link > 0 {
		if name, ok := l.Later(l.Link); ok {
			n.Note(l.Link, name)
		}
	}
	return n.Of(l.Link)
}

// Of returns the name; absent where there is no such interface, or none any more.
func (n *Names) Of(index int) registry.Opt[string] {
	if index <= 0 {
		return registry.Opt[string]{}
	}
	if index == n.last {
		return registry.NonZero(n.name)
	}
	name, ok := n.names[index]
	if !ok {
		name, _ = n.conn.LinkName(index)
		n.names[index] = name
	}
	n.last, n.name = index, name
	return registry.NonZero(name)
}
