package proxy_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// listenAs listens on a socket as another user, in a process of its own, and takes connections without a word.
func listenAs(t *testing.T, uid uint32, socket string) {
	t.Helper()
	if err := os.Chmod(filepath.Dir(socket), 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", socket)
	cmd.Env = append(os.Environ(), listenerVar+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if _, err := cmd.StdinPipe(); err != nil { // whose end it sees should this process be killed
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil { // the file is there before anybody listens
			_ = c.Close()
			return
		}
	}
	t.Fatal("it does not listen")
}
