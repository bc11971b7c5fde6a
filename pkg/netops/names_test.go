package netops

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/pkg/registry"
)

// A link that a call means by an alternative name is known by its own to packet filters, to the registry and to
// net.verify.
func TestWritesByAnAlternativeName(t *testing.T) {
	m := newMaker(t)
	m.IP("link add v0 type veth peer name v1", "link set v0 up", "link set v1 up", "addr add 10.0.0.1/24 dev v0",
		"link property add dev v0 altname enp1s0", "link add w0 type veth peer name w1", "link property add dev w0 altname enp2s0")
	for method, of := range map[string]object{
		"net.firewall.add_rule": {"protocol": "tcp", "port": 80}, "net.nat.add_dnat": {"protocol": "tcp", "port": 81, "to_address": "10.0.0.9"},
	} {
		with := func(name string) object {
			o := without(of)
			o["interface"] = name
			return o
		}
		want(t, method, m.call(method, with("enp1s0"))["created"], true)
		want(t, method+" by the name itself", m.call(method, with("v0"))["created"], false)
	}
	want(t, "snat", m.call("net.nat.add_snat", object{"source": "10.9.0.0/24", "out_interface": "enp1s0"})["snat"].(object)["out_interface"], any("v0"))
	if text := m.ruleset(); strings.Contains(text, "enp1s0") {
		t.Errorf("packets are compared with the alternative name:\n%s", text)
	}

	m.call("net.routes.add", object{"dst": "10.5.0.0/16", "interface": "enp1s0"})
	m.call("net.routes.add", object{"dst": "10.6.0.0/16", "nexthops": []object{{"interface": "enp1s0", "gateway": "10.0.0.9"}, {"gateway": "10.0.0.8"}}})
	for _, name := range []string{"br0", "br1"} {
		m.call("net.bridge.add", object{"name": name})
		m.IP("link property add dev " + name + " altname also-" + name)
	}
	m.call("net.bridge.add_port", object{"bridge": "also-br0", "interface": "enp2s0"})
	want(t, "port by the name itself", m.call("net.bridge.add_port", object{"bridge": "br0", "interface": "w0"})["created"], false)
	m.call("net.vm.create_tap", object{"vm_id": "a", "name": "t0", "bridge": "also-br0"})
	m.IP("link property add dev t0 altname also-t0")
	m.call("net.bridge.connect", object{"a": "also-br0", "b": "also-br1"})
	want(t, "connected by the names themselves", m.call("net.bridge.connect", object{"a": "br1", "b": "br0"})["created"], false)
	want(t, "drift", m.call("net.verify", object{})["drift"], any([]any{}))

	want(t, "route", m.call("net.routes.delete", object{"dst": "10.5.0.0/16", "interface": "enp1s0"})["deleted"], true)
	want(t, "port", m.call("net.bridge.remove_port", object{"bridge": "also-br0", "interface": "enp2s0"})["deleted"], true)
	want(t, "tap", m.call("net.vm.delete_tap", object{"name": "also-t0"})["deleted"], true)
	want(t, "bridge", m.call("net.bridge.delete", object{"name": "also-br1", "force": true})["deleted"], true)
	want(t, "drift at the end", m.call("net.verify", object{})["drift"], any([]any{}))
}

// The names of objects of ours are taken too, and not told to be another's.
func TestNamesThatAreTakenByOurs(t *testing.T) {
	m := newMaker(t)
	m.call("net.bridge.add", object{"name": "br0"})
	m.call("net.vm.create_tap", object{"vm_id": "a", "name": "t0"})
	for method, params := range map[string]object{
		"net.bridge.add":    {"name": "t0"},
		"net.vm.create_tap": {"vm_id": "b", "name": "br0"},
	} {
		_, err := call(t, m.net, method, params)
		var conflict *registry.ConflictError
		if !errors.As(err, &conflict) || conflict.Managed != registry.Some(true) || !strings.Contains(err.Error(), "with this daemon's mark") {
			t.Errorf("%s %v: %v", method, params, err)
		}
	}
	refuses[*registry.ConflictError](m, "net.vm.create_tap", object{"vm_id": "b", "name": "t0"}, "a tap with this daemon's mark")
	refuses[*registry.RefusedError](m, "net.vm.delete_tap", object{"name": "br0"}, "a bridge with this daemon's mark")
}

func TestRouteOfOneWay(t *testing.T) {
	m := newMaker(t)
	m.IP("link add v0 type veth peer name v1", "link set v0 up", "link set v1 up", "addr add 10.0.0.1/24 dev v0", "addr add 2001:db8::1/64 dev v0 nodad")
	for _, params := range []object{
		{"dst": "10.1.0.0/16", "nexthops": []object{{"gateway": "10.0.0.9", "weight": 7}}},
		{"dst": "10.2.0.0/16", "nexthops": []object{{"gateway": "10.7.0.9", "interface": "v0", "onlink": true}}},
		{"dst": "10.3.0.0/16", "nexthops": []object{{"interface": "v0"}}},
		{"dst": "2001:db8:1::/48", "nexthops": []object{{"gateway": "2001:db8::9"}}},
	} {
		want(t, "created", m.call("net.routes.add", params)["created"], true)
		want(t, "created again", m.call("net.routes.add", params)["created"], false)
	}
	want(t, "drift", m.call("net.verify", object{})["drift"], any([]any{}))
	m.IP("route replace 10.1.0.0/16 proto 109 via 10.0.0.8")
	want(t, "drift of another way", len(objects(m.call("net.verify", object{})["drift"])), 1)
}

func TestSameWayTwice(t *testing.T) {
	m := newMaker(t)
	m.IP("link add v0 type veth peer name v1", "link set v0 up", "link set v1 up", "addr add 10.0.0.1/24 dev v0", "addr add 2001:db8::1/64 dev v0 nodad")
	twice := func(gateway string) []object { return []object{{"gateway": gateway}, {"gateway": gateway}} }
	m.call("net.routes.add", object{"dst": "10.1.0.0/16", "nexthops": twice("10.0.0.9")})
	refuses[*registry.ParamsError](m, "net.routes.add", object{"dst": "2001:db8:1::/48", "nexthops": twice("2001:db8::9")}, "nexthops[1]")
	seen := []object{{"gateway": "2001:db8::9"}, {"gateway": "2001:db8::9", "interface": "v0"}}
	refuses[*registry.ParamsError](m, "net.routes.add", object{"dst": "2001:db8:1::/48", "nexthops": seen}, "different ways")
	want(t, "drift", m.call("net.verify", object{})["drift"], any([]any{}))
}

// A caller may ask again with what the first answer told, and delete what somebody else has deleted already.
func TestRouteByWhatTheKernelChose(t *testing.T) {
	m := newMaker(t)
	m.IP("link add v0 type veth peer name v1", "link set v0 up", "link set v1 up", "addr add 10.0.0.1/24 dev v0")
	m.call("net.routes.add", object{"dst": "10.1.0.0/16", "gateway": "10.0.0.9"})
	want(t, "created", m.call("net.routes.add", object{"dst": "10.1.0.0/16", "gateway": "10.0.0.9", "interface": "v0"})["created"], false)
	refuses[*registry.ConflictError](m, "net.routes.add", object{"dst": "10.1.0.0/16", "gateway": "10.0.0.9", "interface": "v1"}, "interface")
	m.IP("route del 10.1.0.0/16")
	named := func(gateway string) object {
		return object{"dst": "10.1.0.0/16", "gateway": gateway, "interface": "v0"}
	}
	want(t, "another's", m.call("net.routes.delete", named("10.0.0.8")), object{"deleted": false})
	want(t, "deleted", m.call("net.routes.delete", named("10.0.0.9"))["deleted"], true)
	want(t, "drift", m.call("net.verify", object{})["drift"], any([]any{}))
}

func TestDifferencesTellWhatIsNotSet(t *testing.T) {
	var c comparison
	given(&c, "gateway", registry.Some(netip.MustParseAddr("10.0.0.9")), netip.Addr{})
	given(&c, "bridge", registry.Some("br0"), "")
	givenList(&c, "vlans", vlansOf([]string{"7", "10-12", "11-14", "8"}), vlansOf([]string{"7-8", "10", "11", "12", "13", "14"}))
	givenList(&c, "untagged", vlansOf([]string{"7"}), vlansOf(nil))
	want(t, "differences", []registry.Difference(c), []registry.Difference{
		{Field: "gateway", Existing: "none", Asked: "10.0.0.9"}, {Field: "bridge", Existing: "none", Asked: "br0"},
		{Field: "untagged", Existing: "none", Asked: "7"},
	})
}
