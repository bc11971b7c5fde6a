//go:build vmtest

package vmtest

import (
	"os"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// TestKernelHasWhatTheTierIsFor asks for all that makes a second kernel worth its boot, so that a
// kernel without it is found out here and not by cases that make nothing of it.
func TestKernelHasWhatTheTierIsFor(t *testing.T) {
	Guest(t)
	for _, module := range []string{"md_mod", "raid1", "raid10", "raid456", "vfat", "8021q", "dummy", "openvswitch", "dm_flakey"} {
		testhost.Command(t, "modprobe", "--dry-run", module)
	}
	testhost.Command(t, "modprobe", "vfat")
	known, err := os.ReadFile("/proc/filesystems")
	if err != nil || !strings.Contains(string(known), "\tvfat\n") {
		t.Errorf("/proc/filesystems lacks vfat: %v\n%s", err, known)
	}
}
