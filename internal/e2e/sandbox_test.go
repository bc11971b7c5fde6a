package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// readParams are those of reads that cannot be asked for without.
func readParams(disk string) map[string]string {
	return map[string]string{
		"vol.usage":           `{"path":"/"}`,
		"vol.list_free_space": fmt.Sprintf(`{"disk":%q}`, disk),
		"vol.md_detail":       `{"device":"/dev/md0"}`,
		"vol.list_subvolumes": `{"path":"/"}`,
		"vol.device_stats":    `{"path":"/"}`,
		"vol.scrub_status":    `{"path":"/"}`,
		"vol.fs_usage":        `{"path":"/"}`,
		"vol.fs_df":           `{"path":"/"}`,
		"vol.balance_status":  `{"path":"/"}`,
	}
}

// honest are the outcomes that a read may have on a host that lacks things: it works, or says what lacks.
var honest = []string{"a result", "no_privilege", "unsupported", "tool_missing", "not_found", "conflict", "refused"}

// TestReadsWhereMuchLacks asks every read where the daemon has nothing: as a plain user, and as root of a user
// namespace as in an unprivileged container, both without a tool on PATH. What can work works, the rest says
// what it lacks, and net.status lists what cannot work at all.
func TestReadsWhereMuchLacks(t *testing.T) {
	testhost.Root(t)
	testhost.Tool(t, "unshare", "util-linux")
	testhost.Tool(t, "setpriv", "util-linux")
	binary := filepath.Join(bin, "my-os-server-native")
	user := fmt.Sprintf("setpriv --reuid %d --regid %[1]d --clear-groups", sandboxUID)
	params := readParams(testhost.NewLoop(t, testhost.LoopOptions{}).Path)
	for _, place := range []struct{ name, run string }{
		{"plain user", user + " env PATH=/nonexistent"},
		{"user namespace", user + " unshare -Urnm env PATH=/nonexistent"},
	} {
		t.Run(place.name, func(t *testing.T) { asksEveryRead(t, startSandboxed(t, place.run, binary), params) })
	}
}

// sandboxUID is a user that is nobody's, and not the one that the kernel shows for unknown users.
const sandboxUID = 65533

// startSandboxed starts the server behind the words of a command, with folders of its own user's.
func startSandboxed(t *testing.T, run, binary string) *server {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, sandboxUID, sandboxUID); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &server{socket: filepath.Join(dir, "s"), log: new(testhost.Log)}
	var words []string
	for _, word := range strings.Fields(run) { // by their paths: what is looked up later is looked up nowhere
		if path, err := exec.LookPath(word); err == nil {
			word = path
		}
		words = append(words, word)
	}
	words = append(words, binary, "--socket", s.socket, "--state-dir", filepath.Join(dir, "state"), "--node-name", nodeName, "--no-hero-socket")
	s.cmd = exec.Command(words[0], words[1:]...)
	s.cmd.Stderr = s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.stop(t) })
	testhost.Listening(t, s.socket, s.log)
	return s
}

func asksEveryRead(t *testing.T, s *server, params map[string]string) {
	hc := s.clientAs(sandboxUID) // who may do everything that the server can
	defer hc.CloseIdleConnections()
	unavailable := unavailableBy(t, hc)
	var table []string
	for _, m := range registry.All() {
		if m.Effect != registry.EffectRead || m.Namespace() == "rpc" {
			continue
		}
		a, err := post(hc, nil, body(m.Name, params[m.Name]))
		if err != nil {
			t.Errorf("%s: %v", m.Name, err)
			continue
		}
		got := outcome(a)
		line := fmt.Sprintf("%-28s %s", m.Name, got)
		if a.Error != nil {
			line += ": " + a.Error.Message
		} else {
			testhost.ValidateResult(t, m.Name, a.Result)
		}
		table = append(table, line)
		if !slices.Contains(honest, got) {
			t.Errorf("%s: %s", m.Name, got)
		}
		if kind, said := unavailable[m.Name]; said && kind != got {
			t.Errorf("%s: net.status says %s, it answers %s", m.Name, kind, got)
		}
		if _, said := unavailable[m.Name]; !said && (got == "unsupported" || got == "tool_missing") && !strings.Contains(m.Name, "md_detail") {
			t.Errorf("%s: answers %s, which net.status does not say", m.Name, line)
		}
	}
	t.Logf("%d reads:\n%s", len(table), strings.Join(table, "\n"))
}

// unavailableBy is what net.status says of each method that cannot work.
func unavailableBy(t *testing.T, hc *http.Client) map[string]string {
	t.Helper()
	var status struct {
		Unavailable []struct{ Method, Kind string }
	}
	if err := json.Unmarshal(call(t, hc, "net.status", ""), &status); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, u := range status.Unavailable {
		all[u.Method] = u.Kind
	}
	return all
}
