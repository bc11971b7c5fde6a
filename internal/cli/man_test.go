package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// Every verb has a manual page that groff has nothing to say against, and that says what the verb is for.
func TestManPages(t *testing.T) {
	testhost.Tool(t, "groff", "groff-base")
	dir := t.TempDir()
	if err := writeManPages(newTree(), dir); err != nil {
		t.Fatal(err)
	}
	for i := range verbs {
		v := &verbs[i]
		path := filepath.Join(dir, Name+"-"+strings.Join(v.words(), "-")+".1")
		page, err := os.ReadFile(path)
		if err != nil {
			t.Errorf("%s: %v", v.method, err)
			continue
		}
		if !strings.Contains(string(page), roff(strings.TrimSuffix(v.summary, "."))) || !strings.Contains(string(page), roff(v.examples[0].line)) {
			t.Errorf("%s: its page lacks what it is for, or its example", v.method)
		}
	}
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(pages) <= len(verbs) {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	out, err := exec.Command("groff", append([]string{"-man", "-ww", "-T", "utf8", "-z"}, pages...)...).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("groff: %v: %.2000s", err, out)
	}
}

func TestRoff(t *testing.T) {
	for text, want := range map[string]string{".x": `\&.x`, "'x": `\&'x`, "a.b": "a.b", "a\n.b": "a\n" + `\&.b`, `a\b`: `a\eb`, "--a": `\-\-a`, "…": `\[u2026]`} {
		if got := roff(text); got != want {
			t.Errorf("%q is %q, not %q", text, got, want)
		}
	}
}
