package netops

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// TestBridgeWitness compares net.bridge with what ip and bridge say of hosts made at random.
func TestBridgeWitness(t *testing.T) {
	testhost.Root(t)
	testhost.Tool(t, "bridge", "iproute2")
	seed := testhost.Seed(t)
	options, ports := seen{}, seen{}
	for round := range testhost.Rounds(usualRounds) {
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			h := newHost(t, seed, uint64(round))
			h.buildBridges("veth", "tap", "vxlan", "macvlan")
			h.compare(t, h.bridges, h.ourBridges)
			t.Run("one by one", h.bridgesByName)
			t.Run("VLANs", func(t *testing.T) { h.compare(t, h.vlansOf, h.ourVLANs) })
			t.Run("VLANs by bridge", h.vlansByBridge)
			for _, b := range h.bridges(t) {
				options.note(b)
				for _, p := range objects(b["ports"]) {
					ports.note(p)
				}
			}
		})
	}
	if testhost.Rounds(usualRounds) < manyRounds {
		return
	}
	options.varied(t, "stp", "priority", "ageing_time_s", "forward_delay_s", "hello_time_s", "max_age_s", "group_fwd_mask", "group_address",
		"no_linklocal_learn", "mcast_snooping", "mcast_router", "mcast_querier", "mcast_hash_max", "mcast_query_interval_s",
		"mcast_igmp_version", "mcast_mld_version", "mcast_stats", "nf_call_iptables", "admin_up", "oper_state", "mtu")
	ports.varied(t, "state", "priority", "cost", "hairpin", "bpdu_guard", "root_guard", "fast_leave", "learning", "flood", "mcast_flood",
		"bcast_flood", "isolated", "locked", "neigh_suppress", "multicast_to_unicast", "multicast_router", "proxy_arp", "proxy_arp_wifi",
		"group_fwd_mask", "backup_port", "port_no")
}

// manyRounds are so many that chance cannot have left an option alone in all of them.
const manyRounds = 40

// seen counts the values that members had, so that a test can tell whether chance gave it something to
// compare.
type seen map[string]map[any]int

func (s seen) note(o object) {
	for name, v := range o {
		switch v.(type) {
		case []any, object:
			continue
		}
		if s[name] == nil {
			s[name] = map[any]int{}
		}
		s[name][v]++
	}
}

func (s seen) varied(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if len(s[name]) < 2 && !(name == "backup_port" && len(s[name]) > 0) {
			t.Errorf("%s was never but %v", name, s[name])
		}
	}
}

// buildBridges makes bridges with ports of some kinds, both with options by chance; what this kernel
// does not take it refuses.
func (h *host) buildBridges(kinds ...string) {
	h.t.Helper()
	var commands []string
	bridges := make([]string, 1+h.rng.IntN(3))
	for i := range bridges {
		bridges[i] = h.name("br")
		commands = append(commands, "link add "+bridges[i]+" type bridge")
		for _, option := range h.some(bridgeOptions) {
			commands = append(commands, "link set "+bridges[i]+" type bridge "+option)
		}
	}
	var ports []string
	for range h.rng.IntN(7) {
		name, command := h.port(h.oneOf(kinds...))
		ports = append(ports, name)
		commands = append(commands, command, "link set "+name+" master "+h.oneOf(bridges...))
	}
	for _, name := range ports {
		for _, option := range append(h.some(portOptions), "backup_port "+h.oneOf(ports...)) {
			commands = append(commands, "link set "+name+" type bridge_slave "+option)
		}
	}
	for _, name := range h.links {
		commands = append(commands, "link set "+name+" "+h.oneOf("up", "up", "up", "down mtu 1400"))
	}
	for i, name := range bridges {
		commands = append(commands, fmt.Sprintf("addr add 10.%d.0.1/24 dev %s", i, name))
	}
	h.try(commands...)
}

// port is the command for one interface that can be a port.
func (h *host) port(kind string) (name, command string) {
	name = h.name(kind[:1])
	switch kind {
	case "tap":
		return name, "tuntap add " + name + " mode tap"
	case "vxlan":
		return name, fmt.Sprintf("link add %s type vxlan id %d dstport 4789 nolearning", name, h.rng.IntN(1<<24))
	case "macvlan":
		under := h.name("u")
		return name, fmt.Sprintf("link add %s type ifb\nlink add %s link %s type macvlan mode passthru", under, name, under)
	case "dummy":
		return name, "link add " + name + " type dummy"
	default:
		return name, "link add " + name + " type veth peer name " + h.name("w")
	}
}

// some is about a third of the options, each with one of its values.
func (h *host) some(options [][]string) []string {
	var out []string
	for _, o := range options {
		if h.rng.IntN(3) == 0 {
			out = append(out, o[0]+" "+h.oneOf(o[1:]...))
		}
	}
	return out
}

// bridgeOptions are what ip takes for a bridge, each with values.
var bridgeOptions = [][]string{
	{"forward_delay", "200", "1500", "3000"}, {"hello_time", "100", "321", "1000"}, {"max_age", "600", "4000"},
	{"ageing_time", "0", "100", "12345"}, {"stp_state", "0", "1"}, {"priority", "0", "4096", "65535"},
	{"group_fwd_mask", "8", "0xfff8"}, {"group_address", "01:80:c2:00:00:0d", "01:80:c2:00:00:04"},
	{"no_linklocal_learn", "0", "1"}, {"mcast_snooping", "0", "1"}, {"mcast_router", "0", "1", "2"},
	{"mcast_query_use_ifaddr", "0", "1"}, {"mcast_querier", "0", "1"}, {"mcast_hash_elasticity", "4", "99"},
	{"mcast_hash_max", "512", "16384"}, {"mcast_last_member_count", "1", "7"}, {"mcast_startup_query_count", "1", "9"},
	{"mcast_last_member_interval", "10", "321"}, {"mcast_membership_interval", "1", "99999"}, {"mcast_querier_interval", "300", "987654321"},
	{"mcast_query_interval", "4321", "20000"}, {"mcast_query_response_interval", "7", "1234"}, {"mcast_startup_query_interval", "200", "5000"},
	{"mcast_stats_enabled", "0", "1"}, {"mcast_igmp_version", "2", "3"}, {"mcast_mld_version", "1", "2"},
	{"nf_call_iptables", "0", "1"}, {"nf_call_ip6tables", "0", "1"}, {"nf_call_arptables", "0", "1"},
	{"vlan_protocol", "802.1Q", "802.1ad"}, {"vlan_default_pvid", "0", "1", "7", "4094"}, {"vlan_filtering", "0", "1", "1", "1"},
	{"vlan_stats_per_port", "0", "1"}, {"vlan_stats_enabled", "0", "1"}, {"mcast_vlan_snooping", "0", "1"},
}

// portOptions are what ip takes for a port.
var portOptions = [][]string{
	{"state", "0", "1", "2", "3", "4"}, {"priority", "0", "9", "63"}, {"cost", "1", "65535"}, {"hairpin", "on", "off"}, {"guard", "on", "off"},
	{"root_block", "on", "off"}, {"fastleave", "on", "off"}, {"learning", "on", "off"}, {"flood", "on", "off"}, {"proxy_arp", "on", "off"},
	{"proxy_arp_wifi", "on", "off"}, {"mcast_router", "0", "1", "2"}, {"mcast_flood", "on", "off"}, {"bcast_flood", "on", "off"},
	{"mcast_to_unicast", "on", "off"}, {"group_fwd_mask", "0x4000", "8"}, {"neigh_suppress", "on", "off"}, {"isolated", "on", "off"},
	{"locked", "on", "off"}, {"vlan_tunnel", "on", "off"},
}

// bridges is what ip and bridge say of every bridge, in the words of net.bridge.
func (h *host) bridges(t *testing.T) []object {
	t.Helper()
	links := decode[[]object](t, h.Witness("-d", "addr", "show"))
	again := map[any]object{}
	for _, p := range decode[[]object](t, []byte(h.Run("bridge", "-j", "-d", "link"))) {
		again[p["ifname"]] = p
	}
	ranges := h.vlanRanges(t)
	ports := map[any][]any{}
	for _, l := range links {
		if info, _ := l["linkinfo"].(object); info["info_slave_kind"] == "bridge" {
			p := h.bridgePortOf(l, info["info_slave_data"].(object), again[l["ifname"]])
			h.giveVLANs(p, ranges, l["ifname"])
			ports[l["master"]] = append(ports[l["master"]], p)
		}
	}
	list := []object{}
	for _, l := range links {
		info, _ := l["linkinfo"].(object)
		if info["info_kind"] != "bridge" {
			continue
		}
		b := h.bridgeOf(l, info["info_data"].(object))
		b["ports"] = append([]any{}, ports[l["ifname"]]...)
		h.giveVLANs(b, ranges, l["ifname"])
		delete(b, "pvid")
		list = append(list, b)
	}
	return list
}

func (h *host) bridgeOf(l, d object) object {
	b := object{"name": l["ifname"], "backend": "linux", "index": l["ifindex"], "mac": l["address"], "mtu": l["mtu"],
		"exists": true, "managed": false, "oper_state": lower(l["operstate"]), "addresses": h.addressesOf(objects(l["addr_info"]))}
	for member, name := range map[string]string{"priority": "priority", "bridge_id": "bridge_id", "root_id": "root_id", "root_port": "root_port",
		"root_path_cost": "root_path_cost", "group_address": "group_addr", "mcast_router": "mcast_router", "mcast_hash_max": "mcast_hash_max",
		"mcast_hash_elasticity": "mcast_hash_elasticity", "mcast_last_member_count": "mcast_last_member_cnt",
		"mcast_startup_query_count": "mcast_startup_query_cnt", "mcast_igmp_version": "mcast_igmp_version", "mcast_mld_version": "mcast_mld_version",
		"vlan_protocol": "vlan_protocol", "vlan_default_pvid": "vlan_default_pvid"} {
		set(b, member, d[name])
	}
	for _, name := range []string{"topology_change", "topology_change_detected", "mcast_snooping", "mcast_querier", "mcast_query_use_ifaddr",
		"vlan_filtering", "no_linklocal_learn", "mcast_vlan_snooping", "nf_call_iptables", "nf_call_ip6tables", "nf_call_arptables"} {
		b[name] = d[name] == 1.0
	}
	paddedIDs(b, "bridge_id", "root_id")
	b["mcast_stats"] = d["mcast_stats_enabled"] == 1.0
	for member, name := range map[string]string{"vlan_stats": "vlan_stats_enabled", "vlan_stats_per_port": "vlan_stats_per_port"} {
		if v, ok := d[name]; ok {
			b[member] = v == 1.0
		}
	}
	b["stp"] = d["stp_state"] != 0.0
	b["stp_mode"] = map[any]string{0.0: "none", 1.0: "kernel", 2.0: "user"}[d["stp_state"]]
	b["group_fwd_mask"] = strings.TrimPrefix(d["group_fwd_mask"].(string), "0x")
	for _, name := range []string{"forward_delay", "hello_time", "max_age", "ageing_time"} {
		b[name+"_s"] = d[name].(float64) / 100
	}
	for _, name := range []string{"last_member", "membership", "querier", "query", "query_response", "startup_query"} {
		b["mcast_"+name+"_interval_s"] = d["mcast_"+name+"_intvl"].(float64) / 100
	}
	for _, name := range []string{"hello_timer", "tcn_timer", "topology_change_timer", "gc_timer"} {
		b[name+"_s"] = d[name]
	}
	markLifetimes(b, "hello_timer_s", "tcn_timer_s", "topology_change_timer_s", "gc_timer_s")
	h.flagsOf(b, l)
	delete(b, "flags")
	return b
}

func (h *host) bridgePortOf(l, d, again object) object {
	p := object{"interface": l["ifname"], "index": l["ifindex"], "bridge": l["master"], "mac": l["address"], "mtu": l["mtu"],
		"exists": true, "managed": false, "oper_state": lower(l["operstate"])}
	if p["oper_state"] == "lowerlayerdown" {
		p["oper_state"] = "lower_layer_down"
	}
	for member, name := range map[string]string{"state": "state", "cost": "cost", "priority": "priority", "hairpin": "hairpin", "isolated": "isolated",
		"learning": "learning", "flood": "flood", "mcast_flood": "mcast_flood", "bcast_flood": "bcast_flood", "bpdu_guard": "guard",
		"root_guard": "root_block", "fast_leave": "fastleave", "multicast_to_unicast": "mcast_to_unicast", "multicast_router": "multicast_router",
		"proxy_arp": "proxy_arp", "proxy_arp_wifi": "proxy_arp_wifi", "neigh_suppress": "neigh_suppress", "vlan_tunnel": "vlan_tunnel",
		"locked": "locked", "backup_port": "backup_port", "designated_root": "root_id", "designated_bridge": "bridge_id",
		"designated_cost": "designated_cost"} {
		set(p, member, d[name])
		if other, ok := again[name]; ok && other != d[name] {
			p[member] = fmt.Sprintf("ip says %v, bridge says %v", d[name], other)
		}
	}
	paddedIDs(p, "designated_bridge", "designated_root")
	for member, name := range map[string]string{"port_no": "no", "port_id": "id", "group_fwd_mask": "group_fwd_mask"} {
		p[member] = strings.TrimPrefix(d[name].(string), "0x")
	}
	p["designated_port"] = strconv.FormatInt(int64(d["designated_port"].(float64)), 16)
	p["topology_change_ack"], p["config_pending"] = d["topology_change_ack"] == 1.0, d["config_pending"] == 1.0
	for _, name := range []string{"message_age_timer", "forward_delay_timer", "hold_timer"} {
		p[name+"_s"] = d[name]
	}
	markLifetimes(p, "message_age_timer_s", "forward_delay_timer_s", "hold_timer_s")
	h.flagsOf(p, l)
	delete(p, "admin_up")
	return p
}

// paddedIDs: ip leaves zeroes out where an address of an id begins with them.
func paddedIDs(o object, names ...string) {
	for _, name := range names {
		priority, address, _ := strings.Cut(o[name].(string), ".")
		digits := strings.Split(address, ":")
		for i, d := range digits {
			digits[i] = ("0" + d)[len(d)-1:]
		}
		o[name] = priority + "." + strings.Join(digits, ":")
	}
}

// unprinted are members that neither ip nor bridge of every version in use prints.
var (
	unprinted = []string{"fdb_learned", "fdb_max_learned", "mst_enabled", "mdb_offload_fail_notification", "fdb_local_vlan_0",
		"mcast_querier_ipv4_address", "mcast_querier_ipv4_port", "mcast_querier_ipv4_timer_s",
		"mcast_querier_ipv6_address", "mcast_querier_ipv6_port", "mcast_querier_ipv6_timer_s"}
	unprintedOfPorts = []string{"mab", "neigh_vlan_suppress", "mcast_groups", "mcast_max_groups", "mcast_eht_hosts_limit", "mcast_eht_hosts",
		"mrp_ring_open", "mrp_in_open"}
)

// ourBridges is what net.bridge says.
func (h *host) ourBridges(t *testing.T) []object {
	t.Helper()
	return normalBridges(mustCall(t, h.net, "net.bridge", object{}))
}

func normalBridges(result object) []object {
	list := objects(result["bridges"])
	for _, b := range list {
		for _, name := range unprinted {
			delete(b, name)
		}
		markLifetimes(b, "hello_timer_s", "tcn_timer_s", "topology_change_timer_s", "gc_timer_s")
		for _, a := range objects(b["addresses"]) {
			sortWords(a, "flags")
		}
		for _, p := range objects(b["ports"]) {
			for _, name := range unprintedOfPorts {
				delete(p, name)
			}
			sortWords(p, "flags")
			markLifetimes(p, "message_age_timer_s", "forward_delay_timer_s", "hold_timer_s")
		}
	}
	return list
}

// bridgesByName: each bridge asked for alone is what it is among all.
func (h *host) bridgesByName(t *testing.T) {
	h.compare(t, h.ourBridges, func(t *testing.T) []object {
		var list []object
		for _, b := range h.ourBridges(t) {
			list = append(list, normalBridges(mustCall(t, h.net, "net.bridge", object{"name": b["name"]}))...)
		}
		return list
	})
	if got := mustCall(t, h.net, "net.bridge", object{"tag": "x"}); !cmp.Equal(got, object{"bridges": []any{}}) {
		t.Errorf("with a tag that none has: %v", got)
	}
}

func TestNoSuchBridge(t *testing.T) {
	ns := testhost.NewNetNS(t)
	ns.IP("link add v0 type veth peer name v1")
	n := newNet(t, ns)
	for _, test := range []struct {
		method string
		params object
	}{
		{"net.bridge", object{"name": "nobody"}}, {"net.bridge", object{"name": "v0"}},
		{"net.bridge", object{"name": "nobody", "tag": "x"}},
		{"net.vlan", object{"bridge": "nobody"}}, {"net.vlan", object{"bridge": "v0"}},
	} {
		_, err := call(t, n, test.method, test.params)
		var notFound *registry.NotFoundError
		if !errors.As(err, &notFound) || notFound.Resource != "bridge" || notFound.ID == "" {
			t.Errorf("%s %v: %v, want not_found", test.method, test.params, err)
		}
	}
	if got := mustCall(t, n, "net.bridge", object{}); !cmp.Equal(got, object{"bridges": []any{}}) {
		t.Errorf("without bridges: %v", got)
	}
	if got := mustCall(t, n, "net.vlan", object{}); !cmp.Equal(got, object{"bridges": []any{}, "interfaces": []any{}}) {
		t.Errorf("without bridges: %v", got)
	}
}

// TestQuerier: a bridge knows who asks for multicast listeners, itself or another behind a port. The
// witness is what was set up, since ip does not print it.
func TestQuerier(t *testing.T) {
	ns := testhost.NewNetNS(t)
	ns.IP("link add own type bridge mcast_querier 1", "link add other type bridge mcast_querier 1 mcast_query_use_ifaddr 1",
		"link add asked type bridge", "link add v0 type veth peer name v1", "link set v0 master asked", "link set v1 master other",
		"addr add 192.0.2.7/24 dev other", "link set v0 up", "link set v1 up", "link set own up", "link set asked up", "link set other up")
	h := &host{NetNS: ns, t: t, net: newNet(t, ns)}
	want := []object{
		{"name": "asked", "mcast_querier_ipv4_address": "192.0.2.7", "mcast_querier_ipv4_port": "v0"},
		{"name": "other", "mcast_querier_ipv4_address": "192.0.2.7"},
	}
	got := h.settle(t, func(t *testing.T) []object {
		var list []object
		for _, name := range []string{"asked", "other"} {
			b := objects(mustCall(t, h.net, "net.bridge", object{"name": name})["bridges"])[0]
			if timer, ok := b["mcast_querier_ipv4_timer_s"].(float64); ok != (name == "asked") || ok && (timer <= 0 || timer > 255) {
				b["name"] = fmt.Sprintf("%s, whose timer is %v", name, timer)
			}
			o := object{"name": b["name"]}
			set(o, "mcast_querier_ipv4_address", b["mcast_querier_ipv4_address"])
			set(o, "mcast_querier_ipv4_port", b["mcast_querier_ipv4_port"])
			list = append(list, o)
		}
		return list
	}, want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("set up (-), ours (+):\n%s", diff)
	}
}

// TestLearnedAddresses: how many addresses a bridge has learned is what bridge lists of them.
func TestLearnedAddresses(t *testing.T) {
	ns := testhost.NewNetNS(t)
	ns.IP("link add br0 type bridge", "link set br0 up")
	for i := range 5 { // each peer's first multicast is learned from
		ns.IP(fmt.Sprintf("link add v%d type veth peer name w%d", i, i), fmt.Sprintf("link set v%d master br0 up", i), fmt.Sprintf("link set w%d up", i))
	}
	h := &host{NetNS: ns, t: t, net: newNet(t, ns)}
	listed := 0.0
	got := h.settle(t, func(t *testing.T) []object {
		listed = 0
		for _, entry := range decode[[]object](t, []byte(h.Run("bridge", "-j", "fdb", "show", "br", "br0"))) {
			if entry["master"] == "br0" && entry["state"] != "permanent" {
				listed++
			}
		}
		b := objects(mustCall(t, h.net, "net.bridge", object{})["bridges"])[0]
		if _, ok := b["fdb_learned"]; !ok {
			testhost.Missing(t, "Linux 6.7, which counts what bridges learn")
		}
		return []object{{"listed": 5.0, "counted": b["fdb_learned"]}}
	}, []object{{"listed": 5.0, "counted": 5.0}})
	if listed != 5 || got[0]["counted"] != 5.0 {
		t.Errorf("%v addresses are counted, %v listed, want 5", got[0]["counted"], listed)
	}
}
