package netops

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// TestManyCallersSideBySide makes and deletes taps and routes with 64 callers over a few bridges, some of
// them after the same objects.
func TestManyCallersSideBySide(t *testing.T) {
	seed := testhost.Seed(t)
	objects := 10 * testhost.Rounds(50)
	m := newMaker(t)
	m.restore()
	for i := range 4 {
		m.call("net.bridge.add", object{"name": fmt.Sprint("br", i), "addresses": []string{fmt.Sprintf("10.%d.0.1/16", i+1)}})
	}
	m.call("net.vm.list", object{}) // sockets are open now
	before := m.picture()
	descriptors, goroutines := countDescriptors(t), runtime.NumGoroutine()
	var next, conflicts atomic.Int64
	var wg sync.WaitGroup
	for caller := range 64 {
		rng := rand.New(rand.NewPCG(seed, uint64(caller)))
		wg.Go(func() {
			for i := next.Add(1); i <= int64(objects); i = next.Add(1) {
				if err := m.roundTrip(rng, int(i), &conflicts); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	want(t, "afterwards", m.picture(), before)
	want(t, "rules afterwards", m.ruleset(), "")
	m.inSync()
	if n := m.net.kept.taps.Len() + m.net.kept.routes.Len() + m.net.kept.ports.Len() + m.net.kept.rules.Len(); n > 0 {
		t.Errorf("%d objects are still registered", n)
	}
	for deadline := time.Now().Add(20 * time.Second); countDescriptors(t) > descriptors || runtime.NumGoroutine() > goroutines; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) { // idle sockets are kept for 10 s
			t.Fatalf("%d descriptors, %d goroutines; there were %d and %d", countDescriptors(t), runtime.NumGoroutine(), descriptors, goroutines)
		}
	}
	t.Logf("%d objects, %d honest conflicts", objects, conflicts.Load())
}

// roundTrip makes an object and deletes it; every fourth is one that others are after too.
func (m *maker) roundTrip(rng *rand.Rand, i int, conflicts *atomic.Int64) error {
	shared := rng.IntN(4) == 0
	bridge := fmt.Sprint("br", rng.IntN(4))
	if shared {
		i = rng.IntN(3)
	}
	if i%3 == 0 {
		made, err := m.quiet("net.firewall.add_rule", object{"protocol": "tcp", "port": 10000 + i, "source": fmt.Sprintf("10.%d.0.0/16", i%4)})
		if err != nil {
			return err
		}
		_, err = m.quiet("net.firewall.remove_rule", object{"id": made["rule"].(object)["id"]})
		return err
	}
	if i%2 == 0 {
		dst := fmt.Sprintf("172.%d.%d.0/24", 16+i>>8&15, i&255)
		_, err := m.quiet("net.routes.add", object{"dst": dst, "interface": bridge, "metric": metricFor(shared)})
		if err := honest(err, shared, conflicts); err != nil {
			return fmt.Errorf("add %s: %w", dst, err)
		}
		_, err = m.quiet("net.routes.delete", object{"dst": dst, "metric": metricFor(shared)})
		return honest(err, shared, conflicts)
	}
	vm := fmt.Sprintf("vm-%d-%v", i, shared)
	made, err := m.quiet("net.vm.create_tap", object{"vm_id": vm, "bridge": bridge})
	if err := honest(err, shared, conflicts); err != nil || made == nil {
		return err
	}
	_, err = m.quiet("net.vm.delete_tap", object{"name": made["tap"].(object)["name"]})
	return honest(err, shared, conflicts)
}

func metricFor(shared bool) int {
	if shared {
		return 7
	}
	return 1
}

// quiet is call for other goroutines than the test's.
func (m *maker) quiet(method string, params object) (object, error) {
	return call(m.t, m.net, method, params)
}

// honest lets conflicts pass where callers are after the same object.
func honest(err error, shared bool, conflicts *atomic.Int64) error {
	var conflict *registry.ConflictError
	if shared && errors.As(err, &conflict) {
		conflicts.Add(1)
		return nil
	}
	return err
}

func countDescriptors(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestABridgeTakes1023Ports: the one after them is refused as a limit, and nothing of it stays.
func TestABridgeTakes1023Ports(t *testing.T) {
	m := newMaker(t)
	m.call("net.bridge.add", object{"name": "br0"})
	var commands []string
	for i := range maxPorts - 1 {
		commands = append(commands, fmt.Sprintf("link add v%d master br0 type veth peer w%d", i, i))
	}
	m.IP(commands...)
	want(t, "the last", m.call("net.vm.create_tap", object{"vm_id": "last", "bridge": "br0"})["created"], true)
	_, err := call(t, m.net, "net.vm.create_tap", object{"vm_id": "one more", "bridge": "br0"})
	var full *registry.ResourceExhaustedError
	if !errors.As(err, &full) || full.Limit != "bridge_ports" {
		t.Errorf("%v", err)
	}
	taps := objects(m.call("net.vm.list", object{})["taps"])
	if len(taps) != 1 || m.net.kept.taps.Len() != 1 {
		t.Errorf("%d taps are registered", len(taps))
	}
	if out := m.Run("ip", "-j", "link", "show", "type", "tun"); len(decode[[]object](t, []byte(out))) != 1 {
		t.Errorf("taps: %s", out)
	}
}
