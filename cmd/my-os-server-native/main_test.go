package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/pkg/registry"
)

// bin is the program as it is shipped: built once, without cgo, with a version linked in.
var bin string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "native")
	if err == nil {
		err = os.Chmod(dir, 0o755) // another user runs it too
	}
	if err == nil {
		bin = filepath.Join(dir, "my-os-server-native")
		build := exec.Command("go", "build", "-trimpath", "-tags", "nethttpomithttp2", "-ldflags", "-s -w -X github.com/geomind/my_os_server/internal/daemon.version=v1.2.3-test", "-o", bin, ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		var out []byte
		if out, err = build.CombinedOutput(); err != nil {
			err = fmt.Errorf("go build: %w: %s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(dir)
	os.Exit(status)
}

// server is the program, running.
type server struct {
	*exec.Cmd
	socket string
	log    *bytes.Buffer
	began  time.Time
	first  time.Duration // from its start to the first answer
}

// start runs the program as uid in a folder of its own, with no environment but env, until it answers.
func start(t *testing.T, uid int, env []string, args ...string) *server {
	t.Helper()
	s := prepare(t, uid, env, args...)
	s.began = time.Now()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Process.Kill(); s.Wait() })
	client := client(s.socket)
	defer client.CloseIdleConnections()
	for time.Since(s.began) < 10*time.Second {
		if res, err := client.Get("http://localhost/health"); err == nil {
			s.first = time.Since(s.began)
			res.Body.Close()
			return s
		}
		time.Sleep(100 * time.Microsecond)
	}
	s.Process.Kill()
	s.Wait()
	t.Fatalf("does not answer: %s", s.log)
	return nil
}

func prepare(t *testing.T, uid int, env []string, args ...string) *server {
	t.Helper()
	folder, err := os.MkdirTemp("", "native")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	s := &server{socket: folder + "/my_os_server/rpc.sock", log: new(bytes.Buffer)}
	s.Cmd = exec.Command(bin, append([]string{"--no-hero-socket"}, args...)...)
	s.Env = append(env, "MY_OS_SERVER_SOCKET="+s.socket, "XDG_STATE_HOME="+folder, "HOME="+folder)
	s.Stderr = s.log
	s.Dir = "/"
	if uid == 0 {
		s.Args = append(s.Args, "--state-dir", folder+"/state")
	}
	if uid != os.Geteuid() {
		s.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	if err := os.Chown(folder, uid, -1); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

func client(socket string) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
}

func (s *server) call(t *testing.T, method string) string {
	t.Helper()
	c := client(s.socket)
	defer c.CloseIdleConnections()
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q}`, method)
	res, err := c.Post("http://localhost/rpc", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// memory is a field of /proc/PID/status, in KiB.
func (s *server) memory(t *testing.T, field string) (kib int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), field+":")
	fmt.Sscan(rest, &kib)
	return kib
}

// TestLife: as root and as a plain user it answers, ends when asked, and takes its socket along.
func TestLife(t *testing.T) {
	uids := []int{os.Geteuid()}
	if uids[0] == 0 {
		uids = append(uids, 65534)
	}
	for _, uid := range uids {
		s := start(t, uid, nil)
		if got := s.call(t, "rpc.health"); got != `{"jsonrpc":"2.0","id":1,"result":{"status":"ok"}}` {
			t.Errorf("as user %d: %s", uid, got)
		}
		if got := s.call(t, "net.status"); !strings.Contains(got, `"mode":"native"`) || !strings.Contains(got, `"version":"v1.2.3-test"`) {
			t.Errorf("as user %d: %s", uid, got)
		}
		begin := time.Now()
		s.Process.Signal(syscall.SIGTERM)
		if err := s.Wait(); err != nil {
			t.Errorf("as user %d: %v: %s", uid, err, s.log)
		}
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("as user %d: took %s to end with nothing to do", uid, took)
		}
		if _, err := os.Lstat(s.socket); err == nil {
			t.Errorf("as user %d: the socket is still there", uid)
		}
	}
}

// TestUnavailable: net.status names exactly the methods that answer not_built_yet, of every namespace. Run
// with -v it prints them.
func TestUnavailable(t *testing.T) {
	s := start(t, os.Geteuid(), nil)
	var status struct {
		Result struct {
			Unavailable []struct{ Method, Reason string }
		}
	}
	if err := json.Unmarshal([]byte(s.call(t, "net.status")), &status); err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for _, u := range status.Result.Unavailable {
		told[u.Method] = u.Reason == "not_built_yet"
		if told[u.Method] {
			t.Log("not built yet: ", u.Method)
		}
	}
	for _, m := range registry.All() {
		if len(m.Params) > 0 || m.Effect != registry.EffectRead || m.Name == "net.status" {
			continue // params are judged before the handler says anything; net.status quotes the words
		}
		if answer := s.call(t, m.Name); strings.Contains(answer, `"kind":"unsupported","reason":"not_built_yet"`) != told[m.Name] {
			t.Errorf("%s: net.status says not built %v, the method itself %.200s", m.Name, told[m.Name], answer)
		}
	}
}

// TestSecondInstance: it names the first.
func TestSecondInstance(t *testing.T) {
	first := start(t, os.Geteuid(), nil)
	second := prepare(t, os.Geteuid(), nil, "--socket", first.socket)
	err := second.Run()
	want := fmt.Sprintf("in use by my-os-server-na (process %d)", first.Process.Pid)
	if err == nil || !strings.Contains(second.log.String(), want) {
		t.Errorf("%v: %s, want %q", err, second.log, want)
	}
}

func TestVersion(t *testing.T) {
	out, err := exec.Command(bin, "--version").Output()
	if want := "my-os-server-native v1.2.3-test (table " + registry.TableVersion + ", go"; err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("%q, %v, want %q", out, err, want)
	}
}

// TestStartFigures prints what a start costs; bars are for `make bench`, on a quiet machine.
func TestStartFigures(t *testing.T) {
	var firsts []time.Duration
	var idle int
	for range 9 {
		s := start(t, os.Geteuid(), nil)
		firsts = append(firsts, s.first)
		idle = s.memory(t, "VmRSS")
		s.Process.Signal(syscall.SIGTERM)
		if err := s.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(firsts)
	info, err := os.Stat(bin)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("start to first answer: median %s, best %s; idle: %d KiB; binary: %.1f MiB", firsts[4], firsts[0], idle, float64(info.Size())/(1<<20))
	if idle == 0 || firsts[0] <= 0 {
		t.Error("the figures make no sense")
	}
}
