package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// leaseNode is a node whose uplink has its addresses and a prefix by DHCP, of servers that have one of each to give.
type leaseNode struct {
	*node
	server *prefixServer
}

// newLeaseNode makes one that is asked to renew after so many seconds.
func newLeaseNode(t *testing.T, renew int) *leaseNode {
	t.Helper()
	n := &leaseNode{node: newNode(t)}
	testhost.Tool(t, "dhcpd", "isc-dhcp-server")
	n.server = &prefixServer{NetNS: testhost.NewNetNS(t)}
	n.Run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")
	n.server.IP(fmt.Sprintf("link add s0 type veth peer name up0 address 02:00:00:00:00:0a netns %s", n.Path()), "addr add 198.51.100.1/24 dev s0",
		"addr add fe80::1/64 dev s0 nodad", "addr add 2001:db8:5::1/64 dev s0 nodad", "link set s0 up")
	common := fmt.Sprintf("authoritative; ddns-update-style none; default-lease-time 600; option dhcp-renewal-time %d; option dhcp-rebinding-time 500;\n", renew)
	n.server.dhcpd(t, "-4", common+"ping-check false; option routers 198.51.100.1; subnet 198.51.100.0 netmask 255.255.255.0 { range 198.51.100.50; }\n")
	n.server.dhcpd(t, "-6", common+"preferred-lifetime 400; subnet6 2001:db8:5::/64 { range6 2001:db8:5::50 2001:db8:5::50; prefix6 2001:db8:100:: 2001:db8:100:: /56; }\n")
	n.IP("link add lan0 type bridge", "link set lan0 up")
	n.asks(true)
	return n
}

const leaseConfig = "[[interface]]\nname = \"up0\"\nipv4 = \"dhcp\"\nipv6 = \"dhcp\"\nprefix_delegation = true\nassign_to = [\"lan0\"]\n"

// asks writes the configuration: whether the node asks for leases.
func (n *leaseNode) asks(yes bool) {
	n.t.Helper()
	if yes {
		n.configure(leaseConfig)
	} else {
		n.configure("[[interface]]\nname = \"p0\"\nipv6 = \"none\"\n")
	}
}

var expires = regexp.MustCompile(` expires \d+sec`)

// picture is what leases have given the kernel, without for how long.
func (n *leaseNode) picture() string {
	n.t.Helper()
	list := leased(n.node)
	for line := range strings.Lines(n.Run("ip", "-4", "-o", "addr", "show", "dev", "up0", "scope", "global")) {
		list = append(list, strings.Join(strings.Fields(line)[1:4], " "))
	}
	for line := range strings.Lines(n.Run("ip", "-4", "route", "show", "dev", "up0")) {
		list = append(list, strings.TrimSpace(expires.ReplaceAllString(line, "")))
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// leases is what a daemon says of both leases: when they are renewed; "" where one is not there. dead: it has died.
func (n *leaseNode) leases(l *life) (four, six string, dead bool) {
	var answer struct {
		Interfaces []struct {
			Interface string
			Dhcp4     struct {
				State   string
				RenewAt string `json:"renew_at"`
			}
			Dhcp6 struct {
				State   string
				RenewAt string `json:"renew_at"`
			}
			Prefixes []struct{ Prefix string }
		}
	}
	a := l.call(step{"net.lease", "{}"})
	if a == nil {
		return "", "", true
	}
	if err := json.Unmarshal(a.Result, &answer); err != nil {
		n.t.Fatalf("%v: %+v", err, a)
	}
	for _, row := range answer.Interfaces {
		if row.Interface != "up0" {
			continue
		}
		if row.Dhcp4.State == "bound" {
			four = row.Dhcp4.RenewAt
		}
		if row.Dhcp6.State == "bound" && len(row.Prefixes) == 1 {
			six = row.Dhcp6.RenewAt
		}
	}
	return four, six, false
}

// awaits waits until the leases of a daemon are so; false: it died before.
func (n *leaseNode) awaits(l *life, so func(four, six string) bool) bool {
	n.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		select {
		case <-l.ended:
			return false
		default:
		}
		four, six, dead := n.leases(l)
		if dead {
			return false
		}
		if so(four, six) {
			return true
		}
		if time.Now().After(end) {
			n.t.Fatalf("leases %q %q\n%s\n%s\n%s", four, six, n.picture(), l.log.String(), n.server.log.String())
		}
	}
}

func bothBound(four, six string) bool    { return four != "" && six != "" }
func neitherBound(four, six string) bool { return four == "" && six == "" }

// rests waits until a daemon has both leases.
func (n *leaseNode) rests(l *life) {
	n.t.Helper()
	if !n.awaits(l, bothBound) {
		n.t.Fatalf("it died: %s", l.log.String())
	}
}

// isBound is the picture of a node with both leases.
const isBound = `198.51.100.0/24 proto kernel scope link src 198.51.100.50 metric 1025
default via 198.51.100.1 proto 109 src 198.51.100.50 metric 1025
lan0 2001:db8:100::1/64
unreachable 2001:db8:100::/56
up0 2001:db8:5::50/128
up0 inet 198.51.100.50/24`

// leaseCrashes are what happens to leases.
var leaseCrashes = []struct {
	name  string
	renew int // after so many seconds
	of    func(n *leaseNode) ordeal
}{
	{"bind", 300, func(n *leaseNode) ordeal {
		return ordeal{change: func(l *life) bool { return n.awaits(l, bothBound) }, again: func(*life) {}, rest: n.rests, after: isBound}
	}},
	{"renew", 2, func(n *leaseNode) ordeal {
		renewed := func(l *life) bool {
			first4, first6 := "", ""
			return n.awaits(l, func(four, six string) bool {
				if first4 == "" || first6 == "" {
					first4, first6 = four, six
				}
				return bothBound(four, six) && four != first4 && six != first6
			})
		}
		return ordeal{setup: n.rests, change: renewed, again: func(l *life) { renewed(l) }, rest: n.rests, after: isBound}
	}},
	{"restart", 300, func(n *leaseNode) ordeal {
		restart := step{"net.lease.restart", `{"interface":"up0"}`}
		return ordeal{setup: n.rests, change: func(l *life) bool { return l.call(restart) != nil }, again: func(l *life) { l.must(restart) }, rest: n.rests, after: isBound}
	}},
	{"release", 300, func(n *leaseNode) ordeal {
		l := n.start(0)
		n.rests(l)
		if !l.stop() {
			n.t.Errorf("it did not end well: %s", l.log.String())
		}
		n.asks(false)
		released := func(l *life) bool {
			return n.awaits(l, func(four, six string) bool { return neitherBound(four, six) && n.picture() == "" })
		}
		return ordeal{change: released, again: func(*life) {}, rest: func(l *life) { released(l) }}
	}},
}

// TestLeasesKilledAtEveryMoment kills the daemon while leases come, are renewed, asked for anew and given back: the next
// one has the leases that the kernel has, and gets those it was to have. With few rounds one moment of each is tried,
// another each time.
func TestLeasesKilledAtEveryMoment(t *testing.T) {
	testhost.Root(t)
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 6))
	stride := max(1, 400/testhost.Rounds(12))
	few := stride > 16
	var points atomic.Int64
	for _, c := range leaseCrashes {
		first := 1 + rng.IntN(stride)
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tried := 0
			for moment := first; ; moment += stride {
				n := newLeaseNode(t, c.renew)
				o := c.of(n)
				o.picture, o.before = n.picture, o.after
				if n.undergo(moment, o) {
					break
				}
				if tried++; few {
					break
				}
				if moment > 400 {
					t.Fatal("it never comes to its end")
				}
			}
			t.Logf("%d moments", tried)
			points.Add(int64(tried))
		})
	}
	t.Cleanup(func() { t.Logf("killed at %d moments of leases", points.Load()) })
}
