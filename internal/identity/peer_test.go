package identity

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/acl"
)

// dialEnv makes the test binary a client: it connects to the socket that the variable names and stays until
// its standard input ends.
const dialEnv = "IDENTITY_TEST_DIAL"

func TestMain(m *testing.M) {
	if path := os.Getenv(dialEnv); path != "" {
		os.Exit(dial(path))
	}
	os.Exit(m.Run())
}

func dial(path string) int {
	c, err := net.Dial("unix", path)
	if err != nil {
		os.Stderr.WriteString(err.Error())
		return 1
	}
	defer c.Close()
	io.Copy(io.Discard, os.Stdin)
	return 0
}

// pair returns the two ends of a socketpair(2).
func pair(t *testing.T) (net.Conn, net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		ends[i] = c
	}
	return ends[0], ends[1]
}

// noOverflow are ids that no process here has.
var noOverflow = overflow{uid: noID - 1, gid: noID - 1}

// self is this process as a peer.
func self(t *testing.T) Peer {
	t.Helper()
	groups, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	gids := []uint32{uint32(os.Getegid())}
	for _, g := range groups {
		gids = append(gids, uint32(g))
	}
	slices.Sort(gids)
	return Peer{Local: true, HasUID: true, UID: uint32(os.Geteuid()), GIDs: slices.Compact(gids), PID: os.Getpid()}
}

func TestPeerOfSocketpair(t *testing.T) {
	here, there := pair(t)
	for _, c := range []net.Conn{here, there} {
		got, err := peerOf(c, noOverflow)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(self(t), got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	if _, err := PeerOf(here); err != nil {
		t.Error(err)
	}
}

// A peer whose uid has no name here is nobody's, but local.
func TestPeerOfOverflow(t *testing.T) {
	here, _ := pair(t)
	want := Peer{Local: true, PID: os.Getpid()}
	got, err := peerOf(here, overflow{uid: uint32(os.Geteuid()), gid: noID - 1})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if caller := got.Caller(); caller.String() != "anonymous" || !caller.Local {
		t.Errorf("its caller is %+v", caller)
	}
	got, err = peerOf(here, overflow{uid: noID - 1, gid: uint32(os.Getegid())})
	if err != nil || slices.Contains(got.GIDs, uint32(os.Getegid())) || !got.HasUID {
		t.Errorf("with the overflow gid: %+v, %v", got, err)
	}
}

func TestPeerCaller(t *testing.T) {
	for _, test := range []struct {
		peer Peer
		want acl.Caller
	}{
		{Peer{}, acl.Caller{}},
		{Peer{Local: true, UID: 7, GIDs: []uint32{7}}, acl.Caller{Local: true}},
		{Peer{Local: true, HasUID: true, GIDs: []uint32{7}, PID: 3}, acl.Caller{Kind: acl.KindUID, GIDs: []uint32{7}, Local: true}},
	} {
		if diff := cmp.Diff(test.want, test.peer.Caller()); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", test.peer, diff)
		}
	}
}

// wrapped is a connection below which another lies.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

// opaque hides the connection below it.
type opaque struct{ net.Conn }

func TestPeerOfWrapped(t *testing.T) {
	here, _ := pair(t)
	for name, c := range map[string]net.Conn{
		"once":  wrapped{here},
		"twice": wrapped{wrapped{here}},
		"TLS":   tls.Server(here, &tls.Config{}),
	} {
		got, err := peerOf(c, noOverflow)
		if err != nil || !got.HasUID || got.UID != uint32(os.Geteuid()) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	// A Unix socket of which nothing can be learned is not taken for a nameless peer.
	if got, err := PeerOf(opaque{here}); err == nil || !strings.HasPrefix(err.Error(), "peer credentials: ") {
		t.Errorf("opaque: %+v, %v", got, err)
	}
	here.Close()
	if got, err := PeerOf(here); err == nil {
		t.Errorf("closed: %+v", got)
	}
}

// TCP is remote, over loopback too.
func TestPeerOfTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	got, err := PeerOf(server)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Peer{}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Another user's process connects, with more groups than the first buffer holds.
func TestPeerOfOtherUser(t *testing.T) {
	testhost.Root(t) // which can start a process of another user
	many := make([]uint32, 100)
	for i := range many {
		many[i] = uint32(70000 + 7*i)
	}
	for _, test := range []struct {
		name   string
		groups []uint32
		want   []uint32
	}{
		{"many groups", many, append([]uint32{4321}, many...)},
		{"no supplementary group", []uint32{}, []uint32{4321}},
		{"own group again", []uint32{4321, 27}, []uint32{27, 4321}},
		{"overflow group", []uint32{defaultOverflow, 27}, []uint32{27, 4321}},
	} {
		t.Run(test.name, func(t *testing.T) {
			cred := &syscall.Credential{Uid: 1234, Gid: 4321, Groups: test.groups}
			c, pid := acceptFrom(t, cred)
			got, err := peerOf(c, overflow{uid: defaultOverflow, gid: defaultOverflow})
			if err != nil {
				t.Fatal(err)
			}
			want := Peer{Local: true, HasUID: true, UID: 1234, GIDs: test.want, PID: pid}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("overflow uid", func(t *testing.T) {
		c, pid := acceptFrom(t, &syscall.Credential{Uid: defaultOverflow, Gid: 4321})
		got, err := peerOf(c, overflow{uid: defaultOverflow, gid: defaultOverflow})
		if diff := cmp.Diff(Peer{Local: true, PID: pid}, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	})
}

// acceptFrom starts a process with the given ids that connects to a socket here, and returns this end.
func acceptFrom(t *testing.T, cred *syscall.Credential) (net.Conn, int) {
	t.Helper()
	dir := publicDir(t)
	path := filepath.Join(dir, "sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(filepath.Join(dir, "client"))
	cmd.Dir = dir
	cmd.Env = []string{dialEnv + "=" + path}
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); cmd.Wait() })
	l.SetDeadline(time.Now().Add(20 * time.Second))
	c, err := l.Accept()
	if err != nil {
		t.Fatalf("%v; the client says %q", err, said.String())
	}
	t.Cleanup(func() { c.Close() })
	return c, cmd.Process.Pid
}

// publicDir is a folder that every user can reach, with a copy of this test binary in it.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "identity")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "client"), binary, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestReadOverflow(t *testing.T) {
	write := func(uid, gid string) string {
		proc := t.TempDir()
		dir := filepath.Join(proc, "sys/kernel")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"overflowuid": uid, "overflowgid": gid} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return proc
	}
	for _, test := range []struct {
		proc string
		want overflow
	}{
		{write("65534\n", "65533\n"), overflow{65534, 65533}},
		{write("1000\n", "4294967294\n"), overflow{1000, 4294967294}},
		{write("", "-1\n"), overflow{defaultOverflow, defaultOverflow}},
		{t.TempDir(), overflow{defaultOverflow, defaultOverflow}},
	} {
		if got := readOverflow(test.proc); got != test.want {
			t.Errorf("got %v, want %v", got, test.want)
		}
	}
}
