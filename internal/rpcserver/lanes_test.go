package rpcserver

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// twoLanes is a backend whose methods of vol go another lane than the rest.
type twoLanes struct{ backend }

func (twoLanes) Lanes() int { return 2 }

func (twoLanes) Lane(m *registry.Method) int {
	if m.Namespace() == "vol" {
		return 1
	}
	return 0
}

// TestLanesTakeNothingOfEachOther fills one lane with calls and with streams that hang; in the other both go
// on as if nothing were.
func TestLanesTakeNothingOfEachOther(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, Options{Limits: Limits{CallsPerUID: 2, StreamsPerUID: 1}, Backend: twoLanes{func(_ context.Context, m *registry.Method, _ any, _ []byte, out *registry.Out) error {
		switch {
		case m.Stream:
			out.Buf = append(out.Buf, '"')
			out.Buf = append(out.Buf, strings.Repeat("x", 2*registry.FlushSize)...)
			if err := out.Spill(); err != nil {
				return err
			}
			out.Buf = append(out.Buf, '"')
		default:
			out.Buf = append(out.Buf, `{}`...)
		}
		if m.Namespace() == "net" {
			<-release
		}
		return nil
	}}})
	stuck := []*client{s.dial(t), s.dial(t)}
	stuck[0].post(t, request("net.routes", ""))
	stuck[1].post(t, request("net.status", ""))
	testhost.Eventually(t, "the first lane is full", func() bool { return s.ledger.calls.taken() == 2 && s.ledger.streams.taken() == 1 })
	c := s.dial(t)
	if got := c.call(t, request("net.status", "")); !strings.Contains(got, `"limit":"calls"`) {
		t.Errorf("a third call in the full lane: %s", got)
	}
	if got := c.call(t, request("vol.inventory", "")); !strings.Contains(got, `"result":{}`) {
		t.Errorf("a call in the other lane: %s", got)
	}
	if got := c.call(t, request("vol.list_disks", "")); !strings.Contains(got, `"result":"xxx`) {
		t.Errorf("a stream in the other lane: %.200s", got)
	}
	fmt.Fprint(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
	if res, _, err := c.answer(t); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("metrics while one lane is full: %v, %v", res, err)
	}
	close(release)
	for _, c := range stuck {
		if _, _, err := c.answer(t); err != nil {
			t.Error(err)
		}
	}
}

type manyLanes struct{ twoLanes }

func (manyLanes) Lanes() int { return maxLanes + 1 }

func TestTooManyLanes(t *testing.T) {
	if _, err := New(Options{Backend: manyLanes{}}); err == nil || !strings.Contains(err.Error(), fmt.Sprint(maxLanes+1)) {
		t.Errorf("%v", err)
	}
}

// TestBatchOverLanes: each call of the second lane waits for one of the first that stands behind it in the
// batch, which comes to an end only where the lanes run side by side; within a lane calls keep their order; the
// answers come in the order of the calls, whatever they are.
func TestBatchOverLanes(t *testing.T) {
	for _, padding := range []int{0, 100, aheadBytes} {
		for _, credential := range []string{"X-Nothing: 1", "X-Also: 2"} {
			t.Run(fmt.Sprint(padding, credential), func(t *testing.T) { testBatchOverLanes(t, padding, credential) })
		}
	}
}

func testBatchOverLanes(t *testing.T, padding int, header string) {
	const pairs = 20
	met := make(chan struct{})
	var order [2][]string
	s := serve(t, Options{Backend: twoLanes{func(ctx context.Context, m *registry.Method, _ any, raw []byte, out *registry.Out) error {
		lane := twoLanes{}.Lane(m)
		order[lane] = append(order[lane], string(raw))
		if padding < aheadBytes { // else lanes wait for their turn
			select {
			case met <- struct{}{}:
			case <-met:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		out.Buf = append(out.Buf, `"`+m.Name+strings.Repeat("x", padding)+`"`...)
		return out.Spill()
	}}})
	var calls, want []string
	var wantOrder [2][]string
	add := func(i int, method, params, answer string) {
		calls = append(calls, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q%s}`, i, method, params))
		want = append(want, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,%s}`, i, answer))
	}
	for i := range pairs {
		path := fmt.Sprintf(`{"path":"/%d"}`, i)
		add(i, "vol.usage", `,"params":`+path, `"result":"vol.usage`+strings.Repeat("x", padding)+`"`)
		wantOrder[1] = append(wantOrder[1], path)
		if i%5 == 0 {
			add(i, "rpc.health", "", `"result":{"status":"ok"}`)
			calls = append(calls, `{"jsonrpc":"2.0","method":"rpc.health"}`) // a notification
		}
	}
	for i := range pairs {
		name := fmt.Sprintf(`{"name":"eth%d"}`, i)
		add(i, "net.interfaces", `,"params":`+name, `"result":"net.interfaces`+strings.Repeat("x", padding)+`"`)
		wantOrder[0] = append(wantOrder[0], name)
	}
	got := s.dial(t).call(t, "["+strings.Join(calls, ",")+"]", header)
	if got != "["+strings.Join(want, ",")+"]" {
		t.Errorf("got  %.3000s\nwant [%.3000s]", got, strings.Join(want, ","))
	}
	if fmt.Sprint(order) != fmt.Sprint(wantOrder) {
		t.Errorf("the calls ran in the order %v", order)
	}
}

// TestBatchOverLanesOfNotifications has no answer at all.
func TestBatchOverLanesOfNotifications(t *testing.T) {
	s := serve(t, Options{Backend: twoLanes{func(_ context.Context, _ *registry.Method, _ any, _ []byte, out *registry.Out) error {
		out.Buf = append(out.Buf, '1')
		return nil
	}}})
	if got := s.dial(t).call(t, `[{"jsonrpc":"2.0","method":"net.status"},{"jsonrpc":"2.0","method":"vol.inventory"}]`); got != "" {
		t.Errorf("%s", got)
	}
}

// TestAlias: behind a proxy the one namespace goes by its other name, and whom the proxy calls for is told to
// the log, and to no one who decides.
func TestAlias(t *testing.T) {
	s := serve(t, Options{Alias: Alias{"net", "mosnet"}, Backend: backend(func(ctx context.Context, m *registry.Method, _ any, _ []byte, out *registry.Out) error {
		out.Buf = append(out.Buf, `"`+m.Name+" for "+registry.CallerFrom(ctx).Name+`"`...)
		return nil
	})})
	c := s.dial(t)
	for method, want := range map[string]string{
		"mosnet.routes.delete": `"result":"net.routes.delete for uid:`,
		"rpc.health":           `"result":{"status":"ok"}`,
		"net.routes.delete":    `"code":-32601`,
		"vol.usage":            `"code":-32601`,
		"mosnet.usage":         `"code":-32601`,
		"mosnet.":              `"code":-32601`,
		"mosnet":               `"code":-32601`,
		"mosnet." + strings.Repeat("x", 2*longestName): `"code":-32601`,
	} {
		got := c.call(t, request(method, map[bool]string{true: writeParams}[strings.Contains(method, "delete")]), "X-Caller: token:ci", "X-Public-Key: "+strings.Repeat("ab", 32))
		if !strings.Contains(got, want) {
			t.Errorf("%.40s: %s", method, got)
		}
	}
	s.log.Await(t, `"message":"audit"`, `"for":"token:ci"`, `"method":"net.routes.delete"`)
}
