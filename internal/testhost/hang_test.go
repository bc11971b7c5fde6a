package testhost

import (
	"errors"
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

// TestFaultFile: a loop over the file keeps what is written to it, and fails as it is told and no longer.
func TestFaultFile(t *testing.T) {
	if !MountNS(t) {
		return
	}
	f := NewFaultFile(t, 8<<20)
	disk := NewLoop(t, LoopOptions{Device: f.Path})
	dev, err := os.OpenFile(disk.Path, os.O_RDWR|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	block, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	copy(block, "kept")
	transfer := map[string]func() error{
		FaultRead:  func() error { _, err := dev.ReadAt(block, 1<<20); return err },
		FaultWrite: func() error { _, err := dev.WriteAt(block, 1<<20); return err },
		FaultFlush: dev.Sync,
	}
	for _, request := range []string{FaultWrite, FaultRead, FaultFlush} {
		if err := transfer[request](); err != nil {
			t.Fatalf("%s: %v", request, err)
		}
		f.Fail(request, 0)
		if err := transfer[request](); !errors.Is(err, unix.EIO) {
			t.Errorf("%s that is to fail: %v", request, err)
		}
		if failed, written := f.Heal(); failed == 0 || written != 0 {
			t.Errorf("%s: %d have failed, %d were written", request, failed, written)
		}
		if err := transfer[request](); err != nil || string(block[:4]) != "kept" {
			t.Errorf("%s afterwards: %q, %v", request, block[:4], err)
		}
	}
}
