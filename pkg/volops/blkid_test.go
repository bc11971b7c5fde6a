package volops

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/pkg/registry"
)

// blkidFacts is what blkid -p says of a device; nil where it finds nothing.
func blkidFacts(t testing.TB, device string) map[string]string {
	t.Helper()
	out, err := exec.Command("blkid", "-p", "-o", "export", device).Output()
	if exit, ok := err.(*exec.ExitError); ok && exit.ExitCode() == 2 {
		return nil
	}
	if err != nil {
		t.Fatalf("blkid %s: %v", device, err)
	}
	facts := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		facts[key] = strings.ReplaceAll(value, `\`, "")
	}
	return facts
}

// compareSignature holds a signature against blkid.
func compareSignature(t *testing.T, device string, s *registry.Signature) {
	t.Helper()
	want := blkidFacts(t, device)
	if s == nil {
		if want["TYPE"] != "" {
			t.Errorf("%s: no signature, blkid has %v", device, want)
		}
		return
	}
	got := map[string]string{"TYPE": s.Type, "USAGE": s.Usage.Or(""), "VERSION": s.Version.Or(""), "LABEL": s.Label.Or(""),
		"UUID": s.UUID.Or(""), "UUID_SUB": s.UUIDSub.Or("")}
	for key, value := range got {
		if want[key] != value {
			t.Errorf("%s: %s is %q, blkid has %q", device, key, value, want[key])
		}
	}
	if block := want["BLOCK_SIZE"]; block != "" && block != fmt.Sprint(s.BlockSizeBytes.Or(0)) {
		t.Errorf("%s: block size %d, blkid has %s", device, s.BlockSizeBytes.Or(0), block)
	}
}
