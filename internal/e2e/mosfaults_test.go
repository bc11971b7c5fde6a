package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	faultTime    = time.Second // how long each fault lasts
	faultTries   = 3
	faultCallers = 24       // more than may call one upstream at a time
	mosMemory    = 64 << 10 // KiB
	restarts     = 100

	// The bar for the other upstream's 99th percentile is twice what it is without a fault, on a machine that has
	// nothing else to do; it is printed beside what was measured. What fails the test on any machine is a call that
	// waits for the upstream that does not work.
	paceBar     = 2
	paceCeiling = 800 * time.Millisecond
)

// upstreamFault is something wrong with an upstream: what it does with each request, by its number on the
// connection. It returns false to end the connection.
type upstreamFault struct {
	name   string
	absent bool
	answer func(c net.Conn, i int, id string) bool
}

func httpAnswer(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func rpcAnswer(id, result string) string {
	return httpAnswer(fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, id, result))
}

var upstreamFaults = []upstreamFault{
	{name: "absent", absent: true},
	{name: "well", answer: func(c net.Conn, _ int, id string) bool {
		_, err := io.WriteString(c, rpcAnswer(id, "{}"))
		return err == nil
	}},
	{name: "dies in the midst of its answer", answer: func(c net.Conn, _ int, id string) bool {
		_, _ = io.WriteString(c, rpcAnswer(id, `"`+strings.Repeat("x", 200<<10)+`"`)[:100<<10])
		return false
	}},
	{name: "takes connections and never answers", answer: func(c net.Conn, _ int, _ string) bool { _, _ = io.Copy(io.Discard, c); return false }},
	{name: "a byte a second", answer: func(c net.Conn, _ int, id string) bool {
		for _, b := range []byte(rpcAnswer(id, "{}")) {
			if _, err := c.Write([]byte{b}); err != nil {
				return false
			}
			time.Sleep(time.Second)
		}
		return true
	}},
	{name: "garbage", answer: func(c net.Conn, _ int, _ string) bool {
		_, _ = io.WriteString(c, "\x01\x02garbage\r\n\r\n{")
		return false
	}},
	{name: "100 MiB", answer: func(c net.Conn, _ int, id string) bool {
		head, part := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":"`, id), strings.Repeat("x", 1<<20)
		_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(head)+100*len(part)+len(`"}`), head)
		for i := 0; i < 100 && err == nil; i++ {
			_, err = io.WriteString(c, part)
		}
		if err == nil {
			_, err = io.WriteString(c, `"}`)
		}
		return err == nil
	}},
	{name: "another id", answer: func(c net.Conn, _ int, id string) bool { // a number alone might be some call's own
		_, err := io.WriteString(c, rpcAnswer("4711"+id, "{}"))
		return err == nil
	}},
	{name: "ends idle connections", answer: func(c net.Conn, i int, id string) bool { _, _ = io.WriteString(c, rpcAnswer(id, "{}")); return i < 2 }},
}

// brokenUpstream listens on a socket with a fault.
type brokenUpstream struct {
	socket string
	fault  upstreamFault
	mu     sync.Mutex
	l      net.Listener
	conns  map[net.Conn]bool
	wg     sync.WaitGroup

	stopped bool
}

func (b *brokenUpstream) start(t *testing.T) {
	t.Helper()
	if b.fault.absent {
		return
	}
	l, err := net.Listen("unix", b.socket)
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	b.l, b.conns, b.stopped = l, map[net.Conn]bool{}, false
	b.mu.Unlock()
	b.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			if b.conns[c] = true; b.stopped {
				c.Close()
			}
			b.mu.Unlock()
			b.wg.Go(func() { b.serve(c) })
		}
	})
}

func (b *brokenUpstream) serve(c net.Conn) {
	defer func() {
		c.Close()
		b.mu.Lock()
		delete(b.conns, c)
		b.mu.Unlock()
	}()
	in := bufio.NewReader(c)
	for i := 0; ; i++ {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		var call struct{ ID json.RawMessage }
		if err := json.NewDecoder(r.Body).Decode(&call); err != nil || !b.fault.answer(c, i, string(call.ID)) {
			return
		}
	}
}

// stop ends it as a kill does.
func (b *brokenUpstream) stop() {
	b.mu.Lock()
	b.stopped = true
	if b.l != nil {
		b.l.Close()
	}
	for c := range b.conns {
		c.Close()
	}
	b.mu.Unlock()
	b.wg.Wait()
}

// TestFaultsOfAnUpstream has the network's daemon fail in every way that there is, under load, while the storage
// daemon is asked: its calls keep their pace, memory stays bounded, no call looks well that is not, and when the
// daemon is back all is as before.
func TestFaultsOfAnUpstream(t *testing.T) {
	storage := startServer(t, "--serve-as", "storage")
	b := &brokenUpstream{socket: filepath.Join(t.TempDir(), "s")}
	s := startMOS(t, b.socket, storage.socket)
	well := upstreamFaults[1]
	b.fault = well
	b.start(t)
	normal, _ := underLoad(t, s, func() { time.Sleep(faultTime) })
	t.Logf("without a fault, under the same load: p99 %v", normal)
	settlesAt := usageOf(t, s)
	for _, fault := range upstreamFaults {
		t.Run(strings.ReplaceAll(fault.name, " ", "_"), func(t *testing.T) {
			b.stop()
			b.fault = fault
			b.start(t)
			p99, ended := underLoad(t, s, func() { time.Sleep(faultTime) })
			for try := 1; p99 > paceBar*normal && try < faultTries; try++ { // what else the machine does only adds
				again, _ := underLoad(t, s, func() { time.Sleep(faultTime) })
				p99 = min(p99, again)
			}
			checkPace(t, fault.name, p99, normal)
			slow := fault.name == "100 MiB" // on a busy machine none comes to its end before the upstream does
			if result := ended["a result"]; !slow && (result > 0) != (fault.name == "well" || fault.name == "ends idle connections") {
				t.Errorf("calls ended so: %v", ended)
			}
			t.Logf("calls to it ended so: %v", ended)
			b.stop()
			b.fault = well
			b.start(t)
			comesBack(t, s)
		})
	}
	b.stop()
	if peak := memoryOf(t, s, "VmHWM"); peak > mosMemory {
		t.Errorf("took %d KiB at most", peak)
	} else {
		t.Logf("took %d KiB at most", peak)
	}
	settles(t, s, settlesAt)
}

// TestUpstreamThatRestarts does so 100 times under load.
func TestUpstreamThatRestarts(t *testing.T) {
	storage := startServer(t, "--serve-as", "storage")
	b := &brokenUpstream{socket: filepath.Join(t.TempDir(), "s"), fault: upstreamFaults[1]}
	b.start(t)
	s := startMOS(t, b.socket, storage.socket)
	normal, _ := underLoad(t, s, func() { time.Sleep(faultTime) })
	before := usageOf(t, s)
	p99, ended := underLoad(t, s, func() {
		for range restarts {
			b.stop()
			b.start(t)
			time.Sleep(15 * time.Millisecond)
		}
	})
	t.Logf("calls ended so: %v", ended)
	checkPace(t, "restarts", p99, normal)
	if ended["a result"] == 0 {
		t.Error("not one call was answered")
	}
	comesBack(t, s)
	b.stop()
	settles(t, s, before)
}

// underLoad runs f while many callers ask the network's daemon, all of them as the same user as the one that asks
// the storage daemon. It returns that one's 99th percentile, and how the many's calls ended.
func underLoad(t *testing.T, s *server, f func()) (p99 time.Duration, ended map[string]int) {
	t.Helper()
	var (
		stop atomic.Bool
		wg   sync.WaitGroup
		mu   sync.Mutex
	)
	ended = map[string]int{}
	for range faultCallers {
		wg.Go(func() {
			c := s.client()
			defer c.CloseIdleConnections()
			for !stop.Load() {
				how := askBroken(c)
				mu.Lock()
				ended[how]++
				mu.Unlock()
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	enough := make(chan struct{})
	p := &probe{name: "vol.usage", ended: make(chan struct{})}
	go p.run(s, enough)
	f()
	close(enough)
	stop.Store(true)
	wg.Wait()
	<-p.ended
	if p.err != nil || len(p.took) == 0 {
		t.Fatalf("the other upstream: %d answers, %v", len(p.took), p.err)
	}
	slices.Sort(p.took)
	return p.took[(len(p.took)-1)*99/100], ended
}

// askBroken is how one call to the upstream that may be broken ends.
func askBroken(c *http.Client) string {
	res, err := c.Do(brokenRequest())
	if err != nil {
		return "cut"
	}
	defer res.Body.Close()
	head, _ := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		return "cut"
	}
	_, rest, found := strings.Cut(string(head), `"kind":"`)
	if kind, _, _ := strings.Cut(rest, `"`); found {
		return kind
	}
	if strings.Contains(string(head), `"result":`) {
		return "a result"
	}
	return string(head)
}

func brokenRequest() *http.Request {
	r, err := http.NewRequest("POST", "http://localhost/rpc", strings.NewReader(string(body("net.routes", ""))))
	if err != nil {
		panic(err)
	}
	r.Header.Set("X-Deadline-Ms", "1000")
	return r
}

func checkPace(t *testing.T, fault string, p99, normal time.Duration) {
	t.Helper()
	verdict := "met"
	if p99 > paceBar*normal {
		verdict = "MISSED"
	}
	t.Logf("%s: the other upstream's p99 is %v, %.1f times %v (bar %d %s)", fault, p99, float64(p99)/float64(normal), normal, paceBar, verdict)
	if p99 > max(paceCeiling, paceBar*normal) {
		t.Errorf("%s: the other upstream's calls wait: p99 is %v", fault, p99)
	}
}

// comesBack waits until calls are answered again, which is within a second of the socket's return.
func comesBack(t *testing.T, s *server) {
	t.Helper()
	c := s.client()
	defer c.CloseIdleConnections()
	begin := time.Now()
	for askBroken(c) != "a result" {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("it is back, and not found")
		}
		time.Sleep(5 * time.Millisecond)
	}
	if took := time.Since(begin); took > time.Second {
		t.Logf("found after %v (bar 1s MISSED)", took)
	}
}

// memoryOf reads a field of /proc/PID/status, in KiB.
func memoryOf(t *testing.T, s *server, field string) (kib int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), field+":")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib
}
