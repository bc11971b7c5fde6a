package netops

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// TestTableWriteThatWasCutOff: of a write whose outcome is not in the journal, whether the kernel has it or
// not, the next start makes the whole.
func TestTableWriteThatWasCutOff(t *testing.T) {
	for _, done := range []bool{false, true} {
		t.Run(fmt.Sprint("kernel has it ", done), func(t *testing.T) {
			c := newCrossing(t)
			c.restore()
			answer(t, c.machine, 80)
			empty := c.ruleset()
			params := object{"protocol": "tcp", "port": 8080, "to_address": machine4, "to_port": 80}
			made := c.call("net.nat.add_dnat", params)
			id := made["dnat"].(object)["id"].(string)
			spec, _ := c.net.kept.dnats.Get(id)
			c.call("net.nat.remove_dnat", object{"id": id})

			// adding
			if done {
				c.putInKernel(spec)
			}
			c.begin("net.nat.add_dnat", c.net.kept.dnats.Put(id, spec))
			c.again()
			c.inSync()
			want(t, "registered", c.net.kept.dnats.Has(id), true)
			c.call("net.nat.remove_dnat", object{"id": id})
			want(t, "left over", c.ruleset(), empty)

			// removing
			c.call("net.nat.add_dnat", params)
			if done {
				c.nft("delete table inet my_os_server")
			}
			c.begin("net.nat.remove_dnat", c.net.kept.dnats.Remove(id))
			c.again()
			want(t, "registered", c.net.kept.dnats.Has(id), false)
			want(t, "left over", c.ruleset(), empty)
		})
	}
}

func (m *maker) putInKernel(e entry) {
	m.t.Helper()
	t := &taker{net: m.net}
	if err := t.take(m.t.Context(), []step{putEntry{e}}); err != nil {
		m.t.Fatal(err)
	}
}

// begin has the journal take an intent and nothing more.
func (m *maker) begin(method string, changes ...state.Change) {
	m.t.Helper()
	if _, err := m.store.Begin(m.t.Context(), state.Intent{Method: method, Changes: changes}); err != nil {
		m.t.Fatal(err)
	}
}

// again stops and starts in the same boot.
func (m *maker) again() {
	m.t.Helper()
	m.stop()
	m.start("boot-1")
	if out := m.restore(); len(out.Finished) != 1 || len(out.Failed) > 0 {
		m.t.Errorf("%+v", out)
	}
}

// TestManyCallersChangeTheTable: no call fails but for ranges that overlap, and when all is removed nothing is
// left.
func TestManyCallersChangeTheTable(t *testing.T) {
	c := newCrossing(t)
	seed := testhost.Seed(t)
	before, settings := c.ruleset(), c.forwardings()
	var wg sync.WaitGroup
	for caller := range 16 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(caller)))
			for i := range testhost.Rounds(12) {
				port := 1000 + caller*1000 + i*4
				var add, remove, noun string
				var params object
				switch r.IntN(3) {
				case 0:
					add, remove, noun = "net.firewall.add_rule", "net.firewall.remove_rule", "rule"
					params = object{"protocol": "tcp", "port": port, "source": fmt.Sprintf("10.0.0.0/%d", 8+r.IntN(4))}
				case 1:
					add, remove, noun = "net.nat.add_dnat", "net.nat.remove_dnat", "dnat"
					params = object{"protocol": "udp", "port": port, "port_end": port + 3, "to_address": []string{machine4, machine6}[r.IntN(2)]}
				default:
					add, remove, noun = "net.nat.add_snat", "net.nat.remove_snat", "snat"
					params = object{"source": fmt.Sprintf("10.%d.%d.0/24", caller, i)}
				}
				made, err := call(t, c.net, add, params)
				if err != nil {
					t.Errorf("%s %v: %v", add, params, err)
					return
				}
				if _, err := call(t, c.net, remove, object{"id": made[noun].(object)["id"]}); err != nil {
					t.Errorf("%s %v: %v", remove, params, err)
					return
				}
			}
		})
	}
	wg.Wait()
	c.inSync()
	want(t, "left over", c.ruleset(), before)
	want(t, "settings", c.forwardings(), settings)
}

// BenchmarkEntryAmong adds and removes one entry where there are many.
func BenchmarkEntryAmong(b *testing.B) {
	for _, there := range []int{0, 1000, 10_000} {
		b.Run(fmt.Sprint(there), func(b *testing.B) {
			c := newCrossing(b)
			for i := range there {
				spec := wantedDNAT(&registry.NetNATAddDNATParams{Protocol: "tcp", Port: int64(i + 1), ToAddress: netip.MustParseAddr(machine4)})
				if err := c.store.Set(c.net.kept.dnats.Put(spec.ID, spec)); err != nil {
					b.Fatal(err)
				}
			}
			if there > 0 {
				c.net.kept.table.forget()
				if err := (rebuildTable{"it"}).take(b.Context(), &taker{net: c.net}); err != nil {
					b.Fatal(err)
				}
			}
			params := object{"protocol": "tcp", "port": 65000, "to_address": machine4}
			for b.Loop() {
				id := c.call("net.nat.add_dnat", params)["dnat"].(object)["id"]
				c.call("net.nat.remove_dnat", object{"id": id})
			}
		})
	}
}
