package identity

import (
	"crypto/ed25519"
	"fmt"
	"net/http"
	"strings"

	"github.com/geomind/my_os_server/pkg/acl"
)

// The headers of credentials.
const (
	headerAuthorization = "Authorization"
	headerPublicKey     = "X-Public-Key"
	headerTimestamp     = "X-Timestamp"
	headerNonce         = "X-Nonce"
	headerSignature     = "X-Signature"
)

// relayPrefix begins the names of all X-Forwarded headers.
const relayPrefix = "X-Forwarded"

// HasCredentials reports whether a request has anything that Identify must look at: a header of a credential,
// whole or not, or a mark of a relay. Where it has none, the caller is the peer's (Peer.Caller), and
// Identify need not be asked. It allocates nothing. A server that decides that as it reads the headers may take
// more names for credentials than this does, and never fewer.
func HasCredentials(h http.Header) bool {
	for name := range h {
		if isRelayHeader(name) || new(credentials).place(name) != nil {
			return true
		}
	}
	return false
}

// isRelayHeader reports whether a header says that the request has passed through a relay: Forwarded (RFC
// 7239), Via (RFC 9110, section 7.6.3) and the X-Forwarded and X-Real-IP that relays have long used.
func isRelayHeader(name string) bool {
	return strings.EqualFold(name, "Forwarded") ||
		strings.EqualFold(name, "Via") ||
		strings.EqualFold(name, "X-Real-IP") ||
		len(name) >= len(relayPrefix) && strings.EqualFold(name[:len(relayPrefix)], relayPrefix)
}

// credentials are the values of the headers that count; nil where a header is absent. One that is there but
// empty is present all the same.
type credentials struct {
	relayed       bool
	authorization *string
	publicKey     *string
	timestamp     *string
	nonce         *string
	signature     *string
}

// readCredentials takes the headers that count out of h. It compares names without regard to case, whatever
// form the map's keys are in, and refuses a credential's header that stands there twice.
func readCredentials(h http.Header) (credentials, error) {
	var c credentials
	for name, values := range h {
		if isRelayHeader(name) {
			c.relayed = true
			continue
		}
		place := c.place(name)
		if place == nil || len(values) == 0 {
			continue
		}
		if *place != nil || len(values) > 1 {
			return c, fmt.Errorf("%s stands there twice: %w", http.CanonicalHeaderKey(name), ErrInvalid)
		}
		*place = &values[0]
	}
	return c, nil
}

// place is where the value of a header belongs, or nil.
func (c *credentials) place(name string) **string {
	switch {
	case strings.EqualFold(name, headerAuthorization):
		return &c.authorization
	case strings.EqualFold(name, headerPublicKey):
		return &c.publicKey
	case strings.EqualFold(name, headerTimestamp):
		return &c.timestamp
	case strings.EqualFold(name, headerNonce):
		return &c.nonce
	case strings.EqualFold(name, headerSignature):
		return &c.signature
	}
	return nil
}

// claimsKey reports whether the request claims to come from the holder of a public key, if only by part of a
// signature.
func (c *credentials) claimsKey() bool {
	return c.publicKey != nil || c.timestamp != nil || c.nonce != nil || c.signature != nil
}

// readKey decodes an X-Public-Key header. Capitals are taken for what they mean; the key that comes back is
// in lower case, as ACL files have it.
func readKey(value string) (string, ed25519.PublicKey, error) {
	value = strings.ToLower(value)
	key, err := acl.ParseKey(value)
	if err != nil {
		return "", nil, fmt.Errorf("%s is %w: %w", headerPublicKey, err, ErrInvalid)
	}
	return value, key, nil
}
