//go:build vmtest

package netops

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/vmtest"
	"github.com/geomind/my_os_server/pkg/registry"
)

// TestOVSWritesOnTheKernelDatapath makes bridges, ports and taps where the kernel switches the frames, sends frames
// that must pass and frames that must not, and leaves nothing.
func TestOVSWritesOnTheKernelDatapath(t *testing.T) {
	vmtest.Guest(t)
	for _, module := range []string{"openvswitch", "veth", "tun"} {
		testhost.Command(t, "modprobe", module)
	}
	m := newOVSMaker(t)
	m.stop()
	more := m.more
	m.more = func(o *Options) {
		more(o)
		o.OVSDatapathType = ""
	}
	m.start("boot-1")
	before := m.configuration()
	bridge := m.call("net.bridge.add", object{"name": "br0", "mtu": 1400, "addresses": []string{"10.1.0.1/24"}})["bridge"].(object)
	want(t, "bridge", some(bridge, "backend", "mtu", "admin_up"), object{"backend": "ovs", "mtu": 1400.0, "admin_up": true})
	want(t, "kind", m.links()["br0"]["linkinfo"].(object)["info_kind"], "openvswitch")
	m.call("net.bridge.add", object{"name": "br1"})
	m.call("net.bridge.connect", object{"a": "br0", "b": "br1", "name": "c"})
	hosts := map[string]*testhost.NetNS{}
	for name, params := range map[string]object{
		"pa": {"bridge": "br0", "pvid": 10}, "pb": {"bridge": "br1", "pvid": 10}, "pc": {"bridge": "br0", "pvid": 20},
	} {
		ns := testhost.NewNetNS(t)
		m.IP("link add name "+name+" type veth peer e0", "link set "+name+" up", "link set e0 netns "+ns.Path())
		ns.IP("link set e0 up", "addr add 10.0.0."+fmt.Sprint(name[1]-'a'+1)+"/24 dev e0")
		hosts[name] = ns
		params["interface"] = name
		want(t, name, m.call("net.bridge.add_port", params)["created"], true)
		want(t, name+" again", m.call("net.bridge.add_port", params)["created"], false)
	}
	m.IP("link add lb type bridge", "link add po type veth peer name px", "link set po master lb")
	refuses[*registry.ConflictError](m.maker, "net.bridge.add_port", object{"bridge": "br0", "interface": "po"}, "port of")
	tap := object{"vm_id": "v", "name": "t0", "bridge": "br0", "vlans": []string{"10", "20"}, "isolated": true}
	want(t, "tap", m.call("net.vm.create_tap", tap)["created"], true)
	want(t, "tap again", m.call("net.vm.create_tap", tap)["created"], false)
	m.inSync()
	reaches := func(from string, to int) bool {
		var err error
		hosts[from].Do(func() { _, err = net.DialTimeout("tcp", fmt.Sprintf("10.0.0.%d:9", to), time.Second) })
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	want(t, "inside a VLAN, over the connection", reaches("pa", 2), true)
	want(t, "into another VLAN", reaches("pa", 3), false)

	m.IP("link del t0")
	m.o.Vsctl("del-port", "br0", "pa")
	if drift := objects(m.call("net.verify", object{})["drift"]); len(drift) != 2 {
		t.Errorf("drift: %v", drift)
	}
	want(t, "tap made again", m.call("net.vm.create_tap", tap)["created"], true)
	m.call("net.bridge.add_port", object{"bridge": "br0", "interface": "pa", "pvid": 10})
	m.inSync()
	want(t, "again over the connection", reaches("pa", 2), true)
	m.call("net.vm.delete_tap", object{"name": "t0"})
	m.call("net.bridge.delete", object{"name": "br1", "force": true})
	m.call("net.bridge.delete", object{"name": "br0", "force": true})
	want(t, "left", m.configuration(), before)
	m.inSync()
}
