//go:build vmtest

package netops

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/vmtest"
)

// vmRounds is small because a program's start costs 50 ms there; each round tries dozens of options.
const vmRounds = 2

// TestVLANWitness compares net.bridge, net.vlan and net.interfaces with what ip and bridge say where
// bridges filter by VLAN and interfaces of kinds are that this machine's kernel may lack.
func TestVLANWitness(t *testing.T) {
	vmtest.Guest(t)
	for _, module := range []string{"bridge", "8021q", "dummy", "bonding", "vrf", "vxlan", "br_netfilter"} {
		testhost.Command(t, "modprobe", module)
	}
	seed := testhost.Seed(t)
	for round := range vmRounds {
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			h := newHost(t, seed, uint64(round))
			h.buildBridges("dummy", "dummy", "veth", "vxlan")
			h.buildVLANs()
			h.compare(t, h.bridges, h.ourBridges)
			h.compare(t, h.vlansOf, h.ourVLANs)
			h.vlansByBridge(t)
			h.compareVLANCounters(t)
		})
	}
}

// buildVLANs gives bridges and ports VLANs and options by VLAN, and puts VLAN interfaces on top of all.
func (h *host) buildVLANs() {
	h.t.Helper()
	var commands []string
	add := func(format string, args ...any) { commands = append(commands, fmt.Sprintf(format, args...)) }
	for _, name := range h.links {
		self := ""
		if name[0] == 'b' {
			self = "self"
		}
		for range h.rng.IntN(5) {
			first := 2 + h.rng.IntN(4000)
			add("vlan add dev %s vid %d-%d %s %s", name, first, first+h.rng.IntN(4), h.oneOf("untagged", ""), self)
			add("vlan add dev %s vid %d %s %s", name, first, h.oneOf("pvid", "pvid untagged"), self)
			add("vlan set dev %s vid %d state %s", name, first, h.oneOf("0", "2", "3", "4"))
			add("vlan set dev %s vid %d mcast_router %s", name, first, h.oneOf("0", "1", "2"))
			add("vlan global set dev %s vid %d mcast_querier 1 mcast_igmp_version 3 mcast_query_interval %d", name, first, 100+h.rng.IntN(9000))
			add("vlan global set dev %s vid %d mcast_snooping 0 mcast_mld_version 2", name, first)
		}
		add("vlan add dev %s vid 77-79 %s", name, self)
		add("vlan add dev %s vid 77-79 tunnel_info id 100077-100079", name)
	}
	h.tryWith("bridge", commands...)
	commands = nil
	for i, name := range h.links {
		if h.rng.IntN(2) == 0 {
			vlan := fmt.Sprintf("vl%d", i)
			add("link add link %s name %s type vlan protocol %s id %d %s", name, vlan, h.oneOf("802.1Q", "802.1ad"), h.rng.IntN(4095),
				h.oneOf("", "reorder_hdr off", "gvrp on", "loose_binding on ingress-qos-map 1:2 3:4 egress-qos-map 5:6", "bridge_binding on"))
			add("link set %s %s", vlan, h.oneOf("up", "down"))
		}
	}
	other := testhost.NewNetNS(h.t)
	add("link add link %s name away type vlan id 5", h.links[0])
	add("link set away netns %s", other.Path())
	add("link add moved type dummy")
	add("link add link moved name stays type vlan id 6")
	add("link set moved netns %s", other.Path())
	h.try(commands...)
}

// compareVLANCounters compares the counters by VLAN, whose ranges the kernel then takes apart.
func (h *host) compareVLANCounters(t *testing.T) {
	h.compare(t, func(t *testing.T) []object {
		ranges := h.vlanRanges(t, "-s")
		list := []object{}
		for _, b := range h.ourVLANs(t) {
			for _, b := range objects(b["bridges"]) {
				o := object{"interface": b["bridge"]}
				h.giveVLANs(o, ranges, b["bridge"])
				list = append(list, o)
				for _, p := range objects(b["ports"]) {
					o := object{"interface": p["interface"]}
					h.giveVLANs(o, ranges, p["interface"])
					list = append(list, o)
				}
			}
		}
		return withoutTunnels(list)
	}, func(t *testing.T) []object {
		list := []object{}
		for _, b := range objects(mustCall(t, h.net, "net.vlan", object{"stats": true})["bridges"]) {
			o := object{"interface": b["bridge"]}
			set(o, "pvid", b["pvid"])
			o["vlans"] = b["vlans"]
			list = append(list, o)
			list = append(list, objects(b["ports"])...)
		}
		return withoutTunnels(list)
	})
}

// withoutTunnels drops the tunnel ids, which bridge prints by range.
func withoutTunnels(list []object) []object {
	for _, o := range list {
		for _, v := range objects(o["vlans"]) {
			delete(v, "tunnel_id")
		}
	}
	return list
}

// TestKindWitness compares net.interfaces with what ip says of bonds, VRFs, VLANs and other kinds.
func TestKindWitness(t *testing.T) {
	vmtest.Guest(t)
	for _, module := range []string{"8021q", "dummy", "bonding", "vrf", "bridge", "ipvlan", "macsec", "gtp"} {
		testhost.Command(t, "modprobe", module)
	}
	seed := testhost.Seed(t)
	for round := range vmRounds {
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			h := newHost(t, seed, uint64(round))
			h.buildKinds()
			h.compare(t, h.kinds, h.ourKinds)
		})
	}
}

func (h *host) buildKinds() {
	h.t.Helper()
	var commands []string
	add := func(format string, args ...any) { commands = append(commands, fmt.Sprintf(format, args...)) }
	for i := range 6 {
		add("link add d%d type dummy", i)
	}
	add("link add bond7 type bond mode %s %s", h.oneOf("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"),
		h.oneOf("miimon 100 downdelay 300", "arp_interval 100000 arp_ip_target 192.0.2.1,192.0.2.2 arp_validate none", ""))
	for _, option := range h.some(bondOptions) {
		add("link set bond7 type bond %s", option)
	}
	add("link set d0 master bond7")
	add("link set d1 master bond7")
	add("link set d0 type bond_slave queue_id %d", h.rng.IntN(5))
	add("link set bond7 type bond primary d0 primary_reselect %s", h.oneOf("always", "better", "failure"))
	add("link set bond7 up")
	add("link add vrf7 type vrf table %d", 1+h.rng.IntN(1<<30))
	add("link set d2 master vrf7")
	add("link add link d3 name iv0 type ipvlan mode %s %s", h.oneOf("l2", "l3", "l3s"), h.oneOf("bridge", "private", "vepa"))
	add("link add link d5 ms0 type macsec port %d %s %s encrypt %s encodingsa %d", 1+h.rng.IntN(9), h.oneOf("cipher gcm-aes-256 icvlen 16", "cipher gcm-aes-128 icvlen 8", ""),
		h.oneOf("replay on window 9", "replay off", "validate check", "validate disabled scb on send_sci off"), h.oneOf("on", "off"), h.rng.IntN(4))
	add("link add gtp0 type gtp role %s hsize %d restart_count %d", h.oneOf("sgsn", "ggsn"), 1+h.rng.IntN(999), h.rng.IntN(256))
	for i := range 3 {
		add("link add link %s name vl%d type vlan protocol %s id %d %s", h.oneOf("d4", "bond7"), i, h.oneOf("802.1Q", "802.1ad"), 1+h.rng.IntN(4094),
			h.oneOf("", "gvrp on", "mvrp on loose_binding on", "ingress-qos-map 1:2 egress-qos-map 5:6"))
	}
	h.try(commands...)
}

// bondOptions are what ip takes for a bond, as far as the mode lets it.
var bondOptions = [][]string{
	{"xmit_hash_policy", "layer2", "layer2+3", "layer3+4", "encap2+3", "vlan+srcmac"}, {"min_links", "1", "2"}, {"resend_igmp", "7"},
	{"num_grat_arp", "3"}, {"all_slaves_active", "1"}, {"lp_interval", "9"}, {"packets_per_slave", "5"}, {"lacp_rate", "fast"},
	{"ad_select", "bandwidth", "count"}, {"ad_actor_sys_prio", "77"}, {"ad_user_port_key", "9"}, {"fail_over_mac", "active", "follow"},
	{"tlb_dynamic_lb", "0"}, {"lacp_active", "off"}, {"arp_all_targets", "all"}, {"peer_notify_delay", "400"},
}

// kinds is what ip says of what depends on the kinds.
func (h *host) kinds(t *testing.T) []object {
	t.Helper()
	var list []object
	for _, l := range decode[[]object](t, h.Witness("-d", "link", "show")) {
		info, _ := l["linkinfo"].(object)
		kind, _ := info["info_kind"].(string)
		o := capturedKind(t, kind, l, map[string]int{})
		o["name"] = l["ifname"]
		if vlan, ok := o["vlan"].(object); ok {
			sortWords(vlan, "flags")
		}
		list = append(list, o)
	}
	return list
}

func (h *host) ourKinds(t *testing.T) []object {
	t.Helper()
	var list []object
	for _, row := range objects(mustCall(t, h.net, "net.interfaces", object{})["interfaces"]) {
		o := object{"name": row["name"]}
		for name := range kindMembers {
			set(o, name, row[name])
		}
		if vlan, ok := o["vlan"].(object); ok {
			sortWords(vlan, "flags")
		}
		list = append(list, o)
	}
	return list
}
