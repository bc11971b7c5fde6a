package rpcserver

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// FuzzConnection sends bytes of all shapes to a server. What comes back must be answers, one after the
// other, to the last byte: whole, and without a body where they refuse.
func FuzzConnection(f *testing.F) {
	for _, text := range wireRequests(f) {
		f.Add([]byte(text))
	}
	s := serve(f, Options{Backend: backend(wireBackend), Deadlines: Deadlines{Header: 200 * time.Millisecond, Read: 200 * time.Millisecond, Idle: 200 * time.Millisecond}})
	f.Fuzz(func(t *testing.T, sent []byte) {
		c, err := net.Dial("unix", s.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(sent) // the server may have enough before the end
		if err := c.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		came := readAll(t, c)
		in := bufio.NewReader(strings.NewReader(came))
		for {
			if _, err := in.Peek(1); errors.Is(err, io.EOF) {
				return
			}
			checkAnswer(t, in, sent, came)
		}
	})
}

// checkAnswer reads one answer.
func checkAnswer(t *testing.T, in *bufio.Reader, sent []byte, came string) {
	t.Helper()
	verb, _, _ := bytes.Cut(sent, []byte(" "))
	if line, err := in.Peek(len("HTTP/1.1 100")); err == nil && string(line) == "HTTP/1.1 100" {
		_, _ = in.Discard(len("HTTP/1.1 100 Continue\r\n\r\n"))
		return
	}
	res, err := http.ReadResponse(in, &http.Request{Method: string(verb)})
	if err != nil {
		t.Fatalf("%q\nis answered by %q: %v", sent, came, err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK && len(body) > 0 {
		t.Fatalf("%q\nis answered by %q: %v", sent, came, err)
	}
}

// wireRequests are the requests of the conversations.
func wireRequests(f *testing.F) (all []string) {
	f.Helper()
	for _, file := range wireFiles(f) {
		for _, c := range readWireFile(f, file).cases {
			all = append(all, unfold(f, c.turns[0].sent, '>'))
		}
	}
	return all
}
