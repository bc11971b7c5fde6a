package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/geomind/my_os_server/internal/rpcserver"
	"github.com/geomind/my_os_server/pkg/proxy"
)

// listenerVar makes this program a daemon that listens and never answers; see listenAs.
const listenerVar = "PROXY_TEST_LISTENER"

func TestMain(m *testing.M) {
	if os.Getenv(listenerVar) != "" {
		l, err := net.Listen("unix", os.Args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			os.Exit(0)
		}()
		for {
			c, err := l.Accept()
			if err != nil {
				os.Exit(1)
			}
			go func() { _, _ = io.Copy(io.Discard, c) }() // the collector would end one that nobody holds
		}
	}
	goleak.VerifyTestMain(m)
}

// dir makes a folder with a short name, since a socket's path has little room.
func dir(tb testing.TB) string {
	tb.Helper()
	d, err := os.MkdirTemp("", "proxy")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(d) })
	return d
}

// daemon stands in for an upstream: what it does with each connection is the test's to say.
type daemon struct {
	socket string
	mu     sync.Mutex
	l      net.Listener
	conns  map[net.Conn]bool
	count  int // of connections so far
	serve  func(n int, c net.Conn, in *bufio.Reader)
	wg     sync.WaitGroup

	stopped bool
}

// listen starts a daemon; serve gets each connection with its number, and the connection ends when it returns.
func listen(tb testing.TB, socket string, serve func(n int, c net.Conn, in *bufio.Reader)) *daemon {
	tb.Helper()
	d := &daemon{socket: socket, serve: serve}
	d.start(tb)
	tb.Cleanup(d.stop)
	return d
}

func (d *daemon) start(tb testing.TB) {
	l, err := net.Listen("unix", d.socket)
	if err != nil {
		tb.Fatal(err)
	}
	d.mu.Lock()
	d.l, d.conns, d.stopped = l, map[net.Conn]bool{}, false
	d.mu.Unlock()
	d.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			n := d.count
			d.count++
			if d.conns[c] = true; d.stopped {
				c.Close()
			}
			d.mu.Unlock()
			d.wg.Go(func() {
				d.serve(n, c, bufio.NewReader(c))
				c.Close()
				d.mu.Lock()
				delete(d.conns, c)
				d.mu.Unlock()
			})
		}
	})
}

// stop ends the daemon as a kill does: with all of its connections.
func (d *daemon) stop() {
	d.mu.Lock()
	d.stopped = true
	d.l.Close()
	for c := range d.conns {
		c.Close()
	}
	d.mu.Unlock()
	d.wg.Wait()
}

// sent is a request as the daemon got it.
type sent struct {
	*http.Request
	body []byte
	call struct {
		JSONRPC string
		ID      json.RawMessage
		Method  string
		Params  json.RawMessage
	}
}

// readRequest reads the next request of a connection.
func readRequest(in *bufio.Reader) (*sent, error) {
	r, err := http.ReadRequest(in)
	if err != nil {
		return nil, err
	}
	s := &sent{Request: r}
	if s.body, err = io.ReadAll(r.Body); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(s.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&s.call); err != nil {
		return nil, fmt.Errorf("%w: %s", err, s.body)
	}
	return s, nil
}

// answerWith serves every request with what answer makes of it: the whole answer, head and all.
func answerWith(answer func(*sent) string) func(int, net.Conn, *bufio.Reader) {
	return func(_ int, c net.Conn, in *bufio.Reader) {
		for {
			r, err := readRequest(in)
			if err != nil {
				return
			}
			if _, err := io.WriteString(c, answer(r)); err != nil {
				return
			}
		}
	}
}

// withLength and inChunks are answers of HTTP.
func withLength(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func inChunks(body string, size int) string {
	var b strings.Builder
	b.WriteString("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	for len(body) > 0 {
		n := min(size, len(body))
		fmt.Fprintf(&b, "%x;x=y\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	b.WriteString("0\r\nX-Trailer: 1\r\n\r\n")
	return b.String()
}

// result is the answer to r with a result.
func result(r *sent, result string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, r.call.ID, result)
}

// front is a server with a proxy as its backend.
type front struct {
	*proxy.Proxy
	socket string
	dir    string
}

// sockets are where a front looks for its upstreams.
func (f *front) net() string { return f.dir + "/net" }
func (f *front) vol() string { return f.dir + "/vol" }

func start(tb testing.TB, o rpcserver.Options) *front {
	tb.Helper()
	f := &front{dir: dir(tb)}
	f.socket = f.dir + "/front"
	p, err := proxy.New(proxy.Options{Log: zerolog.Nop(), Upstreams: []proxy.Upstream{
		{Names: proxy.MOS[0], Sockets: []string{f.net()}}, {Names: proxy.MOS[1], Sockets: []string{f.dir + "/none", f.vol()}},
	}})
	if err != nil {
		tb.Fatal(err)
	}
	f.serve(tb, p, o)
	return f
}

// serve runs the server until the test ends.
func (f *front) serve(tb testing.TB, p *proxy.Proxy, o rpcserver.Options) {
	tb.Helper()
	f.Proxy = p
	o.Backend, o.DaemonUID, o.Log = p, uint32(os.Geteuid()), zerolog.Nop()
	s, err := rpcserver.New(o)
	if err != nil {
		tb.Fatal(err)
	}
	l, err := net.Listen("unix", f.socket)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	tb.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, p.Close()); err != nil {
			tb.Error(err)
		}
	})
}

// client is one connection to a front.
func (f *front) client(tb testing.TB) *http.Client {
	t := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", f.socket)
	}}
	tb.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: 30 * time.Second}
}

// post sends a body and returns the body of the answer. The error is that of one that does not come whole.
func post(c *http.Client, body string, headers ...string) (string, error) {
	r, err := http.NewRequest("POST", "http://localhost/rpc", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	res, err := c.Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK && res.StatusCode != http.StatusNoContent {
		err = errors.New(res.Status)
	}
	return string(text), err
}

// call is post for a call that must be answered.
func call(tb testing.TB, c *http.Client, method, params string, headers ...string) string {
	tb.Helper()
	if params != "" {
		params = `,"params":` + params
	}
	answer, err := post(c, fmt.Sprintf(`{"jsonrpc":"2.0","id":"mine","method":%q%s}`, method, params), headers...)
	if err != nil {
		tb.Fatalf("%s: %v", method, err)
	}
	return answer
}

// syscallUID is who this process runs as, and so who calls.
var syscallUID = os.Geteuid()

// startWith is start with other upstreams.
func startWith(tb testing.TB, upstreams []proxy.Upstream, uids ...uint32) *front {
	tb.Helper()
	f := &front{dir: dir(tb)}
	f.socket = f.dir + "/front"
	p, err := proxy.New(proxy.Options{Upstreams: upstreams, UIDs: uids, Log: zerolog.Nop()})
	if err != nil {
		tb.Fatal(err)
	}
	f.serve(tb, p, rpcserver.Options{})
	return f
}
