package identity

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/geomind/my_os_server/pkg/acl"
)

func TestBearerToken(t *testing.T) {
	tests := []struct {
		name, header string
		want         string // the caller, "" where it is refused
		why          string
	}{
		{"good", "Bearer " + goodToken, "token:ci", ""},
		{"scheme in lower case", "bearer " + goodToken, "token:ci", ""},
		{"more blanks", "Bearer   " + goodToken, "token:ci", ""},
		{"expired at this instant", "Bearer " + expiredToken, "", `token "old" has expired at 2026-06-01T12:00:00Z`},
		{"unknown", "Bearer " + strings.Repeat("A", 40), "", "unknown"},
		{"one character changed", "Bearer " + goodToken[:len(goodToken)-1] + "x", "", "unknown"},
		{"in another case", "Bearer " + strings.ToLower(goodToken), "", "unknown"},
		{"padded", "Bearer " + goodToken + "=", "", "unknown"},
		{"digest instead of token", "Bearer " + strings.Repeat("0", 64), "", "unknown"},
		{"short", "Bearer " + strings.Repeat("A", 21), "", "too few"},
		{"empty", "Bearer ", "", "too few"},
		{"scheme alone", "Bearer", "", "too few"},
		{"long", "Bearer " + strings.Repeat("A", maxToken+1), "", "longer than"},
		{"longest", "Bearer " + strings.Repeat("A", maxToken), "", "unknown"},
		{"two tokens", "Bearer " + goodToken + ", Bearer " + goodToken, "", "characters"},
		{"tab", "Bearer\t" + goodToken, "", "another scheme"},
		{"blank at the end", "Bearer " + goodToken + " ", "", "characters"},
		{"padding alone", "Bearer " + strings.Repeat("=", 40), "", "characters"},
		{"padding within", "Bearer " + goodToken + "=a", "", "characters"},
		{"not ASCII", "Bearer " + goodToken + "é", "", "characters"},
		{"no scheme", goodToken, "", "another scheme"},
		{"Basic", "Basic " + goodToken, "", "another scheme"},
		{"Bearerx", "Bearerx " + goodToken, "", "another scheme"},
		{"blank first", " Bearer " + goodToken, "", "another scheme"},
		{"empty header", "", "", "another scheme"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v, _ := testVerifier()
			r := request()
			r.Header["Authorization"] = []string{test.header}
			caller, err := v.Identify(testPolicy(t, alice), userPeer(0), r)
			if test.want == "" {
				wantRefused(t, err, ErrInvalid, test.why, goodToken, expiredToken)
			} else if err != nil || caller.String() != test.want {
				t.Errorf("got %s, %v, want %s", caller.String(), err, test.want)
			}
		})
	}
}

// A token that looks like a JWT is opaque where the ACL file lists it: the file says so.
func TestBearerTokenWithDots(t *testing.T) {
	const token = "aaaaaaaaaa.bbbbbbbbbb.cccccccccc"
	file := fmt.Sprintf("[[token]]\nname = \"dotted\"\nsha256 = \"%x\"\nexpires = 2027-01-01T00:00:00Z\n", sha256.Sum256([]byte(token)))
	p, err := acl.Parse("acl.toml", []byte(file), nil)
	if err != nil {
		t.Fatal(err)
	}
	v, _ := testVerifier()
	caller, err := v.Identify(p, remotePeer, request("Authorization", "Bearer "+token))
	if err != nil || caller.String() != "token:dotted" {
		t.Errorf("got %s, %v", caller.String(), err)
	}
}

// goodClaims are those of a token that is accepted.
func goodClaims(key ed25519.PrivateKey) map[string]any {
	return map[string]any{
		"sub": hexOf(key),
		"aud": testNode,
		"iat": testNow.Unix(),
		"exp": testNow.Add(time.Hour).Unix(),
	}
}

// with changes one claim; nil takes it away.
func with(name string, value any) map[string]any {
	c := goodClaims(alice)
	c[name] = value
	if value == nil {
		delete(c, name)
	}
	return c
}

func signJWT(t testing.TB, key crypto.Signer, claims map[string]any) string {
	t.Helper()
	return signJWTWith(t, jwt.SigningMethodEdDSA, key, nil, claims)
}

func signJWTWith(t testing.TB, method jwt.SigningMethod, key any, header, claims map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	for name, value := range header {
		token.Header[name] = value
	}
	signed, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// rawJWT signs header and claims as they are.
func rawJWT(key ed25519.PrivateKey, header, claims string) string {
	enc := base64.RawURLEncoding
	text := enc.EncodeToString([]byte(header)) + "." + enc.EncodeToString([]byte(claims))
	return text + "." + enc.EncodeToString(ed25519.Sign(key, []byte(text)))
}

const eddsa = `{"alg":"EdDSA"}`

// rawClaims are good claims as text, with something put before the closing brace.
func rawClaims(more string) string {
	c, err := json.Marshal(goodClaims(alice))
	if err != nil {
		panic(err)
	}
	return strings.TrimSuffix(string(c), "}") + more + "}"
}

func at(d time.Duration) int64 { return testNow.Add(d).Unix() }

func TestJWTAccepts(t *testing.T) {
	tests := map[string]string{
		"plain":                  signJWT(t, alice, goodClaims(alice)),
		"several audiences":      signJWT(t, alice, with("aud", []string{"node-0", testNode})),
		"other claims":           signJWT(t, alice, with("iss", "login.example")),
		"expires in a second":    signJWT(t, alice, with("exp", at(time.Second))),
		"24 hours":               signJWT(t, alice, with("exp", at(24*time.Hour))),
		"issued ahead by 5 s":    signJWT(t, alice, with("iat", at(5*time.Second))),
		"not before, now":        signJWT(t, alice, with("nbf", at(0))),
		"not before, in 5 s":     signJWT(t, alice, with("nbf", at(5*time.Second))),
		"fractions of a second":  signJWT(t, alice, with("iat", float64(testNow.Unix())+4.5)),
		"exponent":               rawJWT(alice, eddsa, strings.Replace(rawClaims(""), `"iat":1780315200`, `"iat":1.7803152e9`, 1)),
		"typ":                    rawJWT(alice, `{"alg":"EdDSA","typ":"JWT"}`, rawClaims("")),
		"kid of another":         signJWTWith(t, jwt.SigningMethodEdDSA, alice, map[string]any{"kid": hexOf(mallory)}, goodClaims(alice)),
		"jku, jwk and x5c":       signJWTWith(t, jwt.SigningMethodEdDSA, alice, map[string]any{"jku": "https://example/", "jwk": jwkOf(mallory), "x5c": []string{"MII"}}, goodClaims(alice)),
		"claims in another case": rawJWT(alice, eddsa, rawClaims(`,"SUB":"`+hexOf(mallory)+`","Exp":1`)),
	}
	for name, token := range tests {
		t.Run(name, func(t *testing.T) {
			v, _ := testVerifier()
			caller, err := v.Identify(testPolicy(t, alice), remotePeer, request("Authorization", "Bearer "+token))
			if err != nil || caller.String() != hexOf(alice) {
				t.Errorf("got %s, %v", caller.String(), err)
			}
		})
	}
}

func jwkOf(key ed25519.PrivateKey) map[string]any {
	x := base64.RawURLEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	return map[string]any{"kty": "OKP", "crv": "Ed25519", "x": x}
}

func TestJWTRefuses(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	publicKey, _ := hex.DecodeString(hexOf(alice))
	good := signJWT(t, alice, goodClaims(alice))
	header, rest, _ := strings.Cut(good, ".")
	payload, sum, _ := strings.Cut(rest, ".")
	upper := goodClaims(alice)
	upper["sub"] = strings.ToUpper(hexOf(alice))
	tests := []struct {
		name, token, why string
	}{
		// Keys and algorithms.
		{"signed by another key", signJWT(t, bob, goodClaims(alice)), "signature is invalid"},
		{"sub is a stranger", signJWT(t, mallory, goodClaims(mallory)), "no key that the ACL file names"},
		{"no sub", signJWT(t, alice, with("sub", nil)), "no key that the ACL file names"},
		{"empty sub", signJWT(t, alice, with("sub", "")), "no key that the ACL file names"},
		{"sub is a uid", signJWT(t, alice, with("sub", "uid:0")), "no key that the ACL file names"},
		{"sub in capitals", signJWT(t, alice, upper), "no key that the ACL file names"},
		{"sub is a number", signJWT(t, alice, with("sub", 1)), "claims are malformed"},
		{"alg none", signJWTWith(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, goodClaims(alice)), "signature is invalid"},
		{"alg none in the header, signed", rawJWT(alice, `{"alg":"none"}`, rawClaims("")), "signature is invalid"},
		{"alg None", rawJWT(alice, `{"alg":"None"}`, rawClaims("")), "unverifiable"},
		{"alg HS256 with the public key as secret", signJWTWith(t, jwt.SigningMethodHS256, publicKey, nil, goodClaims(alice)), "signature is invalid"},
		{"alg HS256 with the key's hex as secret", signJWTWith(t, jwt.SigningMethodHS256, []byte(hexOf(alice)), nil, goodClaims(alice)), "signature is invalid"},
		{"alg RS256", signJWTWith(t, jwt.SigningMethodRS256, rsaKey, nil, goodClaims(alice)), "signature is invalid"},
		{"alg eddsa", rawJWT(alice, `{"alg":"eddsa"}`, rawClaims("")), "unverifiable"},
		{"no alg", rawJWT(alice, `{}`, rawClaims("")), "unverifiable"},
		{"alg twice, none last", rawJWT(alice, `{"alg":"EdDSA","alg":"none"}`, rawClaims("")), "signature is invalid"},
		{"jwk of the forger", signJWTWith(t, jwt.SigningMethodEdDSA, mallory, map[string]any{"jwk": jwkOf(mallory), "kid": hexOf(mallory)}, goodClaims(alice)), "signature is invalid"},
		{"crit", signJWTWith(t, jwt.SigningMethodEdDSA, alice, map[string]any{"crit": []string{"exp"}}, goodClaims(alice)), "crit"},
		{"empty crit", signJWTWith(t, jwt.SigningMethodEdDSA, alice, map[string]any{"crit": []string{}}, goodClaims(alice)), "crit"},
		{"crit null", rawJWT(alice, `{"alg":"EdDSA","crit":null}`, rawClaims("")), "crit"},

		// Audience and times.
		{"other audience", signJWT(t, alice, with("aud", "node-2")), "aud does not name"},
		{"audience in another case", signJWT(t, alice, with("aud", "Node-1")), "aud does not name"},
		{"other audiences", signJWT(t, alice, with("aud", []string{"node-0", "node-2"})), "aud does not name"},
		{"no audience", signJWT(t, alice, with("aud", nil)), "aud does not name"},
		{"empty audience", signJWT(t, alice, with("aud", []string{})), "aud does not name"},
		{"audience is an object", signJWT(t, alice, with("aud", map[string]any{testNode: true})), "claims are malformed"},
		{"expired", signJWT(t, alice, with("exp", at(-time.Second))), "has expired"},
		{"expires now", signJWT(t, alice, with("exp", at(0))), "has expired"},
		{"no exp", signJWT(t, alice, with("exp", nil)), "missing"},
		{"no iat", signJWT(t, alice, with("iat", nil)), "missing"},
		{"25 hours", signJWT(t, alice, with("exp", at(25*time.Hour))), "more than 24h0m0s after iat"},
		{"24 hours and a second", signJWT(t, alice, with("exp", at(24*time.Hour+time.Second))), "more than 24h0m0s after iat"},
		{"issued in 6 s", signJWT(t, alice, with("iat", at(6*time.Second))), "iat is in the future"},
		{"not before 6 s from now", signJWT(t, alice, with("nbf", at(6*time.Second))), "nbf is in the future"},
		{"exp as a string", signJWT(t, alice, with("exp", "1780318800")), "claims are malformed"},
		{"exp beyond time", signJWT(t, alice, with("exp", 1e300)), "claims are malformed"},
		{"exp is null", rawJWT(alice, eddsa, strings.Replace(rawClaims(""), `"exp":1780318800`, `"exp":null`, 1)), "claims are malformed"},
		{"negative iat", signJWT(t, alice, with("iat", -1)), "claims are malformed"},
		{"nbf is true", signJWT(t, alice, with("nbf", true)), "claims are malformed"},

		// Form.
		{"claim twice", rawJWT(alice, eddsa, rawClaims(`,"exp":1780318800`)), "claims are malformed"},
		{"claims are an array", rawJWT(alice, eddsa, `[]`), "claims are malformed"},
		{"claims are null", rawJWT(alice, eddsa, `null`), "no key that the ACL file names"},
		{"claims are no JSON", rawJWT(alice, eddsa, `{"sub"`), "malformed"},
		{"more after the claims", rawJWT(alice, eddsa, rawClaims("")+"{}"), "malformed"},
		{"header is no JSON", rawJWT(alice, `{`, rawClaims("")), "malformed"},
		{"header is null", rawJWT(alice, `null`, rawClaims("")), "unverifiable"},
		{"two segments", header + "." + payload, "unknown"},
		{"four segments", good + "." + sum, "unknown"},
		{"no signature", header + "." + payload + ".", "signature is invalid"},
		{"signature cut", good[:len(good)-2], "signature is invalid"},
		{"signature of other claims", header + "." + payload + "." + lastSegment(signJWT(t, alice, with("exp", at(time.Minute)))), "signature is invalid"},
		{"padded", good + "==", "malformed"},
		{"base64 with other last bits", good[:len(good)-1] + string(good[len(good)-1]+1), "malformed"},
		{"dots", strings.Repeat(".", 2) + strings.Repeat("a", 30), "malformed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v, _ := testVerifier()
			_, err := v.Identify(testPolicy(t, alice, bob), userPeer(0), request("Authorization", "Bearer "+test.token))
			wantRefused(t, err, ErrInvalid, test.why, test.token, lastSegment(good), hexOf(mallory))
		})
	}
}

func lastSegment(token string) string { return token[strings.LastIndex(token, ".")+1:] }

func TestJWTWithoutNodeName(t *testing.T) {
	c := &clock{testNow}
	v := NewVerifier("", testNow.Add(-time.Hour), c.Now)
	_, err := v.Identify(testPolicy(t, alice), remotePeer, request("Authorization", "Bearer "+signJWT(t, alice, with("aud", ""))))
	wantRefused(t, err, ErrInvalid, "has no name")
}

// A JWT is good until it expires, as often as it is used.
func TestJWTMayBeUsedAgain(t *testing.T) {
	v, c := testVerifier()
	p := testPolicy(t, alice)
	r := request("Authorization", "Bearer "+signJWT(t, alice, goodClaims(alice)))
	for range 2 {
		if _, err := v.Identify(p, remotePeer, r); err != nil {
			t.Fatal(err)
		}
	}
	c.advance(time.Hour)
	_, err := v.Identify(p, remotePeer, r)
	wantRefused(t, err, ErrInvalid, "has expired")
}

// When the ACL file no longer names the key, its tokens are worth nothing.
func TestJWTFollowsPolicy(t *testing.T) {
	v, _ := testVerifier()
	r := request("Authorization", "Bearer "+signJWT(t, alice, goodClaims(alice)))
	_, err := v.Identify(testPolicy(t, bob), remotePeer, r)
	wantRefused(t, err, ErrInvalid, "no key that the ACL file names")
}
