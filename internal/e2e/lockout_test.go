package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// The default route lasts so many seconds without another advertisement. The router sends them ever more seldom, and
// besides when it is solicited.
const (
	advertised    = 4
	routeLifetime = 6
)

// solicit asks the routers behind an interface for an advertisement (RFC 4861, section 4.1).
func solicit(t *testing.T, ns *testhost.NetNS, link string) {
	t.Helper()
	ns.Do(func() {
		index, err := net.InterfaceByName(link)
		if err != nil {
			t.Error(err)
			return
		}
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			t.Error(err)
			return
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
			t.Error(err)
		}
		addrs, _ := index.Addrs()
		for _, a := range addrs { // else the kernel may choose one that the router cannot answer to
			if p := netip.MustParsePrefix(a.String()); p.Addr().IsLinkLocalUnicast() && p.Addr().Is6() {
				_ = unix.Bind(fd, &unix.SockaddrInet6{ZoneId: uint32(index.Index), Addr: p.Addr().As16()})
			}
		}
		to := &unix.SockaddrInet6{ZoneId: uint32(index.Index), Addr: netip.MustParseAddr("ff02::2").As16()}
		if err := unix.Sendto(fd, []byte{133, 0, 0, 0, 0, 0, 0, 0}, 0, to); err != nil {
			t.Error(err)
		}
	})
}

// advertise has a namespace advertise itself as the default router on an interface.
func advertise(t *testing.T, ns *testhost.NetNS, link string) {
	t.Helper()
	testhost.Tool(t, "dnsmasq", "dnsmasq-base")
	cmd := exec.Command("dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--interface="+link, "--bind-interfaces", "--user=root", "--pid-file=", "--leasefile-ro",
		"--enable-ra", "--dhcp-range=2001:db8:7::,ra-only,64", fmt.Sprintf("--ra-param=%s,%d,%d", link, advertised, routeLifetime))
	var said strings.Builder
	cmd.Stderr = &said
	var err error
	ns.Do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
}

// TestForwardingAloneLocksOut is what the test below would see if the daemon did nothing: with accept_ra at 1, as a kernel
// starts, a router's advertisements are passed over once the node forwards, and its default route goes.
func TestForwardingAloneLocksOut(t *testing.T) {
	testhost.Root(t)
	t.Parallel()
	router, n := testhost.NewNetNS(t), newNode(t)
	getsRoute := advertisedRoute(t, router, n)
	testhost.Eventually(t, "the advertised route", getsRoute)
	if got := strings.TrimSpace(n.Run("sysctl", "-n", "net.ipv6.conf.up0.accept_ra")); got != "1" {
		t.Fatalf("accept_ra is %s", got)
	}
	n.Run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
	testhost.Eventually(t, "no route any more", func() bool { return !getsRoute() })
	for range 5 { // it is asked for, and does not come again
		if getsRoute() {
			t.Fatal("the advertised route is taken all the same")
		}
	}
	n.Run("sysctl", "-qw", "net.ipv6.conf.up0.accept_ra=2")
	testhost.Eventually(t, "the route with accept_ra at 2", getsRoute)
}

// advertisedRoute has a router advertise itself on the interface up0 of a node, and returns what asks it to, and tells
// whether the node has its default route from that.
func advertisedRoute(t *testing.T, router *testhost.NetNS, n *node) func() bool {
	t.Helper()
	router.IP(fmt.Sprintf("link add s0 type veth peer name up0 netns /proc/%d/fd/%d", os.Getpid(), n.FD()), "addr add 2001:db8:7::1/64 dev s0 nodad", "link set s0 up", "link set lo up")
	n.IP("link set lo up", "link set up0 up")
	advertise(t, router, "s0")
	testhost.Eventually(t, "addresses of its own", func() bool { return n.Run("ip", "-6", "addr", "show", "dev", "up0", "tentative") == "" })
	return func() bool {
		solicit(t, n.NetNS, "up0")
		time.Sleep(300 * time.Millisecond)
		route := n.Run("ip", "-6", "route", "show", "default") // one that has ended is still shown for a while
		return strings.Contains(route, "proto ra") && !strings.Contains(route, "expires -")
	}
}

// TestForwardingDoesNotLockOut switches forwarding of IPv6 on, by a port forward, on a node that has its default route from a
// router's advertisements alone: the route is still taken from them after several of its lifetimes. The uplink becomes no
// port of a bridge.
func TestForwardingDoesNotLockOut(t *testing.T) {
	testhost.Root(t)
	t.Parallel()
	router, n := testhost.NewNetNS(t), newNode(t)
	getsRoute := advertisedRoute(t, router, n)
	testhost.Eventually(t, "the advertised route", getsRoute)
	l := n.start(0)
	l.must(step{"net.bridge.add", `{"name":"br0","addresses":["2001:db8:8::1/64"]}`})
	l.must(step{"net.nat.add_dnat", `{"protocol":"tcp","port":8080,"to_address":"2001:db8:8::5","to_port":80}`})
	setting := func(name string) string { return strings.TrimSpace(n.Run("sysctl", "-n", "net.ipv6.conf."+name)) }
	if got := setting("all.forwarding") + setting("up0.accept_ra"); got != "12" {
		t.Errorf("forwarding and accept_ra: %s", got)
	}
	// A kernel may drop the route as the lifetime of before ends, and take it again with the next advertisement.
	for end := time.Now().Add(5 * routeLifetime * time.Second / 2); time.Now().Before(end); {
		testhost.Eventually(t, "the advertised route, among forwarding", getsRoute)
	}
	a := l.call(step{"net.bridge.add_port", `{"bridge":"br0","interface":"up0"}`})
	if a == nil || a.Error == nil || a.Error.Data["kind"] != "refused" || a.Error.Data["override"] != "force" {
		t.Errorf("the uplink as a port: %+v", a)
	}
	testhost.Eventually(t, "the route after the refusal", getsRoute)
	if !l.stop() {
		t.Error("it did not end well")
	}
}
