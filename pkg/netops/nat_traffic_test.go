package netops

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// crossing is a node between the outside and a machine on its bridge:
//
//	outside eth0 ---- up0 node br0 ---- eth0 machine
//
// The machine answers on its ports with who asks, on which port.
type crossing struct {
	*maker
	outside, machine *testhost.NetNS
}

const (
	outside4, node4, gateway4, machine4 = "192.0.2.1", "192.0.2.2", "10.0.0.1", "10.0.0.5"
	outside6, node6, gateway6, machine6 = "2001:db8:1::1", "2001:db8:1::2", "2001:db8:2::1", "2001:db8:2::5"
)

func newCrossing(t testing.TB) *crossing {
	c := &crossing{newMaker(t), testhost.NewNetNS(t), testhost.NewNetNS(t)}
	c.IP("link add up0 type veth peer name out0", "link add br0 type bridge", "link add vm0 type veth peer name in0")
	for link, ns := range map[string]*testhost.NetNS{"out0": c.outside, "in0": c.machine} {
		c.IP(fmt.Sprintf("link set %s netns /proc/%d/fd/%d", link, os.Getpid(), ns.FD()))
	}
	c.outside.IP("link set out0 name eth0", "addr add "+outside4+"/24 dev eth0", "addr add "+outside6+"/64 dev eth0 nodad", "link set eth0 up", "link set lo up")
	c.machine.IP("link set in0 name eth0", "addr add "+machine4+"/24 dev eth0", "addr add "+machine6+"/64 dev eth0 nodad", "link set eth0 up", "link set lo up",
		"route add default via "+gateway4, "route add ::/0 via "+gateway6)
	c.IP("link set lo up", "link set vm0 master br0", "link set vm0 up", "link set br0 up", "addr add "+gateway4+"/24 dev br0", "addr add "+gateway6+"/64 dev br0 nodad",
		"link set up0 up", "addr add "+node4+"/24 dev up0", "addr add "+node6+"/64 dev up0 nodad")
	return c
}

// answer has a namespace answer on ports of TCP and UDP with who asks, on which port.
func answer(t testing.TB, ns *testhost.NetNS, ports ...int) {
	t.Helper()
	for _, port := range ports {
		var l net.Listener
		var pc net.PacketConn
		var err error
		ns.Do(func() {
			if l, err = net.Listen("tcp", ":"+strconv.Itoa(port)); err == nil {
				pc, err = net.ListenPacket("udp", ":"+strconv.Itoa(port))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close(); pc.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go echoName(conn, port)
			}
		}()
		go func() {
			b := make([]byte, 100)
			for {
				_, from, err := pc.ReadFrom(b)
				if err != nil {
					return
				}
				_, _ = pc.WriteTo([]byte(whoAsks(from, port)), from)
			}
		}()
	}
}

func whoAsks(from net.Addr, port int) string {
	host, _, _ := net.SplitHostPort(from.String())
	return fmt.Sprintf("%s to %d", host, port)
}

func echoName(conn net.Conn, port int) {
	defer conn.Close()
	b := make([]byte, 1)
	for {
		if _, err := io.ReadFull(conn, b); err != nil {
			return
		}
		if _, err := io.WriteString(conn, whoAsks(conn.RemoteAddr(), port)+"\n"); err != nil {
			return
		}
	}
}

// caller is a flow that stands.
type caller struct{ conn net.Conn }

// dial opens a flow from a namespace; asking over it tells whether anybody answers.
func dial(ns *testhost.NetNS, network, host string, port int) (c caller, err error) {
	ns.Do(func() {
		c.conn, err = net.DialTimeout(network, net.JoinHostPort(host, strconv.Itoa(port)), 5*time.Second)
	})
	return c, err
}

// ask says something and returns what is answered, "" where nothing is.
func (c caller) ask() string {
	for range 2 {
		_ = c.conn.SetDeadline(time.Now().Add(2 * time.Second))
		if _, err := c.conn.Write([]byte("x")); err != nil {
			continue
		}
		b := make([]byte, 100)
		if n, err := c.conn.Read(b); err == nil {
			return strings.TrimSpace(string(b[:n]))
		}
	}
	return ""
}

// asks opens a flow, asks once, and closes it.
func asks(ns *testhost.NetNS, network, host string, port int) string {
	c, err := dial(ns, network, host, port)
	if err != nil {
		return ""
	}
	defer c.conn.Close()
	return c.ask()
}

func TestForwardWorksFromEverywhereAndEndsAtOnce(t *testing.T) {
	for _, filtered := range []string{"0", "1"} {
		t.Run("bridge-nf-call "+filtered, func(t *testing.T) { forwardFromEverywhere(t, filtered) })
	}
}

// forwardFromEverywhere has bridged packets pass the filters of IP, or not.
func forwardFromEverywhere(t *testing.T, filtered string) {
	c := newCrossing(t)
	for _, name := range []string{"iptables", "ip6tables"} {
		if _, err := c.Try("", "sysctl", "-qw", "net.bridge.bridge-nf-call-"+name+"="+filtered); err != nil && filtered == "1" {
			testhost.Missing(t, "br_netfilter")
		}
	}
	if filtered == "1" { // a frame goes back through the port that it came by, on the bridge itself
		c.IP("link set vm0 type bridge_slave hairpin on")
	}
	c.nft("table inet foreign { chain c { type filter hook forward priority 10; policy accept; counter; }; }")
	before := c.Run("nft", "-s", "list", "ruleset")
	sysctls := c.forwardings()
	answer(t, c.machine, 80, 9000, 9001, 9002)
	for _, family := range []struct{ node, gateway, machine, outside string }{
		{node4, gateway4, machine4, outside4}, {node6, gateway6, machine6, outside6},
	} {
		for _, network := range []string{"tcp", "udp"} {
			single := c.call("net.nat.add_dnat", object{"protocol": network, "port": 8080, "to_address": family.machine, "to_port": 80})
			span := c.call("net.nat.add_dnat", object{"protocol": network, "port": 7000, "port_end": 7002, "to_address": family.machine, "to_port": 9000})
			want(t, "created", single["created"], true)
			if single["forwarding_enabled"] == nil || span["forwarding_enabled"] != nil {
				t.Errorf("forwarding: %v, then %v", single["forwarding_enabled"], span["forwarding_enabled"])
			}
			where := network + " to " + family.node
			want(t, where+" from outside", asks(c.outside, network, family.node, 8080), family.outside+" to 80")
			want(t, where+" from the node", asks(c.NetNS, network, family.node, 8080), family.node+" to 80")
			want(t, where+" from the machine itself", asks(c.machine, network, family.node, 8080), family.gateway+" to 80")
			for i := range 3 {
				want(t, where+" range", asks(c.outside, network, family.node, 7000+i), fmt.Sprintf("%s to %d", family.outside, 9000+i))
			}
			want(t, where+" behind the range", asks(c.outside, network, family.node, 7003), "")
			c.inSync()
			standing, err := dial(c.outside, network, family.node, 8080)
			if err != nil {
				t.Fatal(err)
			}
			want(t, where+" standing", standing.ask(), family.outside+" to 80")
			removed := c.call("net.nat.remove_dnat", object{"id": single["dnat"].(object)["id"]})
			if removed["deleted"] != true || removed["conntrack_deleted"].(float64) < 1 {
				t.Errorf("%s: removed: %v", where, removed)
			}
			want(t, where+" after the end", standing.ask(), "")
			standing.conn.Close()
			want(t, where+" anew after the end", asks(c.outside, network, family.node, 8080), "")
			want(t, where+" the other one", asks(c.outside, network, family.node, 7001), family.outside+" to 9001")
			c.call("net.nat.remove_dnat", object{"id": span["dnat"].(object)["id"]})
			want(t, "left over", c.Run("nft", "-s", "list", "ruleset"), before)
			want(t, "settings", c.forwardings(), sysctls)
			c.inSync()
		}
	}
}

// forwardings are the settings of the node that forwards change.
func (c *crossing) forwardings() string {
	return c.Run("sysctl", "-ar", `net\.ipv[46]\.conf\..*\.(forwarding|accept_ra)$`)
}

func TestTranslationOfSources(t *testing.T) {
	c := newCrossing(t)
	answer(t, c.outside, 80)
	before := c.ruleset()
	for _, family := range []struct{ source, node, outside, other string }{
		{"10.0.0.0/24", node4, outside4, "192.0.2.9"}, {"2001:db8:2::/64", node6, outside6, "2001:db8:1::9"},
	} {
		if family.node == node4 {
			c.IP("addr add " + family.other + "/24 dev up0")
		} else {
			c.IP("addr add " + family.other + "/64 dev up0 nodad preferred_lft 0")
		}
		for _, params := range []object{
			{"source": family.source}, {"source": family.source, "out_interface": "up0"},
			{"source": family.source, "to_address": family.other}, {"source": family.source, "to_address": family.other, "out_interface": "up0"},
		} {
			as := family.node
			if params["to_address"] != nil {
				as = family.other
			}
			for _, network := range []string{"tcp", "udp"} {
				made := c.call("net.nat.add_snat", params)
				standing, err := dial(c.machine, network, family.outside, 80)
				if err != nil {
					t.Fatalf("%v: %v", params, err)
				}
				want(t, fmt.Sprint(params, network), standing.ask(), as+" to 80")
				again := c.call("net.nat.add_snat", params)
				want(t, "again", again["created"], false)
				c.inSync()
				removed := c.call("net.nat.remove_snat", object{"id": made["snat"].(object)["id"]})
				if removed["conntrack_deleted"] != 1.0 {
					t.Errorf("%v %s: removed %v", params, network, removed)
				}
				want(t, "after the end", standing.ask(), "")
				standing.conn.Close()
				want(t, "left over", c.ruleset(), before)
			}
		}
	}
}
