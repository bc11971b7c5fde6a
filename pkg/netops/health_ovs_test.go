package netops

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

func TestJudgeOVS(t *testing.T) {
	for name, c := range map[string]struct {
		facts  ovsFacts
		status registry.CheckStatus
		text   string
	}{
		"well":            {ovsFacts{initialised: true, current: 7, next: 7}, registry.CheckStatusOk, "answer"},
		"no database":     {ovsFacts{database: errors.New("it does not answer")}, registry.CheckStatusFailed, "it does not answer"},
		"not initialised": {ovsFacts{}, registry.CheckStatusFailed, "not initialised"},
		"read-only":       {ovsFacts{initialised: true, database: errors.New("its database is read-only")}, registry.CheckStatusFailed, "read-only"},
		"no switch":       {ovsFacts{initialised: true, daemon: errors.New("no pid file")}, registry.CheckStatusFailed, "ovs-vswitchd does not answer: no pid file"},
		"losing":          {ovsFacts{initialised: true, lost: 9, lostSince: true}, registry.CheckStatusDegraded, "lose packets"},
		"lost once":       {ovsFacts{initialised: true, lost: 9}, registry.CheckStatusOk, "answer"},
		"bad ports":       {ovsFacts{initialised: true, faults: []string{"a", "b", "c", "d", "e"}}, registry.CheckStatusDegraded, "cannot use a, b, c and 2 more"},
	} {
		got := judgeOVS(&c.facts)
		if len(got) != 1 || got[0].Status != c.status || !strings.Contains(got[0].Message, c.text) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestLossesAreToldWhileTheyRise(t *testing.T) {
	var l losses
	at := time.Now()
	for i, step := range []struct {
		after time.Duration
		lost  map[string]int64
		want  bool
	}{
		{0, map[string]int64{"a": 5}, false}, // nobody knows since when
		{time.Second, map[string]int64{"a": 5}, false},
		{time.Second, map[string]int64{"a": 6}, true},
		{time.Second, map[string]int64{"a": 6, "b": 100}, true},
		{lossTime, map[string]int64{"a": 6, "b": 100}, false},
		{time.Second, map[string]int64{"a": 0, "b": 100}, false}, // made anew
		{time.Second, map[string]int64{"a": 0, "b": 101}, true},
	} {
		at = at.Add(step.after)
		if got := l.note(step.lost, at); got != step.want {
			t.Errorf("step %d: %v", i, got)
		}
	}
}

// TestOVSHealthTellsWhatIsWrong: and other checks keep their pace.
func TestOVSHealthTellsWhatIsWrong(t *testing.T) {
	m := newOVSMaker(t)
	tells := func(status, text string) {
		t.Helper()
		c := m.ovsHealth()
		if c["status"] != status || !strings.Contains(c["message"].(string), text) {
			t.Errorf("%v, want %s with %q", c, status, text)
		}
	}
	tells("ok", "answer")
	m.o.Vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
	if _, err := m.o.TryRun("", "ovs-vsctl", "--db=unix:"+m.o.RunDir+"/db.sock", "--timeout=50", "add-port", "br0", "none"); err != nil && !strings.Contains(err.Error(), "none") {
		t.Fatal(err)
	}
	tells("degraded", "cannot use none")
	m.o.Vsctl("del-port", "br0", "none")
	m.o.Signal(testhost.OVSSwitch, syscall.SIGSTOP)
	tells("failed", "ovs-vswitchd does not answer")
	m.o.Signal(testhost.OVSSwitch, syscall.SIGCONT)
	m.o.Signal(testhost.OVSDatabase, syscall.SIGSTOP)
	tells("failed", "does not answer")
	m.o.Signal(testhost.OVSDatabase, syscall.SIGCONT)
	m.o.Appctl("version")
	mustCall(t, m.net, "net.ovs", object{})
	tells("ok", "answer")
	m.o.Run("ovs-appctl", "-t", m.o.Control(testhost.OVSDatabase), "ovsdb-server/set-active-ovsdb-server", "unix:"+m.o.RunDir+"/none.sock")
	m.o.Run("ovs-appctl", "-t", m.o.Control(testhost.OVSDatabase), "ovsdb-server/connect-active-ovsdb-server")
	tells("failed", "read-only")
	refuses[*registry.UpstreamUnavailableError](m.maker, "net.bridge.add", object{"name": "br1"}, "read-only")
	m.o.Run("ovs-appctl", "-t", m.o.Control(testhost.OVSDatabase), "ovsdb-server/disconnect-active-ovsdb-server")
	m.call("net.bridge.add", object{"name": "br1"})
	m.o.Kill(testhost.OVSSwitch)
	tells("failed", "ovs-vswitchd does not answer")
}
