package netops

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// The benchmarks run the handler and the peer in turn and report the ratio of their medians. They
// leave out the server and its socket: see the folder bench for those.

// BenchmarkRoutes is a whole dump against `ip -j route show`.
func BenchmarkRoutes(b *testing.B) {
	for _, routes := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(routes), func(b *testing.B) {
			ns := testhost.NewNetNS(b)
			ns.FillRoutes(routes)
			n := newNet(b, ns)
			against(b, ns, n, "net.routes", "routes", `{"family":"ipv4"}`, "ip -j route show")
		})
	}
}

// BenchmarkInterfaces is 2,000 interfaces with their addresses against `ip -j -d addr show`, which
// prints no counters.
func BenchmarkInterfaces(b *testing.B) {
	ns := testhost.NewNetNS(b)
	ns.FillLinks(2000)
	against(b, ns, newNet(b, ns), "net.interfaces", "interfaces", `{}`, "ip -j -d addr show")
}

// BenchmarkSmall are calls whose answer is short, on a host that has much.
func BenchmarkSmall(b *testing.B) {
	ns := testhost.NewNetNS(b)
	ns.FillLinks(2000)
	ns.FillRoutes(100_000)
	n := newNet(b, ns)
	for _, c := range [][2]string{
		{"net.status", `{}`}, {"net.interfaces", `{"name":"p1000"}`}, {"net.interfaces", `{"limit":10}`}, {"net.interfaces", `{"master":"p1"}`},
		{"net.routes", `{"limit":10}`}, {"net.routes", `{"table":99}`}, {"net.routes", `{"dst":"0.0.0.0/0","table":254}`},
	} {
		b.Run(c[0]+c[1], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				discard(b, n, c[0], c[1])
			}
		})
	}
}

// BenchmarkSmallHost are the same on a host of five interfaces.
func BenchmarkSmallHost(b *testing.B) {
	ns := testhost.NewNetNS(b)
	ns.FillLinks(4)
	n := newNet(b, ns)
	for _, method := range []string{"net.status", "net.interfaces", "net.routes", "net.sysctl"} {
		b.Run(method, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				discard(b, n, method, `{}`)
			}
		})
	}
}

// against compares a method with a command, in turn.
func against(b *testing.B, ns *testhost.NetNS, n *Net, method, list, params, command string) {
	checkSameNumber(b, ns, n, method, list, params, command)
	var ours, theirs []float64
	resetPeak(b)
	idle := memory(b, "VmRSS")
	for b.Loop() {
		began := time.Now()
		discard(b, n, method, params)
		ours = append(ours, time.Since(began).Seconds())
		began = time.Now()
		ns.Run("sh", "-c", command+" >/dev/null")
		theirs = append(theirs, time.Since(began).Seconds())
	}
	b.ReportMetric(median(ours)*1000, "ms-ours")
	b.ReportMetric(median(theirs)*1000, "ms-peer")
	b.ReportMetric(median(ours)/median(theirs), "ours/peer")
	b.ReportMetric((memory(b, "VmHWM")-idle)/1024, "MiB-above-idle")
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// discard makes a call and throws its result away as it comes; it returns how long it was.
func discard(b *testing.B, n *Net, method, params string) (size int) {
	row, _ := registry.Lookup(method)
	p, err := row.Decode([]byte(params))
	if err != nil {
		b.Fatal(err)
	}
	out := &registry.Out{Write: func(p []byte) error { size += len(p); return nil }}
	if err := row.Call(b.Context(), &registry.Servers{Net: n}, p, out); err != nil {
		b.Fatal(err)
	}
	return size + len(out.Buf)
}

// checkSameNumber makes sure that both tell of the same things.
func checkSameNumber(b *testing.B, ns *testhost.NetNS, n *Net, method, list, params, command string) {
	row, _ := registry.Lookup(method)
	p, err := row.Decode([]byte(params))
	if err != nil {
		b.Fatal(err)
	}
	out := &registry.Out{}
	if err := row.Call(b.Context(), &registry.Servers{Net: n}, p, out); err != nil {
		b.Fatal(err)
	}
	ours := bytes.Count(out.Buf, []byte(`"managed":`))
	words := strings.Fields(command)
	var theirs []json.RawMessage
	if err := json.Unmarshal([]byte(ns.Run(words[0], words[1:]...)), &theirs); err != nil {
		b.Fatal(err)
	}
	if ours != len(theirs) {
		b.Fatalf("%s has %d %s, %s has %d", method, ours, list, command, len(theirs))
	}
}

// resetPeak makes VmHWM start anew, from a process that has given back what it does not need.
func resetPeak(b *testing.B) {
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
}

// memory is a line of /proc/self/status, in KiB.
func memory(b *testing.B, name string) (kib float64) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), name+":")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		b.Fatal(err)
	}
	return kib
}
