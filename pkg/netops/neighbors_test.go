package netops

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/internal/testhost"
)

// TestProxyOfEveryInterface: ip asks for an interface, the kernel does not.
func TestProxyOfEveryInterface(t *testing.T) {
	b := neighborRow{names: namesBy(newNetConn(t))}
	row := b.of(&rtnl.Neighbor{Family: unix.AF_INET, Addr: netip.MustParseAddr("192.0.2.1"), Flags: unix.NTF_PROXY})
	got := row.AppendJSON(nil)
	testhost.ValidateResult(t, "net.neighbors", fmt.Appendf(nil, `{"neighbors":[%s]}`, got))
	if want := `{"address":"192.0.2.1","family":"ipv4","flags":["proxy"],"managed":false}`; string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

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
