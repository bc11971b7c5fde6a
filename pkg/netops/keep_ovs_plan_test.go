package netops

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/pkg/registry"
)

// switchWith is a kernel with links beside a database with rows.
func switchWith(links []*heldLink, bridges []*heldOVSBridge, ports ...*heldOVSPort) *held {
	h := kernelWith(links)
	h.ovs = &heldOVS{bridges: map[string]*heldOVSBridge{}, ports: map[string]*heldOVSPort{}}
	for _, b := range bridges {
		h.ovs.bridges[b.Name] = b
	}
	for _, p := range ports {
		h.ovs.ports[p.Name] = p
	}
	return h
}

func TestOVSPlans(t *testing.T) {
	ovs := backed{registry.BridgeBackendOvs}
	bridge := bridgeSpec{Name: "br0", MAC: "02:00:00:00:00:01", MTU: 1400, Up: true, backed: ovs, DatapathType: "netdev",
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24")}}
	row := func(change func(*heldOVSBridge)) []*heldOVSBridge {
		b := &heldOVSBridge{UUID: "u", Name: "br0", Mark: markOVSBridge, DatapathType: "netdev", MAC: bridge.MAC, MTU: 1400}
		if change != nil {
			change(b)
		}
		return []*heldOVSBridge{b}
	}
	link := &heldLink{Name: "br0", Kind: kindTun, Alias: markBridge, MTU: 1400, Up: true, Addresses: []heldAddress{{Prefix: bridge.Addresses[0]}}}
	eth := &heldLink{Name: "p0", Kind: kindVeth}
	port := portSpec{Bridge: "br0", Interface: "p0", backed: ovs, portSettings: portSettings{PVID: 7, VLANs: []string{"20-21"}}}
	portRow := func(change func(*heldOVSPort)) *heldOVSPort {
		p := &heldOVSPort{UUID: "p", Name: "p0", Mark: markOVSPort, Bridge: "br0", Mode: "native-untagged", Tag: 7, Trunks: []int64{20, 21}}
		if change != nil {
			change(p)
		}
		return p
	}
	tap := tapSpec{VMID: "v", Name: "t0", Bridge: "br0", HostMAC: "fe:00:00:00:00:01", MTU: 1500, backed: ovs}
	standingTap := &heldLink{Name: "t0", Kind: kindTun, Alias: markTap, MAC: tap.HostMAC, MTU: 1500, Up: true}
	standingTap.Tun.Tap, standingTap.Tun.Persistent = true, true
	tapRow := &heldOVSPort{UUID: "t", Name: "t0", Mark: markOVSTap, Bridge: "br0"}
	pair := connectionSpec{A: "br0", B: "br1", APort: "c-a", BPort: "c-b", backed: ovs}
	both := append(row(nil), &heldOVSBridge{Name: "br1"})
	end := func(name, bridge, peer string) *heldOVSPort {
		return &heldOVSPort{UUID: "c", Name: name, Mark: markOVSConnection, Bridge: bridge, Peer: peer, Type: "patch"}
	}
	gone := switchWith(nil, nil)
	gone.ovs.gone = errors.New("it does not answer")
	for _, c := range []struct {
		name string
		spec spec
		held *held
		want string
	}{
		{"a bridge in sync", bridge, switchWith([]*heldLink{link}, row(nil)), ""},
		{"no bridge", bridge, switchWith(nil, nil), "missing\n> add bridge br0 to Open vSwitch\n> set alias of br0 to my_os_server:bridge\n> set mtu of br0 to 1400\n> add address 10.1.0.1/24 to br0\n> set br0 up"},
		{"a bridge that the switch has not made", bridge, switchWith(nil, row(nil)), "waits for interface br0 of ovs-vswitchd"},
		{"others' bridge", bridge, switchWith(nil, row(func(b *heldOVSBridge) { b.Mark = "" })), "obstacle"},
		{"others' port", bridge, switchWith(nil, nil, &heldOVSPort{Name: "br0"}), "obstacle"},
		{"others' interface", bridge, switchWith([]*heldLink{{Name: "br0", Kind: kindVeth}}, nil), "obstacle"},
		{"an interface that the switch left", bridge, switchWith([]*heldLink{link}, nil), "missing\n> add bridge br0 to Open vSwitch"},
		{"other columns", bridge, switchWith([]*heldLink{link}, row(func(b *heldOVSBridge) { b.MAC, b.MTU, b.STP = "", 0, true })),
			"mac - for 02:00:00:00:00:01\nmtu 0 for 1400\nstp true for false\n> set mac of bridge br0 of Open vSwitch to 02:00:00:00:00:01\n" +
				"> set mtu of bridge br0 of Open vSwitch to 1400\n> set stp of bridge br0 of Open vSwitch to false"},
		{"no Open vSwitch", bridge, gone, "missing\nwaits for Open vSwitch: it does not answer"},

		{"a port in sync", port, switchWith([]*heldLink{eth}, row(nil), portRow(nil)), ""},
		{"no port", port, switchWith([]*heldLink{eth}, row(nil)), "missing\n> add port p0 to br0 of Open vSwitch"},
		{"no interface for it", port, switchWith(nil, row(nil), portRow(nil)), "missing\nwaits for interface p0"},
		{"no bridge for it", port, switchWith([]*heldLink{eth}, nil), "waits for bridge br0"},
		{"others' port of that name", port, switchWith([]*heldLink{eth}, row(nil), portRow(func(p *heldOVSPort) { p.Mark = "" })), "obstacle"},
		{"other VLANs", port, switchWith([]*heldLink{eth}, row(nil), portRow(func(p *heldOVSPort) { p.Tag, p.Mode, p.Trunks = 0, "", []int64{3} })),
			"vlan_mode - for native-untagged\ntag - for 7\ntrunks 3 for 20 21\n> set vlans of port p0 of Open vSwitch to native-untagged 7 20 21, isolated to false"},
		{"in another bridge", port, switchWith([]*heldLink{eth}, row(nil), portRow(func(p *heldOVSPort) { p.Bridge = "br9" })),
			"bridge br9 for br0\n> delete port p0 of br9 of Open vSwitch\n> add port p0 to br0 of Open vSwitch"},
		{"a port that does not work", port, switchWith([]*heldLink{eth}, row(nil), portRow(func(p *heldOVSPort) { p.Fault = "no such device" })),
			"error no such device for -\n> have ovs-vswitchd try port p0 again"},

		{"a tap in sync", tap, switchWith([]*heldLink{standingTap}, row(nil), tapRow), ""},
		{"a tap that was detached", tap, switchWith([]*heldLink{standingTap}, row(nil)), "bridge - for br0\n> add port t0 to br0 of Open vSwitch"},
		{"no tap, but its row", tap, switchWith(nil, row(nil), tapRow),
			"missing\n> add tap t0\n> set alias of t0 to my_os_server:tap\n> set mac of t0 to fe:00:00:00:00:01\n> set mtu of t0 to 1500\n> set t0 up"},
		{"a tap out of its bridge", tap.outOfBridge(), switchWith([]*heldLink{standingTap}, row(nil), tapRow), "bridge br0 for -\n> delete port t0 of br0 of Open vSwitch"},

		{"a connection in sync", pair, switchWith(nil, both, end("c-a", "br0", "c-b"), end("c-b", "br1", "c-a")), ""},
		{"no connection", pair, switchWith(nil, both), "missing\n> add port c-a to br0, port c-b to br1 of Open vSwitch"},
		{"half of it", pair, switchWith(nil, both, end("c-a", "br0", "c-b")), "missing\n> add port c-b to br1 of Open vSwitch"},
		{"one bridge is gone", pair, switchWith(nil, row(nil)), "missing\nwaits for bridge br1"},
	} {
		got := c.spec.plan(c.held)
		if diff := cmp.Diff(c.want, told(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	for _, c := range []struct {
		name string
		spec spec
		held *held
		want string
	}{
		{"a bridge", bridge, switchWith([]*heldLink{link}, row(nil)), "> delete bridge br0 of Open vSwitch"},
		{"others' bridge", bridge, switchWith([]*heldLink{link}, row(func(b *heldOVSBridge) { b.Mark = "" })), ""},
		{"a port", port, switchWith(nil, row(nil), portRow(nil)), "> delete port p0 of br0 of Open vSwitch"},
		{"others' port", port, switchWith(nil, row(nil), portRow(func(p *heldOVSPort) { p.Mark = "" })), ""},
		{"others' port, by its name", portSpec{Bridge: "br0", Interface: "p0", backed: ovs, named: true}, switchWith(nil, row(nil), portRow(func(p *heldOVSPort) { p.Mark = "" })), "> delete port p0 of br0 of Open vSwitch"},
		{"a tap", tap, switchWith([]*heldLink{standingTap}, row(nil), tapRow), "> delete port t0 of br0 of Open vSwitch\n> delete t0"},
		{"a connection", pair, switchWith(nil, both, end("c-a", "br0", "c-b"), end("c-b", "br1", "c-a")),
			"> delete port c-a of br0 of Open vSwitch\n> delete port c-b of br1 of Open vSwitch"},
	} {
		if diff := cmp.Diff(c.want, told(c.spec.removal(c.held))); diff != "" {
			t.Errorf("removal of %s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestOVSVLANs(t *testing.T) {
	for _, c := range []struct {
		settings portSettings
		mode     string
		tag      int64
		trunks   []int64
	}{
		{portSettings{}, "", 0, nil},
		{portSettings{PVID: 5}, "access", 5, nil},
		{portSettings{VLANs: []string{"3", "1-2", "2"}}, "trunk", 0, []int64{1, 2, 3}},
		{portSettings{PVID: 5, VLANs: []string{"9"}}, "native-untagged", 5, []int64{9}},
	} {
		mode, tag, trunks := c.settings.ovsVLANs()
		if mode != c.mode || tag != c.tag || !cmp.Equal(trunks, c.trunks) {
			t.Errorf("%+v: %s %d %v", c.settings, mode, tag, trunks)
		}
	}
	some := registry.Some[int64]
	for name, c := range map[string]struct {
		port registry.OvsPort
		pvid int64
		want []registry.VlanRange
	}{
		"all":     {registry.OvsPort{}, 0, []registry.VlanRange{{VlanEnd: some(4095)}}},
		"access":  {registry.OvsPort{VlanTag: some(5)}, 5, []registry.VlanRange{{Vlan: 5, Pvid: true, Untagged: true}}},
		"trunk":   {registry.OvsPort{Trunks: []int64{1, 2, 7}}, 0, []registry.VlanRange{{Vlan: 1, VlanEnd: some(2)}, {Vlan: 7}}},
		"trunk 0": {registry.OvsPort{VlanMode: registry.Some("trunk"), VlanTag: some(9), Trunks: []int64{0}}, 0, []registry.VlanRange{{}}},
		"native": {registry.OvsPort{VlanMode: registry.Some("native-untagged"), VlanTag: some(2), Trunks: []int64{1, 3}}, 2,
			[]registry.VlanRange{{Vlan: 1}, {Vlan: 2, Pvid: true, Untagged: true}, {Vlan: 3}}},
		"native, tagged": {registry.OvsPort{VlanMode: registry.Some("native-tagged"), VlanTag: some(2), Trunks: []int64{1}}, 2,
			[]registry.VlanRange{{Vlan: 1}, {Vlan: 2, Pvid: true}}},
		"tunnel": {registry.OvsPort{VlanMode: registry.Some("dot1q-tunnel"), VlanTag: some(2), Cvlans: []int64{8}}, 2, []registry.VlanRange{{Vlan: 2, Pvid: true, Untagged: true}}},
	} {
		pvid, got := ovsVLANRanges(&c.port)
		if diff := cmp.Diff(c.want, got, cmp.Comparer(func(a, b registry.Opt[int64]) bool { return a == b }), cmp.Comparer(func(a, b registry.Opt[string]) bool { return a == b }), cmp.Comparer(func(a, b registry.Opt[bool]) bool { return a == b })); pvid.Or(0) != c.pvid || diff != "" {
			t.Errorf("%s: pvid %v\n%s", name, pvid, diff)
		}
	}
}
