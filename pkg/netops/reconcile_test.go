package netops

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// newReconciled is a maker whose Net runs as the daemon does, in a mode.
func newReconciled(t testing.TB, mode ReconcileMode) (*maker, *testhost.Log) {
	l := new(testhost.Log)
	m := &maker{NetNS: testhost.NewNetNS(t), t: t, dir: t.TempDir(), more: func(o *Options) { o.Reconcile, o.Log = mode, zerolog.New(l) }}
	m.start("boot-1")
	t.Cleanup(m.stop)
	return m, l
}

// forgive has the reconciler forget what it mended, so that a test need not wait.
func (m *maker) forgive() {
	m.net.reconciler.mu.Lock()
	defer m.net.reconciler.mu.Unlock()
	clear(m.net.reconciler.fights)
}

// looked waits for the first round.
func (m *maker) looked() {
	m.t.Helper()
	testhost.Eventually(m.t, "the first look", func() bool {
		m.net.reconciler.mu.Lock()
		defer m.net.reconciler.mu.Unlock()
		return m.net.reconciler.born != nil
	})
}

func (m *maker) check(name string) object {
	m.t.Helper()
	for _, c := range objects(m.call("net.health", object{})["checks"]) {
		if c["name"] == name {
			return c
		}
	}
	return nil
}

// neighbourhood puts things of others beside ours, and returns what shows them.
func neighbourhood(m *maker) (picture func() string) {
	m.t.Helper()
	testhost.Tool(m.t, "nft", "nftables")
	m.IP("link add theirs type bridge", "link set theirs up mtu 1280 alias another", "addr add 203.0.113.1/24 dev theirs",
		"link add t0 type veth peer t1", "link set t0 master theirs", "link set t0 up", "link set t1 up",
		"route add 198.51.100.0/24 via 203.0.113.9 proto static", "route add 2001:db8:ff::/48 dev theirs metric 5", "route add blackhole 100.64.0.0/10 table 77")
	m.nft(`table inet theirs { set s { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 }; }; chain c { type filter hook input priority 5; policy accept; ip saddr @s counter drop; tcp dport 22 accept; }; }
table ip nat { chain p { type nat hook prerouting priority -100; tcp dport 9 dnat to 10.0.0.1; }; }`)
	m.Run("sysctl", "-qw", "net.ipv4.conf.theirs.forwarding=1", "net.ipv4.conf.t0.rp_filter=1", "net.ipv6.conf.theirs.accept_ra=0")
	return func() string {
		var b strings.Builder
		for _, args := range [][]string{
			{"nft", "-s", "list", "table", "inet", "theirs"}, {"nft", "-s", "list", "table", "ip", "nat"},
			{"ip", "-j", "-d", "addr", "show", "dev", "theirs"}, {"ip", "-j", "-d", "link", "show", "dev", "t0"},
			{"ip", "-j", "-d", "route", "show", "table", "all", "proto", "static"}, {"ip", "-j", "-6", "-d", "route", "show", "dev", "theirs", "metric", "5"},
			{"ip", "-j", "route", "show", "table", "77"}, {"sysctl", "-ar", `net\.ipv[46]\.(conf|neigh)\.(theirs|t0|t1|all|default|lo)\.`},
		} {
			b.WriteString(m.Run(args[0], args[1:]...) + "\n")
		}
		return byItself.ReplaceAllString(b.String(), "")
	}
}

// byItself is what goes on by itself: timers, and what begins when a link is set up.
var byItself = regexp.MustCompile(`"[a-z_]*timer":[0-9.]+|"tentative":true,|"state":"[a-z]+"`)

// unmended are sabotages after which what stands is no longer ours: it is told, and left alone.
var unmended = map[string]string{
	"link set br0 alias other":                              "link set br0 alias " + markBridge,
	"route replace 10.20.0.0/16 via 192.0.2.9 proto static": "route del 10.20.0.0/16",
}

// TestDriftIsMended sabotages one thing after another, in the order of chance, where the mode is repair: each
// comes back, and nothing of others changes.
func TestDriftIsMended(t *testing.T) {
	t.Parallel()
	m, _ := newReconciled(t, ReconcileRepair)
	theirs := neighbourhood(m)
	m.net.Start()
	furnish(m)
	m.call("net.firewall.add_rule", object{"protocol": "tcp", "port": 80})
	m.call("net.firewall.add_rule", object{"protocol": "tcp", "port": 81, "source": "10.0.0.0/8"})
	m.call("net.nat.add_dnat", object{"protocol": "tcp", "port": 8080, "to_address": "10.1.0.5"})
	m.call("net.nat.add_snat", object{"source": "10.1.0.0/24"})
	want(t, "mode", m.call("net.verify", object{})["reconcile_mode"], "repair")
	m.inSync()
	before := theirs()
	m.looked()
	steps := map[string]func(){}
	for _, c := range sabotages {
		steps[c.sabotage] = func() { m.IP(strings.Split(c.sabotage, "\n")...) }
	}
	for _, script := range []string{
		"delete table inet my_os_server", "flush chain inet my_os_server input", "delete element inet my_os_server open { tcp . 80 }",
		"add element inet my_os_server open { tcp . 90 }", "add chain inet my_os_server more", "add set inet my_os_server more { type ipv4_addr; }",
		"insert rule inet my_os_server input drop", "flush set inet my_os_server forwarded4_to", "flush map inet my_os_server dnat4",
	} {
		steps[script] = func() { m.nft(script) }
	}
	for _, setting := range []string{"net.ipv4.conf.up0.forwarding=0", "net.ipv4.conf.br0.forwarding=0"} {
		steps[setting] = func() { m.Run("sysctl", "-qw", setting) }
	}
	picture, ruleset := m.picture(), m.sortedRuleset()
	r := rand.New(rand.NewPCG(testhost.Seed(t), 0))
	for _, sabotage := range shuffled(r, steps) {
		m.forgive()
		steps[sabotage]()
		if back := unmended[sabotage]; back != "" {
			testhost.Eventually(t, sabotage+": told", func() bool { return m.check("drift")["status"] == "degraded" })
			m.IP(back)
		}
		m.mended(sabotage)
		want(t, sabotage, m.picture(), picture)
		testhost.Eventually(t, sabotage+": the table", func() bool { return m.sortedRuleset() == ruleset })
	}
	want(t, "what others have", theirs(), before)
	t.Logf("%d kinds of sabotage", len(steps))
}

func shuffled(r *rand.Rand, of map[string]func()) []string {
	var list []string
	for name := range of {
		list = append(list, name)
	}
	r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list
}

// mended waits until nothing differs any more, and two looks in a row say so.
func (m *maker) mended(what string) {
	m.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(30 * time.Millisecond) {
		v := m.call("net.verify", object{})
		if v["in_sync"] == true {
			return
		}
		if time.Now().After(end) {
			m.t.Fatalf("%s: not mended: %v", what, v["drift"])
		}
	}
}

// sortedRuleset is the ruleset without counters, in an order.
func (m *maker) sortedRuleset() string {
	lines := strings.FieldsFunc(m.Run("nft", "-s", "list", "ruleset"), func(r rune) bool { return r == '\n' || r == ',' })
	for i := range lines {
		lines[i] = strings.TrimSpace(strings.NewReplacer("elements = {", "", "}", "").Replace(lines[i]))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestReportTouchesNothingButAVanishedTable: drift is logged, and told by net.health; the own table alone comes
// back.
func TestReportTouchesNothingButAVanishedTable(t *testing.T) {
	m, logged := newReconciled(t, ReconcileReport)
	m.net.Start()
	m.call("net.bridge.add", object{"name": "br0", "mtu": 1400})
	m.call("net.firewall.add_rule", object{"protocol": "tcp", "port": 80})
	want(t, "drift", m.check("drift")["status"], "ok")
	want(t, "reconcile", m.check("reconcile")["status"], "ok")
	ruleset := m.sortedRuleset()
	m.IP("link set br0 mtu 1300")
	m.nft("flush ruleset")
	testhost.Eventually(t, "the table", func() bool { return m.sortedRuleset() == ruleset })
	logged.Await(t, `"object":"bridge br0","drift":"changed, mtu is`)
	want(t, "mtu", m.links()["br0"]["mtu"], 1300.0)
	want(t, "drift", m.check("drift")["status"], "degraded")
	m.nft("insert rule inet my_os_server input drop")
	logged.Await(t, `"object":"firewall_table inet my_os_server"`)
	if !strings.Contains(m.ruleset(), "\t\tdrop") {
		t.Error("a rule of others in the own table was removed")
	}

	m.net.SetReconcile(ReconcileRepair)
	m.mended("after the mode was changed")
	want(t, "mtu", m.links()["br0"]["mtu"], 1400.0)
	logged.Await(t, "as registered again")
}

// TestFightDoesNotSpin has another manager want another MTU, as often as it can.
func TestFightDoesNotSpin(t *testing.T) {
	t.Parallel()
	m, logged := newReconciled(t, ReconcileRepair)
	m.net.Start()
	m.call("net.bridge.add", object{"name": "br0", "mtu": 1400})
	before := m.net.steps.Load()
	stop := make(chan struct{})
	var other sync.WaitGroup
	other.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				_, _ = m.TryIP("link set br0 mtu 1300")
			}
		}
	})
	begun := time.Now()
	testhost.Eventually(t, "a fight is told", func() bool {
		c := m.check("reconcile")
		return c["status"] == "degraded" && strings.Contains(c["message"].(string), "bridge br0")
	})
	took, mended := time.Since(begun), m.net.steps.Load()-before
	close(stop)
	other.Wait()
	// After 1 s, 2 s, 4 s …: n mendings take 2^(n-1) - 1 seconds at least.
	if mended > 8 || took < time.Duration(1<<(mended-1)-1)*time.Second {
		t.Errorf("mended %d times in %v", mended, took)
	}
	if !logged.Has("something else changes it") {
		t.Error("the log does not tell")
	}
	m.forgive()
	m.net.reconciler.look()
	m.mended("after the fight")
}

// TestWhatBearsTheMarkAtTheStartStays: it may be all that is left after the state folder was lost. What comes later
// goes, unless it is in use.
func TestWhatBearsTheMarkAtTheStartStays(t *testing.T) {
	m, _ := newReconciled(t, ReconcileRepair)
	m.IP("link add old type bridge", "link set old alias "+markBridge, "link add up0 type veth peer up1", "link set up0 up", "link set up1 up", "route add 10.98.0.0/16 dev up0 proto 109")
	m.net.Start()
	m.call("net.bridge.add", object{"name": "br0"})
	m.looked()
	want(t, "drift", len(objects(m.call("net.verify", object{})["drift"])), 2)
	m.IP("link add new type bridge", "link set new alias "+markBridge, "route add 10.99.0.0/16 dev up0 proto 109")
	testhost.Eventually(t, "the new ones go", func() bool { return len(objects(m.call("net.verify", object{})["drift"])) == 2 })
	for _, d := range objects(m.call("net.verify", object{})["drift"]) {
		if d["cause"] == nil || d["repair"] != nil || d["kind"] != "unexpected" {
			t.Errorf("%v", d)
		}
	}
	if l := m.links(); l["old"] == nil || l["br0"] == nil || l["new"] != nil {
		t.Errorf("%v", l)
	}
}

// TestRepairAmongManyCallers: rounds and writes do not get in each other's way, and no write is taken for drift.
func TestRepairAmongManyCallers(t *testing.T) {
	m, logged := newReconciled(t, ReconcileRepair)
	m.IP("link add up0 type veth peer up1", "link set up0 up", "link set up1 up", "addr add 192.0.2.2/24 dev up0")
	m.net.Start()
	m.call("net.bridge.add", object{"name": "br0"})
	picture, ruleset := m.picture(), m.ruleset()
	done := make(chan struct{})
	var looking, wg sync.WaitGroup
	looking.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
				m.net.reconciler.round(t.Context(), map[place]bool{})
			}
		}
	})
	for caller := range 8 {
		wg.Go(func() {
			for i := range testhost.Rounds(20) {
				for _, w := range []struct {
					add, remove, noun, key string
					params                 object
				}{
					{"net.vm.create_tap", "net.vm.delete_tap", "tap", "name", object{"vm_id": fmt.Sprintf("vm-%d-%d", caller, i), "bridge": "br0"}},
					{"net.firewall.add_rule", "net.firewall.remove_rule", "rule", "id", object{"protocol": "tcp", "port": 1000 + caller*1000 + i, "source": fmt.Sprintf("10.0.0.0/%d", 8+i%3)}},
					{"net.routes.add", "net.routes.delete", "route", "dst", object{"dst": fmt.Sprintf("10.%d.%d.0/24", caller, i%250), "gateway": "192.0.2.1"}},
				} {
					made, err := call(t, m.net, w.add, w.params)
					if err != nil {
						t.Errorf("%s %v: %v", w.add, w.params, err)
						return
					}
					if _, err := call(t, m.net, w.remove, object{w.key: made[w.noun].(object)[w.key]}); err != nil {
						t.Errorf("%s: %v", w.remove, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	close(done)
	looking.Wait()
	m.mended("afterwards")
	want(t, "links and routes", m.picture(), picture)
	want(t, "table", m.ruleset(), ruleset)
	if logged.Has("mended") || logged.Has("not as registered") {
		t.Errorf("a write was taken for drift: %s", logged)
	}
}

func TestJudgeReconcile(t *testing.T) {
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		deaf, failed string
		fights       map[string]fight
		status       registry.CheckStatus
		message      string
	}{
		{"", "", nil, registry.CheckStatusOk, "told"},
		{"no socket", "", nil, registry.CheckStatusUnknown, "every 5m0s: no socket"},
		{"", "dump links: permission denied", nil, registry.CheckStatusUnknown, "permission denied"},
		{"", "", map[string]fight{"bridge br0": {count: 3, last: now}}, registry.CheckStatusOk, "told"},
		{"", "", map[string]fight{"bridge br0": {count: 4, last: now}}, registry.CheckStatusDegraded, "bridge br0 was mended 4 times"},
		{"", "", map[string]fight{"tap t": {count: 1, last: now, cause: "no such device"}}, registry.CheckStatusDegraded, "tap t could not be mended: no such device"},
	} {
		c := judgeReconcile(ReconcileReport, test.deaf, test.failed, 0, test.fights, now)[0]
		if c.Status != test.status || !strings.Contains(c.Message, test.message) {
			t.Errorf("%+v: %+v", test, c)
		}
	}
}

// TestRestsDoubleAndEnd: an object that changes all the time is mended ever less often, but never given up.
func TestRestsDoubleAndEnd(t *testing.T) {
	r := &reconciler{net: &Net{}, fights: map[string]*fight{}}
	now, day, mended := time.Now(), 24*time.Hour, 0
	for at := time.Duration(0); at < day; at += 100 * time.Millisecond {
		if r.mayTry("x", now.Add(at)) {
			r.tried("x", errors.New("no"), now.Add(at))
			mended++
		}
	}
	if mended < int(day/fightLonger) || mended > int(day/fightLonger)+20 {
		t.Errorf("%d times in a day", mended)
	}
	if f := r.fights["x"]; f.calm(now.Add(day)) || !f.calm(now.Add(day+time.Hour)) {
		t.Error("never calm, or always")
	}
}
