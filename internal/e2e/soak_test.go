package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

const (
	soakEnv     = "SOAK" // for how long, as in "30m"; a few seconds where it is not set
	soakUsual   = 8 * time.Second
	soakWarmUp  = 2 * time.Minute // after that nothing may grow
	soakCallers = 16

	soakDeadline = 30 * time.Second // of a read, where nothing is configured
)

// soakReads are reads of everything that the churn changes, with params that need nothing to be there.
var soakReads = []string{
	"net.status", "net.interfaces", "net.routes", "net.neighbors", "net.bridge", "net.vlan", "net.firewall", "net.conntrack",
	"net.conntrack.stats", "net.sysctl", "net.dns", "net.config", "net.lease", "net.prefix", "vol.list_disks", "vol.list_partitions",
	"vol.list_filesystems", "vol.list_mounts", "vol.inventory", "vol.list_md_arrays", "rpc.health",
}

// soakChurn are shell loops, each around one kind of object that comes and goes.
var soakChurn = []string{
	"ip link add s$i type veth peer name t$i; ip addr add 10.9.$((i%250)).1/24 dev s$i; ip link set s$i up; ip link del s$i",
	"ip link add br$i type bridge; ip link add p$i type veth peer name q$i; ip link set p$i master br$i; ip link del p$i; ip link del br$i",
	"ip route add 10.$((i%200)).0.0/16 dev lo table $((100+i%5)); ip route flush table $((100+i%5))",
	"ip neigh replace 10.8.0.$((i%250)) lladdr 02:00:00:00:00:01 dev keep; ip neigh flush dev keep",
	"nft add table inet t$((i%9)); nft add chain inet t$((i%9)) c '{ type filter hook input priority 0; ct state established accept; }'; nft add rule inet t$((i%9)) c tcp dport $((i%60000+1)) counter; nft delete table inet t$((i%9))",
	"mkdir -p $DIR/m$i; mount -t tmpfs none $DIR/m$i; umount $DIR/m$i; rmdir $DIR/m$i",
	"echo x > /dev/udp/127.0.0.1/$((i%60000+1))",
}

// TestSoak has many callers read everything while links, rules, mounts and flows come and go: every answer is
// whole and JSON, and, where it lasts long enough to tell, the server does not grow.
func TestSoak(t *testing.T) {
	testhost.Root(t)
	for _, tool := range []string{"ip", "nft"} {
		testhost.Tool(t, tool, "iproute2, nftables")
	}
	lasts := soakUsual
	if text := os.Getenv(soakEnv); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil {
			t.Fatal(err)
		}
	}
	s := startInNamespaces(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var rounds atomic.Int64
	for _, loop := range soakChurn {
		wg.Go(func() { churn(t, s, loop, stop, &rounds) })
	}
	tally := soakTally{ended: map[string]int{}}
	seed := testhost.Seed(t)
	for i := range soakCallers {
		wg.Go(func() { readUntil(t, s, rand.New(rand.NewPCG(seed, uint64(i))), uint32(5000+i/4), stop, &tally) })
	}
	watch(t, s, lasts)
	close(stop)
	wg.Wait()
	t.Logf("%v, %d rounds of churn, answers: %v", lasts, rounds.Load(), tally.ended)
	if tally.ended["ok"] < 100 || rounds.Load() < 10 {
		t.Error("there was too little of it to tell anything")
	}
}

// startInNamespaces starts the server in namespaces of its own for the network and for mounts.
func startInNamespaces(t *testing.T) *server {
	t.Helper()
	wrapper := filepath.Join(t.TempDir(), "server")
	script := fmt.Sprintf("#!/bin/sh\nip link set lo up; ip link add keep type veth peer name kept; ip addr add 10.8.0.1/24 dev keep; ip link set keep up; ip link set kept up\nexec %s \"$@\"\n",
		filepath.Join(bin, "my-os-server-native"))
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	outer := filepath.Join(t.TempDir(), "unshare")
	if err := os.WriteFile(outer, fmt.Appendf(nil, "#!/bin/sh\nexec unshare -n -m %s \"$@\"\n", wrapper), 0o755); err != nil {
		t.Fatal(err)
	}
	return startBinary(t, outer)
}

// churn runs a loop in the server's namespaces until stop. What fails there, as a name that another round has
// taken, is part of it.
func churn(t *testing.T, s *server, loop string, stop <-chan struct{}, rounds *atomic.Int64) {
	cmd := exec.Command("nsenter", "-t", strconv.Itoa(s.cmd.Process.Pid), "-n", "-m", "bash", "-c",
		"i=0; while read -r -t 0 || [ $? = 1 ]; do i=$((i+1)); "+loop+"; echo; done 2>/dev/null")
	cmd.Env = append(os.Environ(), "DIR="+t.TempDir())
	in, err := cmd.StdinPipe()
	if err == nil {
		var out io.ReadCloser
		if out, err = cmd.StdoutPipe(); err == nil {
			if err = cmd.Start(); err == nil {
				go func() {
					<-stop
					in.Close()
					cmd.Process.Kill()
				}()
				b := make([]byte, 4096)
				for {
					n, err := out.Read(b)
					rounds.Add(int64(bytes.Count(b[:n], []byte("\n"))))
					if err != nil {
						break
					}
				}
				_ = cmd.Wait()
			}
		}
	}
	if err != nil {
		t.Errorf("churn: %v", err)
	}
}

// soakTally counts how calls ended.
type soakTally struct {
	mu    sync.Mutex
	ended map[string]int
}

func (n *soakTally) count(kind string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended[kind]++
}

// soakAllowed are the errors that are honest answers where much comes and goes and others call too.
var soakAllowed = map[string]bool{"resource_exhausted": true, "deadline_exceeded": true, "busy": true, "not_found": true, "unsupported": true}

// readUntil makes one read after the other. An answer must come whole: a result or an error of those that are
// honest here. What takes longer than a read may, as a long result on a busy machine does, is cut, and seen to be.
func readUntil(t *testing.T, s *server, r *rand.Rand, uid uint32, stop <-chan struct{}, n *soakTally) {
	c := s.clientAs(uid)
	if uid%2 == 0 {
		c = s.client()
	}
	defer c.CloseIdleConnections()
	for {
		select {
		case <-stop:
			return
		default:
		}
		method := soakReads[r.IntN(len(soakReads))]
		kind, err := readOnce(c, method)
		if err != nil {
			t.Errorf("%s: %v", method, err)
			return
		}
		n.count(kind)
	}
}

func readOnce(c *http.Client, method string) (kind string, err error) {
	begun := time.Now()
	res, err := c.Post("http://localhost/rpc", "application/json", strings.NewReader(string(body(method, ""))))
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if errors.Is(err, io.ErrUnexpectedEOF) && time.Since(begun) >= soakDeadline {
		return "cut", nil
	}
	if err != nil {
		return "", fmt.Errorf("cut after %d bytes: %w", len(raw), err)
	}
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		return "", fmt.Errorf("%w: %.200s", err, raw)
	}
	if a.Error == nil {
		return "ok", nil
	}
	kind = outcome(&a)
	if m, _ := registry.Lookup(method); strings.HasPrefix(kind, "permission_denied") && m.Exposes {
		return "permission_denied", nil // this caller may not; another one may
	}
	if !soakAllowed[kind] {
		return "", a.Error
	}
	return kind, nil
}

// held is what a server takes of the host.
type held struct {
	usage
	rss int // KiB
}

func heldBy(t *testing.T, s *server) held {
	t.Helper()
	h := held{usage: usageOf(t, s)}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	if _, err := fmt.Sscan(rest, &h.rss); err != nil {
		t.Fatal(err)
	}
	return h
}

// watch waits until the time is over. Where that is long it compares the end with how things stood once all was
// warm: the mean of some looks, since both swing with what is under way.
func watch(t *testing.T, s *server, lasts time.Duration) {
	t.Helper()
	if lasts <= 2*soakWarmUp {
		time.Sleep(lasts)
		return
	}
	time.Sleep(soakWarmUp)
	before := meanHeld(t, s)
	time.Sleep(lasts - 2*soakWarmUp)
	after := meanHeld(t, s)
	t.Logf("from minute 2: %+v; at the end: %+v", before, after)
	for _, c := range []struct {
		what          string
		before, after int
		swing         int // of what is under way at a moment
	}{
		{"KiB", before.rss, after.rss, 1024}, {"descriptors", before.descriptors, after.descriptors, 4}, {"goroutines", before.goroutines, after.goroutines, 4},
	} {
		if c.after > c.before+c.before/10+c.swing {
			t.Errorf("%d %s at minute 2, %d at the end", c.before, c.what, c.after)
		}
	}
}

// meanHeld looks for a minute.
func meanHeld(t *testing.T, s *server) (mean held) {
	t.Helper()
	const looks = 60
	for range looks {
		h := heldBy(t, s)
		mean.rss += h.rss
		mean.descriptors += h.descriptors
		mean.goroutines += h.goroutines
		mean.threads += h.threads
		time.Sleep(time.Second)
	}
	mean.rss /= looks
	mean.descriptors /= looks
	mean.goroutines /= looks
	mean.threads /= looks
	return mean
}
