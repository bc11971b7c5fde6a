package testhost

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHanging: what the helpers promise to other tests.
func TestHanging(t *testing.T) {
	if !MountNS(t) {
		return
	}
	path, release := HangingFS(t)
	done := make(chan error, 1)
	go func() {
		var st unix.Statfs_t
		done <- unix.Statfs(path, &st)
	}()
	wantHang(t, done)
	release()
	if err := <-done; err == nil {
		t.Error("statfs succeeded after release")
	}
	release() // may be called again
}

func TestHangingDisk(t *testing.T) {
	if !MountNS(t) {
		return
	}
	path, release := HangingDisk(t)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	done := make(chan error, 1)
	go func() {
		_, err := f.ReadAt(make([]byte, 512), 0)
		done <- err
	}()
	wantHang(t, done)
	release()
	if err := <-done; err == nil {
		t.Error("read succeeded after release")
	}
}

func wantHang(t *testing.T, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		t.Fatalf("did not hang: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
}

// TestMountNS: mounts made in it do not reach the host.
func TestMountNS(t *testing.T) {
	dir := "/tmp/testhost-mountns"
	if !MountNS(t) {
		if _, err := os.Stat(dir + "/inside"); err == nil {
			t.Error("a mount of the child is here")
		}
		os.Remove(dir)
		return
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("x", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/inside", nil, 0o600); err != nil {
		t.Fatal(err)
	}
}
