package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/golang-jwt/jwt/v5"

	"github.com/geomind/my_os_server/internal/identity"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// keys of the matrix: one per right, one that the ACL does not name.
type keys map[string]ed25519.PrivateKey

func newKeys(t *testing.T, names ...string) keys {
	t.Helper()
	k := keys{}
	for _, name := range names {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		k[name] = private
	}
	return k
}

func (k keys) hex(name string) string {
	return hex.EncodeToString(k[name].Public().(ed25519.PublicKey))
}

const (
	goodToken    = "e2e-good-0123456789abcdef0123456789abcdef"
	expiredToken = "e2e-expired-0123456789abcdef0123456789ab"
	unknownToken = "e2e-unknown-0123456789abcdef0123456789ab"
)

func sum(token string) string {
	s := sha256.Sum256([]byte(token))
	return hex.EncodeToString(s[:])
}

// writeACL gives each right to a key, a uid, a gid or a token; anonymous local callers may read what
// exposes nothing.
func writeACL(t *testing.T, k keys) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "acl.toml")
	text := fmt.Sprintf(`
[[group]]
name = "admins"
users = [%q]
[[group]]
name = "operators"
users = [%q, "uid:1234"]
member_groups = ["admins"]
[[group]]
name = "viewers"
users = [%q, "token:ci", "gid:4321", "token:old"]
[[ace]]
right = "admin"
groups = ["admins"]
[[ace]]
right = "write"
groups = ["operators"]
methods = ["net.*"]
[[ace]]
right = "read"
groups = ["viewers", "operators"]
[[token]]
name = "ci"
sha256 = %q
expires = 2099-01-01T00:00:00Z
[[token]]
name = "old"
sha256 = %q
expires = 2020-01-01T00:00:00Z
[policy]
anonymous_local = "read"
anonymous_remote = "none"
anonymous_privileged = false
trusted_uids = [1500]
`, k.hex("admin"), k.hex("write"), k.hex("read"), sum(goodToken), sum(expiredToken))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// grant says what a caller has for a method by the ACL of the matrix, written from its meaning and not
// from the product's evaluation of it.
type grant func(m *registry.Method) registry.Right

func anonymousLocal(m *registry.Method) registry.Right {
	if m.Exposes {
		return registry.RightNone
	}
	return registry.RightRead
}

func nothing(*registry.Method) registry.Right { return registry.RightNone }
func reader(*registry.Method) registry.Right  { return registry.RightRead }
func admin(*registry.Method) registry.Right   { return registry.RightAdmin }

func netWriter(m *registry.Method) registry.Right {
	if strings.HasPrefix(m.Name, "net.") {
		return registry.RightWrite
	}
	return registry.RightRead
}

// caller is one kind of identity: a connection, what it puts into each request, and what it may do.
type caller struct {
	name   string
	uid    uint32
	gids   []uint32
	header func(request []byte) http.Header
	grant  grant // nil: refused as unauthenticated
	replay bool  // every request is sent before with the same signature

	hostOnly bool // what it presents is believed, or is anything, because of the Unix socket's peer
}

func signed(t *testing.T, k ed25519.PrivateKey, request []byte, at time.Time) http.Header {
	t.Helper()
	r := &identity.Request{Method: "POST", Path: "/rpc", Header: http.Header{}, Body: request}
	identity.Sign(k, nodeName, r, at)
	return r.Header
}

func bearer(token string) func([]byte) http.Header {
	return func([]byte) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }
}

// signJWT makes a token of k for subject; change may spoil it.
func signJWT(t *testing.T, k ed25519.PrivateKey, subject string, change func(*jwt.Token)) string {
	t.Helper()
	now := time.Now()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{"sub": subject, "aud": nodeName, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix()})
	if change != nil {
		change(token)
	}
	var key any = k
	switch token.Method.Alg() {
	case "none":
		key = jwt.UnsafeAllowNoneSignatureType
	case "HS256":
		key = []byte(k.Public().(ed25519.PublicKey))
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func claim(name string, value any) func(*jwt.Token) {
	return func(token *jwt.Token) { token.Claims.(jwt.MapClaims)[name] = value }
}

func method(m jwt.SigningMethod) func(*jwt.Token) {
	return func(token *jwt.Token) { token.Method, token.Header["alg"] = m, m.Alg() }
}

func identities(t *testing.T, k keys) []caller {
	const plain, trusted, anonymous = 2000, 1500, 65534
	sign := func(name string) func([]byte) http.Header {
		return func(request []byte) http.Header { return signed(t, k[name], request, time.Now()) }
	}
	withJWT := func(key, subject string, change func(*jwt.Token)) func([]byte) http.Header {
		return bearer(signJWT(t, k[key], k.hex(subject), change))
	}
	claimed := func(name string) func([]byte) http.Header {
		return func([]byte) http.Header { return http.Header{"X-Public-Key": {k.hex(name)}} }
	}
	spoiled := func(name, value string) func([]byte) http.Header {
		return func(request []byte) http.Header {
			h := signed(t, k["admin"], request, time.Now())
			h.Set(name, value)
			return h
		}
	}
	return []caller{
		{name: "anonymous local", uid: anonymous, grant: anonymousLocal},
		{name: "anonymous through a relay of root", uid: 0, header: func([]byte) http.Header { return http.Header{"X-Forwarded-For": {"203.0.113.9"}} }, grant: nothing},
		{name: "uid without a group", uid: plain, grant: anonymousLocal},
		{name: "uid 0 that the ACL does not name", uid: 0, grant: anonymousLocal},
		{name: "uid of a group", uid: 1234, grant: netWriter},
		{name: "supplementary gid of a group", uid: plain, gids: []uint32{99, 4321}, grant: reader},

		{name: "claimed key from a trusted uid", uid: trusted, header: claimed("admin"), grant: admin, hostOnly: true},
		{name: "claimed key from another uid", uid: plain, header: claimed("admin")},
		{name: "claimed key from root, whom the ACL does not trust", uid: 0, header: claimed("admin")},
		{name: "claimed key through a relay of a trusted uid", uid: trusted, header: func(b []byte) http.Header {
			h := claimed("admin")(b)
			h.Set("Via", "1.1 relay")
			return h
		}},

		{name: "signed by the admin's key", uid: plain, header: sign("admin"), grant: admin},
		{name: "signed by the writer's key", uid: anonymous, header: sign("write"), grant: netWriter},
		{name: "signed by the reader's key", uid: plain, header: sign("read"), grant: reader},
		{name: "signed by a key that the ACL does not name", uid: 1234, header: sign("stranger"), grant: anonymousLocal, hostOnly: true},
		{name: "signed and replayed", uid: plain, header: sign("admin"), replay: true},
		{name: "signed over another body", uid: plain, header: func([]byte) http.Header { return signed(t, k["admin"], []byte("{}"), time.Now()) }},
		{name: "signed two minutes ago", uid: plain, header: func(b []byte) http.Header { return signed(t, k["admin"], b, time.Now().Add(-2*time.Minute)) }},
		{name: "signed in ten seconds", uid: plain, header: func(b []byte) http.Header { return signed(t, k["admin"], b, time.Now().Add(10*time.Second)) }},
		{name: "signed for another node", uid: plain, header: func(b []byte) http.Header {
			r := &identity.Request{Method: "POST", Path: "/rpc", Header: http.Header{}, Body: b}
			identity.Sign(k["admin"], "other-node", r, time.Now())
			return r.Header
		}},
		{name: "signature spoiled", uid: plain, header: spoiled("X-Signature", strings.Repeat("0", 128))},
		{name: "signature claimed for another key", uid: trusted, header: spoiled("X-Public-Key", k.hex("write"))},

		{name: "token", uid: plain, header: bearer(goodToken), grant: reader},
		{name: "token of a caller whose uid could more", uid: 1234, header: bearer(goodToken), grant: reader},
		{name: "expired token", uid: 1234, header: bearer(expiredToken)},
		{name: "unknown token", uid: 1234, header: bearer(unknownToken)},
		{name: "token and a signature", uid: plain, header: func(request []byte) http.Header {
			h := signed(t, k["admin"], request, time.Now())
			maps.Copy(h, bearer(goodToken)(nil))
			return h
		}},
		{name: "another scheme", uid: 1234, header: func([]byte) http.Header { return http.Header{"Authorization": {"Basic cm9vdDpyb290"}} }},

		{name: "JWT of the admin", uid: plain, header: withJWT("admin", "admin", nil), grant: admin},
		{name: "JWT of the reader", uid: 1234, header: withJWT("read", "read", nil), grant: reader},
		{name: "JWT signed by another key", uid: plain, header: withJWT("stranger", "admin", nil)},
		{name: "JWT of a key that the ACL does not name", uid: plain, header: withJWT("stranger", "stranger", nil)},
		{name: "JWT with alg none", uid: plain, header: withJWT("admin", "admin", method(jwt.SigningMethodNone))},
		{name: "JWT with HS256 keyed by the public key", uid: plain, header: withJWT("admin", "admin", method(jwt.SigningMethodHS256))},
		{name: "JWT for another audience", uid: plain, header: withJWT("admin", "admin", claim("aud", "other-node"))},
		{name: "JWT expired", uid: plain, header: withJWT("admin", "admin", claim("exp", time.Now().Add(-time.Minute).Unix()))},
		{name: "JWT not yet valid", uid: plain, header: withJWT("admin", "admin", claim("nbf", time.Now().Add(time.Minute).Unix()))},
		{name: "JWT for more than a day", uid: plain, header: withJWT("admin", "admin", claim("exp", time.Now().Add(25*time.Hour).Unix()))},
	}
}

// TestACLMatrix asks every method as every kind of caller, with params that no method takes: a caller
// without the right must be told so, and one with it must be told about the params. So nothing runs,
// and the order of the two is proven as well.
func TestACLMatrix(t *testing.T) {
	testhost.Root(t)
	for _, b := range binaries {
		t.Run(b.name, func(t *testing.T) { aclMatrix(t, b.start) })
	}
}

func aclMatrix(t *testing.T, start func(t *testing.T, args ...string) *server) {
	k := newKeys(t, "admin", "write", "read", "stranger")
	s := start(t, "--acl", writeACL(t, k))
	time.Sleep(5500 * time.Millisecond) // signatures older than the start + 5 s are refused
	calls := 0
	for _, c := range identities(t, k) {
		t.Run(c.name, func(t *testing.T) {
			hc := client(func() (net.Conn, error) { return dialAs(s.socket, c.uid, c.gids) })
			defer hc.CloseIdleConnections()
			for _, m := range registry.All() {
				request := body(m.Name, `{"no_such_param":1}`)
				header := http.Header{}
				if c.header != nil {
					header = c.header(request)
				}
				if c.replay {
					spend(t, hc, header, request)
				}
				a, err := post(hc, header, request)
				if err != nil {
					t.Fatalf("%s: %v", m.Name, err)
				}
				calls++
				if got, want := outcome(a), c.want(m); got != want {
					t.Errorf("%s: %s, want %s", m.Name, got, want)
				}
			}
		})
	}
	t.Logf("%d methods x %d identities = %d calls", len(registry.All()), len(identities(t, k)), calls)
}

// spend uses the signature in header once, so that the next use of it is a replay.
func spend(t *testing.T, hc *http.Client, header http.Header, request []byte) {
	t.Helper()
	if _, err := post(hc, header, request); err != nil {
		t.Fatal(err)
	}
}

func (c caller) want(m *registry.Method) string {
	switch {
	case m.Right == registry.RightNone:
		return "invalid_params"
	case c.grant == nil:
		return "unauthenticated"
	case c.grant(m) < m.Right:
		return fmt.Sprintf("permission_denied: has %s, needs %s", c.grant(m), m.Right)
	}
	return "invalid_params"
}

// outcome is an error's kind, and for a denied call what was said about the right.
func outcome(a *answer) string {
	if a.Error == nil {
		return "a result"
	}
	kind, _ := a.Error.Data["kind"].(string)
	if kind == "permission_denied" {
		return fmt.Sprintf("permission_denied: has %v, needs %v", a.Error.Data["granted"], a.Error.Data["required"])
	}
	return kind
}

// dialAs connects with the credentials of another user. Credentials are a thread's in Linux, and
// SO_PEERCRED shows those of the thread that called connect; the thread is let die with its goroutine
// so that nothing else ever runs with them.
func dialAs(socket string, uid uint32, gids []uint32) (conn net.Conn, err error) {
	if gids == nil {
		gids = []uint32{uid}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if conn, err = dialWithCredentials(socket, uid, gids); err != nil {
			err = fmt.Errorf("connect as uid %d: %w", uid, err)
		}
	}()
	<-done
	return conn, err
}

func dialWithCredentials(socket string, uid uint32, gids []uint32) (net.Conn, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), socket)
	defer file.Close()
	if _, _, e := syscall.RawSyscall(syscall.SYS_SETGROUPS, uintptr(len(gids)), uintptr(unsafe.Pointer(&gids[0])), 0); e != 0 {
		return nil, e
	}
	for _, set := range []uintptr{syscall.SYS_SETRESGID, syscall.SYS_SETRESUID} {
		if _, _, e := syscall.RawSyscall(set, uintptr(uid), uintptr(uid), uintptr(uid)); e != 0 {
			return nil, e
		}
	}
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: socket}); err != nil {
		return nil, err
	}
	return net.FileConn(file)
}
