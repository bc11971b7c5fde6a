package identity

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/geomind/my_os_server/pkg/acl"
)

// Lengths of a bearer token in bytes. With the 68 characters that RFC 6750 allows, 22 are the fewest that can
// hold 128 random bits; a shorter one can be guessed, whatever the ACL file says.
const (
	minToken = 22
	maxToken = 8 << 10
)

// bearer checks an Authorization header and returns the caller whom its token proves. What the ACL file lists
// is an opaque token; what it does not list may be a JWT.
func (v *Verifier) bearer(p *acl.Policy, header string) (acl.Caller, error) {
	token, err := bearerToken(header)
	if err != nil {
		return acl.Caller{}, err
	}
	name, expires, listed := p.TokenBySum(sha256.Sum256([]byte(token)))
	switch {
	case listed && !v.now().Before(expires):
		return acl.Caller{}, fmt.Errorf("token %q has expired at %s: %w", name, expires.UTC().Format(time.RFC3339), ErrInvalid)
	case listed:
		return acl.Caller{Kind: acl.KindToken, Token: name}, nil
	case strings.Count(token, ".") != 2:
		return acl.Caller{}, fmt.Errorf("bearer token is unknown: %w", ErrInvalid)
	}
	key, err := v.jwt(p, token)
	if err != nil {
		return acl.Caller{}, err
	}
	return acl.Caller{Kind: acl.KindKey, Key: key}, nil
}

// bearerToken takes the token out of an Authorization header (RFC 6750, section 2.1). The name of the scheme
// may be in any case (RFC 9110, section 11.1).
func bearerToken(header string) (string, error) {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", fmt.Errorf("%s has another scheme than Bearer: %w", headerAuthorization, ErrInvalid)
	}
	token = strings.TrimLeft(token, " ")
	switch {
	case len(token) < minToken:
		return "", fmt.Errorf("bearer token is shorter than %d characters, too few for 128 random bits: %w", minToken, ErrInvalid)
	case len(token) > maxToken:
		return "", fmt.Errorf("bearer token is longer than %d bytes: %w", maxToken, ErrInvalid)
	case !isToken68(token):
		return "", fmt.Errorf("bearer token has characters that none may have: %w", ErrInvalid)
	}
	return token, nil
}

// isToken68 reports whether s is 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"=".
func isToken68(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case strings.IndexByte("-._~+/", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
