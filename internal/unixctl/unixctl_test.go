package unixctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// running starts a real Open vSwitch and finds its switch.
func running(t *testing.T) (*testhost.OVS, *Daemon) {
	t.Helper()
	ovs := testhost.NewOVS(t, testhost.NewNetNS(t))
	return ovs, found(t, ovs, testhost.OVSSwitch)
}

func found(t *testing.T, ovs *testhost.OVS, program string) *Daemon {
	t.Helper()
	d, err := Find(ovs.RunDir, program)
	if err != nil {
		t.Fatal(err)
	}
	if d.PID != ovs.PID(program) || d.Socket != ovs.Control(program) {
		t.Errorf("found %+v, want process %d at %s", d, ovs.PID(program), ovs.Control(program))
	}
	return d
}

// TestDaemons: real daemons answer what ovs-appctl(8) prints, and refuse with what it complains.
func TestDaemons(t *testing.T) {
	ovs, vswitchd := running(t)
	for _, command := range [][]string{{"version"}, {"list-commands"}, {"ofproto/list"}, {"dpctl/list-commands"}} {
		got, err := vswitchd.Text(t.Context(), command[0], command[1:]...)
		if want := ovs.Appctl(command...); err != nil || strings.TrimRight(got, "\n") != strings.TrimRight(want, "\n") {
			t.Errorf("%v: %v\n%s\nwant\n%s", command, err, got, want)
		}
	}
	var refused *Refused
	if _, err := vswitchd.Text(t.Context(), "no/such"); !errors.As(err, &refused) || !strings.Contains(refused.Text, "not a valid command") {
		t.Errorf("%v", err)
	}
	if _, err := vswitchd.Text(t.Context(), "vlog/set", "a", "b", "c", `"`); !errors.As(err, &refused) || refused.Command != "vlog/set" {
		t.Errorf("%v", err)
	}
	text, err := found(t, ovs, testhost.OVSDatabase).Text(t.Context(), "ovsdb-server/list-dbs")
	if err != nil || !strings.Contains(text, "Open_vSwitch") {
		t.Errorf("%q %v", text, err)
	}
	enough := errors.New("enough")
	if err := vswitchd.Lines(t.Context(), func(string) error { return enough }, "list-commands"); err != enough {
		t.Errorf("%v, want the function's own error", err)
	}
}

// TestStopped: a daemon that hangs is waited for as long as the context says, however many wait on it already; it
// answers again when it goes on.
func TestStopped(t *testing.T) {
	ovs, d := running(t)
	ovs.Signal(testhost.OVSSwitch, syscall.SIGSTOP)
	for range 100 { // more than queue up in front of the socket
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
		_, err := d.Text(ctx, "version")
		cancel()
		var gone *Unavailable
		if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &gone) || gone.PID != d.PID {
			t.Fatalf("%v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := d.Text(ctx, "version"); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller who goes away: %v", err)
	}
	ovs.Signal(testhost.OVSSwitch, syscall.SIGCONT)
	if _, err := d.Text(t.Context(), "version"); err != nil {
		t.Errorf("after it goes on: %v", err)
	}
}

// TestDead: a daemon that was killed, and one that never was.
func TestDead(t *testing.T) {
	ovs, d := running(t)
	ovs.Kill(testhost.OVSSwitch)
	var gone *Unavailable
	if _, err := d.Text(t.Context(), "version"); !errors.As(err, &gone) || !errors.Is(err, syscall.ECONNREFUSED) || gone.Sent {
		t.Errorf("%v", err)
	}
	if _, err := Find(ovs.RunDir, "no-such-daemon"); !errors.Is(err, ErrNotRunning) {
		t.Errorf("%v", err)
	}
	ovs.Start(testhost.OVSSwitch)
	if text, err := found(t, ovs, testhost.OVSSwitch).Text(t.Context(), "version"); err != nil || !strings.Contains(text, "Open vSwitch") {
		t.Errorf("after a restart: %q %v", text, err)
	}
}

// pretend serves connections with f, as a daemon that is none.
func pretend(t *testing.T, f func(net.Conn)) *Daemon {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "d.pid"), []byte("12\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "d.12.ctl"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			f(conn)
			conn.Close()
		}
	}()
	d, err := Find(dir, "d")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestGarbage(t *testing.T) {
	request, answers := make(chan string, 1), make(chan string, 1)
	d := pretend(t, func(c net.Conn) {
		var asked json.RawMessage
		_ = json.NewDecoder(c).Decode(&asked)
		request <- string(asked)
		_, _ = io.WriteString(c, <-answers)
	})
	for text, want := range map[string]error{
		"HTTP/1.1 200 OK\r\n":    ErrProtocol,
		`{"result":"cut`:         io.ErrUnexpectedEOF,
		"":                       io.ErrUnexpectedEOF,
		`{"id":0,"result":"ok"}`: nil,
		`{"result":"` + strings.Repeat(strings.Repeat("x", 1000)+`\n`, textLimit/1000+1) + `"}`: ErrTooLarge,
	} {
		answers <- text
		_, err := d.Text(t.Context(), "c", "-m", `"x"`)
		var gone *Unavailable
		if !errors.Is(err, want) || want != nil && (!errors.As(err, &gone) || !gone.Sent || !strings.Contains(err.Error(), d.Socket)) {
			t.Errorf("%.40q: %v, want %v", text, err, want)
		}
		if got := <-request; got != `{"id":0,"method":"c","params":["-m","\"x\""]}` {
			t.Errorf("asked %s", got)
		}
	}
}

// TestFind: what a run dir may have.
func TestFind(t *testing.T) {
	for content, fine := range map[string]bool{"12\n": true, "12": true, "": false, "-3\n": false, "x\n": false, "0\n": false} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "ovs-vswitchd.pid"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Find(dir, "ovs-vswitchd")
		if fine != (err == nil) || !fine && !errors.Is(err, ErrNotRunning) {
			t.Errorf("%q: %+v %v", content, d, err)
		}
	}
	for _, name := range []string{"ovs-vswitchd.12.ctl", "ovs-vswitchd.ctl", "vswitchd.ctl"} {
		dir := t.TempDir()
		for file, content := range map[string]string{"ovs-vswitchd.pid": "12\n", name: ""} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if d, err := Find(dir, "ovs-vswitchd"); err != nil || d.Socket != filepath.Join(dir, name) {
			t.Errorf("%s: %+v %v", name, d, err)
		}
	}
	if _, err := Find(filepath.Join(t.TempDir(), fmt.Sprint(strings.Repeat("x", 300))), "d"); err == nil || errors.Is(err, ErrNotRunning) {
		t.Errorf("a path that cannot be: %v", err)
	}
}

// TestLongAnswers: however long an answer is and wherever it breaks off, the lines that came are handed on in order,
// and a caller who has enough ends the call.
func TestLongAnswers(t *testing.T) {
	const lines = 50_000
	var text strings.Builder
	for i := range lines {
		fmt.Fprintf(&text, `line %d%s\n`, i, strings.Repeat("x", i%97))
	}
	answers := make(chan string, 1)
	d := pretend(t, func(c net.Conn) {
		var asked json.RawMessage
		_ = json.NewDecoder(c).Decode(&asked)
		_, _ = io.WriteString(c, <-answers)
	})
	enough := errors.New("enough")
	for _, test := range []struct {
		answer string
		most   int
		want   int
		err    error
	}{
		{`{"id":0,"result":"` + text.String() + `","error":null}`, lines + 1, lines, nil},
		{`{"id":0,"result":"` + text.String(), lines + 1, lines, io.ErrUnexpectedEOF},
		{`{"id":0,"result":"` + text.String() + `\q`, lines + 1, lines, ErrProtocol},
		{`{"id":0,"result":"` + text.String() + `","error":null}`, 1, 1, enough},
		{`{"id":0,"result":"` + text.String() + `","error":null}`, lines / 2, lines / 2, enough},
	} {
		answers <- test.answer
		n := 0
		err := d.Lines(t.Context(), func(line string) error {
			if want := fmt.Sprintf("line %d%s", n, strings.Repeat("x", n%97)); line != want {
				t.Fatalf("line %d: %q, want %q", n, line, want)
			}
			if n++; n == test.most {
				return enough
			}
			return nil
		}, "c")
		if n != test.want || !errors.Is(err, test.err) {
			t.Errorf("%d lines and %v, want %d and %v", n, err, test.want, test.err)
		}
	}
}
