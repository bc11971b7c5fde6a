package netops

import (
	"fmt"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

func callBench(b *testing.B, n *Net, method, params string) {
	row, _ := registry.Lookup(method)
	b.ReportAllocs()
	var size int64
	for b.Loop() {
		p, err := row.Decode([]byte(params))
		if err != nil {
			b.Fatal(err)
		}
		size = 0
		out := &registry.Out{Write: func(p []byte) error { size += int64(len(p)); return nil }}
		if err := row.Call(b.Context(), &registry.Servers{Net: n}, p, out); err != nil {
			b.Fatal(err)
		}
		size += int64(len(out.Buf))
	}
	b.SetBytes(size)
}

func BenchmarkRoutes(b *testing.B) {
	ns := testhost.NewNetNS(b)
	ns.FillRoutes(100_000)
	n, err := New(Options{NetNS: ns.Path()})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	b.Run("ours", func(b *testing.B) { callBench(b, n, "net.routes", "{}") })
	b.Run("limit10", func(b *testing.B) { callBench(b, n, "net.routes", `{"limit":10}`) })
	b.Run("status", func(b *testing.B) { callBench(b, n, "net.status", `{}`) })
	b.Run("ip", func(b *testing.B) {
		for b.Loop() {
			ns.Run("sh", "-c", "ip -j route show > /dev/null")
		}
	})
}

func BenchmarkInterfaces(b *testing.B) {
	for _, links := range []int{4, 2000} {
		ns := testhost.NewNetNS(b)
		ns.FillLinks(links)
		n, err := New(Options{NetNS: ns.Path()})
		if err != nil {
			b.Fatal(err)
		}
		defer n.Close()
		b.Run(fmt.Sprint(links, "/ours"), func(b *testing.B) { callBench(b, n, "net.interfaces", "{}") })
		b.Run(fmt.Sprint(links, "/limit10"), func(b *testing.B) { callBench(b, n, "net.interfaces", `{"limit":10}`) })
		b.Run(fmt.Sprint(links, "/one"), func(b *testing.B) { callBench(b, n, "net.interfaces", `{"name":"p0"}`) })
		b.Run(fmt.Sprint(links, "/status"), func(b *testing.B) { callBench(b, n, "net.status", `{}`) })
		b.Run(fmt.Sprint(links, "/ip"), func(b *testing.B) {
			for b.Loop() {
				ns.Run("sh", "-c", "ip -j -d addr show > /dev/null")
			}
		})
	}
}
