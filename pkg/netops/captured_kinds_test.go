package netops

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/netops/internal/kernelrow"
)

// TestCapturedKinds compares the rows for kinds of interfaces that not every kernel has (VLANs, bonds,
// VRFs, tunnels) with what ip printed of the same interfaces when their messages were captured.
func TestCapturedKinds(t *testing.T) {
	witness := capturedWitness(t)
	compared := map[string]int{}
	rows := kernelrow.NewInterface(newNetConn(t))
	links := capturedLinks(t)
	for i := range links { // so that each knows the names of all
		if _, err := rows.Of(&links[i]); err != nil {
			t.Fatalf("%s: %v", links[i].Name, err)
		}
	}
	for i := range links {
		l := &links[i]
		row, err := rows.Of(l)
		if err != nil {
			t.Fatalf("%s: %v", l.Name, err)
		}
		row.Addresses = nil
		testhost.ValidateResult(t, "net.interfaces", fmt.Appendf(nil, `{"interfaces":[%s]}`, row.AppendJSON(nil)))
		got := decode[object](t, row.AppendJSON(nil))
		want := capturedKind(t, l.Kind, witness[l.Name], compared)
		have := object{}
		for name := range kindMembers {
			set(have, name, got[name])
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s, ip (-), ours (+):\n%s", l.Name, diff)
		}
	}
	for _, kind := range []string{"vlan", "bond", "bond port", "vrf", "vrf port", "ipip", "sit", "ip6tnl", "gre", "gretap", "erspan",
		"ip6gre", "vti", "vti6", "geneve", "xfrm", "ipvlan", "ipvtap"} {
		if compared[kind] == 0 {
			t.Errorf("no %s was compared", kind)
		}
	}
}

func newNetConn(t *testing.T) *rtnl.Conn {
	t.Helper()
	conn, err := rtnl.Dial(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// capturedLinks are links that package rtnl has decoded from captured messages.
func capturedLinks(t *testing.T) []rtnl.Link {
	t.Helper()
	file, err := os.Open("../../internal/rtnl/testdata/debian6.1-links.json")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var list []rtnl.Link
	for dec := json.NewDecoder(file); dec.More(); {
		var line struct{ Link rtnl.Link }
		if err := dec.Decode(&line); err != nil {
			t.Fatal(err)
		}
		list = append(list, line.Link)
	}
	return list
}

func capturedWitness(t *testing.T) map[string]object {
	t.Helper()
	text, err := os.ReadFile("testdata/debian6.1-ip-link.json")
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]object{}
	for _, l := range decode[[]object](t, text) {
		byName[l["ifname"].(string)] = l
	}
	return byName
}

// kindMembers are the members of an interface that depend on its kind.
var kindMembers = map[string]bool{"kind": true, "port_kind": true, "vlan_id": true, "vlan": true, "bond": true, "bond_port": true,
	"vxlan": true, "macvlan": true, "tun": true, "tunnel": true, "vrf_table": true, "kind_options": true, "kind_data": true}

func capturedKind(t *testing.T, kind string, l object, compared map[string]int) object {
	o := object{}
	info, _ := l["linkinfo"].(object)
	data, _ := info["info_data"].(object)
	port, _ := info["info_slave_data"].(object)
	set(o, "kind", info["info_kind"])
	set(o, "port_kind", info["info_slave_kind"])
	compared[kind]++
	compared[text(info["info_slave_kind"])+" port"]++
	switch info["info_slave_kind"] {
	case "bond":
		o["bond_port"] = bondPortOf(port)
	case "vrf":
		o["vrf_table"] = port["table"]
	}
	switch kind {
	case "":
	case "vlan":
		o["vlan_id"], o["vlan"] = data["id"], vlanOf(data)
	case "bond":
		o["bond"] = bondOf(data)
	case "vrf":
		o["vrf_table"] = data["table"]
	case "ipvlan", "ipvtap":
		o["macvlan"] = ipvlanOf(data)
	case "macsec", "gtp":
		o["kind_options"] = kindOptionsOf(data)
	case "dummy":
	default:
		o["tunnel"] = tunnelOf(t, kind, l, data)
	}
	return o
}

// kindOptionsOf: what ip prints of a kind, every value as text.
func kindOptionsOf(d object) object {
	o := object{}
	for name, v := range d {
		switch v {
		case true:
			o[name] = "on"
		case false:
			o[name] = "off"
		default:
			o[name] = text(v)
		}
	}
	return o
}

func vlanOf(d object) object {
	v := object{"id": d["id"], "protocol": d["protocol"]}
	flags := []any{}
	list, _ := d["flags"].([]any)
	for _, f := range list {
		flags = append(flags, lower(f))
	}
	v["flags"] = flags
	for _, name := range []string{"ingress_qos", "egress_qos"} {
		if list := objects(d[name]); len(list) > 0 {
			m := object{}
			for _, q := range list {
				m[text(q["from"])] = q["to"]
			}
			v[name] = m
		}
	}
	return v
}

func ipvlanOf(d object) object {
	m := object{"mode": d["mode"], "flags": []any{}}
	for _, flag := range []string{"private", "vepa"} {
		if d[flag] == true {
			m["flags"] = append(m["flags"].([]any), flag)
		}
	}
	return m
}

// bondOf: ip writes switches as numbers or words, and times in milliseconds.
func bondOf(d object) object {
	b := object{}
	for member, name := range map[string]string{
		"mode": "mode", "primary": "primary", "primary_reselect": "primary_reselect", "fail_over_mac": "fail_over_mac",
		"arp_ip_targets": "arp_ip_target", "arp_all_targets": "arp_all_targets", "xmit_hash_policy": "xmit_hash_policy",
		"resend_igmp": "resend_igmp", "num_peer_notif": "num_peer_notif", "min_links": "min_links", "lp_interval_s": "lp_interval",
		"packets_per_port": "packets_per_slave", "missed_max": "arp_missed_max", "ad_lacp_rate": "ad_lacp_rate", "ad_select": "ad_select",
		"ad_actor_sys_prio": "ad_actor_sys_prio", "ad_user_port_key": "ad_user_port_key", "ad_actor_system": "ad_actor_system",
		"active_port": "active_slave",
	} {
		set(b, member, d[name])
	}
	for member, name := range map[string]string{"miimon_s": "miimon", "updelay_s": "updelay", "downdelay_s": "downdelay",
		"peer_notify_delay_s": "peer_notify_delay", "arp_interval_s": "arp_interval"} {
		b[member] = d[name].(float64) / 1000
	}
	b["use_carrier"] = d["use_carrier"] == 1.0
	b["all_ports_active"] = d["all_slaves_active"] == 1.0
	b["tlb_dynamic_lb"] = d["tlb_dynamic_lb"] == 1.0
	b["ad_lacp_active"] = d["ad_lacp_active"] == "on"
	b["coupled_control"] = true // this ip does not print it
	b["arp_validate"] = d["arp_validate"]
	if b["arp_validate"] == nil {
		b["arp_validate"] = "none"
	}
	if ad, ok := d["ad_info"].(object); ok {
		for member, name := range map[string]string{"ad_aggregator_id": "aggregator", "ad_num_ports": "num_ports", "ad_actor_key": "actor_key",
			"ad_partner_key": "partner_key", "ad_partner_mac": "partner_mac"} {
			b[member] = ad[name]
		}
	}
	return b
}

func bondPortOf(d object) object {
	p := object{"state": lower(d["state"]), "mii_status": lower(d["mii_status"])}
	for member, name := range map[string]string{"link_failure_count": "link_failure_count", "permanent_mac": "perm_hwaddr",
		"queue_id": "queue_id", "priority": "prio", "ad_aggregator_id": "ad_aggregator_id",
		"ad_actor_oper_port_state": "ad_actor_oper_port_state", "ad_partner_oper_port_state": "ad_partner_oper_port_state"} {
		set(p, member, d[name])
	}
	return p
}

var tunnelProtocols = map[any]float64{"any": 0, "ip6ip": 41, "ip6ip6": 41, "ipip": 4, "ipip6": 4}

func tunnelOf(t *testing.T, kind string, l, d object) object {
	o := object{}
	for member, name := range map[string]string{"local": "local", "remote": "remote", "ttl": "ttl", "tos": "tos", "df": "pmtudisc",
		"parent": "link", "external": "external", "ignore_df": "ignore_df", "ikey": "ikey", "okey": "okey", "encap_limit": "encap_limit",
		"flow_label": "flowlabel", "erspan_version": "erspan_ver", "erspan_index": "erspan_index", "vni": "id", "port": "port",
		"udp_checksum": "udp_csum", "udp_zero_checksum6_rx": "udp_zero_csum6_rx", "if_id": "if_id"} {
		if v := numeric(t, member, d[name]); v != "any" {
			set(o, member, v)
		}
	}
	set(o, "tos", numeric(t, "tos", d["tclass"]))
	for _, member := range []string{"ttl", "tos", "encap_limit", "flow_label"} {
		if o[member] == 0.0 {
			delete(o, member) // of the inner packet
		}
	}
	if proto, ok := d["proto"]; ok {
		o["protocol"] = tunnelProtocols[proto]
	}
	if mark, ok := d["fwmark"].(string); ok {
		o["fwmark"] = strings.TrimPrefix(mark, "0x")
	}
	tunnelFlags(o, d)
	tunnelEncapOf(o, d)
	tunnelDefaults(o, kind, l)
	if prefix, ok := d["prefix"].(string); ok {
		o["sixrd_prefix"] = fmt.Sprintf("%s/%v", prefix, d["prefixlen"])
	}
	return o
}

// numeric is a number that ip writes in hexadecimal, or as an address.
func numeric(t *testing.T, member string, v any) any {
	s, ok := v.(string)
	if !ok || member == "local" || member == "remote" || member == "parent" {
		return v
	}
	if addr, err := netip.ParseAddr(s); err == nil {
		b := addr.As4()
		return float64(uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]))
	}
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		t.Fatalf("%s: %v", member, err)
	}
	return float64(n)
}

func tunnelFlags(o, d object) {
	var flags []any
	for _, f := range []string{"icsum", "iseq", "ocsum", "oseq", "isatap"} {
		if d[f] == true {
			flags = append(flags, f)
		}
	}
	for _, f := range []string{"ign_encap_limit", "use_orig_tclass", "use_orig_flowlabel", "mip6_dev", "rcv_dscp_copy", "use_orig_fwmark"} {
		if d["ip6_tnl_f_"+f] == true {
			flags = append(flags, f)
		}
	}
	if flags != nil {
		o["flags"] = flags
	}
}

func tunnelEncapOf(o, d object) {
	encap, ok := d["encap"].(object)
	if !ok {
		return
	}
	o["encap_type"], o["encap_source_port"], o["encap_destination_port"] = encap["type"], encap["sport"], encap["dport"]
}

// tunnelDefaults are what ip does not print, because it says nothing.
func tunnelDefaults(o object, kind string, l object) {
	switch kind {
	case "geneve":
		o["udp_zero_checksum6_tx"] = false
		o["df"] = l["linkinfo"].(object)["info_data"].(object)["df"] == "set"
	case "vti", "vti6":
		for _, key := range []string{"ikey", "okey"} {
			if o[key] == nil {
				o[key] = 0.0
			}
		}
	case "xfrm":
		set(o, "parent", l["link"])
	default:
		if o["encap_type"] == nil {
			o["encap_type"] = "none"
		}
	}
}
