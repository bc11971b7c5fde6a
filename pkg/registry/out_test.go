package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/pkg/registry"
	"github.com/geomind/my_os_server/pkg/registry/registrytest"
)

// fakeNet and fakeRPC answer with what a test has put in.
type (
	fakeNet struct {
		registry.NotBuiltNet
		routes func(rows *registry.Stream[registry.Route]) (*registry.NetRoutesEnd, error)
	}
	fakeRPC struct {
		document registry.RawJSON
		health   *registry.RpcHealthResult
		err      error
	}
)

func (f fakeNet) Routes(_ context.Context, _ *registry.NetRoutesParams, rows *registry.Stream[registry.Route]) (*registry.NetRoutesEnd, error) {
	return f.routes(rows)
}

func (f fakeRPC) Discover(context.Context, *registry.RPCDiscoverParams) (registry.RawJSON, error) {
	return f.document, f.err
}

func (f fakeRPC) Health(context.Context, *registry.RPCHealthParams) (*registry.RpcHealthResult, error) {
	return f.health, f.err
}

// streaming is a host whose net.routes is the function.
func streaming(routes func(rows *registry.Stream[registry.Route]) (*registry.NetRoutesEnd, error)) *registry.Servers {
	return &registry.Servers{RPC: registry.NotBuiltRPC{}, Net: fakeNet{routes: routes}, Vol: registry.NotBuiltVol{}}
}

// call calls a method without params.
func call(t *testing.T, s *registry.Servers, name string, out *registry.Out) error {
	t.Helper()
	m, ok := registry.Lookup(name)
	if !ok {
		t.Fatalf("no method %s", name)
	}
	params, err := m.Decode(nil)
	if err != nil {
		t.Fatal(err)
	}
	return m.Call(context.Background(), s, params, out)
}

// sender is a handler that sends n rows.
func sender(n int, end *registry.NetRoutesEnd) func(*registry.Stream[registry.Route]) (*registry.NetRoutesEnd, error) {
	return func(rows *registry.Stream[registry.Route]) (*registry.NetRoutesEnd, error) {
		r := row
		for i := range n {
			r.Table = int64(i)
			if err := rows.Send(&r); err != nil {
				return nil, err
			}
		}
		if rows.Rows() != n {
			return nil, fmt.Errorf("%d rows counted", rows.Rows())
		}
		return end, nil
	}
}

func TestAStreamIsOneObject(t *testing.T) {
	for _, test := range []struct {
		rows int
		end  *registry.NetRoutesEnd
		tail string
	}{
		{0, nil, `[]}`},
		{1, &registry.NetRoutesEnd{}, `}]}`},
		{3, &registry.NetRoutesEnd{Consistent: registry.Some(false)}, `}],"consistent":false}`},
	} {
		out := registry.Out{Buf: []byte("head")}
		if err := call(t, streaming(sender(test.rows, test.end)), "net.routes", &out); err != nil || out.Sent() {
			t.Fatalf("%v, sent %t", err, out.Sent())
		}
		result, ok := strings.CutPrefix(string(out.Buf), "head")
		if !ok || !strings.HasSuffix(result, test.tail) {
			t.Errorf("%d rows give %s", test.rows, out.Buf)
		}
		if err := registrytest.CheckResult("net.routes", []byte(result)); err != nil {
			t.Error(err)
		}
	}
}

// wire keeps what is written and how.
type wire struct {
	text   strings.Builder
	writes int
	most   int
	err    error
}

func (w *wire) Write(b []byte) error {
	w.text.Write(b)
	w.writes++
	w.most = max(w.most, len(b))
	return w.err
}

func TestALongStreamGoesToTheWireInPieces(t *testing.T) {
	const rows = 5000
	w := &wire{}
	out := registry.Out{Write: w.Write}
	end := &registry.NetRoutesEnd{Consistent: registry.Some(true)}
	if err := call(t, streaming(sender(rows, end)), "net.routes", &out); err != nil {
		t.Fatal(err)
	}
	if !out.Sent() || w.writes < 10 || w.most > registry.FlushSize+4096 {
		t.Errorf("%d writes of up to %d bytes, sent %t", w.writes, w.most, out.Sent())
	}
	var result struct {
		Routes     []registry.Route
		Consistent bool
	}
	if err := json.Unmarshal([]byte(w.text.String()+string(out.Buf)), &result); err != nil {
		t.Fatal(err)
	}
	if len(result.Routes) != rows || result.Routes[rows-1].Table != rows-1 || !result.Consistent {
		t.Errorf("%d routes arrive", len(result.Routes))
	}
}

func TestAStreamEndsWhereNobodyTakesIt(t *testing.T) {
	gone := errors.New("gone")
	w := &wire{err: gone}
	out := registry.Out{Write: w.Write}
	if err := call(t, streaming(sender(5000, nil)), "net.routes", &out); !errors.Is(err, gone) || w.writes != 1 || !out.Sent() {
		t.Errorf("%v after %d writes", err, w.writes)
	}
}

func TestALimitedResultIsRefusedWhole(t *testing.T) {
	out := registry.Out{Buf: []byte("head"), Limit: 10_000}
	s := streaming(sender(5000, nil))
	s.RPC = fakeRPC{document: registry.RawJSON(strings.Repeat(" ", 20_000))}
	if err := call(t, s, "net.routes", &out); !errors.Is(err, registry.ErrTooLarge) || string(out.Buf) != "head" {
		t.Errorf("%v, %d bytes left", err, len(out.Buf))
	}
	if err := call(t, s, "rpc.discover", &out); !errors.Is(err, registry.ErrTooLarge) || string(out.Buf) != "head" {
		t.Errorf("%v, %d bytes left", err, len(out.Buf))
	}
}

func TestRestartForgetsWhatIsNotOnTheWire(t *testing.T) {
	out := registry.Out{Buf: []byte("head")}
	s := streaming(func(rows *registry.Stream[registry.Route]) (*registry.NetRoutesEnd, error) {
		if _, err := sender(3, nil)(rows); err != nil {
			return nil, err
		}
		if !rows.Restart() || rows.Rows() != 0 {
			t.Error("rows that nobody has seen cannot be taken back")
		}
		return sender(1, nil)(rows)
	})
	if err := call(t, s, "net.routes", &out); err != nil {
		t.Fatal(err)
	}
	first := row
	first.Table = 0
	if diff := cmp.Diff(`head{"routes":[`+string(first.AppendJSON(nil))+`]}`, string(out.Buf)); diff != "" {
		t.Error(diff)
	}
	w := &wire{}
	out = registry.Out{Write: w.Write}
	s = streaming(func(rows *registry.Stream[registry.Route]) (*registry.NetRoutesEnd, error) {
		_, err := sender(5000, nil)(rows)
		if rows.Restart() || rows.Rows() != 5000 {
			t.Error("rows that are on the wire were taken back")
		}
		return nil, err
	})
	if err := call(t, s, "net.routes", &out); err != nil {
		t.Fatal(err)
	}
}

func TestAnErrorLeavesNoTrace(t *testing.T) {
	late := errors.New("late")
	out := registry.Out{Buf: []byte("head")}
	s := streaming(func(rows *registry.Stream[registry.Route]) (*registry.NetRoutesEnd, error) {
		if _, err := sender(3, nil)(rows); err != nil {
			return nil, err
		}
		return nil, late
	})
	s.RPC = fakeRPC{err: late}
	for _, method := range []string{"net.routes", "rpc.health", "rpc.discover"} {
		if err := call(t, s, method, &out); !errors.Is(err, late) || string(out.Buf) != "head" {
			t.Errorf("%s: %v, %s", method, err, out.Buf)
		}
	}
}

func TestResults(t *testing.T) {
	s := &registry.Servers{RPC: fakeRPC{
		document: registry.RawJSON(registry.Document()),
		health:   &registry.RpcHealthResult{Status: registry.HealthStatusOk},
	}}
	out := registry.Out{}
	if err := call(t, s, "rpc.discover", &out); err != nil || string(out.Buf) != string(registry.Document()) {
		t.Errorf("rpc.discover: %v, and not the document", err)
	}
	out = registry.Out{}
	if err := call(t, s, "rpc.health", &out); err != nil || string(out.Buf) != `{"status":"ok"}` {
		t.Errorf("rpc.health: %v, %s", err, out.Buf)
	}
	empty := &registry.Servers{RPC: fakeRPC{}}
	for _, method := range []string{"rpc.health", "rpc.discover"} {
		out = registry.Out{}
		if err := call(t, empty, method, &out); err == nil {
			t.Errorf("%s without a result: %s", method, out.Buf)
		}
	}
}
