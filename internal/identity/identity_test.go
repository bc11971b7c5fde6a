package identity

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/pkg/acl"
)

func keyCaller(hex string, local bool) acl.Caller {
	return acl.Caller{Kind: acl.KindKey, Key: hex, Local: local}
}

// Every way to present an identity, from every kind of peer, with and without a relay in between.
func TestIdentify(t *testing.T) {
	var (
		a       = hexOf(alice)
		m       = hexOf(mallory)
		token   = "Bearer " + goodToken
		aliceIs = "Bearer " + signJWT(t, alice, goodClaims(alice))
		user    = acl.Caller{Kind: acl.KindUID, UID: 1000, GIDs: []uint32{100}, Local: true}
		root    = acl.Caller{Kind: acl.KindUID, UID: 0, GIDs: []uint32{100}, Local: true}
		local   = acl.Caller{Local: true}
		remote  = acl.Caller{}
		nobody  = acl.Caller{}
	)
	tests := []struct {
		name string
		peer *Peer
		r    *Request
		want acl.Caller
		err  error
	}{
		// Nothing presented: the peer, unless a relay stands in between.
		{"user", userPeer(1000), request(), user, nil},
		{"root", userPeer(0), request("Content-Type", "application/json"), root, nil},
		{"overflow uid", namelessPeer, request(), local, nil},
		{"TCP", remotePeer, request(), remote, nil},
		{"root through Forwarded", userPeer(0), request("Forwarded", "for=192.0.2.1"), remote, nil},
		{"root through X-Forwarded-For", userPeer(0), request("X-Forwarded-For", "192.0.2.1"), remote, nil},
		{"root through X-Forwarded-Proto", userPeer(0), request("X-Forwarded-Proto", ""), remote, nil},
		{"root through x-forwarded-anything", userPeer(0), &Request{Header: http.Header{"x-forwarded-anything": {"1"}}}, remote, nil},
		{"root through Via", userPeer(0), request("Via", "1.1 relay"), remote, nil},
		{"root through X-Real-IP", userPeer(0), request("X-Real-IP", "127.0.0.1"), remote, nil},
		{"daemon through Via", userPeer(testDaemon), request("Via", "1.1 relay"), remote, nil},
		{"TCP through Via", remotePeer, request("Via", "1.1 relay"), remote, nil},

		// A public key alone.
		{"vouched by root", userPeer(0), request("X-Public-Key", a), keyCaller(a, true), nil},
		{"vouched by the daemon's uid", userPeer(testDaemon), request("X-Public-Key", a), keyCaller(a, true), nil},
		{"vouched, not in the ACL file", userPeer(0), request("X-Public-Key", m), keyCaller(m, true), nil},
		{"vouched in capitals", userPeer(0), request("X-Public-Key", strings.ToUpper(a)), keyCaller(a, true), nil},
		{"claimed by a user", userPeer(1000), request("X-Public-Key", a), nobody, ErrNoProof},
		{"claimed by nobody", namelessPeer, request("X-Public-Key", a), nobody, ErrNoProof},
		{"claimed over TCP", remotePeer, request("X-Public-Key", a), nobody, ErrNoProof},
		{"claimed through a relay of root", userPeer(0), request("X-Public-Key", a, "X-Forwarded-For", "192.0.2.1"), nobody, ErrNoProof},
		{"vouched, malformed", userPeer(0), request("X-Public-Key", a[1:]), nobody, ErrInvalid},
		{"vouched, empty", userPeer(0), request("X-Public-Key", ""), nobody, ErrInvalid},
		{"vouched, of small order", userPeer(0), request("X-Public-Key", strings.Repeat("00", 32)), nobody, ErrInvalid},
		{"vouched, not canonical", userPeer(0), request("X-Public-Key", strings.Repeat("ff", 32)), nobody, ErrInvalid},
		{"vouched, off the curve", userPeer(0), request("X-Public-Key", "02"+strings.Repeat("00", 31)), nobody, ErrInvalid},
		{"vouched twice", userPeer(0), request("X-Public-Key", a, "X-Public-Key", a), nobody, ErrInvalid},
		{"vouched twice in one header", userPeer(0), request("X-Public-Key", a+", "+a), nobody, ErrInvalid},

		// A signature stands for itself, whoever brings it.
		{"signed, from a user", userPeer(1000), signedBy(alice, testNow), keyCaller(a, true), nil},
		{"signed, from root", userPeer(0), signedBy(alice, testNow), keyCaller(a, true), nil},
		{"signed, over TCP", remotePeer, signedBy(alice, testNow), keyCaller(a, false), nil},
		{"signed, through a relay", userPeer(0), signedBy(alice, testNow, "Via", "1.1 relay"), keyCaller(a, false), nil},
		{"signed, not in the ACL file", userPeer(1000), signedBy(mallory, testNow), keyCaller(m, true), nil},
		{"signed wrongly, from a trusted peer", userPeer(0), tampered(signedBy(alice, testNow)), nobody, ErrInvalid},
		{"part of a signature: time", userPeer(1000), request("X-Timestamp", "1780315200000"), nobody, ErrInvalid},
		{"part of a signature: nonce", userPeer(1000), request("X-Nonce", strings.Repeat("0", 32)), nobody, ErrInvalid},
		{"part of a signature: sum", userPeer(1000), request("X-Signature", strings.Repeat("0", 128)), nobody, ErrInvalid},
		{"part of a signature: empty sum", userPeer(1000), request("X-Signature", ""), nobody, ErrInvalid},
		{"part of a signature from a trusted peer", userPeer(0), request("X-Public-Key", a, "X-Timestamp", "1780315200000"), nobody, ErrInvalid},
		{"signature twice", userPeer(1000), doubled(signedBy(alice, testNow), "X-Signature"), nobody, ErrInvalid},
		{"nonce twice", userPeer(1000), doubled(signedBy(alice, testNow), "X-Nonce"), nobody, ErrInvalid},
		{"time twice, in two spellings", userPeer(1000), respelled(signedBy(alice, testNow), "X-Timestamp"), nobody, ErrInvalid},

		// Bearer tokens.
		{"token from a user", userPeer(1000), request("Authorization", token), acl.Caller{Kind: acl.KindToken, Token: "ci", Local: true}, nil},
		{"token over TCP", remotePeer, request("Authorization", token), acl.Caller{Kind: acl.KindToken, Token: "ci"}, nil},
		{"token through a relay of root", userPeer(0), request("Authorization", token, "Forwarded", "for=_x"), acl.Caller{Kind: acl.KindToken, Token: "ci"}, nil},
		{"expired token from root", userPeer(0), request("Authorization", "Bearer "+expiredToken), nobody, ErrInvalid},
		{"unknown token from root", userPeer(0), request("Authorization", token+"x"), nobody, ErrInvalid},
		{"token twice", userPeer(0), request("Authorization", token, "Authorization", token), nobody, ErrInvalid},
		{"password from root", userPeer(0), request("Authorization", "Basic cm9vdDpyb290"), nobody, ErrInvalid},
		{"empty Authorization from root", userPeer(0), request("Authorization", ""), nobody, ErrInvalid},
		{"JWT over TCP", remotePeer, request("Authorization", aliceIs), keyCaller(a, false), nil},
		{"JWT from a user", userPeer(1000), request("Authorization", aliceIs), keyCaller(a, true), nil},

		// Two credentials: one identity, or none.
		{"signature and JWT of one key", remotePeer, signedBy(alice, testNow, "Authorization", aliceIs), keyCaller(a, false), nil},
		{"vouched for and JWT of one key", userPeer(0), request("X-Public-Key", a, "Authorization", aliceIs), keyCaller(a, true), nil},
		{"signature and JWT of two keys", remotePeer, signedBy(bob, testNow, "Authorization", aliceIs), nobody, ErrInvalid},
		{"signature and token", remotePeer, signedBy(alice, testNow, "Authorization", token), nobody, ErrInvalid},
		{"vouched for and token", userPeer(0), request("X-Public-Key", a, "Authorization", token), nobody, ErrInvalid},
		{"good signature, bad token", remotePeer, signedBy(alice, testNow, "Authorization", token+"x"), nobody, ErrInvalid},
		{"bad signature, good JWT", remotePeer, tampered(signedBy(alice, testNow, "Authorization", aliceIs)), nobody, ErrInvalid},
		{"claim without proof, good JWT", userPeer(1000), request("X-Public-Key", a, "Authorization", aliceIs), nobody, ErrNoProof},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v, _ := testVerifier()
			got, err := v.Identify(testPolicy(t, alice, bob), test.peer, test.r)
			if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
				t.Fatalf("got error %v, want %v", err, test.err)
			}
			if errors.Is(err, ErrNoProof) && errors.Is(err, ErrInvalid) {
				t.Errorf("the error is both kinds: %v", err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("caller (-want +got):\n%s", diff)
			}
			_, typed := test.r.Header["Content-Type"]
			if plain := len(test.r.Header) == 0 || typed; HasCredentials(test.r.Header) == plain {
				t.Errorf("HasCredentials is %v", !plain)
			}
		})
	}
}

// tampered changes the body after the signature was made.
func tampered(r *Request) *Request {
	r.Body = append(r.Body, ' ')
	return r
}

func doubled(r *Request, name string) *Request {
	r.Header.Add(name, r.Header.Get(name))
	return r
}

// respelled repeats a header in lower case, as a map made by another hand than net/http's may have it.
func respelled(r *Request, name string) *Request {
	r.Header[strings.ToLower(name)] = []string{r.Header.Get(name)}
	return r
}

// Whom to trust is the policy's to say.
func TestVouchingFollowsPolicy(t *testing.T) {
	v, _ := testVerifier()
	for _, test := range []struct {
		file    string
		trusted map[uint32]bool
	}{
		{"", map[uint32]bool{0: true, testDaemon: true, 1000: false}},
		{"[policy]\ntrusted_uids = []\n", map[uint32]bool{0: false, testDaemon: false, 1000: false}},
		{"[policy]\ntrusted_uids = [1000]\n", map[uint32]bool{0: false, testDaemon: false, 1000: true}},
	} {
		p, err := acl.Parse("acl.toml", []byte(test.file), nil)
		if err != nil {
			t.Fatal(err)
		}
		for uid, trusted := range test.trusted {
			_, err := v.Identify(p, userPeer(uid), request("X-Public-Key", hexOf(alice)))
			if trusted != (err == nil) || !trusted && !errors.Is(err, ErrNoProof) {
				t.Errorf("%q, uid %d: %v", test.file, uid, err)
			}
		}
	}
	// A peer without a uid is not uid 0, whatever the field holds.
	if _, err := v.Identify(acl.Default(testDaemon), namelessPeer, request("X-Public-Key", hexOf(alice))); !errors.Is(err, ErrNoProof) {
		t.Errorf("a nameless peer vouches: %v", err)
	}
}

func TestHasCredentials(t *testing.T) {
	for _, name := range []string{"Authorization", "X-Public-Key", "X-Timestamp", "X-Nonce", "X-Signature",
		"Forwarded", "Via", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded", "x-real-ip"} {
		if !HasCredentials(http.Header{http.CanonicalHeaderKey(name): {""}}) || !HasCredentials(http.Header{name: {"x"}}) {
			t.Errorf("%s is overlooked", name)
		}
	}
	plain := http.Header{}
	for _, name := range []string{"Accept", "Accept-Encoding", "Content-Length", "Content-Type", "User-Agent", "X-Deadline-Ms", "X-Forward", "X"} {
		plain.Set(name, "x")
	}
	if HasCredentials(plain) || HasCredentials(nil) {
		t.Error("a plain request has credentials")
	}
	if n := testing.AllocsPerRun(100, func() { HasCredentials(plain) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHasCredentials(b *testing.B) {
	h := http.Header{"Accept-Encoding": {"gzip"}, "Content-Length": {"60"}, "Content-Type": {"application/json"}, "User-Agent": {"Go-http-client/1.1"}}
	b.ReportAllocs()
	for b.Loop() {
		if HasCredentials(h) {
			b.Fatal("a plain request has credentials")
		}
	}
}

func BenchmarkIdentifySigned(b *testing.B) {
	v, c := testVerifier()
	p := testPolicy(b, alice)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		c.advance(1e6)
		r := signedBy(alice, c.now)
		b.StartTimer()
		if _, err := v.Identify(p, remotePeer, r); err != nil {
			b.Fatal(err)
		}
	}
}
