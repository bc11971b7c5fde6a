package netops

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// object is a JSON object as encoding/json decodes it: what our results and the witnesses' are
// compared as, so that a member that only one of them has shows.
type object = map[string]any

// host is a namespace with interfaces, addresses and routes made at random, and a Net in it.
type host struct {
	*testhost.NetNS
	t   *testing.T
	rng *rand.Rand
	net *Net

	links []string // names, in the order in which they were made
	added map[string]bool
}

func newHost(t *testing.T, seed, round uint64) *host {
	t.Helper()
	h := &host{NetNS: testhost.NewNetNS(t), t: t, rng: rand.New(rand.NewPCG(seed, round)), added: map[string]bool{}}
	// Duplicate address detection would change flags while they are compared.
	h.Run("sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0")
	h.net = newNet(t, h.NetNS)
	return h
}

func newNet(t testing.TB, ns *testhost.NetNS) *Net {
	t.Helper()
	n, err := New(Options{NetNS: ns.Path(), Mode: registry.NodeModeNative, Version: "0.1.0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// call makes a call as the pipeline does, params and result as JSON, and checks the result against its
// schema.
func call(t testing.TB, n *Net, method string, params any) (object, error) {
	t.Helper()
	text, err := json.Marshal(params)
	if err != nil {
		t.Fatal(err)
	}
	row, ok := registry.Lookup(method)
	if !ok {
		t.Fatalf("no method %s", method)
	}
	p, err := row.Decode(text)
	if err != nil {
		return nil, err
	}
	out := &registry.Out{}
	if err := row.Call(t.Context(), &registry.Servers{Net: n}, p, out); err != nil {
		return nil, err
	}
	testhost.ValidateResult(t, method, out.Buf)
	var result object
	if err := json.Unmarshal(out.Buf, &result); err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return result, nil
}

func mustCall(t testing.TB, n *Net, method string, params any) object {
	t.Helper()
	result, err := call(t, n, method, params)
	if err != nil {
		t.Fatalf("%s %v: %v", method, params, err)
	}
	return result
}

// objects is a list member of a result.
func objects(v any) []object {
	list, _ := v.([]any)
	out := make([]object, 0, len(list))
	for _, o := range list {
		out = append(out, o.(object))
	}
	return out
}

// decode reads a witness' JSON.
func decode[T any](t testing.TB, text []byte) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v in %.200s", err, text)
	}
	return v
}

// try runs ip commands of which some may be refused: what a host is made of is taken from the
// witness, not from what was asked for.
func (h *host) try(commands ...string) {
	h.t.Helper()
	h.tryWith("ip", commands...)
}

// tryWith is try for another program of iproute2.
func (h *host) tryWith(program string, commands ...string) {
	h.t.Helper()
	_, _ = h.Try(strings.Join(commands, "\n")+"\n", program, "-force", "-batch", "-")
}

func (h *host) oneOf(list ...string) string { return list[h.rng.IntN(len(list))] }

// maybe is text, one time in n.
func (h *host) maybe(n int, text string) string {
	if h.rng.IntN(n) == 0 {
		return text
	}
	return ""
}

// build makes the whole host.
func (h *host) build() {
	h.t.Helper()
	h.buildLinks()
	h.buildAddresses()
	h.buildRoutes()
}

// name makes an interface name that no other has, with characters that names may have.
func (h *host) name(kind string) string {
	name := fmt.Sprintf("%s%d%s", kind, len(h.links), h.oneOf("", ".7", "-x", "_", "+", "é"))
	h.links = append(h.links, name)
	return name
}

func (h *host) buildLinks() {
	other := testhost.NewNetNS(h.t)
	for range 1 + h.rng.IntN(3) {
		h.try("link add " + h.name("br") + " type bridge")
	}
	for range 1 + h.rng.IntN(5) {
		a, b := h.name("v"), h.name("w")
		h.try("link add " + a + " type veth peer name " + b)
		if h.rng.IntN(4) == 0 {
			h.try("link set " + b + " netns " + other.Path())
		}
	}
	for range h.rng.IntN(6) {
		h.try(h.virtual())
	}
	for _, name := range h.links {
		h.try(h.properties(name)...)
	}
}

// virtual is the command for one interface of a kind that has options.
func (h *host) virtual() string {
	under := h.links[h.rng.IntN(len(h.links))]
	switch h.rng.IntN(6) {
	case 0:
		return fmt.Sprintf("link add %s type vxlan id %d %s %s %s dstport 4789 %s %s %s", h.name("vx"), h.rng.IntN(1<<24),
			h.oneOf("remote 192.0.2.1 local 192.0.2.9", "group 239.1.1.1 dev "+under, "remote 2001:db8::1"),
			h.oneOf("ttl 5", "ttl inherit", ""), h.oneOf("tos 4", "df set", "df unset", ""),
			h.oneOf("nolearning", "learning proxy", "l2miss l3miss rsc", ""),
			h.oneOf("ageing 77 maxaddress 9", "gbp", "srcport 1000 2000", "remcsumtx", "remcsumrx", ""), h.oneOf("udpcsum", "noudpcsum udp6zerocsumtx udp6zerocsumrx", ""))
	case 1:
		return fmt.Sprintf("link add %s link %s type macvlan mode %s", h.name("mv"), under,
			h.oneOf("private", "vepa", "bridge", "bridge bcqueuelen 55", "passthru nopromisc", "source macaddr add 52:54:00:00:00:05"))
	case 2:
		return fmt.Sprintf("tuntap add %s mode %s %s %s", h.name("t"), h.oneOf("tap", "tun"),
			h.oneOf("user 0", "group 0", "user 61234 group 61235", ""), h.oneOf("multi_queue", "vnet_hdr pi", ""))
	case 3:
		return "link add " + h.name("ifb") + " type ifb"
	case 4:
		return fmt.Sprintf("link add %s type vxlan external dstport 0 %s", h.name("vx"), h.oneOf("vnifilter", ""))
	default:
		return "link add " + h.name("br") + " type bridge vlan_filtering 0 stp_state 1"
	}
}

func (h *host) properties(name string) []string {
	set := "link set dev " + name + " "
	list := []string{}
	add := func(n int, text string) {
		if h.rng.IntN(n) == 0 {
			list = append(list, set+text)
		}
	}
	add(3, fmt.Sprintf("mtu %d", 1280+h.rng.IntN(200)))
	add(4, fmt.Sprintf("txqueuelen %d", h.rng.IntN(5000)))
	add(4, `alias "a \"quoted\" alias, é"`)
	add(5, fmt.Sprintf("group %d", 1+h.rng.IntN(1<<30)))
	add(4, fmt.Sprintf("address 52:54:00:%02x:%02x:%02x", h.rng.IntN(256), h.rng.IntN(256), h.rng.IntN(256)))
	add(6, "promisc on")
	add(6, "allmulticast on")
	add(8, "arp off")
	add(8, "multicast off")
	add(6, "addrgenmode "+h.oneOf("none", "eui64", "random"))
	add(6, "gso_max_size 40000 gso_max_segs 20 gro_max_size 30000")
	add(8, "protodown on")
	add(8, "mode dormant")
	if !strings.HasPrefix(name, "br") {
		add(2, "master "+h.links[h.rng.IntN(len(h.links))])
	}
	add(1, h.oneOf("up", "up", "up", "down"))
	if h.rng.IntN(3) == 0 {
		list = append(list, "link property add dev "+name+" altname "+name+"-also-known-as-something-long altname x"+name)
	}
	return list
}

func (h *host) buildAddresses() {
	for i, name := range h.links {
		for j := range h.rng.IntN(4) {
			h.try(fmt.Sprintf("addr add %s dev %s", h.ipv4(i, j, name), name))
		}
		for j := range h.rng.IntN(3) {
			h.try(fmt.Sprintf("addr add %s dev %s", h.ipv6(i, j), name))
		}
	}
}

func (h *host) ipv4(i, j int, name string) string {
	host := 1 + j
	if h.rng.IntN(5) == 0 {
		return fmt.Sprintf("10.%d.0.%d peer 10.%d.1.%d/%d %s", i, host, i, host, 24+h.rng.IntN(9), h.lifetime())
	}
	return fmt.Sprintf("10.%d.0.%d/%d %s %s %s %s %s", i, host, 8+h.rng.IntN(25),
		h.oneOf("brd +", "brd 10.255.255.255", ""), h.maybe(4, "label "+name+":x"),
		h.oneOf("scope link", "scope site", "", ""), h.oneOf("metric 77", "noprefixroute", ""), h.lifetime())
}

func (h *host) ipv6(i, j int) string {
	address := fmt.Sprintf("2001:db8:%x::%x", i, 1+j)
	h.added[address] = true
	if h.rng.IntN(5) == 0 {
		return fmt.Sprintf("%s peer 2001:db8:%x:1::%x/%d %s", address, i, j, 64+h.rng.IntN(65), h.lifetime())
	}
	return fmt.Sprintf("%s/%d %s %s %s", address, 32+h.rng.IntN(97),
		h.oneOf("nodad", "mngtmpaddr", "home", ""), h.oneOf("metric 88", "noprefixroute", ""), h.lifetime())
}

func (h *host) lifetime() string {
	return h.oneOf("", "", "valid_lft 900 preferred_lft 300", "valid_lft 900 preferred_lft 0", "valid_lft forever preferred_lft 0")
}
