package netops

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// newRelayedMaker is an ovsMaker that reaches its database through a relay.
func newRelayedMaker(t testing.TB) (*ovsMaker, *testhost.Relay) {
	m := newOVSMaker(t)
	dir := t.TempDir()
	relay := testhost.NewRelay(t, filepath.Join(dir, ovsDBSocket), filepath.Join(m.o.RunDir, ovsDBSocket))
	m.stop()
	before := m.more
	m.more = func(o *Options) {
		before(o)
		o.OVSRunDir = dir
	}
	m.start("boot-1")
	return m, relay
}

// settled waits until no write is open any more, which takes no call of anybody.
func (m *ovsMaker) settled() {
	m.t.Helper()
	for deadline := time.Now().Add(time.Minute); len(m.net.unknown.all()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatal("a write is still open")
		}
	}
	if list := m.store.Pending(); len(list) > 0 {
		m.t.Errorf("open in the journal: %v", list[0].Intent())
	}
}

// unknownCalls are writes on bridges of Open vSwitch.
var unknownCalls = []struct {
	name, method string
	before       []string // names of what must stand
	params       object
	word         string                    // in the transaction that it makes
	again        func(applied bool) object // what the same call answers when it is made again
	row          string                    // the member with the object; "": none
}{
	{"bridge add", "net.bridge.add", nil, object{"name": "br1", "mtu": 1400, "addresses": []string{"10.1.0.1/24"}}, `add bridge br1`, created, "bridge"},
	{"bridge delete", "net.bridge.delete", []string{"br1"}, object{"name": "br1"}, `delete bridge br1`, deleted, ""},
	{"connect", "net.bridge.connect", []string{"br1"}, object{"a": "br0", "b": "br1", "name": "c"}, `add port c-a`, created, ""},
	{"add port", "net.bridge.add_port", nil, object{"bridge": "br0", "interface": "p0", "pvid": 4, "vlans": []string{"7-9"}}, `add port p0`, created, "port"},
	{"remove port", "net.bridge.remove_port", []string{"p0"}, object{"bridge": "br0", "interface": "p0"}, `delete port p0`, deleted, ""},
	{"create tap", "net.vm.create_tap", nil, object{"vm_id": "v", "name": "t0", "bridge": "br0", "pvid": 5}, `add port t0`, created, "tap"},
	{"delete tap", "net.vm.delete_tap", []string{"t0"}, object{"name": "t0"}, `delete port t0`, deleted, ""},
}

func created(applied bool) object { return object{"created": !applied} }
func deleted(applied bool) object { return object{"deleted": !applied} }

// unknownFaults are what happens to the database server, or to the way to it, exactly over the transaction.
var unknownFaults = []struct {
	name    string
	applied bool // the transaction is carried out in the end
	snag    func(o *testhost.OVS) testhost.Snag
	mend    func(o *testhost.OVS, r *testhost.Relay)
}{
	{"stopped before it takes the request", true,
		func(o *testhost.OVS) testhost.Snag {
			return testhost.Snag{Sent: -1, Answered: 0, First: func() { o.Signal(testhost.OVSDatabase, syscall.SIGSTOP) }}
		},
		func(o *testhost.OVS, r *testhost.Relay) { o.Signal(testhost.OVSDatabase, syscall.SIGCONT); r.Release() }},
	{"stopped with half of the request", true,
		func(o *testhost.OVS) testhost.Snag {
			return testhost.Snag{Sent: 100, Then: func() { o.Signal(testhost.OVSDatabase, syscall.SIGSTOP) }}
		},
		func(o *testhost.OVS, r *testhost.Relay) { r.Release(); o.Signal(testhost.OVSDatabase, syscall.SIGCONT) }},
	{"stopped with half of the answer written", true,
		func(o *testhost.OVS) testhost.Snag {
			return testhost.Snag{Sent: -1, Answered: 10, Then: func() { o.Signal(testhost.OVSDatabase, syscall.SIGSTOP) }}
		},
		func(o *testhost.OVS, r *testhost.Relay) { r.Release(); o.Signal(testhost.OVSDatabase, syscall.SIGCONT) }},
	{"the answer is lost, and the server ends", true,
		func(o *testhost.OVS) testhost.Snag {
			return testhost.Snag{Sent: -1, Answered: 0, Cut: true, Then: func() { o.Kill(testhost.OVSDatabase) }}
		},
		func(o *testhost.OVS, r *testhost.Relay) { o.Start(testhost.OVSDatabase) }},
	{"the server ends with half of the request", false,
		func(o *testhost.OVS) testhost.Snag {
			return testhost.Snag{Sent: 100, Cut: true, Then: func() { o.Kill(testhost.OVSDatabase) }}
		},
		func(o *testhost.OVS, r *testhost.Relay) { o.Start(testhost.OVSDatabase) }},
	{"stopped, and killed before it takes the request", false,
		func(o *testhost.OVS) testhost.Snag {
			return testhost.Snag{Sent: -1, Answered: 0, First: func() { o.Signal(testhost.OVSDatabase, syscall.SIGSTOP) }}
		},
		func(o *testhost.OVS, r *testhost.Relay) { o.Kill(testhost.OVSDatabase); o.Start(testhost.OVSDatabase) }},
}

// TestOVSWriteOfUnknownOutcome: a write that the database server hangs or ends over is applied: unknown. Once the
// server answers again it is read back what became of it; the same call made again is as if the first had been
// answered, and nothing is left open. That is so whether the call comes again, the rounds are first, or a new daemon is.
func TestOVSWriteOfUnknownOutcome(t *testing.T) {
	for i, f := range unknownFaults {
		for j, c := range unknownCalls {
			for way, settle := range []string{"the call is made again", "the rounds settle it", "a new daemon does"} {
				// Of all of them in long runs, a third of the pairs in short ones, each in one of the ways.
				if testhost.Rounds(3) < 100 && (i%3 != j%3 || (i+j/2)%3 != way) {
					continue
				}
				t.Run(fmt.Sprint(f.name, "/", c.name, "/", settle), func(t *testing.T) {
					t.Parallel()
					m, relay := newRelayedMaker(t)
					if _, err := m.net.Restore(t.Context()); err != nil { // as a start does
						t.Fatal(err)
					}
					if way == 1 {
						m.net.Start()
					}
					m.IP("link add p0 type veth peer name p1")
					m.call("net.bridge.add", object{"name": "br0"})
					m.stands(c.before)
					snag := f.snag(m.o)
					snag.Word = c.word
					hit := relay.Snag(snag)
					_, err := callWithin(t, m.net, c.method, c.params, 2*time.Second)
					for try := 0; !relay.Caught() && try < 20; try++ { // a busy machine had no time for it
						_, err = callWithin(t, m.net, c.method, c.params, 2*time.Second)
					}
					var gone *registry.UpstreamUnavailableError
					if !errors.As(err, &gone) || gone.Applied.Or("") != registry.AppliedUnknown || !strings.Contains(gone.Upstream, "ovsdb-server") {
						t.Fatalf("the call: %v", err)
					}
					if f.applied && f.name[:7] != "stopped" {
						<-hit
					}
					// Nobody else's turn comes meanwhile, and who waits is told why within the call's time.
					if _, err := callWithin(t, m.net, c.method, c.params, time.Second); !errors.As(err, &gone) || gone.Applied.Or("") == registry.AppliedYes {
						t.Errorf("again, too soon: %v", err)
					}
					f.mend(m.o, relay)
					applied := f.applied
					switch way {
					case 1:
						m.settled()
					case 2:
						m.stop()
						m.start("boot-1")
						if _, err := m.net.Restore(t.Context()); err != nil {
							t.Fatal(err)
						}
						applied = true // what a daemon before has begun is finished
					}
					again := m.call(c.method, c.params)
					want(t, "again", some(again, "created", "deleted"), c.again(applied))
					if row, ok := again[c.row].(object); c.row != "" && (!ok || len(row) < 5) {
						t.Errorf("again: no whole object: %v", again)
					}
					want(t, "once more", some(m.call(c.method, c.params), "created", "deleted"), c.again(true))
					m.settled()
					m.inSync()
				})
			}
		}
	}
}

// stands makes what a call needs.
func (m *ovsMaker) stands(names []string) {
	for _, name := range names {
		switch name {
		case "br1":
			m.call("net.bridge.add", object{"name": "br1"})
		case "p0":
			m.call("net.bridge.add_port", object{"bridge": "br0", "interface": "p0"})
		case "t0":
			m.call("net.vm.create_tap", object{"vm_id": "v", "name": "t0", "bridge": "br0"})
		}
	}
}
