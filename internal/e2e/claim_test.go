package e2e

import (
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// TestOneDaemonChangesANetwork: of two daemons in one network namespace the one that changes it first is the only one;
// the other looks, says who it is, and takes over once it has ended.
func TestOneDaemonChangesANetwork(t *testing.T) {
	testhost.Root(t)
	ns := testhost.NewNetNS(t)
	var second *server
	ns.Do(func() { second = startServer(t) })
	b := second.client()
	defer b.CloseIdleConnections()
	call(t, b, "net.interfaces", "")
	t.Run("beside another", func(t *testing.T) {
		var first *server
		ns.Do(func() { first = startServer(t) })
		a := first.client()
		defer a.CloseIdleConnections()
		call(t, a, "net.bridge.add", `{"name":"br0"}`)
		for method, params := range map[string]string{"net.bridge.add": `{"name":"br1"}`, "net.firewall.add_rule": `{"protocol":"tcp","port":80}`} {
			answer, err := post(b, nil, body(method, params))
			if err != nil {
				t.Fatal(err)
			}
			if e := answer.Error; e == nil || e.Data["errno"] != "EADDRINUSE" || e.Data["applied"] != "no" || !strings.Contains(e.Message, "my-os-server-na (process ") {
				t.Errorf("%s: %v, want a refusal that names the other daemon", method, e)
			}
		}
		call(t, b, "net.bridge", "")
		if links := ns.Run("ip", "-br", "link"); strings.Contains(links, "br1") || !strings.Contains(links, "br0") {
			t.Errorf("links:\n%s", links)
		}
		call(t, a, "net.bridge.delete", `{"name":"br0"}`)
	})
	call(t, b, "net.bridge.add", `{"name":"br1"}`)
}
