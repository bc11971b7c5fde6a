package proxy_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/rpcserver"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/proxy"
)

// answerTo makes an answer to the request with that id.
type answerTo func(id string) string

// raw answers as the text stands, sized and chunked with a body in which ID stands for the id.
func raw(text string) answerTo {
	return func(id string) string { return strings.ReplaceAll(text, "ID", id) }
}

func sized(body string) answerTo {
	return func(id string) string { return withLength(raw(body)(id)) }
}

func chunked(body string) answerTo {
	return func(id string) string { return inChunks(raw(body)(id), 64<<10) }
}

// upTo is so much of an answer.
func (a answerTo) upTo(size int) answerTo { return func(id string) string { return a(id)[:size] } }

// unbelievable are answers that no call may be answered with. The connection ends behind each.
var unbelievable = []struct {
	name   string
	answer answerTo
	cause  string
}{
	{"garbage", raw("\x00\xff\x16garbage\r\n\r\n"), "not HTTP"},
	{"nothing but a line", raw("HTTP/1.1 200 OK\r\n"), "without an answer|in the midst"},
	{"HTTP/2", raw("HTTP/2 200\r\n\r\n"), "not HTTP"},
	{"another status", raw("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"), "503 Service Unavailable"},
	{"no content", raw("HTTP/1.1 204 No Content\r\n\r\n"), "204"},
	{"no length", raw("HTTP/1.1 200 OK\r\n\r\n" + `{"jsonrpc":"2.0","id":ID,"result":1}`), "neither a length nor chunks"},
	{"two lengths", raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}"), "no length to believe"},
	{"negative length", raw("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), "no length to believe"},
	{"length and chunks", raw("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "both"},
	{"another coding", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"), "transfer coding"},
	{"compressed", raw("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"), "content coding"},
	{"folded header", raw("HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"), "not HTTP"},
	{"endless head", raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100<<10)), "longer head"},
	{"chunk without a length", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"), "a chunk of length"},
	{"chunk that goes on", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}x\r\n0\r\n\r\n"), "behind its length"},
	{"endless chunk head", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("0", 100<<10)), "longer head"},
	{"chunk of all bytes there are", raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n{}"), "a chunk of length"},

	{"empty", sized(""), "not a JSON object"},
	{"not JSON", sized("nonsense"), "not a JSON object"},
	{"an array", sized(`[{"jsonrpc":"2.0","id":ID,"result":1}]`), "not a JSON object"},
	{"cut JSON", sized(`{"jsonrpc":"2.0","id":ID,"result":{"a":[1,2`), "not a JSON object"},
	{"two values", sized(`{"jsonrpc":"2.0","id":ID,"result":1}{}`), "not a JSON object"},
	{"with a BOM", sized("\ufeff" + `{"jsonrpc":"2.0","id":ID,"result":1}`), "not a JSON object"},
	{"another id", sized(`{"jsonrpc":"2.0","id":0,"result":1}`), `has the id "0", not`},
	{"the id as a string", sized(`{"jsonrpc":"2.0","id":"ID","result":1}`), "has the id"},
	{"no id", sized(`{"jsonrpc":"2.0","result":1}`), "has no id"},
	{"an error without an id", sized(`{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"I do not like it"}}`), "I do not like it"},
	{"no version", sized(`{"id":ID,"result":1}`), "jsonrpc is absent"},
	{"another version", sized(`{"jsonrpc":"1.0","id":ID,"result":1}`), "jsonrpc is"},
	{"neither", sized(`{"jsonrpc":"2.0","id":ID}`), "neither a result nor an error"},
	{"both", sized(`{"jsonrpc":"2.0","id":ID,"result":1,"error":{"code":1,"message":""}}`), "both a result and an error"},
	{"result twice", sized(`{"jsonrpc":"2.0","id":ID,"result":1,"result":2}`), "twice"},
	{"an error that is a string", sized(`{"jsonrpc":"2.0","id":ID,"error":"no"}`), "its error is none"},
	{"an error without a code", sized(`{"jsonrpc":"2.0","id":ID,"error":{"message":"no"}}`), "its error is none"},
	{"an error with half a code", sized(`{"jsonrpc":"2.0","id":ID,"error":{"code":1.5,"message":"no"}}`), "has the code"},

	{"long, cut by its length", sized(`{"jsonrpc":"2.0","id":ID,"result":` + rows(200<<10)).upTo(150 << 10), ""},
	{"long, JSON cut", sized(`{"jsonrpc":"2.0","id":ID,"result":` + rows(200 << 10)[:150<<10]), ""},
	{"long, an envelope that does not end", sized(`{"jsonrpc":"2.0","id":ID,"result":` + rows(200<<10)), ""},
	{"long, another id before", sized(`{"jsonrpc":"2.0","id":0,"result":` + rows(200<<10) + "}"), `has the id "0", not`},
	{"long, another id behind", sized(`{"jsonrpc":"2.0","result":` + rows(200<<10) + `,"id":0}`), ""},
	{"long, no id", sized(`{"jsonrpc":"2.0","result":` + rows(200<<10) + `}`), ""},
	{"long, an error behind", sized(`{"jsonrpc":"2.0","id":ID,"result":` + rows(200<<10) + `,"error":1}`), ""},
	{"long, chunks cut", chunked(`{"jsonrpc":"2.0","id":ID,"result":` + rows(200<<10) + `}`).upTo(150 << 10), ""},
	{"long, last chunk missing", func(id string) string {
		return strings.TrimSuffix(chunked(`{"jsonrpc":"2.0","id":ID,"result":`+rows(200<<10)+`}`)(id), "0\r\nX-Trailer: 1\r\n\r\n")
	}, ""},
	{"long error", sized(`{"jsonrpc":"2.0","id":ID,"error":{"code":1,"message":"` + strings.Repeat("x", 200<<10) + `"}}`), "has no result within"},
	{"long nonsense", sized(strings.Repeat("nonsense", 20<<10)), "not a JSON object"},
}

// TestUnbelievableAnswers: each becomes upstream_unavailable with a cause, or, where a part of it is on the wire
// already, an answer that breaks off; and the next call, over another connection, is well.
func TestUnbelievableAnswers(t *testing.T) {
	f := start(t, rpcserver.Options{})
	var bad answerTo
	listen(t, f.net(), func(_ int, c net.Conn, in *bufio.Reader) {
		for {
			r, err := readRequest(in)
			if err != nil {
				return
			}
			if bad == nil {
				_, _ = io.WriteString(c, withLength(result(r, "1")))
				continue
			}
			_, _ = io.WriteString(c, bad(string(r.call.ID)))
			return
		}
	})
	c := f.client(t)
	for _, u := range unbelievable {
		bad = u.answer
		got, err := post(c, `{"jsonrpc":"2.0","id":"mine","method":"net.routes"}`)
		bad = nil
		long := strings.HasPrefix(u.name, "long, ")
		switch {
		case long && u.cause == "" && (err == nil || json.Valid([]byte(got))):
			t.Errorf("%s: looks whole: %d bytes", u.name, len(got))
		case long && u.cause == "":
		case err != nil:
			t.Errorf("%s: %v", u.name, err)
		default:
			checkUnavailable(t, u.name, got, u.cause)
		}
		if got := call(t, c, "net.routes", ""); got != `{"jsonrpc":"2.0","id":"mine","result":1}` {
			t.Errorf("after %s: %s", u.name, got)
		}
	}
}

func checkUnavailable(t *testing.T, what, answer, cause string) {
	t.Helper()
	var got struct {
		Error struct {
			Code    int
			Message string
			Data    struct{ Kind, Upstream, Socket, Cause, Applied string }
		}
		Result json.RawMessage
	}
	if err := json.Unmarshal([]byte(answer), &got); err != nil {
		t.Fatalf("%s: %v: %s", what, err, answer)
	}
	hasCause := false
	for c := range strings.SplitSeq(cause, "|") {
		hasCause = hasCause || strings.Contains(got.Error.Data.Cause, c)
	}
	if d := got.Error.Data; got.Error.Code != 1009 || d.Kind != "upstream_unavailable" || d.Upstream != "mosnet" || d.Socket == "" || !hasCause || d.Applied != "" {
		t.Errorf("%s: %.300s, want the cause %q", what, answer, cause)
	}
}

// dying is a daemon that ends each connection at the request of the given number, counted from 0, before it
// answers.
func dying(t *testing.T, socket string, at int, requests *atomic.Int64) {
	listen(t, socket, func(_ int, c net.Conn, in *bufio.Reader) {
		for i := 0; ; i++ {
			r, err := readRequest(in)
			if err != nil {
				return
			}
			requests.Add(1)
			if i == at {
				return
			}
			_, _ = io.WriteString(c, withLength(result(r, "1")))
		}
	})
}

// TestReadsAreSentAgain: once, where the connection was an old one. Writes never are, and say what is known of
// them.
func TestReadsAreSentAgain(t *testing.T) {
	f := start(t, rpcserver.Options{})
	var requests atomic.Int64
	dying(t, f.net(), 1, &requests)
	c := f.client(t)
	for i := range 5 {
		if got := call(t, c, "net.status", ""); !strings.Contains(got, `"result":1`) {
			t.Errorf("read %d: %s", i, got)
		}
	}
	if n := requests.Load(); n != 9 {
		t.Errorf("%d requests for 5 reads of which 4 met a dying connection", n)
	}
	const write = `{"dst":"192.0.2.0/24"}`
	before := requests.Load()
	got := call(t, c, "net.routes.delete", write) // over the connection of the last read
	if !strings.Contains(got, `"kind":"upstream_unavailable"`) || !strings.Contains(got, `"applied":"unknown"`) || requests.Load() != before+1 {
		t.Errorf("a write on a dying connection: %s, sent %d times", got, requests.Load()-before)
	}
	if got := call(t, c, "net.routes.delete", write); !strings.Contains(got, `"result":1`) {
		t.Errorf("the next write: %s", got)
	}
}

// TestFreshConnectionThatDies is not tried again, for a read neither.
func TestFreshConnectionThatDies(t *testing.T) {
	f := start(t, rpcserver.Options{})
	var requests atomic.Int64
	dying(t, f.net(), 0, &requests)
	got := call(t, f.client(t), "net.status", "")
	checkUnavailable(t, "a connection that dies", got, "without an answer")
	if requests.Load() != 1 {
		t.Errorf("sent %d times", requests.Load())
	}
}

// TestIdleConnectionsThatEnd: an upstream that closes each connection after its answer, or a while later,
// disturbs neither reads nor writes.
func TestIdleConnectionsThatEnd(t *testing.T) {
	f := start(t, rpcserver.Options{})
	listen(t, f.net(), func(_ int, c net.Conn, in *bufio.Reader) {
		if r, err := readRequest(in); err == nil {
			_, _ = io.WriteString(c, withLength(result(r, "1")))
			time.Sleep(time.Millisecond)
		}
	})
	listen(t, f.vol(), func(_ int, c net.Conn, in *bufio.Reader) {
		if r, err := readRequest(in); err == nil {
			body := result(r, "1")
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		}
	})
	c := f.client(t)
	for range 10 {
		for method, params := range map[string]string{"net.status": "", "net.routes.delete": `{"dst":"192.0.2.0/24"}`, "vol.unmount": `{"target":"/mnt/x"}`} {
			if got := call(t, c, method, params); !strings.Contains(got, `"result":1`) {
				t.Fatalf("%s: %s", method, got)
			}
			time.Sleep(10 * time.Millisecond) // a write that meets the very moment of the end has no answer
		}
	}
}

// TestAbsentAndBack: without an upstream its calls say so at once, a write that it was not applied; the other
// upstream is not concerned; and within a second of its return calls are answered.
func TestAbsentAndBack(t *testing.T) {
	f := start(t, rpcserver.Options{})
	one := answerWith(func(r *sent) string { return withLength(result(r, "1")) })
	listen(t, f.vol(), one)
	c := f.client(t)
	checkUnavailable(t, "no socket", call(t, c, "net.status", ""), "no such socket")
	if got := call(t, c, "net.routes.delete", `{"dst":"192.0.2.0/24"}`); !strings.Contains(got, `"applied":"no"`) {
		t.Errorf("a write: %s", got)
	}
	for range 100 {
		begin := time.Now()
		call(t, c, "net.status", "")
		if got := call(t, c, "vol.inventory", ""); !strings.Contains(got, `"result":1`) {
			t.Fatalf("the other upstream: %s", got)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
	}
	d := listen(t, f.net(), one)
	begin := time.Now()
	testhost.Eventually(t, "the upstream is found", func() bool { return strings.Contains(call(t, c, "net.status", ""), `"result":1`) })
	if took := time.Since(begin); took > time.Second {
		t.Errorf("found after %v", took)
	}
	d.stop()
	stale, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0) // a socket file that nobody listens on
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(stale, &syscall.SockaddrUnix{Name: f.net()}); err != nil {
		t.Fatal(err)
	}
	syscall.Close(stale)
	testhost.Eventually(t, "it is gone", func() bool { return strings.Contains(call(t, c, "net.status", ""), "nobody listens") })
}

// TestHealthTellsOfUpstreams: up, down, and silent, in GET /health and in the metrics.
func TestHealthTellsOfUpstreams(t *testing.T) {
	f := start(t, rpcserver.Options{})
	var silent atomic.Bool
	silent.Store(true)
	listen(t, f.net(), func(_ int, c net.Conn, in *bufio.Reader) {
		for {
			r, err := readRequest(in)
			if err != nil || silent.Load() {
				_, _ = io.Copy(io.Discard, in)
				return
			}
			_, _ = io.WriteString(c, withLength(result(r, "1")))
		}
	})
	c := f.client(t)
	get := func(path string) string {
		res, err := c.Get("http://localhost" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return string(text)
	}
	upstream := func(state, cause string) string {
		if cause != "" {
			cause = `,"cause":"` + cause + `"`
		}
		return `{"name":"mosnet","namespace":"net","socket":"` + f.net() + `","state":"` + state + `"` + cause + `}`
	}
	down := `{"name":"storage","namespace":"vol","socket":"` + f.dir + `/none","state":"down","cause":"there is no such socket"}`
	if got, want := get("/health"), `{"status":"ok","service":"my_os_server","version":"","upstreams":[`+upstream("up", "")+","+down+"]}"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := call(t, c, "net.status", "", "X-Deadline-Ms: 50"); !strings.Contains(got, `"kind":"deadline_exceeded"`) {
		t.Errorf("a silent upstream: %s", got)
	}
	if got := get("/health"); !strings.Contains(got, upstream("silent", "it takes connections, and the last calls had no answer in their time")) {
		t.Error(got)
	}
	if got := call(t, c, "rpc.health", ""); got != `{"jsonrpc":"2.0","id":"mine","result":{"status":"ok"}}` {
		t.Error(got)
	}
	silent.Store(false)
	call(t, c, "net.status", "")
	if got := get("/health"); !strings.Contains(got, upstream("up", "")) {
		t.Error(got)
	}
	metrics := get("/metrics")
	for _, want := range []string{`upstream_up{upstream="mosnet"} 1`, `upstream_up{upstream="storage"} 0`, `upstream_calls_total{outcome="timeout",upstream="mosnet"} 1`, `upstream_calls_total{outcome="ok",upstream="mosnet"} 1`} {
		if !strings.Contains(metrics, "my_os_server_"+want+"\n") {
			t.Errorf("the metrics have no %s", want)
		}
	}
}

// TestDeadlineAndCancel: a caller's deadline and hanging up end the upstream's request too.
func TestDeadlineAndCancel(t *testing.T) {
	f := start(t, rpcserver.Options{})
	ended := make(chan time.Time, 10)
	begun := make(chan bool, 10)
	listen(t, f.net(), func(_ int, c net.Conn, in *bufio.Reader) {
		if _, err := readRequest(in); err == nil {
			begun <- true
			_, _ = io.Copy(io.Discard, in)
			ended <- time.Now()
		}
	})
	c := f.client(t)
	begin := time.Now()
	if got := call(t, c, "net.status", "", "X-Deadline-Ms: 100"); !strings.Contains(got, `"kind":"deadline_exceeded","after_ms":100`) {
		t.Errorf("%s", got)
	}
	<-begun
	if took := (<-ended).Sub(begin); took < 90*time.Millisecond || took > 5*time.Second {
		t.Errorf("the upstream's request ended after %v", took)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, "POST", "http://localhost/rpc", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"net.status"}`))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-begun
		cancel()
	}()
	if _, err := c.Do(r); err == nil {
		t.Error("an answer to a call that was given up")
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the upstream's request goes on")
	}
}

// TestUntrustedUpstream is one of a user who could see, and answer, everybody's calls.
func TestUntrustedUpstream(t *testing.T) {
	testhost.Root(t)
	for _, trusted := range []bool{false, true} {
		folder := dir(t)
		socket := folder + "/s"
		listenAs(t, 1234, socket)
		var uids []uint32
		if trusted {
			uids = []uint32{1234}
		}
		f := startWith(t, []proxy.Upstream{{Names: proxy.MOS[0], Sockets: []string{socket}}}, uids...)
		got := call(t, f.client(t), "net.status", "", "X-Deadline-Ms: 200")
		if trusted && !strings.Contains(got, "deadline_exceeded") { // it never answers
			t.Errorf("trusted: %s", got)
		}
		if !trusted {
			checkUnavailable(t, "untrusted", got, "it runs as user 1234, which upstream_uids does not name")
		}
	}
}
