package acl

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// tableMethods reads the methods of the real table. The package itself does not know them.
func tableMethods(t *testing.T) []Method {
	t.Helper()
	data, err := os.ReadFile("../../api/openrpc.json")
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		Methods []struct {
			Name    string `json:"name"`
			Exposes bool   `json:"x-exposes"`
		} `json:"methods"`
	}
	if err := json.Unmarshal(data, &table); err != nil {
		t.Fatal(err)
	}
	methods := make([]Method, len(table.Methods))
	for i, m := range table.Methods {
		methods[i] = Method{Name: m.Name, Exposes: m.Exposes}
	}
	return methods
}

// The example of the manual is a file that the daemon takes, and does what the manual says.
func TestManualExample(t *testing.T) {
	manual, err := os.ReadFile("../../docs/acl.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(manual), "```toml\n")
	example, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/acl.md has no example in TOML")
	}
	methods := tableMethods(t)
	p, err := Parse("docs/acl.md", []byte(example), methods)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]Method{}
	for _, m := range methods {
		byName[m.Name] = m
	}
	for _, d := range []decision{
		{uid(0), "vol.stop_md_array", Admin},
		{key(keyOne), "net.conntrack.flush", Admin},
		{uid(1234, 100, 27), "vol.create_partition", Write},
		{uid(1234, 100, 27), "net.conntrack", Write},
		{uid(1000), "net.vm.create_tap", Write},
		{uid(1000), "net.firewall.add_rule", Read},
		{uid(1000), "net.firewall", Read},
		{uid(1000), "vol.create_partition", Read},
		{key(keyTwo), "net.bridge.add", Write},
		{key(keyTwo), "vol.list_disks", None},
		{named("ci"), "net.routes.delete", Write},
		{named("grafana"), "net.conntrack", Read},
		{named("grafana"), "net.routes.add", Read},
		{anonymousLocal, "net.routes", Read},
		{anonymousLocal, "net.conntrack", None},
		{anonymousRemote, "net.status", None},
	} {
		m, ok := byName[d.method]
		if !ok {
			t.Fatalf("the table has no %s", d.method)
		}
		if got := p.Right(&d.caller, m); got != d.want {
			t.Errorf("%s on %s has %v, want %v", d.caller.String(), d.method, got, d.want)
		}
	}
	if !p.TrustsUID(0, 998) || p.TrustsUID(998, 998) {
		t.Error("trusted_uids = [0] trusts others, too")
	}
	for _, m := range methods {
		if got := p.Right(&anonymousLocal, m); m.Exposes != (got == None) {
			t.Errorf("anonymous callers have %v on %s", got, m.Name)
		}
	}
}
