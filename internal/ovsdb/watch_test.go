package ovsdb

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// ear hears changes of the tables Bridge and Port.
type ear struct {
	t *testing.T
	*Watcher
	events chan struct{}

	mu   sync.Mutex
	told []string // table, name before and name after
}

func listening(t *testing.T, c *Client) *ear {
	t.Helper()
	e := &ear{t: t, events: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	e.Watcher = c.Watch(ctx, database, map[string][]string{"Bridge": {"name", "ports"}, "Port": {"name", "tag"}}, e.wanted, func() {
		select {
		case e.events <- struct{}{}:
		default:
		}
	})
	e.hears("the server")
	return e
}

func (e *ear) wanted(table string, before, after Row) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = append(e.told, table+" "+before.Text("name")+" "+after.Text("name"))
	return before.Text("name") != "unwanted" && after.Text("name") != "unwanted"
}

func (e *ear) hears(what string) {
	e.t.Helper()
	select {
	case <-e.events:
	case <-time.After(long):
		e.t.Fatalf("%s: nothing is heard: %v", what, e.Err())
	}
}

// awaits waits until a row was told of, and returns whether that made an event.
func (e *ear) awaits(row string) {
	e.t.Helper()
	for deadline := time.Now().Add(long); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		e.mu.Lock()
		told := strings.Join(e.told, "\n")
		e.mu.Unlock()
		if strings.Contains(told, row) {
			return
		}
	}
	e.t.Fatalf("%s: not among %v", row, e.told)
}

func (e *ear) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = nil
	select {
	case <-e.events:
	default:
	}
}

// TestWatchHearsWhatIsWanted: changes of what is watched, by whomever; nothing of other columns and tables, and no
// event for what is not wanted.
func TestWatchHearsWhatIsWanted(t *testing.T) {
	o, c := served(t)
	o.Vsctl("add-br", "old", "--", "set", "Bridge", "old", "datapath_type=netdev")
	e := listening(t, c)
	for _, step := range []string{"add-br br0 -- set Bridge br0 datapath_type=netdev", "set Port br0 tag=5", "del-br br0", "del-br old"} {
		e.forget()
		o.Vsctl(strings.Fields(step)...)
		e.hears(step)
	}
	e.forget()
	o.Vsctl("set", "Open_vSwitch", ".", "external_ids:a=b")
	o.Vsctl("add-br", "unwanted", "--", "set", "Bridge", "unwanted", "datapath_type=netdev", "external_ids:a=b")
	o.Vsctl("set", "Port", "unwanted", "external_ids:a=b")
	o.Vsctl("set", "Port", "unwanted", "tag=5")
	e.awaits("Bridge  unwanted")
	o.Vsctl("del-br", "unwanted")
	e.awaits("Port unwanted ")
	select {
	case <-e.events:
		t.Errorf("an event of what is not wanted: %v", e.told)
	default:
	}
	if n := strings.Count(strings.Join(e.told, "\n"), "Port  unwanted"); n != 2 {
		t.Errorf("the port was told of %d times, for its making and its tag: %q", n, e.told)
	}
}

// TestWatchFindsTheServerAgain: killed, restarted, hung, cut in the middle of a notification.
func TestWatchFindsTheServerAgain(t *testing.T) {
	o := testhost.NewOVS(t, testhost.NewNetNS(t))
	relay := testhost.NewRelay(t, filepath.Join(o.RunDir, "relay.sock"), filepath.Join(o.RunDir, "db.sock"))
	c := client(t, filepath.Join(o.RunDir, "relay.sock"))
	e := listening(t, c)
	o.Kill(testhost.OVSDatabase)
	for e.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	o.Start(testhost.OVSDatabase)
	e.hears("the server that is back")
	o.Signal(testhost.OVSDatabase, syscall.SIGSTOP)
	relay.Cut()
	for e.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	o.Signal(testhost.OVSDatabase, syscall.SIGCONT)
	e.hears("the server that goes on")
	hit := relay.Snag(testhost.Snag{Word: `"monitor"`, Sent: -1, Answered: 20, Cut: true})
	relay.Cut()
	<-hit
	e.hears("the server after half an answer")
	if err := e.Err(); err != nil {
		t.Error(err)
	}
	e.forget()
	o.Vsctl("add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev")
	e.hears("a bridge")
}

// TestWatchThatIsRefused: a table that there is none of is told as such.
func TestWatchThatIsRefused(t *testing.T) {
	_, c := served(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	w := c.Watch(ctx, database, map[string][]string{"Bridges": {"name"}}, func(string, Row, Row) bool { return true }, func() {})
	var refused *Error
	for deadline := time.Now().Add(long); !errors.As(w.Err(), &refused); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(w.Err())
		}
	}
}

// FuzzUpdates: whatever a notification has, it is taken whole or refused.
func FuzzUpdates(f *testing.F) {
	const u = "6f0c7c3e-2f5e-4f0e-9d0b-3b7f0c1f2a11"
	for _, seed := range []string{
		`[null,{"Port":{"` + u + `":{"new":{"name":"p","tag":["set",[]]},"old":{"tag":5}}}}]`,
		`["x",{"Bridge":{"` + u + `":{"old":{"name":"b","ports":["uuid","` + u + `"],"external_ids":["map",[["a","b"]]]}}},"Port":{}}]`,
		`[null,null]`, `[1]`, `[null,{"Port":{"x":{"new":{"tag":["set",[[]]]}}}}]`, `[null,{"Port":{"x":null}}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		change, err := updateOf(json.RawMessage(raw))
		if err != nil && (change != nil || !errors.Is(err, ErrProtocol)) {
			t.Fatalf("%v, %v", change, err)
		}
		for _, rows := range change {
			for _, r := range rows {
				checkRow(t, r.before)
				checkRow(t, r.after)
			}
		}
	})
}
