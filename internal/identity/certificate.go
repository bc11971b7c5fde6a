package identity

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/geomind/my_os_server/pkg/acl"
)

// CertificateKey is the public key that a client's certificate speaks for, as ACL files write it. The leaf alone
// counts, whoever issued it: TLS has proven that the client holds the key, and it is the key that the ACL names.
// now must be between its dates. Where issuers are given, one of them must have issued it, for TLS clients.
func CertificateKey(leaf *x509.Certificate, issuers *x509.CertPool, others []*x509.Certificate, now time.Time) (string, error) {
	public, ok := leaf.PublicKey.(ed25519.PublicKey)
	if !ok {
		return "", fmt.Errorf("client certificate: its key is %v, not Ed25519: %w", leaf.PublicKeyAlgorithm, ErrInvalid)
	}
	key := hex.EncodeToString(public)
	if _, err := acl.ParseKey(key); err != nil {
		return "", fmt.Errorf("client certificate: its key is %w: %w", err, ErrInvalid)
	}
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return "", fmt.Errorf("client certificate of %s: good from %s to %s: %w", key,
			leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339), ErrInvalid)
	}
	if issuers != nil {
		if err := issued(leaf, issuers, others, now); err != nil {
			return "", fmt.Errorf("client certificate of %s: %w: %w", key, err, ErrInvalid)
		}
	}
	return key, nil
}

func issued(leaf *x509.Certificate, issuers *x509.CertPool, others []*x509.Certificate, now time.Time) error {
	between := x509.NewCertPool()
	for _, c := range others {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: issuers, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}

// JudgeClient makes the judgement of clients that a TLS listener asks for during the handshake: who shows no
// certificate is let in, to show another credential or none; who shows one that does not count is not. issuers
// are those whose certificates alone are taken; nil: anyone's.
func JudgeClient(issuers *x509.CertPool, now func() time.Time) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return nil
		}
		_, err := CertificateKey(s.PeerCertificates[0], issuers, s.PeerCertificates[1:], now())
		return err
	}
}

// certified is the peer of a TLS connection, whose handshake has judged its certificate.
func certified(s tls.ConnectionState) (Peer, error) {
	if !s.HandshakeComplete {
		return Peer{}, fmt.Errorf("peer of a TLS connection: its handshake is not done")
	}
	if len(s.PeerCertificates) == 0 {
		return Peer{}, nil
	}
	leaf := s.PeerCertificates[0]
	public, ok := leaf.PublicKey.(ed25519.PublicKey)
	if !ok {
		return Peer{}, fmt.Errorf("peer of a TLS connection: a certificate with a key of %v was let in", leaf.PublicKeyAlgorithm)
	}
	return Peer{Key: hex.EncodeToString(public), KeyExpires: leaf.NotAfter}, nil
}
