package netops

import (
	"context"
	"errors"
	"slices"

	"github.com/geomind/my_os_server/internal/ovsdb"
	"github.com/geomind/my_os_server/pkg/registry"
)

// What we make of Open vSwitch are rows in its database, which outlive a boot, and which ovs-vswitchd turns into
// bridges and ports. A row of ours bears our mark from the moment that it is made.

// backed says whose bridge an object is, or is at: the kernel's own, or Open vSwitch's.
type backed struct {
	Backend registry.BridgeBackend `json:"backend,omitempty"` // "": the kernel's own
}

// ovs tells whether the object stands in Open vSwitch's database.
func (b backed) ovs() bool { return b.Backend == registry.BridgeBackendOvs }

// onOVS tells whether a spec has to do with Open vSwitch.
func onOVS(s spec) bool {
	b, ok := s.(interface{ ovs() bool })
	return ok && b.ovs()
}

// anyOnOVS tells whether a spec of any of the lists has.
func anyOnOVS(lists ...[]spec) bool {
	return slices.ContainsFunc(lists, func(list []spec) bool { return slices.ContainsFunc(list, onOVS) })
}

// backedBy is what is registered of a bridge's backend: nothing for the kernel's own.
func backedBy(b registry.BridgeBackend) backed {
	if b == registry.BridgeBackendOvs {
		return backed{b}
	}
	return backed{}
}

// bridgeAt is a bridge that a call names.
type bridgeAt struct {
	backed
	name string
	mtu  int
}

// heldOVS is what the database has of the objects that plans look at, by name.
type heldOVS struct {
	bridges map[string]*heldOVSBridge
	ports   map[string]*heldOVSPort
	gone    error // why it could not be read; nil: it was
}

// heldOVSBridge is a row of the table Bridge.
type heldOVSBridge struct {
	UUID         ovsdb.UUID
	Name         string
	Mark         string // "": somebody else made it
	DatapathType string
	MAC          string // asked for
	STP          bool
	MTU          int64 // asked for, of the bridge's own interface; 0: none
}

// heldOVSPort is a row of the table Port, with its interface of the same name.
type heldOVSPort struct {
	UUID      ovsdb.UUID
	Name      string
	Mark      string
	Bridge    string // "": none has it
	Tag       int64  // 0: none
	Trunks    []int64
	Mode      string
	Protected bool
	Type      string
	Peer      string // of a patch port
	Fault     string // why ovs-vswitchd cannot use it
	MTU       int64
}

// The columns that plans look at.
var (
	ovsBridgeColumns    = []string{"_uuid", "name", "external_ids", "other_config", "datapath_type", "stp_enable"}
	ovsPortColumns      = []string{"_uuid", "name", "external_ids", "tag", "trunks", "vlan_mode", "protected"}
	ovsInterfaceColumns = []string{"name", "type", "options", "error", "mtu_request"}
)

// ovs reads what is wanted of Open vSwitch: a few objects by name, many by whole tables. That it cannot be read is
// noted, and no error: there are objects that have nothing to do with it.
func (r *reader) ovs(ctx context.Context, want needs) {
	names := want.ovsNames()
	if len(names) == 0 {
		return
	}
	r.held.ovs = &heldOVS{bridges: map[string]*heldOVSBridge{}, ports: map[string]*heldOVSPort{}}
	var err error
	if len(names) > wholesale {
		err = r.ovsTables(ctx)
	} else {
		err = r.ovsRows(ctx, names)
	}
	r.held.ovs.gone = err
}

// ovsNames are the names of what is wanted of Open vSwitch, each once.
func (n *needs) ovsNames() (names []string) {
	seen := map[string]bool{}
	for _, name := range n.switched {
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

// tables reads all rows.
func (r *reader) ovsTables(ctx context.Context) error {
	results, err := r.net.askOVS(ctx,
		ovsdb.Select("Bridge", nil, append(ovsBridgeColumns, "ports")...),
		ovsdb.Select("Port", nil, ovsPortColumns...), ovsdb.Select("Interface", nil, ovsInterfaceColumns...))
	if err != nil {
		return err
	}
	bridges := results[0].Rows
	r.held.ovs.keep(bridges, results[1].Rows, results[2].Rows)
	holder := map[ovsdb.UUID]string{}
	for _, b := range bridges {
		for _, id := range b.Refs("ports") {
			holder[id] = b.Text("name")
		}
	}
	for _, p := range r.held.ovs.ports {
		p.Bridge = holder[p.UUID]
	}
	return nil
}

// ovsRows reads the rows with some names. Which bridge has a port is another question, since the names of ports
// and bridges say nothing of it.
func (r *reader) ovsRows(ctx context.Context, names []string) error {
	var ops []ovsdb.Operation
	for _, name := range names {
		ops = append(ops, ovsdb.Select("Bridge", ovsdb.Has("name", name), ovsBridgeColumns...),
			ovsdb.Select("Port", ovsdb.Has("name", name), ovsPortColumns...),
			ovsdb.Select("Interface", ovsdb.Has("name", name), ovsInterfaceColumns...))
	}
	results, err := r.net.askOVS(ctx, ops...)
	if err != nil {
		return err
	}
	for i := 0; i < len(results); i += 3 {
		r.held.ovs.keep(results[i].Rows, results[i+1].Rows, results[i+2].Rows)
	}
	var ports []*heldOVSPort
	ops = nil
	for _, p := range r.held.ovs.ports {
		ports = append(ports, p)
		ops = append(ops, ovsdb.Select("Bridge", ovsdb.Where{{"ports", "includes", p.UUID}}, "name"))
	}
	if len(ops) == 0 {
		return nil
	}
	if results, err = r.net.askOVS(ctx, ops...); err != nil {
		return err
	}
	for i, p := range ports {
		for _, row := range results[i].Rows {
			p.Bridge = row.Text("name")
		}
	}
	return nil
}

// keep takes rows over.
func (h *heldOVS) keep(bridges, ports, interfaces []ovsdb.Row) {
	byName := map[string]ovsdb.Row{}
	for _, row := range interfaces {
		byName[row.Text("name")] = row
	}
	for _, row := range ports {
		p := &heldOVSPort{
			UUID: row.UUID(), Name: row.Text("name"), Mark: row.Map("external_ids")[ovsMark], Trunks: row.Ints("trunks"), Mode: row.Text("vlan_mode"),
		}
		p.Tag, _ = row.Int("tag")
		p.Protected, _ = row.Bool("protected")
		i := byName[p.Name]
		p.Type, p.Peer, p.Fault = i.Text("type"), i.Map("options")["peer"], i.Text("error")
		p.MTU, _ = i.Int("mtu_request")
		h.ports[p.Name] = p
	}
	for _, row := range bridges {
		b := &heldOVSBridge{
			UUID: row.UUID(), Name: row.Text("name"), Mark: row.Map("external_ids")[ovsMark],
			DatapathType: row.Text("datapath_type"), MAC: row.Map("other_config")["hwaddr"],
		}
		b.STP, _ = row.Bool("stp_enable")
		b.MTU, _ = byName[b.Name].Int("mtu_request")
		h.bridges[b.Name] = b
	}
}

// ovsTrouble is why a plan that looks at Open vSwitch cannot be made, as the error of a write that has not begun.
func (h *held) ovsTrouble() error {
	if h.ovs == nil || h.ovs.gone == nil {
		return nil
	}
	return withApplied(h.ovs.gone, registry.AppliedNo)
}

// withApplied says in an error of Open vSwitch what became of the write.
func withApplied(err error, applied registry.Applied) error {
	var gone *registry.UpstreamUnavailableError
	var failed *registry.OSError
	switch {
	case errors.As(err, &gone):
		e := *gone
		e.Applied, e.Message = registry.Some(applied), err.Error()
		return &e
	case errors.As(err, &failed):
		e := *failed
		e.Applied, e.Message = registry.Some(applied), err.Error()
		return &e
	}
	return err
}
