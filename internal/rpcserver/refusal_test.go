package rpcserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"context"

	"github.com/rs/zerolog"
)

// TestRefusalsOfNetHTTP pins what is recognised as an answer that net/http gives by itself, to what
// net/http gives: were it to say something else one day, its text would get through, and this fails.
func TestRefusalsOfNetHTTP(t *testing.T) {
	s := serve(t, Options{Backend: newGate()})
	for _, test := range []struct {
		request string
		status  int
	}{
		{"GET /health HTTP/1.1\r\n\r\n", http.StatusBadRequest},
		{"GET /health HTTP/1.1\r\nHost: a b\r\n\r\n", http.StatusBadRequest},
		{"GET /health\r\n\r\n", http.StatusBadRequest},
		{"GET /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: br\r\n\r\n", http.StatusLengthRequired},
		{"GET /health HTTP/2.0\r\nHost: x\r\n\r\n", http.StatusHTTPVersionNotSupported},
		{"GET /health HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("x", 40<<10) + "\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge},
		{"GET /" + strings.Repeat("x", 40<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge},
	} {
		c := s.dial(t)
		go io.WriteString(c, test.request)
		want := fmt.Sprintf("HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", test.status, http.StatusText(test.status))
		if got := readAll(t, c); got != want {
			t.Errorf("%.40q: got %q, want %q", test.request, got, want)
		}
	}
}

func TestRefusalTakesNothingElse(t *testing.T) {
	const headers = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
	for text, want := range map[string]int{
		"HTTP/1.1 400 Bad Request" + headers + "400 Bad Request": 400,
		"HTTP/1.1 400 Bad Request: why" + headers:                400,
		"HTTP/1.1 501 Not Implemented" + headers + "x":           411,
		"HTTP/1.1 200 OK" + headers:                              0,
		"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n":  0,
		"HTTP/1.0 400 Bad Request" + headers:                     0,
		"HTTP/1.1 400":                                           0,
		"HTTP/1.1 4":                                             0,
		"":                                                       0,
		`{"a":"HTTP/1.1 400 Bad Request` + headers:               0,
	} {
		if got := refusal([]byte(text)); got != want {
			t.Errorf("refusal(%q) = %d, want %d", text, got, want)
		}
	}
}

// TestTooLargeBodyIsAnswered sends the whole of a body that is refused: the client must come to see why.
func TestTooLargeBodyIsAnswered(t *testing.T) {
	s := serve(t, Options{Backend: newGate(), Limits: Limits{BodyBytes: 1000}})
	c := s.dial(t)
	go c.Write([]byte("POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + strings.Repeat("x", 3000000)))
	res, body, err := c.answer(t)
	if err != nil || res.StatusCode != http.StatusRequestEntityTooLarge || body != "" {
		t.Error(res, body, err)
	}
}

// TestTLS is the door that is left open: the pipeline over TLS on TCP.
func TestTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Options{Backend: newGate(), Log: zerolog.New(io.Discard)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		ended <- s.Serve(ctx, tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate(t)}, NextProtos: []string{"h2", "http/1.1"}}))
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	hc := &http.Client{Transport: transport}
	for _, test := range []struct {
		content, method string
		status          int
		want            string
	}{
		{"", "rpc.health", http.StatusOK, `{"jsonrpc":"2.0","id":1,"result":{"status":"ok"}}`},
		{"application/json", "rpc.health", http.StatusOK, `{"jsonrpc":"2.0","id":1,"result":{"status":"ok"}}`},
		{"Application/JSON; charset=utf-8", "rpc.health", http.StatusOK, `{"jsonrpc":"2.0","id":1,"result":{"status":"ok"}}`},
		{"text/plain", "rpc.health", http.StatusUnsupportedMediaType, ""},
		{"application/x-www-form-urlencoded", "rpc.health", http.StatusUnsupportedMediaType, ""},
		{"application/json", readMethod, http.StatusOK, `"caller":"anonymous"`},
	} {
		req, err := http.NewRequest("POST", "https://"+l.Addr().String()+"/rpc", strings.NewReader(request(test.method, "")))
		if err != nil {
			t.Fatal(err)
		}
		if test.content != "" {
			req.Header.Set("Content-Type", test.content)
		}
		res, err := hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != test.status || !strings.Contains(string(body), test.want) || res.ProtoMajor != 1 {
			t.Errorf("%s for %q: %s %s %s, %v", test.method, test.content, res.Proto, res.Status, body, err)
		}
	}
}

// certificate makes a certificate that nobody trusts.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
