package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/pkg/acl"
)

// certificate makes one for key that is good for an hour around testNow, by an issuer; nil: by itself.
func certificate(t testing.TB, key crypto.Signer, issuer *x509.Certificate, by crypto.Signer) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "somebody"},
		NotBefore: testNow.Add(-30 * time.Minute), NotAfter: testNow.Add(30 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if issuer == nil {
		issuer, by = template, key
		template.IsCA, template.BasicConstraintsValid = true, true
		template.KeyUsage |= x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCertificateKey(t *testing.T) {
	authority, between := testKey('c'), testKey('i')
	root := certificate(t, authority, nil, nil)
	issuers := x509.NewCertPool()
	issuers.AddCert(root)
	intermediate := certificate(t, between, nil, nil) // an authority of its own, which root does not vouch for
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		leaf    *x509.Certificate
		issuers *x509.CertPool
		others  []*x509.Certificate
		now     time.Time
		err     string
	}{
		{"self-signed", certificate(t, alice, nil, nil), nil, nil, testNow, ""},
		{"issued by anyone", certificate(t, alice, root, authority), nil, nil, testNow, ""},
		{"issued by the one", certificate(t, alice, root, authority), issuers, nil, testNow, ""},
		{"self-signed where an issuer is asked for", certificate(t, alice, nil, nil), issuers, nil, testNow, "unknown authority"},
		{"issued by another", certificate(t, alice, intermediate, between), issuers, []*x509.Certificate{intermediate}, testNow, "unknown authority"},
		{"another kind of key", certificate(t, p256, nil, nil), nil, nil, testNow, "its key is ECDSA, not Ed25519"},
		{"too early", certificate(t, alice, nil, nil), nil, nil, testNow.Add(-31 * time.Minute), "good from"},
		{"too late", certificate(t, alice, nil, nil), nil, nil, testNow.Add(31 * time.Minute), "good from"},
	} {
		t.Run(test.name, func(t *testing.T) {
			key, err := CertificateKey(test.leaf, test.issuers, test.others, test.now)
			switch {
			case test.err == "" && (err != nil || key != hexOf(alice)):
				t.Errorf("%q, %v", key, err)
			case test.err != "" && (err == nil || !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), test.err)):
				t.Errorf("%q, %v, want %q", key, err, test.err)
			}
		})
	}
}

// TestPeerOfTLS: what a client has proven in a real handshake is what is known of it.
func TestPeerOfTLS(t *testing.T) {
	now := func() time.Time { return testNow }
	server := tls.Certificate{Certificate: [][]byte{certificate(t, bob, nil, nil).Raw}, PrivateKey: bob}
	config := &tls.Config{
		Certificates: []tls.Certificate{server}, MinVersion: tls.VersionTLS13,
		ClientAuth: tls.RequestClientCert, VerifyConnection: JudgeClient(nil, now),
	}
	for name, test := range map[string]struct {
		client []tls.Certificate
		want   Peer
	}{
		"without a certificate": {nil, Peer{}},
		"with one":              {[]tls.Certificate{{Certificate: [][]byte{certificate(t, alice, nil, nil).Raw}, PrivateKey: alice}}, Peer{Key: hexOf(alice), KeyExpires: testNow.Add(30 * time.Minute)}},
	} {
		t.Run(name, func(t *testing.T) {
			here, there := tcpPair(t)
			client := tls.Client(there, &tls.Config{InsecureSkipVerify: true, Certificates: test.client})
			go client.Handshake()
			s := tls.Server(here, config)
			if _, err := PeerOf(s); err == nil {
				t.Error("a peer is known before the handshake")
			}
			if err := s.Handshake(); err != nil {
				t.Fatal(err)
			}
			got, err := PeerOf(s)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func tcpPair(t *testing.T) (here, there net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if there, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { there.Close() })
	if here, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close() })
	return here, there
}

func TestIdentifyCertified(t *testing.T) {
	a, b := hexOf(alice), hexOf(bob)
	byAlice := &Peer{Key: a, KeyExpires: testNow.Add(time.Minute)}
	expired := &Peer{Key: a, KeyExpires: testNow}
	token := "Bearer " + goodToken
	aliceIs := "Bearer " + signJWT(t, alice, goodClaims(alice))
	for _, test := range []struct {
		name string
		peer *Peer
		r    *Request
		want acl.Caller
		err  error
	}{
		{"certificate", byAlice, request(), keyCaller(a, false), nil},
		{"expired under way", expired, request(), acl.Caller{}, ErrInvalid},
		{"and the same key claimed", byAlice, request("X-Public-Key", a), keyCaller(a, false), nil},
		{"and another key claimed", byAlice, request("X-Public-Key", b), acl.Caller{}, ErrNoProof},
		{"and a signature of it", byAlice, signedBy(alice, testNow), keyCaller(a, false), nil},
		{"and a bad signature of it", byAlice, tampered(signedBy(alice, testNow)), acl.Caller{}, ErrInvalid},
		{"and another's signature", byAlice, signedBy(bob, testNow), acl.Caller{}, ErrInvalid},
		{"and a JWT of it", byAlice, request("Authorization", aliceIs), keyCaller(a, false), nil},
		{"and a token", byAlice, request("Authorization", token), acl.Caller{}, ErrInvalid},
		{"of a relay", byAlice, request("Via", "1.1 relay"), acl.Caller{}, nil},
		{"of a relay that vouches", byAlice, request("Via", "1.1 relay", "X-Public-Key", a), acl.Caller{}, ErrNoProof},
		{"of a relay, signed by its client", byAlice, signedBy(bob, testNow, "Via", "1.1 relay"), keyCaller(b, false), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, _ := testVerifier()
			got, err := v.Identify(testPolicy(t, alice, bob), test.peer, test.r)
			if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
				t.Fatalf("error %v, want %v", err, test.err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("caller (-want +got):\n%s", diff)
			}
		})
	}
}

func TestKnown(t *testing.T) {
	a, m := hexOf(alice), hexOf(mallory)
	for _, test := range []struct {
		name  string
		peer  *Peer
		r     *Request
		known bool
	}{
		{"nothing", remotePeer, request(), false},
		{"a named certificate", &Peer{Key: a}, request(), true},
		{"another certificate", &Peer{Key: m}, request(), false},
		{"a named claim", remotePeer, request("X-Public-Key", strings.ToUpper(a)), true},
		{"another claim", remotePeer, request("X-Public-Key", m), false},
		{"a good token", remotePeer, request("Authorization", "Bearer "+goodToken), true},
		{"an expired token", remotePeer, request("Authorization", "Bearer "+expiredToken), false},
		{"a good JWT", remotePeer, request("Authorization", "Bearer "+signJWT(t, alice, goodClaims(alice))), true},
		{"a JWT of nobody", remotePeer, request("Authorization", "Bearer "+signJWT(t, mallory, goodClaims(mallory))), false},
		{"two claims", remotePeer, doubled(request("X-Public-Key", a), "X-Public-Key"), false},
	} {
		v, _ := testVerifier()
		if got := v.Known(testPolicy(t, alice), test.peer, test.r.Header); got != test.known {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}
