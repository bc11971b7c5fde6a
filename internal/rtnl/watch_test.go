package rtnl

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// heard waits for an event.
func heard(t *testing.T, events <-chan struct{}, what string) {
	t.Helper()
	select {
	case _, ok := <-events:
		if !ok {
			t.Fatalf("%s: the listener has ended", what)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: nothing is heard", what)
	}
}

// drained takes what was heard until nothing more comes.
func drained(events <-chan struct{}) {
	for {
		select {
		case <-events:
		case <-time.After(300 * time.Millisecond):
			return
		}
	}
}

func TestWatchAllHearsWhatIsWanted(t *testing.T) {
	ns := testhost.NewNetNS(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wanted := netip.MustParsePrefix("10.1.0.0/16")
	l, err := WatchAll(ctx, ns.FD(), func(r *Route) bool { return r.Dst == wanted })
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{
		"ip link add d0 type veth peer d1", "ip link set d0 up", "ip addr add 192.0.2.1/24 dev d0", "ip link set d0 mtu 1400", "ip link set d1 up",
		"ip route add 10.1.0.0/16 via 192.0.2.9", "ip route replace 10.1.0.0/16 via 192.0.2.8", "ip route del 10.1.0.0/16",
		"sysctl -qw net.ipv4.conf.d0.forwarding=1", "sysctl -qw net.ipv6.conf.all.forwarding=1", "ip link del d0",
	} {
		drained(l.Events)
		ns.Run(strings.Fields(c)[0], strings.Fields(c)[1:]...)
		heard(t, l.Events, c)
	}
	quiet(ns)
	ns.IP("link add d0 type veth peer d1", "link set d0 up", "addr add 192.0.2.1/24 dev d0", "link set d1 up")
	for !strings.Contains(ns.Run("ip", "-br", "link", "show", "d0"), "LOWER_UP") { // the kernel tells of it some time later
		time.Sleep(10 * time.Millisecond)
	}
	drained(l.Events)
	ns.IP("route add 10.2.0.0/16 dev d0", "route del 10.2.0.0/16")
	select {
	case <-l.Events:
		t.Error("a route that is not wanted was told of")
	case <-time.After(200 * time.Millisecond):
	}
	cancel()
	for range l.Events { // it ends
	}
}

// quiet keeps a namespace from changing unasked: IPv6 gives links addresses and tries them for seconds.
func quiet(ns *testhost.NetNS) {
	ns.Run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
}

// TestOverrunIsAnEvent has far more happen than the kernel keeps for who does not listen. From the first message that it
// drops, it drops all until what it kept is read, and says so once: what changes meanwhile must be heard of too.
func TestOverrunIsAnEvent(t *testing.T) {
	ns := testhost.NewNetNS(t)
	quiet(ns)
	ns.IP("link add d0 type veth peer d1", "link set d0 up", "link set d1 up")
	var slow atomic.Bool
	slow.Store(true)
	release := make(chan struct{})
	l, err := WatchAll(t.Context(), ns.FD(), func(*Route) bool {
		if slow.Load() {
			<-release
		}
		return false
	})
	if err != nil {
		t.Fatal(err)
	}
	var batch strings.Builder
	for i := range 30_000 {
		fmt.Fprintf(&batch, "route add 10.%d.%d.%d dev d0\n", i>>16, i>>8&255, i&255)
	}
	if out, err := ns.Try(batch.String(), "ip", "-batch", "-"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	drained(l.Events)
	slow.Store(false)
	close(release)
	for l.Overruns() == 0 { // what was heard before it may be an event of its own
		heard(t, l.Events, "an overrun")
	}
	ns.IP("link set d0 mtu 1400")
	heard(t, l.Events, "a change after it")
}
