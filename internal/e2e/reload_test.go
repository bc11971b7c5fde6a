package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/tlssock"
)

// reloadRounds is how often rules and certificate are replaced.
const reloadRounds = 4

// loadRules let the key "always", the token "ci" and the user 1234 read, and besides whom else names.
func loadRules(k keys, tokens bool, others ...string) string {
	users := append([]string{k.hex("always"), "token:always", "uid:1234"}, others...)
	text := fmt.Sprintf("[[group]]\nname = \"g\"\nusers = [\"%s\"]\n[[ace]]\nright = \"read\"\ngroups = [\"g\"]\n[policy]\nanonymous_local = \"none\"\n", strings.Join(users, `", "`))
	text += fmt.Sprintf("[[token]]\nname = \"always\"\nsha256 = %q\nexpires = 2099-01-01T00:00:00Z\n", sum(goodToken))
	if tokens {
		text += fmt.Sprintf("[[token]]\nname = \"sometimes\"\nsha256 = %q\nexpires = 2099-01-01T00:00:00Z\n", sum(unknownToken))
	}
	return text
}

// line is a caller with one connection, which it keeps.
type line struct {
	name   string
	hc     *http.Client
	url    string
	header http.Header
	dialed atomic.Int32
}

// asks makes a call on the line and says how it ended: as outcome has it, or what kept it from ending.
func (l *line) asks() string {
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if !i.Reused {
			l.dialed.Add(1)
		}
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(context.Background(), trace), "POST", l.url, bytes.NewReader(body("net.status", "")))
	if err != nil {
		return err.Error()
	}
	req.Header = l.header.Clone()
	res, err := l.hc.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	var a answer
	raw, err := io.ReadAll(res.Body)
	if err == nil {
		err = json.Unmarshal(raw, &a)
	}
	if err != nil {
		return fmt.Sprintf("%s: %v: %.100s", res.Status, err, raw)
	}
	return outcome(&a)
}

// lines are one caller for each way to prove who one is.
func lines(t *testing.T, s *server, address string, k keys, key, token string, uid uint32) []*line {
	bearerHeader := func(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
	all := []*line{
		{name: "certificate", hc: clientTLS(address, selfSigned(t, k[key], time.Now()))},
		{name: "JWT", hc: clientTLS(address), header: bearerHeader(signJWT(t, k[key], k.hex(key), nil))},
		{name: "token", hc: clientTLS(address), header: bearerHeader(token)},
		{name: "user of the host", hc: client(func() (net.Conn, error) { return dialAs(s.socket, uid, nil) })},
		{name: "token on the host", hc: client(func() (net.Conn, error) { return dialAs(s.socket, 2000, nil) }), header: bearerHeader(token)},
	}
	for i, l := range all {
		if l.url = "https://" + address + "/rpc"; i > 2 {
			l.url = "http://localhost/rpc"
		}
		l.name = key + ": " + l.name
		t.Cleanup(l.hc.CloseIdleConnections)
		if l.header == nil {
			l.header = http.Header{}
		}
	}
	return all
}

// TestReloadsUnderLoad: rules and certificates are replaced again and again while callers of every kind call both
// servers as fast as they may. No call of those who are always allowed fails, on connections that are kept and on
// new ones. Who is struck off is refused from one moment on, by every server thread and on every connection.
func TestReloadsUnderLoad(t *testing.T) {
	testhost.Root(t)
	for _, b := range binaries {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			reloadsUnderLoad(t, b.start)
		})
	}
}

func reloadsUnderLoad(t *testing.T, start func(t *testing.T, args ...string) *server) {
	k := newKeys(t, "always", "sometimes")
	folder, address := t.TempDir(), testhost.FreeAddress(t)
	rules := filepath.Join(folder, "acl.toml")
	with := loadRules(k, true, k.hex("sometimes"), "token:sometimes", "uid:1500")
	without := loadRules(k, false)
	replace(t, rules, with)
	shown, err := tlssock.Make(folder+"/shown", "node-7")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, "--acl", rules, "--listen", address, "--tls-certificate", shown.Certificate, "--tls-key", shown.Key)

	always, sometimes := lines(t, s, address, k, "always", goodToken, 1234), lines(t, s, address, k, "sometimes", unknownToken, 1500)
	fresh := lines(t, s, address, k, "always", goodToken, 1234) // these take a new connection each time
	load := newLoad(t)
	for _, l := range always {
		load.run(l, func() {})
	}
	for _, l := range fresh {
		load.run(l, l.hc.CloseIdleConnections)
	}
	all(t, sometimes, "a result")
	before := fingerprintOf(t, address)
	longest := time.Duration(0)
	for round := range reloadRounds {
		next, err := tlssock.Make(fmt.Sprint(folder, "/", round), "node-7")
		if err != nil {
			t.Fatal(err)
		}
		for from, to := range map[string]string{next.Certificate: shown.Certificate, next.Key: shown.Key} {
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
		for _, step := range []struct{ rules, key, token string }{
			{without, "permission_denied: has none, needs read", "unauthenticated"}, {with, "a result", "a result"},
		} {
			replace(t, rules, step.rules)
			began := time.Now()
			testhost.Eventually(t, "the rules come into force", func() bool { return sometimes[0].asks() == step.key })
			longest = max(longest, time.Since(began))
			all(t, sometimes, step.key, step.token)
		}
		testhost.Eventually(t, "the certificate is taken up", func() bool { return fingerprintOf(t, address) != before })
		before = fingerprintOf(t, address)
	}
	calls := load.end(t)
	for _, l := range append(always, sometimes...) {
		if n := l.dialed.Load(); n != 1 {
			t.Errorf("%s took %d connections, not one", l.name, n)
		}
	}
	t.Logf("%d calls of allowed callers, none failed; %d certificates, %d sets of rules, in force after %v at most", calls, reloadRounds, 2*reloadRounds, longest)
}

// replace puts a file in place whole.
func replace(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// all has every line call once and wants one of the outcomes: a key or a user that is not named has no right, a
// token that is not listed proves nothing.
func all(t *testing.T, lines []*line, want ...string) {
	t.Helper()
	for _, l := range lines {
		got, fits := l.asks(), false
		for _, w := range want {
			fits = fits || got == w
		}
		if !fits {
			t.Errorf("%s: %s, want %q", l.name, got, want)
		}
	}
}

// load are callers who call without end.
type load struct {
	t     *testing.T
	stop  chan struct{}
	wg    sync.WaitGroup
	calls atomic.Int64
}

func newLoad(t *testing.T) *load {
	l := &load{t: t, stop: make(chan struct{})}
	t.Cleanup(func() { l.end(t) })
	return l
}

// run has one of them call until the end. after is done after each call.
func (l *load) run(caller *line, after func()) {
	l.wg.Go(func() {
		for {
			select {
			case <-l.stop:
				return
			case <-time.After(5 * time.Millisecond): // within the pace of callers from elsewhere
			}
			if got := caller.asks(); got != "a result" {
				l.t.Errorf("%s, who is always allowed: %s", caller.name, got)
				return
			}
			l.calls.Add(1)
			after()
		}
	})
}

// end ends the load and returns how many calls were made.
func (l *load) end(*testing.T) int64 {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.wg.Wait()
	return l.calls.Load()
}

// fingerprintOf is what the server at address shows now.
func fingerprintOf(t *testing.T, address string) string {
	t.Helper()
	conn, err := dialTLS(address, new(tls.Config))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	der, err := x509.MarshalPKIXPublicKey(conn.ConnectionState().PeerCertificates[0].PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	s := sha256.Sum256(der)
	return hex.EncodeToString(s[:])
}
