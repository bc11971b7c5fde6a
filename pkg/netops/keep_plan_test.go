package netops

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
)

// kernelWith is a kernel that has these links and routes.
func kernelWith(links []*heldLink, routes ...heldRoute) *held {
	h := newHeld()
	for i, l := range links {
		if l.Index == 0 {
			l.Index = i + 1
		}
		h.links[l.Name], h.names[l.Index] = l, l.Name
	}
	for _, r := range routes {
		h.routes[r.Key] = append(h.routes[r.Key], r)
	}
	return h
}

// told is a plan in words: what is wrong, then the steps.
func told(p plan) string {
	var words []string
	if p.missing {
		words = append(words, "missing")
	}
	for _, d := range p.differs {
		words = append(words, d.Field+" "+d.Actual.Or("-")+" for "+d.Expected.Or("-"))
	}
	if p.waits != "" {
		words = append(words, "waits for "+p.waits)
	}
	if p.obstacle != "" {
		words = append(words, "obstacle")
	}
	for _, s := range p.steps {
		words = append(words, "> "+s.String())
	}
	return strings.Join(words, "\n")
}

func TestPlans(t *testing.T) {
	bridge := bridgeSpec{Name: "br0", MAC: "02:00:00:00:00:01", MTU: 1400, Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.1.0.1/24")}}
	standing := func(change func(*heldLink)) *heldLink {
		l := &heldLink{Name: "br0", Kind: kindBridge, Alias: markBridge, MAC: bridge.MAC, MTU: 1400, Up: true,
			Addresses: []heldAddress{{Prefix: bridge.Addresses[0]}}}
		change(l)
		return l
	}
	tap := tapSpec{VMID: "v", Name: "t0", Bridge: "br0", MAC: "52:00:00:00:00:01", HostMAC: "fe:00:00:00:00:01", MTU: 1500}
	tap.Isolated = true
	held := func(change func(*heldLink)) *heldLink {
		l := &heldLink{Name: "t0", Kind: kindTun, Alias: markTap, MAC: tap.HostMAC, MTU: 1500, Up: true, Master: 1, IsPort: true,
			Tun: rtnl.Tun{Tap: true, Persistent: true}, Port: rtnl.BridgePort{Isolated: true}}
		change(l)
		return l
	}
	same := func(*heldLink) {}
	port := portSpec{Bridge: "br0", Interface: "p0"}
	port.PVID, port.VLANs = 10, []string{"20-21"}
	route := routeSpec{Dst: netip.MustParsePrefix("10.9.0.0/16"), Table: 254, Type: typeUnicast, Gateway: netip.MustParseAddr("10.1.0.9"), Interface: "br0"}
	ours := heldRoute{Key: route.key(), Protocol: RouteProtocol, Type: typeUnicast, Gateway: route.Gateway, OIF: 1}
	foreign, other := ours, ours
	foreign.Protocol, other.Gateway = unix.RTPROT_STATIC, netip.MustParseAddr("10.1.0.8")
	pair := connectionSpec{A: "br0", B: "br1", APort: "c-a", BPort: "c-b"}
	end := func(name string, index, peer, master int) *heldLink {
		return &heldLink{Name: name, Index: index, Peer: peer, Master: master, Kind: kindVeth, Alias: markConnection, Up: true}
	}
	bridges := []*heldLink{standing(same), {Name: "br1", Kind: kindBridge}}

	for name, c := range map[string]struct {
		spec spec
		held []*heldLink
		have []heldRoute
		want string
	}{
		"a bridge that stands":   {bridge, []*heldLink{standing(same)}, nil, ""},
		"a bridge that is gone":  {bridge, nil, nil, "missing\n> add bridge br0\n> set alias of br0 to my_os_server:bridge\n> set mtu of br0 to 1400\n> add address 10.1.0.1/24 to br0\n> set br0 up"},
		"a bridge of others":     {bridge, []*heldLink{standing(func(l *heldLink) { l.Alias = "" })}, nil, "obstacle"},
		"a bridge that differs":  {bridge, []*heldLink{standing(func(l *heldLink) { l.MTU, l.Up, l.Addresses = 1500, false, nil })}, nil, "mtu 1500 for 1400\naddress - for 10.1.0.1/24\nup false for true\n> set mtu of br0 to 1400\n> add address 10.1.0.1/24 to br0\n> set br0 up"},
		"a tap that stands":      {tap, []*heldLink{bridges[0], held(same)}, nil, ""},
		"a tap that is gone":     {tap, bridges[:1], nil, "missing\n> add tap t0\n> set alias of t0 to my_os_server:tap\n> set mac of t0 to fe:00:00:00:00:01\n> set mtu of t0 to 1500\n> add port t0 to br0\n> set of port t0 isolated to true\n> set t0 up"},
		"a tap without bridge":   {tap, []*heldLink{held(func(l *heldLink) { l.Master, l.IsPort = 0, false })}, nil, "waits for bridge br0"},
		"a tap let go":           {tap, []*heldLink{bridges[0], held(func(l *heldLink) { l.Master, l.IsPort = 0, false })}, nil, "bridge - for br0\nisolated false for true\n> add port t0 to br0\n> set of port t0 isolated to true"},
		"a tun of its name":      {tap, []*heldLink{bridges[0], held(func(l *heldLink) { l.Tun.Tap = false })}, nil, "obstacle"},
		"a tap of another owner": {tap, []*heldLink{bridges[0], held(func(l *heldLink) { l.Tun.HasOwner, l.Tun.Owner = true, 7 })}, nil, "options owner 7, group none, multi_queue false, persistent for owner none, group none, multi_queue false, persistent\nalias - for my_os_server:tap\nhost_mac - for fe:00:00:00:00:01\nmtu 0 for 1500\nbridge - for br0\nisolated false for true\nup false for true\n> delete t0\n> add tap t0\n> set alias of t0 to my_os_server:tap\n> set mac of t0 to fe:00:00:00:00:01\n> set mtu of t0 to 1500\n> add port t0 to br0\n> set of port t0 isolated to true\n> set t0 up"},
		"a port without link":    {port, bridges, nil, "missing\nwaits for interface p0"},
		"a port in no bridge":    {port, []*heldLink{bridges[0], {Name: "p0", Index: 9}}, nil, "missing\n> add port p0 to br0\n> set vlans of port p0: 3 more, 0 less"},
		"a port with a vlan too many": {port, []*heldLink{bridges[0], {Name: "p0", Index: 9, Master: 1, IsPort: true,
			VLANs: []rtnl.PortVLAN{{ID: 1, Untagged: true}, {ID: 10, PVID: true, Untagged: true}, {ID: 20}, {ID: 21}}}}, nil,
			"vlans 1 untagged, 10 pvid untagged, 20, 21 for 10 pvid untagged, 20, 21\n> set vlans of port p0: 0 more, 1 less"},
		"a route that stands":        {route, bridges, []heldRoute{ours}, ""},
		"a route beside a foreign":   {route, bridges, []heldRoute{foreign, ours}, ""},
		"a route that is gone":       {route, bridges, nil, "missing\n> add route 10.9.0.0/16 via 10.1.0.9 dev br0"},
		"a foreign route instead":    {route, bridges, []heldRoute{foreign}, "missing\nobstacle"},
		"another gateway":            {route, bridges, []heldRoute{other}, "gateway 10.1.0.8 for 10.1.0.9\n> replace route 10.9.0.0/16 via 10.1.0.9 dev br0"},
		"a route without its link":   {route, nil, nil, "missing\nwaits for interface br0"},
		"a connection that stands":   {pair, append(bridges[:2:2], end("c-a", 8, 9, 1), end("c-b", 9, 8, 2)), nil, ""},
		"a connection that is gone":  {pair, bridges, nil, "missing\n> add veth pair c-a, c-b\n> set alias of c-a to my_os_server:connection\n> add port c-a to br0\n> set c-a up\n> set alias of c-b to my_os_server:connection\n> add port c-b to br1\n> set c-b up"},
		"half a connection":          {pair, append(bridges[:2:2], end("c-b", 9, 8, 2)), nil, "missing\n> delete c-b\n> add veth pair c-a, c-b\n> set alias of c-a to my_os_server:connection\n> add port c-a to br0\n> set c-a up\n> set alias of c-b to my_os_server:connection\n> add port c-b to br1\n> set c-b up"},
		"a connection wrongly ended": {pair, append(bridges[:2:2], end("c-a", 8, 9, 2), end("c-b", 9, 8, 2)), nil, "c-a.bridge br1 for br0\n> add port c-a to br0"},
	} {
		h := kernelWith(c.held, c.have...)
		want(t, name, told(c.spec.plan(h)), c.want)
	}
}

// TestRemovalsTakeOnlyWhatIsOurs: what bears no mark stays, unless a write of ours was cut off over it.
func TestRemovalsTakeOnlyWhatIsOurs(t *testing.T) {
	bridge := bridgeSpec{Name: "br0", MAC: "02:00:00:00:00:01"}
	for _, c := range []struct {
		link   heldLink
		cutOff bool
		want   string
	}{
		{heldLink{Name: "br0", Kind: kindBridge, Alias: markBridge}, false, "> delete br0"},
		{heldLink{Name: "br0", Kind: kindBridge, Alias: markTap}, false, ""},
		{heldLink{Name: "br0", Kind: kindVeth, Alias: markBridge}, false, ""},
		{heldLink{Name: "br0", Kind: kindBridge, MAC: bridge.MAC}, false, ""},
		{heldLink{Name: "br0", Kind: kindBridge, MAC: bridge.MAC}, true, "> delete br0"},
		{heldLink{Name: "br0", Kind: kindBridge, MAC: "02:00:00:00:00:02"}, true, ""},
	} {
		h := kernelWith([]*heldLink{&c.link})
		h.cutOff = c.cutOff
		want(t, c.link.Alias, told(bridge.removal(h)), c.want)
	}
}

func TestVLANBounds(t *testing.T) {
	for text, c := range map[string][3]int{
		"1": {1, 1, 1}, "4094": {4094, 4094, 1}, "10-20": {10, 20, 1}, "4095": {}, "0": {}, "20-10": {}, "1-5000": {}, "": {}, "-": {}, "1-": {}, "a": {},
	} {
		first, last, ok := vlanBounds(text)
		if ok != (c[2] == 1) || ok && (first != c[0] || last != c[1]) || !ok && first <= last {
			t.Errorf("%q: %d %d %v", text, first, last, ok)
		}
	}
}

func FuzzVLANBounds(f *testing.F) {
	for _, text := range []string{"1", "10-20", "4094", "20-10", "1-", "-"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n := 0
		for id := range vlanIDs(text) {
			if id < 1 || id > maxVLAN {
				t.Fatalf("%q: %d", text, id)
			}
			n++
		}
		if _, _, ok := vlanBounds(text); ok != (n > 0) {
			t.Fatalf("%q: %v with %d ids", text, ok, n)
		}
	})
}
