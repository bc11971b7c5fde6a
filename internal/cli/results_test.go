package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/geomind/my_os_server/internal/testhost"
)

// raw calls a method by hand and returns the result's bytes, or nil where the server answers an error.
func (w *world) raw(t *testing.T, method string) []byte {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", w.socket)
	}}}
	defer c.CloseIdleConnections()
	res, err := c.Post("http://localhost/rpc", "application/json", strings.NewReader(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q}`, method)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Result json.RawMessage }
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Result
}

// Every read that needs no params, in every format: json is the result byte for byte, jsonl and yaml hold the
// same, and tables come without a fault. What is different from one call to the next is compared without that.
func TestEveryReadInEveryFormat(t *testing.T) {
	testhost.Root(t)
	w := newWorld(t)
	n := 0
	for _, v := range verbs {
		if v.effect != "read" || len(v.params) > 0 && v.params[0].required || v.method == "rpc.discover" {
			continue
		}
		if w.raw(t, v.method) == nil {
			stdout, stderr, code := w.run(t, append(v.words(), "-o", "json")...)
			if code < 4 || code == exitUnreachable || !json.Valid([]byte(stderr)) || stdout != "" {
				t.Errorf("%s, which the server refuses: exit %d, %q, %q", v.method, code, stdout, stderr)
			}
			continue
		}
		n++
		for _, check := range []func(*testing.T, *verb) string{w.checkJSON, w.checkYAML, w.checkLines} {
			w.calmly(t, &v, check)
		}
		for _, format := range []string{"table", "wide", "name"} {
			if out := w.must(t, append(v.words(), "-o", format)...); strings.ContainsRune(out, '\x1b') || strings.Contains(out, "%!") {
				t.Errorf("%s -o %s: %s", v.method, format, out)
			}
		}
	}
	if n < 15 {
		t.Errorf("only %d reads work here", n)
	}
	t.Logf("%d reads", n)
}

// steady is text with every digit alike, since times and counters go on between two calls.
func steady(text string) string {
	var b strings.Builder
	digits := false
	for _, r := range text {
		if r >= '0' && r <= '9' {
			if !digits {
				b.WriteByte('0')
			}
			digits = true
			continue
		}
		digits = false
		b.WriteRune(r)
	}
	return b.String()
}

// calmly runs a check that compares two calls, again where they differ: disks and mounts of others may have
// come or gone between them.
func (w *world) calmly(t *testing.T, v *verb, check func(*testing.T, *verb) string) {
	t.Helper()
	difference := ""
	for range 8 {
		if difference = check(t, v); difference == "" {
			return
		}
	}
	t.Errorf("%s: %s", v.method, difference)
}

// checkJSON checks that json is the result byte for byte.
func (w *world) checkJSON(t *testing.T, v *verb) string {
	return differ(string(w.raw(t, v.method))+"\n", w.must(t, append(v.words(), "-o", "json")...))
}

func differ(a, b string) string {
	if steady(a) == steady(b) {
		return ""
	}
	return cmp.Diff(a, b)
}

func (w *world) checkYAML(t *testing.T, v *verb) string {
	t.Helper()
	var fromYAML, fromJSON any
	if err := yaml.Unmarshal([]byte(w.must(t, append(v.words(), "-o", "yaml")...)), &fromYAML); err != nil {
		return err.Error()
	}
	if err := yaml.Unmarshal([]byte(w.must(t, append(v.words(), "-o", "json")...)), &fromJSON); err != nil {
		t.Fatal(err)
	}
	return differ(fmt.Sprint(fromYAML), fmt.Sprint(fromJSON))
}

// checkLines checks that the lines of jsonl are the rows of json.
func (w *world) checkLines(t *testing.T, v *verb) string {
	t.Helper()
	stdout, whole := w.must(t, append(v.words(), "-o", "jsonl")...), w.must(t, append(v.words(), "-o", "json")...)
	if v.list == "" {
		return differ(whole, stdout)
	}
	var result map[string]json.RawMessage
	if err := json.Unmarshal([]byte(whole), &result); err != nil {
		t.Fatal(err)
	}
	var rows []json.RawMessage
	if err := json.Unmarshal(result[v.list], &rows); err != nil {
		t.Fatal(err)
	}
	want := ""
	for _, row := range rows {
		want += string(row) + "\n"
	}
	return differ(want, stdout)
}

// drawJSON makes a JSON value: an object, as results are.
func drawJSON(t *rapid.T, depth int) any {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"yes", "null", "~", "1.0", "12:34:56", "a: b", "- x", "", " x", "#", "x #y", "\x1b[31m", "2026-01-01", "0x1f", "é", "\u202e", "<<", "=", "!tag", "&a", "*a", "on", "Y"}))
	if depth == 0 {
		return rapid.OneOf(text.AsAny(), rapid.Int64Range(-1<<53+1, 1<<53-1).AsAny(), rapid.Bool().AsAny()).Draw(t, "scalar")
	}
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		out := []any{}
		for range rapid.IntRange(0, 3).Draw(t, "elements") {
			out = append(out, drawJSON(t, depth-1))
		}
		return out
	case 1:
		return drawJSON(t, 0)
	}
	out := map[string]any{}
	for range rapid.IntRange(0, 3).Draw(t, "members") {
		out[text.Draw(t, "name")] = drawJSON(t, depth-1)
	}
	return out
}

// Whatever a result is, its YAML reads back as the same.
func TestYAMLIsTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, err := json.Marshal(drawJSON(t, 4))
		if err != nil {
			t.Fatal(err)
		}
		text := appendYAML(nil, want, 0)
		var back any
		if err := yaml.Unmarshal(text, &back); err != nil {
			t.Fatalf("%s became\n%s\n%v", want, text, err)
		}
		got, err := json.Marshal(back)
		if err != nil {
			t.Fatalf("%s became\n%s\n%v", want, text, err)
		}
		var a, b any
		if json.Unmarshal(want, &a) != nil || json.Unmarshal(got, &b) != nil || !cmp.Equal(a, b) {
			t.Fatalf("%s became\n%s\n%s", want, text, got)
		}
	})
}

// A table never has a line that is wider than its room, loses no row, and lets nothing through that moves a cursor.
func TestTablesFit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		room := rapid.IntRange(0, 120).Draw(t, "room")
		n := rapid.IntRange(1, 8).Draw(t, "rows")
		var out bytes.Buffer
		o := &output{session: &session{}, w: newBuffered(&out), verb: &verb{}}
		o.session.global.output = formatTable
		tab := &table{w: o.w, room: room}
		for range n {
			row, err := json.Marshal(map[string]any{
				"name": rapid.StringN(1, 40, -1).Draw(t, "name"), "size_bytes": rapid.Int64Range(0, 1<<50).Draw(t, "size"),
				"text": rapid.String().Draw(t, "text"), "up": rapid.Bool().Draw(t, "up"),
			})
			if err != nil {
				t.Fatal(err)
			}
			tab.add(row)
		}
		tab.end()
		o.w.Flush()
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(lines) != n+1 {
			t.Fatalf("%d lines for %d rows:\n%s", len(lines), n, out.String())
		}
		for _, line := range lines {
			if room > 0 && cells(line) > room {
				t.Fatalf("%d cells of %d: %q", cells(line), room, line)
			}
			if clean(line) != line {
				t.Fatalf("not fit for a terminal: %q", line)
			}
		}
	})
}

// Columns that are all as narrow as they may be are not made narrower: those behind go.
func TestNoAddressIsCut(t *testing.T) {
	var out bytes.Buffer
	tab := &table{w: newBuffered(&out), room: 64, fixed: columnsFor("Interface")}
	tab.add([]byte(`{"name":"eth0","kind":"veth","admin_up":true,"oper_state":"up","addresses":[{"address":"192.0.2.10/24"},{"address":"2001:db8::10/64"}],"mac":"02:00:00:00:00:01","mtu":1500}`))
	tab.end()
	tab.w.Flush()
	if want := "NAME  KIND  UP    STATE  ADDRESSES           MAC\neth0  veth  true  up     192.0.2.10/24,2001:… 02:00:00:00:00:01\n"; strings.Join(strings.Fields(out.String()), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("%s", out.String())
	}
}

func TestUnits(t *testing.T) {
	for _, c := range []struct{ name, raw, want string }{
		{"size_bytes", "0", "0B"}, {"size_bytes", "1023", "1023B"}, {"size_bytes", "1024", "1.0KiB"}, {"size_bytes", "1073741824", "1.0GiB"},
		{"size_bytes", "1073741823", "1.0GiB"}, {"size_bytes", "9007199254740991", "8.0PiB"},
		{"speed_bps", "10000000000", "10Gbit/s"}, {"speed_bps", "2500000000", "2.5Gbit/s"}, {"speed_bps", "12", "12bit/s"}, {"rate_bps", "3145728", "3.15Mbit/s"},
		{"uptime_s", "59", "59s"}, {"uptime_s", "3661", "1h1m"}, {"uptime_s", "90061", "1d1h"},
		{"used_s", "290.746", "4m51s"}, {"used_s", "0.004", "0s"}, {"used_s", "1.24", "1.24s"}, {"percent", "12.5", "12.5"},
		{"started_at", `"2026-11-23T12:00:00.123456789Z"`, "2026-11-23 12:00:00Z"}, {"started_at", `"never"`, "never"},
		{"x", `["a","b"]`, "a,b"}, {"x", `{"a":1,"b_bytes":2048}`, "a=1 b_bytes=2.0KiB"}, {"x", `"\u001b[31m"`, `\x1b[31m`}, {"x", `"a\u202eb"`, `a\u202eb`},
	} {
		if got := cellText(c.name, []byte(c.raw)); got != c.want {
			t.Errorf("%s %s: %s, not %s", c.name, c.raw, got, c.want)
		}
	}
}
