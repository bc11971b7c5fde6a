package netops

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// TestNeighborWitness compares net.neighbors with what ip says of hosts made at random.
func TestNeighborWitness(t *testing.T) {
	testhost.Root(t)
	seed := testhost.Seed(t)
	compared := map[any]int{}
	for round := range testhost.Rounds(usualRounds) {
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			h := newHost(t, seed, uint64(round))
			h.buildLinks()
			h.buildAddresses()
			h.buildNeighbors()
			h.compare(t, h.neighbors, h.ourNeighbors)
			t.Run("filtered", h.filterNeighbors)
			for _, o := range h.neighbors(t) {
				compared[o["state"]]++
			}
		})
	}
	for _, state := range []any{nil, "none", "noarp", "permanent", "stale", "failed", "incomplete"} {
		if compared[state] == 0 {
			t.Errorf("no neighbour in state %v was compared", state)
		}
	}
}

// buildNeighbors makes entries of every state and proxy entries. Those of IPv6 that are looked for
// multicast, which makes more.
func (h *host) buildNeighbors() {
	for i := range 20 + h.rng.IntN(40) {
		address := fmt.Sprintf("10.77.%d.%d", i/200, 1+i%200)
		if h.rng.IntN(2) == 0 {
			address = fmt.Sprintf("2001:db8:77::%x", 1+i)
		}
		if h.rng.IntN(5) == 0 {
			h.try(fmt.Sprintf("neigh add proxy %s dev %s %s %s", address, h.link(), h.maybe(3, "router"), h.maybe(3, "proto "+h.neighborProtocol())))
			continue
		}
		h.try(fmt.Sprintf("neigh add %s dev %s %s nud %s %s %s", address, h.link(),
			h.oneOf("lladdr 52:54:00:00:00:01", fmt.Sprintf("lladdr 52:54:00:00:01:%02x", i), ""),
			h.oneOf("permanent", "noarp", "reachable", "stale", "delay", "probe", "failed", "incomplete", "none"),
			h.oneOf("router", "extern_learn", "managed", "", "", ""), h.maybe(3, "proto "+h.neighborProtocol())))
	}
}

func (h *host) neighborProtocol() string { return h.oneOf("static", "bird", "zebra", "77", "109") }

// neighbors is what ip says of every entry, in the words of net.neighbors, sorted: the order of a dump
// is that of a hash table.
func (h *host) neighbors(t *testing.T) []object {
	t.Helper()
	index := h.indexes(t)
	var list []object
	for _, family := range []string{"-4", "-6"} {
		for _, n := range decode[[]object](t, h.Witness("-d", "-s", family, "neigh", "show", "nud", "all")) {
			list = append(list, neighborOf(n, family, index))
		}
		for _, n := range decode[[]object](t, h.Witness("-d", "-s", family, "neigh", "show", "proxy")) {
			list = append(list, neighborOf(n, family, index))
		}
	}
	return by(list, neighborKey)
}

func neighborKey(o object) string {
	return fmt.Sprint(o["family"], o["interface"], o["address"], o["flags"])
}

// neighborFlagNames are ip's names of flags, which it prints as members, by those of net.neighbors.
var neighborFlagNames = map[string]string{"ext_learned": "extern_learn", "managed": "managed", "offloaded": "offload",
	"proxy": "proxy", "router": "router"}

func neighborOf(n object, family string, index map[string]any) object {
	o := object{"address": n["dst"], "interface": n["dev"], "interface_index": index[n["dev"].(string)], "managed": n["protocol"] == "109"}
	o["family"] = map[string]string{"-4": "ipv4", "-6": "ipv6"}[family]
	var flags []string
	for ours, theirs := range neighborFlagNames {
		if _, ok := n[theirs]; ok {
			flags = append(flags, ours)
		}
	}
	o["flags"] = sorted(flags...)
	if !slices.Contains(flags, "proxy") {
		o["state"] = "none"
		if states, ok := n["state"].([]any); ok {
			o["state"] = lower(states[0])
		}
		for _, name := range []string{"used", "confirmed", "updated"} {
			set(o, name+"_s", n[name])
		}
		o["refcount"] = 0.0
		set(o, "refcount", n["refcnt"])
		set(o, "probes", n["probes"])
	}
	if mac, ok := n["lladdr"].(string); ok && strings.Count(mac, ":") == 5 {
		o["mac"] = mac
	}
	set(o, "protocol", n["protocol"])
	if o["managed"] == true {
		o["protocol"] = "my_os_server"
	}
	return markNeighbor(o)
}

// markNeighbor makes comparable what changes by itself. ip cuts its times to whole seconds.
func markNeighbor(o object) object { return markLifetimes(o, "used_s", "confirmed_s", "updated_s") }

func (h *host) ourNeighbors(t *testing.T) []object {
	t.Helper()
	return by(h.askNeighbors(t, object{}), neighborKey)
}

func (h *host) askNeighbors(t *testing.T, params object) []object {
	t.Helper()
	list := objects(mustCall(t, h.net, "net.neighbors", params)["neighbors"])
	for _, o := range list {
		sortWords(o, "flags")
		delete(o, "link_address") // ip writes that of a tunnel as an IP address
		markNeighbor(o)
	}
	return list
}

// filterNeighbors compares each filter's answer with what it should take out of the whole.
func (h *host) filterNeighbors(t *testing.T) {
	all := h.neighbors(t)
	link := all[h.rng.IntN(len(all))]["interface"]
	tests := []struct {
		params object
		wants  func(object) bool
	}{
		{object{"family": "ipv4"}, func(o object) bool { return o["family"] == "ipv4" }},
		{object{"family": "ipv6"}, func(o object) bool { return o["family"] == "ipv6" }},
		{object{"interface": link}, func(o object) bool { return o["interface"] == link }},
		{object{"interface": link, "family": "ipv4"}, func(o object) bool { return o["interface"] == link && o["family"] == "ipv4" }},
		{object{"state": "permanent"}, func(o object) bool { return o["state"] == "permanent" }},
		{object{"state": "none"}, func(o object) bool { return o["state"] == "none" }},
		{object{"state": "failed", "family": "ipv6", "interface": link}, func(o object) bool {
			return o["state"] == "failed" && o["family"] == "ipv6" && o["interface"] == link
		}},
	}
	h.compare(t, func(t *testing.T) []object {
		all, want := h.neighbors(t), []object{}
		for _, test := range tests {
			want = append(append(want, object{"params": text(test.params)}), filtered(all, test.wants)...)
		}
		return want
	}, func(t *testing.T) []object {
		got := []object{}
		for _, test := range tests {
			got = append(append(got, object{"params": text(test.params)}), by(h.askNeighbors(t, test.params), neighborKey)...)
		}
		return got
	})
	if got := len(h.askNeighbors(t, object{"limit": 2})); got != min(2, len(all)) {
		t.Errorf("limit 2: %d neighbours of %d", got, len(all))
	}
}

func TestNeighborsOfNoInterface(t *testing.T) {
	n := newNet(t, testhost.NewNetNS(t))
	_, err := call(t, n, "net.neighbors", object{"interface": "nobody"})
	var notFound *registry.NotFoundError
	if !errors.As(err, &notFound) || notFound.Resource != "interface" {
		t.Errorf("%v, want not_found", err)
	}
}

// TestNeighborOrder: IPv4 before IPv6, and proxy entries behind the others of their family.
func TestNeighborOrder(t *testing.T) {
	testhost.Root(t)
	ns := testhost.NewNetNS(t)
	ns.FillLinks(2)
	ns.IP("neigh add 2001:db8::1 lladdr 52:54:00:00:00:01 dev p1", "neigh add proxy 2001:db8::2 dev p1",
		"neigh add proxy 10.0.0.2 dev p1", "neigh add 10.0.0.1 lladdr 52:54:00:00:00:01 dev p1")
	var got []string
	for _, o := range objects(mustCall(t, newNet(t, ns), "net.neighbors", object{"interface": "p1"})["neighbors"]) {
		if address := o["address"].(string); !strings.HasPrefix(address, "ff02:") {
			got = append(got, address)
		}
	}
	if want := []string{"10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
