package netops

import (
	"fmt"
	"strings"
	"testing"
)

// addressFlagNames are the members by which ip tells an address' flags.
var addressFlagNames = map[string]string{
	"secondary": "secondary", "temporary": "temporary", "tentative": "tentative", "deprecated": "deprecated",
	"dadfailed": "dadfailed", "noprefixroute": "noprefixroute", "nodad": "nodad", "home": "homeaddress",
	"mngtmpaddr": "managetempaddr", "optimistic": "optimistic", "autojoin": "mcautojoin", "stable-privacy": "stable_privacy",
}

// addressesOf is what ip says of an interface's addresses, in the words of net.interfaces.
func (h *host) addressesOf(list []object) []any {
	out := []any{}
	for _, a := range list {
		out = append(out, h.addressOf(a))
	}
	return out
}

func (h *host) addressOf(a object) object {
	local := a["local"].(string)
	o := object{
		"address": fmt.Sprintf("%s/%v", local, a["prefixlen"]),
		"family":  map[any]string{"inet": "ipv4", "inet6": "ipv6"}[a["family"]],
		"scope":   a["scope"],
	}
	if peer, ok := a["address"].(string); ok {
		o["peer"] = fmt.Sprintf("%s/%v", peer, a["prefixlen"])
		o["address"] = local + map[string]string{"ipv4": "/32", "ipv6": "/128"}[o["family"].(string)]
	}
	set(o, "broadcast", a["broadcast"])
	set(o, "label", a["label"])
	set(o, "metric", a["metric"])
	for member, name := range map[string]string{"preferred_s": "preferred_life_time", "valid_s": "valid_life_time"} {
		if a[name] != 4294967295.0 {
			o[member] = a[name]
		}
	}
	flags := []string{}
	if a["dynamic"] != true {
		flags = append(flags, "permanent")
	}
	for name, flag := range addressFlagNames {
		if a[name] == true {
			flags = append(flags, flag)
		}
	}
	o["flags"] = sorted(flags...)
	h.protocolOf(o, local)
	return markLifetimes(o, "preferred_s", "valid_s")
}

// protocolOf: this ip does not print IFA_PROTO, but which addresses the kernel makes is known.
func (h *host) protocolOf(o object, local string) {
	switch {
	case local == "::1":
		o["protocol"] = "kernel_lo"
	case strings.HasPrefix(local, "fe80:") && !h.added[local]:
		o["protocol"] = "kernel_ll"
	}
}

// status is what ip says of addresses and default routes, in the words of net.status.
func (h *host) status(t *testing.T) []object {
	t.Helper()
	addresses := [2][]any{{}, {}}
	for _, l := range decode[[]object](t, h.Witness("-d", "addr", "show")) {
		flags := text(l["flags"])
		if !strings.Contains(flags, "UP ") && !strings.HasSuffix(flags, "UP]") || strings.Contains(flags, "LOOPBACK") {
			continue
		}
		for _, a := range objects(l["addr_info"]) {
			o := h.addressOf(a)
			family := 0
			if o["family"] == "ipv6" {
				family = 1
			}
			addresses[family] = append(addresses[family], object{"interface": l["ifname"], "address": o["address"], "family": o["family"], "scope": o["scope"]})
		}
	}
	var routes []object
	for _, r := range h.routes(t) {
		if (r["dst"] == "0.0.0.0/0" || r["dst"] == "::/0") && r["table"] == 254.0 {
			routes = append(routes, r)
		}
	}
	by(routes, byMetric)
	return []object{{"addresses": append(addresses[0], addresses[1]...), "default_routes": routes}}
}

// byMetric sorts by metric; a route without one has 0.
func byMetric(o object) string {
	metric, _ := o["metric"].(float64)
	return fmt.Sprintf("%020.0f", metric)
}

func (h *host) ourStatus(t *testing.T) []object {
	t.Helper()
	s := mustCall(t, h.net, "net.status", object{})
	addresses, _ := s["addresses"].([]any)
	var routes []object
	for _, r := range objects(s["default_routes"]) {
		routes = append(routes, normalRoute(r))
	}
	return []object{{"addresses": addresses, "default_routes": routes}}
}
