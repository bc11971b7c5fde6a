package ct

import (
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// network is two hosts with a cable between them; the first one's table is what is read.
type network struct {
	t    *testing.T
	a, b *testhost.NetNS
	rng  *rand.Rand

	open []io.Closer // the ends of connections that still stand
}

const (
	openPort   = 8001 // takes connections and keeps them
	closePort  = 8002 // takes connections and closes them
	echoPort   = 8003 // UDP
	silentPort = 8004 // UDP, bound and mute
)

var peerAddrs = map[uint8]string{unix.AF_INET: "10.9.0.2", unix.AF_INET6: "fd09::2"}

func newNetwork(t *testing.T, seed uint64) *network {
	testhost.Root(t)
	testhost.Tool(t, "conntrack", "conntrack")
	testhost.Tool(t, "nft", "nftables")
	w := &network{t: t, a: testhost.NewNetNS(t), b: testhost.NewNetNS(t), rng: rand.New(rand.NewPCG(seed, 0))}
	w.a.IP("link add va type veth peer name vb")
	if err := moveLink(w.a, w.b, "vb"); err != nil {
		t.Fatal(err)
	}
	w.a.IP("addr add 10.9.0.1/24 dev va", "addr add fd09::1/64 dev va nodad", "link set va up")
	w.b.IP("addr add 10.9.0.2/24 dev vb", "addr add fd09::2/64 dev vb nodad", "link set vb up")
	w.serve()
	return w
}

// moveLink moves a link to another namespace, which ip(8) names by a process or, as here, a descriptor
// of ours.
func moveLink(from, to *testhost.NetNS, link string) error {
	_, err := from.TryIP(fmt.Sprintf("link set %s netns /proc/%d/fd/%d", link, os.Getpid(), to.FD()))
	return err
}

func (w *network) serve() {
	w.listen(openPort, func(c net.Conn) { _, _ = io.Copy(c, c); c.Close() })
	w.listen(closePort, func(c net.Conn) { c.Close() })
	for _, port := range []int{echoPort, silentPort} {
		var pc net.PacketConn
		var err error
		w.b.Do(func() { pc, err = net.ListenPacket("udp", fmt.Sprintf(":%d", port)) })
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { pc.Close() })
		if port == echoPort {
			go echo(pc)
		}
	}
}

func (w *network) listen(port int, handle func(net.Conn)) {
	var l net.Listener
	var err error
	w.b.Do(func() { l, err = net.Listen("tcp", fmt.Sprintf(":%d", port)) })
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go handle(c)
		}
	}()
}

func echo(pc net.PacketConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := pc.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = pc.WriteTo(buf[:n], from)
	}
}

// hangUp ends the connections of the last round and empties the table.
func (w *network) hangUp() {
	for _, c := range w.open {
		c.Close()
	}
	w.open = w.open[:0]
	if _, err := w.a.Try("", "conntrack", "-F"); err != nil {
		w.t.Fatal(err)
	}
}

// rules puts traffic into random zones, both directions of a flow or one, with random marks, labels,
// helpers and translations.
func (w *network) rules() {
	var b strings.Builder
	b.WriteString("flush ruleset\ntable inet t {\nct helper ftp-t { type \"ftp\" protocol tcp; }\n")
	w.chain(&b, "filter hook prerouting priority raw", func() string { return w.zoneRule("s") })
	w.chain(&b, "filter hook output priority raw", func() string { return w.zoneRule("d") })
	w.chain(&b, "filter hook output priority filter", w.markRule)
	if w.rng.IntN(2) == 0 {
		fmt.Fprintf(&b, "chain dn { type nat hook output priority -100;\n"+
			"udp dport 9000 dnat ip to 10.9.0.2:%d\nip daddr 10.9.0.77 dnat ip to 10.9.0.2\n}\n"+
			"chain sn { type nat hook postrouting priority srcnat;\nmasquerade random\n}\n", echoPort)
	}
	b.WriteString("}\n")
	if _, err := w.a.Try(b.String(), "nft", "-f", "-"); err != nil {
		w.t.Fatalf("%v\nof:\n%s", err, b.String())
	}
}

func (w *network) chain(b *strings.Builder, hook string, rule func() string) {
	fmt.Fprintf(b, "chain %s {\ntype %s;\n", strings.ReplaceAll(hook, " ", "-"), hook)
	for range w.rng.IntN(5) {
		fmt.Fprintln(b, rule())
	}
	b.WriteString("}\n")
}

func (w *network) zoneRule(direction string) string {
	dir := []string{"", "", "original ", "reply "}[w.rng.IntN(4)]
	return fmt.Sprintf("%s ct %szone set %d", w.match(direction), dir, 1+w.rng.IntN(6))
}

func (w *network) markRule() string {
	switch w.rng.IntN(3) {
	case 0:
		return fmt.Sprintf("%s ct mark set %#x", w.match("d"), w.rng.Uint32()>>w.rng.IntN(32))
	case 1:
		return fmt.Sprintf("%s ct label set %d", w.match("d"), w.rng.IntN(128))
	}
	return fmt.Sprintf("tcp dport %d ct helper set \"ftp-t\"", openPort)
}

func (w *network) match(direction string) string {
	switch w.rng.IntN(5) {
	case 0:
		return fmt.Sprintf("tcp %sport %d", direction, []int{openPort, closePort}[w.rng.IntN(2)])
	case 1:
		return fmt.Sprintf("udp %sport %d", direction, []int{echoPort, silentPort}[w.rng.IntN(2)])
	case 2:
		return "meta l4proto { icmp, icmpv6 }"
	case 3:
		return "meta l4proto { 47, 132, 50, 136 }"
	}
	return "meta nfproto " + []string{"ipv4", "ipv6"}[w.rng.IntN(2)]
}

func (w *network) settings() {
	w.a.Run("sysctl", "-qw",
		fmt.Sprintf("net.netfilter.nf_conntrack_acct=%d", w.rng.IntN(2)),
		fmt.Sprintf("net.netfilter.nf_conntrack_timestamp=%d", w.rng.IntN(2)))
}

// traffic makes one random flow.
func (w *network) traffic() {
	family := []uint8{unix.AF_INET, unix.AF_INET6}[w.rng.IntN(2)]
	host := peerAddrs[family]
	switch w.rng.IntN(9) {
	case 0, 1:
		w.dial("tcp", host, openPort, "hello")
	case 2:
		w.dial("tcp", host, closePort, "")
	case 3:
		w.dial("udp", host, echoPort, "echo me")
	case 4:
		w.dial("udp", host, silentPort, "anyone there?")
	case 5:
		w.ping(family, host)
	case 6:
		w.raw(family, host, unix.IPPROTO_GRE, []byte{0x20, 0, 8, 0, 0, 0, 0, 7, 1, 2, 3, 4})
	case 7:
		w.raw(family, host, unix.IPPROTO_SCTP, sctpInit(uint16(w.rng.Uint32())))
	default:
		w.raw(family, host, unix.IPPROTO_ESP, make([]byte, 24))
	}
	if w.rng.IntN(4) == 0 {
		w.dial("udp", "10.9.0.77", 9000, "translate me")
	}
}

func (w *network) dial(network, host string, port int, say string) {
	w.a.Do(func() {
		c, err := net.DialTimeout(network, net.JoinHostPort(host, fmt.Sprint(port)), 15*time.Millisecond)
		if err != nil {
			return // a zone or translation that cuts the way is part of the game
		}
		if w.rng.IntN(3) == 0 {
			defer c.Close()
		} else {
			w.open = append(w.open, c)
		}
		_ = c.SetDeadline(time.Now().Add(8 * time.Millisecond))
		_, _ = io.WriteString(c, say)
		_, _ = c.Read(make([]byte, 64))
	})
}

func (w *network) ping(family uint8, host string) {
	request := []byte{8, 0, 0xf7, 0xfd, 0, 1, 0, 1} // echo request, id 1, sequence 1
	proto := unix.IPPROTO_ICMP
	if family == unix.AF_INET6 {
		request, proto = []byte{128, 0, 0, 0, 0, 1, 0, 1}, unix.IPPROTO_ICMPV6 // the kernel sums it up
	}
	w.raw(family, host, proto, request)
}

func (w *network) raw(family uint8, host string, proto int, payload []byte) {
	var err error
	w.a.Do(func() {
		var fd int
		if fd, err = unix.Socket(int(family), unix.SOCK_RAW, proto); err != nil {
			return
		}
		defer unix.Close(fd)
		addr := netip.MustParseAddr(host)
		var to unix.Sockaddr = &unix.SockaddrInet6{Addr: addr.As16()}
		if addr.Is4() {
			to = &unix.SockaddrInet4{Addr: addr.As4()}
		}
		err = unix.Sendto(fd, payload, 0, to)
	})
	if err != nil {
		w.t.Fatalf("protocol %d: %v", proto, err)
	}
}

// sctpInit is a packet with one INIT chunk; nobody listens, so an ABORT answers it.
func sctpInit(port uint16) []byte {
	p := []byte{byte(port >> 8), byte(port) | 1, 0x1f, 0x41, 0, 0, 0, 0, 0, 0, 0, 0,
		1, 0, 0, 20, 1, 2, 3, 4, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 9}
	sum := crc32c(p)
	p[8], p[9], p[10], p[11] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	return p
}

// TestAgainstConntrackTool makes real flows at random and compares every entry with what conntrack(8)
// says of it, whole and through every filter.
func TestAgainstConntrackTool(t *testing.T) {
	w := newNetwork(t, testhost.Seed(t))
	conn, err := Dial(w.a.FD())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	seen := map[string]int{}
	for range testhost.Rounds(12) {
		w.hangUp()
		w.settings()
		w.rules()
		for range 3 + w.rng.IntN(8) {
			w.traffic()
		}
		all := w.compare(conn)
		for _, e := range all {
			seen[e.protocol+" "+e.state]++
		}
		w.filters(conn, all)
	}
	t.Log(seen)
	w.hangUp()
}

// compare reads the table between two looks of the witness and wants all three to agree. A table that
// was about to change is looked at again.
func (w *network) compare(conn *Conn) []row {
	w.t.Helper()
	var diff string
	for range 50 {
		before := w.witness()
		ours := collect(w.t, conn, Filter{})
		after := w.witness()
		if !slices.EqualFunc(before, after, row.still) {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		for i := range min(len(ours), len(before)) {
			ours[i].settle(before[i], after[i])
		}
		if diff = gocmp.Diff(before, ours, gocmp.AllowUnexported(row{}, way{})); diff == "" {
			return ours
		}
		break
	}
	w.t.Fatalf("conntrack -L (-) and ours (+) differ:\n%s", diff)
	return nil
}

// filters asks for what some entry is, in random combinations, and wants exactly the entries that the
// filter fits.
func (w *network) filters(conn *Conn, all []row) {
	w.t.Helper()
	if len(all) == 0 {
		return
	}
	for range 10 {
		f := w.filterLike(all[w.rng.IntN(len(all))])
		want := map[uint32]bool{}
		for _, e := range collectEntries(w.t, conn, Filter{}) {
			if f.wants(&e) {
				want[e.ID] = true
			}
		}
		got := map[uint32]bool{}
		for _, e := range collectEntries(w.t, conn, f) {
			got[e.ID] = true
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			w.t.Fatalf("filter %+v: all of them compared here (-), filtered (+):\n%s", f, diff)
		}
		if len(want) == 0 {
			w.t.Fatalf("filter %+v: fits nothing, though made after an entry", f)
		}
	}
}

func (w *network) filterLike(e row) Filter {
	var f Filter
	maybe := func(do func()) {
		if w.rng.IntN(3) == 0 {
			do()
		}
	}
	network := func(s string) netip.Prefix {
		a := netip.MustParseAddr(s)
		return netip.PrefixFrom(a, []int{a.BitLen(), a.BitLen(), w.rng.IntN(a.BitLen() + 1)}[w.rng.IntN(3)]).Masked()
	}
	maybe(func() { f.Family = map[string]uint8{"ipv4": unix.AF_INET, "ipv6": unix.AF_INET6}[e.family] })
	maybe(func() { zone := cmp.Or(e.zone, e.orig.zone, e.reply.zone); f.Zone = &zone })
	maybe(func() { f.Protocol = &e.protoNum })
	maybe(func() { f.MarkMask = w.rng.Uint32(); f.Mark = e.mark & f.MarkMask })
	maybe(func() { f.StatusMask = e.status; f.Status = e.status })
	maybe(func() { f.Source = network(e.orig.src) })
	maybe(func() { f.Destination = network(e.orig.dst) })
	return f
}
