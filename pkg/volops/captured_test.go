package volops

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
)

var update = flag.Bool("update", false, "write the expected results of captured hosts anew")

// TestCapturedHosts answers the reads for captured machines and compares with what is known of them.
// Device nodes are not part of a capture, so nothing is read from a device.
func TestCapturedHosts(t *testing.T) {
	for _, host := range []string{"virtio", "server", "desktop"} {
		v := newVol(t, Options{Root: testhost.Tree(t, host)})
		for method, params := range map[string]string{"vol.list_disks": `{}`, "vol.list_mounts": `{"usage":false}`} {
			t.Run(host+"/"+method, func(t *testing.T) {
				golden(t, filepath.Join("testdata", host+"."+method+".json"), result(t, v, method, params))
			})
		}
	}
}

func golden(t *testing.T, path string, b []byte) {
	t.Helper()
	var got bytes.Buffer
	if err := json.Indent(&got, b, "", "  "); err != nil {
		t.Fatal(err)
	}
	got.WriteByte('\n')
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", path, diff)
	}
}
