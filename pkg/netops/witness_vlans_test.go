package netops

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// settle asks until the answer is what is wanted, for as long as a host may take to come to rest.
func (h *host) settle(t *testing.T, ask func(*testing.T) []object, want []object) (got []object) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if got = ask(t); cmp.Equal(got, want) || time.Now().After(deadline) {
			return got
		}
	}
}

// bridgeVLAN runs bridge(8) for VLANs; a kernel without VLAN filtering has none to print.
func (h *host) bridgeVLAN(t *testing.T, args ...string) []object {
	t.Helper()
	out, err := h.Try("", "bridge", append([]string{"-j"}, args...)...)
	if err != nil && strings.Contains(err.Error(), "Operation not supported") {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return decode[[]object](t, []byte(out))
}

// vlanRanges is what bridge says of the VLANs of bridges and ports, by interface; nil where the kernel
// has no VLAN filtering.
func (h *host) vlanRanges(t *testing.T, args ...string) map[any][]any {
	t.Helper()
	list := h.bridgeVLAN(t, append(args, "-d", "vlan")...)
	if list == nil {
		return nil
	}
	tunnels := map[any]map[any]any{}
	for _, i := range h.bridgeVLAN(t, "vlan", "tunnelshow") {
		tunnels[i["ifname"]] = map[any]any{}
		for _, r := range objects(i["tunnels"]) {
			tunnels[i["ifname"]][r["vlan"]] = r["tunid"]
		}
	}
	ranges := map[any][]any{}
	for _, i := range list {
		for _, v := range objects(i["vlans"]) {
			r := object{"vlan": v["vlan"], "pvid": false, "untagged": false, "state": v["state"]}
			set(r, "vlan_end", v["vlanEnd"])
			set(r, "tunnel_id", tunnels[i["ifname"]][v["vlan"]])
			for _, name := range []string{"mcast_router", "mcast_groups", "mcast_max_groups", "neigh_suppress", "rx_bytes", "rx_packets", "tx_bytes", "tx_packets"} {
				set(r, name, v[name])
			}
			flags, _ := v["flags"].([]any)
			for _, f := range flags {
				r[map[any]string{"PVID": "pvid", "Egress Untagged": "untagged"}[f]] = true
			}
			ranges[i["ifname"]] = append(ranges[i["ifname"]], r)
		}
	}
	return ranges
}

// giveVLANs puts the VLANs of an interface into what is said of it.
func (h *host) giveVLANs(o object, ranges map[any][]any, name any) {
	if ranges == nil {
		return
	}
	o["vlans"] = append([]any{}, ranges[name]...)
	for _, r := range objects(o["vlans"]) {
		if r["pvid"] == true {
			o["pvid"] = r["vlan"]
		}
	}
}

// vlansOf is what ip and bridge say of VLANs, in the words of net.vlan: its answer as one object.
func (h *host) vlansOf(t *testing.T) []object {
	t.Helper()
	links, index := decode[[]object](t, h.Witness("-d", "link", "show")), h.indexes(t)
	ranges, globals := h.vlanRanges(t), h.globalVLANs(t)
	ports := map[any][]any{}
	for _, l := range links {
		if info, _ := l["linkinfo"].(object); info["info_slave_kind"] == "bridge" {
			p := object{"interface": l["ifname"], "vlans": []any{}}
			h.giveVLANs(p, ranges, l["ifname"])
			ports[l["master"]] = append(ports[l["master"]], p)
		}
	}
	bridges, interfaces := []any{}, []any{}
	for _, l := range links {
		info, _ := l["linkinfo"].(object)
		d, _ := info["info_data"].(object)
		switch info["info_kind"] {
		case "bridge":
			b := object{"bridge": l["ifname"], "backend": "linux", "filtering": d["vlan_filtering"] == 1.0, "ports": append([]any{}, ports[l["ifname"]]...)}
			set(b, "protocol", d["vlan_protocol"])
			set(b, "default_pvid", d["vlan_default_pvid"])
			h.giveVLANs(b, ranges, l["ifname"])
			if list := globals[l["ifname"]]; list != nil {
				b["global"] = list
			}
			bridges = append(bridges, b)
		case "vlan":
			o := vlanOf(d)
			o["vlan_id"], o["interface"], o["index"], o["managed"] = o["id"], l["ifname"], l["ifindex"], false
			delete(o, "id")
			sortWords(o, "flags")
			h.relationsOf(o, l, index)
			h.flagsOf(l, l)
			o["admin_up"] = l["admin_up"]
			interfaces = append(interfaces, o)
		}
	}
	return []object{{"bridges": bridges, "interfaces": interfaces}}
}

// globalVLANs is what bridge says of the options that bridges keep by VLAN.
func (h *host) globalVLANs(t *testing.T) map[any][]any {
	t.Helper()
	globals := map[any][]any{}
	for _, i := range h.bridgeVLAN(t, "-d", "vlan", "global") {
		for _, v := range objects(i["vlans"]) {
			g := object{"vlan": v["vlan"], "mcast_snooping": v["mcast_snooping"] == 1.0, "mcast_querier": v["mcast_querier"] == 1.0}
			set(g, "vlan_end", v["vlanEnd"])
			set(g, "msti", v["msti"])
			for _, name := range []string{"mcast_igmp_version", "mcast_mld_version", "mcast_last_member_count", "mcast_startup_query_count"} {
				g[name] = v[name]
			}
			for _, name := range []string{"last_member", "membership", "querier", "query", "query_response", "startup_query"} {
				g["mcast_"+name+"_interval_s"] = v["mcast_"+name+"_interval"].(float64) / 100
			}
			globals[i["ifname"]] = append(globals[i["ifname"]], g)
		}
	}
	return globals
}

// ourVLANs is what net.vlan says.
func (h *host) ourVLANs(t *testing.T) []object {
	t.Helper()
	return []object{normalVLANs(mustCall(t, h.net, "net.vlan", object{}))}
}

// normalVLANs leaves out what older versions of bridge do not print.
func normalVLANs(o object) object {
	for _, v := range objects(o["interfaces"]) {
		sortWords(v, "flags")
	}
	for _, b := range objects(o["bridges"]) {
		for _, g := range objects(b["global"]) {
			for name := range g {
				if strings.HasPrefix(name, "mcast_querier_ipv") || name == "msti" && g[name] == 0.0 {
					delete(g, name)
				}
			}
		}
	}
	return o
}

// vlansByBridge: asked for one bridge, the answer is what concerns it in the whole.
func (h *host) vlansByBridge(t *testing.T) {
	h.compare(t, func(t *testing.T) []object {
		var want []object
		all := h.ourVLANs(t)[0]
		for _, b := range objects(all["bridges"]) {
			concerned := map[any]bool{b["bridge"]: true}
			for _, p := range objects(b["ports"]) {
				concerned[p["interface"]] = true
			}
			interfaces := []any{}
			for _, v := range objects(all["interfaces"]) {
				if concerned[v["parent"]] {
					interfaces = append(interfaces, v)
				}
			}
			want = append(want, object{"bridges": []any{b}, "interfaces": interfaces})
		}
		return want
	}, func(t *testing.T) []object {
		var got []object
		for _, b := range objects(h.ourVLANs(t)[0]["bridges"]) {
			got = append(got, normalVLANs(mustCall(t, h.net, "net.vlan", object{"bridge": b["bridge"]})))
		}
		return got
	})
}
