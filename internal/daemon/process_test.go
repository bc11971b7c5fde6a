package daemon

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/rpcserver"
	"github.com/geomind/my_os_server/pkg/proxy"
	"github.com/geomind/my_os_server/pkg/registry"
)

// roleVar makes this test binary a daemon with a backend that only tests can love.
const roleVar = "DAEMON_TEST_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVar) == "" {
		os.Exit(m.Run())
	}
	os.Unsetenv(roleVar)
	os.Exit(Program{Name: "testd", Upstreams: proxy.MOS, ServesAs: proxy.MOS, Open: openSleeper}.Main())
}

// sleeper answers vol.usage after a while, hangs in vol.list_mounts for as long as it is let, and has no
// other method.
type sleeper struct{}

const usageTakes = 300 * time.Millisecond

func openSleeper(s Setup) (rpcserver.Backend, func() error, error) {
	if os.Getenv("DAEMON_TEST_FAIL") != "" {
		return nil, nil, errors.New("the backend does not want to")
	}
	s.Log.Debug().Msg("backend opened")
	return sleeper{}, func() error { s.Log.Info().Msg("backend closed"); return nil }, nil
}

func (sleeper) Call(ctx context.Context, m *registry.Method, _ any, _ []byte, _ *registry.Out) error {
	switch m.Name {
	case "vol.usage":
		time.Sleep(usageTakes)
	case "vol.list_mounts":
		<-ctx.Done()
		return ctx.Err()
	}
	return &registry.UnsupportedError{UnsupportedData: registry.UnsupportedData{Reason: registry.UnsupportedReasonNotBuiltYet}}
}

// process is a daemon that was started.
type process struct {
	*exec.Cmd
	socket, state string
	lines         chan string // of its log
	seen          []string
	waited        chan struct{}
	err           error // of Wait, once waited is closed
}

// world is where daemons run: a folder that every user can look into.
func world(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "daemon")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// command is a daemon that has not started yet. It has no environment but what is given.
func command(t *testing.T, args []string, env ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command("/proc/self/exe", args...), lines: make(chan string, 4096), waited: make(chan struct{})}
	p.Env = append(env, roleVar+"=daemon", "GORACE=atexit_sleep_ms=0", "GOCOVERDIR="+os.Getenv("GOCOVERDIR"))
	p.Dir = "/"
	return p
}

// run starts the daemon, whose log is read as it comes, and ends it with the test.
func (p *process) run(t *testing.T) *process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Stderr = w
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			p.lines <- lines.Text()
		}
		r.Close()
		close(p.lines)
	}()
	go func() { p.err = p.Wait(); close(p.waited) }()
	t.Cleanup(func() {
		p.Process.Kill()
		<-p.waited
	})
	return p
}

// start runs a daemon in folder with a socket and a state of its own and waits until it is ready.
func start(t *testing.T, folder string, args ...string) *process {
	t.Helper()
	socket, state := filepath.Join(folder, "rpc.sock"), filepath.Join(folder, "state")
	p := command(t, append([]string{"--socket", socket, "--state-dir", state, "--no-hero-socket"}, args...))
	p.socket, p.state = socket, state
	p.run(t).expect(t, "testd is ready")
	return p
}

// expect reads the log up to a line that holds all the words, and returns it.
func (p *process) expect(t *testing.T, words ...string) string {
	t.Helper()
	timeout := time.After(10 * time.Second)
next:
	for {
		select {
		case line, ok := <-p.lines:
			p.seen = append(p.seen, line)
			if !ok {
				t.Fatalf("%q: the log ended: %s", words, strings.Join(p.seen, "\n"))
			}
			for _, word := range words {
				if !strings.Contains(line, word) {
					continue next
				}
			}
			return line
		case <-timeout:
			t.Fatalf("%q: not in the log: %s", words, strings.Join(p.seen, "\n"))
		}
	}
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// ends waits for the end and returns the exit status.
func (p *process) ends(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.waited:
		return p.ProcessState.ExitCode()
	case <-time.After(within):
		t.Fatalf("still runs after %s: %s", within, strings.Join(p.seen, "\n"))
		return 0
	}
}

// refused runs a daemon that must not come up, and returns what it says and its exit status.
func refused(t *testing.T, p *process) (string, int) {
	t.Helper()
	p.run(t)
	status := p.ends(t, 10*time.Second)
	var said strings.Builder
	for line := range p.lines {
		fmt.Fprintln(&said, line)
	}
	return strings.TrimSpace(said.String()), status
}

// call makes a call over the socket and returns the error's kind, or "" for a result.
func call(socket, method, params string) (kind string, err error) {
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":%s}`, method, params)
	res, err := client.Post("http://localhost/rpc", "application/json", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	var answer struct {
		Result json.RawMessage
		Error  *struct{ Data struct{ Kind string } }
	}
	if err := json.NewDecoder(bytes.NewReader(text)).Decode(&answer); err != nil {
		return "", fmt.Errorf("%w: %s", err, text)
	}
	if answer.Error != nil {
		return answer.Error.Data.Kind, nil
	}
	return "", nil
}

// wants makes a call that must come to the given kind of error, "" being none.
func wants(t *testing.T, socket, method, params, kind string) {
	t.Helper()
	if got, err := call(socket, method, params); err != nil || got != kind {
		t.Errorf("%s: %q, %v, want %q", method, got, err, kind)
	}
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// as makes the daemon another user's.
func (p *process) as(uid uint32) *process {
	p.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	return p
}
