//go:build vmtest

package netops

import (
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/vmtest"
)

// TestSwitchedTrafficOfTheKernel is TestSwitchedTraffic on the kernel's datapath, once, and without what no kernel has
// to do with: OpenFlow.
func TestSwitchedTrafficOfTheKernel(t *testing.T) {
	vmtest.Guest(t)
	testhost.Command(t, "modprobe", "openvswitch")
	s := newSwitched(t, "system", testhost.Seed(t))
	s.configure()
	s.talk()
	s.checkDatapath()
	s.checkConntrack()
	s.checkFlush()
}
