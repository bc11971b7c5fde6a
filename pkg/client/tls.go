package client

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"

	"github.com/geomind/my_os_server/internal/identity"
)

// Remote is a server somewhere else, and who calls it.
type Remote struct {
	// Address is the server's host:port.
	Address string
	// Fingerprint is what the server is known by: the SHA-256 of its public key (SubjectPublicKeyInfo), 64 hex
	// digits. The daemon logs it, and Fingerprint finds it out.
	Fingerprint string
	// Key proves who calls, by a certificate that is made for each connection. Nil: a Credential does, or nothing.
	Key ed25519.PrivateKey
}

// ErrOtherServer is a server that has another key than the one it is known by.
var ErrOtherServer = errors.New("the server has another key than the one it is known by")

// TLS is the Dial to a server somewhere else, over TLS 1.3. The server is known by its fingerprint; who issued its
// certificate, and for which name, does not count.
func TLS(r Remote) (Dial, error) {
	want := strings.ToLower(r.Fingerprint)
	if sum, err := hex.DecodeString(want); err != nil || len(sum) != sha256.Size {
		return nil, fmt.Errorf("fingerprint %q: must be %d hex digits", r.Fingerprint, 2*sha256.Size)
	}
	if _, _, err := net.SplitHostPort(r.Address); err != nil {
		return nil, fmt.Errorf("address %q: must be HOST:PORT", r.Address)
	}
	config := pinned(func(shown string) error {
		if shown != want {
			return fmt.Errorf("%w: %s", ErrOtherServer, shown)
		}
		return nil
	})
	if r.Key != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificateOf(r.Key) }
	}
	d := &tls.Dialer{Config: config}
	return func(ctx context.Context) (net.Conn, error) { return d.DialContext(ctx, "tcp", r.Address) }, nil
}

// Fingerprint is that of the server which answers at an address now. Whether it is the right one is for the caller
// to find out by another way.
func Fingerprint(ctx context.Context, address string) (string, error) {
	var shown string
	d := &tls.Dialer{Config: pinned(func(s string) error { shown = s; return nil })}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	return shown, conn.Close()
}

// FingerprintOf is the fingerprint of a server with a certificate.
func FingerprintOf(c *x509.Certificate) string { return identity.Fingerprint(c) }

// pinned is a configuration that judges a server by its fingerprint alone; that it has the key, TLS has it prove.
func pinned(judge func(fingerprint string) error) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{"http/1.1"},
		InsecureSkipVerify: true, // of issuers and names; what follows verifies
		VerifyConnection:   func(s tls.ConnectionState) error { return judge(FingerprintOf(s.PeerCertificates[0])) },
	}
}

// certificateOf is a certificate of the key by itself, good for this connection. It begins some minutes ago, for
// servers whose clocks are behind.
func certificateOf(key ed25519.PrivateKey) (*tls.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: "my_os_server client"},
		NotBefore:    now.Add(-10 * time.Minute),
		NotAfter:     now.Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
