package netops

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/geomind/my_os_server/internal/ovsdb"
	"github.com/geomind/my_os_server/internal/state"
)

// What a start and the rounds after it have to do beyond Linux' own objects: the rows of Open vSwitch's database
// outlive a boot, and the database may come, go and hang by itself.

// ovsRetry is how soon what waits for Open vSwitch is tried again: no event of the kernel's tells that it has come.
const ovsRetry = 5 * time.Second

// removeOVS takes away the rows of objects that are registered no longer, as a kernel that was booted has taken
// away everything else.
func (n *Net) removeOVS(ctx context.Context, gone []spec, out *Restored) {
	for _, s := range slices.Backward(gone) {
		if !onOVS(s) {
			continue
		}
		if err := n.transit(ctx, []spec{s}, nil, &taker{back: true}); err != nil {
			out.Failed = append(out.Failed, fmt.Sprintf("%s %s: it is to go, and stays in Open vSwitch's database: %v", s.resource(), s.id(), err))
		}
	}
}

// withoutSuccessor are the specs that have no other with their id in a list.
func withoutSuccessor(from, to []spec) (list []spec) {
	for _, s := range from {
		if !slices.ContainsFunc(to, func(other spec) bool { return sameObject(s, other) }) {
			list = append(list, s)
		}
	}
	return list
}

// soonest is how long a round may be put off: less where a write is open, or something waits for Open vSwitch.
func (n *Net) soonest(open map[place]bool, next time.Duration) time.Duration {
	if len(n.unknown.all()) > 0 {
		return min(next, ovsRetry)
	}
	for p := range open {
		k := n.kept.kindByRegistry[p.Kind]
		if k == nil {
			continue
		}
		if s, ok := k.mine(p.Key); ok && onOVS(s) {
			return min(next, ovsRetry)
		}
	}
	return next
}

// strayRows are the rows that bear our mark and are not registered. Of an Open vSwitch that does not answer nothing
// is known: net.health says so.
func (n *Net) strayRows(ctx context.Context) (list []stray) {
	if n.runsOVS() != nil {
		return nil
	}
	var ops []ovsdb.Operation
	for _, m := range markedRows {
		mark := ovsdb.Strings(map[string]string{ovsMark: m.mark})
		ops = append(ops, ovsdb.Select(m.table, ovsdb.Where{{"external_ids", "includes", mark}}, "_uuid", "name"))
	}
	results, err := n.askOVS(ctx, ops...)
	if err != nil {
		return nil
	}
	for i, m := range markedRows {
		for _, row := range results[i].Rows {
			if name := row.Text("name"); !n.knownRow(m.mark, name) {
				list = append(list, n.strayRow(m.mark, m.resource, name, row.UUID()))
			}
		}
	}
	return list
}

// markedRows are the tables whose rows bear our marks, and how net.verify calls these. The port and the interface
// of a bridge's own go with it.
var markedRows = []struct{ table, mark, resource string }{
	{"Bridge", markOVSBridge, "bridge"},
	{"Port", markOVSPort, "bridge_port"},
	{"Port", markOVSTap, "tap"},
	{"Port", markOVSConnection, "connection"},
}

// knownRow tells whether a row with a mark is registered.
func (n *Net) knownRow(mark, name string) bool {
	switch mark {
	case markOVSBridge:
		b, ok := n.kept.bridges.Get(name)
		return ok && b.ovs()
	case markOVSPort:
		p, ok := n.kept.ports.Get(name)
		return ok && p.ovs()
	case markOVSTap:
		t, ok := n.kept.tapOf(name)
		return ok && t.ovs()
	}
	c, ok := n.kept.connectionOf(name)
	return ok && c.ovs()
}

func (n *Net) strayRow(mark, resource, name string, id ovsdb.UUID) stray {
	s := stray{
		resource: resource, id: name, actual: "a port in Open vSwitch's database", step: deleteOVSPort{"its bridge", name, id},
		locks: []state.Object{lockLink(name)}, known: func() bool { return n.knownRow(mark, name) },
	}
	s.gone = func(ctx context.Context) bool {
		h, err := n.look(ctx, needs{switched: []string{name}})
		if err != nil || h.ovs.gone != nil {
			return true
		}
		if mark == markOVSBridge {
			return h.ovs.bridges[name] == nil || h.ovs.bridges[name].UUID != id
		}
		return h.ovs.ports[name] == nil || h.ovs.ports[name].UUID != id
	}
	if mark == markOVSBridge {
		s.actual, s.step = "a bridge in Open vSwitch's database", deleteOVSBridge{name, id}
	}
	return s
}
