package e2e

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// tableCrashes are the writes of the packet filter, each with what must stand before it. {id} is that of what was made
// last.
var tableCrashes = []tableCrash{
	{"add the first rule", nil, step{"net.firewall.add_rule", `{"protocol":"tcp","port":80,"comment":"web"}`}, nil},
	{"add another rule", []step{{"net.firewall.add_rule", `{"protocol":"tcp","port":80}`}}, step{"net.firewall.add_rule", `{"protocol":"udp","port":1000,"port_end":1099,"source":"10.0.0.0/8"}`}, nil},
	{"remove a rule", []step{{"net.firewall.add_rule", `{"protocol":"tcp","port":81}`}, {"net.firewall.add_rule", `{"protocol":"tcp","port":80}`}}, step{"net.firewall.remove_rule", `{"id":"{id}"}`}, nil},
	{"remove the last rule", []step{{"net.firewall.add_rule", `{"protocol":"tcp","port":80}`}}, step{"net.firewall.remove_rule", `{"id":"{id}"}`}, nil},
	{"add a forward", nil, step{"net.nat.add_dnat", `{"protocol":"tcp","port":8080,"port_end":8083,"to_address":"192.0.2.9","to_port":80}`}, nil},
	{"add a forward of IPv6", []step{{"net.firewall.add_rule", `{"protocol":"tcp","port":80}`}}, step{"net.nat.add_dnat", `{"protocol":"udp","port":53,"to_address":"2001:db8::9","interface":"p1"}`}, nil},
	{"remove a forward", []step{{"net.firewall.add_rule", `{"protocol":"tcp","port":80}`}, {"net.nat.add_dnat", `{"protocol":"tcp","port":8080,"to_address":"192.0.2.9"}`}}, step{"net.nat.remove_dnat", `{"id":"{id}"}`}, nil},
	{"remove a forward of IPv6", []step{{"net.nat.add_dnat", `{"protocol":"tcp","port":8080,"to_address":"2001:db8::9"}`}}, step{"net.nat.remove_dnat", `{"id":"{id}"}`}, nil},
	{"add a translation", []step{{"net.nat.add_dnat", `{"protocol":"tcp","port":8080,"to_address":"192.0.2.9"}`}}, step{"net.nat.add_snat", `{"source":"10.0.0.0/24","out_interface":"p1"}`}, nil},
	{"remove a translation", []step{{"net.nat.add_snat", `{"source":"10.0.0.0/24","to_address":"192.0.2.2"}`}}, step{"net.nat.remove_snat", `{"id":"{id}"}`}, nil},
	{"add a forward of IPv6 where others forward", nil, step{"net.nat.add_dnat", `{"protocol":"tcp","port":8080,"to_address":"2001:db8::9"}`}, othersForward},
	{"remove a forward of IPv6 where others forward", []step{{"net.nat.add_dnat", `{"protocol":"tcp","port":8080,"to_address":"2001:db8::9"}`}}, step{"net.nat.remove_dnat", `{"id":"{id}"}`}, othersForward},
}

// othersForward are some interfaces of all that forward without this daemon, and what further ones get.
var othersForward = []string{"net.ipv6.conf.p0.forwarding=1", "net.ipv6.conf.lo.forwarding=1", "net.ipv6.conf.default.forwarding=1"}

type tableCrash struct {
	name   string
	before []step
	write  step
	others []string // settings that others made before all, as sysctl takes them
}

var idMade = regexp.MustCompile(`"id":"((?:fw|dnat|snat)-[0-9a-f]+)"`)

// TestTableKilledAtEveryMomentItIsOldOrNew is TestKilledAtEveryMomentItIsOldOrNew for the packet filter. Where rounds are
// few it looks at some of the moments, other ones each time.
func TestTableKilledAtEveryMomentItIsOldOrNew(t *testing.T) {
	testhost.Root(t)
	testhost.Tool(t, "nft", "nftables")
	stride := 1
	if testhost.Rounds(12) < 100 {
		stride = 5
	}
	first := rand.New(rand.NewPCG(testhost.Seed(t), 0)).IntN(stride)
	points := 0
	for i, c := range tableCrashes {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			reference := newNode(t, c.others...)
			l := reference.start(0)
			id := ""
			for _, s := range c.before {
				if m := idMade.FindSubmatch(l.must(s)); m != nil {
					id = string(m[1])
				}
			}
			c.write.params = strings.ReplaceAll(c.write.params, "{id}", id)
			before := reference.picture()
			l.must(c.write)
			after := reference.picture()
			l.kill()
			if before == after {
				t.Fatal("the write changes nothing that the picture shows")
			}
			tried := 0
			for moment := 1 + (first+i)%stride; !killedAt(t, moment, c.before, c.write, before, after, c.others...); moment += stride {
				if tried++; moment > 200 {
					t.Fatal("it never comes to its end")
				}
			}
			t.Logf("%d moments", tried)
			total.Lock()
			points += tried
			total.Unlock()
		})
	}
	t.Cleanup(func() { t.Logf("killed at %d moments of %d writes", points, len(tableCrashes)) })
}
