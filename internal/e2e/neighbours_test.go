package e2e

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
)

// sharedHost is a node on which others have bridges, routes, tables and settings too.
type sharedHost struct {
	*leaseNode
	checks int
}

// theirRules are what a container engine, a firewall and somebody by hand might have.
const theirRules = `
table inet theirs {
	set s { type ipv4_addr; flags interval; elements = { 10.0.0.1, 10.0.2.0/24 }; }
	map m { type inet_service : ipv4_addr; elements = { 80 : 10.0.0.1, 443 : 10.0.0.2 }; }
	counter seen { }
	chain input { type filter hook input priority 5; policy accept; ip saddr @s counter drop; tcp dport 22 counter name "seen" accept comment "by hand"; }
	chain forward { type filter hook forward priority filter; policy drop; ct state vmap { established : accept, related : accept, invalid : drop }; iifname "theirs" accept; }
	chain output { type route hook output priority mangle; meta skuid 7 meta mark set 0x7; }
}
table ip nat {
	chain DOCKER { iifname "theirs" return; tcp dport 9 dnat to 203.0.113.7:90; }
	chain PREROUTING { type nat hook prerouting priority dstnat; policy accept; fib daddr type local jump DOCKER; }
	chain POSTROUTING { type nat hook postrouting priority srcnat; policy accept; ip saddr 203.0.113.0/24 oifname != "theirs" masquerade; }
}
table ip6 filter {
	chain INPUT { type filter hook input priority filter; policy accept; icmpv6 type { nd-neighbor-solicit, nd-router-advert } accept; limit rate 5/second log prefix "six: "; }
}
`

// newSharedHost makes one, whose daemon is the real binary.
func newSharedHost(t *testing.T) *sharedHost {
	t.Helper()
	testhost.Tool(t, "nft", "nftables")
	h := &sharedHost{leaseNode: newLeaseNode(t, 300)}
	h.binary = filepath.Join(bin, "my-os-server-native")
	h.IP("link add theirs type bridge", "link set theirs up mtu 1280 alias another", "addr add 203.0.113.1/24 dev theirs", "addr add 2001:db8:fe::1/64 dev theirs nodad",
		"link add t0 type veth peer t1", "link set t0 master theirs", "link set t0 up", "link set t1 up", "link set t0 type bridge_slave isolated on cost 7",
		"tuntap add dev tap9 mode tap", "link set tap9 master theirs",
		"route add 198.51.101.0/24 via 203.0.113.9 proto static", "route add 2001:db8:ff::/48 dev theirs metric 5", "route add blackhole 100.64.0.0/10 table 77",
		"rule add from 203.0.113.0/24 lookup 77",
		"neigh add 203.0.113.9 lladdr 02:00:00:00:00:99 dev theirs")
	h.IP("link set up0 up")
	h.Run("sysctl", "-qw", "net.ipv6.conf.up0.accept_ra=2") // as the configuration of an interface has it
	h.Run("ip", "-6", "rule", "add", "fwmark", "7", "lookup", "77")
	if _, err := h.Try(theirRules, "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	h.Run("sysctl", "-qw", "net.ipv4.conf.theirs.forwarding=1", "net.ipv4.conf.t0.rp_filter=1", "net.ipv6.conf.theirs.accept_ra=0", "net.ipv6.conf.t1.forwarding=1",
		"net.ipv4.conf.all.arp_ignore=1", "net.netfilter.nf_conntrack_udp_timeout=77", "net.ipv4.ip_local_port_range=20000 50000")
	testhost.Eventually(t, "addresses of links", func() bool { return h.Run("ip", "-6", "addr", "show", "tentative") == "" })
	return h
}

var (
	// goesByItself is what the kernel counts, and what follows a link that is set up.
	goesByItself = regexp.MustCompile(`"[a-z_]*timer": *[0-9.]+,?|"(oper)?state":"[A-Za-z]+",?|"(promiscuity|allmulti|num_[rt]x_queues)":\d+,?|net\.netfilter\.nf_conntrack_count = .*`)
	// isOurs are links that the daemon makes or is told to use, and what follows from forwarding: of IPv4 on the
	// links that it is for, of IPv6 on all, with an address for routers on each.
	isOurs = regexp.MustCompile(`"type":"anycast"|^net\.ipv4\.conf\.p1\.forwarding |"(dev|ifname|link)":"(br\d|tap1|c-[ab]|p0|up0|lan0)"|"protocol":"109"|^net\.ipv[46]\.(conf|neigh)\.(br\d|tap1|c-[ab]|p0|up0|lan0)\.|^net\.ipv6\.conf\.[a-z0-9]+\.(forwarding|accept_ra) `)
)

// theirs is what others have on the host, as the tools print it; all: with what is ours, of which there is to be nothing.
func (h *sharedHost) theirs(all bool) []string {
	h.t.Helper()
	var lines []string
	if all {
		lines = append(lines, h.Run("nft", "-s", "list", "ruleset"))
	} else {
		for table := range strings.Lines(h.Run("nft", "list", "tables")) {
			if words := strings.Fields(table); words[2] != "my_os_server" {
				lines = append(lines, h.Run("nft", "-s", "list", "table", words[1], words[2]))
			}
		}
	}
	for _, args := range []string{"-d addr", "-d -4 route show table all", "-d -6 route show table all", "-4 rule", "-6 rule", "neigh show nud permanent", "-d nexthop"} {
		var rows []json.RawMessage
		if text := h.Run("ip", strings.Fields("-j "+args)...); strings.TrimSpace(text) != "" {
			must(h.t, json.Unmarshal([]byte(text), &rows))
		}
		for _, row := range rows {
			lines = append(lines, string(row))
		}
	}
	lines = append(lines, h.settings()...)
	var kept []string
	for _, line := range lines {
		if all || !isOurs.MatchString(line) {
			kept = append(kept, goesByItself.ReplaceAllString(line, ""))
		}
	}
	return kept
}

// settings are those of the network that can be read, as sysctl(8) prints them, whose process takes a second.
func (h *sharedHost) settings() (lines []string) {
	h.t.Helper()
	var err error
	h.Do(func() { // the kernel shows the settings of the namespace of who looks
		err = filepath.WalkDir("/proc/sys/net", func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			if value, err := os.ReadFile(path); err == nil {
				name := strings.ReplaceAll(strings.TrimPrefix(path, "/proc/sys/"), "/", ".")
				lines = append(lines, name+" = "+strings.TrimSpace(string(value)))
			}
			return nil
		})
	})
	must(h.t, err)
	if len(lines) < 500 {
		h.t.Fatalf("only %d settings can be read", len(lines))
	}
	return lines
}

// untouched compares what others have with what they had.
func (h *sharedHost) untouched(when string, before []string) {
	h.t.Helper()
	h.checks++
	if diff := cmp.Diff(before, h.theirs(false)); diff != "" {
		h.t.Errorf("%s: what others have (-) was changed (+):\n%s", when, diff)
	}
}

// sharedWrites are calls that make one of everything, and those that take it away. {0} is the id that the first of the
// ids made has, and so on.
var sharedWrites, sharedRemovals = []step{
	{"net.bridge.add", `{"name":"br0","mtu":1400,"addresses":["10.1.0.1/24","2001:db8:1::1/64"]}`},
	{"net.bridge.add", `{"name":"br1","stp":true}`},
	{"net.bridge.connect", `{"a":"br0","b":"br1","name":"c"}`},
	{"net.bridge.add_port", `{"bridge":"br0","interface":"p0","isolated":true}`},
	{"net.vm.create_tap", `{"vm_id":"v","name":"tap1","bridge":"br1"}`},
	{"net.routes.add", `{"dst":"10.20.0.0/16","gateway":"192.0.2.1"}`},
	{"net.routes.add", `{"dst":"2001:db8:9::/48","gateway":"2001:db8:1::9"}`},
	{"net.routes.add", `{"dst":"10.30.0.0/16","type":"blackhole","table":77}`},
	{"net.firewall.add_rule", `{"protocol":"tcp","port":80}`},
	{"net.nat.add_dnat", `{"protocol":"tcp","port":8080,"to_address":"10.1.0.5"}`},
	{"net.nat.add_dnat", `{"protocol":"udp","port":5000,"port_end":5009,"to_address":"2001:db8:1::5"}`},
	{"net.nat.add_snat", `{"source":"10.1.0.0/24"}`},
	{"net.lease.restart", `{"interface":"up0"}`},
	{"net.conntrack.flush", `{"zone":5}`},
}, []step{
	{"net.nat.remove_snat", `{"id":"{3}"}`},
	{"net.nat.remove_dnat", `{"id":"{2}"}`},
	{"net.nat.remove_dnat", `{"id":"{1}"}`},
	{"net.firewall.remove_rule", `{"id":"{0}","drop_existing":true}`},
	{"net.routes.delete", `{"dst":"10.30.0.0/16","table":77}`},
	{"net.routes.delete", `{"dst":"2001:db8:9::/48"}`},
	{"net.routes.delete", `{"dst":"10.20.0.0/16"}`},
	{"net.vm.delete_tap", `{"name":"tap1"}`},
	{"net.bridge.remove_port", `{"bridge":"br0","interface":"p0"}`},
	{"net.bridge.remove_port", `{"bridge":"br1","interface":"c-b"}`},
	{"net.bridge.delete", `{"name":"br1"}`},
	{"net.bridge.delete", `{"name":"br0"}`},
}

// sharedSabotage is what somebody does to ours, by ip(8), nft(8) and sysctl(8).
var sharedSabotage = []string{
	"ip link del br1", "ip link set br0 mtu 1300", "ip link del tap1", "ip route del 10.20.0.0/16", "ip addr del 10.1.0.1/24 dev br0", "ip link set p0 nomaster",
	"nft delete table inet my_os_server", "nft flush chain inet my_os_server input", "nft flush set inet my_os_server open", "sysctl -qw net.ipv4.conf.br0.forwarding=0",
}

func (l *life) inSync() bool {
	var verified struct {
		InSync bool `json:"in_sync"`
	}
	must(l.node.t, json.Unmarshal(l.must(step{"net.verify", "{}"}), &verified))
	return verified.InSync
}

// TestWhatOthersHaveStaysToTheByte takes a node through everything that the daemon does to a network: every write, a
// kill, an orderly end, repair, a new boot, every removal. What others have beside ours is the same at each step, and
// at the end the whole host is what it was.
func TestWhatOthersHaveStaysToTheByte(t *testing.T) {
	testhost.Root(t)
	t.Parallel()
	h := newSharedHost(t)
	before := h.theirs(false)
	l := h.start(0)
	h.rests(l)
	h.untouched("leases", before)
	var ids []string
	for _, s := range sharedWrites {
		if m := idMade.FindSubmatch(l.must(s)); m != nil {
			ids = append(ids, fmt.Sprintf("{%d}", len(ids)/2), string(m[1]))
		}
		h.untouched(s.method+" "+s.params, before)
	}
	l.kill()
	l = h.start(0)
	h.rests(l)
	h.untouched("killed and started", before)
	if !l.stop() {
		t.Errorf("it did not end well: %s", l.log.String())
	}
	h.untouched("ended", before)
	h.repaired(before)

	booted := newSharedHost(t) // the same folder, another namespace: to the daemon that is a boot
	booted.folder, booted.args = h.folder, h.args
	bare, unleased, before := booted.theirs(true), booted.leaseNode.picture(), booted.theirs(false)
	l = booted.start(0)
	booted.rests(l)
	testhost.Eventually(t, "all is restored", l.inSync)
	booted.untouched("restored after a boot", before)
	for _, s := range sharedRemovals {
		s.params = strings.NewReplacer(ids...).Replace(s.params)
		l.must(s)
		booted.untouched(s.method+" "+s.params, before)
	}
	l.stop()
	booted.configure("[reconcile]\nmode = \"report\"\n")
	l = booted.start(0)
	if !booted.awaits(l, func(four, six string) bool { return neitherBound(four, six) && booted.leaseNode.picture() == unleased }) {
		t.Fatalf("it died: %s", l.log.String())
	}
	if !l.stop() {
		t.Errorf("it did not end well: %s", l.log.String())
	}
	if diff := cmp.Diff(bare, booted.theirs(true)); diff != "" {
		t.Errorf("the host as it was (-) and as it is left (+):\n%s", diff)
	}
	t.Logf("compared %d times", h.checks+booted.checks+1)
}

// repaired has a daemon repair what is sabotaged.
func (h *sharedHost) repaired(before []string) {
	h.t.Helper()
	h.configure(leaseConfig + "[reconcile]\nmode = \"repair\"\n")
	l := h.start(0)
	h.rests(l)
	for _, sabotage := range sharedSabotage {
		words := strings.Fields(sabotage)
		h.Run(words[0], words[1:]...)
		testhost.Eventually(h.t, "repaired: "+sabotage, l.inSync)
		h.untouched("repaired: "+sabotage, before)
	}
	if !l.stop() {
		h.t.Errorf("it did not end well: %s", l.log.String())
	}
	h.untouched("ended after repairs", before)
}
