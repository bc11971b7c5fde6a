package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/geomind/my_os_server/api"
	"github.com/geomind/my_os_server/internal/testhost"
)

// answered are calls of every method that is built, on the host the tests run on.
var answered = []struct{ method, params string }{
	{"rpc.health", ""},
	{"net.status", ""},
	{"net.interfaces", ""},
	{"net.interfaces", `{"name":"lo"}`},
	{"net.routes", ""},
	{"net.routes", `{"family":"ipv6","limit":1}`},
	{"net.sysctl", ""},
	{"net.sysctl", `{"interface":"lo"}`},
	{"vol.list_disks", ""},
	{"vol.list_mounts", ""},
	{"vol.list_mounts", `{"target":"/"}`},
	{"vol.usage", `{"path":"/"}`},
	{"vol.usage", `["/"]`},
}

func TestResultsFitTheirSchemas(t *testing.T) {
	s := startServer(t)
	c := s.client()
	defer c.CloseIdleConnections()
	for _, a := range answered {
		t.Run(a.method+a.params, func(t *testing.T) {
			testhost.ValidateResult(t, a.method, call(t, c, a.method, a.params))
		})
	}
}

// TestDiscoverIsTheTable compares bytes: clients cache and hash the document.
func TestDiscoverIsTheTable(t *testing.T) {
	s := startServer(t)
	c := s.client()
	defer c.CloseIdleConnections()
	if got := call(t, c, "rpc.discover", ""); !bytes.Equal(bytes.TrimSpace(got), bytes.TrimSpace(api.Document)) {
		t.Errorf("rpc.discover: %d bytes that are not the table's %d", len(got), len(api.Document))
	}
	res, err := c.Get("http://localhost/openrpc.json")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !bytes.Equal(got, api.Document) {
		t.Errorf("GET /openrpc.json: %s, %d bytes, %v", res.Status, len(got), err)
	}
}

// TestDefaultsOfAPlainHost is what people meet who start the server without any file: root may do all,
// other users of the host read what exposes nothing.
func TestDefaultsOfAPlainHost(t *testing.T) {
	testhost.Root(t)
	for _, b := range binaries {
		t.Run(b.name, func(t *testing.T) { defaultsOfAPlainHost(t, b.start(t)) })
	}
}

func defaultsOfAPlainHost(t *testing.T, s *server) {
	for _, c := range []struct {
		uid     uint32
		method  string
		params  string
		outcome string
	}{
		{0, "net.routes.add", `{"no_such_param":1}`, "invalid_params"},
		{0, "net.conntrack.flush", `{"no_such_param":1}`, "invalid_params"},
		{2000, "net.interfaces", `{"limit":1}`, "a result"},
		{2000, "net.conntrack", `{}`, "permission_denied: has none, needs read"},
		{2000, "net.routes.add", `{"no_such_param":1}`, "permission_denied: has read, needs write"},
	} {
		t.Run(fmt.Sprintf("%d %s", c.uid, c.method), func(t *testing.T) {
			hc := s.clientAs(c.uid)
			defer hc.CloseIdleConnections()
			a, err := post(hc, nil, body(c.method, c.params))
			if err != nil {
				t.Fatal(err)
			}
			if got := outcome(a); got != c.outcome {
				t.Errorf("%s, want %s", got, c.outcome)
			}
		})
	}
}
