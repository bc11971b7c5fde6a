package e2e

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// selfSigned is a client's certificate of its own making, good from an hour before at to an hour after.
func selfSigned(t *testing.T, k ed25519.PrivateKey, at time.Time) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: at.Add(-time.Hour), NotAfter: at.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
}

// elsewhere counts the callers from elsewhere: each has an address of its own, so that what is counted by address
// is counted for it alone.
var elsewhere atomic.Uint32

func dialTLS(address string, c *tls.Config) (*tls.Conn, error) {
	n := elsewhere.Add(1)
	from := &net.TCPAddr{IP: net.IPv4(127, 1, byte(n>>8), byte(n))}
	c.InsecureSkipVerify = true
	conn, err := tls.DialWithDialer(&net.Dialer{LocalAddr: from, Timeout: 10 * time.Second}, "tcp", address, c)
	if err != nil {
		return nil, err
	}
	return conn, conn.SetDeadline(time.Now().Add(20 * time.Second))
}

// clientTLS is an HTTP client from elsewhere.
func clientTLS(address string, certificates ...tls.Certificate) *http.Client {
	transport := &http.Transport{DisableCompression: true}
	n := elsewhere.Add(1)
	from := &net.TCPAddr{IP: net.IPv4(127, 1, byte(n>>8), byte(n))}
	transport.DialContext = (&net.Dialer{LocalAddr: from, Timeout: 10 * time.Second}).DialContext
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true, Certificates: certificates}
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// visitor is a caller from elsewhere: what it presents in the handshake and in each request, and what it may do.
type visitor struct {
	caller
	certificate []tls.Certificate
}

// visitors are the callers of the local matrix that present something, and those with certificates.
func visitors(t *testing.T, k keys) []visitor {
	all := []visitor{{caller: caller{name: "anonymous", grant: nothing}}}
	for _, c := range identities(t, k) {
		if c.header == nil || c.hostOnly {
			continue
		}
		all = append(all, visitor{caller: c})
	}
	certificate := func(key, name string, g grant, header func([]byte) http.Header) {
		all = append(all, visitor{caller{name: name, grant: g, header: header}, []tls.Certificate{selfSigned(t, k[key], time.Now())}})
	}
	fixed := func(name, value string) func([]byte) http.Header {
		return func([]byte) http.Header { return http.Header{name: {value}} }
	}
	certificate("admin", "certificate of the admin", admin, nil)
	certificate("write", "certificate of the writer", netWriter, nil)
	certificate("read", "certificate of the reader", reader, nil)
	certificate("stranger", "certificate of a key that the ACL does not name", nothing, nil)
	certificate("stranger", "certificate of a stranger with the admin's behind it", nothing, nil)
	behind := &all[len(all)-1].certificate[0]
	behind.Certificate = append(behind.Certificate, selfSigned(t, k["admin"], time.Now()).Certificate[0])
	certificate("admin", "certificate of a relay", nothing, fixed("Forwarded", "for=203.0.113.9"))
	certificate("read", "certificate and a claim to another key", nil, fixed("X-Public-Key", k.hex("admin")))
	certificate("read", "certificate and the claim to its key", reader, fixed("X-Public-Key", k.hex("read")))
	certificate("admin", "certificate and a token", nil, fixed("Authorization", "Bearer "+goodToken))
	certificate("read", "certificate and another's signature", nil, func(b []byte) http.Header { return signed(t, k["admin"], b, time.Now()) })
	all = append(all,
		visitor{caller: caller{name: "signed by a key that the ACL does not name", grant: nothing, header: func(b []byte) http.Header { return signed(t, k["stranger"], b, time.Now()) }}},
		visitor{caller: caller{name: "claimed key", header: fixed("X-Public-Key", k.hex("admin"))}},
	)
	return all
}

// TestACLMatrixFromElsewhere is TestACLMatrix over TLS. Each visitor asks all methods in one batch, because the
// refusal of what it presents is held back for half a second each time.
func TestACLMatrixFromElsewhere(t *testing.T) {
	for _, b := range binaries {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			aclMatrixFromElsewhere(t, b.start)
		})
	}
}

func aclMatrixFromElsewhere(t *testing.T, start func(t *testing.T, args ...string) *server) {
	k := newKeys(t, "admin", "write", "read", "stranger")
	address := testhost.FreeAddress(t)
	s := start(t, "--acl", writeACL(t, k), "--listen", address)
	time.Sleep(5500 * time.Millisecond) // signatures older than the start + 5 s are refused
	var batch [][]byte
	for _, m := range registry.All() {
		batch = append(batch, body(m.Name, `{"no_such_param":1}`))
	}
	request := fmt.Appendf(nil, "[%s]", bytes.Join(batch, []byte(",")))
	all := visitors(t, k)
	refused := newRefusals(s)
	t.Run("visitors", func(t *testing.T) {
		for _, v := range all {
			t.Run(v.name, func(t *testing.T) {
				t.Parallel()
				hc := clientTLS(address, v.certificate...)
				defer hc.CloseIdleConnections()
				header := http.Header{}
				if v.header != nil {
					header = v.header(request)
				}
				began := time.Now()
				text, answers := postBatch(t, hc, address, header, request)
				if v.replay {
					began = time.Now()
					text, answers = postBatch(t, hc, address, header, request)
				}
				if v.grant == nil {
					refused.note(v.name, text, time.Since(began))
				}
				for i, m := range registry.All() {
					if got, want := outcome(&answers[i]), v.want(m); got != want {
						t.Errorf("%s: %s, want %s", m.Name, got, want)
					}
				}
			})
		}
	})
	refused.check(t)
	t.Logf("%d methods x %d visitors = %d calls", len(registry.All()), len(all), len(registry.All())*len(all))
}

// refusals are what visitors were told whose credentials do not hold.
type refusals struct {
	s    *server
	mu   sync.Mutex
	told map[string][]string // texts, and who was told them
	took time.Duration       // the least
}

func newRefusals(s *server) *refusals {
	return &refusals{s: s, told: map[string][]string{}, took: time.Hour}
}

func (r *refusals) note(name string, text []byte, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told[string(text)] = append(r.told[string(text)], name)
	r.took = min(r.took, took)
}

// check: whatever was wrong, all were told the same to the last byte, but those who showed no proof at all; each
// waited for it; and the log has each with its cause and the address that it came from.
func (r *refusals) check(t *testing.T) {
	t.Helper()
	n := 0
	for text, names := range r.told {
		n += len(names)
		why := `"why":"invalid"`
		if strings.Contains(text, `"why":"no_proof"`) {
			why = `"why":"no_proof"`
		}
		if strings.Count(text, why) != strings.Count(text, `"why":`) {
			t.Errorf("%q were told different things at once: %.300s", names, text)
		}
	}
	if len(r.told) > 2 {
		t.Errorf("%d different answers to wrong credentials: %q", len(r.told), r.told)
	}
	if r.took < 500*time.Millisecond {
		t.Errorf("one waited for %v only", r.took)
	}
	var causes, from map[string]bool
	testhost.Eventually(t, "every refused visitor is in the log", func() bool {
		causes, from = loggedRefusals(r.s)
		return len(from) == n
	})
	if len(causes) < n/2 {
		t.Errorf("the log has %d causes for %d visitors: %v", len(causes), n, causes)
	}
	t.Logf("%d visitors refused with %d different answers, after %v at least; %d causes in the log", n, len(r.told), r.took, len(causes))
}

// loggedRefusals are the causes that the log has for refused credentials, and the addresses that they came from.
func loggedRefusals(s *server) (causes, from map[string]bool) {
	causes, from = map[string]bool{}, map[string]bool{}
	for line := range strings.Lines(s.log.String()) {
		var said struct{ Code, Cause, From, Caller string }
		if json.Unmarshal([]byte(line), &said) != nil || said.Code != "unauthenticated" {
			continue
		}
		causes[said.Cause] = true
		if a, err := netip.ParseAddrPort(said.From); err == nil && said.Caller == "unproven" {
			from[a.Addr().String()] = true
		}
	}
	return causes, from
}

func postBatch(t *testing.T, hc *http.Client, address string, header http.Header, request []byte) ([]byte, []answer) {
	t.Helper()
	req, err := http.NewRequest("POST", "https://"+address+"/rpc", bytes.NewReader(request))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header.Clone()
	req.Header.Set("Content-Type", "application/json")
	res, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", res.Status, err)
	}
	var answers []answer
	if err := json.Unmarshal(raw, &answers); err != nil || len(answers) != len(registry.All()) {
		t.Fatalf("%d answers, %v: %.300s", len(answers), err, raw)
	}
	return raw, answers
}

// TestAttacksOnHandshake: who does not fit never gets to send a request.
func TestAttacksOnHandshake(t *testing.T) {
	for _, b := range binaries {
		t.Run(b.name, func(t *testing.T) { attacksOnHandshake(t, b.start) })
	}
}

func attacksOnHandshake(t *testing.T, start func(t *testing.T, args ...string) *server) {
	k := newKeys(t, "admin", "write", "read", "authority")
	address, withCA := testhost.FreeAddress(t), testhost.FreeAddress(t)
	rules := writeACL(t, k)
	s := start(t, "--acl", rules, "--listen", address)
	authority := selfSigned(t, k["authority"], time.Now())
	start(t, "--acl", rules, "--listen", withCA, "--tls-client-ca", writePEM(t, authority))
	now := time.Now()
	weak := weakCertificate(t)
	cases := []struct {
		name    string
		address string
		config  *tls.Config
	}{
		{"TLS 1.2", address, &tls.Config{MaxVersion: tls.VersionTLS12}},
		{"TLS 1.0 and 1.1", address, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}},
		{"HTTP/2 alone", address, &tls.Config{NextProtos: []string{"h2"}}},
		{"certificate that has ended", address, &tls.Config{Certificates: []tls.Certificate{selfSigned(t, k["admin"], now.Add(-2*time.Hour))}}},
		{"certificate that has not begun", address, &tls.Config{Certificates: []tls.Certificate{selfSigned(t, k["admin"], now.Add(2*time.Hour))}}},
		{"certificate with another kind of key", address, &tls.Config{Certificates: []tls.Certificate{weak}}},
		{"certificate of another's key", address, &tls.Config{Certificates: []tls.Certificate{{Certificate: selfSigned(t, k["admin"], now).Certificate, PrivateKey: k["read"]}}}},
		{"issuer that is not the one", withCA, &tls.Config{Certificates: []tls.Certificate{selfSigned(t, k["admin"], now)}}},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			conn, err := dialTLS(test.address, test.config)
			if err != nil {
				return
			}
			defer conn.Close()
			io.WriteString(conn, rawRequest("", `{"jsonrpc":"2.0","id":1,"method":"rpc.health"}`)) // in TLS 1.3 the client is done first
			if b, err := io.ReadAll(conn); err == nil || len(b) > 0 {
				t.Errorf("answered %q, %v", b, err)
			}
		})
	}
	t.Run("a token without TLS", func(t *testing.T) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io.WriteString(conn, rawRequest("Authorization: Bearer "+goodToken+"\r\n", `{"jsonrpc":"2.0","id":1,"method":"net.status"}`))
		if b, _ := io.ReadAll(conn); bytes.Contains(b, []byte("HTTP")) {
			t.Errorf("answered %q", b)
		}
	})
	t.Run("a certificate on the Unix socket", func(t *testing.T) {
		conn, err := dialAs(s.socket, 2000, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{selfSigned(t, k["admin"], now)}})
		if err := c.Handshake(); err == nil {
			t.Error("there was a handshake")
		}
	})
	t.Run("a session taken up again", func(t *testing.T) {
		sessions := tls.NewLRUClientSessionCache(1)
		for range 3 {
			conn, err := dialTLS(address, &tls.Config{ClientSessionCache: sessions, ServerName: "x"})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, rawRequest("Connection: close\r\n", `{"jsonrpc":"2.0","id":1,"method":"rpc.health"}`))
			if _, err := io.ReadAll(conn); err != nil || conn.ConnectionState().DidResume {
				t.Errorf("resumed %v, %v", conn.ConnectionState().DidResume, err)
			}
		}
		if _, kept := sessions.Get("x"); kept {
			t.Error("there was a ticket")
		}
	})
	t.Logf("%d attacks", len(cases)+3)
}

// rawRequest is a POST of a body with headers, lines with their ends.
func rawRequest(headers, body string) string {
	return fmt.Sprintf("POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n%s", len(body), headers, body)
}

// smuggled is what an attacker would have taken for a request of its own.
const smuggled = "POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: 47\r\n\r\n" + `{"jsonrpc":"2.0","id":666,"method":"rpc.health"}`

// attack is a request as it stands. want is how the answer begins, or what is in it; nothing may follow it that answers
// what was smuggled in. here is the same for who attacks as a user of the host, where that is another.
type attack struct{ name, send, want, here string }

// attacks are tried over TLS and on the Unix socket.
func attacks(k keys) []attack {
	health := `{"jsonrpc":"2.0","id":1,"method":"rpc.health"}`
	status := func(code int) string { return fmt.Sprintf("HTTP/1.1 %d ", code) }
	head := func(lines ...string) string {
		return "POST /rpc HTTP/1.1\r\nHost: x\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
	}
	call := func(method string) string {
		name, _ := json.Marshal(method)
		return rawRequest("", fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%s}`, name))
	}
	get := func(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" }
	post := func(path string) string {
		return strings.Replace(rawRequest("Connection: close\r\n", health), "/rpc", path, 1)
	}
	privileged := `{"jsonrpc":"2.0","id":1,"method":"net.nat.status"}`
	known := "Authorization: Bearer " + goodToken + "\r\n"
	all := []attack{
		{"CL and TE", head("Content-Length: 4", "Transfer-Encoding: chunked") + "0\r\n\r\n" + smuggled, status(411), ""},
		{"TE and CL", head("Transfer-Encoding: chunked", "Content-Length: 5") + "0\r\n\r\n" + smuggled, status(411), ""},
		{"TE alone", head("Transfer-Encoding: chunked") + "0\r\n\r\n" + smuggled, status(411), ""},
		{"TE that is misspelt", head("Transfer-Encoding: xchunked") + smuggled, status(411), ""},
		{"TE twice", head("Transfer-Encoding: chunked", "Transfer-Encoding: identity") + smuggled, status(411), ""},
		{"TE behind a tab", head("Transfer-Encoding:\tchunked", "Content-Length: 4") + "0\r\n\r\n" + smuggled, status(411), ""},
		{"TE behind a vertical tab", head("Transfer-Encoding:\vchunked", "Content-Length: 4") + "0\r\n\r\n" + smuggled, status(400), ""},
		{"TE folded", head("Transfer-Encoding:\r\n chunked", "Content-Length: 4") + "0\r\n\r\n" + smuggled, status(411), ""},
		{"TE behind a bare LF", head("X-A: a\nTransfer-Encoding: chunked", "Content-Length: 4") + "0\r\n\r\n" + smuggled, status(411), ""},
		{"TE of compression", head("Transfer-Encoding: gzip, chunked") + "0\r\n\r\n" + smuggled, status(411), ""},
		{"TE with an underscore", rawRequest("Transfer_Encoding: chunked\r\n", smuggled), `"code":-32700`, ""}, // one request: no header of ours
		{"blank before the colon", head("Transfer-Encoding : chunked", "Content-Length: 4") + smuggled, status(400), ""},
		{"two lengths", head("Content-Length: 4", "Content-Length: 5") + smuggled, status(400), ""},
		{"two lengths in one", head("Content-Length: 4, 5") + smuggled, status(400), ""},
		{"two lengths that agree", rawRequest(fmt.Sprintf("Content-Length: %d\r\n", len(health)), health), status(200), ""},
		{"two lengths that agree, in one", head("Content-Length: 47, 47") + smuggled, status(400), ""},
		{"a length folded", head(fmt.Sprintf("Content-Length:\r\n %d", len(health))) + health, status(200), ""},
		{"a length with a blank", head("Content-Length: 4 7") + smuggled, status(400), ""},
		{"no length", head("Content-Length:") + smuggled, status(400), ""},
		{"a length that is of the connection", rawRequest("Connection: Content-Length\r\n", health), status(200), ""},
		{"a length with a sign", head("Content-Length: +4") + smuggled, status(400), ""},
		{"a negative length", head("Content-Length: -1") + smuggled, status(400), ""},
		{"a length in hexadecimal", head("Content-Length: 0x4") + smuggled, status(400), ""},
		{"folded header", rawRequest("X-A: b\r\n Transfer-Encoding: chunked\r\n", smuggled), `"code":-32700`, ""}, // one request, the fold is X-A's
		{"NUL in a header", head("X-A: \x00") + smuggled, status(400), ""},
		{"CR in a header", head("X-A: a\rContent-Length: 4") + smuggled, status(400), ""},
		{"CR in the first line", "POST /rpc HTTP/1.1\rX-A: b\r\nHost: x\r\n\r\n" + smuggled, status(400), ""},
		{"version in small letters", "POST /rpc http/1.1\r\nHost: x\r\n\r\n" + smuggled, status(400), ""},
		{"HTTP/0.9", "GET /health\r\n", status(400), ""},
		{"absolute form", "POST http://x/rpc HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", status(400), ""},
		{"CONNECT", "CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", status(400), ""},
		{"no host", "POST /rpc HTTP/1.1\r\nContent-Length: 0\r\n\r\n", status(400), ""},
		{"two hosts", "POST /rpc HTTP/1.1\r\nHost: x\r\nHost: y\r\nContent-Length: 0\r\n\r\n", status(400), ""},
		{"HTTP/1.0", "POST /rpc HTTP/1.0\r\nContent-Length: 0\r\n\r\n", "HTTP/1.0 505 ", ""},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status(505), ""},
		{"upgrade to HTTP/2", rawRequest("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", health), status(200), ""}, // answered as HTTP/1.1
		{"header bomb", head("X-A: "+strings.Repeat("a", 64<<10), "Content-Length: 0"), status(431), ""},
		{"first line bomb", "POST /" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", status(431), ""},
		{"many headers", head(strings.Repeat("X-A: a\r\n", 8<<10) + "Content-Length: 0"), status(431), ""},
		{"body bomb", head("Content-Length: 1099511627776"), status(413), ""},
		{"body bomb that waits", head("Expect: 100-continue", "Content-Length: 1099511627776"), status(413), ""},
		{"a stranger's large body", head("Content-Length: 65537"), status(413), status(400)},
		{"gzip bomb", head("Content-Encoding: gzip", "Content-Length: 4") + "\x1f\x8b\x08\x00", status(400), ""},
		{"gzip by another name", head("Content-Encoding: x-gzip", "Content-Length: 4") + "\x1f\x8b\x08\x00", status(400), ""},
		{"gzip for the answer", rawRequest("Accept-Encoding: gzip\r\n", health), `"result":{"status":"ok"}`, ""}, // nothing is compressed, so that nothing leaks by its length
		{"browser", rawRequest("Origin: https://example.org\r\n", health), status(403), ""},
		{"browser that hides", rawRequest("Sec-Fetch-Site: cross-site\r\n", health), status(403), ""},
		{"form", rawRequest("Content-Type: application/x-www-form-urlencoded\r\n", health), status(415), status(200)},
		{"text", rawRequest("Content-Type: text/plain\r\n", health), status(415), status(200)},
		{"nesting", rawRequest("Connection: close\r\n", strings.Repeat("[", 60000)), `"code":-32600`, ""},
		{"nested batches", rawRequest("Connection: close\r\n", strings.Repeat("[", 100)+strings.Repeat("]", 100)), `"code":-32600`, ""},
		{"batch of too many", rawRequest("Connection: close\r\n", "["+strings.Repeat("1,", 20000)+"1]"), `"code":-32600`, ""},
		{"nesting by a caller who is known", rawRequest("Connection: close\r\n"+known, strings.Repeat("[", 4<<20)), `"code":-32600`, ""},
		{"batch of a million by a caller who is known", rawRequest("Connection: close\r\n"+known, "["+strings.Repeat("1,", 1e6)+"1]"), `"code":-32600`, ""},
		{"method in capitals", call("RPC.HEALTH"), `"code":-32601`, ""},
		{"method with a dot behind", call("rpc.health."), `"code":-32601`, ""},
		{"method with a dot before", call(".rpc.health"), `"code":-32601`, ""},
		{"method with two dots", call("rpc..health"), `"code":-32601`, ""},
		{"method with a blank", call("rpc.health "), `"code":-32601`, ""},
		{"method with NUL", call("rpc.health\x00"), `"code":-32601`, ""},
		{"method with another's letters", call("rpc.he\u0430lth"), `"code":-32601`, ""},
		{"method of an upstream", call("mosnet.status"), `"code":-32601`, ""},
		{"member in capitals", rawRequest("", `{"jsonrpc":"2.0","id":1,"Method":"rpc.health"}`), `"code":-32600`, ""},
		{"member twice", rawRequest("", `{"jsonrpc":"2.0","id":1,"method":"net.status","method":"rpc.health"}`), `"code":-32600`, ""},
		{"member twice, escaped", rawRequest("", `{"jsonrpc":"2.0","id":1,"method":"net.status","\u006dethod":"rpc.health"}`), `"code":-32600`, ""},
		{"path upwards", post("/rpc/../rpc"), status(404), ""},
		{"path twice", post("//rpc"), status(404), ""},
		{"path in capitals", post("/RPC"), status(404), ""},
		{"path escaped", post("/%72pc"), status(404), ""},
		{"path with a slash behind", post("/rpc/"), status(404), ""},
		{"path with a parameter", post("/rpc;a=b"), status(404), ""},
		{"path with dots escaped", post("/%2e%2e/rpc"), status(404), ""},
		{"path with a slash escaped", post("/x%2f..%2frpc"), status(404), ""},
		{"path with NUL", post("/rpc%00"), status(404), ""},
		{"path with a backslash", post("\\rpc"), status(400), ""},
		{"another verb in a header", rawRequest("X-HTTP-Method-Override: GET\r\n", health), status(200), ""},
		{"web socket", "GET /rpc HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", status(405), ""},
		{"metrics by a stranger", get("/metrics"), status(403), "go_goroutines"},
		{"profiles", get("/debug/pprof/"), status(404), ""},
		{"GET of a call", get("/rpc"), status(405), ""},
		{"forged key", rawRequest("X-Public-Key: "+k.hex("admin")+"\r\n", `{"jsonrpc":"2.0","id":1,"method":"net.status"}`), `"why":"no_proof"`, ""},
		{"forged origin", rawRequest("X-Forwarded-For: 127.0.0.1\r\n", `{"jsonrpc":"2.0","id":1,"method":"net.status"}`), `"kind":"permission_denied"`, ""},
		{"token in the path", "POST /rpc?access_token=" + goodToken + " HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n" + privileged, `"kind":"permission_denied"`, ""},
		{"token in a cookie", rawRequest("Cookie: access_token="+goodToken+"\r\n", privileged), `"kind":"permission_denied"`, ""},
		{"token for a proxy", rawRequest("Proxy-Authorization: Bearer "+goodToken+"\r\n", privileged), `"kind":"permission_denied"`, ""},
		{"token in the call", rawRequest("", `{"jsonrpc":"2.0","id":1,"method":"net.nat.status","params":{"access_token":"`+goodToken+`"}}`), `"kind":"permission_denied"`, ""},
		{"two tokens", rawRequest("Authorization: Bearer "+goodToken+"\r\nAuthorization: Bearer "+goodToken+"\r\n", `{"jsonrpc":"2.0","id":1,"method":"net.status"}`), `"why":"invalid"`, ""},
		{"a key that is everybody's", rawRequest("X-Public-Key: "+strings.Repeat("0", 64)+"\r\n", `{"jsonrpc":"2.0","id":1,"method":"net.status"}`), `"why":"invalid"`, ""},
	}
	return all
}

// TestAttacksOnRequests sends each attack to both servers, from elsewhere and from the host.
func TestAttacksOnRequests(t *testing.T) {
	testhost.Root(t)
	for _, b := range binaries {
		t.Run(b.name, func(t *testing.T) {
			k := newKeys(t, "admin", "write", "read")
			address := testhost.FreeAddress(t)
			s := b.start(t, "--acl", writeACL(t, k), "--listen", address)
			t.Run("elsewhere", func(t *testing.T) {
				tryAttacks(t, attacks(k), func() (halfCloser, error) { return dialTLS(address, new(tls.Config)) })
			})
			t.Run("here", func(t *testing.T) {
				here := attacks(k)
				for i := range here {
					if here[i].here != "" {
						here[i].want = here[i].here
					}
				}
				tryAttacks(t, here, func() (halfCloser, error) {
					conn, err := dialAs(s.socket, 2000, nil)
					if err != nil {
						return nil, err
					}
					return conn.(*net.UnixConn), conn.SetDeadline(time.Now().Add(20 * time.Second))
				})
			})
		})
	}
}

// halfCloser is a connection that can be closed for what it sends alone.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

func tryAttacks(t *testing.T, all []attack, dial func() (halfCloser, error)) {
	for _, test := range all {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			conn, err := dial()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go func() {
				io.WriteString(conn, test.send)
				conn.CloseWrite()
			}()
			b, _ := io.ReadAll(conn) // the end may be a reset: what was sent has not all been read
			got := string(b)
			if strings.HasPrefix(test.want, "HTTP/") && !strings.HasPrefix(got, test.want) || !strings.Contains(got, test.want) {
				t.Errorf("answered %.300q, want %q", got, test.want)
			}
			if n := strings.Count(got, "HTTP/1."); n != 1 || strings.Contains(got, `"id":666`) {
				t.Errorf("%d answers: %.300q", n, got)
			}
		})
	}
	t.Logf("%d attacks", len(all))
}
