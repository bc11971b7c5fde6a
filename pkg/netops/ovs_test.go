package netops

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/geomind/my_os_server/pkg/registry"
)

// TestWithoutOVS: where none runs the methods say so; where one runs they say that they cannot speak to it. Either
// way net.status says the same.
func TestWithoutOVS(t *testing.T) {
	root := t.TempDir()
	n, err := New(Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	check := func(want registry.UnsupportedReason) {
		t.Helper()
		told := map[string]registry.UnsupportedReason{}
		for _, u := range n.unavailable() {
			told[u.Method] = u.Reason.Or("")
		}
		for _, method := range ovsMethods {
			_, err := call(t, n, method, object{})
			var unsupported *registry.UnsupportedError
			if !errors.As(err, &unsupported) || unsupported.Reason != want || told[method] != want {
				t.Errorf("%s: %v, net.status says %q, want %q", method, err, told[method], want)
			}
		}
	}
	check(registry.UnsupportedReasonNoOvs)
	socket := n.ovsRunFile(ovsDBSocket)
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	check(registry.UnsupportedReasonNotBuiltYet)
}
