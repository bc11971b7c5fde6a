package netops

import (
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/ovsdb"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// The rows of the database in the table's words, column by column (ovs-vswitchd.conf.db(5)).

// ovsText is a column's string; absent where it is empty.
func ovsText(row ovsdb.Row, column string) registry.Opt[string] {
	return registry.NonZero(row.Text(column))
}

// ovsBool is a column's truth.
func ovsBool(row ovsdb.Row, column string) registry.Opt[bool] {
	value, ok := row.Bool(column)
	return wire.When(ok, value)
}

// ovsInt is a column's integer, from least on.
func ovsInt(row ovsdb.Row, column string, least int64) registry.Opt[int64] {
	value, ok := row.Int(column)
	return wire.When(ok && value >= least, min(value, wire.MaxInteger))
}

// ovsCount is a column's integer that is never below 0.
func ovsCount(row ovsdb.Row, column string) registry.Opt[int64] { return ovsInt(row, column, 0) }

// ovsMAC is a column's address; absent where the text, which anybody may have written, is none.
func ovsMAC(row ovsdb.Row, column string) registry.Opt[string] {
	return wire.MAC(macBytes(row.Text(column)))
}

// ovsMilliseconds is a column in seconds; below 0 means 0.
func ovsMilliseconds(row ovsdb.Row, column string) registry.Opt[float64] {
	value, ok := row.Int(column)
	return wire.Milliseconds(ok, max(value, 0))
}

// ovsCounters are counters, without those that are larger than what the table can say.
func ovsCounters(row ovsdb.Row, column string) map[string]int64 {
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

func ovsBridgeRow(row ovsdb.Row) registry.OvsBridge {
	return registry.OvsBridge{
		UUID: string(row.UUID()), Name: row.Text("name"),
		DatapathType: ovsText(row, "datapath_type"), DatapathVersion: ovsText(row, "datapath_version"),
		DatapathID: registry.NonZero(strings.ToLower(row.Text("datapath_id"))),
		FailMode:   ovsText(row, "fail_mode"), Protocols: rising(row.List("protocols")),
		Stp: ovsBool(row, "stp_enable"), Rstp: ovsBool(row, "rstp_enable"), McastSnooping: ovsBool(row, "mcast_snooping_enable"),
		FloodVlans: row.Ints("flood_vlans"), Status: row.Map("status"), RstpStatus: row.Map("rstp_status"),
		ExternalIds: row.Map("external_ids"), OtherConfig: row.Map("other_config"),
		Ports: []registry.OvsPort{},
	}
}

func ovsControllerRow(row ovsdb.Row) registry.OvsController {
	return registry.OvsController{
		Target: row.Text("target"), Connected: ovsBool(row, "is_connected"), Role: ovsText(row, "role"),
		ConnectionMode: ovsText(row, "connection_mode"), Status: row.Map("status"),
	}
}

func ovsPortRow(row ovsdb.Row) registry.OvsPort {
	p := registry.OvsPort{
		UUID: string(row.UUID()), Name: row.Text("name"),
		VlanTag: ovsCount(row, "tag"), Trunks: row.Ints("trunks"), Cvlans: row.Ints("cvlans"), VlanMode: ovsText(row, "vlan_mode"),
		BondMode: ovsText(row, "bond_mode"), BondActiveMAC: ovsMAC(row, "bond_active_slave"),
		BondUpdelayS: ovsMilliseconds(row, "bond_updelay"), BondDowndelayS: ovsMilliseconds(row, "bond_downdelay"),
		BondFakeInterface: ovsBool(row, "bond_fake_iface"), Lacp: ovsText(row, "lacp"), MAC: ovsMAC(row, "mac"),
		Protected: ovsBool(row, "protected"), Statistics: ovsCounters(row, "statistics"), Status: row.Map("status"),
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

func ovsInterfaceRow(row ovsdb.Row) registry.OvsInterface {
	i := registry.OvsInterface{
		UUID: string(row.UUID()), Name: row.Text("name"), Index: ovsCount(row, "ifindex"), Type: registry.Some(ovsType(row)),
		Ofport: ovsInt(row, "ofport", -1), OfportRequest: ovsCount(row, "ofport_request"), Error: ovsText(row, "error"),
		Options: row.Map("options"), MAC: ovsMAC(row, "mac_in_use"), MACConfigured: ovsMAC(row, "mac"),
		MTU: ovsCount(row, "mtu"), MTURequest: ovsCount(row, "mtu_request"),
		AdminState: ovsText(row, "admin_state"), LinkState: ovsText(row, "link_state"),
		LinkResets: ovsCount(row, "link_resets"), LinkSpeedBps: ovsCount(row, "link_speed"),
		Duplex:      registry.NonZero(registry.Duplex(row.Text("duplex"))),
		LacpCurrent: ovsBool(row, "lacp_current"), BfdStatus: row.Map("bfd_status"), CfmFault: ovsBool(row, "cfm_fault"),
		Lldp: row.Map("lldp"), Statistics: ovsCounters(row, "statistics"), Status: row.Map("status"),
		ExternalIds: row.Map("external_ids"), OtherConfig: row.Map("other_config"),
	}
	if rate, ok := ovsCount(row, "ingress_policing_rate").Get(); ok {
		i.IngressPolicingRateBps = registry.Some(min(rate, wire.MaxInteger/ovsKilobits) * ovsKilobits)
	}
	if burst, ok := ovsCount(row, "ingress_policing_burst").Get(); ok {
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

// ovsType is the type of an interface; none means one of the system's.
func ovsType(row ovsdb.Row) string {
	if t := row.Text("type"); t != "" {
		return t
	}
	return "system"
}
