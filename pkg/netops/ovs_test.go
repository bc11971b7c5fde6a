package netops

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/geomind/my_os_server/pkg/registry"
)

// TestWithoutOVS: where none runs the methods say so, and net.status too; where one has left its socket they say that
// it is gone.
func TestWithoutOVS(t *testing.T) {
	root := t.TempDir()
	n, err := New(Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	told := func() map[string]registry.UnsupportedReason {
		told := map[string]registry.UnsupportedReason{}
		for _, u := range n.unavailable() {
			told[u.Method] = u.Reason.Or("")
		}
		return told
	}
	for _, method := range ovsMethods {
		_, err := call(t, n, method, object{})
		var unsupported *registry.UnsupportedError
		if !errors.As(err, &unsupported) || unsupported.Reason != registry.UnsupportedReasonNoOvs || told()[method] != registry.UnsupportedReasonNoOvs {
			t.Errorf("%s: %v, net.status says %q", method, err, told()[method])
		}
	}
	socket := n.ovsRunFile(ovsDBSocket)
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, method := range ovsMethods {
		_, err := call(t, n, method, object{})
		var gone *registry.UpstreamUnavailableError
		if _, listed := told()[method]; !errors.As(err, &gone) || gone.Cause == "" || listed {
			t.Errorf("%s: %v, listed as unavailable: %v", method, err, listed)
		}
	}
}
