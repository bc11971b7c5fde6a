package ovsrow

import (
	"cmp"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/ovsdb"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// The rows of the database in the table's words, column by column (ovs-vswitchd.conf.db(5)).

// text is a column's string; absent where it is empty.
func text(row ovsdb.Row, column string) registry.Opt[string] {
	return registry.NonZero(row.Text(column))
}

// boolean is a column's truth.
func boolean(row ovsdb.Row, column string) registry.Opt[bool] {
	value, ok := row.Bool(column)
	return wire.When(ok, value)
}

// integer is a column's integer, from least on.
func integer(row ovsdb.Row, column string, least int64) registry.Opt[int64] {
	value, ok := row.Int(column)
	return wire.When(ok && value >= least, min(value, wire.MaxInteger))
}

// count is a column's integer that is never below 0.
func count(row ovsdb.Row, column string) registry.Opt[int64] { return integer(row, column, 0) }

// mac is a column's address; absent where the text, which anybody may have written, is none.
func mac(row ovsdb.Row, column string) registry.Opt[string] {
	return wire.MAC(wire.MACBytes(row.Text(column)))
}

// milliseconds is a column in seconds; below 0 means 0.
func milliseconds(row ovsdb.Row, column string) registry.Opt[float64] {
	value, ok := row.Int(column)
	return wire.Milliseconds(ok, max(value, 0))
}

// counters are counters, without those that are larger than what the table can say.
func counters(row ovsdb.Row, column string) map[string]int64 {
	counters := row.IntMap(column)
	for name, value := range counters {
		counters[name] = max(min(value, wire.MaxInteger), -wire.MaxInteger)
	}
	return counters
}

// rising puts a list in order, nil where it is empty.
func rising(list []string) []string {
	slices.Sort(list)
	return list
}

func bridge(row ovsdb.Row) registry.OvsBridge {
	return registry.OvsBridge{
		UUID: string(row.UUID()), Name: row.Text("name"),
		DatapathType: text(row, "datapath_type"), DatapathVersion: text(row, "datapath_version"),
		DatapathID: registry.NonZero(strings.ToLower(row.Text("datapath_id"))),
		FailMode:   text(row, "fail_mode"), Protocols: rising(row.List("protocols")),
		Stp: boolean(row, "stp_enable"), Rstp: boolean(row, "rstp_enable"), McastSnooping: boolean(row, "mcast_snooping_enable"),
		FloodVlans: row.Ints("flood_vlans"), Status: row.Map("status"), RstpStatus: row.Map("rstp_status"),
		ExternalIds: row.Map("external_ids"), OtherConfig: row.Map("other_config"),
		Ports: []registry.OvsPort{},
	}
}

func controller(row ovsdb.Row) registry.OvsController {
	return registry.OvsController{
		Target: row.Text("target"), Connected: boolean(row, "is_connected"), Role: text(row, "role"),
		ConnectionMode: text(row, "connection_mode"), Status: row.Map("status"),
	}
}

func port(row ovsdb.Row) registry.OvsPort {
	p := registry.OvsPort{
		UUID: string(row.UUID()), Name: row.Text("name"),
		VlanTag: count(row, "tag"), Trunks: row.Ints("trunks"), Cvlans: row.Ints("cvlans"), VlanMode: text(row, "vlan_mode"),
		BondMode: text(row, "bond_mode"), BondActiveMAC: mac(row, "bond_active_slave"),
		BondUpdelayS: milliseconds(row, "bond_updelay"), BondDowndelayS: milliseconds(row, "bond_downdelay"),
		BondFakeInterface: boolean(row, "bond_fake_iface"), Lacp: text(row, "lacp"), MAC: mac(row, "mac"),
		Protected: boolean(row, "protected"), Statistics: counters(row, "statistics"), Status: row.Map("status"),
		RstpStatus: row.Map("rstp_status"), ExternalIds: row.Map("external_ids"), OtherConfig: row.Map("other_config"),
		Interfaces: []registry.OvsInterface{},
	}
	if qos, ok := row.Ref("qos"); ok {
		p.QosUUID = registry.Some(string(qos))
	}
	return p
}

// ovsSecrets are options of interfaces that are nobody's to know.
var ovsSecrets = []string{"psk", "private_key"}

// ovsKilobits is how many bits the unit of the policing columns has.
const ovsKilobits = 1000

func networkInterface(row ovsdb.Row) registry.OvsInterface {
	i := registry.OvsInterface{
		UUID: string(row.UUID()), Name: row.Text("name"), Index: count(row, "ifindex"), Type: registry.Some(typeOf(row)),
		Ofport: integer(row, "ofport", -1), OfportRequest: count(row, "ofport_request"), Error: text(row, "error"),
		Options: row.Map("options"), MAC: mac(row, "mac_in_use"), MACConfigured: mac(row, "mac"),
		MTU: count(row, "mtu"), MTURequest: count(row, "mtu_request"),
		AdminState: text(row, "admin_state"), LinkState: text(row, "link_state"),
		LinkResets: count(row, "link_resets"), LinkSpeedBps: count(row, "link_speed"),
		Duplex:      registry.NonZero(registry.Duplex(row.Text("duplex"))),
		LacpCurrent: boolean(row, "lacp_current"), BfdStatus: row.Map("bfd_status"), CfmFault: boolean(row, "cfm_fault"),
		Lldp: row.Map("lldp"), Statistics: counters(row, "statistics"), Status: row.Map("status"),
		ExternalIds: row.Map("external_ids"), OtherConfig: row.Map("other_config"),
	}
	if rate, ok := count(row, "ingress_policing_rate").Get(); ok {
		i.IngressPolicingRateBps = registry.Some(min(rate, wire.MaxInteger/ovsKilobits) * ovsKilobits)
	}
	if burst, ok := count(row, "ingress_policing_burst").Get(); ok {
		i.IngressPolicingBurstBits = registry.Some(min(burst, wire.MaxInteger/ovsKilobits) * ovsKilobits)
	}
	for _, secret := range ovsSecrets {
		delete(i.Options, secret)
	}
	if len(i.Options) == 0 {
		i.Options = nil
	}
	return i
}

// typeOf is the type of an interface; none means one of the system's.
func typeOf(row ovsdb.Row) string {
	if t := row.Text("type"); t != "" {
		return t
	}
	return "system"
}

// Database is what the database has.
type Database struct {
	rows map[string][]ovsdb.Row              // by table
	byID map[string]map[ovsdb.UUID]ovsdb.Row // by table
}

// refs are the rows of a table that a column names.
func (d *Database) refs(row ovsdb.Row, column, table string) (list []ovsdb.Row) {
	for _, id := range row.Refs(column) {
		if r, ok := d.byID[table][id]; ok {
			list = append(list, r)
		}
	}
	return list
}

// texts are a column of the rows that another column names, in order.
func (d *Database) texts(row ovsdb.Row, column, table, of string) (list []string) {
	for _, r := range d.refs(row, column, table) {
		list = append(list, r.List(of)...)
	}
	slices.Sort(list)
	return list
}

// System is the answer of net.ovs without its bridges.
func (d *Database) System() *registry.NetOvsResult {
	out := &registry.NetOvsResult{Bridges: []registry.OvsBridge{}}
	if len(d.rows["Open_vSwitch"]) == 0 {
		return out // nobody has initialised it
	}
	row := d.rows["Open_vSwitch"][0] // there is one
	out.OVSVersion, out.DbVersion = text(row, "ovs_version"), text(row, "db_version")
	out.SystemType, out.SystemVersion = text(row, "system_type"), text(row, "system_version")
	out.DatapathTypes, out.InterfaceTypes = rising(row.List("datapath_types")), rising(row.List("iface_types"))
	out.DpdkInitialized = boolean(row, "dpdk_initialized")
	out.CurrentConfig, out.NextConfig = count(row, "cur_cfg"), count(row, "next_cfg")
	out.Managers = d.texts(row, "manager_options", "Manager", "target")
	out.Statistics, out.ExternalIds, out.OtherConfig = row.Map("statistics"), row.Map("external_ids"), row.Map("other_config")
	out.Hostname = registry.NonZero(out.ExternalIds["hostname"])
	return out
}

// Bridges are the bridges by name.
func (d *Database) Bridges() []registry.OvsBridge {
	list := make([]registry.OvsBridge, 0, len(d.rows["Bridge"]))
	for _, row := range d.rows["Bridge"] {
		b := bridge(row)
		for _, c := range d.refs(row, "controller", "Controller") {
			b.Controllers = append(b.Controllers, controller(c))
		}
		slices.SortFunc(b.Controllers, func(a, b registry.OvsController) int { return cmp.Compare(a.Target, b.Target) })
		b.Mirrors = d.texts(row, "mirrors", "Mirror", "name")
		b.Netflow = d.texts(row, "netflow", "NetFlow", "targets")
		b.Sflow = d.texts(row, "sflow", "sFlow", "targets")
		b.Ipfix = d.texts(row, "ipfix", "IPFIX", "targets")
		for _, r := range d.refs(row, "ports", "Port") {
			p := port(r)
			for _, i := range d.refs(r, "interfaces", "Interface") {
				p.Interfaces = append(p.Interfaces, networkInterface(i))
			}
			slices.SortFunc(p.Interfaces, func(a, b registry.OvsInterface) int { return cmp.Compare(a.Name, b.Name) })
			b.Ports = append(b.Ports, p)
		}
		slices.SortFunc(b.Ports, func(a, b registry.OvsPort) int { return cmp.Compare(a.Name, b.Name) })
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b registry.OvsBridge) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// tables are those that net.ovs reads, whole: which columns there are depends on the version.
var tables = []string{"Open_vSwitch", "Bridge", "Port", "Interface", "Controller", "Manager", "Mirror", "NetFlow", "sFlow", "IPFIX"}

// Selects ask for all that a Database has.
func Selects() (ops []ovsdb.Operation) {
	for _, table := range tables {
		ops = append(ops, ovsdb.Select(table, nil))
	}
	return ops
}

// NewDatabase is what the answers to Selects tell.
func NewDatabase(results []ovsdb.Result) *Database {
	d := &Database{rows: map[string][]ovsdb.Row{}, byID: map[string]map[ovsdb.UUID]ovsdb.Row{}}
	for i, table := range tables {
		d.rows[table] = results[i].Rows
		d.byID[table] = make(map[ovsdb.UUID]ovsdb.Row, len(results[i].Rows))
		for _, row := range results[i].Rows {
			d.byID[table][row.UUID()] = row
		}
	}
	return d
}
