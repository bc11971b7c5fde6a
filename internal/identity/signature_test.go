package identity

import (
	"crypto/ed25519"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/pkg/acl"
)

// The signed text and its signature, written out, so that a client in another language can be checked by them.
func TestSignatureVector(t *testing.T) {
	const (
		timestamp = "1780315200000"
		nonce     = "000102030405060708090a0b0c0d0e0f"
		body      = `{"jsonrpc":"2.0","id":1,"method":"rpc.health"}`
		sum       = "0f044d120861ccb7804d469b03bbc7e207b55534efb70a40bb0e2b4400414e53" +
			"cb88d2a9f6aa66397a7e43bf7eafea3743af444ee0e933a9c017b540cdd69109" // by OpenSSL 3
		text = "my_os_server-request-v1\nnode-1\nPOST\n/rpc\n" +
			"39d4a824b338a57183e03ce54ff26e274258fae80aec1fc75100cfaf0c235360\n" + timestamp + "\n" + nonce
	)
	r := &Request{Method: "POST", Path: "/rpc", Body: []byte(body)}
	if got := string(signedText(testNode, r, timestamp, nonce)); got != text {
		t.Errorf("signed text is\n%s\nwant\n%s", got, text)
	}
	r.Header = http.Header{
		"X-Public-Key": {"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"},
		"X-Timestamp":  {timestamp},
		"X-Nonce":      {nonce},
		"X-Signature":  {sum},
	}
	// The private key is that of RFC 8032, section 7.1, test 1.
	seed, _ := hex.DecodeString("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
	if got := hex.EncodeToString(ed25519.Sign(ed25519.NewKeyFromSeed(seed), []byte(text))); got != sum {
		t.Errorf("signature is %s, want %s", got, sum)
	}
	v, c := testVerifier()
	c.now = time.UnixMilli(1780315200000)
	if _, err := v.Identify(acl.Default(testDaemon), remotePeer, r); err != nil {
		t.Error(err)
	}
}

// Each part of a request is bound by the signature.
func TestSignatureBinds(t *testing.T) {
	for name, change := range map[string]func(r *Request){
		"method":       func(r *Request) { r.Method = "GET" },
		"path":         func(r *Request) { r.Path = "/" },
		"body":         func(r *Request) { r.Body[0] ^= 1 },
		"empty body":   func(r *Request) { r.Body = nil },
		"time":         func(r *Request) { addTo(r.Header, "X-Timestamp", 1) },
		"nonce":        func(r *Request) { flip(r.Header, "X-Nonce") },
		"signature R":  func(r *Request) { flip(r.Header, "X-Signature") },
		"other key":    func(r *Request) { r.Header.Set("X-Public-Key", hexOf(bob)) },
		"nonce's case": func(r *Request) { r.Header.Set("X-Nonce", strings.ToUpper("abcdef"+r.Header.Get("X-Nonce")[6:])) },
	} {
		t.Run(name, func(t *testing.T) {
			v, _ := testVerifier()
			r := signedBy(alice, testNow)
			change(r)
			_, err := v.Identify(testPolicy(t, alice, bob), userPeer(0), r)
			wantRefused(t, err, ErrInvalid, "does not verify", r.Header.Get("X-Signature"), r.Header.Get("X-Nonce"))
		})
	}
	t.Run("node", func(t *testing.T) {
		v, _ := testVerifier()
		r := request()
		Sign(alice, "node-2", r, testNow)
		_, err := v.Identify(testPolicy(t, alice), userPeer(0), r)
		wantRefused(t, err, ErrInvalid, "does not verify")
	})
}

func addTo(h http.Header, name string, n int64) {
	value, _ := strconv.ParseInt(h.Get(name), 10, 64)
	h.Set(name, strconv.FormatInt(value+n, 10))
}

// flip changes the lowest bit of the first byte of a hex value.
func flip(h http.Header, name string) {
	b, _ := hex.DecodeString(h.Get(name))
	b[0] ^= 1
	h.Set(name, hex.EncodeToString(b))
}

// The order of the group L is added to S: the same signature in another form, which must not count twice.
func TestSignatureIsCanonical(t *testing.T) {
	v, _ := testVerifier()
	r := signedBy(alice, testNow)
	sum, _ := hex.DecodeString(r.Header.Get("X-Signature"))
	order, _ := hex.DecodeString("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
	carry := 0
	for i, b := range order {
		carry += int(sum[32+i]) + int(b)
		sum[32+i] = byte(carry)
		carry >>= 8
	}
	r.Header.Set("X-Signature", hex.EncodeToString(sum))
	_, err := v.Identify(testPolicy(t, alice), remotePeer, r)
	wantRefused(t, err, ErrInvalid, "does not verify")
}

// With a key of small order a signature can be made without a private key: R = identity, S = 0 verifies for
// the identity as key, whatever the text. The standard library lets it pass.
func TestSignatureOfSmallOrderKey(t *testing.T) {
	identity := "01" + strings.Repeat("00", 31)
	key, _ := hex.DecodeString(identity)
	sum, _ := hex.DecodeString(identity + strings.Repeat("00", 32))
	if !ed25519.Verify(key, []byte("anything"), sum) {
		t.Log("the standard library refuses small orders by now")
	}
	v, _ := testVerifier()
	r := signedBy(alice, testNow)
	r.Header.Set("X-Public-Key", identity)
	r.Header.Set("X-Signature", hex.EncodeToString(sum))
	_, err := v.Identify(testPolicy(t, alice), remotePeer, r)
	wantRefused(t, err, ErrInvalid, "small order")
}

func TestSignatureWindow(t *testing.T) {
	for _, test := range []struct {
		age time.Duration
		why string // "" is accepted
	}{
		{0, ""},
		{60 * time.Second, ""},
		{60*time.Second + time.Millisecond, "old"},
		{time.Hour, "old"},
		{-5 * time.Second, ""},
		{-5*time.Second - time.Millisecond, "in the future"},
		{-time.Hour, "in the future"},
	} {
		v, _ := testVerifier()
		_, err := v.Identify(testPolicy(t, alice), remotePeer, signedBy(alice, testNow.Add(-test.age)))
		if test.why == "" && err != nil {
			t.Errorf("%v old: %v", test.age, err)
		}
		if test.why != "" {
			wantRefused(t, err, ErrInvalid, test.why)
		}
	}
}

func TestSignatureSyntax(t *testing.T) {
	for _, test := range []struct {
		header, value, why string
	}{
		{"X-Public-Key", strings.Repeat("g", 64), "X-Public-Key is not 64"},
		{"X-Public-Key", "", "X-Public-Key is not 64"},
		{"X-Timestamp", "", "no Unix time"},
		{"X-Timestamp", "-1", "no Unix time"},
		{"X-Timestamp", "+1780315200000", "no Unix time"},
		{"X-Timestamp", "01780315200000", "no Unix time"},
		{"X-Timestamp", "1780315200000.0", "no Unix time"},
		{"X-Timestamp", "0x19e8", "no Unix time"},
		{"X-Timestamp", "9223372036854775808", "no Unix time"},
		{"X-Timestamp", "9223372036854775807", "in the future"},
		{"X-Timestamp", "0", "old"},
		{"X-Timestamp", "1780315200", "old"},
		{"X-Nonce", "", "32 hex"},
		{"X-Nonce", strings.Repeat("0", 31), "32 hex"},
		{"X-Nonce", strings.Repeat("0", 34), "32 hex"},
		{"X-Nonce", strings.Repeat("g", 32), "32 hex"},
		{"X-Signature", "", "128 hex"},
		{"X-Signature", strings.Repeat("0", 126), "128 hex"},
		{"X-Signature", strings.Repeat("z", 128), "128 hex"},
		{"X-Signature", strings.Repeat("0", 128), "does not verify"},
		{"X-Signature", strings.Repeat("f", 128), "does not verify"},
	} {
		v, _ := testVerifier()
		r := signedBy(alice, testNow)
		r.Header.Set(test.header, test.value)
		_, err := v.Identify(testPolicy(t, alice), userPeer(0), r)
		wantRefused(t, err, ErrInvalid, test.why)
	}
	for _, missing := range []string{"X-Public-Key", "X-Timestamp", "X-Nonce", "X-Signature"} {
		v, _ := testVerifier()
		r := signedBy(alice, testNow)
		r.Header.Del(missing)
		_, err := v.Identify(testPolicy(t, alice), userPeer(0), r)
		wantRefused(t, err, ErrInvalid, "not all of its four headers")
	}
}

// A line break in what is signed could shift one line into another.
func TestSignatureLineBreaks(t *testing.T) {
	for _, r := range []*Request{
		{Method: "POST", Path: "/rpc\nx"},
		{Method: "POST\n/rpc", Path: "/rpc"},
	} {
		v, _ := testVerifier()
		Sign(alice, testNode, r, testNow)
		_, err := v.Identify(testPolicy(t, alice), remotePeer, r)
		wantRefused(t, err, ErrInvalid, "line break")
	}
}

func TestSignatureWithoutNodeName(t *testing.T) {
	c := &clock{testNow}
	v := NewVerifier("", testNow.Add(-time.Hour), c.Now)
	r := request()
	Sign(alice, "", r, testNow)
	_, err := v.Identify(testPolicy(t, alice), userPeer(0), r)
	wantRefused(t, err, ErrInvalid, "has no name")
}

// Sign makes a request that is accepted, with a nonce of its own each time.
func TestSign(t *testing.T) {
	v, _ := testVerifier()
	p := testPolicy(t, alice)
	r := &Request{Method: "GET", Path: "/metrics"}
	seen := map[string]bool{}
	for range 3 {
		Sign(alice, testNode, r, testNow)
		caller, err := v.Identify(p, remotePeer, r)
		if err != nil || caller.String() != hexOf(alice) {
			t.Fatalf("got %s, %v", caller.String(), err)
		}
		seen[r.Header.Get("X-Nonce")] = true
	}
	if len(seen) != 3 {
		t.Errorf("nonces repeat: %v", seen)
	}
}
