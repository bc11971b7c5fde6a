package volops

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// usageOf asks for the space at a path and returns the result by its members.
func usageOf(t *testing.T, v *Vol, path string) map[string]any {
	t.Helper()
	var u map[string]any
	if err := json.Unmarshal(result(t, v, "vol.usage", usageParams(t, path)), &u); err != nil {
		t.Fatal(err)
	}
	return u
}

func usageParams(t testing.TB, path string) string {
	t.Helper()
	params, err := json.Marshal(map[string]string{"path": path})
	if err != nil {
		t.Fatal(err)
	}
	return string(params)
}

// TestUsagePaths: every way to name a path leads to the filesystem that statfs(2) itself finds.
func TestUsagePaths(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	v := newVol(t, Options{})
	dir := t.TempDir()
	target := filepath.Join(dir, "mount point")
	deep := filepath.Join(target, "a", "b")
	steps := []error{
		os.Mkdir(target, 0o755),
		unix.Mount("src", target, "tmpfs", 0, "size=1m"),
		os.MkdirAll(deep, 0o755),
		os.WriteFile(filepath.Join(target, "file"), nil, 0o600),
		os.Symlink(deep, filepath.Join(dir, "absolute")),
		os.Symlink("mount point/a", filepath.Join(dir, "relative")),
		os.Symlink("relative/b", filepath.Join(dir, "chain")),
		os.Symlink("../../mount point", filepath.Join(target, "a", "up")),
		os.Symlink("circle", filepath.Join(dir, "circle")),
		os.Symlink("nowhere", filepath.Join(dir, "dangling")),
	}
	t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	t.Chdir(target)
	inside := []string{
		target, target + "/", deep, target + "/file", target + "//a/./b/..", dir + "/absolute", dir + "/relative/", dir + "/chain",
		dir + "/absolute/..", dir + "/relative/up/file", "/proc/self/cwd", "/proc/self/root" + target, "/proc/self/cwd/a",
	}
	for _, path := range inside {
		u := usageOf(t, v, path)
		if u["path"] != path || u["target"] != target || u["fstype"] != "tmpfs" || u["source"] != "src" || u["total_bytes"] != float64(1<<20) {
			t.Errorf("%s: %v", path, u)
		}
	}
	outside := usageOf(t, v, dir+"/absolute/../../..")
	if outside["target"] == target {
		t.Errorf("behind the link and up: %v", outside)
	}
	for path, want := range map[string]string{
		dir + "/none": "not_found", dir + "/none/x": "not_found", target + "/file/x": "not_found", dir + "/dangling": "not_found",
		"/" + strings.Repeat("x", 300): "ENAMETOOLONG", dir + "/circle": "ELOOP",
	} {
		if got := kindOf(tryUsage(t, v, path)); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func tryUsage(t *testing.T, v *Vol, path string) error {
	t.Helper()
	_, err := try(t, v, "vol.usage", usageParams(t, path))
	return err
}

// kindOf is an error's kind where it has one of its own, else the name of its number.
func kindOf(err error) string {
	var wire registry.WireError
	var errno syscall.Errno
	switch {
	case errors.As(err, &wire):
		return wire.ErrorKind()
	case errors.As(err, &errno):
		return errnoName(errno)
	}
	return fmt.Sprint(err)
}

// TestUsageAfterRename: the kernel does not count it as a change of the mounts when a folder above a
// mount point is renamed.
func TestUsageAfterRename(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	v := newVol(t, Options{})
	dir := t.TempDir()
	if err := os.MkdirAll(dir+"/old/m", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("x", dir+"/old/m", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir+"/new/m", unix.MNT_DETACH) })
	if u := usageOf(t, v, dir+"/old/m"); u["target"] != dir+"/old/m" {
		t.Errorf("before: %v", u)
	}
	if err := os.Rename(dir+"/old", dir+"/new"); err != nil {
		t.Fatal(err)
	}
	if u := usageOf(t, v, dir+"/new/m"); u["target"] != dir+"/new/m" {
		t.Errorf("after: %v", u)
	}
}

// TestUnderAutomount: a list does not have an automount point mounted, and says what it is.
func TestUnderAutomount(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	dir := t.TempDir()
	// A group that is not ours, so that we count as users of the mount and not as its daemon.
	options := fmt.Sprintf("fd=%d,pgrp=%d,minproto=5,maxproto=5,direct", pipe[1], 1)
	if err := unix.Mount("auto", dir, "autofs", 0, options); err != nil {
		t.Fatal(err)
	}
	unix.Close(pipe[1])
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	v := newVol(t, Options{})
	list := rows(t, v, "vol.list_mounts", `{"fstype":"autofs"}`, "mounts")
	if len(list) != 1 || list[0]["target"] != dir || list[0]["usage"] == nil {
		t.Errorf("list: %v", list)
	}
	var fds [1]unix.PollFd
	fds[0] = unix.PollFd{Fd: int32(pipe[0]), Events: unix.POLLIN}
	if n, err := unix.Poll(fds[:], 100); err != nil || n != 0 {
		t.Errorf("the automounter was asked to mount: %d, %v", n, err)
	}
}

// TestPlainUser: what works without any privilege works, and what does not says why.
func TestPlainUser(t *testing.T) {
	if !testhost.Nobody(t) {
		return
	}
	v := newVol(t, Options{})
	for _, row := range rows(t, v, "vol.list_disks", `{}`, "disks") {
		if row["size_bytes"] != 0.0 && row["probe_error"] != "no_privilege" {
			t.Errorf("%v: probe_error %v, partition_table %v", row["name"], row["probe_error"], row["partition_table"])
		}
	}
	if len(rows(t, v, "vol.list_mounts", `{}`, "mounts")) == 0 {
		t.Error("no mounts")
	}
	usageOf(t, v, "/")
	err := tryUsage(t, v, "/root/.ssh/x")
	var needs interface{ Capability() string }
	if !errors.Is(err, unix.EACCES) || !errors.As(err, &needs) || needs.Capability() != "CAP_DAC_READ_SEARCH" {
		t.Errorf("a path that may not be seen: %v", err)
	}
}
