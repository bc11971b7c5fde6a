package netops

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// ovsMaker is a maker beside an Open vSwitch, whose bridges it makes unless it is told otherwise.
type ovsMaker struct {
	*maker
	o *testhost.OVS
}

func newOVSMaker(t testing.TB) *ovsMaker {
	ns := testhost.NewNetNS(t)
	m := &ovsMaker{&maker{NetNS: ns, t: t, dir: t.TempDir()}, testhost.NewOVS(t, ns)}
	m.more = func(o *Options) {
		o.OVSRunDir, o.BridgeBackend, o.OVSDatapathType = m.o.RunDir, registry.BridgeBackendOvs, registry.OvsDatapathTypeNetdev
	}
	m.start("boot-1")
	t.Cleanup(func() { m.stop() })
	return m
}

// configuration is all that ovs-vsctl lists of bridges, ports and interfaces.
func (m *ovsMaker) configuration() string {
	m.t.Helper()
	return m.o.Vsctl("list", "Bridge", "--", "list", "Port", "--", "list", "Interface")
}

// column is what ovs-vsctl tells of a column.
func (m *ovsMaker) column(table, record, column string) string {
	m.t.Helper()
	return strings.TrimSpace(m.o.Vsctl("get", table, record, column))
}

func (m *ovsMaker) inSync() {
	m.t.Helper()
	if drift := m.call("net.verify", object{})["drift"]; len(objects(drift)) > 0 {
		m.t.Errorf("drift: %v", drift)
	}
}

// TestOVSBridgeIsMadeAskedAgainAndDeleted: as a Linux bridge is, and nothing of it is left.
func TestOVSBridgeIsMadeAskedAgainAndDeleted(t *testing.T) {
	m := newOVSMaker(t)
	before := m.configuration()
	params := object{"name": "br0", "mtu": 1400, "mac": "02:00:00:00:00:77", "addresses": []string{"10.1.0.1/24", "2001:db8::1/64"}, "tag": "t1"}
	first := m.call("net.bridge.add", params)
	want(t, "created", first["created"], true)
	shape := []string{"name", "backend", "datapath_type", "mac", "mtu", "admin_up", "managed", "persistent", "tag", "exists", "vlan_filtering"}
	expected := object{"name": "br0", "backend": "ovs", "datapath_type": "netdev", "mac": "02:00:00:00:00:77", "mtu": 1400.0, "admin_up": true, "managed": true, "persistent": true, "tag": "t1", "exists": true, "vlan_filtering": true}
	want(t, "bridge", some(first["bridge"].(object), shape...), expected)
	want(t, "list", some(objects(m.call("net.bridge", object{})["bridges"])[0], shape...), expected)
	want(t, "net.ovs", some(objects(m.call("net.ovs", object{})["bridges"])[0], "name", "managed", "tag", "external_ids"),
		object{"name": "br0", "managed": true, "tag": "t1", "external_ids": object{"my_os_server": "bridge"}})
	l := m.links()["br0"]
	want(t, "ip(8)", some(l, "mtu", "address", "ifalias"), object{"mtu": 1400.0, "address": "02:00:00:00:00:77", "ifalias": markBridge})
	m.inSync()
	for _, again := range []object{params, {"name": "br0"}, {"name": "br0", "backend": "ovs"}, without(params, "tag")} {
		want(t, "created again", m.call("net.bridge.add", again)["created"], false)
	}
	refuses[*registry.ConflictError](m.maker, "net.bridge.add", object{"name": "br0", "mtu": 1500}, "mtu")
	refuses[*registry.ConflictError](m.maker, "net.bridge.add", object{"name": "br0", "backend": "linux"}, "backend")
	refuses[*registry.ParamsError](m.maker, "net.bridge.add", object{"name": "br1", "vlan_filtering": false}, "vlan_filtering")
	refuses[*registry.ParamsError](m.maker, "net.bridge.add", object{"name": "br1", "backend": "linux", "datapath_type": "netdev"}, "datapath_type")

	m.o.Vsctl("add-br", "foreign", "--", "set", "Bridge", "foreign", "datapath_type=netdev")
	foreign := m.configuration()
	refuses[*registry.ConflictError](m.maker, "net.bridge.add", object{"name": "foreign"}, "did not make")
	refuses[*registry.RefusedError](m.maker, "net.bridge.delete", object{"name": "foreign", "force": true}, "did not make")
	want(t, "nothing there", m.call("net.bridge.delete", object{"name": "br9"}), object{"deleted": false})
	want(t, "the foreign one", m.configuration(), foreign)
	m.o.Vsctl("del-br", "foreign")
	want(t, "deleted", m.call("net.bridge.delete", object{"name": "br0"}), object{"deleted": true})
	want(t, "deleted again", m.call("net.bridge.delete", object{"name": "br0"}), object{"deleted": false})
	want(t, "left", m.configuration(), before)
	if m.links()["br0"] != nil {
		t.Error("the interface is left")
	}
	want(t, "a Linux bridge", m.call("net.bridge.add", object{"name": "lin", "backend": "linux"})["bridge"].(object)["backend"], "linux")
}

// TestOVSThatCannotMakeABridge: what ovs-vswitchd says is an os_error, and nothing is left.
func TestOVSThatCannotMakeABridge(t *testing.T) {
	m := newOVSMaker(t)
	before := m.configuration()
	if !strings.Contains(m.o.Log(testhost.OVSSwitch), "kernel module is probably not loaded") {
		t.Skip("this kernel has the datapath")
	}
	refuses[*registry.OSError](m.maker, "net.bridge.add", object{"name": "br0", "datapath_type": "system"}, "br0")
	want(t, "left", m.configuration(), before)
	m.inSync()
	m.call("net.bridge.add", object{"name": "br0"})
}

// TestOVSPortsAndTaps: VLANs in the words of Open vSwitch, foreign ports left alone, and no trace left.
func TestOVSPortsAndTaps(t *testing.T) {
	m := newOVSMaker(t)
	before := m.configuration()
	m.call("net.bridge.add", object{"name": "br0", "mtu": 1450})
	m.IP("link add p0 type veth peer name p1", "link add p2 type veth peer name p3", "link set p0 up", "link set p2 up")

	params := object{"vm_id": "vm-1", "bridge": "br0", "pvid": 10, "isolated": true, "owner_uid": 1234}
	tap := m.call("net.vm.create_tap", params)["tap"].(object)
	name := tap["name"].(string)
	want(t, "tap", some(tap, "bridge", "mtu", "pvid", "isolated", "up", "exists"), object{"bridge": "br0", "mtu": 1450.0, "pvid": 10.0, "isolated": true, "up": true, "exists": true})
	for column, value := range map[string]string{"tag": "10", "vlan_mode": "access", "protected": "true", "trunks": "[]", "external_ids:my_os_server": "tap"} {
		want(t, column, m.column("Port", name, column), value)
	}
	want(t, "again", m.call("net.vm.create_tap", params)["created"], false)
	refuses[*registry.ConflictError](m.maker, "net.vm.create_tap", object{"vm_id": "vm-1", "bridge": "br0", "pvid": 11}, "pvid")
	refuses[*registry.ParamsError](m.maker, "net.vm.create_tap", object{"vm_id": "vm-2", "bridge": "br0", "hairpin": true}, "hairpin")
	refuses[*registry.NotFoundError](m.maker, "net.vm.create_tap", object{"vm_id": "vm-2", "bridge": "br7"}, "br7")

	port := m.call("net.bridge.add_port", object{"bridge": "br0", "interface": "p0", "pvid": 7, "vlans": []string{"20-22", "7"}})
	want(t, "port", some(port["port"].(object), "interface", "bridge", "pvid", "vlan_mode", "managed", "vlans"), object{
		"interface": "p0", "bridge": "br0", "pvid": 7.0, "vlan_mode": "native-untagged", "managed": true,
		"vlans": []any{object{"vlan": 7.0, "pvid": true, "untagged": true}, object{"vlan": 20.0, "vlan_end": 22.0, "pvid": false, "untagged": false}},
	})
	for column, value := range map[string]string{"tag": "7", "trunks": "[7, 20, 21, 22]", "external_ids:my_os_server": "port"} {
		want(t, column, m.column("Port", "p0", column), value)
	}
	want(t, "again", m.call("net.bridge.add_port", object{"bridge": "br0", "interface": "p0"})["created"], false)
	refuses[*registry.ConflictError](m.maker, "net.bridge.add_port", object{"bridge": "br0", "interface": "p0", "pvid": 8}, "pvid")
	refuses[*registry.NotFoundError](m.maker, "net.bridge.add_port", object{"bridge": "br0", "interface": "p9"}, "p9")
	refuses[*registry.ParamsError](m.maker, "net.bridge.add_port", object{"bridge": "br0", "interface": "p1", "pvid": 3, "vlans": []string{"4"}, "untagged": []string{"4"}}, "untagged")
	m.IP("addr add 192.0.2.1/24 dev p1")
	refuses[*registry.RefusedError](m.maker, "net.bridge.add_port", object{"bridge": "br0", "interface": "p1"}, "192.0.2.1")

	m.o.Vsctl("add-port", "br0", "p2")
	refuses[*registry.ConflictError](m.maker, "net.bridge.add_port", object{"bridge": "br0", "interface": "p2"}, "br0")
	m.inSync()
	vlans := objects(objects(m.call("net.vlan", object{"bridge": "br0"})["bridges"])[0]["ports"])
	want(t, "net.vlan", len(vlans), 3)
	refuses[*registry.BusyError](m.maker, "net.bridge.delete", object{"name": "br0"}, "ports")
	want(t, "the foreign port, by its name", m.call("net.bridge.remove_port", object{"bridge": "br0", "interface": "p2"})["deleted"], true)
	want(t, "no port", m.call("net.bridge.remove_port", object{"bridge": "br0", "interface": "p2"})["deleted"], false)
	refuses[*registry.ParamsError](m.maker, "net.bridge.remove_port", object{"bridge": "br0", "interface": "br0"}, "own interface")
	want(t, "the port", m.call("net.bridge.remove_port", object{"bridge": "br0", "interface": "p0"})["deleted"], true)
	want(t, "the tap", m.call("net.vm.delete_tap", object{"name": name})["deleted"], true)
	m.call("net.bridge.delete", object{"name": "br0"})
	want(t, "left", m.configuration(), before)
	m.inSync()
}

// TestOVSBridgesAreConnected by patch ports, that come and go together.
func TestOVSBridgesAreConnected(t *testing.T) {
	m := newOVSMaker(t)
	for _, name := range []string{"br0", "br1", "br2"} {
		m.call("net.bridge.add", object{"name": name})
	}
	m.call("net.bridge.add", object{"name": "lin", "backend": "linux"})
	before := m.configuration()
	params := object{"a": "br0", "b": "br1", "name": "c"}
	want(t, "connected", m.call("net.bridge.connect", params), object{"created": true, "a": "br0", "b": "br1", "a_port": "c-a", "b_port": "c-b"})
	want(t, "again", m.call("net.bridge.connect", params)["created"], false)
	want(t, "peer", m.column("Interface", "c-a", "options:peer"), `c-b`)
	refuses[*registry.RefusedError](m.maker, "net.bridge.connect", object{"a": "br1", "b": "br0", "name": "d"}, "loop")
	m.call("net.bridge.connect", object{"a": "br1", "b": "br2"})
	refuses[*registry.RefusedError](m.maker, "net.bridge.connect", object{"a": "br0", "b": "br2"}, "loop")
	refuses[*registry.ParamsError](m.maker, "net.bridge.connect", object{"a": "br0", "b": "lin"}, "same backend")
	m.inSync()
	want(t, "removed", m.call("net.bridge.remove_port", object{"bridge": "br1", "interface": "c-b"}), object{"deleted": true, "removed_interfaces": []any{"c-a", "c-b"}})
	want(t, "its bridge deleted", m.call("net.bridge.delete", object{"name": "br2", "force": true})["deleted"], true)
	m.call("net.bridge.add", object{"name": "br2"})
	if after := m.configuration(); strings.Count(after, "patch") != strings.Count(before, "patch") {
		t.Errorf("left:\n%s", after)
	}
	m.inSync()
}

// TestOVSDriftIsToldAndMended: what others change in the database is found, and asking again mends it.
func TestOVSDriftIsToldAndMended(t *testing.T) {
	m := newOVSMaker(t)
	m.IP("link add p0 type veth peer name p1")
	m.call("net.bridge.add", object{"name": "br0", "addresses": []string{"10.1.0.1/24"}})
	m.call("net.bridge.add", object{"name": "br1"})
	m.call("net.bridge.connect", object{"a": "br0", "b": "br1", "name": "c"})
	tap := object{"vm_id": "v", "name": "t0", "bridge": "br0", "pvid": 5}
	m.call("net.vm.create_tap", tap)
	port := object{"bridge": "br0", "interface": "p0", "vlans": []string{"8"}}
	m.call("net.bridge.add_port", port)
	for _, c := range []struct {
		name    string
		vsctl   string
		drift   string
		mend    string
		params  object
		differs string
	}{
		{"tag changed", "set Port t0 tag=6", "tap t0 changed", "net.vm.create_tap", tap, "tag"},
		{"trunks changed", "set Port p0 trunks=1,2", "bridge_port p0 changed", "net.bridge.add_port", port, "trunks"},
		{"tap detached", "del-port br0 t0", "tap t0 changed", "net.vm.create_tap", tap, "bridge"},
		{"port row deleted", "del-port br0 p0", "bridge_port p0 missing", "net.bridge.add_port", port, ""},
		{"half a pair deleted", "del-port br0 c-a", "connection c-a missing", "net.bridge.connect", object{"a": "br0", "b": "br1", "name": "c"}, ""},
		{"mac changed", "set Bridge br0 other_config:hwaddr=02:00:00:00:00:99", "bridge br0 changed", "net.bridge.add", object{"name": "br0"}, "mac"},
		{"mtu changed", "set Interface br0 mtu_request=1300", "bridge br0 changed", "net.bridge.add", object{"name": "br0"}, "mtu"},
		{"stp changed", "set Bridge br0 stp_enable=true", "bridge br0 changed", "net.bridge.add", object{"name": "br0"}, "stp"},
		{"bridge row deleted", "del-br br1", "bridge br1 missing", "net.bridge.add", object{"name": "br1"}, ""},
	} {
		m.o.Vsctl(strings.Fields(c.vsctl)...)
		var found []string
		for _, d := range objects(m.call("net.verify", object{})["drift"]) {
			found = append(found, fmt.Sprint(d["resource"], " ", d["id"], " ", d["kind"]))
			if list := objects(d["differences"]); found[len(found)-1] == c.drift && c.differs != "" && !slices.ContainsFunc(list, func(o object) bool { return o["field"] == c.differs }) {
				t.Errorf("%s: %v", c.name, d)
			}
			if d["repair"] == nil && d["waits_for"] == nil {
				t.Errorf("%s: nothing mends it: %v", c.name, d)
			}
		}
		if !slices.Contains(found, c.drift) {
			t.Errorf("%s: drift %v, want %s", c.name, found, c.drift)
		}
		m.call(c.mend, c.params)
		if c.name == "bridge row deleted" {
			m.call("net.bridge.connect", object{"a": "br0", "b": "br1", "name": "c"})
		}
		m.inSync()
	}
	m.net.SetReconcile(ReconcileRepair)
	m.o.Vsctl("set", "Port", "t0", "tag=6", "--", "del-port", "br0", "p0")
	m.net.reconciler.round(t.Context(), map[place]bool{})
	m.inSync()
	want(t, "mended by a round", m.column("Port", "t0", "tag"), "5")
	m.net.SetReconcile(ReconcileReport)
	m.o.Vsctl("add-br", "stray", "--", "set", "Bridge", "stray", "datapath_type=netdev", "external_ids:my_os_server=bridge")
	m.o.Vsctl("add-port", "br0", "p1", "--", "set", "Port", "p1", "external_ids:my_os_server=port")
	var found []string
	for _, d := range objects(m.call("net.verify", object{})["drift"]) {
		found = append(found, fmt.Sprint(d["resource"], " ", d["id"], " ", d["kind"]))
	}
	want(t, "strays", found, []string{"bridge stray unexpected", "bridge_port p1 unexpected"})
}

// ovsHealth is the check ovs of net.health; nil: there is none.
func (m *ovsMaker) ovsHealth() object {
	m.t.Helper()
	for _, c := range objects(m.call("net.health", object{})["checks"]) {
		if c["name"] == "ovs" {
			return c
		}
	}
	return nil
}

// TestOVSRestoresAfterABoot: the rows are there, and what is not, taps and addresses, is made again; an Open vSwitch
// that comes later is waited for, what was to end with the boot has ended, and net.health knows.
func TestOVSRestoresAfterABoot(t *testing.T) {
	m := newOVSMaker(t)
	m.IP("link add p0 type veth peer name p1")
	m.call("net.bridge.add", object{"name": "br0", "addresses": []string{"10.1.0.1/24"}, "mtu": 1400})
	m.call("net.bridge.add", object{"name": "br1"})
	m.call("net.bridge.connect", object{"a": "br0", "b": "br1", "name": "c"})
	m.call("net.vm.create_tap", object{"vm_id": "v", "name": "t0", "bridge": "br0", "pvid": 5})
	m.call("net.bridge.add_port", object{"bridge": "br0", "interface": "p0", "vlans": []string{"8"}})
	lasting := m.configuration()
	m.call("net.bridge.add", object{"name": "once", "persistent": false})
	m.call("net.bridge.connect", object{"a": "br0", "b": "once", "name": "o", "persistent": false})
	want(t, "health", m.ovsHealth()["status"], "ok")

	boot := func(name string, between func()) *Restored {
		t.Helper()
		m.stop()
		m.o.Stop(testhost.OVSSwitch)
		m.o.Stop(testhost.OVSDatabase)
		for _, name := range []string{"t0", "br0", "br1", "once"} {
			_, _ = m.TryIP("link del " + name) // as a boot does
		}
		if between != nil {
			between()
		}
		m.start(name)
		out, err := m.net.Restore(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	up := func() {
		m.o.Start(testhost.OVSDatabase)
		m.o.Start(testhost.OVSSwitch)
	}
	// ovs-vswitchd may be on its way: what waits for it is tried at each event.
	settle := func(out *Restored) {
		t.Helper()
		for begun := time.Now(); len(out.open) > 0 && time.Since(begun) < time.Minute; time.Sleep(5 * time.Millisecond) {
			m.net.tryOpen(t.Context(), out.open)
		}
		if len(out.Failed)+len(out.open) != 0 {
			t.Errorf("restored: %+v", out)
		}
	}
	settle(boot("boot-2", up))
	m.inSync()
	want(t, "address", strings.Contains(m.IP("addr show br0"), "10.1.0.1/24"), true)
	want(t, "rows", rowNames(m.configuration()), rowNames(lasting))

	out := boot("boot-3", nil)
	if len(out.Waiting) != 5 {
		t.Errorf("without Open vSwitch: %+v", out)
	}
	drift := objects(m.call("net.verify", object{})["drift"])
	if len(drift) != 5 || drift[0]["waits_for"] == nil {
		t.Errorf("without Open vSwitch: %v", drift)
	}
	want(t, "health without", m.ovsHealth()["status"], "failed")
	up()
	settle(out)
	m.inSync()
	want(t, "health again", m.ovsHealth()["status"], "ok")

	// The database is lost with the boot.
	out = boot("boot-4", func() {
		m.o.Run("rm", m.o.RunDir+"/conf.db")
		m.o.Run("ovsdb-tool", "create", m.o.RunDir+"/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
		m.o.Start(testhost.OVSDatabase)
		m.o.Vsctl("--no-wait", "init")
		m.o.Start(testhost.OVSSwitch)
	})
	settle(out)
	m.inSync()
	want(t, "rows made anew", rowNames(m.configuration()), rowNames(lasting))
}

// rowNames are the names in what ovs-vsctl lists.
func rowNames(configuration string) (names []string) {
	for line := range strings.Lines(configuration) {
		if field, name, _ := strings.Cut(line, ":"); strings.TrimSpace(field) == "name" {
			names = append(names, strings.TrimSpace(name))
		}
	}
	slices.Sort(names)
	return names
}

// TestOVSSwitchThatHangs: a write says within its deadline that ovs-vswitchd has not done it, and leaves nothing.
func TestOVSSwitchThatHangs(t *testing.T) {
	m := newOVSMaker(t)
	m.call("net.bridge.add", object{"name": "br0"})
	before := m.configuration()
	m.o.Signal(testhost.OVSSwitch, syscall.SIGSTOP)
	begun := time.Now()
	_, err := callWithin(t, m.net, "net.vm.create_tap", object{"vm_id": "v", "name": "t0", "bridge": "br0"}, 2*time.Second)
	var gone *registry.UpstreamUnavailableError
	if !errors.As(err, &gone) || gone.Upstream != "ovs-vswitchd" || gone.Applied.Or("") != registry.AppliedNo {
		t.Errorf("after %v: %v", time.Since(begun), err)
	}
	if _, err := callWithin(t, m.net, "net.bridge", object{}, 2*time.Second); err != nil {
		t.Error(err)
	}
	m.o.Signal(testhost.OVSSwitch, syscall.SIGCONT)
	m.o.Vsctl("set", "Open_vSwitch", ".", "external_ids:a=b")
	want(t, "left", m.configuration(), before)
	m.inSync()
	m.o.Signal(testhost.OVSDatabase, syscall.SIGSTOP)
	_, err = callWithin(t, m.net, "net.vm.create_tap", object{"vm_id": "v", "name": "t0", "bridge": "br0"}, time.Second)
	if !errors.As(err, &gone) || gone.Upstream != "ovsdb-server" || gone.Applied.Or("") != registry.AppliedNo {
		t.Errorf("the database hangs: %v", err)
	}
	m.o.Signal(testhost.OVSDatabase, syscall.SIGCONT)
	want(t, "made", m.call("net.vm.create_tap", object{"vm_id": "v", "name": "t0", "bridge": "br0"})["created"], true)

	m.o.Signal(testhost.OVSSwitch, syscall.SIGSTOP)
	_, err = callWithin(t, m.net, "net.vm.delete_tap", object{"name": "t0"}, 2*time.Second)
	if !errors.As(err, &gone) || gone.Upstream != "ovs-vswitchd" || gone.Applied.Or("") != registry.AppliedYes {
		t.Errorf("a removal: %v", err)
	}
	m.o.Signal(testhost.OVSSwitch, syscall.SIGCONT)
	m.o.Vsctl("set", "Open_vSwitch", ".", "external_ids:a=c")
	want(t, "left after the removal", m.configuration(), before)
	m.inSync()
	want(t, "removed already", m.call("net.vm.delete_tap", object{"name": "t0"})["deleted"], false)
}
