package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
)

// Fingerprint names the key of a certificate, and by it a server: SHA-256 of the SubjectPublicKeyInfo (RFC 5280,
// 4.1.2.7), 64 hex digits. It stays the same when a certificate is made anew for the same key.
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}
