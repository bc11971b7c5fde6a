// Package client is the Go client of my_os_server: a typed method for every row of the table, and Call for
// any method by name.
//
// A Client talks to one server through a Dial, which says where that is: Local and Unix find the daemon of
// this machine. Who calls is the kernel's word on a Unix socket, unless a Credential says otherwise; a
// credential is shown only to a server that runs as root, as the caller itself or as a user that Options
// names.
//
//	dial, err := client.Local("")
//	…
//	c := client.New(client.Options{Dial: dial})
//	defer c.Close()
//	rows, err := c.NetRoutes(ctx, &registry.NetRoutesParams{Table: registry.Some[int64](254)})
//	…
//	for route, err := range rows.All() { … }
//
// Long lists are read row by row in constant memory. A list that broke off is an error (ErrBroken), never a
// short list. The deadline of a call's context goes to the server too, as X-Deadline-Ms.
//
// An error that the server answers is an *Error, within which errors.As finds the generated types of
// pkg/registry: *registry.NotFoundError and its kind. ErrUnreachable, ErrBroken and *HTTPError are what can
// go wrong before there is an answer.
package client

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/internal/unixsock"
)

// Options say where the server is and who calls.
type Options struct {
	// Dial connects to the server.
	Dial Dial
	// Credential proves who calls; nil leaves that to the connection.
	Credential Credential
	// ServerUIDs are users beside root and the own one whose server on a Unix socket may see the credential.
	ServerUIDs []uint32
}

// Client calls the methods of one server. It may be used by any number of goroutines.
type Client struct {
	http       *http.Client
	credential Credential
}

// idleTimeout is how long a connection without a call is kept, less than the server keeps it, so that a call
// is not sent into a connection that the server is closing.
const idleTimeout = 60 * time.Second

// New makes a Client. It connects when the first call is made.
func New(o Options) *Client {
	transport := &http.Transport{
		DialContext:         o.dial,
		DisableCompression:  true,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     idleTimeout,
		ReadBufferSize:      readSize,
	}
	return &Client{
		http: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		credential: o.Credential,
	}
}

// dial connects, and makes sure that a credential is for the eyes of this server.
func (o *Options) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := o.Dial(ctx)
	if err != nil {
		return nil, err
	}
	if local, ok := conn.(*net.UnixConn); ok && o.Credential != nil {
		if err := unixsock.CheckServer(local, o.ServerUIDs...); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// Close ends the connections that no call is using.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Call calls a method by name and returns its result as it comes. params is a JSON object or array; nil is
// none. The caller closes the answer, or reads it to its end.
func (c *Client) Call(ctx context.Context, method string, params []byte) (*Answer, error) {
	a, err := c.call(ctx, method, params)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return a, nil
}

func (c *Client) call(ctx context.Context, method string, params []byte) (*Answer, error) {
	req, err := c.request(ctx, requestBody(method, params))
	if err != nil {
		return nil, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	if res.StatusCode != http.StatusOK {
		res.Body.Close()
		return nil, &HTTPError{Status: res.StatusCode}
	}
	a := &Answer{ctx: ctx, method: method, body: res.Body, in: reader{src: res.Body}}
	if err := a.open(); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// requestBody is the envelope of a call.
func requestBody(method string, params []byte) []byte {
	b := append(make([]byte, 0, 64+len(method)+len(params)), `{"jsonrpc":"2.0","id":1,"method":`...)
	b = jsonwire.AppendString(b, method)
	if len(params) > 0 {
		b = append(b, `,"params":`...)
		b = append(b, params...)
	}
	return append(b, '}')
}

// request is the HTTP request for a body, with the caller's proof and deadline.
func (c *Client) request(ctx context.Context, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/rpc", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if deadline, ok := ctx.Deadline(); ok {
		ms := max(time.Until(deadline).Milliseconds(), 1)
		req.Header.Set("X-Deadline-Ms", strconv.FormatInt(ms, 10))
	}
	if c.credential != nil {
		c.credential(req, body)
	}
	return req, nil
}
