package netops

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Tables of xtables-legacy come behind everything else, by family and name; a family without them, and a
// file that may not be read, has none.
func TestFirewallXtables(t *testing.T) {
	ns, root := testhost.NewNetNS(t), t.TempDir()
	dir := filepath.Join(root, "proc/thread-self/net")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, names := range map[string]string{"ip_tables_names": "nat\nfilter\n", "ip6_tables_names": "filter\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(names), 0o440); err != nil {
			t.Fatal(err)
		}
	}
	n, err := New(Options{NetNS: ns.Path(), Root: root})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for params, want := range map[string][]string{
		`{}`:                                {"ip nat", "ip filter", "ip6 filter"},
		`{"family":"ip"}`:                   {"ip nat", "ip filter"},
		`{"table":"filter"}`:                {"ip filter", "ip6 filter"},
		`{"family":"arp"}`:                  nil,
		`{"family":"ip6","table":"nat"}`:    nil,
		`{"limit":1}`:                       {"ip nat"},
		`{"family":"ip6","table":"filter"}`: {"ip6 filter"},
	} {
		var got []string
		items, _ := firewallOf(t, n, params)
		for _, it := range items {
			if x := it.XtablesTable; x != nil {
				got = append(got, fmt.Sprintf("%s %s", x.Family, x.Name))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", params, diff)
		}
	}
}

// While the ruleset changes all the time every list ends, and is whole or says that it is not.
func TestFirewallUnderChurn(t *testing.T) {
	ns, n := filteringHost(t)
	rules := "table inet t {\nchain c {\n"
	for i := range 500 {
		rules += fmt.Sprintf("tcp dport %d counter accept\n", 1+i)
	}
	loadRuleset(t, ns, rules+"}\n}\n")
	stop := make(chan struct{})
	var churn sync.WaitGroup
	churn.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			// Each change adds a chain with a rule and takes one away: the list has the same length at all times.
			change := fmt.Sprintf("add chain inet t x%d\nadd rule inet t x%d counter\n", i, i)
			if i > 0 {
				change += fmt.Sprintf("flush chain inet t x%d\ndelete chain inet t x%d\n", i-1, i-1)
			}
			if _, err := ns.Try(change, "nft", "-f", "-"); err != nil {
				t.Error(err)
				return
			}
		}
	})
	const lists = 10
	flagged := 0
	for range lists {
		items, end := firewallOf(t, n, "{}")
		if end.Consistent.IsSet() {
			flagged++
			continue
		}
		if got := count(items); got != 501 && got != 500 { // before the first change there is none
			t.Errorf("%d rules in a list that is said to be consistent", got)
		}
	}
	close(stop)
	churn.Wait()
	t.Logf("%d of %d lists said that they are not consistent", flagged, lists)
}

func count(items []registry.NftItem) (rules int) {
	for _, it := range items {
		if it.Rule != nil {
			rules++
		}
	}
	return rules
}
