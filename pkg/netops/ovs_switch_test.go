package netops

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// switchMethods are those that the switching daemon answers.
var switchMethods = []string{"net.flows", "net.datapath", "net.ovs.conntrack", "net.ovs.conntrack.stats", "net.ovs.conntrack.flush"}

// TestSwitchThatIsNotWell: while the switching daemon hangs or is gone its methods say so, in time, and what is wrong;
// when it is back they answer.
func TestSwitchThatIsNotWell(t *testing.T) {
	ovs := testhost.NewOVS(t, testhost.NewNetNS(t))
	n := readerOf(t, ovs)
	wantAnswers := func(when string) {
		t.Helper()
		for _, method := range switchMethods {
			if _, err := call(t, n, method, object{}); err != nil {
				t.Errorf("%s: %s: %v", when, method, err)
			}
		}
	}
	wantGone := func(when, cause string, sent registry.Applied) {
		t.Helper()
		for _, method := range switchMethods {
			_, err := callWithin(t, n, method, object{}, 400*time.Millisecond)
			var gone *registry.UpstreamUnavailableError
			if !errors.As(err, &gone) || gone.Upstream != testhost.OVSSwitch || !strings.Contains(gone.Cause, cause) || !strings.Contains(gone.Message, cause) {
				t.Errorf("%s: %s: %v", when, method, err)
			} else if gone.Applied.Or("") != sent {
				t.Errorf("%s: %s: applied %v, want %s", when, method, gone.Applied, sent)
			}
		}
	}
	wantAnswers("before there is any bridge")
	ovs.Vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
	wantAnswers("at first")
	ovs.Signal(testhost.OVSSwitch, syscall.SIGSTOP)
	wantGone("stopped", fmt.Sprintf("it does not answer: process %d is stopped", ovs.PID(testhost.OVSSwitch)), registry.AppliedUnknown)
	ovs.Signal(testhost.OVSSwitch, syscall.SIGCONT)
	wantAnswers("when it goes on")
	pid := ovs.PID(testhost.OVSSwitch)
	ovs.Kill(testhost.OVSSwitch)
	wantGone("killed", fmt.Sprintf("process %d is gone", pid), registry.AppliedNo)
	ovs.Start(testhost.OVSSwitch)
	ovs.Vsctl("set", "bridge", "br0", "other_config:back=true") // waits until it has its bridges
	wantAnswers("after a restart")
	ovs.Stop(testhost.OVSSwitch)
	wantGone("ended", "no pid file", registry.AppliedNo)
	ovs.Signal(testhost.OVSDatabase, syscall.SIGSTOP)
	ovs.Start(testhost.OVSSwitch)
	wantGone("started without its database", "has no configuration yet", registry.AppliedNo)
	ovs.Signal(testhost.OVSDatabase, syscall.SIGCONT)
	ovs.Vsctl("set", "bridge", "br0", "other_config:back=again")
	ovs.Signal(testhost.OVSDatabase, syscall.SIGSTOP)
	wantAnswers("while only the database hangs")
	ovs.Signal(testhost.OVSDatabase, syscall.SIGCONT)
	if _, err := call(t, n, "net.flows", object{"bridge": "br9"}); !isNotFound(err) {
		t.Errorf("a bridge that is not there: %v", err)
	}
}

func isNotFound(err error) bool {
	var e *registry.NotFoundError
	return errors.As(err, &e)
}

// TestStrerror: the number behind what Open vSwitch says.
func TestStrerror(t *testing.T) {
	for text, want := range map[string]syscall.Errno{
		"ovs-vswitchd: datapath not found (Invalid argument)": syscall.EINVAL,
		"ct get limits failed (Operation not supported)":      syscall.EOPNOTSUPP,
		"something else":       syscall.EIO,
		"with (brackets) only": syscall.EIO,
		"":                     syscall.EIO,
	} {
		if got := strerror(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
