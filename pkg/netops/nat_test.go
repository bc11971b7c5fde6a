package netops

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

func TestNATRefuses(t *testing.T) {
	c := newCrossing(t)
	c.call("net.nat.add_dnat", object{"protocol": "tcp", "port": 1000, "port_end": 1009, "to_address": machine4})
	c.call("net.nat.add_snat", object{"source": "10.0.0.0/24"})
	before := c.ruleset()
	dnat := func(more object) object {
		p := object{"protocol": "tcp", "port": 80, "to_address": machine4}
		for k, v := range more {
			p[k] = v
		}
		return p
	}
	for _, test := range []struct {
		params object
		want   string
	}{
		{dnat(object{"port": 0}), "port"},
		{dnat(object{"port_end": 79}), "port_end"},
		{dnat(object{"port_end": 90, "to_port": 65530}), "to_port"},
		{dnat(object{"protocol": "icmp"}), "protocol"},
		{dnat(object{"to_address": "0.0.0.0"}), "to_address"},
		{dnat(object{"to_address": "224.0.0.1"}), "to_address"},
		{dnat(object{"to_address": "::ffff:10.0.0.1"}), "to_address"},
		{dnat(object{"destination": "2001:db8::1"}), "destination"},
		{dnat(object{"destination": "127.0.0.1"}), "destination"},
		{dnat(object{"source": "2001:db8::/32"}), "source"},
		{dnat(object{"source": "10.0.0.1/8"}), "source"},
		{dnat(object{"interface": "a-name-of-16-byt"}), "interface"},
		{dnat(object{"comment": `back\slash`}), "comment"},
	} {
		refuses[*registry.ParamsError](c.maker, "net.nat.add_dnat", test.params, test.want)
	}
	for _, test := range []struct {
		params object
		want   string
	}{
		{object{"source": "10.0.0.1/24"}, "source"},
		{object{"source": "0.0.0.0/0"}, "source"},
		{object{"source": "::ffff:10.0.0.0/104"}, "source"},
		{object{"source": "10.0.0.0/24", "to_address": "2001:db8::1"}, "to_address"},
		{object{"source": "10.0.0.0/24", "to_address": "127.0.0.1"}, "to_address"},
	} {
		refuses[*registry.ParamsError](c.maker, "net.nat.add_snat", test.params, test.want)
	}
	refuses[*registry.RefusedError](c.maker, "net.nat.add_dnat", dnat(object{"to_address": "127.0.0.1"}), "loopback")
	refuses[*registry.NotFoundError](c.maker, "net.nat.add_dnat", dnat(object{"interface": "none0"}), "none0")
	refuses[*registry.NotFoundError](c.maker, "net.nat.add_snat", object{"source": "10.9.0.0/24", "out_interface": "none0"}, "none0")
	refuses[*registry.ConflictError](c.maker, "net.nat.add_dnat", object{"protocol": "tcp", "port": 1005, "to_address": machine4}, "1000-1009")
	refuses[*registry.ConflictError](c.maker, "net.nat.add_dnat", object{"protocol": "tcp", "port": 1009, "port_end": 1012, "to_address": machine4}, "1000-1009")
	refuses[*registry.ConflictError](c.maker, "net.nat.add_dnat", object{"protocol": "tcp", "port": 1000, "port_end": 1009, "to_address": "10.0.0.6"}, "to_address")
	refuses[*registry.ConflictError](c.maker, "net.nat.add_snat", object{"source": "10.0.0.0/24", "to_address": node4}, "to_address")
	want(t, "nothing changed", c.ruleset(), before)
	c.inSync()
}

// TestListenerIsNotTakenAway: a port on which the node listens is refused without force; one that is bound to
// a loopback address is not concerned.
func TestListenerIsNotTakenAway(t *testing.T) {
	c := newCrossing(t)
	answer(t, c.NetNS, 80)
	answer(t, c.machine, 80, 81)
	for _, protocol := range []string{"tcp", "udp"} {
		for _, to := range []string{machine4, machine6} {
			params := object{"protocol": protocol, "port": 79, "port_end": 81, "to_address": to}
			_, err := call(t, c.net, "net.nat.add_dnat", params)
			var refused *registry.RefusedError
			if !errors.As(err, &refused) || refused.Override.Or("") != "force" || !strings.Contains(err.Error(), "80") {
				t.Errorf("%v: %v", params, err)
			}
			params["force"] = true
			id := c.call("net.nat.add_dnat", params)["dnat"].(object)["id"]
			c.call("net.nat.remove_dnat", object{"id": id})
			c.call("net.nat.remove_dnat", object{"id": c.call("net.nat.add_dnat", object{"protocol": protocol, "port": 81, "to_address": to})["dnat"].(object)["id"]})
		}
	}
}

func TestForwardOfADestinationASourceAndAnInterface(t *testing.T) {
	c := newCrossing(t)
	c.IP("addr add 192.0.2.77/24 dev up0")
	answer(t, c.machine, 80, 81, 82)
	c.call("net.nat.add_dnat", object{"protocol": "tcp", "port": 8080, "to_address": machine4, "to_port": 80})
	c.call("net.nat.add_dnat", object{"protocol": "tcp", "port": 8080, "to_address": machine4, "to_port": 81, "destination": "192.0.2.77"})
	c.call("net.nat.add_dnat", object{"protocol": "tcp", "port": 8081, "to_address": machine4, "to_port": 80, "source": "198.51.100.0/24"})
	c.call("net.nat.add_dnat", object{"protocol": "tcp", "port": 8082, "to_address": machine4, "to_port": 82, "interface": "up0"})
	want(t, "any", asks(c.outside, "tcp", node4, 8080), outside4+" to 80")
	want(t, "destination", asks(c.outside, "tcp", "192.0.2.77", 8080), outside4+" to 81")
	want(t, "another source", asks(c.outside, "tcp", node4, 8081), "")
	c.outside.IP("addr add 198.51.100.1/32 dev lo")
	want(t, "interface", asks(c.outside, "tcp", node4, 8082), outside4+" to 82")
	want(t, "interface, from the machine", asks(c.NetNS, "tcp", node4, 8082), node4+" to 82")
	want(t, "another interface", asks(c.NetNS, "tcp", gateway4, 8082), "")
	c.inSync()
	want(t, "nft shows it", strings.Contains(c.ruleset(), "own4_up0"), true)

	rows := objects(c.call("net.nat.status", object{})["dnat"])
	if len(rows) != 4 {
		t.Fatalf("%v", rows)
	}
	for _, row := range rows {
		packets := map[any]float64{80.0: 1, 81.0: 1, 82.0: 2}[row["to_port"]]
		if row["port"] == 8081.0 {
			packets = 0
		}
		if row["packets"] != packets || row["exists"] != true {
			t.Errorf("%v: want %v packets", row, packets)
		}
	}
	c.IP("addr add 192.0.2.78/24 dev up0")
	testhost.Eventually(t, "an address that came", func() bool { return asks(c.outside, "tcp", "192.0.2.78", 8082) == outside4+" to 82" })
	c.IP("addr del 192.0.2.78/24 dev up0", "addr add 192.0.2.78/32 dev br0")
	testhost.Eventually(t, "an address that went elsewhere", func() bool { return asks(c.NetNS, "tcp", "192.0.2.78", 8082) == "" })
}

// TestForeignPolicyIsNamed: a drop of others is not undone by an accept of ours, so the answer names it.
func TestForeignPolicyIsNamed(t *testing.T) {
	c := newCrossing(t)
	answer(t, c.machine, 80)
	for _, test := range []struct{ script, reason string }{
		{"add table inet f; add chain inet f c { type filter hook forward priority 5; policy drop; }", "policy_drop"},
		{"add table ip f; add chain ip f d; add rule ip f d tcp dport 80 reject; add chain ip f c { type filter hook forward priority 5; }; add rule ip f c iifname \"up0\" jump d", "drop_rules"},
	} {
		c.nft(strings.ReplaceAll(test.script, ";  ", "\n"))
		result := c.call("net.nat.add_dnat", object{"protocol": "tcp", "port": 8080, "to_address": machine4, "to_port": 80})
		list := objects(result["may_be_blocked_by"])
		if len(list) != 1 || list[0]["chain"] != "c" || list[0]["hook"] != "forward" || list[0]["reason"] != test.reason {
			t.Errorf("%s: %v", test.script, list)
		}
		want(t, "blocked", len(objects(c.call("net.nat.status", object{})["may_be_blocked_by"])), 1)
		want(t, "rules for input", c.call("net.firewall.add_rule", object{"protocol": "tcp", "port": 1})["may_be_blocked_by"], nil)
		c.nft("delete table " + strings.Fields(test.script)[2] + " f")
		want(t, "flows", asks(c.outside, "tcp", node4, 8080), outside4+" to 80")
		again := c.call("net.nat.add_dnat", object{"protocol": "tcp", "port": 8080, "to_address": machine4, "to_port": 80})
		want(t, "no longer", again["may_be_blocked_by"], nil)
	}
}

// TestForwardingOpensNothingElse: what comes in on an interface that forwards because of us goes nowhere but
// where a forward leads.
func TestForwardingOpensNothingElse(t *testing.T) {
	c := newCrossing(t)
	answer(t, c.machine, 80, 81)
	c.outside.IP("route add 10.0.0.0/24 via "+node4, "route add 2001:db8:2::/64 via "+node6)
	for _, to := range []struct{ node, machine, outside string }{{node4, machine4, outside4}, {node6, machine6, outside6}} {
		c.call("net.nat.add_dnat", object{"protocol": "tcp", "port": 8080, "to_address": to.machine, "to_port": 80})
		want(t, "forward", asks(c.outside, "tcp", to.node, 8080), to.outside+" to 80")
		_, err := dial(c.outside, "tcp", to.machine, 81)
		if err == nil {
			t.Errorf("%s can be reached past the forward", to.machine)
		}
	}
	status := c.call("net.nat.status", object{})
	if len(objects(status["forwarding"])) != 3 { // br0, up0, and all of IPv6
		t.Errorf("%v", status["forwarding"])
	}
}

// TestForwardingKeepsTheAdvertisedRoute: the default route that a router advertises outlives the switch.
func TestForwardingKeepsTheAdvertisedRoute(t *testing.T) {
	c := newCrossing(t)
	c.Run("sysctl", "-qw", "net.ipv6.conf.br0.accept_ra=0")
	c.IP("route add ::/0 via "+outside6+" dev up0 proto ra expires 600", "link add passing type veth peer passed")
	c.call("net.nat.add_dnat", object{"protocol": "tcp", "port": 8080, "to_address": machine6, "to_port": 80})
	value := func(name string) string { return strings.TrimSpace(c.Run("sysctl", "-n", "net.ipv6.conf."+name)) }
	want(t, "settings", []string{value("all.forwarding"), value("up0.accept_ra"), value("br0.accept_ra"), value("default.accept_ra")}, []string{"1", "2", "0", "1"})
	if out := c.Run("ip", "-6", "route", "show", "default"); !strings.Contains(out, outside6) {
		t.Errorf("the default route is gone: %q", out)
	}
	c.inSync()
	c.IP("link del passing") // with its setting
	c.inSync()
	c.IP("link add passing type veth peer passed")
	want(t, "in sync with what is back as it was", c.call("net.verify", object{})["in_sync"], false)
	c.Run("sysctl", "-qw", "net.ipv6.conf.passing.accept_ra=2", "net.ipv6.conf.passed.accept_ra=2")
	c.inSync()
	c.call("net.nat.remove_dnat", object{"id": objects(c.call("net.nat.status", object{})["dnat"])[0]["id"]})
	want(t, "put back", []string{value("all.forwarding"), value("up0.accept_ra")}, []string{"0", "1"})
}

// TestNewBootRestoresForwards: all of it works again, with one change of the table, and a second start changes
// nothing.
func TestNewBootRestoresForwards(t *testing.T) {
	c := newCrossing(t)
	c.restore()
	answer(t, c.machine, 80, 9000, 9001)
	c.call("net.nat.add_dnat", object{"protocol": "tcp", "port": 8080, "to_address": machine4, "to_port": 80})
	c.call("net.nat.add_dnat", object{"protocol": "tcp", "port": 9000, "port_end": 9001, "to_address": machine6})
	c.call("net.nat.add_snat", object{"source": "10.0.0.0/24"})
	c.call("net.firewall.add_rule", object{"protocol": "tcp", "port": 22})
	c.stop()
	c.Run("nft", "flush", "ruleset")
	c.Run("sysctl", "-qw", "net.ipv4.conf.up0.forwarding=0", "net.ipv4.conf.br0.forwarding=0", "net.ipv6.conf.all.forwarding=0")
	c.start("boot-2")
	out := c.restore()
	if out.Made != 4 || len(out.Failed)+len(out.Waiting) > 0 { // the table, and three settings
		t.Errorf("%+v", out)
	}
	c.inSync()
	want(t, "v4", asks(c.outside, "tcp", node4, 8080), outside4+" to 80")
	want(t, "v6", asks(c.outside, "tcp", node6, 9001), outside6+" to 9001")
	c.stop()
	c.start("boot-2")
	if out := c.restore(); out.Made != 0 {
		t.Errorf("a second start made %d changes", out.Made)
	}
}

func FuzzReadListeners(f *testing.F) {
	f.Add("  sl  local_address rem_address   st\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000\n", true)
	f.Add("names\n 1: 00000000000000000000000001000000:0035 0:0 07\n 2: x:y z", false)
	f.Add("names\n 1: 0100007F:FFFFF 0:0 0A\n 1: 0100007F 0:0 0A\n 1: :1 0:0 0A", true)
	f.Fuzz(func(t *testing.T, text string, sorted bool) {
		_ = readListeners(strings.NewReader(text), sorted, func(l listener) bool {
			if !l.address.IsValid() || l.address.Is4In6() || l.port < 0 || l.port > 65535 {
				t.Fatalf("%+v", l)
			}
			return true
		})
	})
}

func TestListenersAgainstSs(t *testing.T) {
	testhost.Tool(t, "ss", "iproute2")
	c := newCrossing(t)
	answer(t, c.NetNS, 80, 8080)
	for protocol, flag := range map[string]string{"tcp": "-Hltn", "udp": "-Hlun"} {
		for way, list := range map[string]func(func(listener) bool) error{
			"asked": func(yield func(listener) bool) error {
				return c.net.listeners(t.Context(), protocol, 1, 65535, yield)
			},
			"listed": func(yield func(listener) bool) error { return c.net.listedListeners(protocol, yield) },
		} {
			var ours []int
			if err := list(func(l listener) bool { ours = append(ours, l.port); return true }); err != nil {
				t.Fatal(err)
			}
			slices.Sort(ours)
			theirs := c.Run("ss", flag)
			if len(ours) != strings.Count(theirs, "\n") || !strings.Contains(theirs, ":8080") || fmt.Sprint(ours) != "[80 8080]" {
				t.Errorf("%s, %s: %v, ss has\n%s", way, protocol, ours, theirs)
			}
		}
	}
}
