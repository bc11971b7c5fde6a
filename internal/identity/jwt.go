package identity

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/geomind/my_os_server/pkg/acl"
)

// A JWT (RFC 7519) is taken as proof of a public key that the policy names:
//
//	alg  EdDSA, nothing else
//	sub  the key, 64 lower-case hex digits; the token is verified by it and by no other
//	aud  names this node, alone or among others
//	iat  required, not in the future
//	exp  required, in the future and at most 24 hours after iat
//	nbf  optional, not in the future
//
// iat and nbf may be ahead by the allowed skew. Headers that offer a key (kid, jwk, jku, x5c) are not looked
// at. With crit (RFC 7515, section 4.1.11) the token is refused: it asks for an extension to be understood,
// and none is.

// maxSpan is the longest time from iat to exp.
const maxSpan = 24 * time.Hour

// jwtParser checks form, algorithm and signature; the claims are checked by claims.check.
var jwtParser = jwt.NewParser(
	jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}),
	jwt.WithStrictDecoding(),
	jwt.WithoutClaimsValidation(),
)

// jwt checks a JWT and returns the key that it proves, in lower-case hex.
func (v *Verifier) jwt(p *acl.Policy, token string) (string, error) {
	if v.node == "" {
		return "", fmt.Errorf("JWT: this node has no name: %w", ErrInvalid)
	}
	var c claims
	_, err := jwtParser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) { return jwtKey(p, t) })
	if err != nil {
		return "", fmt.Errorf("JWT: %s: %w", jwtReason(err), ErrInvalid)
	}
	if err := c.check(v.node, v.now()); err != nil {
		return "", fmt.Errorf("JWT of %s: %w: %w", c.Subject, err, ErrInvalid)
	}
	return c.Subject, nil
}

// The reasons of jwtKey.
var (
	errCritical     = errors.New("crit asks for an extension")
	errUnknownKey   = errors.New("sub is no key that the ACL file names")
	errClaimsSyntax = errors.New("claims are malformed")
)

// jwtKey is the key to verify a token by: the one that sub names, and the policy too.
func jwtKey(p *acl.Policy, t *jwt.Token) (any, error) {
	if _, critical := t.Header["crit"]; critical {
		return nil, errCritical
	}
	c := t.Claims.(*claims)
	if !p.KnowsKey(c.Subject) {
		return nil, errUnknownKey
	}
	return acl.ParseKey(c.Subject)
}

// jwtReason is why the library refused a token, in words that have nothing from the token in them.
func jwtReason(err error) string {
	for _, reason := range []error{
		errCritical,
		errUnknownKey,
		errClaimsSyntax,
		jwt.ErrTokenMalformed,
		jwt.ErrTokenUnverifiable,
		jwt.ErrTokenSignatureInvalid,
	} {
		if errors.Is(err, reason) {
			return reason.Error()
		}
	}
	return "is refused"
}

// claims are the claims of a JWT. Times that are absent are nil.
type claims struct {
	jwt.RegisteredClaims
}

// UnmarshalJSON reads the claims that count and ignores others. Unlike encoding/json with a struct it takes
// names in their exact case only and refuses a name that stands there twice, so that a token means the same
// to everyone.
func (c *claims) UnmarshalJSON(data []byte) error {
	values, err := readMembers(data)
	if err != nil {
		return errClaimsSyntax
	}
	read := func(name string, into any) {
		if value, present := values[name]; present && err == nil {
			err = json.Unmarshal(value, into)
		}
	}
	var iat, exp, nbf numericDate
	read("sub", &c.Subject)
	read("aud", &c.Audience)
	read("iat", &iat)
	read("exp", &exp)
	read("nbf", &nbf)
	c.IssuedAt, c.ExpiresAt, c.NotBefore = iat.date, exp.date, nbf.date
	if err != nil {
		return errClaimsSyntax
	}
	return nil
}

// readMembers returns the members of a JSON object by name.
func readMembers(data []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not an object")
	}
	members := map[string]json.RawMessage{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name := t.(string) // where a value could be read there is a name, and names are strings
		if _, twice := members[name]; twice {
			return nil, errors.New("a member stands there twice")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		members[name] = value
	}
	return members, nil
}

// numericDate is a NumericDate of RFC 7519, section 2: seconds since 1970, fractions allowed.
type numericDate struct {
	date *jwt.NumericDate
}

// latest is the last second of the year 9999.
const latest = 253402300799

// UnmarshalJSON takes numbers from 0 to latest. The library's own type takes any number and makes undefined
// times of large ones.
func (d *numericDate) UnmarshalJSON(data []byte) error {
	var seconds float64
	if !strings.ContainsRune("0123456789", rune(data[0])) {
		return errClaimsSyntax
	}
	if err := json.Unmarshal(data, &seconds); err != nil || seconds > latest {
		return errClaimsSyntax
	}
	whole, fraction := math.Modf(seconds)
	d.date = &jwt.NumericDate{Time: time.Unix(int64(whole), int64(fraction*1e9))}
	return nil
}

// check says what is wrong with the claims of a token whose signature is right.
func (c *claims) check(node string, now time.Time) error {
	switch {
	case !slices.Contains(c.Audience, node):
		return errors.New("aud does not name this node")
	case c.IssuedAt == nil || c.ExpiresAt == nil:
		return errors.New("iat or exp is missing")
	case c.ExpiresAt.Sub(c.IssuedAt.Time) > maxSpan:
		return fmt.Errorf("exp is more than %v after iat", maxSpan)
	case !now.Before(c.ExpiresAt.Time):
		return errors.New("has expired")
	case c.IssuedAt.After(now.Add(skew)):
		return errors.New("iat is in the future")
	case c.NotBefore != nil && c.NotBefore.After(now.Add(skew)):
		return errors.New("nbf is in the future")
	}
	return nil
}

// NewJWT makes a JWT as described above, signed by the key, for the node of the given name, with iat now and exp
// as much later as life, which must be at least a second and at most a day.
func NewJWT(key ed25519.PrivateKey, node string, now time.Time, life time.Duration) (string, error) {
	switch {
	case node == "":
		return "", errors.New("a JWT must name the node that it is for")
	case life < time.Second || life > maxSpan:
		return "", fmt.Errorf("a JWT must be good for 1s to %v, not %v", maxSpan, life)
	}
	iat := now.Truncate(time.Second)
	return jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{
		Subject:   hex.EncodeToString(key.Public().(ed25519.PublicKey)),
		Audience:  jwt.ClaimStrings{node},
		IssuedAt:  jwt.NewNumericDate(iat),
		ExpiresAt: jwt.NewNumericDate(iat.Add(life.Truncate(time.Second))),
	}).SignedString(key)
}
