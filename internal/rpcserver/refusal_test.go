package rpcserver

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
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
