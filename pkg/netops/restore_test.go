package netops

import (
	"bufio"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/internal/testhost"
)

// furnish makes one of each kind of object.
func furnish(m *maker) {
	m.t.Helper()
	m.IP("link add up0 type veth peer up1", "link set up0 up", "link set up1 up", "addr add 192.0.2.2/24 dev up0", "link add p0 type veth peer p1")
	m.call("net.bridge.add", object{"name": "br0", "mtu": 1400, "addresses": []string{"10.1.0.1/24", "2001:db8:1::1/64"}})
	m.call("net.bridge.add", object{"name": "br1", "stp": true})
	m.call("net.bridge.add", object{"name": "br2", "persistent": false})
	m.call("net.bridge.connect", object{"a": "br0", "b": "br1", "name": "x"})
	m.call("net.bridge.add_port", object{"bridge": "br1", "interface": "p0", "isolated": true})
	m.call("net.vm.create_tap", object{"vm_id": "vm-1", "bridge": "br0", "name": "tap1", "hairpin": true, "owner_uid": 7})
	m.call("net.vm.create_tap", object{"vm_id": "vm-2", "name": "tap2", "multi_queue": true})
	m.call("net.routes.add", object{"dst": "10.20.0.0/16", "gateway": "192.0.2.1"})
	m.call("net.routes.add", object{"dst": "10.21.0.0/16", "gateway": "10.1.0.9", "mtu": 1300})
	m.call("net.routes.add", object{"dst": "2001:db8:9::/48", "gateway": "2001:db8:1::9"})
	m.call("net.routes.add", object{"dst": "10.30.0.0/16", "type": "blackhole", "persistent": false})
}

// picture is what the namespace looks like, but for numbers that the kernel chooses anew.
func (m *maker) picture() string {
	m.t.Helper()
	var lines []string
	for name, l := range m.links() {
		info, _ := l["linkinfo"].(object)
		data, _ := info["info_data"].(object)
		port, _ := info["info_slave_data"].(object)
		var addrs []string
		for _, a := range objects(l["addr_info"]) {
			if a["scope"] == "global" {
				addrs = append(addrs, fmt.Sprint(a["local"], "/", a["prefixlen"]))
			}
		}
		slices.Sort(addrs)
		mac := l["address"]
		if info["info_kind"] == "veth" {
			mac = "" // the kernel's to choose
		}
		lines = append(lines, fmt.Sprint(name, some(l, "master", "mtu", "ifalias"), mac, addrs, info["info_kind"],
			some(data, "stp_state", "vlan_filtering", "type", "persist", "multi_queue", "user"), some(port, "hairpin", "isolated"), isUp(l)))
	}
	for _, r := range append(m.routes("-4", "all"), m.routes("-6", "all")...) {
		lines = append(lines, fmt.Sprint(some(r, "dst", "gateway", "dev", "type", "metric", "metrics")))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func isUp(l object) bool {
	flags, _ := l["flags"].([]any)
	return slices.Contains(flags, any("UP"))
}

func (m *maker) restore() *Restored {
	m.t.Helper()
	out, err := m.net.Restore(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

func (m *maker) inSync() {
	m.t.Helper()
	if v := m.call("net.verify", object{}); v["in_sync"] != true {
		m.t.Errorf("drift: %v", v["drift"])
	}
}

func TestNewBootRestoresAllAndASecondStartChangesNothing(t *testing.T) {
	m := newMaker(t)
	m.restore()
	furnish(m)
	m.inSync()
	m.call("net.bridge.delete", object{"name": "br2"})
	m.call("net.routes.delete", object{"dst": "10.30.0.0/16"})
	before := m.picture()
	m.call("net.bridge.add", object{"name": "br2", "persistent": false})
	m.call("net.routes.add", object{"dst": "10.30.0.0/16", "type": "blackhole", "persistent": false})
	m.stop()

	for name := range m.links() { // as after a power cut: what others make is made by them again
		if name != "up1" && name != "p1" {
			m.try("link del " + name)
		}
	}
	m.try("link add up0 type veth peer up1", "link set up0 up", "link set up1 up", "addr add 192.0.2.2/24 dev up0", "link add p0 type veth peer p1", "route flush table all proto 109")
	m.start("boot-2")
	out := m.restore()
	if len(out.Failed)+len(out.Waiting) > 0 {
		t.Errorf("%+v", out)
	}
	want(t, "restored", m.picture(), before)
	m.inSync()
	m.stop()

	m.start("boot-2")
	if out := m.restore(); out.Made != 0 {
		t.Errorf("a second start made %d changes: %+v", out.Made, out)
	}
	want(t, "after a second start", m.picture(), before)
	m.inSync()
}

// TestBridgesAreUpOnceTheirPortsAreIn listens to the kernel while bridges are made again, after a boot and in repair
// mode: an address of one that has no port yet would not be found to be another host's.
func TestBridgesAreUpOnceTheirPortsAreIn(t *testing.T) {
	m := newMaker(t)
	m.restore()
	furnish(m)
	m.stop()
	m.try("link del br0", "link del x-a", "link del tap1")
	m.start("boot-2")
	inOrder := m.portsComeFirst("br0", []string{"tap1", "x-a"}, "10.1.0.1/24", "2001:db8:1::1/64")
	m.restore()
	inOrder()
	m.stop()

	m.more = func(o *Options) { o.Reconcile = ReconcileRepair }
	m.start("boot-2")
	m.net.Start()
	inOrder = m.portsComeFirst("br0", []string{"tap1"}, "10.1.0.1/24", "2001:db8:1::1/64")
	m.IP("link del br0") // its ports stay, without it
	inOrder()
}

// portsComeFirst begins to listen, and returns what waits until a bridge has its ports and addresses, and checks that
// the ports came first.
func (m *maker) portsComeFirst(bridge string, ports []string, addresses ...string) func() {
	m.t.Helper()
	lines := m.listen("ip", "-o", "monitor", "link", "address")
	return func() {
		m.t.Helper()
		in, have := map[string]bool{}, map[string]bool{}
		for deadline := time.After(30 * time.Second); len(have) < len(addresses); {
			var line string
			select {
			case line = <-lines:
			case <-deadline:
				m.t.Fatalf("ports %v, addresses %v", in, have)
			}
			for _, port := range ports {
				if strings.Contains(line, " "+port+"@") || strings.Contains(line, " "+port+":") {
					in[port] = in[port] || strings.Contains(line, " master "+bridge+" ")
				}
			}
			for _, a := range addresses {
				if strings.Contains(line, " "+bridge+" ") && strings.Contains(line, " "+a+" ") && !strings.HasPrefix(line, "Deleted") {
					have[a] = true
					for _, port := range ports {
						if !in[port] {
							m.t.Errorf("%s has %s before its port %s: %s", bridge, a, port, line)
						}
					}
				}
			}
		}
	}
}

// listen runs a command that tells of changes in the namespace, and returns the lines it prints from now on.
func (m *maker) listen(name string, args ...string) <-chan string {
	m.t.Helper()
	cmd := exec.Command(name, args...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		m.Do(func() { err = cmd.Start() })
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	lines := make(chan string, 1000)
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	for n := 0; ; n++ { // until it hears
		m.IP(fmt.Sprintf("link set lo alias listen%d", n))
		select {
		case <-lines:
			for quiet := false; !quiet; {
				select {
				case <-lines:
				case <-time.After(50 * time.Millisecond):
					quiet = true
				}
			}
			return lines
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// try runs ip commands of which some may fail.
func (m *maker) try(commands ...string) {
	m.t.Helper()
	for _, c := range commands {
		_, _ = m.TryIP(c)
	}
}

func TestWhatWaitsStopsNothingElse(t *testing.T) {
	m := newMaker(t)
	m.restore()
	furnish(m)
	m.stop()
	for _, name := range []string{"br0", "br1", "br2", "x-a", "tap1", "tap2", "up0", "p0"} {
		m.try("link del " + name)
	}
	m.try("route flush table all proto 109")
	m.start("boot-2") // without up0 and p0
	out := m.restore()
	if len(out.Waiting) != 1 || !strings.Contains(out.Waiting[0], "p0") || len(out.Failed) != 1 || !strings.Contains(out.Failed[0], "10.20.0.0/16") {
		t.Errorf("%+v", out)
	}
	drift := objects(m.call("net.verify", object{})["drift"])
	if len(drift) != 2 {
		t.Fatalf("drift: %v", drift)
	}
	want(t, "port", some(drift[0], "resource", "id", "kind", "waits_for"), object{"resource": "bridge_port", "id": "p0", "kind": "missing", "waits_for": "interface p0"})
	want(t, "route", some(drift[1], "resource", "kind"), object{"resource": "route", "kind": "missing"})
	if drift[1]["cause"] == nil {
		t.Errorf("no cause: %v", drift[1])
	}
}

// TestWritesOfOthersAreLeftPending: net ends its own writes alone, also where they change no registry.
func TestWritesOfOthersAreLeftPending(t *testing.T) {
	m := newMaker(t)
	m.restore()
	for _, method := range []string{"vol.mount", "net.routes.delete"} {
		if _, err := m.store.Begin(t.Context(), state.Intent{Method: method}); err != nil {
			t.Fatal(err)
		}
	}
	m.stop()
	m.start("boot-1")
	want(t, "finished", m.restore().Finished, []string{"net.routes.delete"})
	if left := m.store.Pending(); len(left) != 1 || left[0].Intent().Method != "vol.mount" {
		t.Errorf("pending: %v", left)
	}
}

// TestWhatWaitedIsRestoredWhenItsLinkComes starts as the daemon does, and then brings the links one by one.
func TestWhatWaitedIsRestoredWhenItsLinkComes(t *testing.T) {
	m := newMaker(t)
	m.restore()
	furnish(m)
	m.call("net.bridge.delete", object{"name": "br2"})
	m.call("net.routes.delete", object{"dst": "10.30.0.0/16"})
	m.stop()
	for _, name := range []string{"br0", "br1", "x-a", "tap1", "tap2", "up0", "p0"} {
		m.try("link del " + name)
	}
	m.start("boot-2")
	m.net.Start()
	if v := m.call("net.verify", object{}); len(objects(v["drift"])) != 2 {
		t.Fatalf("drift: %v", v["drift"])
	}
	m.IP("link add p0 type veth peer p1")
	m.stop()
	m.start("boot-2") // what waits is not forgotten
	m.net.Start()
	if v := m.call("net.verify", object{}); len(objects(v["drift"])) != 1 {
		t.Fatalf("after p0 came and another start: %v", v["drift"])
	}
	m.IP("link add up0 type veth peer up1", "link set up0 up", "link set up1 up", "addr add 192.0.2.2/24 dev up0")
	for deadline := time.Now().Add(10 * time.Second); m.call("net.verify", object{})["in_sync"] != true; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("drift: %v", m.call("net.verify", object{})["drift"])
		}
	}
	testhost.Eventually(t, "what waited is written down no longer", func() bool { return m.net.kept.waiting.Len() == 0 })
}

// sabotages are what others may do to what furnish has made, and what net.verify makes of it.
var sabotages = []struct {
	sabotage, resource, id, kind, field string
}{
	{"link del br0", "bridge", "br0", "missing", ""},
	{"link set br0 mtu 1300", "bridge", "br0", "changed", "mtu"},
	{"link set br0 address 02:00:00:00:00:77", "bridge", "br0", "changed", "mac"},
	{"link set br0 down", "bridge", "br0", "changed", "up"},
	{"link set br0 type bridge stp_state 1", "bridge", "br0", "changed", "stp"},
	{"link set br0 alias other", "bridge", "br0", "changed", ""},
	{"addr del 10.1.0.1/24 dev br0", "bridge", "br0", "changed", "address"},
	{"link del tap1", "tap", "tap1", "missing", ""},
	{"link set tap1 nomaster", "tap", "tap1", "changed", "bridge"},
	{"link set tap1 down", "tap", "tap1", "changed", "up"},
	{"link set tap1 mtu 1200", "tap", "tap1", "changed", "mtu"},
	{"link set tap1 type bridge_slave hairpin off", "tap", "tap1", "changed", "hairpin"},
	{"link set tap1 type bridge_slave isolated on", "tap", "tap1", "changed", "isolated"},
	{"link set p0 nomaster", "bridge_port", "p0", "missing", ""},
	{"link set p0 master br0", "bridge_port", "p0", "missing", ""},
	{"link set p0 type bridge_slave isolated off", "bridge_port", "p0", "changed", "isolated"},
	{"link del x-a", "connection", "x-a", "missing", ""},
	{"link set x-b nomaster", "connection", "x-a", "changed", "x-b.bridge"},
	{"link set x-b down", "connection", "x-a", "changed", "x-b.up"},
	{"route del 10.20.0.0/16", "route", "ipv4 254 10.20.0.0/16 tos 0 metric 0", "missing", ""},
	{"route replace 10.20.0.0/16 via 192.0.2.9 proto 109", "route", "ipv4 254 10.20.0.0/16 tos 0 metric 0", "changed", "gateway"},
	{"route replace 10.20.0.0/16 via 192.0.2.9 proto static", "route", "ipv4 254 10.20.0.0/16 tos 0 metric 0", "missing", ""},
	{"route del 2001:db8:9::/48", "route", "ipv6 254 2001:db8:9::/48 tos 0 metric 1024", "missing", ""},
	{"route add 10.99.0.0/16 dev up0 proto 109", "route", "ipv4 254 10.99.0.0/16 tos 0 metric 0", "unexpected", ""},
	{"link add stray type bridge\nlink set stray alias " + markBridge, "bridge", "stray", "unexpected", ""},
}

// TestDriftIsFound sabotages one thing after another from outside.
func TestDriftIsFound(t *testing.T) {
	for _, c := range sabotages {
		t.Run(strings.ReplaceAll(c.sabotage, " ", "_"), func(t *testing.T) {
			m := newMaker(t)
			m.restore()
			furnish(m)
			m.inSync()
			m.IP(strings.Split(c.sabotage, "\n")...)
			var found object
			for _, d := range objects(m.call("net.verify", object{})["drift"]) {
				if d["resource"] == c.resource && d["id"] == c.id {
					found = d
				}
			}
			if found == nil || found["kind"] != c.kind {
				t.Fatalf("not found as %s: %v", c.kind, m.call("net.verify", object{})["drift"])
			}
			var fields []string
			for _, d := range objects(found["differences"]) {
				fields = append(fields, d["field"].(string))
			}
			if c.field != "" && !slices.Contains(fields, c.field) {
				t.Errorf("differs in %v, not %s", fields, c.field)
			}
		})
	}
}
