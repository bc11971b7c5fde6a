package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// remoteServer starts a server that listens for TLS and lets one key read; it returns its address and the file of
// its certificate.
func remoteServer(t *testing.T, key string) (address, certificate string) {
	t.Helper()
	address = testhost.FreeAddress(t)
	dir, err := os.MkdirTemp("", "cli") // not TempDir: a socket's path has little room
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	rules := filepath.Join(dir, "acl.toml")
	text := fmt.Sprintf("[[group]]\nname = \"g\"\nusers = [%q]\n[[ace]]\nright = \"read\"\ngroups = [\"g\"]\n", key)
	if err := os.WriteFile(rules, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(build(t), "--socket", socket, "--state-dir", filepath.Join(dir, "state"), "--no-hero-socket", "--listen", address, "--acl", rules)
	log := new(testhost.Log)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	testhost.Listening(t, socket, log) // it is made after the other
	return address, filepath.Join(dir, "state/tls/server.crt")
}

// TestServerElsewhere: a server is met by its fingerprint, and then called with a key; one with another
// fingerprint is not.
func TestServerElsewhere(t *testing.T) {
	testhost.Root(t)
	home := t.TempDir()
	run := func(args ...string) (string, int) {
		t.Helper()
		cmd := program(t, home, args...)
		out, err := cmd.CombinedOutput()
		if _, exited := err.(*exec.ExitError); err != nil && !exited {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out)), cmd.ProcessState.ExitCode()
	}
	key, code := run("key", "generate")
	if code != 0 {
		t.Fatal(key)
	}
	address, certificate := remoteServer(t, key)
	shown, code := run("server", "fingerprint", address)
	if kept, _ := run("server", "fingerprint", "--certificate", certificate); code != 0 || len(shown) != 64 || kept != shown {
		t.Fatalf("shown %q, in the file %q", shown, kept)
	}
	if out, code := run("context", "add", "far", "--address", address); code != exitUsage || !strings.Contains(out, shown) {
		t.Errorf("without a terminal to ask at: exit %d: %s", code, out)
	}
	for name, fingerprint := range map[string]string{"far": shown, "other": strings.Repeat("0", 64)} {
		if out, code := run("context", "add", name, "--address", address, "--fingerprint", fingerprint, "--key", "~/.config/my-os-ctl/key"); code != 0 {
			t.Fatalf("exit %d: %s", code, out)
		}
	}
	if out, code := run("--context", "far", "net", "status", "-o", "json"); code != 0 || !strings.Contains(out, `"mode":"native"`) {
		t.Errorf("exit %d: %s", code, out)
	}
	if out, code := run("--context", "other", "net", "status"); code == 0 || !strings.Contains(out, "another key") {
		t.Errorf("another server than was met: exit %d: %s", code, out)
	}
	if out, code := run("context", "add", "half", "--address", address, "--socket", "/s", "--fingerprint", shown); code == 0 {
		t.Errorf("two servers in one context: %s", out)
	}
}
