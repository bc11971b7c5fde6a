package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// ovsReads are the methods that ovs-vswitchd answers; net.ovs is its database's.
var ovsReads = []string{"net.flows", "net.datapath", "net.ovs.conntrack", "net.ovs.conntrack.stats"}

// switching starts an Open vSwitch with a bridge, two hosts on it, and connections that it tracks.
func switching(t *testing.T) *testhost.OVS {
	t.Helper()
	ovs := testhost.NewOVS(t, testhost.NewNetNS(t))
	ovs.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
	a := ovs.Peer("br0", "v1", "198.51.100.1/24")
	ovs.Peer("br0", "v2", "198.51.100.2/24")
	ovs.Flows("br0", "priority=10,arp,actions=NORMAL", "priority=100,ip,ct_state=-trk,actions=ct(table=1,zone=5)",
		"table=1,ip,ct_state=+trk+new,actions=ct(commit,zone=5,exec(set_field:7->ct_mark)),NORMAL", "table=1,ip,ct_state=+trk+est,actions=NORMAL")
	a.Run("ping", "-c1", "-W20", "198.51.100.2")
	return ovs
}

// TestOVSThroughMOS: what a native server reads of an Open vSwitch comes through a MOS node's server as it is.
func TestOVSThroughMOS(t *testing.T) {
	testhost.Root(t)
	ovs := switching(t)
	native := startServer(t, "--ovs-run-dir", ovs.RunDir)
	mosnet := startServer(t, "--serve-as", "mosnet", "--ovs-run-dir", ovs.RunDir)
	mos := startMOS(t, mosnet.socket, startServer(t, "--serve-as", "storage").socket)
	for method, calls := range map[string][]string{
		"net.ovs": {"", `{"bridge":"br0"}`}, "net.datapath": {"", `{"limit":1}`}, "net.flows": {"", `{"bridge":"br0","table":1}`, `{"bridge":"no-such"}`},
		"net.ovs.conntrack": {"", `{"zone":5}`}, "net.ovs.conntrack.stats": {"", `{"zone":5}`}, "net.ovs.conntrack.flush": {`{"zone":999}`},
	} {
		for _, params := range calls {
			if failure := alike(t, native, mos, method, params); (failure != nil) != strings.Contains(params, "no-such") {
				t.Errorf("%s %s: %v", method, params, failure)
			}
		}
	}
}

// ovsLoad asks a server for what it has of an Open vSwitch, and for other things, all the time.
type ovsLoad struct {
	t        *testing.T
	c        *http.Client
	deadline time.Duration // of each call to Open vSwitch
	wrong    atomic.Value  // string: what went wrong with a call that must work
	others   atomic.Int64  // calls of other methods that worked
	refused  sync.Map      // method -> the last cause why it could not be answered
	answered sync.Map      // method -> answers since the last look
	ended    chan struct{}
	callers  sync.WaitGroup
}

func loading(t *testing.T, s *server) *ovsLoad {
	l := &ovsLoad{t: t, c: s.client(), deadline: 500 * time.Millisecond, ended: make(chan struct{})}
	for _, method := range []string{"rpc.health", "net.interfaces"} {
		l.callers.Go(func() { l.keep(func() { l.other(method) }) })
	}
	for _, method := range append([]string{"net.ovs"}, ovsReads...) {
		l.callers.Go(func() { l.keep(func() { l.ask(method) }) })
	}
	t.Cleanup(func() {
		close(l.ended)
		l.callers.Wait()
		l.c.CloseIdleConnections()
	})
	return l
}

func (l *ovsLoad) keep(f func()) {
	for {
		select {
		case <-l.ended:
			return
		case <-time.After(5 * time.Millisecond):
			f()
		}
	}
}

// other asks for what has nothing to do with Open vSwitch. It must come whatever happens there, and soon: the bound is
// what a busy machine needs, not what the server does.
func (l *ovsLoad) other(method string) {
	begin := time.Now()
	a, err := post(l.c, http.Header{"X-Deadline-Ms": {"10000"}}, body(method, ""))
	switch {
	case err != nil:
		l.wrong.Store(fmt.Sprintf("%s: %v", method, err))
	case a.Error != nil:
		l.wrong.Store(fmt.Sprintf("%s after %v: %v", method, time.Since(begin), a.Error))
	default:
		l.others.Add(1)
	}
}

// ask asks for what Open vSwitch has. The answer must be there by the deadline, and say what is wrong where something is.
func (l *ovsLoad) ask(method string) {
	begin := time.Now()
	a, err := post(l.c, http.Header{"X-Deadline-Ms": {fmt.Sprint(l.deadline.Milliseconds())}}, body(method, ""))
	took := time.Since(begin)
	switch {
	case err != nil:
		l.wrong.Store(fmt.Sprintf("%s: %v", method, err))
	case took > l.deadline+5*time.Second:
		l.wrong.Store(fmt.Sprintf("%s took %v", method, took))
	case a.Error == nil:
		l.answered.Store(method, true)
	case a.Error.Data["kind"] == "upstream_unavailable":
		l.refused.Store(method, fmt.Sprint(a.Error.Data["cause"]))
	case a.Error.Data["kind"] == "deadline_exceeded": // which a busy machine may bring about
		l.refused.Store(method, a.Error.Message)
	default:
		l.wrong.Store(fmt.Sprintf("%s: %v", method, a.Error))
	}
}

// wait waits until every one of the methods fits.
func (l *ovsLoad) wait(what string, methods []string, fits func(method string) bool) {
	l.t.Helper()
	others := l.others.Load()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		missing := slices.DeleteFunc(slices.Clone(methods), fits)
		if wrong, ok := l.wrong.Load().(string); ok {
			l.t.Fatalf("%s: %s", what, wrong)
		}
		if len(missing) == 0 && l.others.Load() > others+5 {
			return
		}
		if time.Now().After(deadline) {
			cause, _ := l.refused.Load(missing[0])
			l.t.Fatalf("%s: not of %v (last told: %v); other calls went from %d to %d", what, missing, cause, others, l.others.Load())
		}
	}
}

// answers waits until the methods answer anew.
func (l *ovsLoad) answers(when string, methods []string) {
	l.t.Helper()
	l.answered.Clear()
	l.wait(when, methods, func(m string) bool { _, ok := l.answered.Load(m); return ok })
}

// refuses waits until the methods say that something is wrong, with a word of what it is.
func (l *ovsLoad) refuses(when, word string, methods []string) {
	l.t.Helper()
	l.refused.Clear()
	l.wait(when, methods, func(m string) bool {
		cause, _ := l.refused.Load(m)
		text, _ := cause.(string)
		return strings.Contains(text, word)
	})
}

// TestOVSDaemonsUnderLoad: while either daemon of Open vSwitch hangs, is gone, and comes back, what it answers says so
// within the deadline and works again when it is back; everything else keeps its pace all the time. (A switch that has
// lost its database serves no OpenFlow.)
func TestOVSDaemonsUnderLoad(t *testing.T) {
	testhost.Root(t)
	ovs := switching(t)
	l := loading(t, startServer(t, "--ovs-run-dir", ovs.RunDir))
	database, everything := []string{"net.ovs"}, append([]string{"net.ovs"}, ovsReads...)
	l.answers("at first", everything)

	ovs.Signal(testhost.OVSSwitch, syscall.SIGSTOP)
	l.refuses("the switch is stopped", "is stopped", ovsReads)
	l.answers("while the switch is stopped", database)
	ovs.Signal(testhost.OVSSwitch, syscall.SIGCONT)
	l.answers("the switch goes on", everything)

	ovs.Kill(testhost.OVSSwitch)
	l.refuses("the switch is killed", "is gone", ovsReads)
	ovs.Start(testhost.OVSSwitch)
	l.answers("the switch is back", everything)

	ovs.Signal(testhost.OVSDatabase, syscall.SIGSTOP)
	l.refuses("the database is stopped", "does not answer", database)
	l.answers("while the database is stopped", ovsReads)
	ovs.Signal(testhost.OVSDatabase, syscall.SIGCONT)
	l.answers("the database goes on", everything)

	ovs.Kill(testhost.OVSDatabase)
	l.refuses("the database is killed", "refused", database)
	l.refuses("the database is killed", "without its database", []string{"net.flows"})
	l.answers("while the database is gone", ovsReads[1:])
	ovs.Start(testhost.OVSDatabase)
	l.answers("the database is back", everything)
	t.Logf("%d calls of other methods meanwhile", l.others.Load())
}
