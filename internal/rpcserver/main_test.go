package rpcserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/acl"
	"github.com/geomind/my_os_server/pkg/registry"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(loadEnv); spec != "" {
		if err := runLoad(spec); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// backend is a Backend made of one function.
type backend func(ctx context.Context, m *registry.Method, params any, raw []byte, out *registry.Out) error

func (f backend) Call(ctx context.Context, m *registry.Method, params any, raw []byte, out *registry.Out) error {
	return f(ctx, m, params, raw, out)
}

// testServer is a Server that runs on a Unix socket.
type testServer struct {
	*Server
	socket string
	log    *testhost.Log
	stop   context.CancelFunc
	ended  chan error
	once   sync.Once
}

// serve starts a server with what o says, and ends it with the test; then it must hold nothing any more.
func serve(tb testing.TB, o Options) *testServer {
	tb.Helper()
	return serveOn(tb, nil, o)
}

// serveOn is serve with one more listener; nil is none.
func serveOn(tb testing.TB, more net.Listener, o Options) *testServer {
	tb.Helper()
	t := &testServer{log: new(testhost.Log), ended: make(chan error, 1)}
	o.Log = zerolog.New(t.log)
	o.Version = "1.2.3"
	o.DaemonUID = uint32(os.Geteuid())
	var err error
	if t.Server, err = New(o); err != nil {
		tb.Fatal(err)
	}
	l := listen(tb)
	t.socket = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	t.stop = cancel
	listeners := []net.Listener{l}
	if more != nil {
		listeners = append(listeners, more)
	}
	go func() { t.ended <- t.Serve(ctx, listeners...) }()
	tb.Cleanup(func() { t.end(tb) })
	return t
}

// end stops the server and waits until it has come to its end.
func (t *testServer) end(tb testing.TB) {
	tb.Helper()
	t.once.Do(func() {
		t.stop()
		select {
		case err := <-t.ended:
			if err != nil {
				tb.Errorf("Serve: %v", err)
			}
		case <-time.After(30 * time.Second):
			tb.Fatal("the server does not end")
		}
		t.settled(tb)
	})
}

// settled waits until nothing is taken of any resource.
func (t *testServer) settled(tb testing.TB) {
	tb.Helper()
	l := t.ledger
	defer func() {
		if tb.Failed() {
			tb.Logf("left: %d shares, %d connections, %d calls, %d streams, %d bytes of bodies", len(l.shares), l.conns.taken.n.Load(), l.calls.taken(), l.streams.taken(), l.bodies.taken.n.Load())
		}
	}()
	testhost.Eventually(tb, "everything that was taken is given back", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.shares)+int(l.conns.taken.n.Load()+l.calls.taken()+l.streams.taken()+l.bodies.taken.n.Load()) == 0
	})
}

// listen makes a Unix socket.
func listen(tb testing.TB) net.Listener {
	tb.Helper()
	dir, err := os.MkdirTemp("", "rpc") // not TempDir: a socket's path has little room
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// parsePolicy makes a policy of the text of an ACL file.
func parsePolicy(tb testing.TB, text string) *acl.Policy {
	tb.Helper()
	var methods []acl.Method
	for _, m := range registry.All() {
		methods = append(methods, acl.Method{Name: m.Name, Exposes: m.Exposes})
	}
	p, err := acl.Parse("test.toml", []byte(text), methods)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// client is one connection to a server.
type client struct {
	*net.UnixConn
	in *bufio.Reader
}

// laterRequests has the connections of tests begin with a request that is not theirs.
var laterRequests bool

func (t *testServer) dial(tb testing.TB) *client {
	tb.Helper()
	c, err := net.Dial("unix", t.socket)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		tb.Fatal(err)
	}
	dialled := &client{c.(*net.UnixConn), bufio.NewReader(c)}
	if laterRequests {
		dialled.call(tb, request("rpc.health", ""))
	}
	return dialled
}

// post sends a body without waiting for the answer. Headers are lines without their ends.
func (c *client) post(tb testing.TB, body string, headers ...string) {
	tb.Helper()
	head := "POST /rpc HTTP/1.1\r\nHost: x\r\n"
	for _, h := range headers {
		head += h + "\r\n"
	}
	if _, err := fmt.Fprintf(c, "%sContent-Length: %d\r\n\r\n%s", head, len(body), body); err != nil {
		tb.Fatal(err)
	}
}

// answer reads an answer and its body. The error is that of a body that does not come whole.
func (c *client) answer(tb testing.TB) (*http.Response, string, error) {
	tb.Helper()
	res, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return nil, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, string(body), err
}

// call posts a body and returns that of the answer, which must come whole.
func (c *client) call(tb testing.TB, body string, headers ...string) string {
	tb.Helper()
	c.post(tb, body, headers...)
	res, answer, err := c.answer(tb)
	if err != nil {
		tb.Fatal(err)
	}
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusNoContent {
		tb.Fatal(res.Status)
	}
	return answer
}

// closed tells whether the server has ended the connection, and nothing more comes.
func (c *client) closed(tb testing.TB) bool {
	tb.Helper()
	n, err := c.in.Read(make([]byte, 1))
	if n == 0 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
		return true
	}
	rest, _ := c.in.Peek(c.in.Buffered())
	tb.Logf("read %d bytes, %v; %q", n, err, rest)
	return false
}

// request is the text of a call; params is JSON, or "" for none.
func request(method, params string) string {
	if params != "" {
		params = `,"params":` + params
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q%s}`, method, params)
}

// Methods of the table that tests use for their kind. What they do is the test's own backend's to say.
const (
	readMethod   = "net.status"
	streamMethod = "net.routes"
	writeMethod  = "net.routes.delete"
	writeParams  = `{"dst":"192.0.2.0/24"}`
)
