package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

var mine = In{unix.NFPROTO_INET, "mine"}

// hostForChanges is a socket on a fresh host, and a way to ask nft what stands there.
func hostForChanges(t testing.TB) (*Conn, *testhost.NetNS) {
	t.Helper()
	testhost.Tool(t, "nft", "nftables")
	ns := testhost.NewNetNS(t)
	conn, err := Dial(ns.FD())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, ns
}

// listed is what nft says of the table, without the indentation.
func listed(ns *testhost.NetNS) string {
	var lines []string
	for line := range strings.Lines(ns.Run("nft", "list", "table", "inet", "mine")) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func port(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

// key is proto . port.
func key(protocol byte, n uint16) []byte {
	return AppendKey(AppendKey(nil, []byte{protocol}), port(n))
}

// forwards makes what a forwarding of ports needs of each kind of object, and one element.
func forwards(t *Change) {
	t.AddTable(mine, Comment(UserComment, "made here"))
	t.AddChain(mine, NewChain{Name: "in", Type: "filter", Hook: unix.NF_INET_LOCAL_IN, Priority: -10, Policy: some(uint32(nfAccept))})
	t.AddChain(mine, NewChain{Name: "dnat", Type: "nat", Hook: unix.NF_INET_PRE_ROUTING, Priority: -101})
	t.AddChain(mine, NewChain{Name: "snat", Type: "nat", Hook: unix.NF_INET_POST_ROUTING, Priority: 99})
	t.AddChain(mine, NewChain{Name: "more"})
	t.AddSet(mine, NewSet{Name: "open", Key: []Field{FieldProtocol, FieldPort}, Counters: true, User: Comment(UserSetComment, "open ports")})
	t.AddSet(mine, NewSet{Name: "hosts", Key: []Field{FieldIPv6}})
	t.AddSet(mine, NewSet{Name: "names", Key: []Field{FieldInterface}, Verdicts: true})
	t.AddSet(mine, NewSet{Name: "to", Key: []Field{FieldProtocol, FieldPort}, Data: []Field{FieldIPv4, FieldPort}, Counters: true})
	t.AddRule(mine, "in", Comment(UserComment, "what is open"),
		LoadMeta(unix.NFT_META_L4PROTO, 8), LoadPayload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, 9),
		Find("open", 8), Count(), Accept())
	t.AddRule(mine, "in", nil, LoadMeta(unix.NFT_META_IIFNAME, 8), Map("names", 8, 0))
	t.AddRule(mine, "in", nil, LoadMeta(unix.NFT_META_NFPROTO, 8), Equal(8, []byte{unix.NFPROTO_IPV6}),
		LoadPayload(unix.NFT_PAYLOAD_NETWORK_HEADER, 8, 16, 8), Find("hosts", 8), Jump("more"))
	t.AddRule(mine, "in", nil, LoadCt(unix.NFT_CT_STATUS, 8), Mask(8, binary.NativeEndian.AppendUint32(nil, 0x20)),
		Compare(unix.NFT_CMP_NEQ, 8, make([]byte, 4)), Drop())
	t.AddRule(mine, "dnat", nil,
		LoadFib(unix.NFT_FIB_RESULT_ADDRTYPE, unix.NFTA_FIB_F_DADDR, 8), Equal(8, binary.NativeEndian.AppendUint32(nil, unix.RTN_LOCAL)),
		LoadMeta(unix.NFT_META_NFPROTO, 8), Equal(8, []byte{unix.NFPROTO_IPV4}),
		LoadMeta(unix.NFT_META_L4PROTO, 8), LoadPayload(unix.NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, 9),
		Map("to", 8, 8), NAT(unix.NFT_NAT_DNAT, unix.NFPROTO_IPV4, 8, 9, 0))
	t.AddRule(mine, "snat", nil, LoadMeta(unix.NFT_META_OIFNAME, 8), Equal(8, append([]byte("eth0"), make([]byte, 12)...)), Masquerade())
	t.AddElements(mine, "open", []NewElement{{Key: key(6, 22), User: Comment(UserComment, "ssh")}})
	t.AddElements(mine, "to", []NewElement{{Key: key(6, 80), Data: AppendKey([]byte{10, 0, 0, 2}, port(8080))}})
	t.AddElements(mine, "names", []NewElement{{Key: append([]byte("lo"), make([]byte, 14)...), Verdict: some(Verdict{Code: nfAccept})}})
}

// TestChangeAgainstNft: what is made is what nft shows.
func TestChangeAgainstNft(t *testing.T) {
	conn, ns := hostForChanges(t)
	change := conn.Change()
	forwards(change)
	if err := change.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := listed(ns)
	for _, want := range []string{
		"comment \"made here\"",
		"type inet_proto . inet_service",
		"comment \"open ports\"",
		"elements = { tcp . 22 counter packets 0 bytes 0 comment \"ssh\" }",
		"type ipv6_addr",
		"elements = { \"lo\" : accept }",
		"type inet_proto . inet_service : ipv4_addr . inet_service",
		"elements = { tcp . 80 counter packets 0 bytes 0 : 10.0.0.2 . 8080 }",
		"type filter hook input priority filter - 10; policy accept;",
		"meta l4proto . th dport @open counter packets 0 bytes 0 accept comment \"what is open\"",
		"iifname vmap @names",
		"ip6 saddr @hosts jump more",
		"ct status dnat drop",
		"type nat hook prerouting priority dstnat - 1; policy accept;",
		"fib daddr type local meta nfproto ipv4 dnat ip to meta l4proto . th dport map @to",
		"type nat hook postrouting priority srcnat - 1; policy accept;",
		"oifname \"eth0\" masquerade",
		"chain more {",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("nft does not show %q", want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
	again := conn.Change()
	again.AddTable(mine, nil)
	again.AddSet(mine, NewSet{Name: "open", Key: []Field{FieldProtocol, FieldPort}, Counters: true})
	if err := again.Commit(t.Context()); err != nil || listed(ns) != got {
		t.Errorf("adding what is there: %v\n%s", err, listed(ns))
	}
}

// TestElementsGoByThemselves: of a set with timeouts, and a rule that goes on once they have.
func TestElementsGoByThemselves(t *testing.T) {
	conn, ns := hostForChanges(t)
	change := conn.Change()
	change.AddTable(mine, nil)
	change.AddChain(mine, NewChain{Name: "in", Type: "filter", Hook: unix.NF_INET_LOCAL_IN})
	change.AddSet(mine, NewSet{Name: "now", Key: []Field{FieldFamily}, Timeouts: true})
	change.AddRule(mine, "in", nil, LoadMeta(unix.NFT_META_NFPROTO, 8), Miss("now", 8), Accept())
	change.AddElements(mine, "now", []NewElement{{Key: []byte{unix.NFPROTO_IPV4}, Timeout: time.Hour}, {Key: []byte{unix.NFPROTO_IPV6}, Timeout: time.Millisecond}})
	if err := change.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	for got, end := "", time.Now().Add(20*time.Second); ; time.Sleep(20 * time.Millisecond) {
		if got = listed(ns); !strings.Contains(got, "ipv6 timeout") {
			for _, want := range []string{"type nf_proto", "flags timeout", "ipv4 timeout 1h", "meta nfproto != @now accept"} {
				if !strings.Contains(got, want) {
					t.Errorf("nft does not show %q:\n%s", want, got)
				}
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it does not go:\n%s", got)
		}
	}
}

// TestChangeIsWhole: of a change one part of which is refused nothing is made, and the part is named.
func TestChangeIsWhole(t *testing.T) {
	conn, ns := hostForChanges(t)
	change := conn.Change()
	forwards(change)
	if err := change.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := listed(ns)
	for _, test := range []struct {
		name string
		ask  func(*Change)
		op   string
		errn syscall.Errno
	}{
		{"element that is there", func(c *Change) { c.AddElements(mine, "open", []NewElement{{Key: key(6, 22)}}) }, "add elements to set open", syscall.EEXIST},
		{"element that is not there", func(c *Change) { c.DeleteElements(mine, "open", []NewElement{{Key: key(6, 23)}}) }, "delete elements of set open", syscall.ENOENT},
		{"set that is not there", func(c *Change) { c.FlushSet(mine, "none") }, "flush set none", syscall.ENOENT},
		{"set in use", func(c *Change) { c.DeleteSet(mine, "open") }, "delete set open", syscall.EBUSY},
		{"rule that cannot be", func(c *Change) { c.AddRule(mine, "in", nil, NAT(unix.NFT_NAT_DNAT, unix.NFPROTO_IPV4, 8, 0, 0)) }, "add rule to chain in", syscall.ENODATA},
		{"chain that is not there", func(c *Change) { c.FlushChain(mine, "none") }, "flush chain none", syscall.ENOENT},
	} {
		change := conn.Change()
		change.AddElements(mine, "open", []NewElement{{Key: key(17, 53)}})
		test.ask(change)
		change.AddElements(mine, "open", []NewElement{{Key: key(17, 54)}})
		err := change.Commit(t.Context())
		var told *OpError
		if !errors.Is(err, test.errn) || !errors.As(err, &told) || told.Op != test.op {
			t.Errorf("%s: %v, want %q and %v", test.name, err, test.op, test.errn)
		}
		if after := listed(ns); after != before {
			t.Errorf("%s: something was changed:\n%s", test.name, after)
		}
		if !conn.Reusable() {
			t.Fatalf("%s: the socket cannot be used any more", test.name)
		}
	}
}

// TestChangeOfMany: a change may be larger than a message and than what a socket has room for.
func TestChangeOfMany(t *testing.T) {
	conn, ns := hostForChanges(t)
	change := conn.Change()
	change.AddTable(mine, nil)
	change.AddSet(mine, NewSet{Name: "s", Key: []Field{FieldProtocol, FieldPort}})
	var all []NewElement
	for n := range 20_000 {
		all = append(all, NewElement{Key: key(6, uint16(n)), User: Comment(UserComment, fmt.Sprint("port ", n))})
	}
	change.AddElements(mine, "s", all)
	if err := change.Commit(t.Context()); err != nil {
		t.Fatalf("%d bytes: %v", change.Size(), err)
	}
	count := func() (n int) {
		for _, err := range conn.Elements(t.Context(), Ref{Family: mine.Family, Table: mine.Table, Name: "s", KeyLen: 8}) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	if n := count(); n != len(all) {
		t.Errorf("%d elements of %d", n, len(all))
	}
	change = conn.Change()
	change.DeleteElements(mine, "s", all[:19_999])
	if err := change.Commit(t.Context()); err != nil || count() != 1 {
		t.Errorf("after the deletion %d, %v", count(), err)
	}
	change = conn.Change()
	change.DeleteTable(mine)
	if err := change.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out := ns.Run("nft", "list", "ruleset"); out != "" {
		t.Errorf("left: %s", out)
	}
}

func TestChangeOfNothing(t *testing.T) {
	conn, _ := hostForChanges(t)
	before, err := conn.Generation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Change().Commit(t.Context()); err != nil {
		t.Error(err)
	}
	if after, err := conn.Generation(t.Context()); err != nil || after != before {
		t.Errorf("generation %d, then %d, %v", before, after, err)
	}
}
