package daemon

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/config"
	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/proxy"
)

func env(vars ...string) func(string) string {
	return func(name string) string {
		for _, v := range vars {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

func TestStatePath(t *testing.T) {
	for _, c := range []struct {
		path string
		uid  int
		vars []string
		want string
	}{
		{"/srv/state", 0, nil, "/srv/state"},
		{"/srv/state", 1000, []string{"XDG_STATE_HOME=/x", "HOME=/h"}, "/srv/state"},
		{"", 0, []string{"XDG_STATE_HOME=/x", "HOME=/root"}, "/var/lib/my_os_server"},
		{"", 1000, []string{"XDG_STATE_HOME=/x", "HOME=/h"}, "/x/my_os_server"},
		{"", 1000, []string{"XDG_STATE_HOME=x", "HOME=/h"}, "/h/.local/state/my_os_server"},
		{"", 1000, []string{"HOME=h"}, ""},
		{"", 1000, nil, ""},
	} {
		got, err := statePath(c.path, c.uid, env(c.vars...))
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}

func TestStateOfOthers(t *testing.T) {
	testhost.Root(t)
	folder := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(folder, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := openState(folder, env(), state.Boot{}); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
		t.Errorf("%v", err)
	}
}

// TestHolder: whatever stands in a taken lock file, the message makes sense.
func TestHolder(t *testing.T) {
	for text, want := range map[string]string{
		"":              "another process",
		"x\n":           "another process",
		"4000000\n":     "process 4000000", // above the kernel's largest number
		"4000000000000": "process 4000000000000",
	} {
		f, err := os.Open(write(t, filepath.Join(t.TempDir(), "lock"), text))
		if err != nil {
			t.Fatal(err)
		}
		if got := holder(f); got != want && !strings.HasPrefix(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		f.Close()
	}
}

func TestOwnName(t *testing.T) {
	for host, want := range map[string]string{
		"node-7": "node-7", "n.example.org": "n.example.org",
		"localhost": "", "localhost.localdomain": "", "(none)": "", "": "", "a b": "", "a\nb": "",
	} {
		if got := ownName(host); got != want {
			t.Errorf("%q: %q", host, got)
		}
	}
}

func TestRecordedVersion(t *testing.T) {
	for _, c := range []struct {
		info debug.BuildInfo
		want string
	}{
		{debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "v1.2.3"},
		{debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "unknown"},
		{debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}, {Key: "vcs.modified", Value: "false"}}}, "0123456789ab"},
		{debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123"}, {Key: "vcs.modified", Value: "true"}}}, "0123-dirty"},
	} {
		if got := recorded(&c.info); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
	version = "v9"
	defer func() { version = "" }()
	if Version() != "v9" {
		t.Error(Version())
	}
}

// TestLimitsAreHandedOver: every default of the configuration reaches the pipeline, and none twice.
func TestLimitsAreHandedOver(t *testing.T) {
	c := config.Default()
	for _, v := range []reflect.Value{reflect.ValueOf(limits(c.Limits)), reflect.ValueOf(deadlines(c.Deadlines))} {
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if v.Field(i).IsZero() && name != "Grace" { // no operator's business
				t.Errorf("%s.%s: is not set", v.Type().Name(), name)
			}
		}
	}
	ls, given := reflect.ValueOf(&c.Limits).Elem(), map[int64]bool{}
	for i := range ls.NumField() {
		ls.Field(i).SetInt(int64(1000 + i))
	}
	handed := reflect.ValueOf(limits(c.Limits))
	for i := range handed.NumField() {
		given[handed.Field(i).Int()] = true
	}
	if len(given) != ls.NumField() {
		t.Errorf("%d of %d limits are handed over", len(given), ls.NumField())
	}
}

// TestFlagsKeysAndDocs: each flag is a key's or stands in the page, and each key's flag exists.
func TestFlagsKeysAndDocs(t *testing.T) {
	set := flag.NewFlagSet("x", flag.ContinueOnError)
	f := &flags{}
	f.define(set)
	f.defineMOS(set, Program{Upstreams: proxy.MOS, ServesAs: proxy.MOS})
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	set.VisitAll(func(f *flag.Flag) {
		if name := "-" + f.Name; !strings.Contains(string(page), "`-"+name) && !strings.Contains(string(page), "`"+name+"`") {
			t.Errorf("--%s is not in docs/configuration.md", f.Name)
		}
	})
	for _, k := range config.Keys() {
		if k.Flag != "" && set.Lookup(k.Flag) == nil {
			t.Errorf("%s: there is no flag --%s", k.Name, k.Flag)
		}
	}
}

// TestFlagsOverTheFile: each flag sets its key, whatever the file says, and no other.
func TestFlagsOverTheFile(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "c.toml"), `
socket_mode = "0600"
state_dir = "/file"
acl = "/file"
node_name = "file"
log = { level = "error", format = "json" }
limits.calls = 7
limits.calls_per_user = 7
`)
	t.Chdir("/")
	f, err := parseFlags(Program{Name: "x"}, []string{"--config", file, "--socket-mode=0660", "--no-hero-socket", "-state-dir", "flag", "--ovs-run-dir", "ovs", "--acl", "/flag", "--node-name", "flag", "--log-format", "console", "-v", "--socket", "/a", "--socket", "/b"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.configuration()
	if err != nil {
		t.Fatal(err)
	}
	want := config.Default()
	want.SocketMode, want.HeroSocket, want.StateDir, want.OVSRunDir, want.ACL, want.NodeName = "0660", false, "/flag", "/ovs", "/flag", "flag"
	want.Log = config.Log{Level: "debug", Format: "console"}
	want.Limits.Calls, want.Limits.CallsPerUser = 7, 7
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/a", "/b"}, f.sockets); diff != "" {
		t.Errorf("sockets (-want +got):\n%s", diff)
	}
}

// TestLogFormat: a terminal gets lines for people, everything else objects, unless asked otherwise.
func TestLogFormat(t *testing.T) {
	for format, isJSON := range map[string]bool{"auto": true, "json": true, "console": false} {
		path := write(t, filepath.Join(t.TempDir(), "log"), "")
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		log := newLogger(f, config.Log{Level: "info", Format: format})
		log.Debug().Msg("quiet")
		log.Info().Str("key", "value").Msg("loud")
		log.Close()
		f.Close()
		text, err := os.ReadFile(path)
		if err != nil || strings.HasPrefix(string(text), "{") != isJSON || strings.Contains(string(text), "quiet") || !strings.Contains(string(text), "loud") {
			t.Errorf("%s: %q, %v", format, text, err)
		}
	}
}

func TestIsTerminal(t *testing.T) {
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pty.Close()
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if !isTerminal(pty) || isTerminal(null) {
		t.Error("terminals are not told from other files")
	}
}
