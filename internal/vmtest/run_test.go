package vmtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// TestSecondKernel boots the second kernel once, runs every case in it and reports each.
func TestSecondKernel(t *testing.T) {
	testhost.Root(t)
	for tool, pkg := range map[string]string{
		"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "cpio": "cpio", "depmod": "kmod", "xz": "xz-utils",
	} {
		testhost.Tool(t, tool, pkg)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	cases := chooseCases(t, findCases(t, root))
	if len(cases) == 0 {
		return
	}
	folder := t.TempDir()
	for i, printed := range boot(t, root, folder, buildGuests(t, root, folder, cases)) {
		cases[i].results = readResults(t, printed)
	}
}

// chooseCases starts a subtest for each case, of which only those that -run lets through come to life,
// and lists these. As parallel ones they report when their parent has the results.
func chooseCases(t *testing.T, all []*packageCases) (chosen []*packageCases) {
	for _, p := range all {
		some := &packageCases{path: p.path}
		for _, name := range p.tests {
			t.Run(p.path+"/"+name, func(t *testing.T) {
				some.tests = append(some.tests, name)
				t.Parallel()
				some.results.report(t, name)
			})
		}
		if len(some.tests) > 0 {
			chosen = append(chosen, some)
		}
	}
	return chosen
}

// buildGuests compiles the packages' tests without cgo, since the guest's tests are not for the race
// detector, and returns what runs those of each package in the guest.
func buildGuests(t *testing.T, root, folder string, cases []*packageCases) (commands []string) {
	t.Helper()
	for i, p := range cases {
		binary := filepath.Join(folder, fmt.Sprintf("%d.test", i))
		build := exec.Command("go", "test", "-c", "-trimpath", "-tags", "vmtest,faultpoints", "-o", binary, "./"+p.path)
		build.Dir = root
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build the tests of %s: %v\n%s", p.path, err, out)
		}
		chosen := "^(" + strings.Join(p.tests, "|") + ")$"
		commands = append(commands, fmt.Sprintf("cd '%s' && '%s' -test.v=test2json -test.count=1 -test.timeout=8m -test.run '%s'",
			filepath.Join(root, p.path), binary, chosen))
	}
	return commands
}

// unable is what scripts/second-kernel ends with where this machine cannot run one.
const unable = 126

// boot runs the commands in the guest, one after the other, and returns what each printed.
func boot(t *testing.T, root, folder string, commands []string) (outputs [][]byte) {
	t.Helper()
	const mark = "\x00next\x00"
	script := strings.Join(commands, "\nprintf '\\0next\\0'\n") + "\nexit 0\n"
	file := filepath.Join(folder, "guest.sh")
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(root, "scripts", "second-kernel"), "-t", "600", "--", "sh", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); cmd.ProcessState.ExitCode() == unable {
		testhost.Missing(t, strings.TrimSpace(complaint.String()))
	} else if err != nil {
		t.Fatalf("second kernel: %v\n%s\nwhat ran in it printed:\n%s", err, complaint.Bytes(), out.Bytes())
	}
	outputs = bytes.Split(out.Bytes(), []byte(mark))
	if len(outputs) != len(commands) {
		t.Fatalf("second kernel: output of %d packages, want %d:\n%s", len(outputs), len(commands), out.Bytes())
	}
	return outputs
}

// results is what the tests of one package came to.
type results struct {
	ends   map[string]string // pass, fail or skip, by test
	output map[string][]byte // that of a test and of its subtests; "" for what belongs to none
}

// readResults takes what a test program printed through test2json, as go test does itself.
func readResults(t *testing.T, printed []byte) *results {
	t.Helper()
	convert := exec.Command("go", "tool", "test2json")
	convert.Stdin = bytes.NewReader(printed)
	events, err := convert.Output()
	if err != nil {
		t.Fatalf("test2json: %v", err)
	}
	r := &results{ends: make(map[string]string), output: make(map[string][]byte)}
	for dec := json.NewDecoder(bytes.NewReader(events)); ; {
		var e struct{ Action, Test, Output string }
		if err := dec.Decode(&e); errors.Is(err, io.EOF) {
			return r
		} else if err != nil {
			t.Fatalf("test2json: %v", err)
		}
		top, _, sub := strings.Cut(e.Test, "/")
		switch e.Action {
		case "output":
			r.output[top] = append(r.output[top], e.Output...)
		case "pass", "fail", "skip":
			if !sub {
				r.ends[e.Test] = e.Action
			}
		}
	}
}

// report is the body of a subtest that stands for a case.
func (r *results) report(t *testing.T, name string) {
	if r == nil {
		t.Fatal("the second kernel did not come to it")
	}
	t.Logf("in the second kernel:\n%s", r.output[name])
	switch r.ends[name] {
	case "pass":
	case "skip":
		testhost.Missing(t, "what the second kernel lacks")
	case "fail":
		t.Fail()
	default:
		t.Errorf("did not come to its end:\n%s", r.output[""])
	}
}
