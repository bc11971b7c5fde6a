package rpcserver

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/identity"
	"github.com/geomind/my_os_server/internal/tlssock"
	"github.com/geomind/my_os_server/pkg/registry"
)

// whoami answers every call with the name of its caller.
var whoami = backend(func(ctx context.Context, _ *registry.Method, _ any, _ []byte, out *registry.Out) error {
	caller := registry.CallerFrom(ctx)
	out.Buf = fmt.Appendf(out.Buf, `{"caller":%q}`, caller.Name)
	return nil
})

// serveTLS starts a server on TLS and returns its address.
func serveTLS(t *testing.T, o Options) (*testServer, string) {
	t.Helper()
	files, err := tlssock.Make(t.TempDir(), "node-7")
	if err != nil {
		t.Fatal(err)
	}
	keeper, err := tlssock.Keep(files, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	l, err := tlssock.Listen("127.0.0.1:0", tlssock.Options{
		Certificate: keeper.Get, Verify: identity.JudgeClient(nil, time.Now),
	})
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, o), l.Addr().String()
}

// remoteKey is the key of a client, and what ACL files call it.
type remoteKey struct {
	ed25519.PrivateKey
	hex string
}

func newRemoteKey(seed byte) remoteKey {
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize)))
	return remoteKey{key, hex.EncodeToString(key.Public().(ed25519.PublicKey))}
}

// httpClient is a client that keeps its connections, with certificates of its own or none.
func httpClient(t *testing.T, keys ...remoteKey) *http.Client {
	t.Helper()
	c := &tls.Config{InsecureSkipVerify: true}
	for _, k := range keys {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = append(c.Certificates, tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k.PrivateKey})
	}
	transport := &http.Transport{TLSClientConfig: c}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// postTLS posts a body and returns status and body of the answer. Headers are names and values in turn.
func postTLS(t *testing.T, hc *http.Client, address, body string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequest("POST", "https://"+address+"/rpc", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.ProtoMajor != 1 {
		t.Fatalf("%s %v", res.Proto, err)
	}
	return res.StatusCode, string(answer)
}

// TestTLS is the pipeline over TLS on TCP.
func TestTLS(t *testing.T) {
	_, address := serveTLS(t, Options{Backend: whoami})
	hc := httpClient(t)
	for _, test := range []struct {
		content, method string
		status          int
		want            string
	}{
		{"", "rpc.health", http.StatusOK, `{"jsonrpc":"2.0","id":1,"result":{"status":"ok"}}`},
		{"application/json", "rpc.health", http.StatusOK, `{"jsonrpc":"2.0","id":1,"result":{"status":"ok"}}`},
		{"Application/JSON; charset=utf-8", "rpc.health", http.StatusOK, `{"jsonrpc":"2.0","id":1,"result":{"status":"ok"}}`},
		{"text/plain", "rpc.health", http.StatusUnsupportedMediaType, ""},
		{"application/x-www-form-urlencoded", "rpc.health", http.StatusUnsupportedMediaType, ""},
		{"application/json", readMethod, http.StatusOK, `"caller":"anonymous"`},
	} {
		var headers []string
		if test.content != "" {
			headers = []string{"Content-Type", test.content}
		}
		status, body := postTLS(t, hc, address, request(test.method, ""), headers...)
		if status != test.status || !strings.Contains(body, test.want) {
			t.Errorf("%s for %q: %d %s", test.method, test.content, status, body)
		}
	}
}

const remoteRules = `
[[group]]
name = "readers"
users = ["%s"]
[[ace]]
right = "read"
groups = ["readers"]
[policy]
anonymous_local = "none"
anonymous_remote = "none"
`

// TestCertificates: a certificate is its key, on every request of the connection, as the policy of that
// moment has it.
func TestCertificates(t *testing.T) {
	alice, mallory := newRemoteKey('a'), newRemoteKey('m')
	s, address := serveTLS(t, Options{Backend: whoami, Policy: parsePolicy(t, fmt.Sprintf(remoteRules, alice.hex))})
	hc := httpClient(t, alice)
	for _, test := range []struct {
		what    string
		hc      *http.Client
		headers []string
		want    string
	}{
		{"named", hc, nil, `"result":{"caller":"` + alice.hex + `"}`},
		{"not named", httpClient(t, mallory), nil, `"granted":"none","caller":"` + mallory.hex + `"`},
		{"none", httpClient(t), nil, `"granted":"none","caller":"anonymous"`},
		{"a relay's", hc, []string{"X-Forwarded-For", "192.0.2.1"}, `"granted":"none","caller":"anonymous"`},
		{"claims another key", hc, []string{"X-Public-Key", mallory.hex}, `"why":"no_proof"`},
		{"and a bad token", hc, []string{"Authorization", "Bearer " + strings.Repeat("x", 30)}, `"why":"invalid"`},
	} {
		if _, body := postTLS(t, test.hc, address, request(readMethod, ""), test.headers...); !strings.Contains(body, test.want) {
			t.Errorf("%s: %s", test.what, body)
		}
	}
	s.SetPolicy(parsePolicy(t, fmt.Sprintf(remoteRules, mallory.hex)))
	if _, body := postTLS(t, hc, address, request(readMethod, "")); !strings.Contains(body, `"kind":"permission_denied"`) {
		t.Errorf("revoked, on the same connection: %s", body)
	}
}

// TestStrangersBody: what is large is read only of those whom the policy names.
func TestStrangersBody(t *testing.T) {
	alice, mallory := newRemoteKey('a'), newRemoteKey('m')
	_, address := serveTLS(t, Options{Backend: whoami, Policy: parsePolicy(t, fmt.Sprintf(remoteRules, alice.hex))})
	large := request(readMethod, "") + strings.Repeat(" ", strangersBody)
	for _, test := range []struct {
		what    string
		hc      *http.Client
		headers []string
		status  int
	}{
		{"nobody", httpClient(t), nil, http.StatusRequestEntityTooLarge},
		{"a certificate that is not named", httpClient(t, mallory), nil, http.StatusRequestEntityTooLarge},
		{"a claim that is not named", httpClient(t), []string{"X-Public-Key", mallory.hex}, http.StatusRequestEntityTooLarge},
		{"a named certificate", httpClient(t, alice), nil, http.StatusOK},
		{"a named claim", httpClient(t), []string{"X-Public-Key", alice.hex}, http.StatusOK},
	} {
		if status, body := postTLS(t, test.hc, address, large, test.headers...); status != test.status {
			t.Errorf("%s: %d %s", test.what, status, body)
		}
	}
	if status, body := postTLS(t, httpClient(t), address, large[:strangersBody]); status != http.StatusOK {
		t.Errorf("a body of just the size: %d %s", status, body)
	}
}

// TestPaceOfStrangers: calls a second are counted by address, over connections and batches.
func TestPaceOfStrangers(t *testing.T) {
	s, address := serveTLS(t, Options{Backend: whoami, Limits: Limits{RemoteCallsPerSecond: 5},
		Policy: parsePolicy(t, "[policy]\nanonymous_remote = \"read\"\nanonymous_local = \"read\"\n")})
	batch := "[" + strings.TrimSuffix(strings.Repeat(request(readMethod, "")+",", 10), ",") + "]"
	_, body := postTLS(t, httpClient(t), address, batch)
	if got := strings.Count(body, `"limit":"calls_per_second","maximum":5`); got < 4 || got > 5 {
		t.Errorf("%d of 10 refused: %s", got, body)
	}
	if _, body := postTLS(t, httpClient(t), address, request(readMethod, "")); !strings.Contains(body, "no more than 5 a second") {
		t.Errorf("over a new connection: %s", body)
	}
	if body := s.dial(t).call(t, batch); strings.Contains(body, "calls_per_second") {
		t.Errorf("a user of the host: %s", body)
	}
	time.Sleep(1100 * time.Millisecond)
	if _, body := postTLS(t, httpClient(t), address, request(readMethod, "")); !strings.Contains(body, `"caller":"anonymous"`) {
		t.Errorf("a second later: %s", body)
	}
}

// TestUnprovenIsHeld: who tries credentials from elsewhere waits for each answer.
func TestUnprovenIsHeld(t *testing.T) {
	s, address := serveTLS(t, Options{Backend: whoami})
	for _, header := range []string{"Authorization", "X-Public-Key"} {
		start := time.Now()
		_, body := postTLS(t, httpClient(t), address, request(readMethod, ""), header, "Bearer "+strings.Repeat("x", 30))
		if took := time.Since(start); took < unprovenDelay || !strings.Contains(body, `"why":"invalid"`) {
			t.Errorf("%s: %s after %v", header, body, took)
		}
	}
	start := time.Now()
	if body := s.dial(t).call(t, request(readMethod, ""), "Authorization: Bearer x"); !strings.Contains(body, `"why":"invalid"`) || time.Since(start) >= unprovenDelay {
		t.Errorf("a user of the host: %s after %v", body, time.Since(start))
	}
}

func TestPace(t *testing.T) {
	var p pace
	now := time.Unix(1000, 0)
	taken := 0
	for p.take(10, now) {
		taken++
	}
	if taken != 10 || p.full(10, now) {
		t.Errorf("%d at once, full %v", taken, p.full(10, now))
	}
	for range 100 { // 10 s in tenths: one call each
		now = now.Add(100 * time.Millisecond)
		if !p.take(10, now) || p.take(10, now) {
			t.Fatalf("not one call at %v", now)
		}
	}
	if p.full(10, now.Add(900*time.Millisecond)) || !p.full(10, now.Add(time.Second)) {
		t.Error("full again at another time than a second later")
	}
}
