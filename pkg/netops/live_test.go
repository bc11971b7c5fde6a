package netops

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

func TestWhatIsNotThere(t *testing.T) {
	ns := testhost.NewNetNS(t)
	n := newNet(t, ns)
	for _, test := range []struct {
		method string
		params object
	}{
		{"net.interfaces", object{"name": "nobody"}},
		{"net.interfaces", object{"master": "nobody"}},
		{"net.interfaces", object{"name": "lo", "master": "nobody"}},
		{"net.routes", object{"interface": "nobody"}},
		{"net.sysctl", object{"interface": "nobody"}},
		{"net.sysctl", object{"interface": "all"}},
		{"net.sysctl", object{"interface": "default"}},
	} {
		_, err := call(t, n, test.method, test.params)
		var notFound *registry.NotFoundError
		if !errors.As(err, &notFound) || notFound.Resource != "interface" {
			t.Errorf("%s %v: %v, want not_found", test.method, test.params, err)
		}
	}
	_, err := call(t, n, "net.routes", object{"protocol": "nobody"})
	var params *registry.ParamsError
	if !errors.As(err, &params) || len(params.Faults) != 1 || params.Faults[0].Path != "protocol" {
		t.Errorf("a protocol without a name: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Options{NetNS: "/does/not/exist"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a namespace that is not there: %v", err)
	}
	file := t.TempDir()
	n, err := New(Options{NetNS: file})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if _, err := call(t, n, "net.routes", object{}); err == nil {
		t.Error("a folder passes for a namespace")
	}
	if _, err := call(t, n, "net.sysctl", object{}); err == nil {
		t.Error("a folder passes for a namespace")
	}
}

// TestStatusOfTheDaemon checks what no witness but the process itself has.
func TestStatusOfTheDaemon(t *testing.T) {
	began := time.Now().Add(-90 * time.Second)
	n, err := New(Options{Mode: registry.NodeModeMos, Version: "1.2.3", StartedAt: began, Unavailable: func() []registry.UnavailableMethod {
		return []registry.UnavailableMethod{{Method: "vol.usage", Kind: registry.UnavailableKindToolMissing}, {Method: "a.b", Kind: registry.UnavailableKindToolMissing}}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	got := mustCall(t, n, "net.status", object{})
	for member, want := range map[string]any{
		"mode": "mos", "version": "1.2.3", "pid": float64(os.Getpid()), "uid": float64(os.Geteuid()), "uptime_s": 90.0,
		"architecture": map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH],
	} {
		if got[member] != want {
			t.Errorf("%s: %v, want %v", member, got[member], want)
		}
	}
	list := objects(got["unavailable"])
	if len(list) < 2 || list[0]["method"] != "a.b" || list[len(list)-1]["method"] != "vol.usage" {
		t.Errorf("unavailable is not sorted or lacks what others add: %v", list)
	}
	for _, m := range list {
		if method := m["method"]; method == "net.status" || method == "net.routes" {
			t.Errorf("%v is unavailable", method)
		}
	}
}

// flaky is a server whose dump of routes is interrupted some times.
type flaky struct {
	registry.NotBuiltNet
	interrupted, rows, dumps int
	err                      error
}

func (f *flaky) Routes(_ context.Context, _ *registry.NetRoutesParams, rows *registry.Stream[registry.Route]) (*registry.NetRoutesEnd, error) {
	consistent, err := wire.Consistently(rows, func() (bool, error) {
		f.dumps++
		for range f.rows {
			if err := rows.Send(&registry.Route{}); err != nil {
				return false, err
			}
		}
		return f.dumps <= f.interrupted, f.err
	})
	return &registry.NetRoutesEnd{Consistent: consistent}, err
}

func TestConsistently(t *testing.T) {
	failed := errors.New("failed")
	for name, test := range map[string]struct {
		server flaky
		wire   bool // what is gathered goes out
		dumps  int
		rows   int
		marked bool
		err    error
	}{
		"undisturbed":            {server: flaky{rows: 3}, dumps: 1, rows: 3},
		"interrupted twice":      {server: flaky{rows: 3, interrupted: 2}, dumps: 3, rows: 3},
		"always interrupted":     {server: flaky{rows: 3, interrupted: 99}, dumps: wire.DumpAttempts, rows: 3, marked: true},
		"nothing on the wire":    {server: flaky{rows: 3, interrupted: 1}, wire: true, dumps: 2, rows: 3},
		"a part on the wire":     {server: flaky{rows: 5000, interrupted: 1}, wire: true, dumps: 1, rows: 5000, marked: true},
		"failed":                 {server: flaky{rows: 3, err: failed}, dumps: 1, rows: 3, err: failed},
		"failed and interrupted": {server: flaky{rows: 3, interrupted: 9, err: failed}, dumps: wire.DumpAttempts, rows: 3, err: failed},
	} {
		t.Run(name, func(t *testing.T) {
			var wire bytes.Buffer
			out := &registry.Out{}
			if test.wire {
				out.Write = func(b []byte) error { wire.Write(b); return nil }
			}
			row, _ := registry.Lookup("net.routes")
			err := row.Call(t.Context(), &registry.Servers{Net: &test.server}, &registry.NetRoutesParams{}, out)
			if !errors.Is(err, test.err) || test.server.dumps != test.dumps {
				t.Errorf("%d dumps, %v, want %d, %v", test.server.dumps, err, test.dumps, test.err)
			}
			wire.Write(out.Buf)
			if err != nil {
				return
			}
			result := decode[object](t, wire.Bytes())
			if got := len(objects(result["routes"])); got != test.rows {
				t.Errorf("%d rows, want %d", got, test.rows)
			}
			if marked := result["consistent"] == false; marked != test.marked {
				t.Errorf("consistent: %v", result["consistent"])
			}
		})
	}
}

const churnRounds = 20

// TestChurn calls while interfaces, addresses and routes come and go: no call fails, no answer is
// invalid, and what stands all the time is in each.
func TestChurn(t *testing.T) {
	ns := testhost.NewNetNS(t)
	ns.FillLinks(60)
	n := newNet(t, ns)
	var churn sync.WaitGroup
	defer churn.Wait()
	stop := make(chan struct{})
	defer close(stop)
	churn.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			name := fmt.Sprintf("x%d", i%7)
			_, _ = ns.TryIP("link add "+name+" type bridge", "link set "+name+" up", "addr add 10.99.0.1/24 dev "+name,
				"route add 10.98.0.0/16 via 10.99.0.2", "link del "+name)
		}
	})
	marked := 0
	for range churnRounds {
		interfaces := mustCall(t, n, "net.interfaces", object{})
		steady := 0
		for _, l := range objects(interfaces["interfaces"]) {
			if l["name"].(string)[0] == 'p' && len(l["addresses"].([]any)) > 0 {
				steady++
			}
		}
		if interfaces["consistent"] == false {
			marked++
		} else if steady != 60 {
			t.Errorf("%d of 60 interfaces in a list that is not marked", steady)
		}
		mustCall(t, n, "net.interfaces", object{"kind": "bridge"})
		mustCall(t, n, "net.routes", object{})
		mustCall(t, n, "net.bridge", object{})
		mustCall(t, n, "net.vlan", object{})
		mustCall(t, n, "net.sysctl", object{})
		mustCall(t, n, "net.status", object{})
	}
	t.Logf("%d of %d lists of interfaces are marked", marked, churnRounds)
}

// TestConcurrentCalls shares one Net among many callers, some of whom go away.
func TestConcurrentCalls(t *testing.T) {
	ns := testhost.NewNetNS(t)
	ns.FillRoutes(1000)
	ns.FillLinks(20)
	n := newNet(t, ns)
	routes := countRows(t, n, "net.routes", object{}, "routes")
	open := openFiles(t)
	var callers sync.WaitGroup
	for caller := range 16 {
		callers.Go(func() {
			for i := range 10 {
				switch (caller + i) % 4 {
				case 0:
					if got := countRows(t, n, "net.routes", object{}, "routes"); got != routes {
						t.Errorf("%d routes, want %d", got, routes)
					}
				case 1:
					if got := countRows(t, n, "net.interfaces", object{}, "interfaces"); got != 22 {
						t.Errorf("%d interfaces, want 22", got)
					}
				case 2:
					if got := countRows(t, n, "net.routes", object{"limit": 1}, "routes"); got != 1 {
						t.Errorf("%d routes, want 1", got)
					}
				case 3:
					cancelledCall(t, n)
				}
			}
		})
	}
	callers.Wait()
	// Idle sockets are kept, but few.
	if now := openFiles(t); now > open+8 {
		t.Errorf("%d descriptors, %d before", now, open)
	}
}

// countRows is mustCall for many callers at once, who only count.
func countRows(t *testing.T, n *Net, method string, params object, list string) int {
	text, err := json.Marshal(params)
	if err != nil {
		t.Error(err)
	}
	row, _ := registry.Lookup(method)
	p, err := row.Decode(text)
	if err != nil {
		t.Error(err)
		return -1
	}
	out := &registry.Out{}
	if err := row.Call(t.Context(), &registry.Servers{Net: n}, p, out); err != nil {
		t.Error(err)
		return -1
	}
	var result map[string][]json.RawMessage
	if err := json.Unmarshal(out.Buf, &result); err != nil {
		t.Error(err)
	}
	return len(result[list])
}

// cancelledCall is a call whose caller goes when the first rows come.
func cancelledCall(t *testing.T, n *Net) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	row, _ := registry.Lookup("net.routes")
	out := &registry.Out{Write: func([]byte) error { cancel(); return nil }}
	err := row.Call(ctx, &registry.Servers{Net: n}, &registry.NetRoutesParams{}, out)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a call whose caller went: %v", err)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestMemoryOfADump: what a call takes does not depend on how many rows it sends.
func TestMemoryOfADump(t *testing.T) {
	allocations := func(routes int) float64 {
		ns := testhost.NewNetNS(t)
		ns.FillRoutes(routes)
		n := newNet(t, ns)
		row, _ := registry.Lookup("net.routes")
		buf := make([]byte, 0, 2*registry.FlushSize)
		return testing.AllocsPerRun(3, func() {
			out := &registry.Out{Buf: buf[:0], Write: func([]byte) error { return nil }}
			if err := row.Call(t.Context(), &registry.Servers{Net: n}, &registry.NetRoutesParams{}, out); err != nil {
				t.Fatal(err)
			}
		})
	}
	few, many := allocations(1000), allocations(30_000)
	// Each datagram of the kernel's, of some 500 routes, brings its sender's address.
	if many > few+4*30_000/500 {
		t.Errorf("%v allocations for 1,000 routes, %v for 30,000", few, many)
	}
}
