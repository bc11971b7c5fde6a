package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// typescript makes examples/typescript in a folder as docs/clients.md says: its packages installed, a client generated
// from what a server answers to rpc.discover, and all of it compiled.
func typescript(t *testing.T, folder string, discovered []byte) {
	t.Helper()
	for _, name := range []string{"package.json", "package-lock.json", "tsconfig.json", "rewrite.mjs", "src/connect.ts", "src/example.ts"} {
		text, err := os.ReadFile(filepath.Join("../../examples/typescript", name))
		if err != nil {
			t.Fatal(err)
		}
		writeIn(t, folder, name, text)
	}
	writeIn(t, folder, "discover.json", discovered)
	for _, step := range [][]string{
		{"npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"},
		{"npm", "run", "generate"},
		{"npm", "run", "build"},
	} {
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		cmd := exec.CommandContext(ctx, step[0], step[1:]...)
		cmd.Dir = folder
		out, err := cmd.CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("%s: %v: %.4000s", strings.Join(step, " "), err, out)
		}
		t.Logf("%s: %v", strings.Join(step, " "), time.Since(start).Round(time.Millisecond))
	}
}

func writeIn(t *testing.T, folder, name string, text []byte) {
	t.Helper()
	path := filepath.Join(folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// exampleSays is what examples/typescript prints.
type exampleSays struct {
	nodeSays
	Denied     map[string]string
	Impossible int
}

// nodeSays is what the example reads of its node: of net.status, net.interfaces, net.routes and vol.usage, by the names
// that they give it.
type nodeSays struct {
	Mode       string
	Interfaces []struct {
		Name      string
		MTU       int
		Addresses []struct{ Address string }
	}
	Routes     []struct{ Dst, Gateway, Interface string }
	TotalBytes int64 `json:"total_bytes"`
}

// TestTypeScriptClient: a client in another language, generated from rpc.discover, talks to both servers over
// TLS: it knows them by fingerprint or by certificate, and is known by a token or a certificate. What it reads is
// what Go reads.
func TestTypeScriptClient(t *testing.T) {
	testhost.Root(t)
	testhost.Tool(t, "node", "nodejs")
	testhost.Tool(t, "npm", "npm")
	k := newKeys(t, "admin", "write", "read")
	rules := writeACL(t, k)
	ns := testhost.NewNetNS(t)
	ns.IP("link add v0 mtu 1400 type veth peer name v1", "addr add 192.0.2.1/24 dev v0", "link set v0 up", "link set v1 up", "route add 203.0.113.0/24 via 192.0.2.2")
	folder, made := t.TempDir(), false
	for _, b := range binaries {
		t.Run(b.name, func(t *testing.T) {
			var s *server
			address := testhost.FreeAddress(t) // free in the other namespace too
			ns.Do(func() { s = b.start(t, "--acl", rules, "--listen", address) })
			c := s.client()
			defer c.CloseIdleConnections()
			discovered := call(t, c, "rpc.discover", "")
			if !made { // both answer the same
				made = true
				typescript(t, folder, discovered)
				generatedWhole(t, folder)
			}
			talk(t, ns, s, folder, address, k)
		})
	}
}

// generatedWhole looks for a member for every method of the table.
func generatedWhole(t *testing.T, folder string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "generated/client/typescript/src/index.ts"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range registry.All() {
		if !bytes.Contains(text, []byte("public "+strings.ReplaceAll(m.Name, ".", "_")+":")) {
			t.Errorf("%s has no member", m.Name)
		}
	}
	t.Logf("%d methods in %d bytes", len(registry.All()), len(text))
}

// talk runs the example as each kind of client.
func talk(t *testing.T, ns *testhost.NetNS, s *server, folder, address string, k keys) {
	t.Helper()
	shown := filepath.Join(filepath.Dir(s.socket), "state/tls/server.crt")
	own := selfSigned(t, k["read"], time.Now())
	certificate := writePEM(t, own)
	key := filepath.Join(t.TempDir(), "key.pem")
	der, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	fingerprint := "MY_OS_FINGERPRINT=" + fingerprintIn(t, shown)
	for _, test := range []struct {
		name, caller string // caller: as errors name it
		env          []string
	}{
		{"fingerprint and token", "token:ci", []string{"MY_OS_SERVER=" + address, fingerprint, "MY_OS_TOKEN=" + goodToken}},
		{"fingerprint and certificate", k.hex("read"), []string{"MY_OS_SERVER=" + address, fingerprint, "MY_OS_CERTIFICATE=" + certificate, "MY_OS_KEY=" + key}},
		{"authority and token", "token:ci", []string{"MY_OS_SERVER=" + address, "MY_OS_CA=" + shown, "MY_OS_NAME=" + nodeName, "MY_OS_TOKEN=" + goodToken}},
	} {
		out, err := example(t, ns, folder, test.env...)
		var says exampleSays
		if err != nil || json.Unmarshal([]byte(out), &says) != nil {
			t.Fatalf("%s: %v: %s", test.name, err, out)
		}
		want := map[string]string{"kind": "permission_denied", "method": "net.routes.add", "required": "write", "granted": "read", "caller": test.caller}
		if diff := cmp.Diff(want, says.Denied); diff != "" || says.Impossible != 1 {
			t.Errorf("%s: %d faults, %s", test.name, says.Impossible, diff)
		}
		sameAsHere(t, s, &says.nodeSays)
	}
	for name, env := range map[string][]string{
		"another key":  {"MY_OS_SERVER=" + address, "MY_OS_FINGERPRINT=" + strings.Repeat("0", 64), "MY_OS_TOKEN=" + goodToken},
		"another CA":   {"MY_OS_SERVER=" + address, "MY_OS_CA=" + certificate, "MY_OS_NAME=" + nodeName, "MY_OS_TOKEN=" + goodToken},
		"another name": {"MY_OS_SERVER=" + address, "MY_OS_CA=" + shown, "MY_OS_NAME=other", "MY_OS_TOKEN=" + goodToken},
		"no token":     {"MY_OS_SERVER=" + address, fingerprint},
	} {
		if out, err := example(t, ns, folder, env...); err == nil {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// fingerprintIn is by which the server with the certificate in a file is known, as anyone can work it out.
func fingerprintIn(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(c.RawSubjectPublicKeyInfo))
}

func example(t *testing.T, ns *testhost.NetNS, folder string, env ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "build/src/example.js")
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), env...)
	var out []byte
	var err error
	ns.Do(func() { out, err = cmd.CombinedOutput() })
	return string(out), err
}

// sameAsHere compares what the example has read with what the Unix socket tells.
func sameAsHere(t *testing.T, s *server, says *nodeSays) {
	t.Helper()
	c := s.client()
	defer c.CloseIdleConnections()
	var want nodeSays
	for method, params := range map[string]string{"net.status": "", "net.interfaces": "", "net.routes": `["ipv4",254]`, "vol.usage": `["/"]`} {
		if err := json.Unmarshal(call(t, c, method, params), &want); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(&want, says); diff != "" || len(says.Interfaces) != 3 || len(says.Routes) != 2 {
		t.Errorf("-here +there:\n%s%+v", diff, says)
	}
}
