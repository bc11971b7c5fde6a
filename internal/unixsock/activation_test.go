package unixsock

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// activateRole takes over what was passed and prints the listeners' paths.
func activateRole([]string) error {
	all, err := Activated()
	if err != nil {
		return err
	}
	var paths []string
	for _, l := range all {
		paths = append(paths, l.Addr().String())
	}
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if _, ok := os.LookupEnv(name); ok {
			return fmt.Errorf("%s is still set", name)
		}
	}
	fmt.Println("activated", strings.Join(paths, " "))
	for _, l := range all {
		if conn, err := l.Accept(); err == nil {
			conn.Write([]byte("hello"))
			conn.Close()
		}
		l.Close()
	}
	return nil
}

// activate starts the role as a service manager would: its own number in LISTEN_PID, files from 3 on.
func activate(t *testing.T, vars string, files ...*os.File) (out string, err error) {
	t.Helper()
	cmd := exec.Command("sh", "-c", vars+` exec /proc/`+fmt.Sprint(os.Getpid())+`/exe`)
	cmd.Env = roleEnv("activate")
	cmd.ExtraFiles = files
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	return strings.TrimSpace(string(text)), err
}

// socketFile is a new socket as a descriptor to pass on, listening where backlog is not negative.
func socketFile(t *testing.T, domain, kind, backlog int) *os.File {
	t.Helper()
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "socket")
	t.Cleanup(func() { f.Close() })
	if domain == unix.AF_UNIX {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(t.TempDir(), "s")})
	}
	if err == nil && backlog >= 0 {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestActivation: two sockets that somebody else made are served, and their files stay afterwards.
func TestActivation(t *testing.T) {
	var paths []string
	var files []*os.File
	for range 2 {
		path := filepath.Join(t.TempDir(), "rpc.sock")
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		conn, err := net.Dial("unix", path) // waits in the queue until the server is there
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		paths, files = append(paths, path), append(files, f)
	}
	out, err := activate(t, "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=rpc:hero", files...)
	if err != nil || out != "activated "+strings.Join(paths, " ") {
		t.Fatalf("%q, %v", out, err)
	}
	for _, path := range paths {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
}

func TestActivationOfOthers(t *testing.T) {
	for _, vars := range []string{
		"LISTEN_PID=1 LISTEN_FDS=1",
		"LISTEN_PID=$$ LISTEN_FDS=0",
		"LISTEN_FDS=1",
		"LISTEN_PID=$$",
		"",
	} {
		if out, err := activate(t, vars); err != nil || out != "activated" {
			t.Errorf("%s: %q, %v", vars, out, err)
		}
	}
}

func TestActivationRefuses(t *testing.T) {
	file, err := os.Open("/proc/version")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	const one = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web"
	for _, c := range []struct {
		vars string
		file *os.File
		want string
	}{
		{one, socketFile(t, unix.AF_INET, unix.SOCK_STREAM, 1), "descriptor 3 (web): is an IPv4 socket"},
		{one, socketFile(t, unix.AF_INET6, unix.SOCK_STREAM, 1), "descriptor 3 (web): is an IPv6 socket"},
		{one, socketFile(t, unix.AF_NETLINK, unix.SOCK_RAW, -1), "descriptor 3 (web): is a netlink socket"},
		{one, socketFile(t, unix.AF_UNIX, unix.SOCK_DGRAM, -1), "descriptor 3 (web): is a Unix socket of another type (datagram)"},
		{one, socketFile(t, unix.AF_UNIX, unix.SOCK_SEQPACKET, 1), "descriptor 3 (web): is a Unix socket of another type (sequential packets)"},
		{one, socketFile(t, unix.AF_UNIX, unix.SOCK_STREAM, -1), "descriptor 3 (web): does not listen"},
		{one, file, "descriptor 3 (web): is no socket"},
		{"LISTEN_PID=$$ LISTEN_FDS=2", socketFile(t, unix.AF_UNIX, unix.SOCK_STREAM, 1), "descriptor 4: is no socket"},
		{"LISTEN_PID=$$ LISTEN_FDS=-1", file, `LISTEN_FDS="-1" is no number from 0 to 256`},
		{"LISTEN_PID=$$ LISTEN_FDS=1000", file, `LISTEN_FDS="1000" is no number from 0 to 256`},
		{"LISTEN_PID=$$ LISTEN_FDS=1x", file, `LISTEN_FDS="1x" is no number`},
		{"LISTEN_PID=me LISTEN_FDS=1", file, `LISTEN_PID="me" is no number`},
	} {
		if out, err := activate(t, c.vars, c.file); err == nil || !strings.HasPrefix(out, "socket activation: "+c.want) {
			t.Errorf("%q, %v, want %q", out, err, c.want)
		}
	}
}

func TestSocketNames(t *testing.T) {
	for domain, want := range map[int]string{
		unix.AF_VSOCK: "a vsock socket", unix.AF_PACKET: "a socket of address family 17",
	} {
		if got := family(domain); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := socketType(unix.SOCK_RAW); got != "3" {
		t.Errorf("%q", got)
	}
}
