package rpcserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/pkg/registry"
)

// get fetches a page.
func (c *client) get(t *testing.T, verb, path string, headers ...string) (*http.Response, string) {
	t.Helper()
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n", verb, path, strings.Join(append(headers, ""), "\r\n"))
	res, err := http.ReadResponse(c.in, &http.Request{Method: verb})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b strings.Builder
	if err := res.Write(&b); err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(b.String(), "\r\n\r\n")
	return res, body
}

func TestDocument(t *testing.T) {
	s := serve(t, Options{Backend: newGate()})
	c := s.dial(t)
	document := string(registry.Document())
	if res, page := c.get(t, "GET", "/openrpc.json"); page != document || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("the page has %d bytes, the document %d; %v", len(page), len(document), res.Header)
	}
	if res, page := c.get(t, "HEAD", "/openrpc.json"); page != "" || res.ContentLength != int64(len(document)) {
		t.Errorf("HEAD: %d bytes, Content-Length %d", len(page), res.ContentLength)
	}
	got := c.call(t, request("rpc.discover", ""))
	if want := `{"jsonrpc":"2.0","id":1,"result":` + document + `}`; got != want {
		t.Errorf("rpc.discover answers %d bytes, want %d", len(got), len(want))
	}
	got = c.call(t, "["+request("rpc.discover", "")+","+request("rpc.health", "")+"]")
	if !strings.HasPrefix(got, `[{"jsonrpc":"2.0","id":1,"result":`+document) || !json.Valid([]byte(got)) {
		t.Errorf("in a batch: %d bytes", len(got))
	}
}

func TestWellKnown(t *testing.T) {
	s := serve(t, Options{Backend: newGate()})
	res, page := s.dial(t).get(t, "GET", "/.well-known/heroservice.json")
	var got, document map[string]any
	if err := json.Unmarshal([]byte(page), &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(registry.Document(), &document); err != nil {
		t.Fatal(err)
	}
	info := document["info"].(map[string]any)
	want := map[string]any{"protocol": "openrpc", "name": "my_os_server", "title": info["title"], "version": "1.2.3", "description": info["description"], "socket": "rpc"}
	if diff := cmp.Diff(want, got); diff != "" || res.StatusCode != http.StatusOK {
		t.Errorf("%s (-want +got):\n%s", res.Status, diff)
	}
}

func TestPolicyChangesUnderAnOpenConnection(t *testing.T) {
	s := serve(t, Options{Backend: backend(wireBackend)})
	c := s.dial(t)
	for _, test := range []struct {
		policy, want string
		metrics      int
	}{
		{"[policy]\nanonymous_local = \"none\"\n", `"kind":"permission_denied"`, http.StatusForbidden},
		{"[policy]\nanonymous_local = \"read\"\n", `"result"`, http.StatusOK},
		{"[policy]\nanonymous_local = \"none\"\n[[group]]\nname = \"g\"\nusers = [\"uid:0\"]\n", `"kind":"permission_denied"`, http.StatusForbidden},
	} {
		s.SetPolicy(parsePolicy(t, test.policy))
		for range 2 {
			if got := c.call(t, request(readMethod, "")); !strings.Contains(got, test.want) {
				t.Errorf("by %q: %s", test.policy, got)
			}
		}
		if res, _ := s.dial(t).get(t, "GET", "/metrics"); res.StatusCode != test.metrics {
			t.Errorf("metrics by %q: %s", test.policy, res.Status)
		}
	}
}
