package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/client"
)

func TestNearest(t *testing.T) {
	names := []string{"add", "bridge", "conntrack", "df", "disks", "fs", "interfaces", "list", "routes", "unmount"}
	for word, want := range map[string]string{
		"route": "routes", "rotues": "routes", "ROUTES": "routes", "lsit": "list", "ls": "list", "ad": "add", "dsks": "disks", "ifaces": "interfaces",
		"bridges": "bridge", "conn": "conntrack", "umount": "unmount", "x": "", "": "", "frobnicate": "", "zz": "", "addr": "add", "ddi": "",
	} {
		if got, _ := nearest(word, names); got != want {
			t.Errorf("%q: %q, not %q", word, got, want)
		}
	}
}

// One slip of each kind is one, and the distance is the same both ways.
func TestSlips(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "abxc", 1}, {"abc", "ac", 1}, {"abc", "axc", 1}, {"ca", "abc", 3}, {"kitten", "sitting", 3}} {
		if got := slips(c.a, c.b); got != c.want {
			t.Errorf("%q, %q: %d, not %d", c.a, c.b, got, c.want)
		}
	}
	word := rapid.StringOfN(rapid.RuneFrom([]rune("abcd")), 0, 8, -1)
	rapid.Check(t, func(t *rapid.T) {
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		if slips(a, b) != slips(b, a) || (slips(a, b) == 0) != (a == b) || slips(a, b) > max(len(a), len(b)) {
			t.Fatalf("%d and %d", slips(a, b), slips(b, a))
		}
	})
}

// Every verb is found by its last word alone.
func TestVerbsAreSuggested(t *testing.T) {
	root := newTree()
	for _, v := range verbs {
		words := v.words()
		last := words[len(words)-1]
		if got := suggestion(root, last); !strings.Contains(got, last) {
			t.Errorf("%s: %q suggests %q", v.method, last, got)
		}
	}
}

func TestTimes(t *testing.T) {
	for text, want := range map[string]time.Duration{"5": 5 * time.Second, "0": 0, "500ms": 500 * time.Millisecond, "1m30s": 90 * time.Second, "-1s": -1, "x": -1, "": -1, "5 s": -1, "1e9": -1} {
		var d duration
		err := d.Set(text)
		if (err == nil) != (want >= 0) || err == nil && time.Duration(d) != want {
			t.Errorf("%q: %v, %v", text, time.Duration(d), err)
		}
	}
}

func TestHints(t *testing.T) {
	unreachable := func(cause error) error { return fmt.Errorf("x: %w: %w", client.ErrUnreachable, cause) }
	for _, c := range []struct {
		err  error
		want string
	}{
		{unreachable(fs.ErrPermission), "may not open"},
		{unreachable(fs.ErrNotExist), "is the server running"},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), "--timeout"},
		{errors.New("x"), ""},
	} {
		if got := hintFor(c.err); !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%v: %q", c.err, got)
		}
	}
}

// People get the rules of a firewall in words, unless they ask for none, or where the node has no nft for them.
func TestFirewallInWords(t *testing.T) {
	testhost.Root(t)
	testhost.Tool(t, "nft", "nftables")
	w := newWorld(t)
	w.ns.Run("nft", "add table inet t; add chain inet t c { type filter hook input priority 0; }; add rule inet t c tcp dport 22 accept comment \"ssh\"")
	const words = `tcp dport 22 accept comment "ssh"`
	for _, args := range [][]string{{}, {"--family", "inet"}, {"-o", "wide"}} {
		if out := w.must(t, append([]string{"net", "firewall"}, args...)...); !strings.Contains(out, words) {
			t.Errorf("%q: %s", args, out)
		}
	}
	for _, args := range [][]string{{"--text=false"}, {"-o", "json"}, {"-o", "jsonl"}} {
		if out := w.must(t, append([]string{"net", "firewall"}, args...)...); strings.Contains(out, words) || strings.Contains(out, "tcp dport 22 accept") {
			t.Errorf("%q: %s", args, out)
		}
	}
	server := &exampleServer{answer: []byte(`{"items":[]}`), lacks: "text"}
	if _, stderr, code := runHere(t, server.listen(t), "net", "firewall"); code != 0 {
		t.Errorf("without nft there: exit %d: %s", code, stderr)
	}
	if _, params := server.called(); len(params) > 0 {
		t.Errorf("asked at last for %s", params)
	}
}

// What is watched keeps its top in sight, whatever its length.
func TestFitted(t *testing.T) {
	for _, c := range []struct {
		text  string
		lines int
		want  string
	}{
		{"a\nb\nc\n", 0, "a\nb\nc\n"}, {"a\nb\nc\n", 4, "a\nb\nc\n"}, {"a\nb\nc\nd\n", 4, "a\nb\n… 2 more lines\n"}, {"a\nb\nc\n", 3, "a\n… 2 more lines\n"}, {"", 5, ""},
	} {
		if got := string(fitted([]byte(c.text), c.lines)); got != c.want {
			t.Errorf("%q in %d lines: %q", c.text, c.lines, got)
		}
	}
}
