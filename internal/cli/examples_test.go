package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"go.yaml.in/yaml/v3"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/internal/rpcserver"
	"github.com/geomind/my_os_server/pkg/registry"
)

// exampleServer answers each call with the result that the table's example of it has, behind the daemon's own
// pipeline, and remembers the params.
type exampleServer struct {
	mu      sync.Mutex
	answer  []byte
	answers [][]byte // what it answers first, one call after another
	method  string
	params  []byte
	lacks   string // a param for which it says that a tool is missing
}

func (s *exampleServer) Call(_ context.Context, m *registry.Method, _ any, raw []byte, out *registry.Out) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.method, s.params = m.Name, bytes.Clone(raw)
	if s.lacks != "" && memberOf(raw, s.lacks) != nil {
		return &registry.ToolMissingError{ToolMissingData: registry.ToolMissingData{Tool: "nft"}}
	}
	if len(s.answers) > 0 {
		s.answer, s.answers = s.answers[0], s.answers[1:]
	}
	out.Buf = append(out.Buf, s.answer...)
	return nil
}

// answerWith sets what it answers from now on.
func (s *exampleServer) answerWith(result []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = result
}

// called is the last call.
func (s *exampleServer) called() (method string, params []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.method, s.params
}

// listen starts the server and returns its socket.
func (s *exampleServer) listen(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cli")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	server, err := rpcserver.New(rpcserver.Options{Backend: s, DaemonUID: uint32(os.Geteuid()), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// runHere runs a command line in this process and returns what it printed.
func runHere(t *testing.T, socket string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var files [2]*os.File
	for i := range files {
		f, err := os.CreateTemp(t.TempDir(), "out")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files[i] = f
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	getenv := func(name string) string {
		return map[string]string{"COLUMNS": "100"}[name]
	}
	code = newSession(null, files[0], files[1], getenv).run(t.Context(), append([]string{"--socket", socket}, args...))
	var texts [2]string
	for i, f := range files {
		b, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = string(b)
	}
	return texts[0], texts[1], code
}

// Every example of the table, typed as the help and docs/cli.md show it, is the call that the table has; and
// its result comes out byte for byte as json, means the same as yaml, and fits the width as a table.
func TestExamplesRun(t *testing.T) {
	var d struct {
		Methods []struct {
			Name     string
			Examples []struct {
				Params []struct {
					Name  string
					Value json.RawMessage
				}
				Result struct{ Value json.RawMessage }
			}
		}
	}
	if err := json.Unmarshal(registry.Document(), &d); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	server := new(exampleServer)
	socket := server.listen(t)
	n := 0
	for _, m := range d.Methods {
		if strings.HasPrefix(m.Name, "rpc.") {
			continue // those the pipeline answers itself
		}
		for i, e := range m.Examples {
			line := verbOf(m.Name).examples[i].line + yesFor(verbOf(m.Name))
			if !bytes.Contains(page, []byte("\n    "+Name+" "+line+"\n")) {
				t.Errorf("docs/cli.md does not have %s", line)
			}
			want := map[string]json.RawMessage{}
			for _, p := range e.Params {
				want[p.Name] = p.Value
			}
			server.answerWith(e.Result.Value)
			stdout, stderr, code := runHere(t, socket, append(shellWords(line), "-o", "json")...)
			if code != 0 || stdout != string(e.Result.Value)+"\n" {
				t.Errorf("%s: exit %d: %s%s", line, code, stderr, cmp.Diff(string(e.Result.Value)+"\n", stdout))
			}
			if method, got := server.called(); method != m.Name || !sameJSON(t, want, got) {
				t.Errorf("%s: called %s %s", line, method, got)
			}
			checkForms(t, socket, line, e.Result.Value)
			n++
		}
	}
	if n < 100 {
		t.Errorf("only %d examples", n)
	}
}

// sameJSON tells whether the params are those of the example.
func sameJSON(t *testing.T, want map[string]json.RawMessage, got []byte) bool {
	t.Helper()
	whole, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 {
		got = []byte("{}")
	}
	var a, b any
	if json.Unmarshal(whole, &a) != nil || json.Unmarshal(got, &b) != nil {
		return false
	}
	return cmp.Equal(a, b)
}

// checkForms prints the result in the other forms.
func checkForms(t *testing.T, socket, line string, result []byte) {
	t.Helper()
	for _, format := range formats {
		stdout, stderr, code := runHere(t, socket, append(shellWords(line), "-o", format)...)
		if code != 0 {
			t.Errorf("%s -o %s: exit %d: %s", line, format, code, stderr)
		}
		switch format {
		case "yaml":
			var fromYAML, fromJSON any
			if err := yaml.Unmarshal([]byte(stdout), &fromYAML); err != nil {
				t.Errorf("%s: %v:\n%s", line, err, stdout)
			}
			if err := yaml.Unmarshal(result, &fromJSON); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(fromJSON, fromYAML); diff != "" {
				t.Errorf("%s -o yaml: %s", line, diff)
			}
		case "jsonl":
			for _, row := range strings.Split(strings.TrimSpace(stdout), "\n") {
				if row != "" && jsonwire.Valid([]byte(row)) != nil {
					t.Errorf("%s -o jsonl: %s", line, row)
				}
			}
		case "table", "wide":
			if strings.Contains(stdout, "%!") || clean(strings.ReplaceAll(stdout, "\n", " ")) != strings.ReplaceAll(stdout, "\n", " ") {
				t.Errorf("%s -o %s:\n%s", line, format, stdout)
			}
		}
	}
}

// What docs/cli.md and the help show of the other verbs can be typed: verb, flags and arguments are there.
func TestOtherExamplesCanBeTyped(t *testing.T) {
	page, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, line := range strings.Split(string(page), "\n") {
		i := strings.Index(line, Name+" ")
		if !strings.HasPrefix(line, "    ") || i < 0 || strings.Contains(line, "[flags]") {
			continue
		}
		command, _, _ := strings.Cut(line[i+len(Name)+1:], " >")
		command, _, _ = strings.Cut(command, " <")
		command, _, _ = strings.Cut(command, " | ")
		args := spelledOut(shellWords(command))
		c, rest, err := newTree().Find(args)
		if err == nil {
			c.InitDefaultHelpFlag()
			err = c.ParseFlags(rest)
		}
		if err != nil || !c.HasParent() {
			t.Errorf("%s: %v", strings.TrimSpace(line), err)
		}
		n++
	}
	if n < 100 {
		t.Errorf("only %d lines", n)
	}
}
