package e2e

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// hungCall makes a call with a deadline, and tells how it ended and after how long.
func (l *life) hungCall(c step, deadline time.Duration) (outcome string, took time.Duration) {
	hc := (&server{socket: l.node.folder + "/rpc.sock"}).client()
	defer hc.CloseIdleConnections()
	start := time.Now()
	a, err := post(hc, http.Header{"X-Deadline-Ms": {fmt.Sprint(deadline.Milliseconds())}}, body(c.method, c.params))
	took = time.Since(start)
	switch {
	case err != nil:
		return err.Error(), took
	case a.Error == nil:
		return "done", took
	}
	return fmt.Sprint(a.Error.Data["kind"]), took
}

// p99 makes calls of each kind, in turns, and is how long one in a hundred took at least.
func (l *life) p99(calls []step, rounds int) time.Duration {
	l.node.t.Helper()
	var took []time.Duration
	for range rounds {
		for _, c := range calls {
			start := time.Now()
			l.must(c)
			took = append(took, time.Since(start))
		}
	}
	slices.Sort(took)
	return took[len(took)*99/100]
}

// threads is how many threads the daemon has.
func (l *life) threads() int {
	l.node.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.cmd.Process.Pid))
	if err != nil {
		l.node.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "Threads:")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		l.node.t.Fatal(err)
	}
	return n
}

// TestHungDiskThroughTheSocket has writes hang on a disk that does not answer: four end at their deadlines, the
// others are busy at once, and so are a thousand more, of which nothing is left, and all the while other calls are answered as ever.
func TestHungDiskThroughTheSocket(t *testing.T) {
	testhost.Tool(t, "mkfs.ext4", "e2fsprogs")
	if !testhost.MountNS(t) {
		return
	}
	n := newNode(t)
	n.args = []string{"--allow-private-mounts"}
	l := n.start(0)
	healthy := newDisk(t)
	t.Cleanup(func() { testhost.TryCommand(t, "losetup", "-d", healthy) })
	testhost.Command(t, "mkfs.ext4", "-q", healthy)
	others := []step{{"rpc.health", "{}"}, {"net.interfaces", "{}"}, {"vol.usage", params("path", n.folder)}, {"vol.list_partitions", params("disk", healthy)}}
	rounds, most := max(50, testhost.Rounds(50)), 50*time.Millisecond
	if rounds < 100 { // where others have the machine too
		most = time.Second
	}
	before := l.p99(others, rounds)

	hung, release := testhost.HangingDisk(t)
	write := step{"vol.create_filesystem", params("device", hung, "type", "ext4", "force", true)}
	const deadline, callers, mayHang = 5 * time.Second, 10, 4
	type end struct {
		outcome string
		took    time.Duration
	}
	ends := make(chan end, callers)
	for range callers {
		go func() {
			outcome, took := l.hungCall(write, deadline)
			ends <- end{outcome, took}
		}()
	}
	for range callers - mayHang {
		if e := <-ends; e.outcome != "busy" {
			t.Errorf("a call beyond those that hang: %s after %v", e.outcome, e.took)
		}
	}
	threads := l.threads()
	var busy []time.Duration
	outcomes := map[string]int{}
	for range 1000 {
		outcome, took := l.hungCall(write, deadline)
		outcomes[outcome]++
		busy = append(busy, took)
		if len(busy) == 200 {
			during := l.p99(others, rounds)
			t.Logf("p99 of %d other calls: %v, before %v", rounds*len(others), during, before)
			if during > max(most, 5*before) {
				t.Errorf("other calls wait for the disk: p99 %v, before %v", during, before)
			}
		}
	}
	slices.Sort(busy)
	t.Logf("1000 further calls: %v, p99 %v; threads %d, before %d", outcomes, busy[990], l.threads(), threads)
	if outcomes["busy"] < 900 || busy[500] > time.Second {
		t.Errorf("1000 further calls: %v, half of them within %v", outcomes, busy[500])
	}
	if now := l.threads(); now > threads+16 {
		t.Errorf("%d threads, before %d", now, threads)
	}
	for range mayHang {
		if e := <-ends; e.outcome != "deadline_exceeded" || e.took < deadline-time.Second || e.took > deadline+20*time.Second {
			t.Errorf("a call that hangs: %s after %v", e.outcome, e.took)
		} else {
			t.Logf("a call that hangs ended after %v", e.took)
		}
	}
	release()
	l.must(step{"vol.create_filesystem", params("device", healthy, "type", "ext4", "force", true)})
	if !l.stop() {
		t.Errorf("the daemon ended badly: %s", l.log.String())
	}
}
