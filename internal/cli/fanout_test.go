package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/geomind/my_os_server/internal/rpcserver"
	"github.com/geomind/my_os_server/pkg/registry"
)

// routeServer is a server of routes, all in the table that its number says.
type routeServer struct {
	registry.NotBuiltNet
	number int
	rows   int
	then   error // behind the rows
}

func (s routeServer) Routes(_ context.Context, _ *registry.NetRoutesParams, rows *registry.Stream[registry.Route]) (*registry.NetRoutesEnd, error) {
	for range s.rows {
		if err := rows.Send(&registry.Route{Family: "ipv4", Type: "unicast", Table: int64(s.number), Protocol: "static", Scope: "global"}); err != nil {
			return nil, err
		}
	}
	return nil, s.then
}

// manyServers makes n sockets and a file of contexts for them: behind the first dead ones nobody listens, the
// next one accepts and says nothing, behind the others is the daemon's pipeline, over what serve makes.
func manyServers(t *testing.T, n, dead int, serve func(number int) routeServer) (home string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "cli")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := &settings{path: filepath.Join(dir, ".config", Name, "config.toml")}
	for i := range n {
		socket := filepath.Join(dir, fmt.Sprint(i))
		f.Contexts = append(f.Contexts, serverContext{Name: fmt.Sprintf("node%02d", i), Socket: socket, Groups: []string{"lab"}})
		if i < dead {
			continue
		}
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		if i > dead {
			serveRoutes(t, l, serve(i))
		}
	}
	if err := f.save(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func oneRoute(number int) routeServer { return routeServer{number: number, rows: 1} }

func serveRoutes(t *testing.T, l net.Listener, of routeServer) {
	t.Helper()
	s, err := rpcserver.New(rpcserver.Options{
		Backend:   rpcserver.Native(registry.Servers{Net: of, Vol: registry.NotBuiltVol{}}),
		DaemonUID: uint32(os.Geteuid()),
		Log:       zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Fifty servers, three of them dead and one that hangs: all others answer, each is told apart, and the whole
// takes no longer than the deadline and a second.
func TestFanOut(t *testing.T) {
	const n, dead, deadline = 50, 3, 3 * time.Second
	home := manyServers(t, n, dead, oneRoute)
	var out, errs bytes.Buffer
	cmd := program(t, home, "--group", "lab", "--timeout", deadline.String(), "net", "routes", "-o", "json")
	cmd.Stdout, cmd.Stderr = &out, &errs
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != exitUnreachable {
		t.Errorf("%v: %s", err, &errs)
	}
	if took > deadline+time.Second {
		t.Errorf("took %v", took)
	}
	t.Logf("%d servers in %v", n, took)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != n {
		t.Fatalf("%d lines:\n%s", len(lines), &out)
	}
	for i, line := range lines {
		var o struct {
			Node   string
			Result *struct{ Routes []struct{ Table int } }
			Error  *struct {
				Message  string
				ExitCode int `json:"exit_code"`
			}
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil || o.Node != fmt.Sprintf("node%02d", i) {
			t.Fatalf("line %d: %v: %s", i, err, line)
		}
		switch {
		case i < dead && (o.Error == nil || o.Error.ExitCode != exitUnreachable || !strings.Contains(o.Error.Message, "no such file")):
			t.Errorf("a dead one: %s", line)
		case i == dead && (o.Error == nil || o.Error.ExitCode != 22):
			t.Errorf("the one that hangs: %s", line)
		case i > dead && (o.Result == nil || len(o.Result.Routes) != 1 || o.Result.Routes[0].Table != i):
			t.Errorf("a live one: %s", line)
		}
	}
}

// For people the answers of all nodes are one table.
func TestFanOutIsOneTable(t *testing.T) {
	home := manyServers(t, 5, 0, oneRoute)
	var out, errs bytes.Buffer
	cmd := program(t, home, "--nodes", "node04,node02,node04", "net", "routes")
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, &errs)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "NODE ") || !strings.HasPrefix(lines[1], "node04 ") || !strings.HasPrefix(lines[2], "node02 ") {
		t.Errorf("%s%s", &out, &errs)
	}
}

// Long lists of many nodes go through in little memory in every format: rows as lines as they come, everything else
// by way of files once it is too much.
func TestFanOutOfLongLists(t *testing.T) {
	const n, rows, most = 6, 20_000, 32 // MiB; the whole of what they answer takes more
	home := manyServers(t, n, -1, func(number int) routeServer { return routeServer{number: number, rows: rows} })
	for format, perNode := range map[string]int{"jsonl": rows, "json": 1, "table": rows, "yaml": 7*rows + 4} {
		t.Run(format, func(t *testing.T) {
			cmd := program(t, home, "--group", "lab", "--timeout", "5m", "net", "routes", "-o", format)
			cmd.Env = append(cmd.Env, "COLUMNS=100", "TMPDIR="+t.TempDir())
			out := &nodeCounter{lines: map[string]int{}}
			var errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = out, &errs
			peak, err := runPeak(cmd)
			if err != nil {
				t.Fatalf("%v: %s", err, &errs)
			}
			if got := out.all - map[string]int{"table": 1}[format]; got != n*perNode { // a table has a heading
				t.Errorf("%d lines, want %d", got, n*perNode)
			}
			if format == "jsonl" {
				for i := range n {
					if node := fmt.Sprintf("node%02d", i); out.lines[node] != rows {
						t.Errorf("%s: %d rows, want %d", node, out.lines[node], rows)
					}
				}
			}
			t.Logf("%d MiB printed, peak %d MiB", out.bytes>>20, peak)
			if peak == 0 || peak > most {
				t.Errorf("peak %d MiB, more than %d", peak, most)
			}
		})
	}
}

// runPeak runs a program and looks meanwhile how much memory it has had, in MiB. What wait4(2) says of that begins
// with the memory of this process.
func runPeak(cmd *exec.Cmd) (peak int, err error) {
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		if _, text, found := strings.Cut(string(status), "VmHWM:"); found {
			kib := 0
			_, _ = fmt.Sscan(text, &kib)
			peak = max(peak, kib>>10)
		}
		select {
		case err := <-ended:
			return peak, err
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// nodeCounter counts lines, and those of nodes that are rows.
type nodeCounter struct {
	rest       []byte
	bytes, all int
	lines      map[string]int
}

func (c *nodeCounter) Write(b []byte) (int, error) {
	c.bytes += len(b)
	text := append(c.rest, b...)
	for {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		if !whole {
			c.rest = bytes.Clone(text)
			return len(b), nil
		}
		text = rest
		c.all++
		if node, row, isRow := bytes.Cut(line, []byte(`","row":{`)); isRow {
			name := strings.TrimPrefix(string(node), `{"node":"`)
			number, err := strconv.Atoi(strings.TrimPrefix(name, "node"))
			if err == nil && bytes.Contains(row, fmt.Appendf(nil, `"table":%d,`, number)) && bytes.HasSuffix(row, []byte("}}")) {
				c.lines[name]++
			}
		}
	}
}

// A list that breaks off is told as an error of its node, behind the rows that came, and the rest is whole.
func TestFanOutWhereOneBreaksOff(t *testing.T) {
	const rows = 5000
	home := manyServers(t, 3, -1, func(number int) routeServer {
		if number == 1 {
			return routeServer{number: number, rows: rows, then: fmt.Errorf("a fault of the test")}
		}
		return routeServer{number: number, rows: rows}
	})
	for _, format := range []string{"jsonl", "json", "table"} {
		var out, errs bytes.Buffer
		cmd := program(t, home, "--group", "lab", "net", "routes", "-o", format)
		cmd.Stdout, cmd.Stderr = &out, &errs
		if _, exited := cmd.Run().(*exec.ExitError); !exited || cmd.ProcessState.ExitCode() != exitBroken {
			t.Fatalf("%s: exit %d: %s", format, cmd.ProcessState.ExitCode(), &errs)
		}
		whole, told := bytes.Count(out.Bytes(), []byte(`"table":2`)), strings.Count(out.String(), `{"node":"node01","error":{"message":"`)
		if format == "table" {
			whole, told = strings.Count(out.String(), "\nnode02 "), strings.Count(errs.String(), "node01: error: ")
		}
		if whole != rows || told != 1 {
			t.Errorf("%s: %d rows of the last one, %d errors: %s", format, whole, told, &errs)
		}
	}
}
