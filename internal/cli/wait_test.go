package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// --wait stays until a scrub has ended, shows a bar meanwhile, and the pictures and the status say the same.
func TestWaitForAScrub(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	fs := testhost.NewBtrfs(t, testhost.BtrfsOptions{Label: "MOSCLI"})
	if err := os.WriteFile(filepath.Join(fs.Path, "data"), []byte(strings.Repeat("0123456789abcdef", 4<<20)), 0o600); err != nil {
		t.Fatal(err)
	}
	testhost.Command(t, "sync", "-f", fs.Path)
	w := newWorld(t)
	status := w.must(t, "vol", "scrub", "status", fs.Path)
	if !strings.Contains(status, "never") {
		t.Errorf("before: %s", status)
	}
	slowly(t, fs.Path)
	term := w.inTerminal(t, 120, "vol", "scrub", "start", fs.Path, "--wait")
	term.expect("running")
	if code := term.wait(); code != 0 {
		t.Fatalf("exit %d:\n%s", code, term.screen())
	}
	if !regexp.MustCompile(`\[#*-*\] +[0-9]+% running`).MatchString(term.screen()) || !strings.Contains(term.screen(), "finished") {
		t.Errorf("there was no bar, or no end:\n%q", term.screen())
	}
	if status := w.must(t, "vol", "scrub", "status", fs.Path); !strings.Contains(status, "finished") {
		t.Errorf("after: %s", status)
	}
	if picture := w.must(t, "vol", "tree"); !strings.Contains(picture, `btrfs "MOSCLI"`) || !strings.Contains(picture, "at "+fs.Path) {
		t.Errorf("the picture has no such filesystem:\n%s", picture)
	}
	// Elsewhere than on a terminal there is no bar, only the end.
	stdout, stderr, code := w.run(t, "vol", "scrub", "start", fs.Path, "--wait", "-o", "json")
	if code != 0 || !strings.HasPrefix(stdout, `{"changed":true`) || strings.ContainsAny(stderr, "#\r\x1b") || !strings.Contains(stderr, "finished") {
		t.Errorf("exit %d: %q, %q", code, stdout, stderr)
	}
}

// --wait stays until a balance has ended: then all data is in the profile that it was to be converted to.
func TestWaitForABalance(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	fs, small := testhost.NewBtrfs(t, testhost.BtrfsOptions{Size: 3 << 30, Data: "single"}), testhost.NewBtrfs(t, testhost.BtrfsOptions{Size: 1 << 30, Data: "single"})
	for _, name := range []string{"one", "two", "three"} {
		fs.Write(name, 32<<20)
	}
	testhost.Command(t, "fallocate", "-l", "256M", small.Path+"/full")
	small.Run("filesystem", "sync", small.Path)
	sum := testhost.Sum(t, fs.Path+"/three")
	profilesOf := func(fs *testhost.Btrfs) string {
		var data []string
		for line := range strings.Lines(fs.Run("filesystem", "df", fs.Path)) {
			if strings.HasPrefix(line, "Data") {
				data = append(data, strings.TrimSuffix(strings.Fields(line)[1], ":"))
			}
		}
		return strings.Join(data, " ")
	}
	profiles := func() string { return profilesOf(fs) }
	w := newWorld(t)
	stdout, stderr, code := w.run(t, "vol", "balance", "start", fs.Path, "--filters", "data.convert=dup", "--wait", "-o", "json")
	if code != 0 || !strings.HasPrefix(stdout, `{"changed":true`) || strings.ContainsAny(stderr, "#\r\x1b") || !strings.Contains(stderr, "finished") {
		t.Errorf("exit %d: %q, %q", code, stdout, stderr)
	}
	if got := profiles(); got != "DUP" {
		t.Errorf("it came back while the data was %s", got)
	}
	term := w.inTerminal(t, 120, "vol", "balance", "start", fs.Path, "--filters", "data.convert=single", "--force", "--wait")
	if code := term.wait(); code != 0 {
		t.Fatalf("exit %d:\n%s", code, term.screen())
	}
	if screen := term.screen(); strings.Contains(screen, " chunks\x1b") && !regexp.MustCompile(`\[#*-*\] +[0-9]+% running [0-9]+ of [0-9]+ chunks`).MatchString(screen) || !strings.Contains(screen, "finished") {
		t.Errorf("there was no bar, or no end:\n%q", screen)
	}
	if got := profiles(); got != "single" || testhost.Sum(t, fs.Path+"/three") != sum {
		t.Errorf("it came back while the data was %s, or a file has changed", got)
	}
	// Where there is no room for it, it fails, and so does the verb.
	if _, stderr, code := w.run(t, "vol", "balance", "start", small.Path, "--filters", "data.convert=dup", "--wait"); (code == 0) != (profilesOf(small) == "DUP") || code != 0 && !strings.Contains(stderr, "ENOSPC") && !strings.Contains(stderr, "no space") {
		t.Errorf("without room: exit %d with data %s: %q", code, profilesOf(small), stderr)
	}
	// What --wait finds at its end already is told in the same way.
	if _, stderr, code := w.run(t, "vol", "balance", "start", fs.Path, "--filters", "data.convert=single,data.soft=true", "--wait"); code != 0 || !strings.Contains(stderr, "finished") {
		t.Errorf("nothing to do: exit %d: %q", code, stderr)
	}
	if _, stderr, code := w.run(t, "vol", "balance", "start", fs.Path, "--wait"); code == 0 || !strings.Contains(stderr, "force") {
		t.Errorf("without filters: exit %d: %q", code, stderr)
	}
}

// slowly lets the kernel scrub a mebibyte in a fraction of a second, so that there is something to see.
func slowly(t *testing.T, path string) {
	t.Helper()
	uuid := strings.TrimSpace(testhost.Command(t, "findmnt", "-no", "UUID", path))
	limits, err := filepath.Glob("/sys/fs/btrfs/" + uuid + "/devinfo/*/scrub_speed_max")
	if err != nil || len(limits) == 0 {
		t.Fatalf("no limit for the scrub of %q: %v", uuid, err)
	}
	for _, limit := range limits {
		if err := os.WriteFile(limit, []byte("33554432"), 0); err != nil {
			t.Fatal(err)
		}
	}
}

// A rebuild of an array is waited for likewise: what the server says of it, look by look.
func TestWaitForARebuild(t *testing.T) {
	array := func(sync string) []byte {
		return []byte(`{"array":{"name":"md127","path":"/dev/md127","level":"raid1","array_state":"clean","states":[],"size_bytes":1048576,"members":[],"in_use":false,"managed":true` + sync + `}}`)
	}
	server := &exampleServer{answers: [][]byte{
		array(`,"sync":{"action":"recover","percent":12.5,"speed_bps":8000000,"remaining_s":70}`),
		array(`,"sync":{"action":"recover","percent":99}`),
		array(`,"sync":{"action":"idle"}`),
	}}
	server.answer = server.answers[0]
	stdout, stderr, code := runHere(t, server.listen(t), "vol", "md", "detail", "/dev/md/data", "--wait", "-o", "json")
	if code != 0 || strings.TrimSpace(stdout) != string(array(`,"sync":{"action":"recover","percent":12.5,"speed_bps":8000000,"remaining_s":70}`)) || stderr != "clean\n" {
		t.Errorf("exit %d: %q %q", code, stdout, stderr)
	}
	if _, params := server.called(); string(params) != `{"device":"/dev/md/data"}` {
		t.Errorf("asked for %s", params)
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	if len(server.answers) != 0 {
		t.Errorf("%d answers left", len(server.answers))
	}
}

func TestBars(t *testing.T) {
	for percent, want := range map[float64]string{-1: "[??????????]     ", 0: "[----------]   0%", 12.5: "[#---------]  12%", 99.9: "[##########] 100%", 250: "[##########] 250%"} {
		if got := drawBar(percent, 10); got != want {
			t.Errorf("%v: %q, not %q", percent, got, want)
		}
	}
}
