package netops

import (
	"testing"

	"github.com/geomind/my_os_server/internal/state"
)

// leave has a write neither finished nor taken back, as where the kernel refuses both.
func (m *maker) leave(method string, change state.Change, from, to []spec) {
	m.t.Helper()
	begun, err := m.store.Begin(m.t.Context(), state.Intent{Method: method, Changes: []state.Change{change}})
	if err != nil {
		m.t.Fatal(err)
	}
	m.net.leaveUnknown(&unknownWrite{begun: begun, from: from, to: to})
}

// one is the only object of a registry: the changes that register it and strike it off.
type one struct {
	put, remove state.Change
	spec        spec
	registered  func() int
}

func only[T spec](r *state.Registry[T]) one {
	o := one{registered: r.Len}
	for key, s := range r.All() {
		o.put, o.remove, o.spec = r.Put(key, s), r.Remove(key), s
	}
	return o
}

// leftWrites are kinds of objects whose writes are left open.
var leftWrites = []struct {
	name, add, remove string
	params            object
	one               func(k *kept) one
	named             func(added object) object // the params that remove it
}{
	{"route", "net.routes.add", "net.routes.delete", object{"dst": "10.9.0.0/16", "type": "blackhole"},
		func(k *kept) one { return only(k.routes) }, func(object) object { return object{"dst": "10.9.0.0/16"} }},
	{"rule", "net.firewall.add_rule", "net.firewall.remove_rule", object{"protocol": "tcp", "port": 80},
		func(k *kept) one { return only(k.rules) }, func(added object) object { return some(added["rule"].(object), "id") }},
	{"forward", "net.nat.add_dnat", "net.nat.remove_dnat", object{"protocol": "tcp", "port": 8080, "to_address": "192.0.2.9"},
		func(k *kept) one { return only(k.dnats) }, func(added object) object { return some(added["dnat"].(object), "id") }},
	{"bridge", "net.bridge.add", "net.bridge.delete", object{"name": "br0"},
		func(k *kept) one { return only(k.bridges) }, func(object) object { return object{"name": "br0"} }},
}

// TestWriteLeftOpenUndoesNoLaterOne: a write that could neither be finished nor taken back is settled before the
// next call on its object, so that no start finishes it over what was done since.
func TestWriteLeftOpenUndoesNoLaterOne(t *testing.T) {
	for _, w := range leftWrites {
		t.Run("adding a "+w.name, func(t *testing.T) {
			m := newMaker(t)
			m.restore()
			added := m.call(w.add, w.params)
			o := w.one(m.net.kept)
			m.call(w.remove, w.named(added))
			m.leave(w.add, o.put, nil, []spec{o.spec})
			added = m.call(w.add, w.params)
			m.call(w.remove, w.named(added))
			m.startsAnew()
			want(t, "registered", w.one(m.net.kept).registered(), 0)
			want(t, "left over", m.call("net.verify", object{})["drift"], any([]any{}))
		})
		t.Run("removing a "+w.name, func(t *testing.T) {
			m := newMaker(t)
			m.restore()
			added := m.call(w.add, w.params)
			o := w.one(m.net.kept)
			m.leave(w.remove, o.remove, []spec{o.spec}, nil)
			m.call(w.remove, w.named(added))
			m.call(w.add, w.params)
			m.startsAnew()
			want(t, "registered", w.one(m.net.kept).registered(), 1)
		})
	}
}

// startsAnew stops and starts in the same boot, and has nothing to finish.
func (m *maker) startsAnew() {
	m.t.Helper()
	m.inSync()
	m.stop()
	m.start("boot-1")
	if out := m.restore(); len(out.Finished)+len(out.Undone)+len(out.Failed) > 0 {
		m.t.Errorf("%+v", out)
	}
	m.inSync()
}
