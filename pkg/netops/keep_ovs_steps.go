package netops

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/geomind/my_os_server/internal/fault"
	"github.com/geomind/my_os_server/internal/ovsdb"
	"github.com/geomind/my_os_server/pkg/registry"
)

// switchTime is how long ovs-vswitchd may take to do what the database says.
const switchTime = 20 * time.Second

// ovsChange is one change of the configuration of Open vSwitch: a transaction, which is carried out as a whole or
// not at all, and what ovs-vswitchd makes of it.
type ovsChange struct {
	what       string
	ops        []ovsdb.Operation
	interfaces []string // that must work then
	removes    bool     // it takes something away: done is done, however long the switch takes to see it
}

// change has Open vSwitch take a change. Where ovs-vswitchd cannot do what was asked, the rows stay for the caller
// to take back.
func (t *taker) ovsChange(ctx context.Context, c ovsChange) error {
	ops := append(c.ops, ovsdb.Mutate("Open_vSwitch", nil, ovsdb.Mutation{"next_cfg", "+=", 1}),
		ovsdb.Select("Open_vSwitch", nil, "next_cfg"), ovsdb.Comment("my_os_server: "+c.what), ovsdb.Durable())
	bound, cancel := context.WithTimeout(ctx, mostOf(ctx, ovsPatience))
	results, err := t.net.database.Transact(bound, ovsDatabase, ops...)
	cancel()
	if err != nil {
		return t.ovsRefused(c, err)
	}
	fault.Point("committed: " + c.what)
	rows := results[len(c.ops)+1].Rows
	if len(rows) != 1 {
		return halfDone{fmt.Errorf("%s: the database of Open vSwitch is not initialised", c.what)}
	}
	next, _ := rows[0].Int("next_cfg")
	if t.back {
		return nil // ovs-vswitchd may be what ails
	}
	err = t.awaitSwitch(ctx, c, next)
	if err != nil && c.removes {
		t.late = withApplied(err, registry.AppliedYes)
		return nil
	}
	if err != nil {
		return halfDone{err}
	}
	return nil
}

// ovsRefused is the error of a transaction that was not carried out, or of which that is not known.
func (t *taker) ovsRefused(c ovsChange, err error) error {
	var gone *ovsdb.Unavailable
	switch {
	case errors.As(err, &gone) && gone.Sent:
		t.known = gone.Known
		return halfDone{t.net.ovsError(err)}
	case ovsdb.IsTag(err, ovsdb.TagConstraint) && len(c.interfaces) > 0: // names are unique
		return foreign("bridge_port", c.interfaces[0], "what is asked for does not fit into the database of Open vSwitch: "+err.Error())
	}
	return t.net.ovsError(err)
}

// awaitSwitch waits until ovs-vswitchd has taken a configuration, and looks whether the interfaces work.
func (t *taker) awaitSwitch(ctx context.Context, c ovsChange, next int64) error {
	patience := mostOf(ctx, switchTime)
	ops := []ovsdb.Operation{ovsdb.WaitAny("Open_vSwitch", ovsdb.Where{{"cur_cfg", ">=", next}}, "cur_cfg", patience)}
	for _, name := range c.interfaces {
		ops = append(ops, ovsdb.Select("Interface", ovsdb.Has("name", name), "error", "ofport"))
	}
	// A little longer than the server waits, so that it is the server that says so.
	bound, cancel := context.WithTimeout(ctx, patience+patience/10)
	defer cancel()
	results, err := t.net.database.Transact(bound, ovsDatabase, ops...)
	switch {
	case ovsdb.IsTag(err, ovsdb.TagTimedOut):
		return switchGone(patience)
	case err != nil:
		return t.net.ovsError(err)
	}
	for i, name := range c.interfaces {
		if err := ovsFault(c.what, name, results[1+i].Rows); err != nil {
			return err
		}
	}
	return nil
}

func switchGone(after time.Duration) error {
	cause := fmt.Sprintf("it has not done within %v what its database says", after.Round(time.Millisecond))
	return &registry.UpstreamUnavailableError{
		UpstreamUnavailableData: registry.UpstreamUnavailableData{Upstream: "ovs-vswitchd", Cause: cause},
		Message:                 "ovs-vswitchd does not answer: " + cause,
	}
}

// ovsFault is why ovs-vswitchd cannot use an interface; nil where it does.
func ovsFault(what, name string, rows []ovsdb.Row) error {
	if len(rows) != 1 {
		return nil // somebody has removed it
	}
	text := rows[0].Text("error")
	if port, ok := rows[0].Int("ofport"); text == "" && ok && port >= 0 {
		return nil
	}
	if text == "" {
		text = "ovs-vswitchd could not make " + name + "; its log says why"
	}
	return &registry.OSError{
		OsErrorData: registry.OsErrorData{Op: what, Errno: errnoName(errnoIn(text)), Text: registry.Some(text)},
		Message:     what + ": " + text,
	}
}

// errnoIn is the errno whose words (strerror(3)) a text has in brackets, as those of Open vSwitch do.
func errnoIn(text string) syscall.Errno {
	text = strings.ToLower(text)
	for errno := syscall.Errno(1); errno < 134; errno++ {
		if strings.Contains(text, "("+errno.Error()+")") {
			return errno
		}
	}
	return syscall.EIO
}

// ovsSet are columns of a row to be set; ovsSetKey one key of a column that is a map.
func ovsSet(column string, value any) func(table string, where ovsdb.Where) []ovsdb.Operation {
	return func(table string, where ovsdb.Where) []ovsdb.Operation {
		return []ovsdb.Operation{ovsdb.Update(table, where, ovsdb.Row{column: value})}
	}
}

func ovsSetKey(column, key, value string) func(table string, where ovsdb.Where) []ovsdb.Operation {
	return func(table string, where ovsdb.Where) []ovsdb.Operation {
		return []ovsdb.Operation{ovsdb.Mutate(table, where,
			ovsdb.Mutation{column, "delete", ovsdb.Set{key}}, ovsdb.Mutation{column, "insert", ovsdb.Strings(map[string]string{key: value})})}
	}
}

type addOVSBridge struct {
	Name, MAC    string
	MTU          int
	STP          bool
	DatapathType string
}

func (s addOVSBridge) String() string { return "add bridge " + s.Name + " to Open vSwitch" }
func (s addOVSBridge) take(ctx context.Context, t *taker) error {
	mark := ovsdb.Strings(map[string]string{ovsMark: markOVSBridge})
	return t.ovsChange(ctx, ovsChange{what: s.String(), interfaces: []string{s.Name}, ops: []ovsdb.Operation{
		ovsdb.Insert("Interface", "iface", ovsdb.Row{"name": s.Name, "type": "internal", "mtu_request": s.MTU, "external_ids": mark}),
		ovsdb.Insert("Port", "port", ovsdb.Row{"name": s.Name, "interfaces": ovsdb.NamedUUID("iface"), "external_ids": mark}),
		ovsdb.Insert("Bridge", "bridge", ovsdb.Row{
			"name": s.Name, "ports": ovsdb.NamedUUID("port"), "datapath_type": s.DatapathType, "stp_enable": s.STP,
			"other_config": ovsdb.Strings(map[string]string{"hwaddr": s.MAC}), "external_ids": mark,
		}),
		ovsdb.Mutate("Open_vSwitch", nil, ovsdb.Mutation{"bridges", "insert", ovsdb.NamedUUID("bridge")}),
	}})
}

type deleteOVSBridge struct {
	Name string
	UUID ovsdb.UUID
}

func (s deleteOVSBridge) String() string { return "delete bridge " + s.Name + " of Open vSwitch" }
func (s deleteOVSBridge) take(ctx context.Context, t *taker) error {
	err := t.ovsChange(ctx, ovsChange{what: s.String(), removes: true, ops: []ovsdb.Operation{
		ovsdb.Mutate("Open_vSwitch", nil, ovsdb.Mutation{"bridges", "delete", s.UUID}),
	}})
	if err == nil && t.late == nil && !t.back {
		t.awaitGone(ctx, s.Name)
	}
	return err
}

// goneTime is how long the interface of a bridge that was deleted may stay: ovs-vswitchd lets go of it a moment after
// it says that it has done what the database says.
const goneTime = 2 * time.Second

// awaitGone waits until a link is no more, so that its name is free.
func (t *taker) awaitGone(ctx context.Context, name string) {
	for end := time.Now().Add(mostOf(ctx, goneTime)); time.Now().Before(end); {
		if _, err := t.conn.LinkIndex(name); err != nil || !pause(ctx, 2*time.Millisecond) {
			return
		}
	}
}

// setOVSBridge sets a property of a bridge.
type setOVSBridge struct {
	Name            string
	UUID            ovsdb.UUID
	Property, Value string
	ops             func(table string, where ovsdb.Where) []ovsdb.Operation
}

func (s setOVSBridge) String() string {
	return fmt.Sprintf("set %s of bridge %s of Open vSwitch to %s", s.Property, s.Name, s.Value)
}

func (s setOVSBridge) take(ctx context.Context, t *taker) error {
	return t.ovsChange(ctx, ovsChange{what: s.String(), interfaces: []string{s.Name}, ops: s.ops("Bridge", ovsdb.Is(s.UUID))})
}

type setOVSMTU struct {
	Name string
	MTU  int
}

func (s setOVSMTU) String() string {
	return fmt.Sprintf("set mtu of bridge %s of Open vSwitch to %d", s.Name, s.MTU)
}

func (s setOVSMTU) take(ctx context.Context, t *taker) error {
	return t.ovsChange(ctx, ovsChange{what: s.String(), interfaces: []string{s.Name}, ops: []ovsdb.Operation{
		ovsdb.Update("Interface", ovsdb.Has("name", s.Name), ovsdb.Row{"mtu_request": s.MTU}),
	}})
}

// addOVSPorts makes ports, all in one transaction.
type addOVSPorts struct{ Ports []ovsPort }

func (s addOVSPorts) steps() []step {
	if len(s.Ports) == 0 {
		return nil
	}
	return []step{s}
}

func (s addOVSPorts) String() string {
	var words []string
	for _, p := range s.Ports {
		words = append(words, p.Name+" to "+p.Bridge)
	}
	return "add port " + strings.Join(words, ", port ") + " of Open vSwitch"
}

func (s addOVSPorts) take(ctx context.Context, t *taker) error {
	c := ovsChange{what: s.String()}
	for i, p := range s.Ports {
		iface := ovsdb.Row{"name": p.Name}
		if p.Peer != "" {
			iface["type"], iface["options"] = "patch", ovsdb.Strings(map[string]string{"peer": p.Peer})
		}
		row := p.ovsColumns()
		row["name"], row["interfaces"] = p.Name, ovsdb.NamedUUID(fmt.Sprint("iface", i))
		row["external_ids"] = ovsdb.Strings(map[string]string{ovsMark: p.Mark})
		c.interfaces = append(c.interfaces, p.Name)
		c.ops = append(c.ops,
			ovsdb.Expect("Bridge", ovsdb.Has("name", p.Bridge), "name"), // else the port would vanish with no word
			ovsdb.Insert("Interface", fmt.Sprint("iface", i), iface),
			ovsdb.Insert("Port", fmt.Sprint("port", i), row),
			ovsdb.Mutate("Bridge", ovsdb.Has("name", p.Bridge), ovsdb.Mutation{"ports", "insert", ovsdb.NamedUUID(fmt.Sprint("port", i))}))
	}
	return t.ovsChange(ctx, c)
}

// setOVSPort gives a port its settings.
type setOVSPort struct {
	Name string
	UUID ovsdb.UUID
	portSettings
}

func (s setOVSPort) String() string {
	mode, tag, trunks := s.ovsVLANs()
	return strings.Join(strings.Fields(fmt.Sprintf("set vlans of port %s of Open vSwitch to %s %s %s, isolated to %v",
		s.Name, mode, tagText(tag), idsText(trunks), s.Isolated)), " ")
}

func (s setOVSPort) take(ctx context.Context, t *taker) error {
	return t.ovsChange(ctx, ovsChange{what: s.String(), interfaces: []string{s.Name}, ops: []ovsdb.Operation{
		ovsdb.Update("Port", ovsdb.Is(s.UUID), s.ovsColumns()),
	}})
}

// retryOVSPort has ovs-vswitchd try a port again whose interface was not there.
type retryOVSPort struct{ Name string }

func (s retryOVSPort) String() string { return "have ovs-vswitchd try port " + s.Name + " again" }
func (s retryOVSPort) take(ctx context.Context, t *taker) error {
	return t.ovsChange(ctx, ovsChange{what: s.String(), interfaces: []string{s.Name}})
}

type deleteOVSPort struct {
	Bridge, Name string
	UUID         ovsdb.UUID
}

func (s deleteOVSPort) String() string {
	return "delete port " + s.Name + " of " + s.Bridge + " of Open vSwitch"
}

func (s deleteOVSPort) take(ctx context.Context, t *taker) error {
	return t.ovsChange(ctx, ovsChange{what: s.String(), removes: true, ops: []ovsdb.Operation{
		ovsdb.Mutate("Bridge", ovsdb.Where{{"ports", "includes", s.UUID}}, ovsdb.Mutation{"ports", "delete", s.UUID}),
	}})
}
