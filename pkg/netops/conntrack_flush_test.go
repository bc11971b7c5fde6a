package netops

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// flushFilters are params of which each alone wants some of what talk leaves, in words that net.conntrack
// takes too.
func flushFilters() []object {
	list := []object{
		{"zone": 5}, {"zone": 6}, {"zone": 7}, {"zone": 9}, {"zone": 0}, {"family": "ipv4"}, {"family": "ipv6"},
		{"protocol": "udp"}, {"protocol": "tcp"}, {"protocol": "icmp"}, {"protocol": "47"}, {"state": "established"}, {"state": "syn_sent"},
		{"source": "127.0.0.1/32"}, {"source": "::1/128"}, {"source": "127.0.0.0/8"}, {"destination": "::/0"}, {"destination": "127.0.0.0/24"},
		{"mark": "1234abcd"}, {"mark": "7"}, {"mark": "cd", "mark_mask": "ff"}, {"mark": "0"},
	}
	return append(list, object{"zone": 5, "protocol": "udp", "family": "ipv6"}, object{"zone": 0, "state": "established", "source": "127.0.0.1/32"})
}

// ids are the numbers of the entries that conntrack(8) lists.
func (w *flushed) ids() []string {
	w.t.Helper()
	lines, _ := conntrackLines(w.t, w.ns)
	var ids []string
	for id := range lines {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

type flushed struct {
	t  *testing.T
	ns *testhost.NetNS
}

// TestConntrackFlushRemovesExactlyThose: of random flows, what a filter shows is what the same filter
// deletes, and nothing else; conntrack(8) is the witness.
func TestConntrackFlushRemovesExactlyThose(t *testing.T) {
	seed := testhost.Seed(t)
	rng := rand.New(rand.NewPCG(seed, 1))
	ns, n := trackedHost(t)
	w := &flushed{t, ns}
	filters := flushFilters()
	counted := map[string]int{}
	for round := range testhost.Rounds(40) {
		talk(t, ns, rng, 30)
		params := filters[(round+int(seed%1000))%len(filters)]
		before := w.ids()
		var wanted []string
		for _, e := range entriesOf(t, n, jsonOf(t, params)) {
			id, err := strconv.ParseUint(e.ID.Or(""), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			wanted = append(wanted, fmt.Sprint("id=", id))
		}
		got := mustCall(t, n, "net.conntrack.flush", params)["flushed"]
		if got != float64(len(wanted)) {
			t.Fatalf("round %d: %v flushed %v of %d", round, params, got, len(wanted))
		}
		expected := slices.DeleteFunc(before, func(id string) bool { return slices.Contains(wanted, id) })
		if after := w.ids(); !slices.Equal(after, expected) {
			t.Fatalf("round %d: %v left %v, want %v", round, params, after, expected)
		}
		counted[jsonOf(t, params)] += len(wanted)
	}
	t.Log(counted)
	before := len(w.ids())
	if got := mustCall(t, n, "net.conntrack.flush", object{"all": true})["flushed"]; got != float64(before) || len(w.ids()) != 0 {
		t.Errorf("all: flushed %v of %d, left %v", got, before, w.ids())
	}
	if got := mustCall(t, n, "net.conntrack.flush", object{"all": true})["flushed"]; got != 0.0 {
		t.Errorf("of nothing: %v", got)
	}
}

func TestConntrackFlushRefuses(t *testing.T) {
	ns, n := trackedHost(t)
	talk(t, ns, rand.New(rand.NewPCG(1, 1)), 20)
	w := &flushed{t, ns}
	before := w.ids()
	for _, test := range []struct {
		params object
		want   string
	}{
		{object{}, "all"},
		{object{"all": false}, "all"},
		{object{"all": true, "zone": 5}, "no filter"},
		{object{"zone": 65536}, "zone"},
		{object{"protocol": "nonesuch"}, "protocol"},
		{object{"mark_mask": "ff"}, "mark_mask"},
		{object{"mark": "1234567890"}, "mark"},
		{object{"source": "127.0.0.1/8"}, "source"},
		{object{"source": "::ffff:1.2.3.4/128"}, "source"},
		{object{"family": "ipx"}, "family"},
	} {
		_, err := call(t, n, "net.conntrack.flush", test.params)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v", test.params, err)
		}
		if _, ok := err.(*registry.ParamsError); !ok {
			t.Errorf("%v: %T", test.params, err)
		}
	}
	if after := w.ids(); !slices.Equal(before, after) {
		t.Errorf("something was deleted: %v, then %v", before, after)
	}
}

func jsonOf(t testing.TB, params object) string {
	t.Helper()
	text, err := json.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
