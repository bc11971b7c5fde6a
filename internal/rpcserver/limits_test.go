package rpcserver

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/geomind/my_os_server/internal/identity"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// gate is a backend whose calls wait until they are let go.
type gate struct {
	begun chan string // the method of each call that has begun
	open  chan struct{}
}

func newGate() *gate { return &gate{begun: make(chan string, 100), open: make(chan struct{})} }

func (g *gate) Call(ctx context.Context, m *registry.Method, params any, raw []byte, out *registry.Out) error {
	g.begun <- m.Name
	<-g.open
	out.Buf = append(out.Buf, `{}`...)
	return nil
}

func TestResource(t *testing.T) {
	r := resource{name: "things", perUID: 4, most: 8}
	var ordinary, other, owner gauge
	for _, step := range []struct {
		mine       *gauge
		n          int64
		privileged bool
		want       *limitError
	}{
		{&ordinary, 4, false, nil},
		{&ordinary, 1, false, &limitError{"things", 4}},
		{&other, 3, false, &limitError{"things_total", 6}},
		{&other, 2, false, nil},
		{&other, 1, false, &limitError{"things_total", 6}},
		{&owner, 2, true, nil},
		{&owner, 1, true, &limitError{"things_total", 8}},
	} {
		got := r.take(step.mine, step.n, step.privileged)
		if (got == nil) != (step.want == nil) || got != nil && *got != *step.want {
			t.Errorf("take(%d, privileged %v) = %v, want %v", step.n, step.privileged, got, step.want)
		}
	}
	r.give(&ordinary, 4)
	r.give(&other, 2)
	r.give(&owner, 2)
	for _, g := range []*gauge{&ordinary, &other, &owner, &r.taken} {
		if n := g.n.Load(); n != 0 {
			t.Errorf("%d are taken after all were given back", n)
		}
	}
}

func TestResourceIsNeverOverdrawn(t *testing.T) {
	r := resource{perUID: 5, most: 8}
	var mine [4]gauge
	var holders, worst gauge
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 2000 {
				if r.take(&mine[i%4], 1, true) != nil {
					continue
				}
				if !holders.take(1, 8) || mine[i%4].n.Load() > 5 {
					worst.take(1, 1<<62)
				}
				holders.give(1)
				r.give(&mine[i%4], 1)
			}
		})
	}
	wg.Wait()
	if n := worst.n.Load(); n > 0 {
		t.Errorf("overdrawn %d times", n)
	}
	if r.taken.n.Load() != 0 {
		t.Errorf("%d are taken after all were given back", r.taken.n.Load())
	}
}

func TestLedgerTellsCallersApart(t *testing.T) {
	l := newLedger(Limits{ConnsPerUID: 1}.withDefaults(), 500)
	peers := []identity.Peer{
		{Local: true, HasUID: true, UID: 0},
		{Local: true, HasUID: true, UID: 500},
		{Local: true, HasUID: true, UID: 1000},
		{Local: true},
		{},
		{},
	}
	var shares []*share
	for i := range peers {
		addr := netip.Addr{}
		if !peers[i].Local {
			addr = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		}
		s, limit := l.enter(&peers[i], addr)
		if limit != nil {
			t.Fatalf("%+v: %v", peers[i], limit)
		}
		if want := peers[i].HasUID && peers[i].UID <= 500; s.privileged != want {
			t.Errorf("%+v: privileged is %v", peers[i], s.privileged)
		}
		if _, limit := l.enter(&peers[i], addr); limit == nil {
			t.Errorf("%+v: a second connection is let in", peers[i])
		}
		shares = append(shares, s)
	}
	for _, s := range shares {
		l.leave(s)
	}
	if len(l.shares) != 0 || l.conns.taken.n.Load() != 0 {
		t.Errorf("shares are left: %v, %d connections", l.shares, l.conns.taken.n.Load())
	}
}

func TestConnectionLimit(t *testing.T) {
	s := serve(t, Options{Backend: newGate(), Limits: Limits{ConnsPerUID: 3}})
	var in []*client
	for range 3 {
		c := s.dial(t)
		c.call(t, request("rpc.health", ""))
		in = append(in, c)
	}
	if !s.dial(t).closed(t) {
		t.Error("a fourth connection is let in")
	}
	in[0].Close()
	testhost.Eventually(t, "a connection is free again", func() bool { return s.ledger.conns.taken.n.Load() == 2 })
	s.dial(t).call(t, request("rpc.health", ""))
}

func TestCallLimit(t *testing.T) {
	g := newGate()
	s := serve(t, Options{Backend: g, Limits: Limits{CallsPerUID: 2}})
	busy := []*client{s.dial(t), s.dial(t)}
	for _, c := range busy {
		c.post(t, request(readMethod, ""))
		<-g.begun
	}
	c := s.dial(t)
	want := `{"jsonrpc":"2.0","id":1,"error":{"code":1012,"message":"calls: no more than 2 at a time","data":{"kind":"resource_exhausted","limit":"calls","maximum":2}}}`
	if got := c.call(t, request(readMethod, "")); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	t.Run("health answers all the same", func(t *testing.T) {
		if got := c.call(t, request("rpc.health", "")); !strings.Contains(got, `"ok"`) {
			t.Error(got)
		}
		fmt.Fprint(c, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
		if res, _, err := c.answer(t); err != nil || res.StatusCode != http.StatusOK {
			t.Error(res, err)
		}
	})
	t.Run("metrics are refused", func(t *testing.T) {
		c := s.dial(t)
		fmt.Fprint(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
		if res, _, err := c.answer(t); err != nil || res.StatusCode != http.StatusServiceUnavailable {
			t.Error(res, err)
		}
	})
	t.Run("a batch takes one place at a time", func(t *testing.T) {
		got := c.call(t, "["+request(readMethod, "")+","+request("rpc.health", "")+"]")
		if !strings.Contains(got, `"limit":"calls"`) || !strings.Contains(got, `"ok"`) {
			t.Error(got)
		}
	})
	close(g.open)
	for _, c := range busy {
		if _, body, err := c.answer(t); err != nil || !strings.HasSuffix(body, `"result":{}}`) {
			t.Error(body, err)
		}
	}
	if got := c.call(t, request(readMethod, "")); !strings.HasSuffix(got, `"result":{}}`) {
		t.Errorf("after the others have ended: %s", got)
	}
}

// sized answers with a string of as many bytes as the limit param says, row by row.
func sized(ctx context.Context, m *registry.Method, params any, raw []byte, out *registry.Out) error {
	n, _ := params.(*registry.NetRoutesParams).Limit.Get()
	out.Buf = append(out.Buf, '"')
	out.Buf = append(out.Buf, strings.Repeat("x", int(n))...)
	out.Buf = append(out.Buf, '"')
	return nil
}

func sizedRequest(n int) string { return request(streamMethod, fmt.Sprintf(`{"limit":%d}`, n)) }

func TestBatchLimits(t *testing.T) {
	s := serve(t, Options{Backend: backend(sized), Limits: Limits{BatchCalls: 100, MemberBytes: 100 << 10}})
	c := s.dial(t)
	health := request("rpc.health", "")
	t.Run("as many calls as may be", func(t *testing.T) {
		got := c.call(t, "["+strings.Repeat(health+",", 99)+health+"]")
		if n := strings.Count(got, `"status":"ok"`); n != 100 {
			t.Errorf("%d answers", n)
		}
	})
	t.Run("one more", func(t *testing.T) {
		want := `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"the body is not a JSON-RPC 2.0 request: a batch has at most 100 calls, and this one has 101","data":{"kind":"invalid_request","why":"a batch has at most 100 calls, and this one has 101"}}}`
		if got := c.call(t, "["+strings.Repeat(health+",", 100)+health+"]"); got != want {
			t.Error(got)
		}
	})
	t.Run("a result that is too large", func(t *testing.T) {
		got := c.call(t, "["+health+","+sizedRequest(101<<10)+","+sizedRequest(3)+"]")
		want := `[{"jsonrpc":"2.0","id":1,"result":{"status":"ok"}},` +
			`{"jsonrpc":"2.0","id":1,"error":{"code":1012,"message":"the result is larger than 102400 bytes; make the call outside of a batch","data":{"kind":"resource_exhausted","limit":"result_bytes","maximum":102400}}},` +
			`{"jsonrpc":"2.0","id":1,"result":"xxx"}]`
		if got != want {
			t.Error(got)
		}
	})
	t.Run("large answers go out as they gather", func(t *testing.T) {
		c.post(t, "["+strings.Repeat(sizedRequest(90<<10)+",", 9)+sizedRequest(90<<10)+"]")
		res, body, err := c.answer(t)
		if err != nil || len(res.TransferEncoding) != 1 {
			t.Fatal(err, res.TransferEncoding)
		}
		one := `{"jsonrpc":"2.0","id":1,"result":"` + strings.Repeat("x", 90<<10) + `"}`
		if want := "[" + strings.Repeat(one+",", 9) + one + "]"; body != want {
			t.Errorf("%d bytes, want %d", len(body), len(want))
		}
	})
}

func TestBodyLimit(t *testing.T) {
	s := serve(t, Options{Backend: backend(sized), Limits: Limits{BodyBytes: 1 << 20, BodiesPerUID: 1 << 20}})
	big := `{"jsonrpc":"2.0","id":1,"method":"rpc.health","x":"` + strings.Repeat("x", 1<<20-53) + `"}`
	if len(big) != 1<<20 {
		t.Fatalf("the body has %d bytes", len(big))
	}
	slow := s.dial(t)
	fmt.Fprintf(slow, "POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(big), big[:100])
	testhost.Eventually(t, "the first body is being read", func() bool { return s.ledger.bodies.taken.n.Load() > 0 })

	c := s.dial(t)
	fmt.Fprintf(c, "POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 100<<10)
	res, body, err := c.answer(t)
	want := `{"jsonrpc":"2.0","id":null,"error":{"code":1012,"message":"body_bytes: no more than 1048576 at a time","data":{"kind":"resource_exhausted","limit":"body_bytes","maximum":1048576}}}`
	if err != nil || body != want || !res.Close {
		t.Errorf("%v, %s, closes: %v", err, body, res.Close)
	}
	if got := s.dial(t).call(t, request("rpc.health", "")); !strings.Contains(got, `"ok"`) {
		t.Errorf("a small body: %s", got)
	}
	fmt.Fprint(slow, big[100:])
	if _, body, err := slow.answer(t); err != nil || !strings.Contains(body, `"ok"`) {
		t.Error(body, err)
	}
	if got := s.dial(t).call(t, big); !strings.Contains(got, `"ok"`) {
		t.Errorf("after the first: %s", got)
	}
}
