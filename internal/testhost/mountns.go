package testhost

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// childVariable tells a child which test it is to run.
const childVariable = "TESTHOST_CHILD"

// MountNS runs the test that calls it in a child process with a mount namespace of its own, whose
// mounts neither reach the host nor outlive the child, however that ends. It returns true in the child;
// in the parent it waits, takes over the outcome and returns false:
//
//	func TestMounts(t *testing.T) {
//		if !testhost.MountNS(t) {
//			return
//		}
//		…
//	}
//
// It is for top-level tests, as their first statement. It needs CAP_SYS_ADMIN; see Root.
func MountNS(t *testing.T) bool {
	t.Helper()
	// With Unshareflags the Go runtime makes every mount private in the child before it starts.
	return inChild(t, "in a mount namespace of its own", &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS})
}

// Nobody runs the test that calls it in a child process as the user nobody (65534), without any
// capability. It is to be used as MountNS is.
func Nobody(t *testing.T) bool {
	t.Helper()
	return inChild(t, "as nobody", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
}

// inChild runs the calling test in a child; true is returned in the child itself.
func inChild(t *testing.T, where string, attributes *syscall.SysProcAttr) bool {
	t.Helper()
	if os.Getenv(childVariable) == t.Name() {
		return true
	}
	Root(t)
	if strings.Contains(t.Name(), "/") {
		t.Fatal("called by a subtest; call it in the test itself")
	}
	cmd := exec.Command("/proc/self/exe", childArguments(t.Name())...)
	cmd.Env = append(os.Environ(), childVariable+"="+t.Name())
	attributes.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr = attributes
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("%s: %v", where, err)
	}
	return false
}

// childArguments are the parent's own test flags, but for those that choose tests and those that name
// files which only one process can write.
func childArguments(name string) []string {
	args := []string{"-test.run=^" + regexp.QuoteMeta(name) + "$", "-test.count=1"}
	for _, arg := range os.Args[1:] {
		flag, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch flag {
		case "test.run", "test.skip", "test.bench", "test.fuzz", "test.count", "test.list", "test.testlogfile",
			"test.coverprofile", "test.cpuprofile", "test.memprofile", "test.blockprofile", "test.mutexprofile",
			"test.trace", "test.gocoverdir", "test.paniconexit0":
			continue
		}
		args = append(args, arg)
	}
	return args
}
