package cli

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
)

var update = flag.Bool("update", false, "write what sessions print into testdata")

// session scripts are files of lines of shell behind "$ ", each with what it prints on standard output and on
// standard error below it, and its exit code where that is not 0. They are run by the real program, against
// the real server, in one folder. What is different each time has a name: $SOCKET, $HOME, $WORK.
func TestSessions(t *testing.T) {
	paths, err := filepath.Glob("testdata/session/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no sessions: %v", err)
	}
	testhost.Root(t)
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			got := w.session(t, string(want))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("go test ./internal/cli -run TestSessions -update writes what it is now:\n%s", diff)
			}
		})
	}
}

// session runs the lines of a script and returns it with what they print now.
func (w *world) session(t *testing.T, script string) string {
	t.Helper()
	work := t.TempDir()
	bin := w.binFolder(t)
	var out strings.Builder
	heading := true // comments before the first line stay
	for _, line := range strings.SplitAfter(script, "\n") {
		command, isCommand := strings.CutPrefix(line, "$ ")
		if !isCommand {
			if heading {
				out.WriteString(line)
			}
			continue
		}
		heading = false
		out.WriteString(line)
		out.WriteString(w.shell(t, bin, work, command))
	}
	return out.String()
}

// binFolder is a folder with this program under its name, for PATH.
func (w *world) binFolder(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	if err := os.Symlink(built(t, Name), filepath.Join(bin, Name)); err != nil {
		t.Fatal(err)
	}
	return bin
}

// environment is that of a line of shell.
func (w *world) environment(bin string) []string {
	return []string{"HOME=" + w.home, "PATH=" + bin + ":" + os.Getenv("PATH"), "TERM=xterm", "LC_ALL=C.UTF-8",
		"MY_OS_SERVER_SOCKET=" + w.socket, "SOCKET=" + w.socket}
}

// shell runs one line and returns what it printed, with its exit code.
func (w *world) shell(t *testing.T, bin, work, line string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir, cmd.Env = work, w.environment(bin)
	out, err := cmd.CombinedOutput()
	exit := (*exec.ExitError)(nil)
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if len(out) > 0 && !bytes.HasSuffix(out, []byte("\n")) {
		out = append(out, "\\ no line feed\n"...)
	}
	text := strings.NewReplacer(w.socket, "$SOCKET", w.home, "$HOME", work, "$WORK").Replace(string(out))
	if exit != nil {
		text += "exit " + strconv.Itoa(exit.ExitCode()) + "\n"
	}
	return text
}

// The README shows a session that was really had: every line of it that is told there.
func TestReadmeShowsWhatIs(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	had, err := os.ReadFile("testdata/session/readme.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, lines, _ := strings.Cut(string(had), "\n") // the first one says what it is
	want := ""
	for _, line := range strings.SplitAfter(strings.TrimSuffix(lines, "\n"), "\n") {
		if line != "\n" {
			want += "    "
		}
		want += line
	}
	if !strings.Contains(string(readme), want) {
		t.Errorf("the README does not have this session:\n%s", want)
	}
}
