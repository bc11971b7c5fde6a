package netops

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/netops/internal/ruleset"
	"github.com/geomind/my_os_server/pkg/registry"
)

// ruleset is what nft(8) says of all tables.
func (m *maker) ruleset() string {
	m.t.Helper()
	testhost.Tool(m.t, "nft", "nftables")
	return m.Run("nft", "list", "ruleset")
}

func (m *maker) nft(script string) {
	m.t.Helper()
	testhost.Tool(m.t, "nft", "nftables")
	if out, err := m.Try(script, "nft", "-f", "-"); err != nil {
		m.t.Fatalf("nft: %v\n%s", err, out)
	}
}

func TestFirewallRuleIsMadeAskedAgainAndRemoved(t *testing.T) {
	m := newMaker(t)
	m.IP("link add eth0 type veth peer peer0")
	for _, test := range []struct {
		params object
		shows  string // what nft has of it
	}{
		{object{"protocol": "tcp", "port": 443, "tag": "t", "comment": "web front end"}, `tcp . 443 counter packets 0 bytes 0 comment "fw-`},
		{object{"protocol": "udp", "port": 53, "source": "10.0.0.0/8"}, "10.0.0.0 . udp . 53"},
		{object{"protocol": "tcp", "port": 1000, "port_end": 1099, "interface": "eth0"}, `"eth0" . tcp . 1098`},
		{object{"protocol": "tcp", "port": 1, "port_end": 65535, "source": "2001:db8::/32"}, "2001:db8:: . tcp . 49152"},
		{object{"protocol": "sctp", "port": 7, "family": "ipv6"}, "sctp . 7"},
		{object{"protocol": "icmp"}, "icmp"},
		{object{"protocol": "icmpv6", "interface": "eth0"}, `"eth0" . ipv6-icmp`},
		{object{"protocol": "any", "source": "192.0.2.0/24"}, "ipv4 . 192.0.2.0"},
		{object{"protocol": "any"}, "ipv6 counter"},
		{object{"protocol": "tcp", "source": "0.0.0.0/0"}, "open4_proto"},
	} {
		first := m.call("net.firewall.add_rule", test.params)
		rule := first["rule"].(object)
		want(t, "created", first["created"], true)
		want(t, "effective", first["effective"], false)
		want(t, "rule", some(rule, "exists", "managed", "tag", "comment"), some(object{"exists": true, "managed": true, "tag": test.params["tag"], "comment": test.params["comment"]}, presentIn(rule, "exists", "managed", "tag", "comment")...))
		if rules := m.ruleset(); !strings.Contains(rules, test.shows) {
			t.Errorf("%v: nft does not show %q:\n%s", test.params, test.shows, rules)
		}
		again := m.call("net.firewall.add_rule", without(test.params, "tag", "comment"))
		want(t, "again", again["created"], false)
		want(t, "again", again["rule"], first["rule"])
		m.inSync()
		want(t, "removed", m.call("net.firewall.remove_rule", object{"id": rule["id"]}), object{"deleted": true})
		want(t, "removed again", m.call("net.firewall.remove_rule", object{"id": rule["id"]}), object{"deleted": false})
		want(t, "left over", m.ruleset(), "")
		m.inSync()
	}
}

// TestAllAddressesOfAFamily: a source of all addresses is no other rule or forward than none.
func TestAllAddressesOfAFamily(t *testing.T) {
	m := newMaker(t)
	for _, test := range []struct {
		method      string
		params      object
		same, other object
	}{
		{"net.firewall.add_rule", object{"protocol": "tcp", "port": 80}, object{"family": "ipv4"}, object{"source": "0.0.0.0/0"}},
		{"net.firewall.add_rule", object{"protocol": "icmpv6"}, object{"source": "::/0"}, object{"family": "ipv6"}},
		{"net.nat.add_dnat", object{"protocol": "tcp", "port": 81, "to_address": "192.0.2.7"}, object{}, object{"source": "0.0.0.0/0"}},
	} {
		with := func(more object) object {
			all := without(test.params)
			maps.Copy(all, more)
			return all
		}
		want(t, test.method, m.call(test.method, with(test.same))["created"], true)
		want(t, test.method+" again", m.call(test.method, with(test.other))["created"], false)
	}
	m.call("net.firewall.add_rule", object{"protocol": "udp", "port": 100, "port_end": 200, "family": "ipv4"})
	refuses[*registry.ConflictError](m, "net.firewall.add_rule", object{"protocol": "udp", "port": 150, "port_end": 250, "source": "0.0.0.0/0"}, "overlap")
	m.inSync()
}

func presentIn(o object, names ...string) (list []string) {
	for _, n := range names {
		if _, ok := o[n]; ok {
			list = append(list, n)
		}
	}
	return list
}

func TestFirewallRulesOfAllShapesStandTogether(t *testing.T) {
	m := newMaker(t)
	r := rand.New(rand.NewPCG(testhost.Seed(t), 0))
	m.IP("link add eth0 type veth peer peer0")
	m.nft("table inet foreign { chain c { type filter hook input priority 0; policy accept; tcp dport 22 counter accept; }; set s { type ipv4_addr; elements = { 10.0.0.1 }; }; }")
	before := m.Run("nft", "-s", "list", "table", "inet", "foreign")
	var ids []string
	for range testhost.Rounds(60) {
		params := object{"protocol": []string{"tcp", "udp", "sctp", "any", "icmp"}[r.IntN(5)]}
		if params["protocol"] != "any" && params["protocol"] != "icmp" && r.IntN(4) > 0 {
			params["port"] = 1 + r.IntN(60000)
			if r.IntN(3) == 0 {
				params["port_end"] = params["port"].(int) + r.IntN(5000)
			}
		}
		if r.IntN(2) == 0 {
			params["source"] = []string{"10.0.0.0/8", "10.1.0.0/16", "192.0.2.7/32", "0.0.0.0/0"}[r.IntN(4)]
		}
		if r.IntN(3) == 0 {
			params["interface"] = "eth0"
		}
		result, err := call(t, m.net, "net.firewall.add_rule", params)
		if _, conflict := err.(*registry.ConflictError); conflict {
			continue // ranges that overlap
		}
		if err != nil {
			t.Fatalf("%v: %v", params, err)
		}
		if result["created"] == true {
			ids = append(ids, result["rule"].(object)["id"].(string))
		}
		if len(ids) > 5 && r.IntN(4) == 0 {
			i := r.IntN(len(ids))
			m.call("net.firewall.remove_rule", object{"id": ids[i]})
			ids = append(ids[:i], ids[i+1:]...)
		}
	}
	m.inSync()
	for _, id := range ids {
		if !strings.Contains(m.ruleset(), id) {
			t.Errorf("nft does not show %s", id)
		}
		m.call("net.firewall.remove_rule", object{"id": id})
	}
	want(t, "the other table", m.Run("nft", "-s", "list", "ruleset"), before)
}

// TestOwnRulesAreListed: with what they counted, by tag, and those that the kernel lacks.
func TestOwnRulesAreListed(t *testing.T) {
	c := newCrossing(t)
	answer(t, c.NetNS, 80)
	c.call("net.firewall.add_rule", object{"protocol": "tcp", "port": 80, "tag": "web", "comment": "front"})
	c.call("net.firewall.add_rule", object{"protocol": "tcp", "port": 90, "port_end": 99, "tag": "web"})
	c.call("net.firewall.add_rule", object{"protocol": "udp", "port": 53, "tag": "dns"})
	want(t, "asks", asks(c.outside, "tcp", node4, 80), outside4+" to 80")
	rules := func(params object) (list []object) {
		for _, item := range objects(c.call("net.firewall", params)["items"]) {
			if r, ok := item["firewall_rule"].(object); ok {
				list = append(list, r)
			} else if params["tag"] != nil {
				t.Errorf("with a tag: %v", item)
			}
		}
		return list
	}
	for _, test := range []struct {
		params object
		want   int
	}{
		{object{}, 3}, {object{"tag": "web"}, 2}, {object{"tag": "dns"}, 1}, {object{"tag": "none"}, 0}, {object{"table": ruleset.OwnTable}, 3}, {object{"table": "another"}, 0},
		{object{"family": "ip"}, 0}, {object{"family": "inet"}, 3}, {object{"tag": "web", "limit": 1}, 1},
	} {
		want(t, fmt.Sprint(test.params), len(rules(test.params)), test.want)
	}
	web := rules(object{"tag": "web"})[0]
	if n, _ := web["packets"].(float64); n < 1 || web["exists"] != true || web["comment"] != "front" || web["port"] != 80.0 {
		t.Errorf("%v", web)
	}
	c.nft("delete element inet my_os_server open { udp . 53 }")
	want(t, "gone", some(rules(object{"tag": "dns"})[0], "exists", "packets"), object{"exists": false})
}

func TestFirewallRefuses(t *testing.T) {
	m := newMaker(t)
	m.call("net.firewall.add_rule", object{"protocol": "tcp", "port": 100, "port_end": 200})
	before := m.ruleset()
	for _, test := range []struct {
		params object
		want   string
	}{
		{object{"protocol": "tcp", "port": 0}, "port"},
		{object{"protocol": "tcp", "port": 65536}, "port"},
		{object{"protocol": "tcp", "port": 10, "port_end": 9}, "port_end"},
		{object{"protocol": "tcp", "port_end": 9}, "port_end"},
		{object{"protocol": "icmp", "port": 9}, "port"},
		{object{"protocol": "any", "port": 9}, "port"},
		{object{"protocol": "icmp", "family": "ipv6"}, "protocol"},
		{object{"protocol": "icmpv6", "source": "10.0.0.0/8"}, "protocol"},
		{object{"protocol": "tcp", "source": "10.0.0.0/8", "family": "ipv6"}, "family"},
		{object{"protocol": "tcp", "source": "::ffff:10.0.0.0/104"}, "source"},
		{object{"protocol": "tcp", "source": "10.0.0.1/8"}, "source"},
		{object{"protocol": "tcp", "source": "224.0.0.0/4"}, "source"},
		{object{"protocol": "tcp", "interface": "a-name-of-16-byt"}, "interface"},
		{object{"protocol": "tcp", "interface": "a/b"}, "interface"},
		{object{"protocol": "tcp", "interface": "a\nb"}, "interface"},
		{object{"protocol": "tcp", "comment": "a \"quote\""}, "comment"},
		{object{"protocol": "gre"}, "protocol"},
	} {
		refuses[*registry.ParamsError](m, "net.firewall.add_rule", test.params, test.want)
	}
	refuses[*registry.NotFoundError](m, "net.firewall.add_rule", object{"protocol": "tcp", "interface": "none0"}, "none0")
	refuses[*registry.ConflictError](m, "net.firewall.add_rule", object{"protocol": "tcp", "port": 200, "port_end": 210}, "100-200")
	want(t, "nothing changed", m.ruleset(), before)
}

// TestVanishedTableComesBack: with the next write, and with the next start in the same boot.
func TestVanishedTableComesBack(t *testing.T) {
	m := newMaker(t)
	m.restore()
	m.call("net.firewall.add_rule", object{"protocol": "tcp", "port": 80})
	m.call("net.firewall.add_rule", object{"protocol": "udp", "port": 53, "source": "10.0.0.0/8"})
	plain := func() string { // sets stand in the order in which they came
		lines := strings.Split(m.Run("nft", "-s", "list", "ruleset"), "\n")
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	before := plain()
	m.Run("nft", "flush", "ruleset")
	drift := objects(m.call("net.verify", object{})["drift"])
	if len(drift) != 3 {
		t.Errorf("drift: %v", drift)
	}
	last := m.call("net.firewall.add_rule", object{"protocol": "tcp", "port": 81})["rule"].(object)["id"]
	m.inSync()
	m.call("net.firewall.remove_rule", object{"id": last})
	want(t, "after a write", plain(), before)

	m.Run("nft", "flush", "ruleset")
	m.stop()
	m.start("boot-1")
	m.restore()
	want(t, "after a start", plain(), before)
	m.inSync()
	m.stop()
	m.start("boot-1")
	if out := m.restore(); out.Made != 0 {
		t.Errorf("a second start made %d changes", out.Made)
	}

	m.stop()
	m.Run("nft", "flush", "ruleset")
	m.start("boot-2")
	if out := m.restore(); out.Made != 1 {
		t.Errorf("a new boot made %d changes, not one", out.Made)
	}
	want(t, "after a boot", plain(), before)
	m.inSync()
}

// TestSabotageOfTheTableIsFound: what others do to the own table is told, and put right by the next write
// that meets it.
func TestSabotageOfTheTableIsFound(t *testing.T) {
	for _, test := range []struct{ script, kind, want string }{
		{"flush chain inet my_os_server input", "changed", "chain input"},
		{"delete element inet my_os_server open { tcp . 80 }", "missing", "fw-"},
		{"add element inet my_os_server open { tcp . 90 }", "unexpected", "element"},
		{"add chain inet my_os_server more", "unexpected", "chain more"},
		{"add set inet my_os_server more { type ipv4_addr; }", "unexpected", "set more"},
		{"insert rule inet my_os_server input drop", "changed", "chain input"},
	} {
		m := newMaker(t)
		m.call("net.firewall.add_rule", object{"protocol": "tcp", "port": 80})
		m.call("net.firewall.add_rule", object{"protocol": "tcp", "port": 81})
		m.nft(test.script)
		drift := objects(m.call("net.verify", object{})["drift"])
		if len(drift) != 1 || drift[0]["kind"] != test.kind || !strings.Contains(text(drift[0]), test.want) {
			t.Errorf("%s: %v", test.script, drift)
		}
		m.stop()
		m.start("boot-2")
		m.restore()
		if test.kind != "unexpected" {
			m.inSync()
		}
	}
}
