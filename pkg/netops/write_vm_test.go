//go:build vmtest

package netops

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/vmtest"
)

// TestVLANsOfPorts sets the VLANs of ports where bridges filter by them, and sends frames that must pass and
// frames that must not.
func TestVLANsOfPorts(t *testing.T) {
	vmtest.Guest(t)
	for _, module := range []string{"bridge", "8021q", "veth", "tun"} {
		testhost.Command(t, "modprobe", module)
	}
	m := newMaker(t)
	m.restore()
	hosts := map[string]*testhost.NetNS{}
	m.call("net.bridge.add", object{"name": "br0", "vlan_filtering": true})
	for name, params := range map[string]object{
		"pa": {"pvid": 10},
		"pb": {"pvid": 10, "vlans": []string{"20-29"}},
		"pc": {"pvid": 20},
		"pd": {"vlans": []string{"10", "20"}, "untagged": []string{"20"}, "pvid": 20},
	} {
		ns := testhost.NewNetNS(t)
		m.IP("link add name "+name+" type veth peer e0", "link set "+name+" up", "link set e0 netns "+ns.Path())
		ns.IP("link set e0 up", "addr add 10.0.0."+fmt.Sprint(name[1]-'a'+1)+"/24 dev e0")
		hosts[name] = ns
		params["bridge"], params["interface"] = "br0", name
		want(t, name, m.call("net.bridge.add_port", params)["created"], true)
		want(t, name+" again", m.call("net.bridge.add_port", params)["created"], false)
	}
	m.inSync()
	for name, vlans := range map[string][]string{"pa": {"10 PVID Egress Untagged"}, "pc": {"20 PVID Egress Untagged"}, "pd": {"10", "20 PVID Egress Untagged"}} {
		want(t, name, m.vlansOf(name), vlans)
	}
	want(t, "pb", len(m.vlansOf("pb")), 11)
	// A host that frames reach refuses the connection.
	reaches := func(from string, to int) bool {
		var err error
		hosts[from].Do(func() { _, err = net.DialTimeout("tcp", fmt.Sprintf("10.0.0.%d:9", to), time.Second) })
		return errors.Is(err, syscall.ECONNREFUSED)
	}
	for _, c := range []struct {
		from string
		to   int
		pass bool
	}{{"pa", 2, true}, {"pa", 3, false}, {"pc", 4, true}, {"pc", 1, false}, {"pd", 3, true}, {"pd", 1, false}} {
		if got := reaches(c.from, c.to); got != c.pass {
			t.Errorf("frames from %s to 10.0.0.%d pass: %v, want %v", c.from, c.to, got, c.pass)
		}
	}

	m.Run("bridge", "vlan", "add", "dev", "pa", "vid", "99")
	drift := objects(m.call("net.verify", object{})["drift"])
	if len(drift) != 1 || drift[0]["id"] != "pa" || objects(drift[0]["differences"])[0]["field"] != "vlans" {
		t.Errorf("drift: %v", drift)
	}
	tap := m.call("net.vm.create_tap", object{"vm_id": "v", "bridge": "br0", "pvid": 30, "vlans": []string{"31"}})["tap"].(object)
	want(t, "tap", m.vlansOf(tap["name"].(string)), []string{"30 PVID Egress Untagged", "31"})
}

// vlansOf is what bridge(8) says of a port.
func (m *maker) vlansOf(name string) (list []string) {
	for _, port := range decode[[]object](m.t, []byte(m.Run("bridge", "-j", "vlan", "show", "dev", name))) {
		for _, v := range objects(port["vlans"]) {
			words := []string{fmt.Sprint(v["vlan"])}
			flags, _ := v["flags"].([]any)
			for _, f := range flags {
				words = append(words, f.(string))
			}
			if end, ok := v["vlanEnd"].(float64); ok {
				for id := v["vlan"].(float64) + 1; id <= end; id++ {
					list = append(list, fmt.Sprint(id))
				}
			}
			list = append(list, strings.Join(words, " "))
		}
	}
	slices.Sort(list)
	return list
}
