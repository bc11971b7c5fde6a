package unixsock

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// roleVar makes this test binary play another process: it holds the role and its arguments, by spaces.
const roleVar = "UNIXSOCK_TEST_ROLE"

// roles are what another process can be asked to do. A role prints what came of it on one line.
var roles = map[string]func(args []string) error{
	"listen":   listenRole,
	"modes":    modesRole,
	"activate": activateRole,
	"claim":    claimRole,
}

func TestMain(m *testing.M) {
	name, rest, _ := strings.Cut(os.Getenv(roleVar), " ")
	if name == "" {
		os.Exit(m.Run())
	}
	if err := roles[name](strings.Fields(rest)); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// listenRole listens at args[0] with mode args[1] as soon as its standard input has a byte, says so, and
// stays until that input ends.
func listenRole(args []string) error {
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		return err
	}
	mode, err := strconv.ParseUint(args[1], 8, 32)
	if err != nil {
		return err
	}
	l, err := Listen(args[0], fs.FileMode(mode))
	if err != nil {
		return err
	}
	fmt.Println("listening", l.Path())
	io.Copy(io.Discard, os.Stdin)
	return l.Close()
}

// roleEnv is the environment of another role. The race detector's pause of a second at exit is for
// reports of goroutines that still run, of which a role has none.
func roleEnv(role ...string) []string {
	return append(os.Environ(), "GORACE=atexit_sleep_ms=0", roleVar+"="+strings.Join(role, " "))
}

// process is this test binary in another role.
type process struct {
	*exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
}

// start runs the test binary again as uid; a uid other than our own needs root.
func start(t *testing.T, uid int, role ...string) *process {
	t.Helper()
	attr := &syscall.SysProcAttr{}
	if uid != os.Geteuid() {
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	return startWith(t, attr, role...)
}

func startWith(t *testing.T, attr *syscall.SysProcAttr, role ...string) *process {
	t.Helper()
	// The build folder is closed to other users; a process may always follow its own /proc/self/exe.
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = roleEnv(role...)
	cmd.Stderr = os.Stderr
	cmd.Dir = "/"
	cmd.SysProcAttr = attr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd, stdin, bufio.NewReader(stdout)}
	t.Cleanup(func() { p.stop() })
	return p
}

// try runs the listen role to its first line.
func try(t *testing.T, uid int, path string, mode fs.FileMode) (*process, string) {
	t.Helper()
	p := start(t, uid, "listen", path, fmt.Sprintf("%o", mode))
	p.goOn(t)
	return p, p.line(t)
}

func (p *process) goOn(t *testing.T) {
	t.Helper()
	if _, err := p.stdin.Write([]byte{'\n'}); err != nil {
		t.Fatal(err)
	}
}

func (p *process) line(t *testing.T) string {
	t.Helper()
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %v after %q", p.Env[len(p.Env)-1], err, line)
	}
	return strings.TrimSuffix(line, "\n")
}

// stop ends the process in an orderly way.
func (p *process) stop() error {
	p.stdin.Close()
	err := p.Wait()
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// needRoot is for a test that plays several users.
func needRoot(t *testing.T) {
	t.Helper()
	testhost.Root(t)
	if _, unmapped := unmappedOwner(); unmapped {
		testhost.Missing(t, "the users of the host, all of them mapped")
	}
}
