package unixsock

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func mustListen(t *testing.T, path string, mode fs.FileMode) *Listener {
	t.Helper()
	l, err := Listen(path, mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// leaveStale leaves a socket file that nobody listens on, as a killed server does.
func leaveStale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func permissions(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestCloseRemovesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rpc.sock")
	l := mustListen(t, path, 0o600)
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

// TestCloseSparesAnother: what took the path meanwhile is not ours to remove, be it a server's or a file.
func TestCloseSparesAnother(t *testing.T) {
	swaps := map[string]func(t *testing.T, path string){
		"socket": func(t *testing.T, path string) { mustListen(t, path, 0o600) },
		"file": func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, swap := range swaps {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "rpc.sock")
			l := mustListen(t, path, 0o600)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			swap(t, path)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(path); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestStaleIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rpc.sock")
	for range 3 {
		leaveStale(t, path)
		l := mustListen(t, path, 0o666)
		go l.Accept()
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		l.Close()
	}
}

func TestKilledServerIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rpc.sock")
	p, line := try(t, os.Geteuid(), path, 0o600)
	if line != "listening "+path {
		t.Fatal(line)
	}
	p.Process.Kill()
	p.Wait()
	mustListen(t, path, 0o600)
}

// TestLiveNamesTheProcess: also where that process is stopped and its queue is the kernel's to answer.
func TestLiveNamesTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rpc.sock")
	p, line := try(t, os.Geteuid(), path, 0o600)
	if line != "listening "+path {
		t.Fatal(line)
	}
	if err := p.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer p.Process.Signal(syscall.SIGCONT)
	_, err := Listen(path, 0o600)
	var inUse *InUseError
	if !errors.As(err, &inUse) {
		t.Fatalf("%v, want an *InUseError", err)
	}
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.Process.Pid))
	if inUse.PID != p.Process.Pid || inUse.Comm != strings.TrimSpace(string(comm)) || inUse.Comm == "" {
		t.Errorf("%+v, want process %d, %s", inUse, p.Process.Pid, comm)
	}
	want := fmt.Sprintf("listen %s: in use by %s (process %d)", path, inUse.Comm, inUse.PID)
	if err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

// rawSocket binds a socket of the given type by hand, listening with room for backlog callers where
// that is not negative.
func rawSocket(t *testing.T, path string, kind, backlog int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if backlog >= 0 {
		if err := unix.Listen(fd, backlog); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLiveButSilent: a socket that somebody holds is in use although it takes no connection now.
func TestLiveButSilent(t *testing.T) {
	for name, hold := range map[string]func(path string){
		"full queue": func(path string) {
			rawSocket(t, path, unix.SOCK_STREAM, 0)
			for range 2 {
				c, err := net.Dial("unix", path)
				if err != nil {
					break
				}
				t.Cleanup(func() { c.Close() })
				fillOne(t, path)
			}
		},
		"datagram":           func(path string) { rawSocket(t, path, unix.SOCK_DGRAM, -1) },
		"sequential packets": func(path string) { rawSocket(t, path, unix.SOCK_SEQPACKET, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "rpc.sock")
			hold(path)
			_, err := Listen(path, 0o600)
			var inUse *InUseError
			if !errors.As(err, &inUse) {
				t.Errorf("%v, want an *InUseError", err)
			}
		})
	}
}

// fillOne takes a place in the queue of the listener at path, if there is one left.
func fillOne(t *testing.T, path string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil && err != unix.EAGAIN {
		t.Fatal(err)
	}
}

func TestNotASocketStays(t *testing.T) {
	for name, lay := range map[string]func(path string) error{
		"a file":          func(p string) error { return os.WriteFile(p, []byte("precious"), 0o600) },
		"a folder":        func(p string) error { return os.Mkdir(p, 0o700) },
		"a named pipe":    func(p string) error { return unix.Mkfifo(p, 0o600) },
		"a symbolic link": func(p string) error { return os.Symlink("elsewhere.sock", p) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "rpc.sock")
			if err := lay(path); err != nil {
				t.Fatal(err)
			}
			_, err := Listen(path, 0o600)
			if !errors.Is(err, ErrNotSocket) || !strings.Contains(err.Error(), name) {
				t.Errorf("%v, want ErrNotSocket that says %s", err, name)
			}
			if _, err := os.Lstat(path); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLinkStays: a link to a dead socket elsewhere must not get that one removed either.
func TestLinkStays(t *testing.T) {
	folder := t.TempDir()
	leaveStale(t, filepath.Join(folder, "dead.sock"))
	path := filepath.Join(folder, "rpc.sock")
	if err := os.Symlink("dead.sock", path); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, 0o600); !errors.Is(err, ErrNotSocket) {
		t.Errorf("%v, want ErrNotSocket", err)
	}
	if _, err := os.Lstat(filepath.Join(folder, "dead.sock")); err != nil {
		t.Error(err)
	}
}

func TestBadPaths(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 60))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(t.TempDir(), "s")
	if err := os.Symlink(long, short); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"", "/", "/run/", "/run/.", "/run/..", "@abstract", "/run/a\x00b",
		"/tmp/" + strings.Repeat("x", 103),
		filepath.Join(short, strings.Repeat("y", 40)), // fits, but not once the link is resolved
	} {
		if _, err := Listen(path, 0o600); !errors.Is(err, ErrBadPath) {
			t.Errorf("%q: %v, want ErrBadPath", path, err)
		}
	}
}

func TestRelativePath(t *testing.T) {
	folder := t.TempDir()
	t.Chdir(folder)
	l := mustListen(t, "rpc.sock", 0o600)
	if l.Path() != filepath.Join(folder, "rpc.sock") {
		t.Error(l.Path())
	}
	t.Chdir("/")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(folder, "rpc.sock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
}

// TestLockThatIsKept: a server does not hang behind one that was stopped at the wrong moment.
func TestLockThatIsKept(t *testing.T) {
	t.Parallel() // it takes all of lockPatience
	path := filepath.Join(t.TempDir(), "rpc.sock")
	unlock, err := lock(path + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, err := Listen(path, 0o600); !errors.Is(err, errLocked) {
		t.Errorf("%v, want errLocked", err)
	}
}

func TestLockIsNotFollowed(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "rpc.sock")
	if err := os.Symlink(filepath.Join(folder, "made-by-link"), path+".lock"); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, 0o600); !errors.Is(err, unix.ELOOP) {
		t.Errorf("%v, want ELOOP", err)
	}
}

func TestBindSaysTheCause(t *testing.T) {
	_, err := bind(filepath.Join(t.TempDir(), "none", "s"), 0o600)
	if err == nil || err.Error() != "bind: no such file or directory" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestInUseError(t *testing.T) {
	for want, e := range map[string]InUseError{
		"in use by another process":  {},
		"in use by process 7":        {PID: 7},
		"in use by nc (process 123)": {PID: 123, Comm: "nc"},
	} {
		if e.Error() != want {
			t.Errorf("%q, want %q", e.Error(), want)
		}
	}
}

const racers = 20

// TestRaceOfProcesses: of many servers that start at once over a dead socket exactly one listens, and
// every other one names it.
func TestRaceOfProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rpc.sock")
	leaveStale(t, path)
	var all []*process
	for range racers {
		all = append(all, start(t, os.Geteuid(), "listen", path, "600"))
	}
	for _, p := range all {
		p.goOn(t)
	}
	winner, losers := 0, []string{}
	for _, p := range all {
		switch line := p.line(t); {
		case !strings.HasPrefix(line, "listening "):
			losers = append(losers, line)
		case winner != 0:
			t.Errorf("processes %d and %d both listen", winner, p.Process.Pid)
		default:
			winner = p.Process.Pid
		}
	}
	for _, line := range losers {
		if !strings.Contains(line, fmt.Sprintf("(process %d)", winner)) {
			t.Errorf("%q does not name process %d", line, winner)
		}
	}
}

func TestRaceOfGoroutines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rpc.sock")
	leaveStale(t, path)
	var wg sync.WaitGroup
	results := make(chan error, racers)
	for range racers {
		wg.Go(func() {
			l, err := Listen(path, 0o600)
			if err == nil {
				t.Cleanup(func() { l.Close() })
			}
			results <- err
		})
	}
	wg.Wait()
	close(results)
	won := 0
	for err := range results {
		var inUse *InUseError
		switch {
		case err == nil:
			won++
		case !errors.As(err, &inUse) || inUse.PID != os.Getpid():
			t.Errorf("%v, want in use by process %d", err, os.Getpid())
		}
	}
	if won != 1 {
		t.Errorf("%d of them listen", won)
	}
}
