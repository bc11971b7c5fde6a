package rpcserver

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// TestLaterRequests runs again what shows all that a client gets to see, on connections that have had a request
// before: from then on usual requests are served directly, and nobody may see a difference.
func TestLaterRequests(t *testing.T) {
	if *update {
		t.Skip("the conversations are written down by TestWire")
	}
	laterRequests = true
	defer func() { laterRequests = false }()
	for _, again := range []struct {
		name string
		test func(*testing.T)
	}{
		{"wire", TestWire},
		{"hang up", TestHangUp},
		{"drain", TestDrain},
		{"drain ends reads and spares writes", TestDrainEndsReadsAndSparesWrites},
		{"drain does not wait for what hangs", TestDrainDoesNotWaitForWhatHangs},
		{"slow headers and bodies", TestSlowHeadersAndBodies},
		{"deadline of the server", TestDeadlineOfTheServer},
		{"deadline of the client", TestDeadlineOfTheClient},
		{"deadline covers the last byte", TestDeadlineCoversTheLastByte},
		{"handler that hangs", TestHandlerThatHangs},
		{"handler that outlives its connection", TestHandlerOutlivesItsConnection},
		{"handler that panics after its call", TestHandlerThatPanicsAfterItsCall},
		{"prompt backend", TestPromptBackend},
		{"streamed result", TestStreamedResult},
		{"stream that fails", TestStreamThatFails},
		{"stream that hangs", TestStreamThatHangs},
		{"stream limit", TestStreamLimit},
		{"client that takes nothing", TestClientThatTakesNothing},
		{"long answers that are not streamed", TestLongAnswersThatAreNotStreamed},
		{"policy changes under an open connection", TestPolicyChangesUnderAnOpenConnection},
	} {
		t.Run(again.name, again.test)
	}
}

// The pipeline counts on the buffer of net/http having a certain size. With another one all would work, and
// nothing would be served directly.
func TestUsualRequestsAreServedDirectly(t *testing.T) {
	s := serve(t, Options{Backend: backend(wireBackend)})
	c := s.dial(t)
	c.call(t, request("rpc.health", ""))
	if s.latest.conn.Load() != nil {
		t.Error("the first request of a connection is not net/http's")
	}
	beDirect(t, s, c)
	c.Close()
	testhost.Eventually(t, "the connection is forgotten", func() bool { return s.latest.conn.Load() == nil })
}

// beDirect makes calls until they are served directly. That may not be the second one: where it comes early,
// net/http, which reads on while it serves the first one, has its first byte.
func beDirect(t *testing.T, s *testServer, c *client) {
	t.Helper()
	testhost.Eventually(t, "calls are served directly", func() bool {
		c.call(t, request("rpc.health", ""))
		return s.latest.conn.Load() != nil
	})
}

// What has come before a request counts as its beginning, also where net/http has it already.
func TestBytesBeforeAUsualRequest(t *testing.T) {
	g := newGate()
	s := serve(t, Options{Backend: g})
	for _, before := range []string{"X", "P"} {
		c := s.dial(t)
		c.call(t, request("rpc.health", ""))
		c.post(t, "["+request(readMethod, "")+"]") // a batch is net/http's, which reads on while it is served
		<-g.begun
		io.WriteString(c, before)
		testhost.Eventually(t, "the server has read it", func() bool { return unread(t, c) == 0 })
		g.open <- struct{}{}
		if _, _, err := c.answer(t); err != nil {
			t.Fatal(err)
		}
		c.post(t, request(readMethod, ""))
		if res, body, err := c.answer(t); err != nil || res.StatusCode == http.StatusOK {
			t.Errorf("%q before a request: %v %s %v", before, res, body, err)
		}
	}
}

// What net/http reads to the end of a body that was refused is no request, whatever it looks like.
func TestRestOfARefusedBody(t *testing.T) {
	var calls atomic.Int64
	s := serve(t, Options{Backend: backend(func(ctx context.Context, m *registry.Method, params any, raw []byte, out *registry.Out) error {
		calls.Add(1)
		return wireBackend(ctx, m, params, raw, out)
	})})
	call := request(readMethod, "")
	body := fmt.Sprintf("POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(call), call)
	for _, line := range []string{"PUT /rpc", "POST /nowhere", "POST /health", "DELETE /metrics"} {
		c := s.dial(t)
		c.call(t, request("rpc.health", ""))
		fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", line, len(body))
		if res, answer, err := c.answer(t); err != nil || res.StatusCode == http.StatusOK {
			t.Errorf("%s: %v %s %v", line, res, answer, err)
		}
		_, _ = io.WriteString(c, body)
		if !c.closed(t) || calls.Load() > 0 {
			t.Errorf("%s: its body was answered, %d calls", line, calls.Load())
		}
	}
}

// unread is how many bytes the server has not taken of what the client wrote, and what the kernel needs to keep
// them.
func unread(t *testing.T, c *client) (n int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// After each request a connection has all of its idle time, also after one whose client was watched.
func TestIdleTimeIsRenewed(t *testing.T) {
	s := serve(t, Options{Backend: backend(func(ctx context.Context, m *registry.Method, params any, raw []byte, out *registry.Out) error {
		_ = ctx.Done() // has the client watched
		return wireBackend(ctx, m, params, raw, out)
	})})
	c := s.dial(t)
	beDirect(t, s, c)
	for _, method := range []string{"rpc.health", readMethod, "rpc.health", readMethod, readMethod} {
		before := time.Now()
		c.call(t, request(method, ""))
		testhost.Eventually(t, "the idle time is set anew", func() bool {
			readBy := &s.latest.conn.Load().readBy
			readBy.mu.Lock()
			defer readBy.mu.Unlock()
			return !readBy.wanted.Before(before.Add(s.deadlines.Idle))
		})
	}
}

// FuzzUsual holds readUsual against net/http: what it takes net/http must read in the same way, and the pipeline
// must find nothing in it that it would refuse or ask a credential of.
func FuzzUsual(f *testing.F) {
	for _, text := range wireRequests(f) {
		f.Add([]byte(text), false)
	}
	f.Add([]byte("POST / HTTP/1.1\r\nhost: x\r\nX-Caller: uid:7\r\nX-Deadline-Ms: 20\r\nContent-Length: 2\r\n\r\n{}"), true)
	f.Fuzz(func(t *testing.T, b []byte, records bool) {
		u, ok := readUsual(b, records)
		if !ok {
			return
		}
		in := bufio.NewReader(bytes.NewReader(b))
		r, err := http.ReadRequest(in)
		if err != nil {
			t.Fatalf("%q is taken, and net/http says %v", b, err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || in.Buffered() > 0 {
			t.Fatalf("%q: %v, %d bytes behind it", b, err, in.Buffered())
		}
		s := new(Server)
		if records {
			s.alias = Alias{Namespace: "net", Prefix: "mosnet"}
		}
		h := s.readHeaders(r.Header)
		want := headers{deadline: u.deadline, caller: string(u.caller)}
		if judgeFraming(r) != 0 || r.Method != http.MethodPost || r.RequestURI != u.path || string(body) != string(u.body) || h != want || r.Close {
			t.Fatalf("%q is taken as %+v, and net/http reads %+v, %+v", b, u, r, h)
		}
	})
}

// TestUsual says what is usual and what is not.
func TestUsual(t *testing.T) {
	const end = "\r\n\r\n{}"
	for head, want := range map[string]bool{
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2":                                                                 true,
		"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nContent-Type: application/json": true,
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Go-http-client/1.1\r\nContent-Length: 2\r\nAccept-Encoding: gzip":      true,
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nX-Deadline-Ms: 5\r\nContent-Length: 2":                                             true,
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nX-Deadline-Ms: 0\r\nContent-Length: 2":                                             false,
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nX-Caller: uid:1\r\nContent-Length: 2":                                              false,
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3":                                                                 false,
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1":                                                                 false,
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 2":                                            false,
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: +2":                                                                false,
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length:2":                                                                  false,
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length : 2":                                                                false,
		"POST /rpc HTTP/1.1\r\nHost: localhost\nContent-Length: 2":                                                                   false,
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 2":                                   false,
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2":                                            false,
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2":                                         false,
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nContent-Length: 2":                                      false,
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nContent-Length: 2":                                                 false,
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nVia: 1.1 x\r\nContent-Length: 2":                                                   false,
		"POST /rpc HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 2":                                                              false,
		"POST /rpc HTTP/1.1\r\nHost: localhost:80\r\nContent-Length: 2":                                                              false,
		"POST /rpc HTTP/1.1\r\nContent-Length: 2":                                                                                    false,
		"POST /rpc HTTP/1.0\r\nHost: localhost\r\nContent-Length: 2":                                                                 false,
		"POST /rpc?x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2":                                                               false,
		"GET /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2":                                                                  false,
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nUser-Agent: \xff\r\nContent-Length: 2":                                             false,
		"POST /rpc HTTP/1.1\r\nHost: localhost\r\nUser-Agent: a\r\n b\r\nContent-Length: 2":                                          false,
	} {
		if _, got := readUsual([]byte(head+end), false); got != want {
			t.Errorf("%q: %t", head, got)
		}
	}
	batch := strings.Replace("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2"+end, "{}", "[]", 1)
	if _, got := readUsual([]byte(batch), false); got {
		t.Error("a batch is usual")
	}
}

// A context that nobody waits for ends all the same.
func TestCallContext(t *testing.T) {
	s := serve(t, Options{Backend: backend(wireBackend)})
	x := &exchange{s: s.Server}
	m, _ := registry.Lookup(writeMethod)
	for _, test := range []struct {
		name string
		left time.Duration
		end  bool
		want error
	}{
		{"runs", time.Hour, false, nil},
		{"late", -time.Second, false, context.DeadlineExceeded},
		{"over", time.Hour, true, context.Canceled},
	} {
		for _, waited := range []bool{false, true} {
			ctx, end := x.context(m, &record{deadline: time.Now().Add(test.left), caller: registry.Caller{Name: "uid:7"}})
			if waited {
				ctx.Done()
			}
			if test.end {
				end()
			}
			if err := ctx.Err(); err != test.want {
				t.Errorf("%s, waited for: %t: %v", test.name, waited, err)
			}
			child, cancel := context.WithCancel(ctx)
			if err := child.Err(); err != test.want || registry.CallerFrom(child).Name != "uid:7" {
				t.Errorf("%s, waited for: %t: what is made of it: %v", test.name, waited, err)
			}
			cancel()
			end()
			<-ctx.Done()
		}
	}
}
