package ovsdb

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// inserts is an insert of a bridge that the server hangs or dies over.
func (c *Client) inserts(t *testing.T, name string) <-chan struct{} {
	t.Helper()
	_, err := c.Transact(within(t, 100*time.Millisecond), database,
		Insert("Bridge", "b", Row{"name": name, "datapath_type": "netdev"}), Mutate("Open_vSwitch", nil, Mutation{"bridges", "insert", NamedUUID("b")}))
	var un *Unavailable
	if !errors.As(err, &un) || !un.Sent || un.Known == nil {
		t.Fatalf("hung: %v", err)
	}
	select {
	case <-un.Known:
		t.Fatal("known while the server hangs")
	default:
	}
	return un.Known
}

func known(t *testing.T, k <-chan struct{}) {
	t.Helper()
	select {
	case <-k:
	case <-time.After(long):
		t.Fatal("it does not become known")
	}
}

// TestChangeThatTheServerHangsOver: it becomes known what became of it when the server answers or ends, and what the
// database says from then on stands. The connection that the answer comes on is not given up before.
func TestChangeThatTheServerHangsOver(t *testing.T) {
	o, c := served(t)
	stands := func(name string) bool {
		t.Helper()
		return len(c.must(t, Select("Bridge", Has("name", name)))[0].Rows) == 1
	}
	c.must(t, Touch())

	o.Signal(testhost.OVSDatabase, syscall.SIGSTOP)
	k := c.inserts(t, "late")
	if c.rest(); c.conn == nil {
		t.Error("the connection was given up")
	}
	o.Signal(testhost.OVSDatabase, syscall.SIGCONT)
	if known(t, k); !stands("late") {
		t.Error("not carried out")
	}
	if c.rest(); c.conn != nil {
		t.Error("the connection is kept")
	}

	// More than the socket takes: the connection is of no use any more, and what was sent before is carried out all
	// the same, maybe after what comes over another one.
	c.must(t, Touch())
	o.Signal(testhost.OVSDatabase, syscall.SIGSTOP)
	k = c.inserts(t, "drained")
	for comment := Comment(strings.Repeat("x", 1<<20)); c.conn.alive(); { // until no other may follow
		var un *Unavailable
		if _, err := c.Transact(within(t, 500*time.Millisecond), database, Touch(), comment); !errors.As(err, &un) || un.Sent {
			t.Fatalf("half a request: %v", err)
		}
	}
	select {
	case <-k:
		t.Error("known while the server hangs")
	default:
	}
	o.Signal(testhost.OVSDatabase, syscall.SIGCONT)
	if known(t, k); !stands("drained") {
		t.Error("not carried out")
	}

	o.Signal(testhost.OVSDatabase, syscall.SIGSTOP)
	k = c.inserts(t, "lost")
	o.Kill(testhost.OVSDatabase)
	known(t, k)
	o.Start(testhost.OVSDatabase)
	if stands("lost") {
		t.Error("a server that was killed has carried out what it had not taken")
	}

	o.Signal(testhost.OVSDatabase, syscall.SIGSTOP)
	k = c.inserts(t, "closed")
	c.Close()
	known(t, k)
	o.Signal(testhost.OVSDatabase, syscall.SIGCONT)
}
