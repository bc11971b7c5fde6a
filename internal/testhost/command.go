package testhost

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// Command runs a program that must succeed and returns what it printed.
func Command(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, complaint.String())
	}
	return string(out)
}

// TryCommand runs a program that may fail, as one that random choices made up. It must end within its
// own time, and must be there.
func TryCommand(t testing.TB, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "TZ=UTC")
	if err := cmd.Run(); err != nil {
		if _, exited := err.(*exec.ExitError); !exited {
			t.Fatalf("%s %s: %v", name, strings.Join(args, " "), err)
		}
	}
}

// nobody is the user that is no one (nobody on Debian): it owns nothing and may nothing.
const nobody = 65534

// AsNobody runs the test that calls it once more, in a child process of user 65534 without any
// capability, in the namespaces of this one, and takes over the outcome. What the child has to know is
// in its environment: set it with t.Setenv before.
func AsNobody(t *testing.T) {
	t.Helper()
	Root(t)
	cmd := exec.Command("/proc/self/exe", childArguments(t.Name())...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: nobody, Gid: nobody},
		Pdeathsig:  syscall.SIGKILL,
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("as nobody: %v", err)
	}
}
