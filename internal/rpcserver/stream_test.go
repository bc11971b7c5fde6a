package rpcserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// router is a server of net.* whose routes come from a function.
type router struct {
	registry.NotBuiltNet
	routes func(ctx context.Context, rows *registry.Stream[registry.Route]) error
}

func (r *router) Routes(ctx context.Context, _ *registry.NetRoutesParams, rows *registry.Stream[registry.Route]) (*registry.NetRoutesEnd, error) {
	return nil, r.routes(ctx, rows)
}

func serveRoutes(t *testing.T, o Options, routes func(ctx context.Context, rows *registry.Stream[registry.Route]) error) *testServer {
	o.Backend = Native(registry.Servers{Net: &router{routes: routes}, Vol: registry.NotBuiltVol{}})
	return serve(t, o)
}

// sendRoutes sends n rows.
func sendRoutes(rows *registry.Stream[registry.Route], n int) error {
	row := registry.Route{Protocol: "static"}
	for range n {
		if err := rows.Send(&row); err != nil {
			return err
		}
	}
	return nil
}

// rowSize is the length of a row on the wire.
var rowSize = len((&registry.Route{Protocol: "static"}).AppendJSON(nil))

// tooMany is so many rows that they are streamed.
var tooMany = 3 * registry.FlushSize / rowSize

func TestStreamedResult(t *testing.T) {
	row := string((&registry.Route{Protocol: "static"}).AppendJSON(nil))
	for _, n := range []int{0, 1, registry.FlushSize/(rowSize+1) - 2, tooMany, 20 * tooMany} {
		s := serveRoutes(t, Options{}, func(_ context.Context, rows *registry.Stream[registry.Route]) error { return sendRoutes(rows, n) })
		c := s.dial(t)
		for range 2 {
			c.post(t, request(streamMethod, ""))
			res, body, err := c.answer(t)
			if err != nil {
				t.Fatal(err)
			}
			list := strings.TrimSuffix(strings.Repeat(row+",", n), ",")
			if want := `{"jsonrpc":"2.0","id":1,"result":{"routes":[` + list + `]}}`; body != want {
				t.Errorf("%d rows: %d bytes, want %d", n, len(body), len(want))
			}
			if streamed := len(body) > registry.FlushSize+1024; streamed != (res.ContentLength < 0) {
				t.Errorf("%d rows in %d bytes: Content-Length is %d", n, len(body), res.ContentLength)
			}
		}
		s.end(t)
	}
}

func TestStreamTakesConstantMemory(t *testing.T) {
	s := serveRoutes(t, Options{}, func(_ context.Context, rows *registry.Stream[registry.Route]) error {
		return sendRoutes(rows, 64<<20/rowSize)
	})
	c := s.dial(t)
	c.post(t, request(streamMethod, ""))
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, err := io.Copy(io.Discard, res.Body)
	runtime.ReadMemStats(&after)
	if err != nil || n < 60<<20 {
		t.Fatal(n, err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("%d bytes were allocated for an answer of %d", grown, n)
	}
}

func TestStreamThatFails(t *testing.T) {
	broken := errors.New("the dump broke off")
	for _, test := range []struct {
		name string
		rows int
		end  func() error
		want string // of the answer; "": the connection is cut
	}{
		{"before it is on the wire", 2, func() error { return broken }, `"code":-32603`},
		{"on the wire", tooMany, func() error { return broken }, ""},
		{"by a panic on the wire", tooMany, func() error { panic(broken) }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := serveRoutes(t, Options{}, func(_ context.Context, rows *registry.Stream[registry.Route]) error {
				if err := sendRoutes(rows, test.rows); err != nil {
					return err
				}
				return test.end()
			})
			c := s.dial(t)
			c.post(t, request(streamMethod, ""))
			_, body, err := c.answer(t)
			if test.want != "" {
				if err != nil || !strings.Contains(body, test.want) {
					t.Errorf("%s, %v", body, err)
				}
				return
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("a list that broke off looks whole: %d bytes, %v", len(body), err)
			}
			s.log.Await(t, `"code":"cut"`, broken.Error())
			s.log.Await(t, `"message":"internal error"`, broken.Error())
		})
	}
}

func TestStreamIsTakenAgain(t *testing.T) {
	var restarted []bool
	s := serveRoutes(t, Options{}, func(_ context.Context, rows *registry.Stream[registry.Route]) error {
		for _, n := range []int{5, tooMany} {
			if err := sendRoutes(rows, n); err != nil {
				return err
			}
			restarted = append(restarted, rows.Restart())
		}
		return nil
	})
	c := s.dial(t)
	c.post(t, request(streamMethod, ""))
	_, body, err := c.answer(t)
	if n := strings.Count(body, `"protocol"`); err != nil || n != tooMany {
		t.Errorf("%d rows, %v; want %d", n, err, tooMany)
	}
	if fmt.Sprint(restarted) != "[true false]" {
		t.Errorf("restarted: %v", restarted)
	}
}

// endless sends rows until nobody takes them, and then pretends that all went well, as a careless handler
// might.
func endless(stopped chan<- error) func(context.Context, *registry.Stream[registry.Route]) error {
	return func(_ context.Context, rows *registry.Stream[registry.Route]) error {
		for {
			if err := sendRoutes(rows, 1000); err != nil {
				stopped <- err
				return nil
			}
		}
	}
}

func TestClientThatTakesNothing(t *testing.T) {
	stopped := make(chan error, 1)
	s := serveRoutes(t, Options{Deadlines: Deadlines{Stall: 200 * time.Millisecond}}, endless(stopped))
	c := s.dial(t)
	c.post(t, request(streamMethod, ""))
	start := time.Now()
	if err := <-stopped; err == nil {
		t.Error("no error")
	}
	took(t, start, 200*time.Millisecond)
	if _, _, err := c.answer(t); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the answer looks whole: %v", err)
	}
}

func TestClientThatIsSlow(t *testing.T) {
	const rate = 100 << 10 // bytes a second, so few that the kernel does not wake the server to write more
	s := serve(t, Options{Deadlines: Deadlines{Stall: time.Second}, Backend: backend(sized)})
	c := s.dial(t)
	c.post(t, sizedRequest(1<<20))
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	taken := int64(0)
	for start := time.Now(); time.Since(start) < 3*time.Second; time.Sleep(20 * time.Millisecond) {
		n, err := io.CopyN(io.Discard, res.Body, int64(rate*time.Since(start).Seconds())-taken)
		if taken += n; err != nil {
			t.Fatalf("cut after %v: %v", time.Since(start), err)
		}
	}
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		t.Fatal(err)
	}
}

func TestDeadlineCoversTheLastByte(t *testing.T) {
	stopped := make(chan error, 1)
	s := serveRoutes(t, Options{}, endless(stopped))
	c := s.dial(t)
	start := time.Now()
	c.post(t, request(streamMethod, ""), "X-Deadline-Ms: 300")
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = io.CopyN(io.Discard, res.Body, 32<<10)
		time.Sleep(10 * time.Millisecond)
	}
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the answer ended with %v", err)
	}
	<-stopped
	took(t, start, 300*time.Millisecond)
}

func TestStreamThatHangs(t *testing.T) {
	release := make(chan struct{})
	s := serveRoutes(t, Options{}, func(_ context.Context, rows *registry.Stream[registry.Route]) error {
		if err := sendRoutes(rows, tooMany); err != nil {
			return err
		}
		<-release
		return sendRoutes(rows, tooMany)
	})
	c := s.dial(t)
	start := time.Now()
	c.post(t, request(streamMethod, ""), "X-Deadline-Ms: 200")
	if _, _, err := c.answer(t); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the answer ended with %v", err)
	}
	took(t, start, 200*time.Millisecond)
	close(release)
	s.log.Await(t, "came back after its call had ended", "deadline exceeded")
	s.settled(t)
}

func TestStreamLimit(t *testing.T) {
	release := make(chan struct{})
	s := serveRoutes(t, Options{Limits: Limits{StreamsPerUID: 1}}, func(ctx context.Context, rows *registry.Stream[registry.Route]) error {
		n := tooMany
		if registry.CallerFrom(ctx).Name == "" {
			return errors.New("no caller")
		}
		if err := sendRoutes(rows, n); err != nil {
			return fmt.Errorf("rows %d: %w", rows.Rows(), err)
		}
		<-release
		return nil
	})
	first := s.dial(t)
	first.post(t, request(streamMethod, ""))
	testhost.Eventually(t, "one stream is on its way", func() bool { return s.ledger.streams.taken() == 1 })
	got := s.dial(t).call(t, request(streamMethod, ""))
	want := `{"jsonrpc":"2.0","id":1,"error":{"code":1012,"message":"streams: no more than 1 at a time","data":{"kind":"resource_exhausted","limit":"streams","maximum":1}}}`
	if got != want {
		t.Errorf("a second stream: %s", got)
	}
	close(release)
	if _, body, err := first.answer(t); err != nil || !strings.HasSuffix(body, "]}}") {
		t.Error(err)
	}
	if got := s.dial(t).call(t, request(streamMethod, "")); !strings.HasSuffix(got, "]}}") {
		t.Error("a stream after the first has ended is refused")
	}
}

func TestNotificationOfAStream(t *testing.T) {
	sent := make(chan error, 1)
	s := serveRoutes(t, Options{}, func(_ context.Context, rows *registry.Stream[registry.Route]) error {
		err := sendRoutes(rows, tooMany)
		sent <- err
		return err
	})
	c := s.dial(t)
	c.post(t, `{"jsonrpc":"2.0","method":"`+streamMethod+`"}`)
	if res, body, err := c.answer(t); err != nil || res.StatusCode != http.StatusNoContent || body != "" {
		t.Error(res.Status, len(body), err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

func TestLongAnswersThatAreNotStreamed(t *testing.T) {
	s := serve(t, Options{Backend: backend(sized)})
	c := s.dial(t)
	for _, n := range []int{1, 2000, 2048, 2049, 5000, 70000, 300000} {
		c.post(t, sizedRequest(n))
		res, body, err := c.answer(t)
		if err != nil || res.Header.Get("Content-Length") != strconv.Itoa(len(body)) || strings.Count(body, "x") != n {
			t.Errorf("%d: %v, %d bytes, Content-Length %q", n, err, len(body), res.Header.Get("Content-Length"))
		}
	}
}

func TestBatchWhoseClientTakesNothing(t *testing.T) {
	ran := make(chan string, 1000)
	s := serve(t, Options{Deadlines: Deadlines{Stall: 200 * time.Millisecond}, Backend: backend(func(_ context.Context, m *registry.Method, params any, raw []byte, out *registry.Out) error {
		ran <- m.Name
		out.Buf = append(out.Buf, `"`+strings.Repeat("x", 100<<10)+`"`...)
		return nil
	})})
	c := s.dial(t)
	c.post(t, "["+strings.Repeat(request(readMethod, "")+",", 20)+request(writeMethod, writeParams)+"]")
	s.log.Await(t, "the answer to a batch was cut")
	last := ""
	for len(ran) > 0 {
		last = <-ran
	}
	if last != writeMethod {
		t.Errorf("the last call that ran is %s", last)
	}
	if _, _, err := c.answer(t); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the answer ended with %v", err)
	}
}
