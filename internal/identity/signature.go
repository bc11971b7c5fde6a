package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/geomind/my_os_server/pkg/acl"
)

// A signed request has four headers:
//
//	X-Public-Key  ed25519 public key of the signer, 64 hex digits
//	X-Timestamp   when it was signed: Unix time in milliseconds, decimal
//	X-Nonce       32 hex digits that the signer has not used before
//	X-Signature   ed25519 signature (RFC 8032), 128 hex digits
//
// The signature is over these seven lines, joined by LF, with none at the end:
//
//	my_os_server-request-v1
//	name of the node that the request is for
//	HTTP method
//	path
//	SHA-256 of the body, 64 lower-case hex digits
//	timestamp, as in its header
//	nonce, as in its header
const signatureScheme = "my_os_server-request-v1"

// maxAge is how long a signature is good for.
const maxAge = 60 * time.Second

// nonce is the decoded X-Nonce.
type nonce [16]byte

// signature is a signed request's proof, decoded but not checked.
type signature struct {
	keyHex string
	key    ed25519.PublicKey
	time   int64 // Unix ms
	nonce  nonce
	sum    [ed25519.SignatureSize]byte
	text   []byte // what is signed
}

// signed checks the signature of a request and returns the signer's key. A key that the policy names can use
// each signature once. One that it does not name has no more than an anonymous caller, so that a replay
// gains nothing.
func (v *Verifier) signed(p *acl.Policy, r *Request, c *credentials) (string, error) {
	if v.node == "" {
		return "", fmt.Errorf("signature: this node has no name: %w", ErrInvalid)
	}
	s, err := readSignature(v.node, r, c)
	if err != nil {
		return "", err
	}
	now := v.now()
	switch age := now.Sub(time.UnixMilli(s.time)); {
	case age > maxAge:
		return "", fmt.Errorf("signature of %s is %v old: %w", s.keyHex, age, ErrInvalid)
	case age < -skew:
		return "", fmt.Errorf("signature of %s is %v in the future: %w", s.keyHex, -age, ErrInvalid)
	}
	if !ed25519.Verify(s.key, s.text, s.sum[:]) {
		return "", fmt.Errorf("signature does not verify by %s: %w", s.keyHex, ErrInvalid)
	}
	if err := v.replays.use(p, s.keyHex, s.nonce, s.time, now); err != nil {
		return "", fmt.Errorf("signature of %s: %w: %w", s.keyHex, err, ErrInvalid)
	}
	return s.keyHex, nil
}

// readSignature decodes the four headers and puts together what is signed.
func readSignature(node string, r *Request, c *credentials) (*signature, error) {
	if c.publicKey == nil || c.timestamp == nil || c.nonce == nil || c.signature == nil {
		return nil, fmt.Errorf("signature: not all of its four headers are there: %w", ErrInvalid)
	}
	var s signature
	var err error
	if s.keyHex, s.key, err = readKey(*c.publicKey); err != nil {
		return nil, err
	}
	if s.time, err = strconv.ParseInt(*c.timestamp, 10, 64); err != nil || s.time < 0 || strconv.FormatInt(s.time, 10) != *c.timestamp {
		return nil, fmt.Errorf("%s is no Unix time in milliseconds: %w", headerTimestamp, ErrInvalid)
	}
	if !decodeHex(s.nonce[:], *c.nonce) {
		return nil, fmt.Errorf("%s is not 32 hex digits: %w", headerNonce, ErrInvalid)
	}
	if !decodeHex(s.sum[:], *c.signature) {
		return nil, fmt.Errorf("%s is not 128 hex digits: %w", headerSignature, ErrInvalid)
	}
	if strings.Contains(r.Method+r.Path, "\n") {
		return nil, fmt.Errorf("signature: a line break in method or path: %w", ErrInvalid)
	}
	s.text = signedText(node, r, *c.timestamp, *c.nonce)
	return &s, nil
}

// signedText is what the signature is over. None of the lines has a line break in it.
func signedText(node string, r *Request, timestamp, nonce string) []byte {
	sum := sha256.Sum256(r.Body)
	return []byte(strings.Join([]string{
		signatureScheme,
		node,
		r.Method,
		r.Path,
		hex.EncodeToString(sum[:]),
		timestamp,
		nonce,
	}, "\n"))
}

// decodeHex fills dst from exactly as many hex digits as it takes.
func decodeHex(dst []byte, s string) bool {
	if len(s) != hex.EncodedLen(len(dst)) {
		return false
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}

// Sign adds a proof of the key to a request for the node of the given name: the four headers described above,
// with a fresh random nonce. The request must not change afterwards, and is good for one use within a minute
// of now.
func Sign(key ed25519.PrivateKey, node string, r *Request, now time.Time) {
	var n nonce
	rand.Read(n[:]) // never fails, see crypto/rand.Read
	timestamp := strconv.FormatInt(now.UnixMilli(), 10)
	nonce := hex.EncodeToString(n[:])
	sum := ed25519.Sign(key, signedText(node, r, timestamp, nonce))
	if r.Header == nil {
		r.Header = http.Header{}
	}
	r.Header.Set(headerPublicKey, hex.EncodeToString(key.Public().(ed25519.PublicKey)))
	r.Header.Set(headerTimestamp, timestamp)
	r.Header.Set(headerNonce, nonce)
	r.Header.Set(headerSignature, hex.EncodeToString(sum))
}
