package cli

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// terminal is a pseudo-terminal with a program in it.
type terminal struct {
	t      *testing.T
	master *os.File
	cmd    *exec.Cmd
	mu     sync.Mutex
	seen   bytes.Buffer
	closed chan struct{}
}

// inTerminal runs a command in a new terminal of the given width, which is its controlling one.
func inTerminal(t *testing.T, cmd *exec.Cmd, columns uint16) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	number, err := unix.IoctlGetUint32(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: columns}); err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, master: master, cmd: cmd, closed: make(chan struct{})}
	go term.read()
	return term
}

func (term *terminal) read() {
	defer close(term.closed)
	b := make([]byte, 4096)
	for {
		n, err := term.master.Read(b)
		term.mu.Lock()
		term.seen.Write(b[:n])
		term.mu.Unlock()
		if err != nil {
			return // EIO: the last one at the other end has gone
		}
	}
}

// screen is what has been printed so far.
func (term *terminal) screen() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return strings.ReplaceAll(term.seen.String(), "\r\n", "\n")
}

// forget lets the screen be empty.
func (term *terminal) forget() {
	term.mu.Lock()
	defer term.mu.Unlock()
	term.seen.Reset()
}

// expect waits for a text.
func (term *terminal) expect(text string) {
	term.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(term.screen(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			term.t.Fatalf("%q does not come:\n%s", text, term.screen())
		}
	}
}

func (term *terminal) send(text string) {
	term.t.Helper()
	if _, err := term.master.WriteString(text); err != nil {
		term.t.Fatal(err)
	}
}

// wait waits for the end and returns the exit code.
func (term *terminal) wait() int {
	term.t.Helper()
	timer := time.AfterFunc(60*time.Second, func() { _ = term.cmd.Process.Kill() })
	defer timer.Stop()
	_ = term.cmd.Wait()
	<-term.closed
	return term.cmd.ProcessState.ExitCode()
}

// inTerminal is run for a terminal.
func (w *world) inTerminal(t *testing.T, columns uint16, args ...string) *terminal {
	return inTerminal(t, program(t, w.home, append([]string{"--socket", w.socket}, args...)...), columns)
}

// freeLoop is a loop disk of 64 MiB that no process holds, as testhost's are by the test: the server would
// call it busy.
func freeLoop(t *testing.T) string {
	t.Helper()
	testhost.Root(t)
	testhost.Tool(t, "losetup", "mount")
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 64<<20); err != nil {
		t.Fatal(err)
	}
	path := strings.TrimSpace(testhost.Command(t, "losetup", "--show", "-f", file))
	t.Cleanup(func() { testhost.Command(t, "losetup", "-d", path) })
	return path
}

// Destroying asks first and names what would go: a disk with its size and what it holds. No is no; yes
// destroys; what has been shown is what the server is told to expect.
func TestConfirmation(t *testing.T) {
	testhost.Root(t)
	testhost.Tool(t, "mkfs.ext4", "e2fsprogs")
	disk := freeLoop(t)
	testhost.Command(t, "mkfs.ext4", "-q", "-L", "precious", disk)
	w := newWorld(t)
	before := testhost.Sum(t, disk)
	command := []string{"vol", "create", "filesystem", disk, "ext4", "--label", "fresh", "--force"}

	for _, answer := range []string{"n\n", "\n", "nonsense\n", "\x04"} {
		term := w.inTerminal(t, 100, command...)
		term.expect("Go on? [y/N]")
		for _, part := range []string{"vol.create_filesystem", disk + " (loop, 64.0MiB, no serial number), holds ext4 \"precious\"", "label: fresh"} {
			if !strings.Contains(term.screen(), part) {
				t.Errorf("the question does not say %q:\n%s", part, term.screen())
			}
		}
		term.send(answer)
		if code := term.wait(); code != exitDeclined {
			t.Errorf("%q: exit %d:\n%s", answer, code, term.screen())
		}
	}
	if testhost.Sum(t, disk) != before {
		t.Fatal("the disk was written although nobody said yes")
	}

	term := w.inTerminal(t, 100, command...)
	term.expect("Go on? [y/N]")
	term.send("\x03") // is no answer
	if code := term.wait(); code != exitInterrupted || testhost.Sum(t, disk) != before {
		t.Errorf("interrupted: exit %d:\n%s", code, term.screen())
	}

	term = w.inTerminal(t, 100, command...)
	term.expect("Go on? [y/N]")
	term.send("y\n")
	if code := term.wait(); code != 0 {
		t.Fatalf("exit %d:\n%s", code, term.screen())
	}
	if got := w.must(t, "vol", "list", "disks", "--path", disk, "-o", "json"); !strings.Contains(got, `"label":"fresh"`) {
		t.Errorf("there is no filesystem fresh: %s", got)
	}
}

// A disk that was changed for another between the question and the answer is left alone.
func TestWhatWasShownIsExpected(t *testing.T) {
	testhost.Root(t)
	testhost.Tool(t, "mkfs.ext4", "e2fsprogs")
	disk := freeLoop(t)
	testhost.Command(t, "mkfs.ext4", "-q", "-L", "first", disk)
	w := newWorld(t)
	term := w.inTerminal(t, 100, "vol", "create", "filesystem", disk, "ext4", "--force")
	term.expect("Go on? [y/N]")
	testhost.Command(t, "mkfs.ext4", "-q", "-F", "-L", "second", disk)
	before := testhost.Sum(t, disk)
	term.send("y\n")
	if code := term.wait(); code != 13 || !strings.Contains(term.screen(), "expectation") {
		t.Errorf("exit %d:\n%s", code, term.screen())
	}
	if testhost.Sum(t, disk) != before {
		t.Error("the other filesystem was written over")
	}
}

// Tables fit the terminal that they are in, and colour is for terminals that want it.
func TestTerminals(t *testing.T) {
	testhost.Root(t)
	w := newWorld(t)
	for _, columns := range []int{40, 80, 200} {
		for _, args := range [][]string{{"net", "interfaces"}, {"net", "routes"}, {"net", "tree"}, {"vol", "list", "mounts"}, {"vol", "tree"}, {"net", "bridge"}} {
			term := w.inTerminal(t, uint16(columns), args...)
			if code := term.wait(); code != 0 {
				t.Errorf("%q at %d: exit %d:\n%s", args, columns, code, term.screen())
			}
			for _, line := range strings.Split(plainText(term.screen()), "\n") {
				if cells(line) > columns {
					t.Errorf("%q at %d: %d cells: %s", args, columns, cells(line), line)
				}
			}
		}
	}
	if screen := func() string { term := w.inTerminal(t, 80, "net", "interfaces"); term.wait(); return term.screen() }(); !strings.Contains(screen, "\x1b[32mup\x1b[0m") {
		t.Errorf("no colour on a terminal:\n%q", screen)
	}
	for _, variable := range []string{"NO_COLOR=1", "TERM=dumb"} {
		cmd := program(t, w.home, "--socket", w.socket, "net", "interfaces")
		cmd.Env = append(cmd.Env, variable)
		term := inTerminal(t, cmd, 80)
		if term.wait(); strings.Contains(term.screen(), "\x1b") {
			t.Errorf("%s: colour all the same:\n%q", variable, term.screen())
		}
	}
	if term := w.inTerminal(t, 80, "net", "routes", "--dst", "192.0.2.77/32"); term.wait() != 0 || plainText(term.screen()) != "no routes\n" {
		t.Errorf("no routes: %q", term.screen())
	}
	if stdout, stderr, code := w.run(t, "net", "routes", "--dst", "192.0.2.77/32"); stdout+stderr != "" || code != 0 {
		t.Errorf("no routes in a pipe: %q %q, exit %d", stdout, stderr, code)
	}
	if out := w.must(t, "net", "interfaces"); strings.Contains(out, "\x1b") {
		t.Errorf("colour in a pipe: %q", out)
	}
}

// plainText is text without colours.
func plainText(text string) string {
	var b strings.Builder
	escape := false
	for _, r := range text {
		switch {
		case escape:
			escape = r != 'm'
		case r == '\x1b':
			escape = true
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// --watch shows what is, again and again, in the place of what was, and ends well when it is interrupted.
func TestWatch(t *testing.T) {
	testhost.Root(t)
	w := newWorld(t)
	term := w.inTerminal(t, 120, "net", "routes", "--table", "7000", "--watch=100ms")
	term.expect("203.0.113.0/24")
	w.ns.IP("route add blackhole 203.0.114.0/24 table 7000")
	term.expect("203.0.114.0/24")
	if !strings.Contains(term.screen(), "\x1b[H") {
		t.Errorf("the second picture does not go over the first: %q", term.screen())
	}
	term.send("\x03")
	if code := term.wait(); code != 0 {
		t.Errorf("exit %d: %s", code, term.screen())
	}
}
