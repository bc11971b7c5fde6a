package volops

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/hang"
	"github.com/geomind/my_os_server/pkg/registry"
)

// noPath is the answer about a path that leads to nothing.
func noPath(path string) error {
	return &registry.NotFoundError{
		NotFoundData: registry.NotFoundData{Resource: "path", ID: path},
		Message:      fmt.Sprintf("there is nothing at %s", path),
	}
}

// noDevice is the answer about a block device that is not there.
func noDevice(name string) error {
	return &registry.NotFoundError{
		NotFoundData: registry.NotFoundData{Resource: "device", ID: name},
		Message:      fmt.Sprintf("there is no block device %s", name),
	}
}

// noSysfs is the answer where the kernel's list of block devices is out of reach.
func noSysfs() error {
	return &registry.UnsupportedError{
		UnsupportedData: registry.UnsupportedData{Reason: registry.UnsupportedReasonPlatform, Missing: registry.Some("/sys/block")},
		Message:         "this host shows no block devices: mount sysfs at /sys",
	}
}

// noProc is the answer where the kernel's list of mounts is out of reach.
func noProc() error {
	return &registry.UnsupportedError{
		UnsupportedData: registry.UnsupportedData{Reason: registry.UnsupportedReasonPlatform, Missing: registry.Some("/proc/self/mountinfo")},
		Message:         "this host shows no mounts: mount proc at /proc",
	}
}

// waiting turns the refusals of the group of calls into what callers are told; other errors stay as
// they are. what names the filesystem or device.
func waiting(err error, what string) error {
	var busy *hang.BusyError
	switch {
	case errors.As(err, &busy):
		return &registry.BusyError{
			BusyData: registry.BusyData{Holders: []registry.Holder{{Kind: registry.HolderKindCall, Name: registry.Some(what)}}},
			Message:  fmt.Sprintf("%d calls wait on %s, which does not answer; try again when it does", busy.Calls, what),
		}
	case errors.Is(err, hang.ErrExhausted):
		return &registry.ResourceExhaustedError{
			ResourceExhaustedData: registry.ResourceExhaustedData{
				Limit:   "hung_calls",
				Maximum: registry.Some(int64(hang.DefaultLimits().Total)),
			},
			Message: "too many calls wait on filesystems and devices that do not answer; see which ones vol.list_mounts marks",
		}
	}
	return err
}

// pathError says what is wrong with a path that a caller named.
func pathError(err error, path string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		return noPath(path)
	case errors.Is(err, fs.ErrPermission) && !capable(unix.CAP_DAC_READ_SEARCH):
		return &lacking{err, "CAP_DAC_READ_SEARCH"}
	}
	return err
}

// lacking is a refusal of the kernel because the daemon lacks a capability. Its text and what it wraps
// are the refusal's.
type lacking struct {
	error
	capability string
}

func (e *lacking) Unwrap() error { return e.error }

// Capability is the name of what the daemon lacks.
func (e *lacking) Capability() string { return e.capability }

// capable tells whether the daemon has a capability over the host. A kernel that does not say counts as no, and so
// does a user namespace, whose capabilities are over what belongs to it alone (user_namespaces(7)).
func capable(capability uint) bool {
	if inUserNamespace() {
		return false
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // 32 capabilities each
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[capability/32].Effective&(1<<(capability%32)) != 0
}

// inUserNamespace tells whether the daemon lives in another user namespace than the host's, whose map is that of
// all numbers to themselves.
func inUserNamespace() bool {
	uids, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && !slices.Equal(strings.Fields(string(uids)), []string{"0", "0", "4294967295"})
}

// omission is why something that may hang is left out of a row: timeout, busy, or the name of the error
// number.
func omission(err error) string {
	var (
		errno unix.Errno
		busy  *hang.BusyError
	)
	switch {
	case errors.As(err, &busy), errors.Is(err, hang.ErrExhausted):
		return "busy"
	case errors.As(err, &errno):
		return errnoName(errno)
	}
	return "timeout" // the one error that is left: a context's
}
