// Package identity finds out who makes a request. It takes what the kernel says of the connection (Peer) and
// what the request says of itself (Request), checks every proof, and returns an acl.Caller. What that caller
// may do is the business of package acl.
//
// A request has one identity:
//
//   - Without a credential it is the user of the host at the other end of the Unix socket, or anonymous
//     where there is none to be had: on TCP, and for the overflow uid.
//   - An explicit credential replaces the user and never adds to it: a public key, proven by the client's
//     certificate on TLS (certificate.go), by a signature over the request (signature.go) or vouched for by a
//     peer whose uid the policy trusts, or a bearer token, opaque or a JWT (bearer.go, jwt.go).
//   - A request that bears the marks of a relay (Forwarded, X-Forwarded-*, Via, X-Real-IP) has nothing from
//     the uid or the certificate of the peer, no trust either, and counts as remote: a relay that runs as root
//     must not make its visitors root.
//
// What it refuses: a credential that is presented and fails is an error, never anonymous; so are two
// credentials of different identities, a header of a credential that stands there twice, part of a
// signature without the rest, and any scheme of Authorization but Bearer. Errors wrap ErrNoProof or
// ErrInvalid. Those two are what a caller may be told; the text around them is for the daemon's log. It
// holds no secret and nothing that an unproven caller wrote.
package identity

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/geomind/my_os_server/pkg/acl"
)

// Why a request is not authenticated.
var (
	// ErrNoProof is a claim without proof: a public key alone, from a peer that is not trusted to vouch.
	ErrNoProof = errors.New("no proof of the claimed identity")
	// ErrInvalid is a credential that is malformed, out of date, used before, unknown, or at odds with
	// another one.
	ErrInvalid = errors.New("invalid credential")
)

// skew is how far a client's clock may be ahead of ours.
const skew = 5 * time.Second

// Request is what is signed of an HTTP request, and where its credentials stand.
type Request struct {
	Method string // HTTP method
	Path   string // path of the request target, without query
	Header http.Header
	Body   []byte // as it came
}

// Verifier checks credentials. It remembers the signatures that it has seen, so that each counts once. It may
// be used by any number of goroutines.
type Verifier struct {
	node      string
	daemonUID uint32
	now       func() time.Time
	replays   *replayGuard
}

// NewVerifier makes a Verifier for the node of the given name, to which signatures and JWTs must be addressed;
// where it is empty, all of those are refused. start is when the daemon started: signatures from before, and
// up to the allowed skew after it, are refused because an earlier daemon may have seen them. now is the wall
// clock.
func NewVerifier(node string, start time.Time, now func() time.Time) *Verifier {
	return &Verifier{
		node:      node,
		daemonUID: uint32(os.Geteuid()),
		now:       now,
		replays:   newReplayGuard(start),
	}
}

// Identify says who makes the request that came over the peer's connection. Every error wraps ErrNoProof or
// ErrInvalid; the caller beside it means nothing.
func (v *Verifier) Identify(p *acl.Policy, peer *Peer, r *Request) (acl.Caller, error) {
	c, err := readCredentials(r.Header)
	if err != nil {
		return acl.Caller{}, err
	}
	var callers []acl.Caller
	if peer.Key != "" && !c.relayed {
		if !v.now().Before(peer.KeyExpires) {
			return acl.Caller{}, fmt.Errorf("client certificate of %s: ended at %s: %w", peer.Key, peer.KeyExpires.UTC().Format(time.RFC3339), ErrInvalid)
		}
		callers = append(callers, acl.Caller{Kind: acl.KindKey, Key: peer.Key})
	}
	if c.claimsKey() {
		key, err := v.key(p, peer, r, &c)
		if err != nil {
			return acl.Caller{}, err
		}
		callers = append(callers, acl.Caller{Kind: acl.KindKey, Key: key})
	}
	if c.authorization != nil {
		caller, err := v.bearer(p, *c.authorization)
		if err != nil {
			return acl.Caller{}, err
		}
		callers = append(callers, caller)
	}
	return settle(peer, c.relayed, callers)
}

// Known tells, before the body of a request has been read, whether the request may well be one of somebody
// whom the policy names: by the peer's certificate, by a token, or by a public key that is only claimed as yet.
// It proves nothing but that a large body is worth being read.
func (v *Verifier) Known(p *acl.Policy, peer *Peer, h http.Header) bool {
	c, err := readCredentials(h)
	if err != nil {
		return false
	}
	if c.authorization != nil {
		_, err := v.bearer(p, *c.authorization)
		return err == nil
	}
	if c.publicKey != nil {
		return p.KnowsKey(strings.ToLower(*c.publicKey))
	}
	return peer.Key != "" && p.KnowsKey(peer.Key)
}

// settle turns the callers that a request's explicit credentials have proven into the one that counts.
func settle(peer *Peer, relayed bool, callers []acl.Caller) (acl.Caller, error) {
	switch {
	case len(callers) == 0 && relayed:
		return acl.Caller{}, nil
	case len(callers) == 0:
		return peer.Caller(), nil
	}
	caller := callers[0]
	for _, other := range callers[1:] {
		if other.String() != caller.String() {
			return acl.Caller{}, fmt.Errorf("credentials of %s and of %s in one request: %w", caller.String(), other.String(), ErrInvalid)
		}
	}
	caller.Local = peer.Local && !relayed
	return caller, nil
}

// key checks the claim to a public key and returns the key in lower-case hex.
func (v *Verifier) key(p *acl.Policy, peer *Peer, r *Request, c *credentials) (string, error) {
	if c.signature != nil || c.timestamp != nil || c.nonce != nil {
		return v.signed(p, r, c)
	}
	key, _, err := readKey(*c.publicKey)
	if err != nil {
		return "", err
	}
	if peer.Key == key && !c.relayed {
		return key, nil // the certificate has proven it
	}
	if c.relayed || !peer.HasUID || !p.TrustsUID(peer.UID, v.daemonUID) {
		return "", fmt.Errorf("public key %s without a signature: %w", key, ErrNoProof)
	}
	return key, nil
}
