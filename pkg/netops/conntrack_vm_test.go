//go:build vmtest

package netops

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/internal/vmtest"
)

// TestConntrackFlushWhereTheKernelPassesOverZones flushes by each filter on a kernel that does not know zones in a dump
// or a flush (before 6.8): what conntrack(8) lists with the properties asked for goes, and nothing else.
func TestConntrackFlushWhereTheKernelPassesOverZones(t *testing.T) {
	vmtest.Guest(t)
	for _, module := range []string{"nf_conntrack", "nf_conntrack_netlink"} { // sysctls of a namespace come with it
		testhost.Command(t, "modprobe", module)
	}
	ns, n := trackedHost(t)
	for _, of := range []string{"udp", "icmp", "icmpv6", "generic", "gre"} { // nothing goes by itself meanwhile
		ns.Run("sysctl", "-qw", "net.netfilter.nf_conntrack_"+of+"_timeout=600")
	}
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 1))
	empty := 0
	filters := flushFilters()
	for _, params := range filters {
		talk(t, ns, rng, 40)
		before, _ := conntrackLines(t, ns)
		gone := map[string]bool{} // by id: whether it is to go
		wanted := 0
		for id, l := range before {
			if gone[id] = l.fits(params); gone[id] {
				wanted++
			}
		}
		if wanted == 0 || wanted == len(before) {
			empty++
		}
		if got := mustCall(t, n, "net.conntrack.flush", params)["flushed"]; got != float64(wanted) {
			t.Errorf("%v: flushed %v, want %d of %d", params, got, wanted, len(before))
		}
		after, _ := conntrackLines(t, ns)
		for id, l := range before { // what still sends is known anew, by another id
			if _, there := after[id]; there == gone[id] {
				t.Errorf("%v: there %v: %v", params, there, l)
			}
		}
		t.Logf("%v: %d of %d", params, wanted, len(before))
	}
	if empty > len(filters)/4 {
		t.Errorf("%d filters wanted nothing, or all", empty)
	}
}

// fits tells whether a line of conntrack(8) has what a filter asks for.
func (l line) fits(params object) bool {
	for key, value := range params {
		text := fmt.Sprint(value)
		fits := false
		switch key {
		case "zone":
			fits = l.zone() == text
		case "family":
			fits = l.Head[0] == text
		case "protocol":
			number := map[string]string{"udp": "17", "tcp": "6", "icmp": "1"}[text]
			fits = l.Head[1] == number || l.Head[1] == text
		case "state":
			fits = l.Head[2] == text
		case "source", "destination":
			fits = netip.MustParsePrefix(text).Contains(netip.MustParseAddr(l.word(map[string]string{"source": "src", "destination": "dst"}[key])))
		case "mark":
			fits = l.hasMark(text, fmt.Sprint(params["mark_mask"]))
		case "mark_mask":
			fits = true // goes with mark
		}
		if !fits {
			return false
		}
	}
	return true
}

// word is the first value of a key: of the original direction where both have one.
func (l line) word(key string) string {
	for _, w := range l.Words {
		if value, ok := strings.CutPrefix(w, key+"="); ok {
			return value
		}
	}
	return ""
}

// zone is the one that the entry was made in, for both directions or for one.
func (l line) zone() string {
	for _, key := range []string{"zone", "zone-orig", "zone-reply"} {
		if value := l.word(key); value != "" {
			return value
		}
	}
	return "0"
}

func (l line) hasMark(text, maskText string) bool {
	mark, _ := strconv.ParseUint(text, 16, 32)
	mask, err := strconv.ParseUint(maskText, 16, 32)
	if err != nil {
		mask = 0xffffffff
	}
	is, _ := strconv.ParseUint(l.word("mark"), 10, 32)
	return is&mask == mark
}
