package daemon

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
)

const readers = "[policy]\nanonymous_local = \"read\"\n"
const nobodys = "[policy]\nanonymous_local = \"none\"\n"

// TestLife: it says where it listens and to whom, answers, and leaves nothing behind but its state.
func TestLife(t *testing.T) {
	folder := world(t)
	p := command(t, []string{"--socket", folder + "/a.sock", "--socket", folder + "/sub/b.sock", "--state-dir", folder + "/state", "--no-hero-socket", "--node-name", "n7", "--socket-mode", "0640", "-v"})
	p.run(t)
	p.expect(t, "backend opened")
	p.expect(t, `"socket":"`+folder+`/a.sock"`, `"mode":"0640"`, "listening")
	p.expect(t, `"socket":"`+folder+`/sub/b.sock"`, "listening")
	p.expect(t, "testd is ready", `"state_dir":"`+folder+`/state"`, `"node":"n7"`, fmt.Sprintf(`"pid":%d`, p.Process.Pid))
	if all := strings.Join(p.seen, "\n"); !strings.Contains(all, "no ACL file: root and the daemon's own uid have admin") {
		t.Errorf("does not say which rules hold: %s", all)
	}
	for _, socket := range []string{"/a.sock", "/sub/b.sock"} {
		info, err := os.Stat(folder + socket)
		if err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("%v, %v", info, err)
		}
		wants(t, folder+socket, "rpc.health", "{}", "")
	}
	p.signal(t, syscall.SIGTERM)
	p.expect(t, "stopping")
	p.expect(t, "has ended")
	p.expect(t, "backend closed")
	if status := p.ends(t, 5*time.Second); status != 0 {
		t.Errorf("exit status %d", status)
	}
	left, err := filepath.Glob(folder + "/*")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{folder + "/a.sock.lock", folder + "/state", folder + "/sub"}
	if diff := cmp.Diff(want, left); diff != "" {
		t.Errorf("left behind (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(folder + "/state"); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("state folder: %v, %v", info, err)
	}
}

// TestStateThatCannotBeWritten: the host is still to be looked at, and the log says what does not work.
func TestStateThatCannotBeWritten(t *testing.T) {
	folder := world(t)
	p := command(t, []string{"--socket", folder + "/s", "--state-dir", "/sys/kernel/my_os_server", "--no-hero-socket"}).run(t)
	p.expect(t, "the state folder cannot be written", "/sys/kernel/my_os_server")
	p.expect(t, "testd is ready")
	wants(t, folder+"/s", "rpc.health", "{}", "")
	p.signal(t, syscall.SIGTERM)
	if status := p.ends(t, 5*time.Second); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// TestAsNobody: a plain user's daemon finds places of its own, and is told what to set where there are none.
func TestAsNobody(t *testing.T) {
	testhost.Root(t)
	folder := world(t)
	if err := os.Chown(folder, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	p := command(t, nil, "XDG_RUNTIME_DIR="+folder+"/run", "HOME="+folder).as(65534).run(t)
	p.expect(t, "testd is ready", `"state_dir":"`+folder+`/.local/state/my_os_server"`)
	wants(t, folder+"/run/my_os_server/rpc.sock", "net.status", "{}", "unsupported")
	p.signal(t, syscall.SIGINT)
	if status := p.ends(t, 5*time.Second); status != 0 {
		t.Errorf("exit status %d", status)
	}
	for want, env := range map[string][]string{
		"$XDG_RUNTIME_DIR": {"HOME=" + folder},
		"--state-dir":      {"XDG_RUNTIME_DIR=" + folder},
		"must be absolute": {"MY_OS_SERVER_SOCKET=x", "HOME=" + folder},
	} {
		said, status := refused(t, command(t, nil, env...).as(65534))
		if status != exitFailed || !strings.Contains(said, want) {
			t.Errorf("status %d, %q does not say %s", status, said, want)
		}
	}
}

// TestOneAtATime: the second daemon is told whose the state folder, or the socket, is.
func TestOneAtATime(t *testing.T) {
	folder := world(t)
	first := start(t, folder)
	for want, args := range map[string][]string{
		"state folder " + folder + "/state: in use by ": {"--socket", folder + "/other.sock", "--state-dir", folder + "/state"},
		"listen " + folder + "/rpc.sock: in use by ":    {"--socket", folder + "/rpc.sock", "--state-dir", folder + "/other"},
	} {
		said, status := refused(t, command(t, append(args, "--no-hero-socket")))
		if status != exitFailed || !strings.Contains(said, "testd: "+want) || !strings.Contains(said, fmt.Sprintf("(process %d)", first.Process.Pid)) {
			t.Errorf("status %d, %q, want %q and process %d", status, said, want, first.Process.Pid)
		}
	}
	wants(t, first.socket, "rpc.health", "{}", "")
}

// TestKilled: what a killed daemon leaves does not stop the next one.
func TestKilled(t *testing.T) {
	folder := world(t)
	first := start(t, folder)
	first.signal(t, syscall.SIGKILL)
	first.ends(t, 5*time.Second)
	wants(t, start(t, folder).socket, "rpc.health", "{}", "")
}

// TestDrain: a running call comes to its end, new callers find no socket, and one that would never end is
// given up in time.
func TestDrain(t *testing.T) {
	folder := world(t)
	p := start(t, folder, "--config", write(t, folder+"/c.toml", "[deadlines]\ndrain_s = 0.5\n"))
	kinds := make(chan string, 2)
	for _, c := range [][2]string{{"vol.usage", `{"path":"/"}`}, {"vol.list_mounts", "{}"}} {
		go func() {
			kind, err := call(p.socket, c[0], c[1])
			kinds <- fmt.Sprintf("%s %s %v", c[0], kind, err)
		}()
	}
	time.Sleep(100 * time.Millisecond)
	asked := time.Now()
	p.signal(t, syscall.SIGTERM)
	p.expect(t, "stopping")
	first := <-kinds
	if first != "vol.usage unsupported <nil>" {
		t.Errorf("%s", first)
	}
	if _, err := os.Lstat(p.socket); err == nil {
		t.Error("the socket is still there while calls end")
	}
	<-kinds // what becomes of a call that is given up is the pipeline's to say
	if status := p.ends(t, 5*time.Second); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if took := time.Since(asked); took < 400*time.Millisecond || took > 3*time.Second {
		t.Errorf("took %s, with half a second to drain", took)
	}
}

// TestSecondSignal: who is in a hurry is not kept waiting.
func TestSecondSignal(t *testing.T) {
	p := start(t, world(t))
	go call(p.socket, "vol.list_mounts", "{}")
	time.Sleep(100 * time.Millisecond)
	p.signal(t, syscall.SIGTERM)
	p.expect(t, "stopping")
	p.signal(t, syscall.SIGINT)
	if status := p.ends(t, 2*time.Second); status != 128+int(syscall.SIGINT) {
		t.Errorf("exit status %d", status)
	}
}

// TestStartIsRefused: on any doubt there is no daemon, and the reason is the last thing it says.
func TestStartIsRefused(t *testing.T) {
	folder := world(t)
	open := folder + "/open"
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		status int
		want   string
		args   []string
		env    []string
	}{
		{exitUsage, "-acl: must not be empty", []string{"--acl", ""}, nil},
		{exitUsage, "-socket: must not be empty", []string{"--socket", ""}, nil},
		{exitUsage, "-config: must not be empty", []string{"--config="}, nil},
		{exitUsage, "-frobnicate", []string{"--frobnicate"}, nil},
		{exitUsage, `"serve" is not expected here`, []string{"serve"}, nil},
		{exitUsage, "must be true or false", []string{"--verbose=loud"}, nil},
		{exitFailed, "--socket-mode: must be up to four octal digits", []string{"--socket-mode", "999"}, nil},
		{exitFailed, "--log-format: must be one of auto, console, json", []string{"--log-format", "xml"}, nil},
		{exitFailed, "--node-name: must be at most", []string{"--node-name", "a b"}, nil},
		{exitFailed, "no such file", []string{"--config", folder + "/none.toml"}, nil},
		{exitFailed, "--listen: \"8443\": must be [ADDRESS]:PORT", []string{"--listen", "8443"}, nil},
		{exitFailed, "tls.certificate and tls.key go together", []string{"--listen", ":8443", "--tls-key", "/k"}, nil},
		{exitFailed, "server certificate: stat /none.key: no such file", []string{"--listen", ":8443", "--tls-key", "/none.key", "--tls-certificate", "/none.crt"}, nil},
		{exitFailed, "no certificate in it", []string{"--listen", "127.0.0.1:8443", "--tls-client-ca", write(t, folder+"/ca.pem", "nothing")}, nil},
		{exitFailed, "listen tcp 192.0.2.77:8443: bind: cannot assign requested address", []string{"--listen", "192.0.2.77:8443"}, nil},
		{exitFailed, "bad.toml:2:1: limits.cals: there is no such key", []string{"--config", write(t, folder+"/bad.toml", "[limits]\ncals = 1\n")}, nil},
		{exitFailed, "acl: open " + folder + "/none.toml: no such file", []string{"--acl", folder + "/none.toml"}, nil},
		{exitFailed, "acl.toml:2: ", []string{"--acl", write(t, folder+"/acl.toml", "[policy]\nanonymous = \"read\"\n")}, nil},
		{exitFailed, "it is no regular file", []string{"--acl", folder}, nil},
		{exitFailed, "others may write there (mode 0777); run chmod go-w", []string{"--state-dir", open}, nil},
		{exitFailed, "not a directory", []string{"--state-dir", "/proc/version/x"}, nil},
		{exitFailed, "the kernel takes at most 107", []string{"--socket", folder + "/" + strings.Repeat("x", 100)}, nil},
		{exitFailed, "put a socket of their own in its place", []string{"--socket", open + "/s"}, nil},
		{exitFailed, "the backend does not want to", nil, []string{"DAEMON_TEST_FAIL=1"}},
		{exitFailed, `LISTEN_PID="x" is no number`, nil, []string{"LISTEN_PID=x", "LISTEN_FDS=1"}},
	} {
		args := append([]string{"--no-hero-socket", "--socket", folder + "/s", "--state-dir", folder + "/state"}, c.args...)
		said, status := refused(t, command(t, args, c.env...))
		last := said[strings.LastIndex(said, "\n")+1:]
		if status != c.status || !strings.HasPrefix(last, "testd: ") || !strings.Contains(last, c.want) {
			t.Errorf("%q %q: status %d, %q, want %q", c.args, c.env, status, said, c.want)
		}
		if _, err := os.Lstat(folder + "/s"); err == nil {
			t.Errorf("%q: left its socket", c.args)
		}
	}
}

func TestVersionAndHelp(t *testing.T) {
	out, err := command(t, []string{"--version"}).Output()
	want := fmt.Sprintf("(table 0.1.0, %s linux/%s)\n", runtime.Version(), runtime.GOARCH)
	if err != nil || !strings.HasPrefix(string(out), "testd ") || !strings.HasSuffix(string(out), want) {
		t.Errorf("%q, %v", out, err)
	}
	out, err = command(t, []string{"--help"}).Output()
	for _, line := range []string{"Usage: testd [FLAGS]\n", "  --socket PATH\n", "  -v, --verbose\n", "  --version\n", "  --acl FILE\n"} {
		if err != nil || !strings.Contains(string(out), line) {
			t.Errorf("%v: help lacks %q: %s", err, line, out)
		}
	}
}

// TestActivation: a passed socket is served in place of the default one, those that were asked for too,
// and its file is the service manager's to remove.
func TestActivation(t *testing.T) {
	folder := world(t)
	path := folder + "/passed.sock"
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := command(t, nil, "XDG_RUNTIME_DIR="+folder+"/unused")
	p.Path, p.Args = "/bin/sh", []string{"sh", "-c", fmt.Sprintf(
		`LISTEN_PID=$$ LISTEN_FDS=1 exec /proc/%d/exe --no-hero-socket --state-dir %s/state --socket %s --socket %s/asked.sock`,
		os.Getpid(), folder, path, folder)}
	p.ExtraFiles = []*os.File{file}
	p.run(t)
	p.expect(t, "socket of the service manager", path)
	p.expect(t, "testd is ready")
	wants(t, path, "rpc.health", "{}", "")
	wants(t, folder+"/asked.sock", "rpc.health", "{}", "")
	p.signal(t, syscall.SIGTERM)
	p.ends(t, 5*time.Second)
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(folder + "/asked.sock"); err == nil {
		t.Error("its own socket is still there")
	}
	if _, err := os.Lstat(folder + "/unused"); err == nil {
		t.Error("the default socket's folder was made")
	}
}

// inItsOwnPasswd makes the daemon's host one where root's home is another folder.
func (p *process) inItsOwnPasswd(t *testing.T, home string) *process {
	t.Helper()
	passwd := write(t, home+"/passwd", "root:x:0:0:root:"+home+":/bin/sh\n")
	p.Args = append([]string{"sh", "-c", `mount --make-rprivate / && mount --bind "$1" /etc/passwd && shift && exec "$@"`,
		"sh", passwd, fmt.Sprintf("/proc/%d/exe", os.Getpid())}, p.Args[1:]...)
	p.Path = "/bin/sh"
	p.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	return p
}

// TestHeroSocket: where the folder is there it is served too, and a daemon that finds it taken says how
// to do without.
func TestHeroSocket(t *testing.T) {
	testhost.Root(t)
	home := world(t)
	hero := home + "/hero/var/sockets"
	if err := os.MkdirAll(hero, 0o755); err != nil {
		t.Fatal(err)
	}
	p := command(t, []string{"--socket", home + "/a", "--state-dir", home + "/state"}, "HOME=/elsewhere").inItsOwnPasswd(t, home).run(t)
	p.expect(t, "testd is ready")
	wants(t, home+"/a", "rpc.health", "{}", "")
	wants(t, hero+"/hero_db_root_os.sock", "rpc.health", "{}", "")

	args := []string{"--socket", home + "/b", "--state-dir", home + "/state2"}
	said, status := refused(t, command(t, args).inItsOwnPasswd(t, home))
	if status != exitFailed || !strings.Contains(said, "(--no-hero-socket does without this one)") {
		t.Errorf("status %d, %s", status, said)
	}
	command(t, append(args, "--no-hero-socket")).inItsOwnPasswd(t, home).run(t).expect(t, "testd is ready")
}

// TestNotify: a service manager hears of every turn.
func TestNotify(t *testing.T) {
	folder := world(t)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: folder + "/notify", Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	heard := func() string {
		buf := make([]byte, 256)
		manager.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := manager.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	p := command(t, []string{"--socket", folder + "/s", "--state-dir", folder + "/state", "--no-hero-socket"}, "NOTIFY_SOCKET="+folder+"/notify").run(t)
	if got := heard(); got != "READY=1" {
		t.Errorf("%q", got)
	}
	p.signal(t, syscall.SIGHUP)
	if got := heard(); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("%q", got)
	}
	if got := heard(); got != "READY=1" {
		t.Errorf("%q", got)
	}
	p.signal(t, syscall.SIGTERM)
	if got := heard(); got != "STOPPING=1" {
		t.Errorf("%q", got)
	}
	p.ends(t, 5*time.Second)
}

// TestManagerIsGone: a service manager that does not listen costs nothing.
func TestManagerIsGone(t *testing.T) {
	folder := world(t)
	p := command(t, []string{"--socket", folder + "/s", "--state-dir", folder + "/state", "--no-hero-socket"}, "NOTIFY_SOCKET="+folder+"/notify").run(t)
	p.expect(t, "testd is ready")
	wants(t, folder+"/s", "rpc.health", "{}", "")
}

// TestLogReaderStalls: neither a full pipe nor one that nobody holds any more stops an answer.
func TestLogReaderStalls(t *testing.T) {
	for _, gone := range []bool{false, true} {
		folder := world(t)
		p := command(t, []string{"-v", "--socket", folder + "/s", "--state-dir", folder + "/state", "--no-hero-socket"})
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		p.Stderr = w
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		go func() { p.err = p.Wait(); close(p.waited) }()
		t.Cleanup(func() { p.Process.Kill(); <-p.waited })
		testhost.Eventually(t, "the socket is made", func() bool { _, err := os.Lstat(folder + "/s"); return err == nil })
		if gone {
			r.Close()
		}
		for range 1500 { // 64 KiB of log lines are soon full
			if kind, err := call(folder+"/s", "net.status", "{}"); err != nil || kind != "unsupported" {
				t.Fatalf("%q, %v", kind, err)
			}
		}
		p.signal(t, syscall.SIGTERM)
		if status := p.ends(t, 10*time.Second); status != 0 {
			t.Errorf("reader gone: %v, exit status %d", gone, status)
		}
	}
}
