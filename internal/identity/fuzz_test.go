package identity

import (
	"crypto/ed25519"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/pkg/acl"
)

// FuzzBearer feeds arbitrary Authorization headers. Nobody is identified but by one of the tokens that were
// issued, byte for byte.
func FuzzBearer(f *testing.F) {
	issued := []string{goodToken, signJWT(f, alice, goodClaims(alice)), rawJWT(alice, eddsa, rawClaims(`,"nbf":0`))}
	for _, token := range issued {
		f.Add("Bearer " + token)
		f.Add("bearer   " + token + "=")
	}
	f.Add("Bearer " + expiredToken)
	f.Add("Basic cm9vdDpyb290")
	f.Add("Bearer " + rawJWT(mallory, `{"alg":"EdDSA","jwk":{"kty":"OKP"}}`, rawClaims("")))
	f.Add("Bearer " + rawJWT(alice, `{"alg":"none","crit":["b64"],"b64":false}`, `{"sub":null,"aud":[1],"exp":1e999}`))
	f.Add("Bearer eyJhbGciOiJub25lIn0." + strings.Repeat("e", 30) + ".")
	p := testPolicy(f, alice, bob)
	v, _ := testVerifier()
	f.Fuzz(func(t *testing.T, header string) {
		r := request()
		r.Header["Authorization"] = []string{header}
		caller, err := v.Identify(p, userPeer(0), r)
		token := header[min(len(header), len("Bearer")):]
		if err == nil && !slices.Contains(issued, strings.TrimLeft(token, " ")) {
			t.Fatalf("%q is %s", header, caller.String())
		}
		if err == nil && caller.String() != "token:ci" && caller.String() != hexOf(alice) {
			t.Fatalf("%q is %s", header, caller.String())
		}
	})
}

// FuzzClaims feeds arbitrary claims, signed by the key that they should name: what is accepted names that key,
// this node and a time that is now.
func FuzzClaims(f *testing.F) {
	f.Add(rawClaims(""))
	f.Add(rawClaims(`,"nbf":1780315200.5,"jti":{"a":[1,{"b":null}]}`))
	f.Add(`{"sub":"` + hexOf(alice) + `","aud":["node-1"],"iat":1.7803152e9,"exp":1780315201}`)
	f.Add(`{"sub":"` + hexOf(bob) + `","aud":"node-1","iat":1780315200,"exp":1780315201}`)
	f.Add(`{"iat":99999999999999999999,"exp":-0,"aud":{}}`)
	p := testPolicy(f, alice, bob)
	v, _ := testVerifier()
	f.Fuzz(func(t *testing.T, claims string) {
		caller, err := v.Identify(p, userPeer(0), request("Authorization", "Bearer "+rawJWT(alice, eddsa, claims)))
		if err != nil {
			return
		}
		for _, part := range []string{"sub", "aud", "iat", "exp"} {
			if !strings.Contains(claims, part) && !strings.Contains(claims, `\u`) {
				t.Fatalf("accepted without %s: %s", part, claims)
			}
		}
		if caller.String() != hexOf(alice) {
			t.Fatalf("%s is %s", claims, caller.String())
		}
	})
}

// FuzzSignature feeds arbitrary headers of a signed request. Nobody is identified but where the standard
// library verifies the signature over the lines as they are put together here.
func FuzzSignature(f *testing.F) {
	add := func(r *Request) {
		f.Add(r.Header.Get("X-Public-Key"), r.Header.Get("X-Timestamp"), r.Header.Get("X-Nonce"), r.Header.Get("X-Signature"), r.Method, r.Path, r.Body)
	}
	good := signedBy(alice, testNow)
	add(good)
	add(signedBy(mallory, testNow.Add(-time.Minute)))
	add(tampered(signedBy(bob, testNow)))
	add(request())
	add(&Request{Method: "POST\n", Path: "/rpc\n", Header: good.Header})
	f.Add(strings.Repeat("00", 32), "1780315200000", strings.Repeat("F", 32), strings.Repeat("00", 64), "", "", []byte(nil))
	p := testPolicy(f, alice, bob)
	f.Fuzz(func(t *testing.T, key, timestamp, nonce, signature, method, path string, body []byte) {
		v, _ := testVerifier()
		r := &Request{Method: method, Path: path, Body: body}
		r.Header = map[string][]string{"X-Public-Key": {key}, "X-Timestamp": {timestamp}, "X-Nonce": {nonce}, "X-Signature": {signature}}
		caller, err := v.Identify(p, userPeer(0), r)
		if err != nil {
			return
		}
		public, keyErr := hex.DecodeString(key)
		sum, sumErr := hex.DecodeString(signature)
		if keyErr != nil || sumErr != nil || !ed25519.Verify(public, signedText(testNode, r, timestamp, nonce), sum) {
			t.Fatalf("identified without a signature as %s", caller.String())
		}
		if caller.Kind != acl.KindKey || caller.Key != strings.ToLower(key) {
			t.Fatalf("signed by %s, identified as %s", key, caller.String())
		}
		if _, err := v.Identify(p, userPeer(0), r); err == nil && p.KnowsKey(caller.Key) {
			t.Fatal("accepted twice")
		}
	})
}
