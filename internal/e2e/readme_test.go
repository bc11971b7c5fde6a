package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// readme returns the lines of shell that a section of the README shows: what is indented, without comments behind.
func readme(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("the README has no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var lines strings.Builder
	for line := range strings.Lines(section) {
		if code, isCode := strings.CutPrefix(line, "    "); isCode {
			lines.WriteString(code)
		}
	}
	return lines.String()
}

// machine is what a script of the README finds: a machine of its own, with nothing in /run, /var/lib and root's home,
// an /etc of its own, the address that the README gives to a node, and the programs in bin/. Where the README waits a
// second for a server, it waits for as long as that takes here.
const machine = `
set -eu
mount -t tmpfs none /run
mkdir /run/etc /run/home
cp -a /etc/passwd /etc/group /etc/nsswitch.conf /etc/hosts /run/etc/
mount --bind /run/etc /etc
mount -t tmpfs none /var/lib
ip link set lo up
ip addr add 192.0.2.7/32 dev lo
export HOME=/run/home PATH=$PWD/bin:$PATH
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
await() {
	for i in $(seq 600); do
		for socket in "$@"; do
			curl -fsS -o /dev/null --unix-socket /run/$socket/rpc.sock http://localhost/health 2>/dev/null || { command sleep 0.1; continue 2; }
		done
		return 0
	done
	echo "no server at $*"; exit 1
}
sleep() { await my_os_server; }
`

// onMachine runs a script there and returns what it printed.
func onMachine(t *testing.T, script string) string {
	t.Helper()
	testhost.Root(t)
	for _, tool := range []string{"bash", "ip", "curl", "mount"} {
		testhost.Tool(t, tool, tool)
	}
	folder := t.TempDir()
	if err := os.Symlink(bin, filepath.Join(folder, "bin")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-c", machine+script)
	cmd.Dir = folder
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	// With Unshareflags the runtime makes every mount private to the child first.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // whatever it has left
	timer := time.AfterFunc(2*time.Minute, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v:\n%s\nof:\n%s", err, &out, script)
	}
	return out.String()
}

// TestReadmeFromElsewhere does what the README says of calls from another machine, line by line.
func TestReadmeFromElsewhere(t *testing.T) {
	script := readme(t, "From another machine")
	for _, told := range []struct{ line, variable string }{{"my-os-ctl key generate", "KEY"}, {"my-os-ctl server fingerprint", "FINGERPRINT"}} {
		if !strings.Contains(script, told.line+"\n") {
			t.Fatalf("the README does not say %q", told.line)
		}
		script = regexp.MustCompile(`\b`+told.variable+`\b`).ReplaceAllString(script, "$$"+told.variable)
		script = strings.Replace(script, told.line+"\n", fmt.Sprintf("%s=$(%s)\n", told.variable, told.line), 1)
	}
	out := onMachine(t, script)
	for _, want := range []string{"allowed: net.interfaces needs read, ", "\nlo ", `{"node":"node-7","result":{"in_sync":true`} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not among:\n%s", want, out)
		}
	}
}

// TestReadmeCalls does what the README says of calls with curl, and of a MOS node.
func TestReadmeCalls(t *testing.T) {
	for heading, test := range map[string]struct{ before, want string }{
		"Talk to it":    {"bin/my-os-server-native & sleep 1\n", `"result":{"routes":[`},
		"On a MOS node": {"sleep() { await my_os_server mosnet storage; }\n", `"mode":"mos"`},
	} {
		t.Run(heading, func(t *testing.T) {
			script := readme(t, heading)
			lines, _, _ := strings.Cut(script, "\n\n")
			lines, _, _ = strings.Cut(lines, "{\"code\"") // what an error looks like is no command
			if out := onMachine(t, test.before+lines); !strings.Contains(out, test.want) {
				t.Errorf("%q is not in:\n%s", test.want, out)
			}
		})
	}
}

// TestReadmeTargets looks for every target of make that the README names.
func TestReadmeTargets(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("(?m)(?:^    |`)make ([a-z]+)").FindAllSubmatch(text, -1)
	for _, m := range named {
		if !bytes.Contains(makefile, fmt.Appendf(nil, "\n%s:", m[1])) {
			t.Errorf("there is no target %s", m[1])
		}
	}
	t.Logf("%d targets", len(named))
}
