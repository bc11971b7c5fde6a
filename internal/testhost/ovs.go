package testhost

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The daemons of Open vSwitch, by the names of their programs.
const (
	OVSDatabase = "ovsdb-server"
	OVSSwitch   = "ovs-vswitchd"
)

// ovsSchema is where Debian keeps the schema of Open vSwitch's database.
const ovsSchema = "/usr/share/openvswitch/vswitch.ovsschema"

// ovsPatience is how long a daemon or a tool of Open vSwitch may take: long, since other tests run beside.
const ovsPatience = 60 * time.Second

// OVS is an Open vSwitch of one test: both daemons in a network namespace, with folders of their own. It and
// what it made are gone when the test ends.
type OVS struct {
	NS     *NetNS // where it works
	Root   string // what stands before /run/openvswitch in its run folder
	RunDir string // its run folder: db.sock, pid files, control sockets, BRIDGE.mgmt

	t       testing.TB
	mu      sync.Mutex
	daemons map[string]*ovsDaemon
}

// ovsDaemon is one running daemon.
type ovsDaemon struct {
	cmd   *exec.Cmd
	log   *os.File
	ended chan struct{}
}

// NewOVS starts an Open vSwitch in ns, with an empty database. Bridges that should work without a kernel module
// take datapath_type=netdev. It needs root and Debian's openvswitch-switch.
func NewOVS(t testing.TB, ns *NetNS) *OVS {
	t.Helper()
	Root(t)
	for _, tool := range []string{OVSSwitch, OVSDatabase, "ovsdb-tool", "ovs-vsctl", "ovs-ofctl", "ovs-appctl"} {
		Tool(t, tool, "openvswitch-switch")
	}
	root, err := os.MkdirTemp("", "ovs") // not t.TempDir: the path of a socket has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	o := &OVS{NS: ns, Root: root, RunDir: filepath.Join(root, "run/openvswitch"), t: t, daemons: map[string]*ovsDaemon{}}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s said:\n%s%s said:\n%s", OVSDatabase, o.Log(OVSDatabase), OVSSwitch, o.Log(OVSSwitch))
		}
		o.Kill(OVSSwitch)
		o.Kill(OVSDatabase)
		os.RemoveAll(root)
	})
	if err := os.MkdirAll(o.RunDir, 0o755); err != nil {
		t.Fatal(err)
	}
	o.Run("ovsdb-tool", "create", o.file("conf.db"), ovsSchema)
	awaitUptime(10) // a switch that is started earlier takes no threads to handle what the kernel passes up
	o.Start(OVSDatabase)
	o.Vsctl("--no-wait", "init")
	o.Start(OVSSwitch)
	o.Vsctl("init") // waits until the switch has its configuration: before, it lacks most commands
	return o
}

// awaitUptime waits until the kernel has run for so many seconds.
func awaitUptime(seconds float64) {
	for {
		text, _ := os.ReadFile("/proc/uptime")
		up, _, _ := strings.Cut(string(text), " ")
		if v, err := strconv.ParseFloat(up, 64); err != nil || v > seconds {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (o *OVS) file(name string) string { return filepath.Join(o.RunDir, name) }

// environment points the daemons and the tools to our folders.
func (o *OVS) environment() []string {
	env := append(os.Environ(), "LC_ALL=C")
	for _, name := range []string{"OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"} {
		env = append(env, name+"="+o.RunDir)
	}
	return env
}

// arguments are what a daemon is started with.
func (o *OVS) arguments(daemon string) []string {
	args := []string{"--pidfile", "--no-chdir", "-vsyslog:off", "-vconsole:info", "-vdpif:console:err"}
	if daemon == OVSDatabase {
		return append(args, o.file("conf.db"), "--remote=punix:"+o.file("db.sock"))
	}
	return append(args, "unix:"+o.file("db.sock"))
}

// Start starts a daemon that does not run, and waits until it listens.
func (o *OVS) Start(daemon string) {
	o.t.Helper()
	log, err := os.Create(o.file(daemon + ".log"))
	if err != nil {
		o.t.Fatal(err)
	}
	cmd := exec.Command(daemon, o.arguments(daemon)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = o.environment(), log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	d := &ovsDaemon{cmd: cmd, log: log, ended: make(chan struct{})}
	started := make(chan error)
	go o.NS.Do(func() { // a thread of its own until the daemon ends, which dies with that thread
		defer close(d.ended)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	})
	if err := <-started; err != nil {
		o.t.Fatal(err)
	}
	o.mu.Lock()
	o.daemons[daemon] = d
	o.mu.Unlock()
	o.await(daemon, d)
}

// await waits until a daemon answers on its control socket.
func (o *OVS) await(daemon string, d *ovsDaemon) {
	o.t.Helper()
	for deadline := time.Now().Add(ovsPatience); time.Now().Before(deadline); {
		conn, err := net.Dial("unix", o.Control(daemon))
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-d.ended:
			o.t.Fatalf("%s ended at once: %s", daemon, o.Log(daemon))
		case <-time.After(5 * time.Millisecond):
		}
	}
	o.t.Fatalf("%s does not listen: %s", daemon, o.Log(daemon))
}

// Control is the control socket of a daemon that was started.
func (o *OVS) Control(daemon string) string {
	return o.file(fmt.Sprintf("%s.%d.ctl", daemon, o.PID(daemon)))
}

// PID is the process of a daemon that was started.
func (o *OVS) PID(daemon string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.daemons[daemon].cmd.Process.Pid
}

// Log is what a daemon has said since it was started last.
func (o *OVS) Log(daemon string) string {
	text, _ := os.ReadFile(o.file(daemon + ".log"))
	return string(text)
}

// Signal sends a signal to a daemon, as SIGSTOP and SIGCONT.
func (o *OVS) Signal(daemon string, signal syscall.Signal) {
	o.t.Helper()
	if err := syscall.Kill(o.PID(daemon), signal); err != nil {
		o.t.Fatalf("signal %s: %v", daemon, err)
	}
}

// Kill ends a daemon as a crash does: its pid file and sockets stay. It does nothing to one that does not run.
func (o *OVS) Kill(daemon string) { o.end(daemon, syscall.SIGKILL) }

// Stop asks a daemon to end and waits until it has.
func (o *OVS) Stop(daemon string) { o.end(daemon, syscall.SIGTERM) }

func (o *OVS) end(daemon string, signal syscall.Signal) {
	o.mu.Lock()
	d := o.daemons[daemon]
	delete(o.daemons, daemon)
	o.mu.Unlock()
	if d == nil {
		return
	}
	_ = d.cmd.Process.Signal(signal)
	kill := time.AfterFunc(ovsPatience, func() { _ = d.cmd.Process.Kill() })
	defer kill.Stop()
	<-d.ended
	d.log.Close()
}

// TryRun runs a program of Open vSwitch in its namespace, pointed at its folders, and returns what it printed.
func (o *OVS) TryRun(stdin, name string, args ...string) (string, error) {
	o.t.Helper()
	var out []byte
	var err error
	o.NS.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), ovsPatience)
		defer cancel()
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env, cmd.Stdin = o.environment(), strings.NewReader(stdin)
		out, err = cmd.Output()
	})
	if exit, ok := err.(*exec.ExitError); ok {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, exit.Stderr)
	}
	return string(out), err
}

// Run is TryRun for a program that must succeed.
func (o *OVS) Run(name string, args ...string) string {
	o.t.Helper()
	return o.Feed("", name, args...)
}

// Feed is Run for a program that reads its standard input.
func (o *OVS) Feed(stdin, name string, args ...string) string {
	o.t.Helper()
	out, err := o.TryRun(stdin, name, args...)
	if err != nil {
		o.t.Fatal(err)
	}
	return out
}

// Vsctl runs ovs-vsctl(8), which waits until the switch has taken what was asked.
func (o *OVS) Vsctl(args ...string) string {
	o.t.Helper()
	return o.Run("ovs-vsctl", append([]string{"--db=unix:" + o.file("db.sock"), "--timeout=50"}, args...)...)
}

// Appctl runs ovs-appctl(8) against the switch.
func (o *OVS) Appctl(args ...string) string {
	o.t.Helper()
	return o.Run("ovs-appctl", append([]string{"-t", o.Control(OVSSwitch)}, args...)...)
}

// Flows puts OpenFlow flows into a bridge in place of those that it has, in the words of ovs-ofctl(8).
func (o *OVS) Flows(bridge string, flows ...string) {
	o.t.Helper()
	o.Feed(strings.Join(flows, "\n")+"\n", "ovs-ofctl", "--bundle", "replace-flows", bridge, "-")
}

// Peer makes a namespace with an interface eth0, up and with the addresses, whose other end is the port of a
// bridge. What it sends has whole checksums, which the userspace datapath's ct() asks for.
func (o *OVS) Peer(bridge, port string, addresses ...string) *NetNS {
	o.t.Helper()
	Tool(o.t, "ethtool", "ethtool")
	peer := NewNetNS(o.t)
	o.NS.IP(fmt.Sprintf("link add %s type veth peer name eth0 netns %s", port, peer.Path()), "link set "+port+" up")
	commands := []string{"link set eth0 up"}
	for _, a := range addresses {
		commands = append(commands, "addr add "+a+" dev eth0 nodad")
	}
	peer.IP(commands...)
	peer.Run("ethtool", "-K", "eth0", "tx", "off")
	o.Vsctl("add-port", bridge, port)
	return peer
}
