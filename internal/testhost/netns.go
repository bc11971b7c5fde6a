package testhost

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// NetNS is a network namespace of one test, gone when the test ends. Its loopback interface is up.
type NetNS struct {
	t    testing.TB
	file *os.File
}

// NewNetNS makes a namespace. It needs root, and ip(8).
func NewNetNS(t testing.TB) *NetNS {
	t.Helper()
	Root(t)
	Tool(t, "ip", "iproute2")
	ns := &NetNS{t: t}
	var err error
	onOwnThread(func() { ns.file, err = unshareNet() })
	if err != nil {
		t.Fatalf("make network namespace: %v", err)
	}
	t.Cleanup(func() { ns.file.Close() })
	ns.IP("link set lo up")
	return ns
}

func unshareNet() (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	return os.Open("/proc/thread-self/ns/net")
}

// FD is a descriptor of the namespace, open until the test ends.
func (ns *NetNS) FD() int { return int(ns.file.Fd()) }

// Do runs f in the namespace: what f opens and starts belongs to it. f runs in a goroutine of its own,
// so it must not end the test.
func (ns *NetNS) Do(f func()) {
	ns.t.Helper()
	var err error
	onOwnThread(func() {
		if err = unix.Setns(ns.FD(), unix.CLONE_NEWNET); err == nil {
			f()
		}
	})
	if err != nil {
		ns.t.Fatalf("enter network namespace: %v", err)
	}
}

// onOwnThread runs f on a thread that nobody else will use: it stays locked, and so ends with its
// goroutine, whatever f has done to it. The process' first thread is spared, because /proc/self shows
// that thread's namespaces.
func onOwnThread(f func()) {
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		defer done.Done()
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onOwnThread(f)
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	done.Wait()
}

// Try runs a program in the namespace and returns what it printed.
func (ns *NetNS) Try(stdin, name string, args ...string) (string, error) {
	ns.t.Helper()
	var out []byte
	var err error
	ns.Do(func() {
		cmd := exec.Command(name, args...)
		cmd.Stdin = strings.NewReader(stdin)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		out, err = cmd.Output()
	})
	if exit, ok := err.(*exec.ExitError); ok {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, exit.Stderr)
	}
	return string(out), err
}

// Run is Try for a program that must succeed.
func (ns *NetNS) Run(name string, args ...string) string {
	ns.t.Helper()
	out, err := ns.Try("", name, args...)
	if err != nil {
		ns.t.Fatal(err)
	}
	return out
}

// IP runs one ip(8) command for each argument, in one process, and returns what they printed. The
// command's words are parted by blanks.
func (ns *NetNS) IP(commands ...string) string {
	ns.t.Helper()
	out, err := ns.TryIP(commands...)
	if err != nil {
		ns.t.Fatalf("%v\nof:\n%s", err, strings.Join(commands, "\n"))
	}
	return out
}

// TryIP is IP for commands that may be refused; ip stops at the first that is.
func (ns *NetNS) TryIP(commands ...string) (string, error) {
	ns.t.Helper()
	return ns.Try(strings.Join(commands, "\n")+"\n", "ip", "-batch", "-")
}

// Witness runs ip(8) with arguments for JSON output and returns the output.
func (ns *NetNS) Witness(args ...string) []byte {
	ns.t.Helper()
	return []byte(ns.Run("ip", append([]string{"-j"}, args...)...))
}

// Path names the namespace as a file, for this process.
func (ns *NetNS) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.FD()) }
