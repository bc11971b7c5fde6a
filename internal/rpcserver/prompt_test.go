package rpcserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/geomind/my_os_server/pkg/registry"
)

// promptly is a backend that never outlives its context.
type promptly struct{ backend }

func (promptly) Prompt() {}

// TestPromptBackend: its calls run on the connection's goroutine, with the same answers as any other's: results
// small and streamed, errors before and behind the first part, deadlines, panics, notifications.
func TestPromptBackend(t *testing.T) {
	var now atomic.Pointer[backend]
	does := func(b backend) { now.Store(&b) }
	s := serve(t, Options{Backend: promptly{func(ctx context.Context, m *registry.Method, params any, raw []byte, out *registry.Out) error {
		return (*now.Load())(ctx, m, params, raw, out)
	}}, Deadlines: Deadlines{Read: 2 * time.Second}})
	long := strings.Repeat("x", registry.FlushSize)
	for _, c := range []struct {
		name, answer string // "" answer: the connection is cut
		length       int64  // -1: in chunks
		call         func(ctx context.Context, out *registry.Out) error
	}{
		{"small", `"result":"a"}`, 0, func(_ context.Context, out *registry.Out) error { return appendTo(out, `"a"`) }},
		{"long", `"result":"` + long + `"}`, -1, func(_ context.Context, out *registry.Out) error {
			return errors.Join(appendTo(out, `"`), appendTo(out, long), appendTo(out, `"`))
		}},
		{"long and announced", `"result":"` + long + `"}`, int64(len(`{"jsonrpc":"2.0","id":1,"result":""}`) + len(long)), func(_ context.Context, out *registry.Out) error {
			out.Size = int64(len(long) + 2)
			return errors.Join(appendTo(out, `"`), appendTo(out, long), appendTo(out, `"`))
		}},
		{"announced as longer", "", 0, func(_ context.Context, out *registry.Out) error {
			out.Size = int64(len(long) + 20)
			return errors.Join(appendTo(out, `"`), appendTo(out, long), appendTo(out, `"`))
		}},
		{"announced as shorter", "", 0, func(_ context.Context, out *registry.Out) error {
			out.Size = int64(len(long) - 20)
			return errors.Join(appendTo(out, `"`), appendTo(out, long), appendTo(out, `"`))
		}},
		{"an error", `"kind":"not_found"`, 0, func(_ context.Context, out *registry.Out) error {
			_ = appendTo(out, `{"half":`)
			return &registry.NotFoundError{NotFoundData: registry.NotFoundData{Resource: "thing", ID: "1"}}
		}},
		{"an error behind the first part", "", 0, func(_ context.Context, out *registry.Out) error {
			_ = appendTo(out, `"`+long)
			return errors.New("broken")
		}},
		{"out of time", `"kind":"deadline_exceeded"`, 0, func(ctx context.Context, _ *registry.Out) error { <-ctx.Done(); return ctx.Err() }},
		{"a panic", `"kind":"internal"`, 0, func(context.Context, *registry.Out) error { panic("no") }},
	} {
		does(func(ctx context.Context, _ *registry.Method, _ any, _ []byte, out *registry.Out) error {
			return c.call(ctx, out)
		})
		conn := s.dial(t)
		conn.post(t, request(streamMethod, ""), "X-Deadline-Ms: 300")
		res, answer, err := conn.answer(t)
		switch {
		case c.answer == "" && err == nil:
			t.Errorf("%s: %d bytes that look whole", c.name, len(answer))
		case c.answer == "":
		case err != nil || !strings.Contains(answer, c.answer):
			t.Errorf("%s: %.200s, %v", c.name, answer, err)
		case c.length != 0 && res.ContentLength != c.length:
			t.Errorf("%s: Content-Length is %d, want %d", c.name, res.ContentLength, c.length)
		}
	}
	does(func(_ context.Context, _ *registry.Method, _ any, _ []byte, out *registry.Out) error {
		return appendTo(out, long)
	})
	if got := s.dial(t).call(t, fmt.Sprintf(`{"jsonrpc":"2.0","method":%q}`, streamMethod)); got != "" {
		t.Errorf("a notification is answered: %.100s", got)
	}
}

func appendTo(out *registry.Out, text string) error {
	out.Buf = append(out.Buf, text...)
	return out.Spill()
}
