package netops

import (
	"context"
	"errors"
	"slices"

	"github.com/geomind/my_os_server/internal/ovsdb"
)

// What others change in Open vSwitch's database is heard of as what they change in the kernel is: by a monitor of
// the columns that the plans look at, as long as something of ours stands there. Statistics, which change all the
// time, are not among them.

// switchWatch is a monitor of Open vSwitch's database.
type switchWatch struct {
	watcher *ovsdb.Watcher
	cancel  context.CancelFunc
}

// deaf is why changes are not heard of although the server answers; "": they are, or the check ovs says why not.
func (w *switchWatch) deaf() string {
	var refused *ovsdb.Error
	if w == nil || !errors.As(w.watcher.Err(), &refused) {
		return ""
	}
	return "ovsdb-server tells of no changes: " + refused.Error()
}

// noticeOVS has a round begin to listen where the first object of ours came into Open vSwitch's database.
func (r *reconciler) noticeOVS(made []spec) {
	if !anyOnOVS(made) {
		return
	}
	r.mu.Lock()
	heard := r.switched != nil
	r.mu.Unlock()
	if !heard {
		r.look()
	}
}

// hearOVS begins to listen, or ends it.
func (r *reconciler) hearOVS(ctx context.Context, wanted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case wanted && r.switched == nil:
		ctx, cancel := context.WithCancel(ctx)
		r.switched = &switchWatch{r.net.database.Watch(ctx, ovsDatabase, ovsWatched(), r.net.kept.concernsOVS, r.look), cancel}
	case !wanted && r.switched != nil:
		r.switched.cancel()
		r.switched = nil
	}
}

// ovsWatched are the columns that plans look at, by table.
func ovsWatched() map[string][]string {
	columns := func(list []string, more ...string) []string {
		return slices.DeleteFunc(append(slices.Clone(list), more...), func(c string) bool { return c == "_uuid" })
	}
	return map[string][]string{
		"Bridge": columns(ovsBridgeColumns, "ports"), "Port": columns(ovsPortColumns), "Interface": columns(ovsInterfaceColumns),
	}
}

// concernsOVS tells whether a change of a row concerns something that is registered, or something with our mark.
func (k *kept) concernsOVS(_ string, before, after ovsdb.Row) bool {
	for _, row := range []ovsdb.Row{before, after} {
		if row.Map("external_ids")[ovsMark] != "" || k.inOVS(row.Text("name")) {
			return true
		}
	}
	return false
}

// inOVS tells whether a bridge or a port with a name, or a port of a bridge with it, is registered.
func (k *kept) inOVS(name string) bool {
	_, tap := k.tapOf(name)
	_, end := k.connectionOf(name)
	if tap || end || k.bridges.Has(name) || k.ports.Has(name) || len(k.connectionsOf(name)) > 0 {
		return true
	}
	for range k.portsByBridge.Find(name) {
		return true
	}
	for range k.tapsByBridge.Find(name) {
		return true
	}
	return false
}
