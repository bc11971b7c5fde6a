package e2e

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// ovsCrashes are the writes on bridges of Open vSwitch, each with what must stand before it.
var ovsCrashes = []struct {
	name   string
	before []step
	write  step
}{
	{"bridge add", nil, step{"net.bridge.add", `{"name":"br0","backend":"ovs","datapath_type":"netdev","mtu":1400,"addresses":["10.1.0.1/24"]}`}},
	{"bridge delete", ovsBridge("br0"), step{"net.bridge.delete", `{"name":"br0"}`}},
	{"bridge delete with ports", slices.Concat(ovsBridge("br0"), ovsBridge("br1"), []step{
		{"net.bridge.connect", `{"a":"br0","b":"br1","name":"c"}`}, {"net.vm.create_tap", `{"vm_id":"v","name":"t0","bridge":"br0"}`},
		{"net.bridge.add_port", `{"bridge":"br0","interface":"p0"}`},
	}), step{"net.bridge.delete", `{"name":"br0","force":true}`}},
	{"connect", slices.Concat(ovsBridge("br0"), ovsBridge("br1")), step{"net.bridge.connect", `{"a":"br0","b":"br1","name":"c"}`}},
	{"disconnect", slices.Concat(ovsBridge("br0"), ovsBridge("br1"), []step{{"net.bridge.connect", `{"a":"br0","b":"br1","name":"c"}`}}),
		step{"net.bridge.remove_port", `{"bridge":"br1","interface":"c-b"}`}},
	{"add port", ovsBridge("br0"), step{"net.bridge.add_port", `{"bridge":"br0","interface":"p0","pvid":4,"vlans":["7-9"],"isolated":true}`}},
	{"remove port", append(ovsBridge("br0"), step{"net.bridge.add_port", `{"bridge":"br0","interface":"p0"}`}),
		step{"net.bridge.remove_port", `{"bridge":"br0","interface":"p0"}`}},
	{"create tap", ovsBridge("br0"), step{"net.vm.create_tap", `{"vm_id":"v","name":"t0","bridge":"br0","pvid":5,"owner_uid":5}`}},
	{"take tap out", append(ovsBridge("br0"), step{"net.vm.create_tap", `{"vm_id":"v","name":"t0","bridge":"br0"}`}),
		step{"net.bridge.remove_port", `{"bridge":"br0","interface":"t0"}`}},
	{"delete tap", append(ovsBridge("br0"), step{"net.vm.create_tap", `{"vm_id":"v","name":"t0","bridge":"br0"}`}), step{"net.vm.delete_tap", `{"name":"t0"}`}},
}

func ovsBridge(name string) []step {
	return []step{{"net.bridge.add", `{"name":"` + name + `","backend":"ovs","datapath_type":"netdev","addresses":["10.2.0.1/24"]}`}}
}

// ovsNode is a node beside an Open vSwitch that outlives its daemons, and is emptied for each trial.
type ovsNode struct {
	*node
	o *testhost.OVS
}

func newOVSNode(t *testing.T) *ovsNode {
	n := &ovsNode{node: newNode(t)}
	n.o = testhost.NewOVS(t, n.NetNS)
	n.args = []string{"--ovs-run-dir", n.o.RunDir}
	return n
}

// empty makes the node what it was at first: no state, no bridges, no taps.
func (n *ovsNode) empty() {
	n.t.Helper()
	n.armed = ""
	if err := os.RemoveAll(n.folder + "/state"); err != nil {
		n.t.Fatal(err)
	}
	_ = os.Remove(n.folder + "/armed")
	n.o.Vsctl("--no-wait", "clear", "Open_vSwitch", ".", "bridges")
	n.settle()
	_, _ = n.TryIP("link del t0")
	for _, name := range []string{"br0", "br1"} { // go a moment after the switch has settled
		for begun := time.Now(); time.Since(begun) < time.Minute; time.Sleep(time.Millisecond) {
			if _, err := n.TryIP("link show " + name); err != nil {
				break
			}
		}
	}
}

// settle waits until ovs-vswitchd has done what the database says.
func (n *ovsNode) settle() {
	n.t.Helper()
	n.o.Vsctl("set", "Open_vSwitch", ".", "external_ids:seen=1")
}

// ovsPicture is the picture of the node and what the database has, without what it counts.
func (n *ovsNode) ovsPicture() string {
	n.t.Helper()
	n.settle()
	rows := n.o.Vsctl("--columns=name,datapath_type,stp_enable,external_ids,other_config", "list", "Bridge",
		"--", "--columns=name,tag,trunks,vlan_mode,protected,external_ids", "list", "Port",
		"--", "--columns=name,type,options,mtu_request,error", "list", "Interface")
	var list []string
	for _, row := range strings.Split(rows, "\n\n") {
		list = append(list, strings.Join(strings.Fields(row), " "))
	}
	slices.Sort(list)
	return n.picture() + strings.Join(list, "\n")
}

// TestKilledOverOpenVSwitchItIsOldOrNew is TestKilledAtEveryMomentItIsOldOrNew for bridges of Open vSwitch. With few
// rounds, one moment in so many is tried, others each time.
func TestKilledOverOpenVSwitchItIsOldOrNew(t *testing.T) {
	testhost.Root(t)
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 5))
	stride := max(1, 60/testhost.Rounds(12))
	var points atomic.Int64
	for _, c := range ovsCrashes {
		first := 1 + rng.IntN(stride)
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newOVSNode(t)
			before, after := n.reference(c.before, c.write, n.ovsPicture)
			moment := first
			for ; !n.killedAt(moment, c.before, c.write, before, after); moment += stride {
				points.Add(1)
				if moment > 200 {
					t.Fatal("it never comes to its end")
				}
			}
			t.Logf("moments %d to %d by %d", first, moment-stride, stride)
		})
	}
	t.Cleanup(func() { t.Logf("killed at %d moments of %d writes", points.Load(), len(ovsCrashes)) })
}

// killedAt is a trial on an emptied node.
func (n *ovsNode) killedAt(moment int, setup []step, write step, before, after string) (done bool) {
	n.t.Helper()
	n.empty()
	return n.trial(moment, setup, write, n.ovsPicture, before, after)
}
