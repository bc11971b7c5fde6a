package kernelrow

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/internal/testhost"
)

// TestProxyOfEveryInterface: ip asks for an interface, the kernel does not.
func TestProxyOfEveryInterface(t *testing.T) {
	conn, err := rtnl.Dial(0)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b := NewNeighbor(conn)
	row := b.Of(&rtnl.Neighbor{Family: unix.AF_INET, Addr: netip.MustParseAddr("192.0.2.1"), Flags: unix.NTF_PROXY})
	got := row.AppendJSON(nil)
	testhost.ValidateResult(t, "net.neighbors", fmt.Appendf(nil, `{"neighbors":[%s]}`, got))
	if want := `{"address":"192.0.2.1","family":"ipv4","flags":["proxy"],"managed":false}`; string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}
