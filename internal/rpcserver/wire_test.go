package rpcserver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sourcegraph/jsonrpc2"

	"github.com/geomind/my_os_server/pkg/registry"
)

var update = flag.Bool("update", false, "write the answers that come into testdata/wire")

// wireFolder has the conversations that TestWire holds with a server. Its README tells their form.
const wireFolder = "../../testdata/wire"

// wireFile is one file of conversations.
type wireFile struct {
	head   []string // what stands before the first conversation
	policy string   // the ACL that its server has; "": the default
	cases  []*wireCase
}

// wireCase is one conversation, on a connection of its own.
type wireCase struct {
	title string
	notes []string
	turns []*wireTurn
}

// wireTurn is one thing said by the client and what the server says to it.
type wireTurn struct {
	sent, came []string // lines of the file
}

func readWireFile(t testing.TB, path string) *wireFile {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := &wireFile{}
	var c *wireCase
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "== "):
			c = &wireCase{title: line[3:]}
			f.cases = append(f.cases, c)
		case c == nil:
			f.head = append(f.head, line)
			if rule, ok := strings.CutPrefix(line, "! "); ok {
				f.policy += rule + "\n"
			}
		case strings.HasPrefix(line, ">"):
			if n := len(c.turns); n == 0 || len(c.turns[n-1].came) > 0 {
				c.turns = append(c.turns, &wireTurn{})
			}
			turn := c.turns[len(c.turns)-1]
			turn.sent = append(turn.sent, line)
		case strings.HasPrefix(line, "<"):
			if len(c.turns) == 0 {
				t.Fatalf("%s: %s: an answer without a request", path, c.title)
			}
			turn := c.turns[len(c.turns)-1]
			turn.came = append(turn.came, line)
		case strings.HasPrefix(line, "#"):
			c.notes = append(c.notes, line)
		case line != "":
			t.Fatalf("%s: %s: %q is no line of a conversation", path, c.title, line)
		}
	}
	return f
}

// write writes the file, with its answers as they are now.
func (f *wireFile) write(t *testing.T, path string) {
	t.Helper()
	var b strings.Builder
	b.WriteString(strings.Join(f.head, "\n") + "\n")
	for i, c := range f.cases {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "== %s\n", c.title)
		for _, note := range c.notes {
			b.WriteString(note + "\n")
		}
		for _, turn := range c.turns {
			b.WriteString(strings.Join(append(turn.sent, turn.came...), "\n") + "\n")
		}
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// unfold makes the bytes of lines that begin with mark.
func unfold(t testing.TB, lines []string, mark byte) string {
	t.Helper()
	var head, body []string
	var raw strings.Builder
	inBody, short := false, false
	for _, line := range lines {
		line = line[1:]
		switch {
		case strings.HasPrefix(line, `"`):
			s, err := strconv.Unquote(line)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			raw.WriteString(s)
		case line != "" && line[0] == mark:
			short, body = true, append(body, strings.TrimPrefix(line[1:], " "))
		case inBody:
			body = append(body, strings.TrimPrefix(line, " "))
		default:
			line = strings.TrimPrefix(line, " ")
			inBody = line == ""
			head = append(head, line)
		}
	}
	text := strings.Join(body, "\n")
	if mark == '<' {
		text = strings.ReplaceAll(text, "uid:*", fmt.Sprintf("uid:%d", os.Geteuid()))
	}
	switch {
	case raw.Len() > 0:
		_, body, _ := strings.Cut(raw.String(), "\r\n\r\n")
		return measured(raw.String(), body)
	case short && mark == '>':
		head = []string{"POST /rpc HTTP/1.1", "Host: localhost", "Content-Length: *", ""}
	case short && text == "":
		head = []string{"HTTP/1.1 204 No Content", "Date: *", ""}
	case short:
		head = []string{"HTTP/1.1 200 OK", "Content-Type: application/json", "Date: *", "Content-Length: *", ""}
	}
	return measured(strings.Join(head, "\r\n")+"\r\n"+text, text)
}

// measured fills the length of a body in where the message leaves it open.
func measured(message, body string) string {
	return strings.Replace(message, "Content-Length: *", fmt.Sprintf("Content-Length: %d", len(body)), 1)
}

// fold is the inverse of unfold for an answer: the shortest lines that mean its bytes.
func fold(answer string) []string {
	head, body, _ := strings.Cut(answer, "\r\n\r\n")
	plain := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: *\r\nContent-Length: %d", len(body))
	switch {
	case answer == "":
		return []string{"<"}
	case head == plain:
		return strings.Split("<< "+strings.ReplaceAll(ownUID.ReplaceAllString(body, "uid:*"), "\n", "\n<< "), "\n")
	case answer == "HTTP/1.1 204 No Content\r\nDate: *\r\n\r\n":
		return []string{"<<"}
	}
	lines := append(strings.Split(head, "\r\n"), "")
	if body != "" {
		lines = append(lines, strings.Split(body, "\n")...)
	}
	for i, line := range lines {
		lines[i] = strings.TrimRight("< "+line, " ")
	}
	return lines
}

// What is never twice the same becomes an asterisk.
var (
	dates     = regexp.MustCompile(`\r\nDate: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n`)
	incidents = regexp.MustCompile(`"incident_id":"[0-9a-f]{16}"`)
	ownUID    = regexp.MustCompile(fmt.Sprintf(`\buid:%d\b`, os.Geteuid())) // in the files uid:*
)

func normalize(answer string) string {
	answer = dates.ReplaceAllString(answer, "\r\nDate: *\r\n")
	return incidents.ReplaceAllString(answer, `"incident_id":"****************"`)
}

// TestWire holds the conversations of testdata/wire with a server, byte by byte. With -update it writes
// down what the server says instead of comparing it.
func TestWire(t *testing.T) {
	total := 0
	for _, path := range wireFiles(t) {
		f := readWireFile(t, path)
		total += len(f.cases)
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			o := Options{Backend: backend(wireBackend)}
			if f.policy != "" {
				o.Policy = parsePolicy(t, f.policy)
			}
			s := serve(t, o)
			for _, c := range f.cases {
				t.Run(c.title, func(t *testing.T) { c.hold(t, s) })
			}
			if *update {
				f.write(t, path)
			}
		})
	}
	if total < 80 {
		t.Errorf("%d conversations, and there must be 80", total)
	}
}

// wireFiles are the paths of the conversations.
func wireFiles(tb testing.TB) []string {
	tb.Helper()
	paths, err := filepath.Glob(filepath.Join(wireFolder, "*.txt"))
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no conversations in %s: %v", wireFolder, err)
	}
	return paths
}

// hold holds the conversation.
func (c *wireCase) hold(t *testing.T, s *testServer) {
	conn := s.dial(t)
	for i, turn := range c.turns {
		if _, err := io.WriteString(conn, unfold(t, turn.sent, '>')); err != nil {
			t.Fatal(err)
		}
		if i == len(c.turns)-1 {
			if err := conn.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			turn.compare(t, readAll(t, conn))
			return
		}
		want := unfold(t, turn.came, '<')
		if *update {
			turn.compare(t, readSome(t, conn))
			continue
		}
		got := make([]byte, len(strings.ReplaceAll(want, "Date: *", "Date: "+time.RFC1123)))
		if _, err := io.ReadFull(conn, got); err != nil {
			t.Fatalf("%v after %q, want %q", err, got, want)
		}
		turn.compare(t, string(got))
	}
}

// compare checks an answer, or takes it over.
func (turn *wireTurn) compare(t *testing.T, got string) {
	t.Helper()
	got = normalize(got)
	if *update {
		turn.came = fold(got)
		return
	}
	if diff := cmp.Diff(unfold(t, turn.came, '<'), got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

// readAll reads until the server ends the connection, in whatever way.
func readAll(t *testing.T, conn net.Conn) string {
	t.Helper()
	got, err := io.ReadAll(conn)
	if err != nil && !bytes.Contains([]byte(err.Error()), []byte(syscall.ECONNRESET.Error())) {
		t.Fatalf("%v after %q", err, got)
	}
	return string(got)
}

// readSome reads what comes at once.
func readSome(t *testing.T, conn net.Conn) string {
	t.Helper()
	b := make([]byte, 64<<10)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// wireBackend answers most methods with what it was asked. vol.usage fails in as many ways as it has paths.
func wireBackend(ctx context.Context, m *registry.Method, params any, raw []byte, out *registry.Out) error {
	if p, ok := params.(*registry.VolUsageParams); ok {
		return wireFailure(p.Path)
	}
	out.Buf = append(out.Buf, `{"method":"`...)
	out.Buf = append(out.Buf, m.Name...)
	out.Buf = append(out.Buf, '"')
	if raw != nil {
		out.Buf = append(append(out.Buf, `,"params":`...), raw...)
	}
	out.Buf = append(out.Buf, '}')
	return nil
}

// lacking is an error of a system call that needs a capability.
type lacking struct {
	error
	capability string
}

func (l *lacking) Capability() string { return l.capability }
func (l *lacking) Unwrap() error      { return l.error }

func wireFailure(path string) error {
	switch path {
	case "/absent":
		return &os.PathError{Op: "statfs", Path: path, Err: syscall.ENOENT}
	case "/forbidden":
		return fmt.Errorf("statfs %s: %w", path, syscall.EACCES)
	case "/privileged":
		return fmt.Errorf("quota %s: %w", path, &lacking{syscall.EPERM, "CAP_SYS_ADMIN"})
	case "/unknown-errno":
		return fmt.Errorf("statfs: %w", syscall.Errno(4095))
	case "/busy":
		return fmt.Errorf("usage: %w", &registry.BusyError{BusyData: registry.BusyData{Holders: []registry.Holder{}}, Message: "it is \"held\"\n\xff"})
	case "/tool":
		return &registry.OSError{OsErrorData: registry.OsErrorData{Op: "btrfs", Errno: "exit_1", Text: registry.Some("ERROR: not a btrfs filesystem")}, Message: "btrfs failed"}
	case "/rule":
		return &registry.ParamsError{Faults: []registry.Fault{{Path: "path", Message: "must be on a filesystem"}}}
	case "/upstream":
		data := json.RawMessage(`{"kind": "theirs"}`)
		return fmt.Errorf("upstream: %w", &jsonrpc2.Error{Code: -32099, Message: "as they say", Data: &data})
	case "/bare-upstream":
		return &jsonrpc2.Error{Code: 7, Message: "no data"}
	case "/timeout":
		return fmt.Errorf("statfs: %w", context.DeadlineExceeded)
	case "/panic":
		panic("a handler's mistake")
	}
	return errors.New("nobody expected this: secret detail")
}
