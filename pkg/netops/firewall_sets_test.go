package netops

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// manySets is more batches (of 8 sets) than are fetched ahead (4), with sets of many parts (of 64 elements) among them.
func manySets() string {
	var b strings.Builder
	fmt.Fprintln(&b, "table inet t {")
	for i := range 51 {
		fmt.Fprintf(&b, "set s%d {\ntype ipv4_addr\n", i)
		if elements := []int{0, 1, 3, 5 * 64}[i%4]; elements > 0 {
			fmt.Fprint(&b, "elements = { ")
			for e := range elements {
				fmt.Fprintf(&b, "10.%d.%d.%d, ", i, e>>8, e&255)
			}
			fmt.Fprintln(&b, "}")
		}
		fmt.Fprintln(&b, "}")
	}
	return b.String() + "}\n"
}

// TestSetsEndAnywhere: by a limit and by a context, at random places. What came is the beginning of the whole, each
// set in front of its own elements, and nothing is left running.
func TestSetsEndAnywhere(t *testing.T) {
	ns, n := filteringHost(t)
	loadRuleset(t, ns, manySets())
	whole, _ := firewallOf(t, n, `{}`)
	r := rand.New(rand.NewPCG(testhost.Seed(t), 0))
	before := runtime.NumGoroutine()
	for range testhost.Rounds(20) {
		limit := 1 + r.IntN(len(whole))
		some, _ := firewallOf(t, n, fmt.Sprintf(`{"limit":%d}`, limit))
		if !reflect.DeepEqual(some, whole[:limit]) {
			t.Fatalf("limit %d: %d items, which are not the first of the whole", limit, len(some))
		}
		cancelAt(t, n, 1+r.IntN(4))
	}
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
	set := ""
	for _, it := range whole {
		switch {
		case it.Set != nil:
			set = it.Set.Name
		case it.Elements != nil && it.Elements.Set != set:
			t.Errorf("elements of %s behind the set %s", it.Elements.Set, set)
		}
	}
}

// cancelAt ends the call while its answer is on the way, as the so many-th piece of it goes out.
func cancelAt(t *testing.T, n *Net, piece int) {
	t.Helper()
	row, _ := registry.Lookup("net.firewall")
	params, err := row.Decode([]byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	pieces := 0
	err = row.Call(ctx, &registry.Servers{Net: n}, params, &registry.Out{Write: func([]byte) error {
		if pieces++; pieces == piece {
			cancel()
		}
		return nil
	}})
	if ended := pieces < piece; ended != (err == nil) && !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled at piece %d of %d: %v", piece, pieces, err)
	}
}
