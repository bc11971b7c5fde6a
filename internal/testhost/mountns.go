package testhost

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// mountNSVariable tells a child of MountNS which test it is to run.
const mountNSVariable = "TESTHOST_MOUNT_NAMESPACE"

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
	if os.Getenv(mountNSVariable) == t.Name() {
		return true
	}
	Root(t)
	if strings.Contains(t.Name(), "/") {
		t.Fatal("MountNS: called by a subtest; call it in the test itself")
	}
	cmd := exec.Command("/proc/self/exe", childArguments(t.Name())...)
	cmd.Env = append(os.Environ(), mountNSVariable+"="+t.Name())
	// With Unshareflags the Go runtime makes every mount private in the child before it starts.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("in a mount namespace of its own: %v", err)
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
