package client_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/pkg/acl"
	"github.com/geomind/my_os_server/pkg/client"
	"github.com/geomind/my_os_server/pkg/registry"
)

// hostRoute is the i-th of many routes.
func hostRoute(i int) *registry.Route {
	a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
	return &registry.Route{Dst: netip.PrefixFrom(a, 32), Family: "ipv4", Type: "unicast", Table: 254, Protocol: "static", Scope: "global",
		Interface: registry.Some("eth0"), Managed: false}
}

// many are handlers with n routes.
func many(n int) *handlers {
	return &handlers{routes: func(_ context.Context, _ *registry.NetRoutesParams, rows *registry.Stream[registry.Route]) (*registry.NetRoutesEnd, error) {
		for i := range n {
			if err := rows.Send(hostRoute(i)); err != nil {
				return nil, err
			}
		}
		return &registry.NetRoutesEnd{Consistent: registry.Some(false)}, nil
	}}
}

func TestRowsAreThoseOfTheServer(t *testing.T) {
	for _, n := range []int{0, 1, 2, 5000} {
		c := connect(t, serve(t, many(n), nil), nil)
		rows, err := c.NetRoutes(soon(t), nil)
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		for route, err := range rows.All() {
			if err != nil {
				t.Fatal(err)
			}
			if got, want := string(route.AppendJSON(nil)), string(hostRoute(i).AppendJSON(nil)); got != want {
				t.Fatalf("row %d of %d: %s, sent was %s", i, n, got, want)
			}
			i++
		}
		if consistent, ok := rows.End().Consistent.Get(); i != n || !ok || consistent {
			t.Errorf("%d of %d rows, and then %+v", i, n, rows.End())
		}
	}
}

// Rows do not stay in memory: what a long list takes does not depend on its length.
func TestRowsAreReadInConstantMemory(t *testing.T) {
	const n = 300_000
	c := connect(t, serve(t, many(n), nil), nil)
	a, err := c.Call(soon(t), "net.routes", nil)
	if err != nil {
		t.Fatal(err)
	}
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	most, i := uint64(0), 0
	for row, err := range a.Rows("routes") {
		if err != nil {
			t.Fatal(err)
		}
		if len(row) == 0 {
			t.Fatalf("row %d is empty", i)
		}
		if i++; i%50_000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
	}
	if i != n {
		t.Errorf("%d rows of %d", i, n)
	}
	if grown := int64(most) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("the heap grew by %d bytes over %d rows", grown, n)
	}
}

// The three ways to read an answer give the same, byte for byte.
func TestAnswerIsExact(t *testing.T) {
	c := connect(t, serve(t, many(3000), nil), nil)
	var want []byte
	want = append(want, `{"routes":[`...)
	for i := range 3000 {
		if i > 0 {
			want = append(want, ',')
		}
		want = hostRoute(i).AppendJSON(want)
	}
	want = append(want, `],"consistent":false}`...)

	a, err := c.Call(soon(t), "net.routes", []byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	var copied bytes.Buffer
	if n, err := a.WriteTo(&copied); err != nil || n != int64(len(want)) || !bytes.Equal(copied.Bytes(), want) {
		t.Errorf("WriteTo: %d bytes, %v", n, err)
	}
	if a, err = c.Call(soon(t), "net.routes", nil); err != nil {
		t.Fatal(err)
	}
	if whole, err := a.Bytes(); err != nil || !bytes.Equal(whole, want) {
		t.Errorf("Bytes: %d bytes, %v", len(whole), err)
	}
	if a, err = c.Call(soon(t), "net.routes", nil); err != nil {
		t.Fatal(err)
	}
	for _, err := range a.Rows("routes") {
		if err != nil {
			t.Fatal(err)
		}
	}
	if rest := string(a.Rest()); rest != `{"consistent":false}` {
		t.Errorf("the rest is %s", rest)
	}
}

// Whoever leaves early gets the server's hands free.
func TestLeavingEarlyEndsTheCall(t *testing.T) {
	ended := make(chan error, 1)
	h := &handlers{routes: func(ctx context.Context, _ *registry.NetRoutesParams, rows *registry.Stream[registry.Route]) (*registry.NetRoutesEnd, error) {
		for {
			if err := rows.Send(hostRoute(1)); err != nil {
				ended <- err
				return nil, err
			}
		}
	}}
	c := connect(t, serve(t, h, nil), nil)
	rows, err := c.NetRoutes(soon(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range rows.All() {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the server goes on sending")
	}
}

func TestEveryErrorKeepsItsType(t *testing.T) {
	answers := make(chan registry.WireError, 1)
	h := &handlers{add: func(context.Context, *registry.NetRoutesAddParams) (*registry.NetRoutesAddResult, error) {
		return nil, <-answers
	}}
	c := connect(t, serve(t, h, nil), nil)
	for _, want := range []registry.WireError{
		&registry.NotFoundError{NotFoundData: registry.NotFoundData{Resource: "interface", ID: "eth9"}, Message: "there is no interface eth9"},
		&registry.UnsupportedError{UnsupportedData: registry.UnsupportedData{Reason: "kernel", Missing: registry.Some("x")}, Message: "no such kernel"},
		&registry.ToolMissingError{ToolMissingData: registry.ToolMissingData{Tool: "nft", Package: registry.Some("nftables")}, Message: "install nftables"},
		&registry.RefusedError{RefusedData: registry.RefusedData{Rule: "own_disk", Override: registry.Some("force")}, Message: "this is the root disk"},
		&registry.ParamsError{Faults: []registry.Fault{{Path: "dst", Message: "must be a network"}, {Path: "nexthops[1].gateway", Message: "must be an address"}}},
	} {
		answers <- want
		_, err := c.NetRoutesAdd(soon(t), &registry.NetRoutesAddParams{Dst: netip.MustParsePrefix("10.0.0.0/8"), Interface: registry.Some("lo")})
		var wire registry.WireError
		var own *client.Error
		if !errors.As(err, &wire) || !errors.As(err, &own) {
			t.Errorf("%T came back as %v", want, err)
			continue
		}
		if diff := cmp.Diff(string(want.AppendData(nil)), string(wire.AppendData(nil))); diff != "" || fmt.Sprintf("%T", wire) != fmt.Sprintf("%T", want) {
			t.Errorf("%T came back as %T: %s", want, wire, diff)
		}
		if own.Kind() != want.ErrorKind() || own.Code != want.RPCCode() || own.Message != want.Error() {
			t.Errorf("%T came back as %+v", want, own)
		}
	}
}

// Every error of the table has a type here.
func TestNoErrorIsLeftOut(t *testing.T) {
	var spec struct {
		Components struct {
			Errors map[string]struct{ Code int }
		}
	}
	if err := json.Unmarshal(registry.Document(), &spec); err != nil {
		t.Fatal(err)
	}
	if len(spec.Components.Errors) < 15 {
		t.Fatalf("the table has %d errors", len(spec.Components.Errors))
	}
	for name, e := range spec.Components.Errors {
		typed := client.TypedError(e.Code, "x", []byte(`{"kind":"x","unknown":[1]}`))
		if typed == nil || typed.RPCCode() != e.Code {
			t.Errorf("%s, code %d, is %T", name, e.Code, typed)
		}
	}
}

func TestCredentials(t *testing.T) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	methods := make([]acl.Method, 0, len(registry.All()))
	for _, m := range registry.All() {
		methods = append(methods, acl.Method{Name: m.Name, Exposes: m.Exposes})
	}
	policy, err := acl.Parse("acl.toml", fmt.Appendf(nil, "[[group]]\nname=\"a\"\nusers=[\"%x\"]\n[[ace]]\nright=\"read\"\ngroups=[\"a\"]\n", public), methods)
	if err != nil {
		t.Fatal(err)
	}
	socket := serve(t, many(1), policy)
	jwt, err := client.NewJWT(key, node, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	old, err := client.NewJWT(key, node, time.Now().Add(-2*time.Hour), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	// Signatures from before the start, and from the five seconds after it, are refused (internal/identity).
	signed := connect(t, socket, client.Signed(key, node))
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(200 * time.Millisecond) {
		if _, err := signed.Call(soon(t), "net.routes", nil); err == nil {
			break
		}
	}
	for _, c := range []struct {
		name       string
		credential client.Credential
		kind       string
	}{
		{"none", nil, registry.KindPermissionDenied},
		{"signed", client.Signed(key, node), ""},
		{"signed for another node", client.Signed(key, "other"), registry.KindUnauthenticated},
		{"JWT", client.Bearer(jwt), ""},
		{"JWT that is over", client.Bearer(old), registry.KindUnauthenticated},
		{"unknown token", client.Bearer(hex.EncodeToString(make([]byte, 32))), registry.KindUnauthenticated},
	} {
		for range 2 { // a signature is good once: each request has its own
			_, err := connect(t, socket, c.credential).Call(soon(t), "net.routes", nil)
			kind := ""
			if own := (*client.Error)(nil); errors.As(err, &own) {
				kind = own.Kind()
			} else if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			if kind != c.kind {
				t.Errorf("%s: answered %q, not %q", c.name, kind, c.kind)
			}
		}
	}
}

func TestNewJWTRefuses(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, 32))
	for _, c := range []struct {
		node string
		life time.Duration
	}{{"", time.Hour}, {"n", 0}, {"n", 25 * time.Hour}, {"n", -time.Second}} {
		if token, err := client.NewJWT(key, c.node, time.Now(), c.life); err == nil {
			t.Errorf("%q for %v: %s", c.node, c.life, token)
		}
	}
}

func TestUnreachable(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	_, err := connect(t, missing, nil).NetStatus(soon(t), nil)
	if !errors.Is(err, client.ErrUnreachable) || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), missing) || strings.Contains(err.Error(), "localhost") {
		t.Errorf("a socket that is not there: %v", err)
	}
	ctx, cancel := context.WithTimeout(soon(t), 50*time.Millisecond)
	defer cancel()
	silent := raw(t, func(net.Conn) { <-ctx.Done() })
	if _, err := connect(t, silent, nil).NetStatus(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a server that says nothing: %v", err)
	}
}

// raw is a server that answers each connection by f, once it has read a request's head.
func raw(t *testing.T, f func(conn net.Conn)) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "client")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			f(conn)
			conn.Close()
		}
	}()
	return l.Addr().String()
}

// An answer that is cut anywhere is an error, never a short list.
func TestCutAnswers(t *testing.T) {
	whole := `{"jsonrpc":"2.0","id":1,"result":{"routes":[` + string(hostRoute(1).AppendJSON(nil)) + `,` + string(hostRoute(2).AppendJSON(nil)) + `],"consistent":false}}`
	for _, framing := range []string{fmt.Sprintf("Content-Length: %d\r\n", len(whole)), "Connection: close\r\n"} {
		for cut := 0; cut < len(whole); cut += 7 {
			socket := raw(t, func(conn net.Conn) {
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\n%s\r\n%s", framing, whole[:cut])
			})
			rows, err := connect(t, socket, nil).NetRoutes(soon(t), nil)
			if err == nil {
				for _, err = range rows.All() {
				}
			}
			if !errors.Is(err, client.ErrBroken) {
				t.Errorf("cut at %d of %d (%s): %v", cut, len(whole), strings.TrimSpace(framing), err)
			}
		}
	}
}

func TestStrangeAnswers(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		want   error
	}{
		{200, `{"id":1 , "result" : {"status":"ok"}, "jsonrpc":"2.0"}` + "\r\n", nil},
		{200, `{"jsonrpc":"2.0","id":1}`, client.ErrBroken},
		{200, `{"jsonrpc":"2.0","id":1,"result":{"status":"ok"}} and more`, client.ErrBroken},
		{200, `[]`, client.ErrBroken},
		{200, `<html>`, client.ErrBroken},
		{200, `{"jsonrpc":"2.0","id":1,"result":{"status":ok}}`, client.ErrBroken},
		{200, `{"jsonrpc":"2.0","id":1,"error":7}`, client.ErrBroken},
		{403, ``, &client.HTTPError{Status: 403}},
	} {
		socket := raw(t, func(conn net.Conn) {
			fmt.Fprintf(conn, "HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s", c.status, len(c.body), c.body)
		})
		result, err := connect(t, socket, nil).RPCHealth(soon(t), nil)
		refused := (*client.HTTPError)(nil)
		switch {
		case errors.As(err, &refused):
			if refused.Status != c.status {
				t.Errorf("%d %s: %v", c.status, c.body, err)
			}
		case !errors.Is(err, c.want):
			t.Errorf("%d %s: %v", c.status, c.body, err)
		case err == nil && result.Status != "ok":
			t.Errorf("%d %s: %+v", c.status, c.body, result)
		}
	}
}

// The caller's deadline is the server's too.
func TestDeadlineGoesAlong(t *testing.T) {
	got := make(chan time.Duration, 1)
	h := &handlers{add: func(ctx context.Context, _ *registry.NetRoutesAddParams) (*registry.NetRoutesAddResult, error) {
		end, _ := ctx.Deadline()
		got <- time.Until(end)
		return nil, &registry.InternalError{}
	}}
	c := connect(t, serve(t, h, nil), nil)
	ctx, cancel := context.WithTimeout(soon(t), 3*time.Second)
	defer cancel()
	_, _ = c.NetRoutesAdd(ctx, &registry.NetRoutesAddParams{Dst: netip.MustParsePrefix("10.0.0.0/8"), Interface: registry.Some("lo")})
	if left := <-got; left > 3*time.Second || left < time.Second {
		t.Errorf("the handler has %v", left)
	}
}
