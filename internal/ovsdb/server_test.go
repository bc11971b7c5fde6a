package ovsdb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
)

const database = "Open_vSwitch"

// served is a client of a real server.
func served(t *testing.T) (*testhost.OVS, *Client) {
	t.Helper()
	o := testhost.NewOVS(t, testhost.NewNetNS(t))
	return o, client(t, filepath.Join(o.RunDir, "db.sock"))
}

func client(t *testing.T, socket string) *Client {
	t.Helper()
	c := New(socket)
	t.Cleanup(func() { c.Close() })
	return c
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// long is time enough for an answer that must come.
const long = 60 * time.Second

func (c *Client) must(t *testing.T, ops ...Operation) []Result {
	t.Helper()
	results, err := c.Transact(within(t, long), database, ops...)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

// TestRowsComeBackAsTheyWereSent writes values of every kind and reads them back, and has ovs-vsctl read them.
func TestRowsComeBackAsTheyWereSent(t *testing.T) {
	o, c := served(t)
	names, err := c.Databases(within(t, long))
	if err != nil || !cmp.Equal(names, []string{"Open_vSwitch", "_Server"}) && !cmp.Equal(names, []string{"_Server", "Open_vSwitch"}) {
		t.Fatalf("databases %v, %v", names, err)
	}
	root := c.must(t, Select("Open_vSwitch", nil, "_uuid"))[0].Rows[0].UUID()
	ids := map[string]string{"a": `quoted " and \ and é`, "b": "", "": "no key"}
	results := c.must(t,
		Insert("Interface", "i", Row{"name": "p0", "type": "internal", "mtu_request": 1400, "options": Strings(ids)}),
		Insert("Port", "p", Row{"name": "p0", "interfaces": NamedUUID("i"), "tag": 7, "trunks": Set{3, 1, 2}, "protected": true}),
		Insert("Bridge", "b", Row{"name": "br0", "datapath_type": "netdev", "ports": Set{NamedUUID("p")}, "external_ids": Strings(ids)}),
		Mutate("Open_vSwitch", Is(root), Mutation{"bridges", "insert", Set{NamedUUID("b")}}, Mutation{"next_cfg", "+=", 1}),
		Select("Open_vSwitch", Is(root), "next_cfg"),
		Durable(),
	)
	if results[3].Count != 1 || results[2].UUID == "" {
		t.Fatalf("results %+v", results)
	}
	rows := c.must(t, Select("Port", Has("name", "p0")), Select("Interface", Has("name", "p0")), Select("Bridge", Is(results[2].UUID)))
	port, iface, bridge := rows[0].Rows[0], rows[1].Rows[0], rows[2].Rows[0]
	tag, _ := port.Int("tag")
	guarded, ok := port.Bool("protected")
	mtu, _ := iface.Int("mtu_request")
	ref, _ := port.Ref("interfaces")
	if tag != 7 || !guarded || !ok || mtu != 1400 || ref != iface.UUID() || !cmp.Equal(port.Ints("trunks"), []int64{1, 2, 3}) ||
		!cmp.Equal(bridge.Refs("ports"), []UUID{port.UUID()}) || !cmp.Equal(bridge.Map("external_ids"), ids) || iface.Text("type") != "internal" {
		t.Errorf("port %v\ninterface %v\nbridge %v", port, iface, bridge)
	}
	if _, ok := port.String("vlan_mode"); ok {
		t.Error("an empty set has a string")
	}
	if got := o.Vsctl("get", "Port", "p0", "trunks"); got != "[1, 2, 3]\n" {
		t.Errorf("ovs-vsctl: %s", got)
	}
	next, _ := results[4].Rows[0].Int("next_cfg")
	c.must(t, WaitAny("Open_vSwitch", Where{{"cur_cfg", ">=", next}}, "cur_cfg", long))
	c.must(t, Mutate("Open_vSwitch", Is(root), Mutation{"bridges", "delete", results[2].UUID}))
	if left := c.must(t, Select("Bridge", nil), Select("Port", nil), Select("Interface", nil)); len(left[0].Rows)+len(left[1].Rows)+len(left[2].Rows) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestRefusalsAreToldAsTheyAre: the server's word for each, and what operation it is about.
func TestRefusalsAreToldAsTheyAre(t *testing.T) {
	_, c := served(t)
	for _, test := range []struct {
		name, tag, text string
		ops             []Operation
	}{
		{"a value out of range", TagConstraint, "insert Port: constraint violation: ", []Operation{Insert("Port", "", Row{"name": "x", "tag": 5000})}},
		{"a name twice", TagConstraint, "constraint violation: ", []Operation{
			Insert("Bridge", "a", Row{"name": "x"}), Insert("Bridge", "b", Row{"name": "x"}),
			Mutate("Open_vSwitch", nil, Mutation{"bridges", "insert", Set{NamedUUID("a"), NamedUUID("b")}}),
		}},
		{"a row that is not there", TagReferential, "referential integrity violation: ", []Operation{
			Mutate("Open_vSwitch", nil, Mutation{"bridges", "insert", UUID("6f0c7c3e-2f5e-4f0e-9d0b-3b7f0c1f2a11")}),
		}},
		{"a wait for nothing", TagTimedOut, "wait Bridge: timed out", []Operation{Expect("Bridge", Has("name", "x"), "name")}},
		{"no such table", "syntax error", "select Bridges: syntax error: ", []Operation{Select("Bridges", nil)}},
	} {
		_, err := c.Transact(within(t, long), database, test.ops...)
		if !IsTag(err, test.tag) || !strings.HasPrefix(err.Error(), test.text) {
			t.Errorf("%s: %v, want %s", test.name, err, test.text)
		}
	}
	if _, err := c.Transact(within(t, long), "Open_vSwitches", Touch()); !IsTag(err, TagUnknownDB) {
		t.Errorf("another database: %v", err)
	}
	if _, err := c.call(within(t, long), "no_such_method", []any{}, true); err == nil {
		t.Error("another method: no error")
	}
}

// TestReadOnlyDatabaseIsTold: a server that stands by for another takes no writes.
func TestReadOnlyDatabaseIsTold(t *testing.T) {
	o, c := served(t)
	c.must(t, Touch())
	o.Run("ovs-appctl", "-t", o.Control(testhost.OVSDatabase), "ovsdb-server/set-active-ovsdb-server", "unix:"+o.RunDir+"/none.sock")
	o.Run("ovs-appctl", "-t", o.Control(testhost.OVSDatabase), "ovsdb-server/connect-active-ovsdb-server")
	for name, op := range map[string]Operation{"touch": Touch(), "insert": Insert("Bridge", "", Row{"name": "x"})} {
		if _, err := c.Transact(within(t, long), database, op); !IsTag(err, TagNotAllowed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c.must(t, Select("Bridge", nil))
}

// TestManyAtATime: calls that wait for something hold no others up, and each gets its own answer.
func TestManyAtATime(t *testing.T) {
	_, c := served(t)
	var all sync.WaitGroup
	waiter := make(chan error, 1)
	go func() {
		_, err := c.Transact(within(t, long), database, WaitAny("Bridge", Has("name", "late"), "name", long), Select("Bridge", nil, "name"))
		waiter <- err
	}()
	for i := range 16 {
		all.Add(1)
		go func() {
			defer all.Done()
			name := fmt.Sprint("b", i)
			for range 20 {
				results, err := c.Transact(context.Background(), database,
					Insert("Bridge", "b", Row{"name": name}), Select("Bridge", Has("name", name), "name"), Delete("Bridge", Has("name", name)))
				if err != nil || results[1].Rows[0].Text("name") != name || results[2].Count != 1 {
					t.Errorf("%s: %v, %v", name, results, err)
				}
			}
		}()
	}
	all.Wait()
	c.must(t, Insert("Bridge", "b", Row{"name": "late", "datapath_type": "netdev"}), Mutate("Open_vSwitch", nil, Mutation{"bridges", "insert", NamedUUID("b")}))
	if err := <-waiter; err != nil {
		t.Error(err)
	}
}

// TestEchoIsAnswered: a server that probes its clients cuts off those who do not answer.
func TestEchoIsAnswered(t *testing.T) {
	o, _ := served(t)
	socket := filepath.Join(o.RunDir, "probing.sock")
	o.Run("ovs-appctl", "-t", o.Control(testhost.OVSDatabase), "ovsdb-server/add-remote", "db:Open_vSwitch,Open_vSwitch,manager_options")
	o.Vsctl("--id=@m", "create", "Manager", `target="punix:`+socket+`"`, "inactivity_probe=1000", "--", "set", "Open_vSwitch", ".", "manager_options=@m")
	c := client(t, socket)
	for ctx := within(t, long); ; {
		if _, err := c.Databases(ctx); err == nil {
			break
		} else if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	before := c.conn
	if _, err := c.Transact(within(t, long), database, WaitAny("Bridge", Has("name", "x"), "name", 4*time.Second)); !IsTag(err, TagTimedOut) {
		t.Errorf("a wait of four seconds with probes each second: %v", err)
	}
	c.must(t, Select("Bridge", nil))
	if c.conn != before {
		t.Error("the connection was lost")
	}
}

// TestServerThatHangs: each call ends at its deadline, and the connection works again when the server does.
func TestServerThatHangs(t *testing.T) {
	o, c := served(t)
	c.must(t, Select("Bridge", nil))
	o.Signal(testhost.OVSDatabase, syscall.SIGSTOP)
	for range 3 {
		_, err := c.Transact(within(t, 100*time.Millisecond), database, Select("Bridge", nil))
		var un *Unavailable
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &un) || !un.Sent {
			t.Errorf("hung: %v", err)
		}
	}
	// More than the socket takes: the sending itself must end.
	big := strings.Repeat("x", 4<<20)
	if _, err := c.Transact(within(t, 100*time.Millisecond), database, Comment(big)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hung, with much to send: %v", err)
	}
	o.Signal(testhost.OVSDatabase, syscall.SIGCONT)
	c.must(t, Select("Bridge", nil))
}

// TestServerThatDies: a call says that the server is gone; and the next finds it again when it is back.
func TestServerThatDies(t *testing.T) {
	o, c := served(t)
	for range 3 {
		c.must(t, Select("Bridge", nil))
		ended := make(chan error, 1)
		go func() {
			_, err := c.Transact(context.Background(), database, WaitAny("Bridge", Has("name", "x"), "name", long), Touch())
			ended <- err
		}()
		for c.conn.idle() {
			time.Sleep(time.Millisecond)
		}
		o.Kill(testhost.OVSDatabase)
		var un *Unavailable
		if err := <-ended; !errors.As(err, &un) || !un.Sent || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("under way: %v", err)
		}
		if _, err := c.Transact(within(t, long), database, Touch()); !errors.As(err, &un) || un.Sent || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dead: %v", err)
		}
		o.Start(testhost.OVSDatabase)
		c.must(t, Touch())
	}
	c.Close()
	if _, err := c.Transact(within(t, long), database, Touch()); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// TestIdleConnectionIsGivenUp and made anew.
func TestIdleConnectionIsGivenUp(t *testing.T) {
	_, c := served(t)
	c.must(t, Touch())
	c.rest()
	if c.conn != nil {
		t.Error("still there")
	}
	c.must(t, Touch())
}
