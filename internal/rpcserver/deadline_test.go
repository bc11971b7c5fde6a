package rpcserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// obedient waits for its context to end.
func obedient(ctx context.Context, m *registry.Method, params any, raw []byte, out *registry.Out) error {
	<-ctx.Done()
	return fmt.Errorf("waiting: %w", ctx.Err())
}

// took checks that something lasted about as long as it should have.
func took(t *testing.T, start time.Time, want time.Duration) {
	t.Helper()
	if d := time.Since(start); d < want-10*time.Millisecond || d > want+5*time.Second {
		t.Errorf("it took %v, want %v", d, want)
	}
}

const deadlineMessage = `"code":1010,"message":"the call's time was up after %d ms","data":{"kind":"deadline_exceeded","after_ms":%[1]d%s}}`

func TestDeadlineOfTheClient(t *testing.T) {
	s := serve(t, Options{Backend: backend(obedient)})
	c := s.dial(t)
	for _, test := range []struct{ method, params, applied string }{
		{readMethod, "", ""},
		{writeMethod, writeParams, `,"applied":"unknown"`},
	} {
		start := time.Now()
		got := c.call(t, request(test.method, test.params), "X-Deadline-Ms: 150")
		took(t, start, 150*time.Millisecond)
		if want := fmt.Sprintf(deadlineMessage, 150, test.applied); !strings.Contains(got, want) {
			t.Errorf("%s: got %s, want %s", test.method, got, want)
		}
	}
}

func TestDeadlineOfTheServer(t *testing.T) {
	s := serve(t, Options{Backend: backend(obedient), Deadlines: Deadlines{Read: 100 * time.Millisecond, Write: 300 * time.Millisecond}})
	c := s.dial(t)
	start := time.Now()
	c.call(t, request(readMethod, ""), "X-Deadline-Ms: 60000")
	took(t, start, 100*time.Millisecond)
	start = time.Now()
	c.call(t, request(writeMethod, writeParams))
	took(t, start, 300*time.Millisecond)
}

func TestContextOfAHandler(t *testing.T) {
	var caller registry.Caller
	var left time.Duration
	s := serve(t, Options{Backend: backend(func(ctx context.Context, m *registry.Method, params any, raw []byte, out *registry.Out) error {
		caller = registry.CallerFrom(ctx)
		deadline, ok := ctx.Deadline()
		if !ok {
			return errors.New("no deadline")
		}
		left = time.Until(deadline)
		out.Buf = append(out.Buf, "1"...)
		return nil
	})})
	if got := s.dial(t).call(t, request(readMethod, ""), "X-Deadline-Ms: 7000"); !strings.Contains(got, `"result":1`) {
		t.Fatal(got)
	}
	if caller.Right != registry.RightAdmin || !strings.HasPrefix(caller.Name, "uid:") {
		t.Errorf("caller is %+v", caller)
	}
	if left < 5*time.Second || left > 7*time.Second {
		t.Errorf("%v are left", left)
	}
}

// TestHandlerThatHangs is a handler in a system call that no context ends: the caller is answered at the
// deadline, the handler keeps what it has and its place until it comes back, and then nothing is left.
func TestHandlerThatHangs(t *testing.T) {
	release := make(chan struct{})
	handler := func(ctx context.Context, m *registry.Method, params any, raw []byte, out *registry.Out) error {
		if m.Name != readMethod {
			out.Buf = append(out.Buf, "2"...)
			return nil
		}
		out.Buf = append(out.Buf, "half a res"...)
		<-release
		out.Buf = append(out.Buf, strings.Repeat("ult", 1000)...)
		if string(raw) != `{}` {
			return fmt.Errorf("params are %q now", raw)
		}
		return nil
	}
	s := serve(t, Options{Backend: backend(handler), Limits: Limits{CallsPerUID: 2}})
	c := s.dial(t)
	start := time.Now()
	got := c.call(t, request(readMethod, `{}`), "X-Deadline-Ms: 100")
	took(t, start, 100*time.Millisecond)
	if want := fmt.Sprintf(deadlineMessage, 100, ""); !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	got = c.call(t, "["+request(streamMethod, "")+","+request(readMethod, `{}`)+","+request("rpc.health", "")+"]", "X-Deadline-Ms: 100")
	if !strings.HasPrefix(got, `[{"jsonrpc":"2.0","id":1,"result":2},{"jsonrpc":"2.0","id":1,"error":{"code":1010`) || !strings.HasSuffix(got, `"result":{"status":"ok"}}]`) {
		t.Error(got)
	}
	if got := c.call(t, request(streamMethod, "")); !strings.Contains(got, `"limit":"calls"`) {
		t.Errorf("two calls hang and a third has a place: %s", got)
	}
	if n := s.metrics.abandoned.Load(); n != 2 {
		t.Errorf("%d calls are abandoned, want 2", n)
	}
	close(release)
	s.log.Await(t, readMethod, "a handler came back after its call had ended")
	testhost.Eventually(t, "the places are free again", func() bool { return s.ledger.calls.taken() == 0 && s.metrics.abandoned.Load() == 0 })
	if strings.Contains(s.log.String(), "params are") {
		t.Error("a handler's params changed under it")
	}
	if got := c.call(t, request(streamMethod, "")); !strings.Contains(got, `"result":2`) {
		t.Error(got)
	}
}

func TestHandlerOutlivesItsConnection(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, Options{Backend: backend(func(context.Context, *registry.Method, any, []byte, *registry.Out) error {
		<-release
		return nil
	})})
	c := s.dial(t)
	c.call(t, request(readMethod, ""), "X-Deadline-Ms: 50")
	c.Close()
	testhost.Eventually(t, "the connection is gone", func() bool { return s.ledger.conns.taken.n.Load() == 0 })
	s.ledger.mu.Lock()
	shares := len(s.ledger.shares)
	s.ledger.mu.Unlock()
	if shares != 1 {
		t.Errorf("%d shares, and a call still runs", shares)
	}
	close(release)
	s.settled(t)
}

func TestHandlerThatPanicsAfterItsCall(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, Options{Backend: backend(func(context.Context, *registry.Method, any, []byte, *registry.Out) error {
		<-release
		panic("too late")
	})})
	c := s.dial(t)
	c.call(t, request(readMethod, ""), "X-Deadline-Ms: 50")
	close(release)
	s.log.Await(t, `"level":"error"`, "too late", "stack", "TestHandlerThatPanicsAfterItsCall")
	c.call(t, request("rpc.health", ""))
}

func TestBatchHasOneDeadline(t *testing.T) {
	s := serve(t, Options{Backend: backend(obedient)})
	start := time.Now()
	got := s.dial(t).call(t, "["+request(readMethod, "")+","+request(writeMethod, writeParams)+","+request(readMethod, "")+"]", "X-Deadline-Ms: 100")
	took(t, start, 100*time.Millisecond)
	want := "[" + `{"jsonrpc":"2.0","id":1,"error":{` + fmt.Sprintf(deadlineMessage, 100, "") + "}," +
		`{"jsonrpc":"2.0","id":1,"error":{` + fmt.Sprintf(deadlineMessage, 100, `,"applied":"no"`) + "}," +
		`{"jsonrpc":"2.0","id":1,"error":{` + fmt.Sprintf(deadlineMessage, 100, "") + "}]"
	want = strings.ReplaceAll(want, "}}}}", "}}}")
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// ending reports why the context of each call ended.
func ending(ends chan<- error) backend {
	return func(ctx context.Context, m *registry.Method, params any, raw []byte, out *registry.Out) error {
		ends <- nil // begun
		select {
		case <-ctx.Done():
		case <-time.After(300 * time.Millisecond):
		}
		ends <- ctx.Err()
		out.Buf = append(out.Buf, "1"...)
		return ctx.Err()
	}
}

func TestHangUp(t *testing.T) {
	for _, test := range []struct {
		name, body string
		leave      func(*client) error
		want       error
		answered   bool
	}{
		{"ends a read", request(readMethod, ""), func(c *client) error { return c.Close() }, context.Canceled, false},
		{"does not end a write", request(writeMethod, writeParams), func(c *client) error { return c.Close() }, nil, false},
		{"of the sending direction only is none", request(readMethod, ""), func(c *client) error { return c.CloseWrite() }, nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			ends := make(chan error, 2)
			s := serve(t, Options{Backend: ending(ends)})
			c := s.dial(t)
			c.post(t, test.body)
			<-ends
			if err := test.leave(c); err != nil {
				t.Fatal(err)
			}
			if err := <-ends; !errors.Is(err, test.want) {
				t.Errorf("the context ended with %v, want %v", err, test.want)
			}
			if test.answered {
				if _, body, err := c.answer(t); err != nil || !strings.Contains(body, `"result":1`) {
					t.Error(body, err)
				}
			}
			if test.want != nil {
				s.log.Await(t, `"code":"canceled"`)
			}
		})
	}
}

func TestSlowHeadersAndBodies(t *testing.T) {
	s := serve(t, Options{Backend: backend(obedient), Deadlines: Deadlines{Header: 100 * time.Millisecond, Read: 200 * time.Millisecond, Idle: 300 * time.Millisecond}})
	t.Run("headers", func(t *testing.T) {
		c, start := s.dial(t), time.Now()
		io.WriteString(c, "POST /rpc HTT")
		if got := readAll(t, c); got != "" && got != string(bareAnswer(http.StatusBadRequest)) {
			t.Errorf("an answer comes: %q", got)
		}
		took(t, start, 100*time.Millisecond)
	})
	t.Run("body", func(t *testing.T) {
		c, start := s.dial(t), time.Now()
		io.WriteString(c, "POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
		if res, body, err := c.answer(t); err != nil || res.StatusCode != http.StatusRequestTimeout || body != "" {
			t.Error(res, body, err)
		}
		took(t, start, 200*time.Millisecond)
	})
	t.Run("between requests", func(t *testing.T) {
		c := s.dial(t)
		c.call(t, request("rpc.health", ""))
		start := time.Now()
		if !c.closed(t) {
			t.Error("an answer comes")
		}
		took(t, start, 300*time.Millisecond)
	})
}
