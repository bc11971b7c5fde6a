package rpcserver

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

func TestLog(t *testing.T) {
	s := serve(t, Options{Backend: backend(wireBackend)})
	c := s.dial(t)
	pid := fmt.Sprintf(`"pid":%d`, os.Getpid())
	uid := fmt.Sprintf(`"caller":"uid:%d"`, os.Geteuid())

	c.call(t, request(readMethod, ""))
	s.log.Await(t, `"level":"debug","method":"`+readMethod, `"code":"ok"`, pid, uid, `"message":"call"`, `"took_ms":`, `"bytes":`)

	c.call(t, request("rpc.health", ""))
	s.log.Await(t, `"level":"debug","method":"rpc.health"`, pid)

	c.call(t, request(writeMethod, `{"dst":"192.0.2.0/24","gateway":"192.0.2.1"}`))
	s.log.Await(t, `"level":"info","method":"`+writeMethod, pid, uid, `"params":"{\"dst\":\"192.0.2.0/24\",\"gateway\":\"192.0.2.1\"}"`, `"message":"audit"`)
	s.log.Await(t, `"level":"info","method":"`+writeMethod, pid, uid, `"code":"ok"`, `"message":"call"`)

	c.call(t, request("vol.usage", `["/panic"]`))
	s.log.Await(t, `"level":"error"`, "incident_id", "a handler's mistake", "wireFailure", "vol.usage")
	s.log.Await(t, `"level":"info","method":"vol.usage"`, `"code":"internal"`)

	c.call(t, request(readMethod, ""), "Authorization: Bearer the-secret-token-0123456789")
	s.log.Await(t, `"level":"info"`, `"code":"unauthenticated"`, `"caller":"unproven"`, `"cause":`)

	c.call(t, `{"jsonrpc":"2.0"`)
	s.log.Await(t, `"level":"debug"`, `"code":"parse_error"`)

	if log := s.log.String(); strings.Contains(log, "secret-token") {
		t.Errorf("a secret stands in the log:\n%s", log)
	}
}

func TestAuditIsCut(t *testing.T) {
	s := serve(t, Options{Backend: backend(wireBackend)})
	s.dial(t).call(t, request(writeMethod, `{"dst":"192.0.2.0/24"`+strings.Repeat(" ", 2000)+`}`))
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, `"message":"audit"`) {
			if len(line) > auditedBytes+200 || !strings.Contains(line, "192.0.2.0") {
				t.Errorf("%d bytes: %s", len(line), line)
			}
			return
		}
	}
	t.Errorf("no audit line:\n%s", s.log)
}

func TestCut(t *testing.T) {
	for _, test := range []struct {
		text string
		most int
		want string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "abc"}, {"abž", 3, "ab"}, {"ab😀", 5, "ab"}, {"ab😀", 6, "ab😀"}, {"\xff\xff\xff", 2, "\xff\xff"}, {"žž", 1, ""},
	} {
		if got := cut([]byte(test.text), test.most); got != test.want {
			t.Errorf("cut(%q, %d) = %q, want %q", test.text, test.most, got, test.want)
		}
	}
}

func TestMetrics(t *testing.T) {
	s := serve(t, Options{Backend: backend(wireBackend), LogDropped: func() uint64 { return 42 }})
	c := s.dial(t)
	c.call(t, request(readMethod, ""))
	c.call(t, request(readMethod, ""))
	c.call(t, request("vol.usage", `["/absent"]`))
	c.call(t, request("no.such", ""))
	c.call(t, request("no.other", ""))
	other := s.dial(t)
	fmt.Fprint(other, "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
	if res, _, err := other.answer(t); err != nil || res.StatusCode != http.StatusNotFound {
		t.Error(res, err)
	}
	other.Close()
	testhost.Eventually(t, "one connection is open", func() bool { return s.ledger.conns.taken.n.Load() == 1 })
	fmt.Fprint(c, "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n")
	res, text, err := c.answer(t)
	if err != nil || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatal(err, res.Header)
	}
	for _, want := range []string{
		`my_os_server_calls_total{code="ok",method="net.status"} 2`,
		`my_os_server_calls_total{code="os_error",method="vol.usage"} 1`,
		`my_os_server_calls_total{code="method_not_found",method="none"} 2`,
		`my_os_server_call_duration_seconds_count{method="net.status"} 2`,
		`my_os_server_http_refusals_total{status="404"} 1`,
		`my_os_server_connections 1`,
		`my_os_server_calls_in_flight 1`,
		`my_os_server_streams 0`,
		`my_os_server_calls_abandoned 0`,
		`my_os_server_log_lines_dropped_total 42`,
		"go_goroutines ",
		"process_open_fds ",
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("there is no %s in\n%s", want, text)
		}
	}
	if strings.Contains(text, "no.such") {
		t.Error("a caller's own words are a label")
	}
}
