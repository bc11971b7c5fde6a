package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/pkg/acl"
)

// The scene of the tests: a daemon with uid 998 on a node called node-1 that started an hour before testNow,
// and an ACL file that names alice and bob, and two tokens, one of them expired.
const (
	testNode   = "node-1"
	testDaemon = 998

	goodToken    = "mos_3q2-7wAAECAwQFBgcICQoLDA0ODw"
	expiredToken = "mos_AAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

var (
	testNow = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	alice   = testKey('a')
	bob     = testKey('b')
	mallory = testKey('m') // in no group
)

func testKey(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func hexOf(key ed25519.PrivateKey) string {
	return hex.EncodeToString(key.Public().(ed25519.PublicKey))
}

// testPolicy names the keys given.
func testPolicy(t testing.TB, keys ...ed25519.PrivateKey) *acl.Policy {
	t.Helper()
	var users strings.Builder
	for _, key := range keys {
		fmt.Fprintf(&users, "%q, ", hexOf(key))
	}
	good, expired := sha256.Sum256([]byte(goodToken)), sha256.Sum256([]byte(expiredToken))
	file := fmt.Sprintf(`
[[group]]
name = "all"
users = [%s]
[[token]]
name = "ci"
sha256 = "%x"
expires = 2026-06-01T12:00:01Z
[[token]]
name = "old"
sha256 = "%x"
expires = 2026-06-01T12:00:00Z
`, users.String(), good, expired)
	p, err := acl.Parse("acl.toml", []byte(file), nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// clock is a wall clock that tests set.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func (c *clock) advance(d time.Duration) { c.now = c.now.Add(d) }

func testVerifier() (*Verifier, *clock) {
	c := &clock{testNow}
	v := NewVerifier(testNode, testNow.Add(-time.Hour), c.Now)
	v.daemonUID = testDaemon
	return v, c
}

// Peers of all kinds.
func userPeer(uid uint32) *Peer {
	return &Peer{Local: true, HasUID: true, UID: uid, GIDs: []uint32{100}, PID: 1}
}

var (
	namelessPeer = &Peer{Local: true}
	remotePeer   = &Peer{}
)

// request is a request with headers, given as name and value in turn.
func request(headers ...string) *Request {
	r := &Request{Method: "POST", Path: "/rpc", Header: http.Header{}, Body: []byte(`{"jsonrpc":"2.0"}`)}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

// signedBy is a request signed at a time, with further headers.
func signedBy(key ed25519.PrivateKey, at time.Time, headers ...string) *Request {
	r := request(headers...)
	Sign(key, testNode, r, at)
	return r
}

// wantRefused checks that an error is kind, tells why, and keeps what an unproven caller sent to itself.
func wantRefused(t testing.TB, err, kind error, why string, secrets ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got %v, want %v", err, kind)
	}
	if !strings.Contains(err.Error(), why) {
		t.Errorf("got %q, want a text with %q", err, why)
	}
	for _, secret := range secrets {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("the text shows %q: %q", secret, err)
		}
	}
}
