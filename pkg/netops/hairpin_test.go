package netops

import (
	"fmt"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// filterBridged has bridged packets pass the filters of IP.
func (c *crossing) filterBridged(on int) {
	c.t.Helper()
	for _, name := range []string{"iptables", "ip6tables"} {
		if _, err := c.Try("", "sysctl", "-qw", fmt.Sprintf("net.bridge.bridge-nf-call-%s=%d", name, on)); err != nil {
			testhost.Missing(c.t, "br_netfilter")
		}
	}
}

// hairpin tells whether a port of a bridge has it.
func (c *crossing) hairpin(port string) any {
	c.t.Helper()
	info := c.links()[port]["linkinfo"].(object)
	return info["info_slave_data"].(object)["hairpin"]
}

// TestOwnPortsGetHairpin: a machine behind a port of ours reaches its own public port where bridged packets are filtered,
// whenever the port came, and nothing stays when the forward goes.
func TestOwnPortsGetHairpin(t *testing.T) {
	c := newCrossing(t)
	c.filterBridged(1)
	c.IP("link del br0")
	c.call("net.bridge.add", object{"name": "br0", "addresses": []string{gateway4 + "/24", gateway6 + "/64"}})
	c.call("net.bridge.add", object{"name": "br1"})
	c.call("net.bridge.add_port", object{"bridge": "br0", "interface": "vm0"})
	c.call("net.bridge.connect", object{"a": "br0", "b": "br1", "name": "x"})
	c.call("net.vm.create_tap", object{"vm_id": "other", "bridge": "br1", "name": "other"})
	c.call("net.vm.create_tap", object{"vm_id": "own", "bridge": "br0", "name": "own", "hairpin": true})
	answer(t, c.machine, 80)
	ports := func(vm0, tap, x any) {
		t.Helper()
		want(t, "hairpin of vm0, of the connection, of another bridge, of one that has it anyway",
			[]any{c.hairpin("vm0"), c.hairpin("x-a"), c.hairpin("x-b"), c.hairpin("other"), c.hairpin("own")}, []any{vm0, x, false, false, true})
		if tap != nil {
			want(t, "hairpin of a tap that came later", c.hairpin("later"), tap)
		}
		c.inSync()
	}
	ports(false, nil, false)
	four := c.call("net.nat.add_dnat", object{"protocol": "tcp", "port": 8080, "to_address": machine4, "to_port": 80})["dnat"].(object)["id"]
	six := c.call("net.nat.add_dnat", object{"protocol": "tcp", "port": 8080, "to_address": machine6, "to_port": 80})["dnat"].(object)["id"]
	ports(true, nil, true)
	testhost.Eventually(t, "its own public port", func() bool { return asks(c.machine, "tcp", node4, 8080) == gateway4+" to 80" })
	want(t, "and of IPv6", asks(c.machine, "tcp", node6, 8080), gateway6+" to 80")
	c.call("net.vm.create_tap", object{"vm_id": "later", "bridge": "br0", "name": "later"})
	ports(true, true, true)

	c.stop()
	c.start("boot-1")
	if out := c.restore(); out.Made != 0 {
		t.Errorf("a start made %d changes", out.Made)
	}
	ports(true, true, true)
	c.IP("link set vm0 type bridge_slave hairpin off")
	want(t, "drift", c.call("net.verify", object{})["in_sync"], false)
	c.IP("link set vm0 type bridge_slave hairpin on")
	c.call("net.nat.remove_dnat", object{"id": four})
	ports(true, true, true)
	c.call("net.nat.remove_dnat", object{"id": six})
	ports(false, false, false)

	c.filterBridged(0)
	c.call("net.nat.add_dnat", object{"protocol": "tcp", "port": 8080, "to_address": machine4, "to_port": 80})
	ports(false, false, false)
}
