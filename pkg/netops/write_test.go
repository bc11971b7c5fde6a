package netops

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// maker is a namespace with a Net that may write, and remembers.
type maker struct {
	*testhost.NetNS
	t     testing.TB
	dir   string
	store *state.Store
	net   *Net
	more  func(*Options) // adds to those of the Net; may be nil
}

func newMaker(t testing.TB) *maker {
	m := &maker{NetNS: testhost.NewNetNS(t), t: t, dir: t.TempDir()}
	m.start("boot-1")
	t.Cleanup(m.stop)
	return m
}

// start opens the store and the Net, in a boot of that name.
func (m *maker) start(boot string) {
	m.t.Helper()
	var err error
	m.store, err = state.Open(m.dir, state.Options{Boot: state.Boot{ID: boot}, FoldIdle: -1})
	if err != nil {
		m.t.Fatal(err)
	}
	o := Options{NetNS: m.Path(), Mode: registry.NodeModeNative, State: m.store}
	if m.more != nil {
		m.more(&o)
	}
	m.net, err = New(o)
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *maker) stop() {
	if err := errors.Join(m.net.Close(), m.store.Close()); err != nil {
		m.t.Error(err)
	}
}

func (m *maker) call(method string, params object) object {
	m.t.Helper()
	return mustCall(m.t, m.net, method, params)
}

// refuses makes a call that must fail with an error of type E, whose text has want.
func refuses[E error](m *maker, method string, params object, want string) {
	m.t.Helper()
	_, err := call(m.t, m.net, method, params)
	var typed E
	if !errors.As(err, &typed) || !strings.Contains(err.Error(), want) {
		m.t.Errorf("%s %v: %T %v, want %T with %q", method, params, err, err, typed, want)
	}
}

// without is an object without some members.
func without(o object, members ...string) object {
	c := object{}
	for k, v := range o {
		c[k] = v
	}
	for _, k := range members {
		delete(c, k)
	}
	return c
}

func some(o object, members ...string) object {
	c := object{}
	for _, k := range members {
		if v, ok := o[k]; ok {
			c[k] = v
		}
	}
	return c
}

func want(t testing.TB, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// links is what ip(8) says of all interfaces but lo, by name.
func (m *maker) links() map[string]object {
	m.t.Helper()
	all := map[string]object{}
	for _, l := range decode[[]object](m.t, []byte(m.Run("ip", "-j", "-d", "addr", "show"))) {
		if l["ifname"] != "lo" {
			all[l["ifname"].(string)] = l
		}
	}
	return all
}

func TestBridgeIsMadeAskedAgainAndDeleted(t *testing.T) {
	m := newMaker(t)
	params := object{"name": "br0", "mtu": 1400, "addresses": []string{"10.1.0.1/24", "2001:db8::1/64"}, "tag": "t1"}
	first := m.call("net.bridge.add", params)
	want(t, "created", first["created"], true)
	want(t, "bridge", some(first["bridge"].(object), "name", "mtu", "admin_up", "managed", "persistent", "tag", "exists"),
		object{"name": "br0", "mtu": 1400.0, "admin_up": true, "managed": true, "persistent": true, "tag": "t1", "exists": true})
	l := m.links()["br0"]
	want(t, "ip(8)", some(l, "mtu", "ifalias", "address"), object{"mtu": 1400.0, "ifalias": markBridge, "address": first["bridge"].(object)["mac"]})
	var addrs []string
	for _, a := range objects(l["addr_info"]) {
		addrs = append(addrs, a["local"].(string))
	}
	if !strings.Contains(strings.Join(addrs, " "), "10.1.0.1 2001:db8::1") {
		t.Errorf("addresses %v", addrs)
	}
	for _, again := range []object{params, {"name": "br0"}, without(params, "tag")} {
		want(t, "created again", m.call("net.bridge.add", again)["created"], false)
	}
	refuses[*registry.ConflictError](m, "net.bridge.add", object{"name": "br0", "mtu": 1500}, "mtu")
	want(t, "managed", objects(m.call("net.interfaces", object{"name": "br0"})["interfaces"])[0]["managed"], true)

	m.IP("link add foreign type bridge")
	refuses[*registry.ConflictError](m, "net.bridge.add", object{"name": "foreign"}, "did not make")
	refuses[*registry.RefusedError](m, "net.bridge.delete", object{"name": "foreign", "force": true}, "did not make")
	want(t, "nothing there", m.call("net.bridge.delete", object{"name": "br9"}), object{"deleted": false})
	want(t, "deleted", m.call("net.bridge.delete", object{"name": "br0"}), object{"deleted": true})
	want(t, "deleted again", m.call("net.bridge.delete", object{"name": "br0"}), object{"deleted": false})
	if m.links()["br0"] != nil || m.links()["foreign"] == nil {
		t.Errorf("left: %v", m.links())
	}
}

func TestTapIsMadeAsAskedAndDeleted(t *testing.T) {
	m := newMaker(t)
	m.call("net.bridge.add", object{"name": "br0", "mtu": 1450})
	params := object{"vm_id": "vm-1", "bridge": "br0", "mac": "52:54:00:12:34:56", "owner_uid": 1234, "owner_gid": 77, "vnet_hdr": true, "isolated": true, "hairpin": true, "tag": "x"}
	first := m.call("net.vm.create_tap", params)
	want(t, "created", first["created"], true)
	tap := first["tap"].(object)
	name := tap["name"].(string)
	want(t, "tap", without(tap, "name", "index"), object{
		"vm_id": "vm-1", "nic": 0.0, "bridge": "br0", "mac": "52:54:00:12:34:56", "host_mac": "fe:54:00:12:34:56", "mtu": 1450.0,
		"owner_uid": 1234.0, "owner_gid": 77.0, "multi_queue": false, "vnet_hdr": true, "isolated": true, "hairpin": true,
		"up": true, "carrier": false, "exists": true, "managed": true, "tag": "x",
	})
	l := m.links()[name]
	info := l["linkinfo"].(object)
	want(t, "ip(8)", some(l, "master", "mtu", "address", "ifalias"), object{"master": "br0", "mtu": 1450.0, "address": "fe:54:00:12:34:56", "ifalias": markTap})
	want(t, "tun", some(info["info_data"].(object), "type", "persist", "vnet_hdr"), object{"type": "tap", "persist": true, "vnet_hdr": true})
	want(t, "port", some(info["info_slave_data"].(object), "isolated", "hairpin"), object{"isolated": true, "hairpin": true})
	want(t, "again", m.call("net.vm.create_tap", params)["created"], false)
	refuses[*registry.ConflictError](m, "net.vm.create_tap", object{"vm_id": "vm-1", "mtu": 1500}, "mtu")
	refuses[*registry.ConflictError](m, "net.vm.create_tap", object{"vm_id": "vm-2", "name": name}, "")
	refuses[*registry.NotFoundError](m, "net.vm.create_tap", object{"vm_id": "vm-3", "bridge": "br7"}, "br7")
	refuses[*registry.BusyError](m, "net.bridge.delete", object{"name": "br0"}, "ports")

	want(t, "list", len(objects(m.call("net.vm.list", object{"bridge": "br0", "tag": "x", "vm_id": "vm-1"})["taps"])), 1)
	want(t, "list of another tag", len(objects(m.call("net.vm.list", object{"tag": "y"})["taps"])), 0)
	m.IP("link del " + name)
	gone := objects(m.call("net.vm.list", object{})["taps"])[0]
	want(t, "gone", some(gone, "exists", "up"), object{"exists": false, "up": false})
	want(t, "made again", m.call("net.vm.create_tap", params)["created"], true)
	want(t, "deleted", m.call("net.vm.delete_tap", object{"name": name}), object{"deleted": true, "name": name})
	want(t, "deleted again", m.call("net.vm.delete_tap", object{"name": name}), object{"deleted": false})
	refuses[*registry.RefusedError](m, "net.vm.delete_tap", object{"name": "br0"}, "a bridge with this daemon's mark")
	if m.links()[name] != nil {
		t.Error("still there")
	}
}

func TestPortsComeAndGo(t *testing.T) {
	m := newMaker(t)
	m.call("net.bridge.add", object{"name": "br0"})
	m.call("net.bridge.add", object{"name": "br1"})
	m.IP("link add v0 type veth peer v1", "addr add 192.0.2.1/24 dev v1", "link set v1 up")
	got := m.call("net.bridge.add_port", object{"bridge": "br0", "interface": "v0", "isolated": true})
	want(t, "created", got["created"], true)
	want(t, "port", some(got["port"].(object), "interface", "bridge", "isolated", "hairpin", "managed", "persistent"),
		object{"interface": "v0", "bridge": "br0", "isolated": true, "hairpin": false, "managed": true, "persistent": true})
	want(t, "again", m.call("net.bridge.add_port", object{"bridge": "br0", "interface": "v0"})["created"], false)
	refuses[*registry.ConflictError](m, "net.bridge.add_port", object{"bridge": "br0", "interface": "v0", "isolated": false}, "isolated")
	refuses[*registry.ConflictError](m, "net.bridge.add_port", object{"bridge": "br1", "interface": "v0"}, "bridge")
	refuses[*registry.RefusedError](m, "net.bridge.add_port", object{"bridge": "br0", "interface": "v1"}, "192.0.2.1/24")
	refuses[*registry.NotFoundError](m, "net.bridge.add_port", object{"bridge": "br0", "interface": "v9"}, "v9")
	refuses[*registry.NotFoundError](m, "net.bridge.add_port", object{"bridge": "br9", "interface": "v1"}, "")
	want(t, "forced", m.call("net.bridge.add_port", object{"bridge": "br1", "interface": "v1", "force": true})["created"], true)
	want(t, "removed", m.call("net.bridge.remove_port", object{"bridge": "br0", "interface": "v0"}), object{"deleted": true})
	want(t, "removed again", m.call("net.bridge.remove_port", object{"bridge": "br0", "interface": "v0"}), object{"deleted": false})
	if l := m.links()["v0"]; l == nil || l["master"] != nil {
		t.Errorf("v0: %v", l)
	}
	want(t, "with its port", m.call("net.bridge.delete", object{"name": "br1", "force": true}), object{"deleted": true, "ports_released": []any{"v1"}})
	if m.net.kept.ports.Len() != 0 {
		t.Error("a port is still registered")
	}
}

func TestBridgesAreConnectedWithoutALoop(t *testing.T) {
	m := newMaker(t)
	for _, name := range []string{"a", "b", "c"} {
		m.call("net.bridge.add", object{"name": name})
	}
	first := m.call("net.bridge.connect", object{"a": "a", "b": "b"})
	want(t, "created", first["created"], true)
	want(t, "in the other order", m.call("net.bridge.connect", object{"a": "b", "b": "a"}), func() object { o := without(first); o["created"] = false; return o }())
	m.call("net.bridge.connect", object{"a": "b", "b": "c", "name": "bc"})
	refuses[*registry.RefusedError](m, "net.bridge.connect", object{"a": "a", "b": "c"}, "loop")
	refuses[*registry.ParamsError](m, "net.bridge.connect", object{"a": "a", "b": "a"}, "another bridge")
	refuses[*registry.NotFoundError](m, "net.bridge.connect", object{"a": "a", "b": "x"}, "x")
	port := first["a_port"].(string)
	want(t, "up and in", some(m.links()[port], "master", "ifalias"), object{"master": "a", "ifalias": markConnection})
	want(t, "removed by one end", m.call("net.bridge.remove_port", object{"bridge": "a", "interface": port}),
		object{"deleted": true, "removed_interfaces": []any{first["a_port"], first["b_port"]}})
	want(t, "no loop now", m.call("net.bridge.connect", object{"a": "a", "b": "c"})["created"], true)
	want(t, "bridge and its pairs", m.call("net.bridge.delete", object{"name": "c", "force": true}), object{"deleted": true})
	if links := m.links(); len(links) != 2 || m.net.kept.connections.Len() != 0 {
		t.Errorf("left: %v", links)
	}
}

func (m *maker) routes(family, table string) []object {
	m.t.Helper()
	return decode[[]object](m.t, []byte(m.Run("ip", "-j", "-d", family, "route", "show", "table", table, "proto", "109")))
}

func TestRoutesAreMadeReplacedAndDeleted(t *testing.T) {
	m := newMaker(t)
	m.IP("link add v0 type veth peer v1", "addr add 192.0.2.2/24 dev v0", "addr add 2001:db8::2/64 dev v0 nodad", "link set v0 up", "link set v1 up")
	for _, c := range []struct {
		params object
		key    string
		wants  object
	}{
		{object{"dst": "10.20.0.0/16", "gateway": "192.0.2.1"}, "10.20.0.0/16", object{"gateway": "192.0.2.1", "dev": "v0"}},
		{object{"dst": "10.21.0.0/16", "interface": "v0", "metric": 7, "mtu": 1300, "preferred_source": "192.0.2.2"}, "10.21.0.0/16", object{"dev": "v0", "metric": 7.0, "prefsrc": "192.0.2.2"}},
		{object{"dst": "10.22.0.0/16", "type": "blackhole", "persistent": false}, "10.22.0.0/16", object{"type": "blackhole"}},
		{object{"dst": "10.23.0.0/16", "gateway": "2001:db8::1", "interface": "v0"}, "10.23.0.0/16", object{"dev": "v0"}},
		{object{"dst": "10.24.0.0/16", "gateway": "198.51.100.1", "interface": "v0", "onlink": true, "tos": 8}, "10.24.0.0/16", object{"gateway": "198.51.100.1"}},
		{object{"dst": "10.25.0.0/16", "nexthops": []object{{"gateway": "192.0.2.1", "weight": 3}, {"interface": "v0"}}}, "10.25.0.0/16", object{}},
		{object{"dst": "2001:db8:1::/48", "gateway": "2001:db8::1", "table": 1000}, "2001:db8:1::/48", object{"gateway": "2001:db8::1", "metric": 1024.0}},
		{object{"dst": "::/0", "interface": "v0", "metric": 9}, "default", object{"dev": "v0", "metric": 9.0}},
		{object{"dst": "2001:db8:2::/48", "nexthops": []object{{"gateway": "2001:db8::1"}, {"gateway": "2001:db8::3", "weight": 2}}}, "2001:db8:2::/48", object{}},
	} {
		c.params["tag"] = "t"
		got := m.call("net.routes.add", c.params)
		want(t, "created", got["created"], true)
		want(t, "route", some(got["route"].(object), "managed", "persistent", "tag"), object{"managed": true, "persistent": c.params["persistent"] != false, "tag": "t"})
		again := m.call("net.routes.add", c.params)
		want(t, "again", again["created"], false)
		want(t, "again", some(again["route"].(object), "managed", "persistent", "tag"), some(got["route"].(object), "managed", "persistent", "tag"))
		family, table := "-4", "main"
		if strings.Contains(c.params["dst"].(string), ":") {
			family = "-6"
		}
		if c.params["table"] != nil {
			table = "1000"
		}
		found := false
		for _, r := range m.routes(family, table) {
			if r["dst"] == c.key {
				found = true
				for k, v := range c.wants {
					want(t, c.key+" "+k, r[k], v)
				}
			}
		}
		if !found {
			t.Errorf("%s: ip(8) does not see it", c.key)
		}
		refuses[*registry.ConflictError](m, "net.routes.add", func() object { o := without(c.params); o["mtu"] = 1234; return o }(), "mtu")
		key := some(c.params, "dst", "metric", "table", "tos")
		want(t, "deleted", m.call("net.routes.delete", key)["deleted"], true)
		want(t, "deleted again", m.call("net.routes.delete", key)["deleted"], false)
	}
	if left := append(m.routes("-4", "all"), m.routes("-6", "all")...); len(left) > 0 || m.net.kept.routes.Len() > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestForeignRoutesAreLeftAlone(t *testing.T) {
	m := newMaker(t)
	m.IP("link add v0 type veth peer v1", "addr add 192.0.2.2/24 dev v0", "addr add 2001:db8::2/64 dev v0 nodad", "link set v0 up", "link set v1 up",
		"route add 10.0.0.0/8 via 192.0.2.9 proto static", "route add 2001:db8:9::/48 via 2001:db8::9 metric 1024")
	for dst, gateway := range map[string]string{"10.0.0.0/8": "192.0.2.1", "2001:db8:9::/48": "2001:db8::1"} {
		refuses[*registry.ConflictError](m, "net.routes.add", object{"dst": dst, "gateway": gateway}, "did not make")
		refuses[*registry.ConflictError](m, "net.routes.add", object{"dst": dst, "gateway": gateway, "replace": true}, "did not make")
		want(t, "beside it", m.call("net.routes.add", object{"dst": dst, "gateway": gateway, "metric": 5})["created"], true)
		want(t, "deleted", m.call("net.routes.delete", object{"dst": dst, "metric": 5})["deleted"], true)
		refuses[*registry.RefusedError](m, "net.routes.delete", object{"dst": dst}, "force")
		want(t, "another gateway", m.call("net.routes.delete", object{"dst": dst, "gateway": gateway, "force": true})["deleted"], false)
		want(t, "forced", m.call("net.routes.delete", object{"dst": dst, "force": true})["deleted"], true)
	}
	m.call("net.routes.add", object{"dst": "10.9.0.0/16", "gateway": "192.0.2.1", "tag": "x"})
	got := m.call("net.routes.add", object{"dst": "10.9.0.0/16", "gateway": "192.0.2.7", "replace": true, "tag": "y"})
	want(t, "replaced", some(got, "created", "replaced"), object{"created": true, "replaced": true})
	want(t, "by tag", objects(m.call("net.routes", object{"tag": "y"})["routes"])[0]["gateway"], "192.0.2.7")
	want(t, "by the tag it had", len(objects(m.call("net.routes", object{"tag": "x"})["routes"])), 0)
}

func TestBadParamsTouchNothing(t *testing.T) {
	m := newMaker(t)
	m.IP("link add v0 type veth peer v1", "link set v0 up", "link set v1 up")
	before := m.picture()
	journal := func() int {
		files, _ := filepath.Glob(m.dir + "/journal*")
		return len(files)
	}
	for _, c := range []struct {
		method string
		params object
		want   string
	}{
		{"net.bridge.add", object{"name": "a/b"}, "name"},
		{"net.bridge.add", object{"name": "sixteen-bytes-xx"}, "name"},
		{"net.bridge.add", object{"name": "br0", "mac": "01:00:5e:00:00:01"}, "unicast"},
		{"net.bridge.add", object{"name": "br0", "addresses": []string{"0.0.0.0/8"}}, "addresses[0]"},
		{"net.bridge.add", object{"name": "br0", "addresses": []string{"::ffff:10.0.0.1/120"}}, "addresses[0]"},
		{"net.bridge.add", object{"name": "br0", "mtu": 1000, "addresses": []string{"2001:db8::1/64"}}, "mtu"},
		{"net.bridge.add", object{"name": "br0", "addresses": []string{"2001:db8::1/64", "2001:db8::1/128"}}, "addresses[1]"},
		{"net.bridge.add", object{"name": "br%d"}, "percent"},
		{"net.bridge.add", object{"name": "all"}, "no single interface"},
		{"net.bridge.connect", object{"a": "br0", "b": "br1", "name": "p%d"}, "percent"},
		{"net.vm.create_tap", object{"vm_id": "a", "name": "tap%d"}, "percent"},
		{"net.vm.create_tap", object{"vm_id": "a", "name": "default"}, "no single interface"},
		{"net.vm.create_tap", object{"vm_id": "a\"b"}, "vm_id"},
		{"net.vm.create_tap", object{"vm_id": "a", "mac": "fe:00:00:00:00:01"}, "fe"},
		{"net.vm.create_tap", object{"vm_id": "a", "pvid": 5}, "without bridge"},
		{"net.vm.create_tap", object{"vm_id": "a", "bridge": "b", "vlans": []string{"20-10"}}, "vlans[0]"},
		{"net.vm.create_tap", object{"vm_id": "a", "bridge": "b", "vlans": []string{"10"}, "untagged": []string{"11"}}, "untagged[0]"},
		{"net.bridge.add_port", object{"bridge": "v0", "interface": "v0"}, "itself"},
		{"net.routes.add", object{"dst": "10.0.0.0/8"}, "gateway"},
		{"net.routes.add", object{"dst": "10.0.0.1/8", "gateway": "192.0.2.1"}, "dst"},
		{"net.routes.add", object{"dst": "2001:db8::/32", "gateway": "192.0.2.1"}, "IPv6"},
		{"net.routes.add", object{"dst": "10.0.0.0/8", "type": "blackhole", "interface": "v0"}, "type"},
		{"net.routes.add", object{"dst": "10.0.0.0/8", "interface": "v0", "nexthops": []object{{"interface": "v0"}}}, "nexthops"},
		{"net.routes.add", object{"dst": "2001:db8::/32", "interface": "v0", "tos": 4}, "tos"},
		{"net.routes.add", object{"dst": "10.0.0.0/8", "interface": "v0", "table": 255}, "table"},
		{"net.routes.add", object{"dst": "10.0.0.0/8", "gateway": "192.0.2.1", "onlink": true}, "onlink"},
	} {
		refuses[*registry.ParamsError](m, c.method, c.params, c.want)
	}
	refuses[*registry.NotFoundError](m, "net.routes.add", object{"dst": "10.0.0.0/8", "interface": "v7"}, "v7")
	refuses[*registry.OSError](m, "net.routes.add", object{"dst": "10.0.0.0/8", "gateway": "203.0.113.1"}, "")
	if after := m.picture(); after != before {
		t.Error("something was changed")
	}
	if journal() != 1 || m.net.kept.routes.Len() > 0 {
		t.Error("something was registered")
	}
}

func TestWithoutAStateFolderWritesSaySo(t *testing.T) {
	ns := testhost.NewNetNS(t)
	n := newNet(t, ns)
	_, err := call(t, n, "net.bridge.add", object{"name": "br0"})
	var os *registry.OSError
	if !errors.As(err, &os) || !strings.Contains(err.Error(), "state folder") || os.Applied.Or("") != registry.AppliedNo {
		t.Errorf("%v", err)
	}
	mustCall(t, n, "net.vm.list", object{})
}

// TestWritesWithoutGround: the daemon lacks a capability or a device. Nothing is left over, and nothing stays
// registered.
func TestWritesWithoutGround(t *testing.T) {
	m := newMaker(t)
	m.call("net.bridge.add", object{"name": "br0"})
	before := m.picture()
	testhost.WithoutCapabilities(t, func() {
		for method, params := range map[string]object{
			"net.bridge.add":      {"name": "br1"},
			"net.bridge.delete":   {"name": "br0"},
			"net.routes.add":      {"dst": "10.0.0.0/8", "type": "blackhole"},
			"net.bridge.add_port": {"bridge": "br0", "interface": "lo", "force": true},
		} {
			_, err := call(t, m.net, method, params)
			var needs interface{ Capability() string }
			if !errors.As(err, &needs) || needs.Capability() != "CAP_NET_ADMIN" {
				t.Errorf("%s: %T %v", method, err, err)
			}
		}
	})
	m.net.options.Root = t.TempDir() // without /dev/net/tun
	refuses[*registry.OSError](m, "net.vm.create_tap", object{"vm_id": "v"}, "/dev/net/tun")
	want(t, "afterwards", m.picture(), before)
	m.inSync()
	if m.net.kept.bridges.Len() != 1 || m.net.kept.taps.Len()+m.net.kept.routes.Len()+m.net.kept.ports.Len() > 0 || len(m.store.Pending()) > 0 {
		t.Error("something is registered")
	}
}

// TestVLANsAreMadeOrUnsupported: a kernel without VLAN filtering passes over the option in silence, and the
// answer must not.
func TestVLANsAreMadeOrUnsupported(t *testing.T) {
	m := newMaker(t)
	m.IP("link add probe type bridge", "link add v0 type veth peer v1")
	_, _ = m.TryIP("link set probe type bridge vlan_filtering 1")
	data := m.links()["probe"]["linkinfo"].(object)["info_data"].(object)
	m.IP("link del probe")
	m.call("net.bridge.add", object{"name": "br0"})
	if data["vlan_filtering"] == 1.0 {
		want(t, "filters", m.call("net.bridge.add", object{"name": "br1", "vlan_filtering": true})["created"], true)
		want(t, "vlans", m.call("net.bridge.add_port", object{"bridge": "br0", "interface": "v0", "pvid": 5})["created"], true)
		return
	}
	before := m.picture()
	refuses[*registry.UnsupportedError](m, "net.bridge.add", object{"name": "br1", "vlan_filtering": true}, "VLAN filtering")
	refuses[*registry.UnsupportedError](m, "net.bridge.add_port", object{"bridge": "br0", "interface": "v0", "pvid": 5}, "VLAN filtering")
	refuses[*registry.UnsupportedError](m, "net.vm.create_tap", object{"vm_id": "v", "bridge": "br0", "vlans": []string{"10"}}, "VLAN filtering")
	want(t, "afterwards", m.picture(), before)
	m.inSync()
	if len(m.store.Pending()) > 0 || m.net.kept.taps.Len()+m.net.kept.ports.Len() > 0 || m.net.kept.bridges.Len() != 1 {
		t.Error("something is registered")
	}
}
