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
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/geomind/my_os_server/internal/rpcserver"
	"github.com/geomind/my_os_server/pkg/registry"
)

// oneRoute is a server of routes: one, in the table that its number says.
type oneRoute struct {
	registry.NotBuiltNet
	number int
}

func (s oneRoute) Routes(_ context.Context, _ *registry.NetRoutesParams, rows *registry.Stream[registry.Route]) (*registry.NetRoutesEnd, error) {
	return nil, rows.Send(&registry.Route{Family: "ipv4", Type: "unicast", Table: int64(s.number), Protocol: "static", Scope: "global"})
}

// manyServers makes n sockets and a file of contexts for them: behind the first dead ones nobody listens, the
// next one accepts and says nothing, behind the others is the daemon's pipeline.
func manyServers(t *testing.T, n, dead int) (home string) {
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
			serveRoute(t, l, i)
		}
	}
	if err := f.save(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func serveRoute(t *testing.T, l net.Listener, number int) {
	t.Helper()
	s, err := rpcserver.New(rpcserver.Options{
		Backend:   rpcserver.Native(registry.Servers{Net: oneRoute{number: number}, Vol: registry.NotBuiltVol{}}),
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
	home := manyServers(t, n, dead)
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
	home := manyServers(t, 5, 0)
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
