package netops

import (
	"fmt"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// BenchmarkNeighbors is a whole dump against `ip -j -d -s neigh show`.
func BenchmarkNeighbors(b *testing.B) {
	ns := testhost.NewNetNS(b)
	ns.FillLinks(2)
	var batch strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&batch, "neigh add 10.%d.%d.%d lladdr 52:54:00:00:00:01 dev p1\n", 50+i>>16, i>>8&255, i&255)
	}
	if out, err := ns.Try(batch.String(), "ip", "-batch", "-"); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	against(b, ns, newNet(b, ns), "net.neighbors", "neighbors", `{"family":"ipv4"}`, "ip -j -d -s -4 neigh show nud all")
}
