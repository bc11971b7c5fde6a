package netops

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/netops/internal/owntable"
	"github.com/geomind/my_os_server/pkg/netops/internal/ruleset"
	"github.com/geomind/my_os_server/pkg/registry"
)

// policed starts the Net anew, as the daemon does, with an input policy.
func (m *maker) policed(boot string, p InputPolicy) *testhost.Log {
	m.t.Helper()
	l := new(testhost.Log)
	m.more = func(o *Options) { o.InputPolicy, o.Log = p, zerolog.New(l) }
	m.stop()
	m.start(boot)
	m.net.Start()
	return l
}

// confirm says that the node can be reached, as a caller with a right.
func (m *maker) confirm(right registry.Right) (*registry.NetVerifyResult, error) {
	ctx := registry.WithCaller(m.t.Context(), registry.Caller{Name: "uid:7", Right: right})
	return m.net.Verify(ctx, &registry.NetVerifyParams{Confirm: registry.Some(registry.VerifyConfirmInputPolicy)})
}

func (m *maker) confirmed() {
	m.t.Helper()
	if _, err := m.confirm(registry.RightAdmin); err != nil {
		m.t.Fatal(err)
	}
}

// dropsInput tells whether the kernel drops what comes in.
func (m *maker) dropsInput() bool {
	return strings.Contains(m.ruleset(), "hook input priority filter; policy drop;")
}

var dropping = InputPolicy{Drop: true, KeepOpen: []string{"tcp/443", "udp/5000-5003"}, Confirm: time.Minute}

func TestDropLetsInWhatItMust(t *testing.T) {
	c := newCrossing(t)
	answer(t, c.NetNS, 22, 80, 81, 443, 4999, 5000, 5002, 5003, 5004)
	answer(t, c.outside, 80)
	standing, err := dial(c.outside, "tcp", node4, 80)
	if err != nil {
		t.Fatal(err)
	}
	c.policed("boot-1", dropping)
	want(t, "drops", c.dropsInput(), true)
	c.inSync()
	standing.conn.Close()
	for _, node := range []string{node4, node6} {
		for _, test := range []struct {
			network string
			port    int
			open    bool
		}{
			{"tcp", 22, true}, {"tcp", 443, true}, {"tcp", 80, false}, {"udp", 443, false}, {"udp", 4999, false}, {"udp", 5000, true}, {"udp", 5002, true},
			{"udp", 5003, true}, {"udp", 5004, false}, {"tcp", 5000, false},
		} {
			want(t, fmt.Sprint(node, " ", test.network, " ", test.port), c.reaches(test.network, node, test.port), test.open)
		}
		c.outside.Run("ping", "-c1", "-W5", node)
	}
	want(t, "what the node asks for", asks(c.NetNS, "tcp", outside4, 80), node4+" to 80")
	want(t, "the node itself", asks(c.NetNS, "tcp", node4, 80), node4+" to 80")
	c.outside.IP("neigh flush all")
	c.IP("neigh flush all")
	want(t, "neighbours are found", c.reaches("tcp", node6, 22), true)

	rule := c.call("net.firewall.add_rule", object{"protocol": "tcp", "port": 80, "source": outside4 + "/32"})
	want(t, "effective", rule["effective"], true)
	also := c.call("net.firewall.add_rule", object{"protocol": "tcp", "port": 81})
	want(t, "by the rule", asks(c.outside, "tcp", node4, 80), outside4+" to 80")
	want(t, "another family", c.reaches("tcp", node6, 80), false)
	flows := map[int]caller{}
	for _, port := range []int{80, 81, 443} {
		if flows[port], err = dial(c.outside, "tcp", node4, port); err != nil {
			t.Fatal(err)
		}
		want(t, "flow", flows[port].ask(), fmt.Sprint(outside4, " to ", port))
	}
	want(t, "removed", c.call("net.firewall.remove_rule", object{"id": rule["rule"].(object)["id"]}), object{"deleted": true})
	want(t, "known flows go on", flows[80].ask(), outside4+" to 80")
	rule = c.call("net.firewall.add_rule", object{"protocol": "tcp", "port": 80})
	removed := c.call("net.firewall.remove_rule", object{"id": rule["rule"].(object)["id"], "drop_existing": true})
	if n, _ := removed["connections_dropped"].(float64); n < 1 {
		t.Errorf("removed: %v", removed)
	}
	want(t, "its flow ends", flows[80].ask(), "")
	want(t, "others go on", []string{flows[81].ask(), flows[443].ask()}, []string{outside4 + " to 81", outside4 + " to 443"})
	c.call("net.firewall.remove_rule", object{"id": also["rule"].(object)["id"]})

	if err := c.net.SetInputPolicy(t.Context(), InputPolicy{}); err != nil {
		t.Fatal(err)
	}
	want(t, "under accept", c.reaches("tcp", node4, 80), true)
	want(t, "nothing is left", c.ruleset(), "")
}

// reaches tells whether a service of the node answers outside, soon.
func (c *crossing) reaches(network, host string, port int) bool {
	for range 2 {
		var got caller
		var err error
		c.outside.Do(func() { got.conn, err = dialSoon(network, host, port) })
		if err != nil {
			continue
		}
		defer got.conn.Close()
		_ = got.conn.SetDeadline(time.Now().Add(400 * time.Millisecond))
		_, _ = got.conn.Write([]byte("x"))
		if n, err := got.conn.Read(make([]byte, 100)); err == nil && n > 0 {
			return true
		}
	}
	return false
}

func dialSoon(network, host string, port int) (net.Conn, error) {
	return net.DialTimeout(network, net.JoinHostPort(host, strconv.Itoa(port)), 400*time.Millisecond)
}

// knock opens a flow, and does not wait long for it.
func knock(host string, port int) (net.Conn, error) {
	return net.DialTimeout("tcp", net.JoinHostPort(host, strconv.Itoa(port)), 5*time.Millisecond)
}

func TestUnconfirmedDropIsRolledBack(t *testing.T) {
	m := newMaker(t)
	l := m.policed("boot-1", dropping)
	want(t, "on trial", m.dropsInput(), true)
	want(t, "health", m.check("input_policy")["status"], "degraded")
	row := m.call("net.verify", object{})["input_policy"].(object)
	want(t, "row", some(row, "policy", "configured", "confirmed", "kept_open"),
		object{"policy": "drop", "configured": "drop", "confirmed": false, "kept_open": []any{"tcp/22", "tcp/443", "udp/5000-5003"}})
	if row["confirm_by"] == nil {
		t.Error("it does not say until when")
	}
	m.net.policing.beginTrial(50 * time.Millisecond) // the minute is over
	testhost.Eventually(t, "the roll-back", func() bool { return !m.dropsInput() })
	want(t, "nothing is left", m.ruleset(), "")
	l.Await(t, "is rolled back")
	var refused *registry.RefusedError
	if _, err := m.confirm(registry.RightAdmin); !errors.As(err, &refused) || !strings.Contains(err.Error(), "nobody confirmed it") {
		t.Errorf("confirmed too late: %v", err)
	}
	if c := m.check("input_policy"); c["status"] != "degraded" || !strings.Contains(c["message"].(string), "nobody confirmed it within 50ms") {
		t.Errorf("%v", c)
	}
	l = m.policed("boot-1", dropping)
	want(t, "not tried again by a start", m.dropsInput(), false)
	want(t, "told", l.Has("not tried again"), true)
	if err := m.net.SetInputPolicy(t.Context(), dropping); err != nil {
		t.Fatal(err)
	}
	want(t, "tried again where a person asks", m.dropsInput(), true)
	m.confirmed()
	want(t, "health", m.check("input_policy")["status"], "ok")
	m.inSync()
}

func TestConfirmationNeedsAdminAndLasts(t *testing.T) {
	m := newMaker(t)
	m.policed("boot-1", dropping)
	for _, right := range []registry.Right{registry.RightRead, registry.RightWrite} {
		var denied *registry.PermissionDeniedError
		if _, err := m.confirm(right); !errors.As(err, &denied) || denied.Required != registry.RightNameAdmin || denied.Caller != "uid:7" {
			t.Errorf("%v: %v", right, err)
		}
	}
	got, err := m.confirm(registry.RightAdmin)
	if err != nil || !got.InputPolicy.Confirmed.Or(false) || !got.InSync {
		t.Fatalf("%+v, %v", got, err)
	}
	m.confirmed() // again
	ruleset := m.ruleset()
	m.policed("boot-1", dropping)
	want(t, "after a start", m.ruleset(), ruleset)
	want(t, "changes of the kernel", m.net.steps.Load(), int64(0))
	want(t, "on trial", m.call("net.verify", object{})["input_policy"].(object)["confirm_by"], nil)

	m.stop()
	m.Run("nft", "flush", "ruleset")
	m.start("boot-2")
	m.net.Start()
	want(t, "after a boot", m.dropsInput(), true)
	want(t, "changes of the kernel", m.net.steps.Load(), int64(1))
	m.inSync()

	m.nft("flush ruleset")
	testhost.Eventually(t, "it comes back in any mode", m.dropsInput)
	m.nft("add chain inet my_os_server input { policy accept; }")
	drift := objects(m.call("net.verify", object{})["drift"])
	if len(drift) == 0 || drift[0]["resource"] != "firewall_table" {
		t.Errorf("the policy of the chain is not compared: %v", drift)
	}
	m.net.SetReconcile(ReconcileRepair)
	testhost.Eventually(t, "it is mended", m.dropsInput)
	m.policed("boot-2", InputPolicy{})
	want(t, "accept needs no confirmation", m.ruleset(), "")
}

// TestCrashOnTrialComesUpWithAccept: killed, and after a boot.
func TestCrashOnTrialComesUpWithAccept(t *testing.T) {
	for _, boot := range []string{"boot-1", "boot-2"} {
		m := newMaker(t)
		m.policed("boot-1", dropping)
		m.net.policing.endTrial() // what a killed daemon no longer does
		m.net.reconciler.stop()
		if err := m.store.Close(); err != nil {
			t.Fatal(err)
		}
		killed := m.net
		want(t, "it died in the middle", m.dropsInput(), true)
		if boot == "boot-2" {
			m.Run("nft", "flush", "ruleset")
		}
		l := new(testhost.Log)
		m.more = func(o *Options) { o.InputPolicy, o.Log = dropping, zerolog.New(l) }
		m.start(boot)
		m.net.Start()
		want(t, "afterwards", m.ruleset(), "")
		want(t, "told", l.Has("the daemon ended before anybody confirmed it"), true)
		want(t, "health", m.check("input_policy")["status"], "degraded")
		m.inSync()
		killed.policing.endTrial()
	}
}

// TestKernelEndsATrialByItself: nobody confirms, and no daemon is there any more to roll back. What was open before is
// open again, and nothing else: all of it, or the ports of the list before.
func TestKernelEndsATrialByItself(t *testing.T) {
	c := newCrossing(t)
	answer(t, c.NetNS, 22, 80, 443)
	die := func() { // as by SIGKILL: nobody rolls back
		c.net.policing.endTrial()
		c.net.reconciler.stop()
	}
	shut := func(what, node string, port int) { // as long as it is on trial: a slow machine may come too late
		t.Helper()
		if c.reaches("tcp", node, port) && strings.Contains(c.Run("nft", "list", "set", "inet", ruleset.OwnTable, "trial"), "elements") {
			t.Errorf("%s: port %d of %s is open", what, port, node)
		}
	}
	short := InputPolicy{Drop: true, Confirm: time.Second}
	c.policed("boot-1", short)
	die()
	shut("on trial", node6, 443)
	shut("on trial", node4, 80)
	for _, node := range []string{node4, node6} {
		for _, port := range []int{22, 80, 443} {
			testhost.Eventually(t, fmt.Sprint(node, " ", port, " opens by itself"), func() bool { return c.reaches("tcp", node, port) })
		}
	}

	long := short
	long.KeepOpen, long.Confirm = []string{"tcp/443"}, time.Hour
	c.policed("boot-1", short) // rolls back what the kernel has ended
	if err := c.net.SetInputPolicy(t.Context(), long); err != nil {
		t.Fatal(err)
	}
	want(t, "on trial", c.reaches("tcp", node4, 443), true)
	shut("on trial", node4, 80)
	c.confirmed()
	if text := c.ruleset(); strings.Contains(text, "@trial") {
		t.Errorf("confirmed, and still on trial:\n%s", text)
	}
	if err := c.net.SetInputPolicy(t.Context(), short); err != nil {
		t.Fatal(err)
	}
	die()
	shut("narrower", node4, 443)
	testhost.Eventually(t, "the list before opens by itself", func() bool { return c.reaches("tcp", node4, 443) && c.reaches("tcp", node6, 443) })
	want(t, "and nothing else", c.reaches("tcp", node4, 80) || c.reaches("tcp", node6, 80), false)
	want(t, "ssh", c.reaches("tcp", node4, 22), true)
	c.inSync()
}

// TestEndOfTheDaemonOnTrialRollsBack: who was locked out could not start it again.
func TestEndOfTheDaemonOnTrialRollsBack(t *testing.T) {
	m := newMaker(t)
	m.policed("boot-1", dropping)
	want(t, "on trial", m.dropsInput(), true)
	m.stop()
	want(t, "afterwards", m.ruleset(), "")
	m.start("boot-1")
}

// TestNarrowerListIsOnTrialAndAWiderOneIsNot: a roll-back returns to the list before, not to accept.
func TestNarrowerListIsOnTrialAndAWiderOneIsNot(t *testing.T) {
	m := newMaker(t)
	m.policed("boot-1", dropping)
	m.confirmed()
	wider := dropping
	wider.KeepOpen = append(slices.Clone(dropping.KeepOpen), "tcp/8000-8100", "udp/4000")
	set := func(p InputPolicy) {
		if err := m.net.SetInputPolicy(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		want(t, "drops", m.dropsInput(), true)
		m.inSync()
	}
	set(wider)
	want(t, "wider is confirmed", m.call("net.verify", object{})["input_policy"].(object)["confirmed"], true)
	before := m.ruleset()
	set(wider)
	want(t, "the same changes nothing", m.ruleset(), before)
	narrower := InputPolicy{Drop: true, Confirm: time.Minute}
	set(narrower)
	want(t, "narrower is on trial", m.call("net.verify", object{})["input_policy"].(object)["confirmed"], false)
	m.net.policing.beginTrial(50 * time.Millisecond) // the minute is over
	testhost.Eventually(t, "the roll-back", func() bool {
		return m.call("net.verify", object{})["input_policy"].(object)["confirmed"] == true
	})
	want(t, "back to the list before", m.sameSets(m.ruleset()), m.sameSets(before))
	m.inSync()
	set(narrower)
	want(t, "narrower is on trial again", m.call("net.verify", object{})["input_policy"].(object)["confirmed"], false)
	set(wider)
	want(t, "the list before needs no trial", m.call("net.verify", object{})["input_policy"].(object)["confirmed"], true)
	want(t, "it is the list before", m.sameSets(m.ruleset()), m.sameSets(before))
}

// sameSets is a ruleset in an order: sets and elements stand as they came.
func (m *maker) sameSets(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune("\n,{}=", r) })
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestNeverMoreOpenThanBefore has somebody knock all the time on a port that is closed, while rules come and go, lists
// grow, others vandalise the table's rules, and the daemon starts anew.
func TestNeverMoreOpenThanBefore(t *testing.T) {
	c := newCrossing(t)
	answer(t, c.NetNS, 80)
	c.policed("boot-1", dropping)
	c.confirmed()
	var got, tried atomic.Int64 // by several at a time: each waits for an answer that does not come
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.outside.Do(func() {
			for ctx.Err() == nil {
				conn, err := knock(node4, 80)
				tried.Add(1)
				if err == nil {
					got.Add(1)
					conn.Close()
				}
			}
		})
	}()
	for i := range testhost.Rounds(30) {
		made := c.call("net.firewall.add_rule", object{"protocol": "tcp", "port": 1000 + i, "source": fmt.Sprintf("10.0.0.0/%d", 8+i%20)})
		c.call("net.nat.add_dnat", object{"protocol": "tcp", "port": 2000 + i, "to_address": machine4})
		wider := dropping
		wider.KeepOpen = append(slices.Clone(dropping.KeepOpen), fmt.Sprint("tcp/", 3000+i))
		if err := c.net.SetInputPolicy(t.Context(), wider); err != nil {
			t.Fatal(err)
		}
		if i%3 == 0 {
			c.policed("boot-1", wider)
		}
		c.call("net.firewall.remove_rule", object{"id": made["rule"].(object)["id"]})
	}
	cancel()
	<-done
	if got.Load() > 0 || tried.Load() < 20 {
		t.Errorf("let in %d times of %d", got.Load(), tried.Load())
	}
	t.Logf("knocked %d times", tried.Load())
}

func TestKeptPortsAreNotForwarded(t *testing.T) {
	for _, drop := range []bool{false, true} {
		c := newCrossing(t)
		p := dropping
		p.Drop = drop
		c.policed("boot-1", p)
		for _, test := range []struct {
			protocol   string
			first, end int
			refused    bool
		}{
			{"tcp", 22, 22, true}, {"udp", 22, 22, false}, {"tcp", 400, 450, true}, {"tcp", 444, 450, false}, {"udp", 5003, 5010, true}, {"udp", 4990, 5000, true},
			{"udp", 5004, 5010, false}, {"tcp", 5000, 5000, false},
		} {
			params := object{"protocol": test.protocol, "port": test.first, "port_end": test.end, "to_address": machine4}
			made, err := call(t, c.net, "net.nat.add_dnat", params)
			var refused *registry.RefusedError
			if errors.As(err, &refused) != test.refused || test.refused && (refused.Rule != "kept_open" || refused.Override.Or("") != "force") {
				t.Errorf("%v: %v", test, err)
			}
			if test.refused {
				params["force"] = true
				made = c.call("net.nat.add_dnat", params)
			}
			c.call("net.nat.remove_dnat", object{"id": made["dnat"].(object)["id"]})
		}
	}
}

// TestPortsJoined: what is joined has the same ports, each once, and what is open in a list is open in a wider one.
func TestPortsJoined(t *testing.T) {
	r := rand.New(rand.NewPCG(testhost.Seed(t), 0))
	for range testhost.Rounds(200) {
		var list []owntable.Ports
		var texts []string
		open := map[string]bool{}
		for range r.IntN(8) {
			first := 1 + r.IntN(60)
			run := owntable.Ports{Protocol: []string{"tcp", "udp"}[r.IntN(2)], First: first, Last: first + r.IntN(10)}
			list = append(list, run)
			back, err := owntable.ParsePorts(run.String())
			if err != nil || back != run {
				t.Fatalf("%v: %v, %v", run, back, err)
			}
			for p := run.First; p <= run.Last; p++ {
				open[fmt.Sprint(run.Protocol, p)] = true
			}
		}
		joined := owntable.JoinPorts(list)
		texts = portTexts(joined)
		count := 0
		for _, run := range joined {
			for p := run.First; p <= run.Last; p++ {
				if count++; !open[fmt.Sprint(run.Protocol, p)] {
					t.Fatalf("%v: %d is not in %v", joined, p, list)
				}
			}
		}
		if count != len(open) {
			t.Fatalf("%v has %d ports, %v %d", joined, count, list, len(open))
		}
		if !opensMore(texts, portTexts(list)) || len(joined) > 0 && opensMore(texts[1:], texts) {
			t.Fatalf("%v and %v", texts, list)
		}
	}
}
