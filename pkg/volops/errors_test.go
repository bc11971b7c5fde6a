package volops

import (
	"context"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

func pathErr(errno unix.Errno) error { return &os.PathError{Op: "statfs", Path: "/x", Err: errno} }

func TestWaiting(t *testing.T) {
	other := pathErr(unix.EIO)
	tests := []struct {
		err  error
		want string
	}{
		{&hang.BusyError{Calls: 4}, "busy"},
		{hang.ErrExhausted, "resource_exhausted"},
		{other, "EIO"},
		{context.DeadlineExceeded, "context deadline exceeded"},
		{nil, "<nil>"},
	}
	for _, tt := range tests {
		if got := kindOf(waiting(tt.err, "the filesystem at /x")); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.err, got, tt.want)
		}
	}
}

func TestPathError(t *testing.T) {
	tests := []struct {
		err  error
		want string
	}{
		{pathErr(unix.ENOENT), "not_found"},
		{pathErr(unix.ENOTDIR), "not_found"},
		{pathErr(unix.EIO), "EIO"},
		{pathErr(unix.ESTALE), "ESTALE"},
		{nil, "<nil>"},
	}
	for _, tt := range tests {
		if got := kindOf(pathError(tt.err, "/x")); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.err, got, tt.want)
		}
	}
}

func TestOmission(t *testing.T) {
	tests := []struct {
		err             error
		omission, probe string
	}{
		{context.DeadlineExceeded, "timeout", "timeout"},
		{&hang.BusyError{Calls: 4}, "busy", "busy"},
		{hang.ErrExhausted, "busy", "busy"},
		{pathErr(unix.EACCES), "EACCES", "no_privilege"},
		{pathErr(unix.EPERM), "EPERM", "no_privilege"},
		{pathErr(unix.ENOMEDIUM), "ENOMEDIUM", "no_medium"},
		{pathErr(unix.EIO), "EIO", "EIO"},
		{pathErr(unix.Errno(4000)), "errno_4000", "errno_4000"},
	}
	for _, tt := range tests {
		if got := omission(tt.err); got != tt.omission {
			t.Errorf("omission(%v) = %s, want %s", tt.err, got, tt.omission)
		}
		if got := probeError(tt.err); got != tt.probe {
			t.Errorf("probeError(%v) = %s, want %s", tt.err, got, tt.probe)
		}
	}
}

// TestWithoutKernelFiles: a host without /proc or /sys is unsupported, and says what is missing.
func TestWithoutKernelFiles(t *testing.T) {
	v := newVol(t, Options{Root: t.TempDir()})
	told := make(map[string]bool)
	for _, m := range v.Unavailable() {
		told[m.Method] = m.Missing.IsSet()
	}
	for method, params := range map[string]string{
		"vol.list_disks": `{}`, "vol.list_mounts": `{}`, "vol.usage": `{"path":"/"}`, "vol.list_partitions": `{}`, "vol.list_filesystems": `{}`,
		"vol.inventory": `{}`, "vol.feasible_topologies": `{}`, "vol.list_md_arrays": `{}`, "vol.list_free_space": `{"disk":"/dev/x"}`,
	} {
		if !told[method] {
			t.Errorf("%s does not stand among what is unavailable", method)
		}
		_, err := try(t, v, method, params)
		var unsupported *registry.UnsupportedError
		if !errors.As(err, &unsupported) || unsupported.Reason != registry.UnsupportedReasonPlatform || !unsupported.Missing.IsSet() {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestNewRefusesARelativeRoot(t *testing.T) {
	if _, err := New(Options{Root: "host"}); err == nil {
		t.Error("no error")
	}
	newVol(t, Options{Root: "/"})
}

// TestDeviceNames: what names no device is not found; what is no device neither.
func TestDeviceNames(t *testing.T) {
	v := newVol(t, Options{})
	for _, name := range []string{"/dev/none", "/dev/null", "/dev/null/x", "UUID=none", "LABEL=no such label", "PARTUUID=none"} {
		_, err := try(t, v, "vol.list_disks", usageParams(t, name))
		var none *registry.NotFoundError
		if !errors.As(err, &none) || none.Resource != "device" || none.ID != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCopiesConflict: two disks with the same tags are not one filesystem.
func TestCopiesConflict(t *testing.T) {
	if !testhost.MountNS(t) {
		return
	}
	testhost.Tool(t, "mkfs.ext4", "e2fsprogs")
	const uuid = "0fc63daf-8483-4772-8e79-3d69d8477d00"
	for range 2 {
		disk := testhost.NewLoop(t, testhost.LoopOptions{})
		tool(t, "", "mkfs.ext4", "-q", "-U", uuid, disk.Path)
	}
	v := newVol(t, Options{})
	_, err := try(t, v, "vol.list_disks", usageParams(t, "UUID="+uuid))
	var conflict *registry.ConflictError
	if !errors.As(err, &conflict) {
		t.Errorf("got %v", err)
	}
}
