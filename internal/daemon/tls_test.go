package daemon

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/identity"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/tlssock"
)

// elsewhere is a client that knows the server by its fingerprint and may have a key.
type elsewhere struct {
	http.Client
	address string

	mu     sync.Mutex
	shown  string // the fingerprint that the server showed last
	public string // the client's key, as ACL files have it
}

func newElsewhere(t *testing.T, address string, withKey bool) *elsewhere {
	t.Helper()
	e := &elsewhere{address: address}
	c := &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.shown = identity.Fingerprint(s.PeerCertificates[0])
		return nil
	}}
	if withKey {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}
		e.public = hex.EncodeToString(public)
	}
	transport := &http.Transport{TLSClientConfig: c}
	e.Client = http.Client{Transport: transport, Timeout: 20 * time.Second}
	t.Cleanup(transport.CloseIdleConnections)
	return e
}

func (e *elsewhere) fingerprint() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.shown
}

// call returns the answer's text.
func (e *elsewhere) call(method string) (string, error) {
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q}`, method)
	res, err := e.Post("https://"+e.address+"/rpc", "application/json", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var b bytes.Buffer
	_, err = io.Copy(&b, res.Body)
	return b.String(), err
}

func (e *elsewhere) wants(t *testing.T, method, answer string) {
	t.Helper()
	if got, err := e.call(method); err != nil || !strings.Contains(got, answer) {
		t.Errorf("%s: %s, %v; want %s", method, got, err, answer)
	}
}

// keyRules let the keys read and nobody else do anything.
func keyRules(keys ...string) string {
	return fmt.Sprintf("[[group]]\nname = \"g\"\nusers = [\"%s\"]\n[[ace]]\nright = \"read\"\ngroups = [\"g\"]\n[policy]\nanonymous_local = \"none\"\n", strings.Join(keys, `", "`))
}

// TestFromElsewhere: who has a named key may call over TLS, others may not; the server's own key outlives it.
func TestFromElsewhere(t *testing.T) {
	folder, address := world(t), testhost.FreeAddress(t)
	named, nameless := newElsewhere(t, address, true), newElsewhere(t, address, false)
	rules := write(t, folder+"/acl.toml", keyRules(named.public))
	p := start(t, folder, "--listen", address, "--acl", rules)
	var said struct{ Fingerprint string }
	for _, line := range p.seen {
		if strings.Contains(line, "listening for TLS") {
			if err := json.Unmarshal([]byte(line), &said); err != nil {
				t.Fatal(err)
			}
		}
	}
	named.wants(t, "net.status", `"kind":"unsupported"`) // the backend's own answer
	nameless.wants(t, "net.status", `"kind":"permission_denied"`)
	nameless.wants(t, "rpc.health", `"status":"ok"`)
	if len(said.Fingerprint) != 64 || said.Fingerprint != named.fingerprint() {
		t.Errorf("logged %q, shown %q", said.Fingerprint, named.fingerprint())
	}
	p.signal(t, syscall.SIGTERM)
	if status := p.ends(t, 5*time.Second); status != 0 {
		t.Errorf("exit status %d", status)
	}
	start(t, folder, "--listen", address, "--acl", rules)
	again := newElsewhere(t, address, false)
	again.wants(t, "rpc.health", `"status":"ok"`)
	if again.fingerprint() != said.Fingerprint {
		t.Errorf("after a restart %q, before %q", again.fingerprint(), said.Fingerprint)
	}
}

// TestReloadUnderLoad: while certificate and rules are replaced no call of an allowed caller fails, and one
// whose key is no longer named is refused from the next call on, on the connection that it has.
func TestReloadUnderLoad(t *testing.T) {
	folder, address := world(t), testhost.FreeAddress(t)
	callers := []*elsewhere{newElsewhere(t, address, true), newElsewhere(t, address, true)}
	revoked := newElsewhere(t, address, true)
	rules := write(t, folder+"/acl.toml", keyRules(callers[0].public, callers[1].public, revoked.public))
	ours, err := tlssock.Make(folder+"/own", "node-7")
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, folder, "--listen", address, "--acl", rules, "--tls-certificate", ours.Certificate, "--tls-key", ours.Key)
	revoked.wants(t, "net.status", `"kind":"unsupported"`)
	before := revoked.fingerprint()

	stop, failed := make(chan struct{}), make(chan error, 100)
	var wg sync.WaitGroup
	calls := make([]int, len(callers))
	for i, e := range callers {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond): // within the pace of callers from elsewhere
				}
				if calls[i]++; calls[i]%10 == 0 {
					e.CloseIdleConnections() // and a new handshake
				}
				if answer, err := e.call("net.status"); err != nil || !strings.Contains(answer, `"kind":"unsupported"`) {
					failed <- fmt.Errorf("%s: %w", answer, err)
					return
				}
			}
		})
	}
	fresh, err := tlssock.Make(folder+"/fresh", "node-7")
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{fresh.Certificate: ours.Certificate, fresh.Key: ours.Key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	next := write(t, folder+"/next.toml", keyRules(callers[0].public, callers[1].public))
	if err := os.Rename(next, rules); err != nil {
		t.Fatal(err)
	}
	p.expect(t, "rule, reloaded")
	revoked.wants(t, "net.status", `"kind":"permission_denied"`)
	time.Sleep(1500 * time.Millisecond)
	close(stop)
	wg.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	if callers[0].fingerprint() == before || calls[0] < 10 {
		t.Errorf("%d calls; the new certificate was not taken up: %v", calls[0], callers[0].fingerprint() == before)
	}
}
