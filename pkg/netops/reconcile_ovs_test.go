package netops

import (
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// watched waits until the rounds hear of what others change in the database.
func (m *ovsMaker) watched() {
	m.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		m.net.reconciler.mu.Lock()
		w := m.net.reconciler.switched
		m.net.reconciler.mu.Unlock()
		if w != nil && w.watcher.Err() == nil {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatal("the database is not watched")
		}
	}
}

// until waits until something holds, and returns for how long.
func (m *ovsMaker) until(what string, holds func() bool) time.Duration {
	m.t.Helper()
	begun := time.Now()
	for !holds() {
		if time.Since(begun) > time.Minute {
			m.t.Fatalf("%s: not within a minute; drift: %v", what, m.call("net.verify", object{})["drift"])
		}
		time.Sleep(50 * time.Millisecond) // to look takes time from the rounds
	}
	return time.Since(begun)
}

// inPlace tells whether nothing differs.
func (m *ovsMaker) inPlace() bool { return len(objects(m.call("net.verify", object{})["drift"])) == 0 }

// told is what the rounds have seen last of an object.
func (m *ovsMaker) told(what string) string {
	m.net.reconciler.mu.Lock()
	defer m.net.reconciler.mu.Unlock()
	return m.net.reconciler.told[what]
}

// TestOVSSabotageIsHeardOf: what somebody does with ovs-vsctl is told, and mended in the mode repair, without waiting
// for another event; a database server that was restarted is heard again.
func TestOVSSabotageIsHeardOf(t *testing.T) {
	t.Parallel()
	m := newOVSMaker(t)
	m.IP("link add p0 type veth peer name p1", "link add p2 type veth peer name p3")
	m.net.Start()
	m.call("net.bridge.add", object{"name": "br0", "addresses": []string{"10.1.0.1/24"}})
	m.call("net.bridge.add", object{"name": "br1"})
	m.call("net.bridge.connect", object{"a": "br0", "b": "br1", "name": "c"})
	m.call("net.vm.create_tap", object{"vm_id": "v", "name": "t0", "bridge": "br0", "pvid": 5})
	m.call("net.bridge.add_port", object{"bridge": "br1", "interface": "p0", "vlans": []string{"8"}})
	m.watched()

	m.o.Vsctl("set", "Port", "t0", "tag=6")
	m.until("told", func() bool { return strings.Contains(m.told("tap t0"), `tag is "6", not "5"`) })
	want(t, "left as it is", m.column("Port", "t0", "tag"), "6")
	m.net.SetReconcile(ReconcileRepair)
	m.until("mended once asked to", m.inPlace)

	for _, c := range []struct{ name, vsctl string }{
		{"trunks changed", "set Port p0 trunks=1,2"},
		{"half a pair deleted", "del-port br0 c-a"},
		{"mac changed", "set Bridge br0 other_config:hwaddr=02:00:00:00:00:99"},
		{"mtu changed", "set Interface br1 mtu_request=1300"},
		{"port deleted", "del-port br0 t0"},
		{"bridge deleted, with its ports", "del-br br1"},
	} {
		m.o.Vsctl(strings.Fields(c.vsctl)...)
		t.Logf("%s: mended after %v", c.name, m.until(c.name, m.inPlace))
	}
	m.o.Kill(testhost.OVSDatabase)
	m.o.Start(testhost.OVSDatabase)
	m.watched()
	m.o.Vsctl("add-port", "br0", "p2", "--", "set", "Port", "p2", "external_ids:my_os_server=port")
	m.until("a stray", func() bool { return !strings.Contains(m.o.Vsctl("list-ports", "br0"), "p2") })
	for _, name := range []string{"br0", "br1"} {
		m.call("net.bridge.delete", object{"name": name, "force": true})
	}
	m.call("net.vm.delete_tap", object{"name": "t0"})
	m.net.reconciler.look()
	m.until("nothing to watch", func() bool {
		m.net.reconciler.mu.Lock()
		defer m.net.reconciler.mu.Unlock()
		return m.net.reconciler.switched == nil
	})
}
