package netops

import (
	"fmt"
	"os/user"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// interfaces is what ip and sysfs say of every interface, in the words of net.interfaces.
func (h *host) interfaces(t *testing.T) []object {
	t.Helper()
	links := decode[[]object](t, h.Witness("-d", "link", "show"))
	addresses := map[any][]object{}
	for _, l := range decode[[]object](t, h.Witness("-d", "addr", "show")) {
		addresses[l["ifindex"]] = objects(l["addr_info"])
	}
	sys, index := h.sysfs(t), h.indexes(t)
	list := make([]object, 0, len(links))
	for _, l := range links {
		o := h.interfaceOf(t, l, sys, index)
		o["addresses"] = h.addressesOf(addresses[l["ifindex"]])
		list = append(list, o)
	}
	return list
}

func (h *host) interfaceOf(t *testing.T, l object, sys map[string]string, index map[string]any) object {
	o := object{
		"index": l["ifindex"], "name": l["ifname"], "mtu": l["mtu"], "qdisc": l["qdisc"], "link_type": l["link_type"],
		"oper_state": map[string]string{"lowerlayerdown": "lower_layer_down", "notpresent": "not_present"}[lower(l["operstate"])],
		"link_mode":  lower(l["linkmode"]), "group": l["group"], "tx_queue_len": l["txqlen"],
		"min_mtu": l["min_mtu"], "max_mtu": l["max_mtu"], "promiscuity": l["promiscuity"], "allmulti": l["allmulti"],
		"num_tx_queues": l["num_tx_queues"], "num_rx_queues": l["num_rx_queues"],
		"gso_max_size": l["gso_max_size"], "gso_max_segs": l["gso_max_segs"], "tso_max_size": l["tso_max_size"], "tso_max_segs": l["tso_max_segs"],
		"gro_max_size": l["gro_max_size"],
		// This ip does not print them; the kernel lets them follow the general limits up to 64 KiB.
		"gso_ipv4_max_size": l["gso_max_size"], "gro_ipv4_max_size": l["gro_max_size"],
		"managed": false,
	}
	if o["oper_state"] == "" {
		o["oper_state"] = lower(l["operstate"])
	}
	set(o, "mac", l["address"])
	set(o, "broadcast", l["broadcast"])
	set(o, "permanent_mac", l["permaddr"])
	set(o, "alias", l["ifalias"])
	set(o, "alt_names", l["altnames"])
	set(o, "ipv6_addr_gen_mode", l["inet6_addr_gen_mode"])
	h.flagsOf(o, l)
	h.relationsOf(o, l, index)
	fromSysfs(t, o, sys, l["ifname"].(string))
	kindOf(o, l)
	return o
}

// flagsOf: ip leaves out running, which follows from the rest, and adds words of its own.
func (h *host) flagsOf(o, l object) {
	var flags []string
	up := false
	for _, f := range l["flags"].([]any) {
		if f == "NO-CARRIER" || f == "M-DOWN" {
			continue
		}
		up = up || f == "UP"
		flags = append(flags, lower(f))
	}
	if up && (o["oper_state"] == "up" || o["oper_state"] == "unknown") {
		flags = append(flags, "running")
	}
	o["admin_up"] = up
	o["flags"] = sorted(flags...)
}

func (h *host) relationsOf(o, l object, index map[string]any) {
	if master, ok := l["master"].(string); ok {
		o["master"], o["master_index"] = master, index[master]
	}
	if link, ok := l["link"].(string); ok {
		o["parent"], o["parent_index"] = link, index[link]
	}
	set(o, "parent_index", l["link_index"])
	set(o, "link_netnsid", l["link_netnsid"])
}

func fromSysfs(t *testing.T, o object, sys map[string]string, name string) {
	for member, file := range map[string]string{
		"carrier_changes": "carrier_changes", "carrier_up_count": "carrier_up_count", "carrier_down_count": "carrier_down_count",
	} {
		o[member] = numberOf(t, sys[name+"/"+file])
	}
	o["proto_down"] = sys[name+"/proto_down"] == "1"
	// sysfs shows the carrier of interfaces that are up alone; of the others it is what lets them come up.
	if carrier, ok := sys[name+"/carrier"]; ok {
		o["carrier"] = carrier == "1"
	}
	if o["carrier"] == true && name != "lo" {
		if speed, ok := sys[name+"/speed"]; ok && !strings.HasPrefix(speed, "-") {
			o["speed_bps"] = numberOf(t, speed) * 1e6
		}
		if duplex := sys[name+"/duplex"]; duplex == "full" || duplex == "half" {
			o["duplex"] = duplex
		}
	}
}

// kindOf is the part that depends on the kind.
func kindOf(o, l object) {
	info, _ := l["linkinfo"].(object)
	set(o, "kind", info["info_kind"])
	set(o, "port_kind", info["info_slave_kind"])
	data, _ := info["info_data"].(object)
	switch info["info_kind"] {
	case "vxlan":
		o["vxlan"] = vxlanOf(data)
	case "macvlan":
		o["macvlan"] = macvlanOf(data)
	case "tun":
		o["tun"] = tunOf(data)
	}
}

func vxlanOf(d object) object {
	v := object{"external": d["external"] == true, "learning": d["learning"] != false, "df": "unset"}
	for member, name := range map[string]string{
		"vni": "id", "group": "group", "local": "local", "parent": "link", "port": "port", "ttl": "ttl", "df": "df",
		"ageing_s": "ageing", "max_entries": "limit", "udp_checksum": "udp_csum", "udp_zero_checksum6_tx": "udp_zero_csum6_tx",
		"udp_zero_checksum6_rx": "udp_zero_csum6_rx", "gbp": "gbp", "gpe": "gpe", "vni_filter": "vnifilter",
		"remcsum_tx": "remcsum_tx", "remcsum_rx": "remcsum_rx", "proxy": "proxy", "rsc": "rsc", "l2_miss": "l2miss", "l3_miss": "l3miss",
	} {
		set(v, member, d[name])
	}
	set(v, "group", d["remote"])
	set(v, "group", d["remote6"])
	set(v, "group", d["group6"])
	set(v, "local", d["local6"])
	if r, ok := d["port_range"].(object); ok && r["high"] != 0.0 {
		v["source_port_low"], v["source_port_high"] = r["low"], r["high"]
	}
	if tos, ok := d["tos"].(string); ok && tos != "inherit" {
		var n float64
		_, _ = fmt.Sscanf(tos, "0x%g", &n)
		v["tos"] = n
	}
	vxlanDefaults(v, d)
	return v
}

// vxlanDefaults are what ip does not print because it is the default.
func vxlanDefaults(v, d object) {
	if v["external"] == true {
		delete(v, "vni")
	}
	if d["ttl"] == nil { // printed in text only
		v["ttl_inherit"] = true
	}
	for member, def := range map[string]any{"ageing_s": 0.0, "max_entries": 0.0} {
		if v[member] == nil {
			v[member] = def
		}
	}
	for _, flag := range []string{"gbp", "gpe", "vni_filter", "proxy", "rsc", "l2_miss", "l3_miss"} {
		if v[flag] == false {
			delete(v, flag)
		}
	}
	if v["port"] == 0.0 {
		delete(v, "port")
	}
}

func macvlanOf(d object) object {
	m := object{"mode": d["mode"], "flags": []any{}}
	set(m, "broadcast_queue_length", d["bcqueuelen"])
	set(m, "broadcast_queue_length_used", d["usedbcqueuelen"])
	if d["nopromisc"] == true {
		m["flags"] = []any{"nopromisc"}
	}
	set(m, "source_macs", d["macaddr_data"])
	return m
}

func tunOf(d object) object {
	u := object{"type": d["type"], "persistent": d["persist"], "multi_queue": d["multi_queue"], "vnet_hdr": d["vnet_hdr"], "packet_info": d["pi"]}
	set(u, "num_queues", d["numqueues"])
	set(u, "num_disabled_queues", d["numdisabled"])
	set(u, "owner_uid", idOf(d["user"], func(name string) (string, error) {
		found, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return found.Uid, nil
	}))
	set(u, "owner_gid", idOf(d["group"], func(name string) (string, error) {
		found, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return found.Gid, nil
	}))
	return u
}

// idOf is the number of a user or group, which ip prints as a name where it has one.
func idOf(v any, lookup func(string) (string, error)) any {
	name, ok := v.(string)
	if !ok {
		return v
	}
	id, err := lookup(name)
	if err != nil {
		return err.Error()
	}
	var n float64
	_, _ = fmt.Sscan(id, &n)
	return n
}

// ourInterfaces is what net.interfaces says. Counters are compared by themselves.
func (h *host) ourInterfaces(t *testing.T) []object {
	t.Helper()
	return normalInterfaces(mustCall(t, h.net, "net.interfaces", object{}))
}

func normalInterfaces(result object) []object {
	list := objects(result["interfaces"])
	for _, o := range list {
		sortWords(o, "flags")
		delete(o, "counters")
		for _, name := range []string{"netns_immutable", "headroom", "tailroom"} { // this ip does not print them
			delete(o, name)
		}
		if vxlan, ok := o["vxlan"].(object); ok {
			for _, name := range []string{"local_bypass", "label_policy", "mc_route"} {
				delete(vxlan, name)
			}
		}
		if o["admin_up"] == false {
			delete(o, "carrier") // sysfs does not say
			delete(o, "speed_bps")
			delete(o, "duplex")
		}
		for _, a := range objects(o["addresses"]) {
			sortWords(a, "flags")
			markLifetimes(a, "preferred_s", "valid_s")
		}
	}
	return list
}

// filterInterfaces compares each filter's answer with what it should take out of the whole.
func (h *host) filterInterfaces(t *testing.T) {
	all := h.ourInterfaces(t)
	one := all[h.rng.IntN(len(all))]
	kind, _ := one["kind"].(string)
	tests := []struct {
		params object
		wants  func(object) bool
	}{
		{object{"name": one["name"]}, func(o object) bool { return o["name"] == one["name"] }},
		{object{"up": true}, func(o object) bool { return o["admin_up"] == true }},
		{object{"up": false}, func(o object) bool { return o["admin_up"] == false }},
		{object{"kind": "veth"}, func(o object) bool { return o["kind"] == "veth" }},
		{object{"kind": "nosuchkind"}, func(object) bool { return false }},
		{object{"master": h.links[0]}, func(o object) bool { return o["master"] == h.links[0] }},
		{object{"master": h.links[0], "kind": "veth", "up": true}, func(o object) bool {
			return o["master"] == h.links[0] && o["kind"] == "veth" && o["admin_up"] == true
		}},
		{object{"name": one["name"], "up": one["admin_up"]}, func(o object) bool { return o["name"] == one["name"] }},
		{object{"name": one["name"], "kind": "x" + kind}, func(object) bool { return false }},
	}
	h.compare(t, func(t *testing.T) []object {
		all, want := h.ourInterfaces(t), []object{}
		for _, test := range tests {
			want = append(want, object{"params": text(test.params)})
			want = append(want, filtered(all, test.wants)...)
		}
		return want
	}, func(t *testing.T) []object {
		got := []object{}
		for _, test := range tests {
			got = append(got, object{"params": text(test.params)})
			got = append(got, normalInterfaces(mustCall(t, h.net, "net.interfaces", test.params))...)
		}
		return got
	})
	limit := 1 + h.rng.IntN(len(all))
	if got := objects(mustCall(t, h.net, "net.interfaces", object{"limit": limit})["interfaces"]); len(got) != limit {
		t.Errorf("limit %d: %d interfaces", limit, len(got))
	}
	for _, name := range altNames(all) {
		got := objects(mustCall(t, h.net, "net.interfaces", object{"name": name})["interfaces"])
		if len(got) != 1 || !cmp.Equal(got[0]["alt_names"].([]any)[1], any(name)) {
			t.Errorf("by its other name %s: %v", name, got)
		}
	}
}

// altNames are alternative names that are short enough to be asked for.
func altNames(list []object) (names []string) {
	for _, o := range list {
		if alt, ok := o["alt_names"].([]any); ok && len(alt) == 2 && len(alt[1].(string)) <= 15 {
			names = append(names, alt[1].(string))
		}
	}
	return names
}

// compareCounters: each counter lies between what sysfs said before and after.
func (h *host) compareCounters(t *testing.T) {
	before := h.sysfs(t)
	list := objects(mustCall(t, h.net, "net.interfaces", object{})["interfaces"])
	after := h.sysfs(t)
	for _, o := range list {
		counters := o["counters"].(object)
		if len(counters) < 24 {
			t.Errorf("%v: only %d counters", o["name"], len(counters))
		}
		for name, v := range counters {
			path := text(o["name"]) + "/statistics/" + name
			if _, ok := before[path]; !ok && name == "rx_otherhost_dropped" {
				continue // sysfs does not have it
			}
			if got := v.(float64); got < numberOf(t, before[path]) || got > numberOf(t, after[path]) {
				t.Errorf("%s: %v, sysfs says %s, then %s", path, got, before[path], after[path])
			}
		}
	}
}
