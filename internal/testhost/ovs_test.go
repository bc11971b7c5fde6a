package testhost

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// TestOVS: what the helper promises to other tests: traffic between peers, and daemons that come back.
func TestOVS(t *testing.T) {
	ovs := NewOVS(t, NewNetNS(t))
	ovs.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
	a := ovs.Peer("br0", "v1", "198.51.100.1/24")
	ovs.Peer("br0", "v2", "198.51.100.2/24")
	ovs.Flows("br0", "priority=1,actions=NORMAL")
	a.Run("ping", "-c1", "-W20", "198.51.100.2")
	if flows := ovs.Run("ovs-ofctl", "dump-flows", "br0"); !strings.Contains(flows, "priority=1 actions=NORMAL") || strings.Contains(flows, "n_packets=0,") {
		t.Errorf("flows after a ping:\n%s", flows)
	}
	for _, daemon := range []string{OVSDatabase, OVSSwitch} {
		before := ovs.PID(daemon)
		ovs.Signal(daemon, syscall.SIGSTOP)
		ovs.Signal(daemon, syscall.SIGCONT)
		ovs.Kill(daemon)
		ovs.Start(daemon)
		if ovs.PID(daemon) == before {
			t.Errorf("%s has the same process", daemon)
		}
	}
	if got := strings.Fields(ovs.Vsctl("list-ports", "br0")); fmt.Sprint(got) != "[v1 v2]" {
		t.Errorf("ports after a crash: %v", got)
	}
	ovs.Appctl("version")
}
