package volops

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// TestCapturedArrays answers for a captured host whose arrays are rebuilt, wait for each other, are
// inactive, are kept by DDF.
func TestCapturedArrays(t *testing.T) {
	v := newVol(t, Options{Root: testhost.Tree(t, "md")})
	golden(t, filepath.Join("testdata", "md.vol.list_md_arrays.json"), result(t, v, "vol.list_md_arrays", `{}`))
	list := rows(t, v, "vol.list_md_arrays", `{"limit":2}`, "arrays")
	if len(list) != 2 || list[0]["name"] != "md122" || list[1]["name"] != "md123" {
		t.Errorf("the first two are %v", list)
	}
}

// TestNoArrays is about hosts that have none, and devices that are none.
func TestNoArrays(t *testing.T) {
	v := newVol(t, Options{Root: testhost.Tree(t, "virtio")})
	if list := rows(t, v, "vol.list_md_arrays", `{}`, "arrays"); len(list) != 0 {
		t.Errorf("a host without MD has %v", list)
	}
	bare := newVol(t, Options{Root: t.TempDir()})
	var unsupported *registry.UnsupportedError
	if _, err := try(t, bare, "vol.list_md_arrays", `{}`); !errors.As(err, &unsupported) {
		t.Errorf("without /sys: %v", err)
	}
}

// TestNotAnArray asks this host for what is no array: a disk, a partition, a file, nothing.
func TestNotAnArray(t *testing.T) {
	disk := testhost.NewLoop(t, testhost.LoopOptions{})
	part := disk.AddPartition(1, 1<<20, 1<<20)
	v := newVol(t, Options{})
	for device, resource := range map[string]string{
		disk.Path: "array", part: "array", "/dev/null": "device", "/dev/md/none": "device",
		"UUID=2b1e0c44-93d2-4f6a-b5c8-1d2e3f405162": "device",
	} {
		_, err := try(t, v, "vol.md_detail", `{"device":"`+device+`"}`)
		var missing *registry.NotFoundError
		if !errors.As(err, &missing) || missing.Resource != resource || missing.ID != device {
			t.Errorf("%s: %v", device, err)
		}
	}
}

// TestArraysUnread asks as somebody who may not read the members: what the kernel tells is there all the
// same, and why the rest is not.
func TestArraysUnread(t *testing.T) {
	root := testhost.Tree(t, "md")
	for _, name := range []string{"loop2", "loop3", "loop4"} { // regular files are no devices either
		path := filepath.Join(root, "dev", name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range rows(t, newVol(t, Options{Root: root}), "vol.list_md_arrays", `{}`, "arrays") {
		reason, unread := row["probe_error"].(string)
		ours := !strings.HasPrefix(row["name"].(string), "md123") && row["level"] != "container"
		if unread != ours || row["events"] != nil || unread && reason != "ENOENT" && reason != "ENXIO" {
			t.Errorf("%s: probe_error %v, events %v", row["name"], row["probe_error"], row["events"])
		}
	}
}

// TestHungMember puts a disk that never answers in the place of a member: the list is there in time, with
// what the kernel knows, and says what it could not read.
func TestHungMember(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	disk, release := testhost.HangingDisk(t)
	defer release()
	var st unix.Stat_t
	if err := unix.Stat(disk, &st); err != nil {
		t.Fatal(err)
	}
	root := testhost.Tree(t, "md")
	number := fmt.Sprintf("%d:%d\n", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	if err := errors.Join(
		os.WriteFile(filepath.Join(root, "sys/block/loop4/dev"), []byte(number), 0o644),
		os.MkdirAll(filepath.Join(root, "dev"), 0o755),
		unix.Mknod(filepath.Join(root, "dev/loop4"), unix.S_IFBLK|0o600, int(st.Rdev)),
	); err != nil {
		t.Fatal(err)
	}
	v := newVol(t, Options{Root: root})
	within(t, 3*time.Second, "the list", func() {
		for _, row := range rows(t, v, "vol.list_md_arrays", `{}`, "arrays") {
			if row["name"] == "md125" && (row["probe_error"] != "timeout" || row["level"] != "raid5" || row["degraded"] != 1.0) {
				t.Errorf("md125 is %v", row)
			}
		}
	})
	if v.Blocked() != 1 {
		t.Errorf("%d calls hang, want 1", v.Blocked())
	}
	within(t, time.Second, "the list again", func() { rows(t, v, "vol.list_md_arrays", `{}`, "arrays") })
	if v.Blocked() != 1 {
		t.Errorf("asked again, %d calls hang, want 1", v.Blocked())
	}
	release()
	testhost.Eventually(t, "calls hang although the disk answers", func() bool { return v.Blocked() == 0 })
}
