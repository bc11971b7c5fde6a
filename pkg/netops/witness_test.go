package netops

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
)

// usualRounds random hosts are made where nothing else is said; see testhost.Rounds.
const usualRounds = 12

// TestWitnesses compares what the methods say of hosts made at random with what ip, sysctl and sysfs
// say, member by member.
func TestWitnesses(t *testing.T) {
	testhost.Root(t)
	testhost.Tool(t, "sysctl", "procps")
	seed := testhost.Seed(t)
	for round := range testhost.Rounds(usualRounds) {
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			h := newHost(t, seed, uint64(round))
			h.build()
			t.Run("interfaces", func(t *testing.T) { h.compare(t, h.interfaces, h.ourInterfaces) })
			t.Run("filtered interfaces", h.filterInterfaces)
			t.Run("counters", h.compareCounters)
			t.Run("routes", func(t *testing.T) { h.compare(t, h.routes, h.ourRoutes) })
			t.Run("filtered routes", h.filterRoutes)
			t.Run("status", func(t *testing.T) { h.compare(t, h.status, h.ourStatus) })
			t.Run("sysctl", h.compareSysctl)
		})
	}
}

// settleTries bounds how often a host that still changes by itself (carrier, operational state) is
// looked at again.
const settleTries = 50

// compare asks the witness, us, and the witness again, until it said the same both times.
func (h *host) compare(t *testing.T, witness, ours func(*testing.T) []object) {
	t.Helper()
	for range settleTries {
		before := witness(t)
		got := ours(t)
		if after := witness(t); !cmp.Equal(before, after, tolerance) {
			continue
		}
		if len(before) == 0 {
			t.Fatal("the witness has nothing to say")
		}
		if diff := cmp.Diff(before, got, tolerance); diff != "" {
			t.Errorf("witness (-), ours (+):\n%s", diff)
		}
		return
	}
	t.Fatal("the host does not come to rest")
}

// runsDown is a number of seconds that runs down between two looks at it.
type runsDown float64

var tolerance = cmp.Comparer(func(a, b runsDown) bool { return math.Abs(float64(a-b)) <= 2 })

// markLifetimes makes the members of o that run down comparable.
func markLifetimes(o object, names ...string) object {
	for _, name := range names {
		if v, ok := o[name].(float64); ok {
			o[name] = runsDown(v)
		}
	}
	return o
}

// set puts a value into o unless it is the witness' word for none.
func set(o object, name string, v any) {
	switch v {
	case nil, "":
		return
	}
	o[name] = v
}

// lower is a witness' word in the table's spelling.
func lower(v any) string {
	s, _ := v.(string)
	return strings.ToLower(s)
}

// sorted is a list of words in alphabetical order, for comparison as a set.
func sorted(words ...string) []any {
	slices.Sort(words)
	list := make([]any, 0, len(words))
	for _, w := range words {
		list = append(list, w)
	}
	return list
}

// sortWords sorts a member that is a list of words.
func sortWords(o object, name string) {
	list, ok := o[name].([]any)
	if !ok {
		return
	}
	words := make([]string, 0, len(list))
	for _, w := range list {
		words = append(words, w.(string))
	}
	o[name] = sorted(words...)
}

// indexes are the interfaces' indices by name, as the witness has them.
func (h *host) indexes(t *testing.T) map[string]any {
	t.Helper()
	index := map[string]any{}
	for _, l := range decode[[]object](t, h.Witness("link", "show")) {
		index[l["ifname"].(string)] = l["ifindex"]
	}
	return index
}

// sysfs reads what the kernel says below /sys/class/net in the namespace: "eth0/speed" -> "10000".
func (h *host) sysfs(t *testing.T) map[string]string {
	t.Helper()
	text := h.Run("unshare", "-m", "sh", "-c",
		"mount -t sysfs none /sys && cd /sys/class/net && grep -s . */* */statistics/*; true")
	values := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if ok {
			values[name] = value
		}
	}
	return values
}

// numberOf is a value of sysfs or of sysctl as encoding/json would have it.
func numberOf(t *testing.T, text string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatalf("not a number: %q", text)
	}
	return v
}

// by sorts objects by a text made of each.
func by(list []object, key func(object) string) []object {
	slices.SortStableFunc(list, func(a, b object) int { return strings.Compare(key(a), key(b)) })
	return list
}

// filtered is what wants takes out of a list.
func filtered(list []object, wants func(object) bool) []object {
	var out []object
	for _, o := range list {
		if wants(o) {
			out = append(out, o)
		}
	}
	return out
}

func text(v any) string { return fmt.Sprint(v) }
