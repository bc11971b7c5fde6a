package daemon

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/geomind/my_os_server/internal/identity"
	"github.com/geomind/my_os_server/internal/tlssock"
)

// tlsFolder is where in the state folder a certificate of the daemon's own making stands.
const tlsFolder = "tls"

// openTLS listens for callers from elsewhere, where the configuration asks for it. The key that the server is
// known by is logged, so that clients can be told whom to trust.
func (d *daemon) openTLS(stateDir string) error {
	if len(d.config.Listen) == 0 {
		return nil
	}
	keeper, err := d.certificate(stateDir)
	if err != nil {
		return err
	}
	issuers, err := clientIssuers(d.config.TLS.ClientCA)
	if err != nil {
		return err
	}
	o := tlssock.Options{
		Certificate: keeper.Get,
		Verify:      identity.JudgeClient(issuers, time.Now),
		Failed:      d.handshakeFailed,
	}
	for _, address := range d.config.Listen {
		l, err := tlssock.Listen(address, o)
		if err != nil {
			return err
		}
		d.keep(l)
		d.log.Info().Stringer("address", l.Addr()).Str("fingerprint", identity.Fingerprint(keeper.Leaf())).Msg("listening for TLS")
	}
	if d.config.ACL == "" {
		d.log.Warn().Msg("without an ACL file callers from elsewhere may do nothing")
	}
	return nil
}

// certificate is the configured one, or one of the daemon's own making.
func (d *daemon) certificate(stateDir string) (*tlssock.Keeper, error) {
	files := tlssock.Files{Certificate: d.config.TLS.Certificate, Key: d.config.TLS.Key}
	if files.Certificate == "" {
		var err error
		if files, err = tlssock.Make(filepath.Join(stateDir, tlsFolder), d.nodeName()); err != nil {
			return nil, err
		}
	}
	return tlssock.Keep(files, func(err error) {
		d.log.Error().Err(err).Msg("new certificate refused, the one of before stays")
	})
}

// clientIssuers reads who must have issued clients' certificates; nil where anyone may.
func clientIssuers(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("tls.client_ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("tls.client_ca: %s: no certificate in it", path)
	}
	return pool, nil
}

// handshakeFailed records a connection that did not come about. Certificates that do not count are worth a
// look; the rest is what every open port sees.
func (d *daemon) handshakeFailed(from netip.Addr, err error) {
	d.server.HandshakeFailed()
	line := d.log.Debug()
	if errors.Is(err, identity.ErrInvalid) {
		line = d.log.Info()
	}
	line.Stringer("from", from).Err(err).Msg("TLS connection refused")
}
