package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if binaries != "" {
		os.RemoveAll(binaries)
	}
	os.Exit(code)
}

// binaries is the folder that the programs under test were built into, once a test has asked for them.
var binaries string

const serverName = "my-os-server-native"

// build builds the programs and returns the path of the server.
func build(t *testing.T) string { t.Helper(); return built(t, serverName) }

// built builds the programs and returns the path of one.
func built(t *testing.T, name string) string {
	t.Helper()
	if binaries == "" {
		dir, err := os.MkdirTemp("", "cli")
		if err != nil {
			t.Fatal(err)
		}
		binaries = dir
		if out, err := exec.Command("go", "build", "-o", dir, "../../cmd/"+serverName, "../../cmd/"+Name).CombinedOutput(); err != nil {
			t.Fatalf("go build: %v: %s", err, out)
		}
	}
	return filepath.Join(binaries, name)
}

// program is the command that runs this program with the arguments, without the surroundings of the tests.
func program(t *testing.T, home string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(built(t, Name), args...)
	cmd.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "TERM=xterm"}
	return cmd
}

// world is a server in a network namespace of its own, and where to reach it.
type world struct {
	ns     *testhost.NetNS
	socket string
	home   string
}

const nodeName = "cli-node"

// newWorld starts the real server over a namespace where what the tests look at is always the same.
func newWorld(t *testing.T, args ...string) *world {
	t.Helper()
	server := build(t)
	w := &world{ns: testhost.NewNetNS(t), home: t.TempDir()}
	w.ns.IP(
		"link add br0 address 02:00:00:00:00:01 type bridge",
		"link add web0 address 02:00:00:00:00:02 type veth peer name web1 address 02:00:00:00:00:03",
		"link set br0 addrgenmode none", "link set web0 addrgenmode none", "link set web1 addrgenmode none",
		"link set web0 master br0",
		"addr add 192.0.2.1/24 dev br0",
		"link set br0 up", "link set web0 up", "link set web1 up",
		"route add 198.51.100.0/24 via 192.0.2.2 dev br0 proto static metric 50",
		"route add blackhole 203.0.113.0/24 table 7000",
	)
	w.settle(t)
	dir, err := os.MkdirTemp("", "cli") // not TempDir: a socket's path has little room
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w.socket = filepath.Join(dir, "s")
	log := new(testhost.Log)
	cmd := exec.Command(server, append([]string{"--socket", w.socket, "--state-dir", filepath.Join(dir, "state"), "--node-name", nodeName, "--no-hero-socket"}, args...)...)
	cmd.Stderr = log
	started := make(chan error, 1)
	w.ns.Do(func() { started <- cmd.Start() })
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(t, cmd, log) })
	testhost.Listening(t, w.socket, log)
	return w
}

// settle waits until the links are up: the kernel takes a moment to say so.
func (w *world) settle(t *testing.T) {
	t.Helper()
	testhost.Eventually(t, "the links come up", func() bool { return strings.Count(w.ns.Run("ip", "-br", "link", "show", "up"), " UP ") == 3 })
}

func end(t *testing.T, cmd *exec.Cmd, log *testhost.Log) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		t.Errorf("the server ended with %v: %s", err, log)
	}
}

// run runs a command line against the world's server, in this process, and returns what it printed.
func (w *world) run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return runHere(t, w.socket, args...)
}

// must is run for what has to go well.
func (w *world) must(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, code := w.run(t, args...)
	if code != 0 {
		t.Fatalf("%q: exit %d: %s", args, code, stderr)
	}
	return stdout
}
