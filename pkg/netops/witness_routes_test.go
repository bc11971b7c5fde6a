package netops

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// routes is what ip says of every route, the table local's too, in the words of net.routes: sorted,
// since IPv6 tables are walked in another order by a dump of one table and one of all.
func (h *host) routes(t *testing.T) []object {
	t.Helper()
	index := h.indexes(t)
	var list []object
	for _, family := range []string{"-4", "-6"} {
		locked := h.lockedOf(t, family)
		for _, r := range routeObjects(t, h.Witness("-d", family, "route", "show", "table", "all")) {
			list = append(list, routeOf(t, r, family, index, locked))
		}
	}
	return by(list, routeKey)
}

func routeKey(o object) string {
	return fmt.Sprint(o["family"], o["table"], o["dst"], o["metric"], o["tos"], o["interface"], o["source"], o["type"], o["gateway"])
}

// routeObjects decodes ip's list. Of a route with an encapsulation ip writes members of that one among
// the route's, so that a name may stand twice: the route's own comes first.
func routeObjects(t *testing.T, text []byte) []object {
	t.Helper()
	parts := strings.Split(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(string(text)), "["), "]"), `{"type":`)
	var list []object
	for _, part := range parts[1:] {
		part = `{"type":` + strings.TrimSuffix(part, ",")
		head, tail, encap := strings.Cut(part, `,"encap":`)
		r := object{}
		if encap {
			kind, rest, _ := strings.Cut(tail, ",")
			_, own, found := strings.Cut(rest, `"dev":`)
			if !found {
				t.Fatalf("an encapsulation without a device: %s", part)
			}
			part = head + `,"encap":` + kind + `,"dev":` + own
			// The encapsulation's own TOS is a number.
			if _, tos, ok := strings.Cut(rest, `"tos":"`); ok {
				r["tos"] = tos[:strings.IndexByte(tos, '"')]
			}
		}
		for name, v := range decode[object](t, []byte(part)) {
			r[name] = v
		}
		list = append(list, r)
	}
	return list
}

// lockedOf finds which metrics are locked, which ip tells in text alone.
func (h *host) lockedOf(t *testing.T, family string) map[string][]string {
	t.Helper()
	locked := map[string][]string{}
	for line := range strings.Lines(h.Run("ip", "-d", "-o", family, "route", "show", "table", "all")) {
		words := strings.Fields(line)
		for i, word := range words {
			if word == "lock" {
				name := words[i-1]
				if name == "rto_min" {
					name += "_s"
				}
				locked[words[1]] = append(locked[words[1]], name)
			}
		}
	}
	return locked
}

var tables = map[any]float64{nil: 254, "main": 254, "local": 255, "default": 253}

func routeOf(t *testing.T, r object, family string, index map[string]any, locked map[string][]string) object {
	o := object{"type": r["type"], "protocol": r["protocol"], "scope": r["scope"], "managed": false} // registered by none
	if r["protocol"] == "109" {
		o["protocol"] = "my_os_server"
	}
	o["family"] = map[string]string{"-4": "ipv4", "-6": "ipv6"}[family]
	o["dst"] = prefixOf(r["dst"].(string), family)
	table, known := tables[r["table"]]
	if !known {
		table = numberOf(t, r["table"].(string))
	}
	o["table"] = table
	set(o, "metric", r["metric"])
	set(o, "preferred_source", r["prefsrc"])
	set(o, "nexthop_id", r["nhid"])
	set(o, "preference", r["pref"])
	set(o, "expires_s", r["expires"])
	if tos, ok := r["tos"].(string); ok {
		v, err := strconv.ParseUint(tos, 0, 8)
		if err != nil {
			t.Fatal(err)
		}
		o["tos"] = float64(v)
	}
	if from, ok := r["from"].(string); ok {
		o["source"] = prefixOf(from, family)
	}
	wayOf(o, r, index)
	if hops := objects(r["nexthops"]); len(hops) > 0 {
		o["nexthops"] = nextHopsOf(hops, index)
	}
	if m := objects(r["metrics"]); len(m) > 0 {
		o["metrics"] = metricsOf(m[0], locked[r["dst"].(string)])
	}
	return markLifetimes(o, "expires_s")
}

// prefixOf writes out the length that ip leaves out for hosts and for the default route.
func prefixOf(s, family string) string {
	switch {
	case s == "default" && family == "-4":
		return "0.0.0.0/0"
	case s == "default":
		return "::/0"
	case strings.Contains(s, "/"):
		return s
	case family == "-4":
		return s + "/32"
	}
	return s + "/128"
}

// wayOf is what a route and a next hop have in common.
func wayOf(o, r object, index map[string]any) {
	set(o, "gateway", r["gateway"])
	if via, ok := r["via"].(object); ok {
		o["gateway"] = via["host"]
	}
	if dev, ok := r["dev"].(string); ok {
		o["interface"], o["interface_index"] = dev, index[dev]
	}
	if flags, ok := r["flags"].([]any); ok && len(flags) > 0 {
		o["flags"] = flags
		sortWords(o, "flags")
	}
	if encap, ok := r["encap"].(string); ok {
		o["encap"] = object{"type": encap}
	}
	if flow, ok := r["flow"].(object); ok {
		for member, name := range map[string]string{"realm": "to", "realm_from": "from"} {
			if s, ok := flow[name].(string); ok {
				v, _ := strconv.ParseFloat(s, 64)
				o[member] = v
			}
		}
	}
}

func nextHopsOf(hops []object, index map[string]any) []any {
	var list []any
	for _, hop := range hops {
		o := object{"weight": hop["weight"]}
		wayOf(o, hop, index)
		list = append(list, o)
	}
	return list
}

func metricsOf(m object, locked []string) object {
	o := object{}
	for name, v := range m {
		switch name {
		case "rtt", "rttvar", "rto_min":
			o[name+"_s"] = v.(float64) / 1000
		case "ecn":
			o["features"] = []any{"ecn"}
		case "quickack", "fastopen_no_cookie":
			o[name] = v == 1.0
		case "congestion":
			o["congctl"] = v
		default:
			o[name] = v
		}
	}
	if len(locked) > 0 {
		o["locked"] = sorted(locked...)
	}
	return o
}

// ourRoutes is what net.routes says, with the table local asked for by itself.
func (h *host) ourRoutes(t *testing.T) []object {
	t.Helper()
	var list []object
	for _, params := range []object{{}, {"table": 255}} {
		list = append(list, normalRoutes(mustCall(t, h.net, "net.routes", params))...)
	}
	return by(list, routeKey)
}

func normalRoutes(result object) []object {
	list := objects(result["routes"])
	for _, r := range list {
		normalRoute(r)
	}
	return list
}

// normalRoute sorts what is a set, and looks into encapsulations, which ip and the table write
// differently.
func normalRoute(r object) object {
	if m, ok := r["metrics"].(object); ok {
		sortWords(m, "locked")
	}
	for _, way := range append(objects(r["nexthops"]), r) {
		sortWords(way, "flags")
		if encap, ok := way["encap"].(object); ok {
			delete(encap, "raw")
		}
	}
	return markLifetimes(r, "expires_s")
}

// filterRoutes compares each filter's answer with what it should take out of the whole.
func (h *host) filterRoutes(t *testing.T) {
	all := h.routes(t)
	one := all[h.rng.IntN(len(all))]
	notLocal := func(r object) bool { return r["table"] != 255.0 }
	tests := []struct {
		params object
		wants  func(object) bool
	}{
		{object{"family": "ipv4"}, func(r object) bool { return r["family"] == "ipv4" && notLocal(r) }},
		{object{"family": "ipv6"}, func(r object) bool { return r["family"] == "ipv6" && notLocal(r) }},
		{object{"table": one["table"]}, func(r object) bool { return r["table"] == one["table"] }},
		{object{"table": 54321}, func(object) bool { return false }},
		{object{"table": 0}, func(object) bool { return false }},
		{object{"protocol": one["protocol"]}, func(r object) bool { return r["protocol"] == one["protocol"] && notLocal(r) }},
		{object{"dst": one["dst"]}, func(r object) bool { return r["dst"] == one["dst"] && notLocal(r) }},
		{object{"dst": one["dst"], "table": one["table"]}, func(r object) bool { return r["dst"] == one["dst"] && r["table"] == one["table"] }},
		{object{"dst": "0.0.0.0/0", "family": "ipv6"}, func(object) bool { return false }},
		{object{"interface": h.links[0]}, func(r object) bool { return leavesBy(r, h.links[0]) && notLocal(r) }},
		{object{"interface": h.links[0], "family": "ipv4", "table": 254, "protocol": "kernel"}, func(r object) bool {
			return leavesBy(r, h.links[0]) && r["family"] == "ipv4" && r["table"] == 254.0 && r["protocol"] == "kernel"
		}},
		{object{"tag": "mine"}, func(object) bool { return false }},
	}
	h.compare(t, func(t *testing.T) []object {
		all, want := h.routes(t), []object{}
		for _, test := range tests {
			want = append(want, object{"params": text(test.params)})
			want = append(want, filtered(all, test.wants)...)
		}
		return want
	}, func(t *testing.T) []object {
		got := []object{}
		for _, test := range tests {
			got = append(got, object{"params": text(test.params)})
			got = append(got, by(normalRoutes(mustCall(t, h.net, "net.routes", test.params)), routeKey)...)
		}
		return got
	})
	limit := min(2, len(filtered(all, notLocal)))
	if got := objects(mustCall(t, h.net, "net.routes", object{"limit": 2})["routes"]); len(got) != limit {
		t.Errorf("limit 2: %d routes, want %d", len(got), limit)
	}
}

func leavesBy(r object, name string) bool {
	if r["interface"] == name {
		return true
	}
	hops, _ := r["nexthops"].([]any)
	return slices.ContainsFunc(hops, func(hop any) bool { return hop.(object)["interface"] == name })
}
