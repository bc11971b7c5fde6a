package netops

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// switched is an Open vSwitch with two bridges and two hosts on the first, that a Net is asked about.
type switched struct {
	t     *testing.T
	ovs   *testhost.OVS
	n     *Net
	rng   *rand.Rand
	hosts [2]*testhost.NetNS
	zone4 int // where what is sent over IPv4 is tracked
	zone6 int
	mark  uint32
	label string // digits
	open  []net.Conn
}

func newSwitched(t *testing.T, datapathType string, seed uint64) *switched {
	t.Helper()
	ns := testhost.NewNetNS(t)
	s := &switched{t: t, ovs: testhost.NewOVS(t, ns), rng: rand.New(rand.NewPCG(seed, 0))}
	s.n = readerOf(t, s.ovs)
	for _, bridge := range []string{"br0", "br1"} {
		s.ovs.Vsctl("add-br", bridge, "--", "set", "bridge", bridge, "datapath_type="+datapathType)
	}
	s.ovs.Vsctl("add-port", "br0", "pa", "--", "set", "interface", "pa", "type=patch", "options:peer=pb",
		"--", "add-port", "br1", "pb", "--", "set", "interface", "pb", "type=patch", "options:peer=pa",
		"--", "add-port", "br1", "in0", "--", "set", "interface", "in0", "type=internal")
	for i := range s.hosts {
		s.hosts[i] = s.ovs.Peer("br0", fmt.Sprint("v", i+1), fmt.Sprintf("198.51.100.%d/24", i+1), fmt.Sprintf("2001:db8::%d/64", i+1))
	}
	if datapathType == "netdev" {
		s.ovs.Appctl("dpctl/ct-set-limits", fmt.Sprint("default=", zoneLimit))
	}
	t.Cleanup(s.hangUp)
	return s
}

// readerOf is a Net that looks at an Open vSwitch.
func readerOf(t *testing.T, ovs *testhost.OVS) *Net {
	t.Helper()
	n, err := New(Options{NetNS: ovs.NS.Path(), OVSRunDir: ovs.RunDir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

func (s *switched) hangUp() {
	for _, c := range s.open {
		c.Close()
	}
	s.open = nil
}

func (s *switched) pick(list ...string) string { return list[s.rng.IntN(len(list))] }

// configure puts random flows into both bridges, and such as track what the hosts send.
func (s *switched) configure() {
	s.t.Helper()
	s.zone4, s.zone6 = s.rng.IntN(3), 3+s.rng.IntN(2)
	s.mark = []uint32{0, 7, 0xffffffff, s.rng.Uint32()}[s.rng.IntN(4)]
	s.label = s.pick("0", "123", "ffffffffffffffffffffffffffffffff", fmt.Sprintf("%x0000000000000000", s.rng.Uint64()>>1|1))
	flows := []string{
		"table=0,priority=200,icmp6,icmp_type=135,actions=NORMAL", "table=0,priority=200,icmp6,icmp_type=136,actions=NORMAL",
		fmt.Sprintf("table=0,priority=100,ip,ct_state=-trk,actions=ct(table=1,zone=%d)", s.zone4),
		fmt.Sprintf("table=0,priority=100,ipv6,ct_state=-trk,actions=ct(table=1,zone=%d)", s.zone6),
		"table=0,priority=10,actions=NORMAL",
		fmt.Sprintf("table=1,ip,ct_state=+trk+new,actions=ct(commit,zone=%d,exec(set_field:%d->ct_mark,set_field:0x%s->ct_label)),NORMAL", s.zone4, s.mark, s.label),
		fmt.Sprintf("table=1,ipv6,ct_state=+trk+new,actions=ct(commit,zone=%d),NORMAL", s.zone6),
		"table=1,priority=5,ct_state=+trk+est,actions=NORMAL",
	}
	for i := range 5 + s.rng.IntN(40) {
		flows = append(flows, s.randomFlow(10+i))
	}
	s.put("br0", flows)
	s.put("br1", []string{"priority=0,actions=NORMAL", s.randomFlow(10), s.randomFlow(253)})
}

func (s *switched) put(bridge string, flows []string) {
	s.t.Helper()
	s.ovs.Run("ovs-ofctl", "-O", "OpenFlow15", "del-flows", bridge)
	s.ovs.Feed(strings.Join(flows, "\n")+"\n", "ovs-ofctl", "-O", "OpenFlow15", "--bundle", "add-flows", bridge, "-")
}

// randomFlow is one that nothing reaches.
func (s *switched) randomFlow(table int) string {
	text := fmt.Sprintf("table=%d", table)
	for _, part := range []string{
		fmt.Sprintf("cookie=0x%x", s.rng.Uint64()>>s.rng.IntN(64)), fmt.Sprintf("priority=%d", s.rng.IntN(65536)),
		fmt.Sprintf("idle_timeout=%d", 600+s.rng.IntN(60000)), fmt.Sprintf("hard_timeout=%d", 600+s.rng.IntN(60000)),
		fmt.Sprintf("importance=%d", s.rng.IntN(65536)), "send_flow_rem", "reset_counts", "no_packet_counts", "no_byte_counts",
	} {
		if s.rng.IntN(3) == 0 {
			text += "," + part
		}
	}
	for _, part := range []string{
		"in_port=1", "reg0=0x5/0xff", fmt.Sprintf("reg1=%d", s.rng.Uint32()), fmt.Sprintf("tun_id=0x%x", s.rng.Uint32()), "metadata=0x5/0xf",
		"dl_dst=01:00:00:00:00:00/01:00:00:00:00:00", "dl_src=02:00:00:00:00:01", "ct_state=+trk-est", "ct_zone=9", "ct_mark=0x1/0x3", "pkt_mark=0x8",
	} {
		if s.rng.IntN(4) == 0 {
			text += "," + part
		}
	}
	if vlan := s.pick("", "dl_vlan=5", "vlan_tci=0x1000/0x1000", "dl_vlan=7,dl_vlan_pcp=3"); vlan != "" {
		text += "," + vlan
	}
	text += s.pick("", ",arp,arp_tpa=192.0.2.1,arp_op=1", ",ip,nw_src=10.0.0.0/8,nw_tos=32", ",tcp,tp_dst=80,tcp_flags=+syn-ack", ",udp,tp_src=0x10/0xfff0",
		",ipv6,ipv6_src=2001:db8::/32,nw_frag=later", ",icmp6,icmp_type=135,nd_target=2001:db8::1", ",sctp,tp_dst=9", ",icmp,icmp_type=8,icmp_code=0")
	actions := s.pick("drop", "NORMAL", "output:1,output:2", "resubmit(,254),LOCAL", "set_field:02:00:00:00:00:09->eth_src,FLOOD", "set_tunnel:0x7,IN_PORT",
		"learn(table=4,idle_timeout=10,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:0->NXM_NX_REG5[],output:NXM_OF_IN_PORT[])",
		"move:NXM_NX_REG0[]->NXM_NX_REG1[],load:0x7->NXM_NX_REG2[0..15],output:NXM_NX_REG3[]", "push_vlan:0x8100,set_field:4097->vlan_vid,output:1",
		"note:00.11.22.33", "ct_clear,controller(max_len=64,reason=action,id=5)", "conjunction(1,2/2)", "write_metadata:0x1/0x3,goto_table:255",
		"bundle(eth_src,50,active_backup,ofport,members:1,2)", "check_pkt_larger(1500)->NXM_NX_REG0[0],clone(ct_clear,output:1)", "output(port=1,max_len=100)",
		"sample(probability=3,collector_set_id=1,obs_domain_id=2,obs_point_id=3)", "set_queue:4,pop_queue,write_actions(output:1)",
		"multipath(symmetric_l4,1024,modulo_n,3,0,NXM_NX_REG1[])", "encap(nsh),decap()")
	return text + ",actions=" + strings.ReplaceAll(actions, "goto_table:255", fmt.Sprint("goto_table:", min(table+1, 254)))
}

// talk sends what the flows track: ICMP, UDP and TCP, some of which stays open.
func (s *switched) talk() {
	s.t.Helper()
	from, to := s.hosts[0], s.hosts[1]
	for _, address := range []string{"198.51.100.2", "2001:db8::2"} {
		from.Run("ping", "-c1", "-W20", address)
		for range 1 + s.rng.IntN(3) {
			s.connect(from, to, address)
		}
	}
}

// connect makes a TCP connection, sends something there and back, and closes it or does not.
func (s *switched) connect(from, to *testhost.NetNS, address string) {
	s.t.Helper()
	var err error
	var listener net.Listener
	to.Do(func() { listener, err = net.Listen("tcp", net.JoinHostPort(address, "0")) })
	if err != nil {
		s.t.Fatal(err)
	}
	defer listener.Close()
	var caller, called net.Conn
	from.Do(func() { caller, err = net.DialTimeout("tcp", listener.Addr().String(), 20*time.Second) })
	if err == nil {
		called, err = listener.Accept()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	for range s.rng.IntN(3) {
		_, _ = caller.Write([]byte("hello"))
		_, _ = called.Read(make([]byte, 5))
	}
	from.Do(func() { // a datagram, which nobody takes
		if c, err := net.Dial("udp", listener.Addr().String()); err == nil {
			_, _ = c.Write([]byte("x"))
			c.Close()
		}
	})
	if s.rng.IntN(2) == 0 {
		caller.Close()
		called.Close()
		return
	}
	s.open = append(s.open, caller, called)
}

// rowsOf asks a streamed method and decodes its rows.
func rowsOf[T any](t *testing.T, n *Net, method, list string, params object) []T {
	t.Helper()
	raw, err := resultOf(t, n, method, jsonOf(t, params))
	if err != nil {
		t.Fatalf("%s %v: %v", method, params, err)
	}
	var result map[string][]T
	if err := json.Unmarshal(raw, &result); err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	return result[list]
}

// TestSwitchedTraffic: of random configurations with real traffic every field is what Open vSwitch's own tools print,
// and a flush of one zone leaves the others.
func TestSwitchedTraffic(t *testing.T) {
	s := newSwitched(t, "netdev", testhost.Seed(t))
	for round := range testhost.Rounds(8) {
		s.configure()
		s.talk()
		s.checkFlows()
		s.checkDatapath()
		s.checkConntrack()
		s.checkStats()
		s.checkFlush()
		s.hangUp()
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

// number is a witness' number.
func numberIn(t *testing.T, text string) int64 {
	t.Helper()
	v, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// between fails where a counter that only grows was not read between two others.
func (s *switched) between(what string, before, got, after int64) {
	s.t.Helper()
	if before > got || got > after {
		s.t.Errorf("%s: %d, the witness saw %d before and %d after", what, got, before, after)
	}
}

// checkActions fails where actions are not those of a text.
func (s *switched) checkActions(actions []registry.OvsAction, text string) {
	s.t.Helper()
	rest := text
	if rest == "drop" {
		rest = ""
	}
	for _, a := range actions {
		args := a.Arguments.Or("")
		forms := []string{a.Name + ":" + args, a.Name + "(" + args + ")", a.Name + args, args} // the last: a port of a datapath
		i := slices.IndexFunc(forms, func(f string) bool {
			tail, ok := strings.CutPrefix(rest, f)
			return f != "" && ok && (tail == "" || tail[0] == ',') && (f != args || a.Name == "output")
		})
		if i < 0 {
			s.t.Errorf("%+v is not what comes next in %q", a, rest)
			return
		}
		rest = strings.TrimPrefix(strings.TrimPrefix(rest, forms[i]), ",")
	}
	if rest != "" {
		s.t.Errorf("%q is left of the actions %q", rest, text)
	}
}

// fieldsText are fields as ovs-ofctl prints them.
func fieldsText(fields []registry.OvsField) string {
	var all []string
	for _, f := range fields {
		text := f.Name
		if v, ok := f.Value.Get(); ok {
			text += "=" + v
		}
		if m, ok := f.Mask.Get(); ok {
			text += "/" + m
		}
		all = append(all, text)
	}
	return strings.Join(all, ",")
}

// sameLists fails where two lists differ.
func (s *switched) sameLists(what string, want, got any) {
	s.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		s.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}
