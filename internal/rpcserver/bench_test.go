package rpcserver

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/geomind/my_os_server/pkg/registry"
)

// loadEnv makes the test binary a load generator: "socket connections calls method". It is a process of
// its own so that what the server costs can be told from what its clients cost.
const loadEnv = "RPCSERVER_TEST_LOAD"

func runLoad(spec string) error {
	var socket, method string
	var conns, calls int
	if _, err := fmt.Sscanf(spec, "%s %d %d %s", &socket, &conns, &calls, &method); err != nil {
		return err
	}
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q}`, method)
	request := fmt.Appendf(nil, "POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	errs := make(chan error, conns)
	for i := range conns {
		share := calls / conns
		if i == 0 {
			share += calls % conns
		}
		go func() { errs <- loadOne(socket, request, share) }()
	}
	for range conns {
		if err := <-errs; err != nil {
			return err
		}
	}
	return nil
}

func loadOne(socket string, request []byte, calls int) error {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	defer c.Close()
	in := bufio.NewReader(c)
	for range calls {
		if _, err := c.Write(request); err != nil {
			return err
		}
		if err := discardAnswer(in); err != nil {
			return err
		}
	}
	return nil
}

// discardAnswer reads one answer of a known length.
func discardAnswer(in *bufio.Reader) error {
	const header = "Content-Length: "
	length := 0
	for first := true; ; first = false {
		line, err := in.ReadSlice('\n')
		switch {
		case err != nil:
			return err
		case first && string(line) != "HTTP/1.1 200 OK\r\n":
			return fmt.Errorf("status line %q", line)
		case len(line) == 2:
			_, err := in.Discard(length)
			return err
		case strings.HasPrefix(string(line), header):
			if length, err = strconv.Atoi(string(line[len(header) : len(line)-2])); err != nil {
				return err
			}
		}
	}
}

// spent is one server's cost under a load.
type spent struct{ cpu, wall time.Duration }

// load calls method on the socket from another process, and measures what this one spends meanwhile.
func load(tb testing.TB, socket string, conns, calls int, method string) spent {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d %s", loadEnv, socket, conns, calls, method), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	before, start := ownCPU(tb), time.Now()
	if err := cmd.Run(); err != nil {
		tb.Fatal(err)
	}
	return spent{ownCPU(tb) - before, time.Since(start)}
}

func ownCPU(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// nullServer is net/http with a handler that reads the body and answers a constant: what the pipeline is
// spent against.
func nullServer(tb testing.TB) (socket string) {
	answer := []byte(`{"jsonrpc":"2.0","id":1,"result":{"status":"ok"}}`)
	buffers := sync.Pool{New: func() any { return new([4096]byte) }}
	hs := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := buffers.Get().(*[4096]byte)
		_, _ = io.ReadFull(r.Body, b[:r.ContentLength])
		buffers.Put(b)
		w.Header()["Content-Type"] = jsonType
		_, _ = w.Write(answer)
	})}
	l := listen(tb)
	go hs.Serve(l)
	tb.Cleanup(func() { hs.Close() })
	return l.Addr().String()
}

type nothing struct{}

func (nothing) Call(ctx context.Context, m *registry.Method, params any, raw []byte, out *registry.Out) error {
	out.Buf = append(out.Buf, `{"status":"ok"}`...)
	return nil
}

// BenchmarkCost compares the whole pipeline with the null handler, in turn and in one run: CPU of the
// server's process for each call.
func BenchmarkCost(b *testing.B) {
	s, err := New(Options{Backend: nothing{}, Log: zerolog.New(io.Discard).Level(zerolog.InfoLevel)})
	if err != nil {
		b.Fatal(err)
	}
	l := listen(b)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx, l) }()
	defer func() { cancel(); <-ended }()
	null := nullServer(b)
	for _, test := range []struct {
		method string
		conns  int
	}{{"rpc.health", 1}, {"rpc.health", 32}, {"net.status", 1}, {"net.status", 16}} {
		b.Run(fmt.Sprintf("%s/conns=%d", test.method, test.conns), func(b *testing.B) {
			compare(b, l.Addr().String(), null, test.conns, test.method)
		})
	}
}

// rounds is how often the two take turns.
const rounds = 7

func compare(b *testing.B, ours, null string, conns int, method string) {
	calls := max(b.N/rounds, conns)
	var ratios, cost, base []float64
	load(b, ours, conns, calls, method)
	load(b, null, conns, calls, method)
	for range rounds {
		o := load(b, ours, conns, calls, method)
		n := load(b, null, conns, calls, method)
		ratios = append(ratios, float64(o.cpu)/float64(n.cpu))
		cost = append(cost, float64(o.cpu.Nanoseconds())/float64(calls))
		base = append(base, float64(n.cpu.Nanoseconds())/float64(calls))
	}
	b.ReportMetric(median(cost), "cpu-ns/call")
	b.ReportMetric(median(base), "null-cpu-ns/call")
	b.ReportMetric(median(ratios), "x-null")
	b.ReportMetric(0, "ns/op")
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
