package cli

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/geomind/my_os_server/pkg/client"
)

// meetTime is how long a server may take to show who it is.
const meetTime = 10 * time.Second

// meet finds out the fingerprint of a new context's server where none was given, and has the user say that it is
// the right one.
func (s *session) meet(ctx context.Context, c *serverContext) error {
	if c.Address == "" || c.Fingerprint != "" {
		return nil
	}
	shown, err := fingerprintAt(ctx, c.Address)
	if err != nil {
		return err
	}
	if !isTerminal(s.in) || !isTerminal(s.errs) {
		return &usageError{Name + " context add", fmt.Sprintf("the server at %s shows the fingerprint %s, and there is no terminal to ask at: add --fingerprint with the right one", c.Address, shown)}
	}
	fmt.Fprintf(s.errs, "The server at %s shows the fingerprint\n  %s\nIts log, and `%s server fingerprint` there, say which it should be.\n", c.Address, shown, Name)
	if err := s.ask(ctx, "Is it the right one?"); err != nil {
		return err
	}
	c.Fingerprint = shown
	return nil
}

func fingerprintAt(ctx context.Context, address string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, meetTime)
	defer cancel()
	shown, err := client.Fingerprint(ctx, address)
	if err != nil {
		return "", &localError{err}
	}
	return shown, nil
}

// serverCommand tells of servers what no method does.
func (s *session) serverCommand() *cobra.Command {
	file := "/var/lib/my_os_server/tls/server.crt"
	c := tool{
		use: "fingerprint [HOST:PORT]", short: "Show by which fingerprint a server is known over TLS.", most: 1,
		long: "Of the server at an address: what it shows now. Without one, of the daemon of this machine: out of the file of its certificate, " +
			"which its own user may read.",
		example: Name + " server fingerprint\n" + Name + " server fingerprint 192.0.2.7:8443",
		run: func(c *cobra.Command, args []string) error {
			shown, err := "", error(nil)
			if len(args) > 0 {
				shown, err = fingerprintAt(c.Context(), args[0])
			} else {
				shown, err = fingerprintIn(file)
			}
			if err == nil {
				_, err = fmt.Fprintln(s.out, shown)
			}
			return err
		},
	}.command()
	c.Flags().StringVar(&file, "certificate", file, "file of the certificate, where it is another one")
	return group("server", "What there is to know of a server before it can be called.", c)
}

// fingerprintIn is that of the first certificate in a PEM file.
func fingerprintIn(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", &localError{fmt.Errorf("%w: a daemon that does not --listen has none, and --certificate names that of another state folder", err)}
	}
	if err != nil {
		return "", &localError{err}
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return "", &localError{errors.New(path + ": no certificate in it")}
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", &localError{fmt.Errorf("%s: %w", path, err)}
	}
	return client.FingerprintOf(certificate), nil
}
