package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// faulty is the server that dies where the environment says (internal/fault), built once.
var faulty = sync.OnceValues(func() (string, error) {
	path := filepath.Join(bin, "faulty")
	out, err := exec.Command("go", "build", "-tags", "faultpoints", "-o", path, "../../cmd/my-os-server-native").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("go build: %w: %s", err, out)
	}
	return path, err
})

// node is a namespace and a state folder in which one daemon after another lives.
type node struct {
	*testhost.NetNS
	t      *testing.T
	folder string
	args   []string // further ones of the daemon
	armed  string   // file that must be there for moments to count; empty: all do
	binary string   // empty: the one that dies at moments
}

// life is one of these daemons.
type life struct {
	node  *node
	cmd   *exec.Cmd
	log   testhost.Log
	ended chan struct{}
}

// start starts a daemon that dies at a moment; 0: at none.
func (n *node) start(moment int) *life {
	n.t.Helper()
	binary, err := n.binary, error(nil)
	if binary == "" {
		binary, err = faulty()
	}
	if err != nil {
		n.t.Fatal(err)
	}
	l := &life{node: n, ended: make(chan struct{})}
	args := append([]string{"--socket", n.folder + "/rpc.sock", "--state-dir", n.folder + "/state", "--no-hero-socket", "--node-name", nodeName}, n.args...)
	l.cmd = exec.Command(binary, args...)
	l.cmd.Env = append(os.Environ(), fmt.Sprint("MY_OS_SERVER_FAULT_AT=", moment))
	if n.armed != "" {
		l.cmd.Env = append(l.cmd.Env, "MY_OS_SERVER_FAULT_ARM="+n.armed)
	}
	l.cmd.Stderr = &l.log
	n.Do(func() { err = l.cmd.Start() })
	if err != nil {
		n.t.Fatal(err)
	}
	go func() {
		defer close(l.ended)
		_ = l.cmd.Wait()
	}()
	n.t.Cleanup(func() { l.kill() })
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if c, err := net.Dial("unix", n.folder+"/rpc.sock"); err == nil {
			c.Close()
			return l
		}
		select {
		case <-l.ended:
			return l // it died on the way
		default:
		}
	}
	n.t.Fatalf("the daemon does not listen: %s", l.log.String())
	return nil
}

func (l *life) kill() {
	_ = l.cmd.Process.Kill()
	<-l.ended
}

// stop ends the daemon as a service manager does, and tells whether it came to its end by itself.
func (l *life) stop() bool {
	_ = l.cmd.Process.Signal(syscall.SIGTERM)
	<-l.ended
	return l.cmd.ProcessState.ExitCode() == 0
}

// call makes a call; nil where the daemon died over it.
func (l *life) call(c step) *answer {
	l.node.t.Helper()
	hc := (&server{socket: l.node.folder + "/rpc.sock"}).client()
	defer hc.CloseIdleConnections()
	a, err := post(hc, nil, body(c.method, c.params))
	if err != nil {
		<-l.ended
		return nil
	}
	return a
}

func (l *life) must(c step) json.RawMessage {
	l.node.t.Helper()
	a := l.call(c)
	if a == nil || a.Error != nil {
		l.node.t.Fatalf("%s %s: %+v\n%s", c.method, c.params, a, l.log.String())
	}
	return a.Result
}

type step struct{ method, params string }

// crashes are the writes, each with what must stand before it.
var crashes = []struct {
	name   string
	before []step
	write  step
}{
	{"bridge add", nil, step{"net.bridge.add", `{"name":"br0","mtu":1400,"addresses":["10.1.0.1/24","2001:db8::1/64"]}`}},
	{"bridge delete", []step{{"net.bridge.add", `{"name":"br0","addresses":["10.1.0.1/24"]}`}}, step{"net.bridge.delete", `{"name":"br0"}`}},
	{"bridge delete with ports", []step{
		{"net.bridge.add", `{"name":"br0"}`}, {"net.bridge.add", `{"name":"br1"}`}, {"net.bridge.connect", `{"a":"br0","b":"br1","name":"c"}`},
		{"net.vm.create_tap", `{"vm_id":"v","name":"t0","bridge":"br0"}`}, {"net.bridge.add_port", `{"bridge":"br0","interface":"p0"}`},
	}, step{"net.bridge.delete", `{"name":"br0","force":true}`}},
	{"connect", []step{{"net.bridge.add", `{"name":"br0"}`}, {"net.bridge.add", `{"name":"br1"}`}}, step{"net.bridge.connect", `{"a":"br0","b":"br1","name":"c"}`}},
	{"disconnect", []step{{"net.bridge.add", `{"name":"br0"}`}, {"net.bridge.add", `{"name":"br1"}`}, {"net.bridge.connect", `{"a":"br0","b":"br1","name":"c"}`}},
		step{"net.bridge.remove_port", `{"bridge":"br1","interface":"c-b"}`}},
	{"add port", []step{{"net.bridge.add", `{"name":"br0"}`}}, step{"net.bridge.add_port", `{"bridge":"br0","interface":"p0","isolated":true,"hairpin":true}`}},
	{"remove port", []step{{"net.bridge.add", `{"name":"br0"}`}, {"net.bridge.add_port", `{"bridge":"br0","interface":"p0"}`}},
		step{"net.bridge.remove_port", `{"bridge":"br0","interface":"p0"}`}},
	{"create tap", []step{{"net.bridge.add", `{"name":"br0"}`}}, step{"net.vm.create_tap", `{"vm_id":"v","name":"t0","bridge":"br0","isolated":true,"owner_uid":5}`}},
	{"delete tap", []step{{"net.bridge.add", `{"name":"br0"}`}, {"net.vm.create_tap", `{"vm_id":"v","name":"t0","bridge":"br0"}`}}, step{"net.vm.delete_tap", `{"name":"t0"}`}},
	{"add route", nil, step{"net.routes.add", `{"dst":"10.9.0.0/16","gateway":"192.0.2.1"}`}},
	{"add IPv6 route", nil, step{"net.routes.add", `{"dst":"2001:db8:9::/48","interface":"p0"}`}},
	{"replace route", []step{{"net.routes.add", `{"dst":"10.9.0.0/16","gateway":"192.0.2.1"}`}}, step{"net.routes.add", `{"dst":"10.9.0.0/16","gateway":"192.0.2.3","replace":true}`}},
	{"delete route", []step{{"net.routes.add", `{"dst":"10.9.0.0/16","gateway":"192.0.2.1"}`}}, step{"net.routes.delete", `{"dst":"10.9.0.0/16"}`}},
}

// newNode is a node with an interface p0, and settings that others made, as sysctl takes them.
func newNode(t *testing.T, settings ...string) *node {
	// In memory: killing loses nothing that was written, and a busy disk would make minutes of it.
	folder, err := os.MkdirTemp("/dev/shm", "crash")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	n := &node{NetNS: testhost.NewNetNS(t), t: t, folder: folder}
	n.IP("link add p0 address 02:00:00:00:00:01 type veth peer p1 address 02:00:00:00:00:02", "link set p0 up", "link set p1 up", "addr add 192.0.2.2/24 dev p1")
	for _, s := range settings {
		n.Run("sysctl", "-qw", s)
	}
	return n
}

// picture is what the namespace has, in an order and without what the kernel chooses anew or counts.
func (n *node) picture() string {
	n.t.Helper()
	var links, routes []map[string]any
	for text, into := range map[string]*[]map[string]any{n.Run("ip", "-j", "-d", "addr"): &links, n.Run("ip", "-j", "route", "show", "table", "all", "proto", "109"): &routes} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			n.t.Fatal(err)
		}
	}
	var six []map[string]any
	if err := json.Unmarshal([]byte(n.Run("ip", "-6", "-j", "route", "show", "table", "all", "proto", "109")), &six); err != nil {
		n.t.Fatal(err)
	}
	var lines []string
	for _, l := range links {
		info, _ := l["linkinfo"].(map[string]any)
		port, _ := info["info_slave_data"].(map[string]any)
		var addrs []string
		for _, a := range l["addr_info"].([]any) {
			if a := a.(map[string]any); a["scope"] == "global" {
				addrs = append(addrs, fmt.Sprint(a["local"], "/", a["prefixlen"]))
			}
		}
		slices.Sort(addrs)
		flags, _ := l["flags"].([]any)
		lines = append(lines, fmt.Sprint(l["ifname"], " of ", l["master"], " mtu ", l["mtu"], " alias ", l["ifalias"], " ", info["info_kind"], addrs,
			" hairpin ", port["hairpin"], " isolated ", port["isolated"], " up ", slices.Contains(flags, any("UP"))))
	}
	for _, r := range append(routes, six...) {
		lines = append(lines, fmt.Sprint("route ", r["dst"], " via ", r["gateway"], " dev ", r["dev"]))
	}
	lines = append(lines, n.filter()...)
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// filter is what the packet filter has, and which interfaces forward.
func (n *node) filter() (lines []string) {
	n.t.Helper()
	for _, text := range []string{n.Run("nft", "-s", "list", "ruleset"), n.Run("sysctl", "-ar", `net\.ipv[46]\.conf\..*\.(forwarding|accept_ra)$`)} {
		for _, line := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune("\n,{}", r) }) { // sets stand as they came
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// TestKilledAtEveryMomentItIsOldOrNew kills the daemon at every moment of every write, from the call to the
// end of the process, and looks at what the next one makes of it.
func TestKilledAtEveryMomentItIsOldOrNew(t *testing.T) {
	testhost.Root(t)
	points := 0
	for _, c := range crashes {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			before, after := n.reference(c.before, c.write, n.picture)
			moment := 1
			for ; !killedAt(t, moment, c.before, c.write, before, after); moment++ {
				if moment > 200 {
					t.Fatal("it never comes to its end")
				}
			}
			t.Logf("%d moments", moment-1)
			total.Lock()
			points += moment - 1
			total.Unlock()
		})
	}
	t.Cleanup(func() { t.Logf("killed at %d moments of %d writes", points, len(crashes)) })
}

var total sync.Mutex

// reference makes the write with a daemon that nothing happens to, and returns what a picture of the node shows
// before and after it.
func (n *node) reference(setup []step, write step, picture func() string) (before, after string) {
	n.t.Helper()
	l := n.start(0)
	for _, s := range setup {
		l.must(s)
	}
	before = picture()
	l.must(write)
	after = picture()
	l.kill()
	if before == after {
		n.t.Fatal("the write changes nothing that the picture shows")
	}
	return before, after
}

// killedAt is a trial on a node of its own.
func killedAt(t *testing.T, moment int, setup []step, write step, before, after string, settings ...string) (done bool) {
	t.Helper()
	n := newNode(t, settings...)
	return n.trial(moment, setup, write, n.picture, before, after)
}

// trial makes the write with a daemon that dies at a moment, starts another, and compares. It tells whether the
// daemon came to its end without having met the moment.
func (n *node) trial(moment int, setup []step, write step, picture func() string, before, after string) (done bool) {
	n.t.Helper()
	return n.undergo(moment, ordeal{
		setup: func(l *life) {
			for _, s := range setup {
				l.must(s)
			}
		},
		change: func(l *life) bool { return l.call(write) != nil },
		again:  func(l *life) { l.must(write) },
		rest:   func(*life) {}, picture: picture, before: before, after: after,
	})
}

// ordeal is a change that a daemon dies over, and what shows whether it has come about.
type ordeal struct {
	setup         func(l *life)      // by the same daemon, before moments count; nil: they count from its start on
	change        func(l *life) bool // false: the daemon died over it
	again         func(l *life)      // asks for it once more
	rest          func(l *life)      // waits until a daemon that was started has nothing more to do
	picture       func() string
	before, after string
}

// undergo has a daemon die over a change at a moment, and looks at what the next one makes of it. It tells whether
// the daemon came to its end without having met the moment.
func (n *node) undergo(moment int, o ordeal) (done bool) {
	t := n.t
	t.Helper()
	n.armed = n.folder + "/armed"
	arm := func() {
		if err := os.WriteFile(n.armed, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var l *life
	if o.setup == nil {
		arm()
		l = n.start(moment)
	} else {
		l = n.start(moment)
		o.setup(l)
		arm()
	}
	acknowledged := o.change(l)
	if done = l.stop(); done && !acknowledged {
		t.Fatalf("moment %d: no answer and no death: %s", moment, l.log.String())
	}
	if moment%2 == 0 {
		n.start(1 + moment/2%5).kill() // the next one dies too, over what the first has left
	}
	l = n.start(0)
	o.rest(l)
	got := o.picture()
	if got != o.after && (acknowledged || got != o.before) {
		t.Errorf("moment %d (acknowledged %v): after the next start\n%s\nbefore\n%s\nafter\n%s\nlog %s", moment, acknowledged, got, o.before, o.after, l.log.String())
	}
	var verified struct {
		InSync bool `json:"in_sync"`
		Drift  json.RawMessage
	}
	if err := json.Unmarshal(l.must(step{"net.verify", "{}"}), &verified); err != nil || !verified.InSync {
		t.Errorf("moment %d: drift %s, %v", moment, verified.Drift, err)
	}
	o.again(l) // asked again, it comes about
	if got := o.picture(); got != o.after {
		t.Errorf("moment %d: asked again\n%s\nnot\n%s", moment, got, o.after)
	}
	l.kill()
	return done
}
