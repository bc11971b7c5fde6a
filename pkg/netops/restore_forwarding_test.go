package netops

import (
	"fmt"
	"strings"
	"testing"
)

// TestForwardingThatTheNodeStartsWithStays: what a boot finds switched on was switched on by others, who keep it when the
// last entry goes; what it finds off goes back to off, however often the daemon starts in between.
func TestForwardingThatTheNodeStartsWithStays(t *testing.T) {
	for _, family := range []struct{ setting, to string }{
		{"net.ipv4.conf.up0.forwarding", "192.0.2.9"},
		{"net.ipv6.conf.all.forwarding", "2001:db8::9"},
	} {
		for _, found := range []string{"0", "1"} {
			t.Run(fmt.Sprint(family.setting, " is ", found), func(t *testing.T) {
				m := newMaker(t)
				m.restore()
				m.IP("link add up0 type veth peer up1", "link set up0 up", "link set up1 up", "addr add 192.0.2.2/24 dev up0", "addr add 2001:db8::2/64 dev up0 nodad")
				added := m.call("net.nat.add_dnat", object{"protocol": "tcp", "port": 8080, "to_address": family.to, "interface": "up0"})
				value := func() string { return strings.TrimSpace(m.Run("sysctl", "-n", family.setting)) }
				want(t, "switched on", value(), "1")
				m.stop()

				m.nft("delete table inet my_os_server")
				m.Run("sysctl", "-qw", family.setting+"="+found)
				for range 2 {
					m.start("boot-2")
					m.restore()
					m.inSync()
					want(t, "after the start", value(), "1")
					m.stop()
				}
				m.start("boot-2")
				m.restore()
				m.call("net.nat.remove_dnat", some(added["dnat"].(object), "id"))
				want(t, "in the end", value(), found)
				want(t, "still registered", m.net.kept.forwarding.Len(), 0)
			})
		}
	}
}
