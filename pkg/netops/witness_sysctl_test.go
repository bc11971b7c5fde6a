package netops

import (
	"strings"
	"testing"
)

// compareSysctl looks up every value of net.sysctl in what sysctl -a prints.
func (h *host) compareSysctl(t *testing.T) {
	result := mustCall(t, h.net, "net.sysctl", object{})
	witness := h.sysctl(t)
	checked := 0
	check := func(key string, got any) {
		t.Helper()
		checked++
		if want, ok := witness[key]; !ok || numberOf(t, want) != got {
			t.Errorf("%s: %v, sysctl says %q", key, got, want)
		}
	}
	conf := func(name string, o object) {
		for _, family := range []string{"ipv4", "ipv6"} {
			values, _ := o[family].(object)
			for member, v := range values {
				check("net."+family+".conf."+name+"."+member, v)
			}
		}
	}
	conf("all", result["all"].(object))
	conf("default", result["default"].(object))
	rows := objects(result["interfaces"])
	if want := len(h.indexes(t)); len(rows) != want {
		t.Errorf("%d interfaces, ip has %d", len(rows), want)
	}
	for _, row := range rows {
		conf(strings.ReplaceAll(row["interface"].(string), ".", "/"), row)
	}
	for group, key := range map[string]func(string) string{
		"ipv4":      func(m string) string { return "net.ipv4." + strings.ReplaceAll(ipv4File(m), "/", ".") },
		"ipv6":      func(m string) string { return "net.ipv6." + strings.ReplaceAll(ipv6File(m), "/", ".") },
		"bridge":    func(m string) string { return "net.bridge." + bridgeFile(m) },
		"conntrack": func(m string) string { return "net.netfilter." + conntrackFile(m) },
	} {
		values, _ := result[group].(object)
		for member, v := range values {
			switch {
			case member == "timeouts_s":
				for name, seconds := range v.(object) {
					check("net.netfilter.nf_conntrack_"+name, seconds)
				}
			case strings.HasPrefix(member, "ip_local_port_"):
				ports := strings.Fields(witness["net.ipv4.ip_local_port_range"])
				if want := ports[map[string]int{"ip_local_port_first": 0, "ip_local_port_last": 1}[member]]; numberOf(t, want) != v {
					t.Errorf("%s: %v, sysctl says %v", member, v, ports)
				}
			default:
				check(key(member), v)
			}
		}
	}
	if checked < 100*len(rows) {
		t.Errorf("only %d values for %d interfaces", checked, len(rows))
	}
	h.oneSysctl(t, rows)
}

// oneSysctl asks for one interface alone.
func (h *host) oneSysctl(t *testing.T, rows []object) {
	one := rows[h.rng.IntN(len(rows))]["interface"]
	list := objects(mustCall(t, h.net, "net.sysctl", object{"interface": one})["interfaces"])
	if len(list) != 1 || list[0]["interface"] != one {
		t.Errorf("interface %v: %v", one, list)
	}
}

func (h *host) sysctl(t *testing.T) map[string]string {
	t.Helper()
	out, _ := h.Try("", "sysctl", "-a", "--pattern", `^net\.`)
	values := map[string]string{}
	for line := range strings.Lines(out) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " = "); ok {
			values[name] = value
		}
	}
	return values
}
