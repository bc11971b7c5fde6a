//go:build vmtest

package blk

import (
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/vmtest"
)

// TestDisksOfAnotherKernelTell compares an array, the machine's disks and loops as TestToldAgainstSysfs does.
func TestDisksOfAnotherKernelTell(t *testing.T) {
	vmtest.Guest(t)
	testhost.Tool(t, "mdadm", "mdadm")
	testhost.Command(t, "modprobe", "md_mod")
	first := testhost.NewLoop(t, testhost.LoopOptions{SectorSize: 4096})
	second := testhost.NewLoop(t, testhost.LoopOptions{SectorSize: 512})
	testhost.Command(t, "mdadm", "--create", "/dev/md/told", "--run", "--quiet", "-l1", "-n2", "--assume-clean", first.Path, second.Path)
	t.Cleanup(func() { testhost.TryCommand(t, "mdadm", "--stop", "/dev/md/told") })
	s := openHost(t)
	compareTold(t, s, first.Path[len("/dev/"):])
	compareTold(t, s, second.Path[len("/dev/"):])
	compareOthers(t, s)
}
