package client

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/geomind/my_os_server/internal/identity"
	"github.com/geomind/my_os_server/internal/unixsock"
)

// Dial connects to a server. What it returns is ready for HTTP/1.1: where there is encryption, it has been
// agreed on and the server's identity checked.
type Dial func(ctx context.Context) (net.Conn, error)

// Local is the Dial to the daemon of this machine: at the socket given, or where it is empty at the first
// of the places where a daemon may listen that somebody answers at. Those are told in docs/operations.md;
// the error is about what $MY_OS_SERVER_SOCKET and $HERO_SOCKET_DIR say.
func Local(socket string) (Dial, error) {
	paths, err := unixsock.Host().Client(socket)
	if err != nil {
		return nil, err
	}
	return Unix(paths...), nil
}

// Unix is the Dial to the first of the sockets that a server answers at.
func Unix(paths ...string) Dial {
	return func(ctx context.Context) (net.Conn, error) {
		var failures []error
		for _, path := range paths {
			conn, err := unixsock.Dial(ctx, path)
			if err == nil {
				return conn, nil
			}
			failures = append(failures, err)
		}
		return nil, errors.Join(failures...)
	}
}

// Credential puts a proof of who calls into a request with the given body.
type Credential func(r *http.Request, body []byte)

// Signed proves the key by a signature over each request, which is good for the node of that name alone and
// for a minute. The name is the caller's own knowledge, not what a server says it is.
func Signed(key ed25519.PrivateKey, node string) Credential {
	return func(r *http.Request, body []byte) {
		identity.Sign(key, node, &identity.Request{Method: r.Method, Path: r.URL.Path, Header: r.Header, Body: body}, time.Now())
	}
}

// Bearer shows a token: one that the server's ACL file lists, or a JWT.
func Bearer(token string) Credential {
	return func(r *http.Request, _ []byte) { r.Header.Set("Authorization", "Bearer "+token) }
}

// NewJWT makes a bearer token out of a key: good for the node of that name, from now for as long as life,
// which is at most a day.
func NewJWT(key ed25519.PrivateKey, node string, now time.Time, life time.Duration) (string, error) {
	token, err := identity.NewJWT(key, node, now, life)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	return token, nil
}
