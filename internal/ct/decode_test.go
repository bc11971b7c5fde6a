package ct

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"syscall"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

func attr(typ uint16, values ...[]byte) []byte {
	b := []byte{0, 0, 0, 0}
	for _, v := range values {
		b = append(b, v...)
	}
	binary.NativeEndian.PutUint16(b, uint16(len(b)))
	binary.NativeEndian.PutUint16(b[2:], typ)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func nest(typ uint16, values ...[]byte) []byte { return attr(typ|unix.NLA_F_NESTED, values...) }
func be16(v uint16) []byte                     { return binary.BigEndian.AppendUint16(nil, v) }
func be32(v uint32) []byte                     { return binary.BigEndian.AppendUint32(nil, v) }
func be64(v uint64) []byte                     { return binary.BigEndian.AppendUint64(nil, v) }

func message(family uint8, attrs ...[]byte) []byte {
	b := []byte{family, 0, 0, 0}
	for _, a := range attrs {
		b = append(b, a...)
	}
	return b
}

func tuple(typ uint16, src, dst string, more ...[]byte) []byte {
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	first := uint16(ipV4Src)
	if s.Is6() {
		first = ipV6Src
	}
	ip := nest(tupleIP, attr(first, s.AsSlice()), attr(first+1, d.AsSlice()))
	return nest(typ, append([][]byte{ip}, more...)...)
}

func ports(proto uint8, src, dst uint16) []byte {
	return nest(tupleProto, attr(protoNum, []byte{proto}), attr(protoSrcPort, be16(src)), attr(protoDstPort, be16(dst)))
}

// fullTCP has every attribute that the kernel puts into a dump.
func fullTCP() []byte {
	return message(unix.AF_INET,
		tuple(AttrTupleOrig, "198.51.100.7", "192.0.2.10", ports(6, 41822, 8080), attr(tupleZone, be16(3))),
		tuple(AttrTupleReply, "10.0.0.5", "198.51.100.7", ports(6, 80, 41822)),
		attr(AttrStatus, be32(0x1ae)),
		attr(AttrTimeout, be32(431999)),
		nest(AttrCountersOrig, attr(countersPackets, be64(12)), attr(countersBytes, be64(1<<40))),
		nest(AttrCountersReply, attr(counters32Packets, be32(10)), attr(counters32Bytes, be32(9220))),
		nest(AttrTimestamp, attr(timestampStart, be64(1763886667000000001)), attr(timestampStop, be64(1763886668000000002))),
		nest(AttrProtoInfo, nest(infoTCP, attr(tcpState, []byte{3}), attr(tcpWScaleOrig, []byte{7}),
			attr(tcpWScaleReply, []byte{8}), attr(tcpFlagsOrig, []byte{0x23, 0}), attr(tcpFlagsReply, []byte{0x21, 0}))),
		nest(AttrHelp, attr(helpName, []byte("ftp\x00"))),
		attr(AttrMark, be32(0xdeadbeef)),
		nest(AttrSecCtx, attr(secCtxName, []byte("system_u\x00"))),
		attr(AttrLabels, []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80}),
		attr(AttrID, be32(0x8f3a1c02)),
		attr(AttrUse, be32(2)),
		tuple(AttrTupleMaster, "198.51.100.7", "192.0.2.10", ports(6, 41800, 21)),
		nest(AttrSeqAdjOrig, attr(seqAdjPosition, be32(9)), attr(seqAdjBefore, be32(0xffffffff)), attr(seqAdjAfter, be32(5))),
		nest(AttrSeqAdjReply, attr(seqAdjPosition, be32(8)), attr(seqAdjBefore, be32(1)), attr(seqAdjAfter, be32(0xfffffffe))),
		nest(AttrSynproxy, attr(synproxyISN, be32(1)), attr(synproxyITS, be32(2)), attr(synproxyTSOff, be32(3))),
		attr(99, be32(0)),
	)
}

func TestDecodeEveryAttribute(t *testing.T) {
	client, server, inside := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("10.0.0.5")
	want := Entry{
		Family:       unix.AF_INET,
		Original:     Tuple{Src: client, Dst: server, Proto: 6, SrcPort: 41822, DstPort: 8080, Zone: 3, HasPorts: true, HasZone: true},
		Reply:        Tuple{Src: inside, Dst: client, Proto: 6, SrcPort: 80, DstPort: 41822, HasPorts: true},
		Master:       Tuple{Src: client, Dst: server, Proto: 6, SrcPort: 41800, DstPort: 21, HasPorts: true},
		Status:       0x1ae,
		Timeout:      431999,
		Mark:         0xdeadbeef,
		Use:          2,
		ID:           0x8f3a1c02,
		Info:         Info{Proto: 6, State: 3, WScaleOrig: 7, WScaleReply: 8, FlagsOrig: 0x23, FlagsReply: 0x21},
		CountersOrig: Counters{Packets: 12, Bytes: 1 << 40}, CountersReply: Counters{Packets: 10, Bytes: 9220},
		SeqAdjOrig: SeqAdj{Position: 9, Before: -1, After: 5}, SeqAdjReply: SeqAdj{Position: 8, Before: 1, After: -2},
		Start: 1763886667000000001, Stop: 1763886668000000002,
		Synproxy: Synproxy{ISN: 1, ITS: 2, TSOff: 3},
		Labels:   []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80},
		Helper:   "ftp", SecCtx: "system_u",
	}
	var e Entry
	if err := e.decode(fullTCP()); err != nil {
		t.Fatal(err)
	}
	for _, a := range []uint16{AttrStatus, AttrSynproxy, AttrLabels, AttrTupleMaster} {
		if !e.Has(a) {
			t.Errorf("attribute %d is told to be missing", a)
		}
	}
	if e.Has(AttrZone) || e.Has(99) {
		t.Error("an attribute that was not there, or not known, is told to be")
	}
	if got := e.ZoneID(); got != 3 {
		t.Errorf("zone %d, want that of the original direction, 3", got)
	}
	e.attrs = 0
	if diff := gocmp.Diff(want, e, gocmp.AllowUnexported(Entry{}), gocmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeProtocols(t *testing.T) {
	six := func(info []byte, proto []byte) []byte {
		return message(unix.AF_INET6, tuple(AttrTupleOrig, "fd00::1", "fd00::2", proto), tuple(AttrTupleReply, "fd00::2", "fd00::1", proto), info)
	}
	icmp := nest(tupleProto, attr(protoNum, []byte{58}), attr(protoICMPv6ID, be16(77)), attr(protoICMPv6Type, []byte{128}), attr(protoICMPv6Code, []byte{4}))
	for _, c := range []struct {
		name    string
		message []byte
		info    Info
		state   string
	}{
		{"sctp", six(nest(AttrProtoInfo, nest(infoSCTP, attr(sctpState, []byte{4}), attr(sctpVTagOrig, be32(11)), attr(sctpVTagReply, be32(12)))), ports(132, 1, 2)),
			Info{Proto: 132, State: 4, VTagOrig: 11, VTagReply: 12}, "established"},
		{"dccp", six(nest(AttrProtoInfo, nest(infoDCCP, attr(dccpState, []byte{3}), attr(dccpRole, []byte{1}), attr(dccpHandshakeSeq, be64(1<<47)))), ports(33, 1, 2)),
			Info{Proto: 33, State: 3, Role: 1, HandshakeSeq: 1 << 47}, "partopen"},
		{"tcp state of a newer kernel", six(nest(AttrProtoInfo, nest(infoTCP, attr(tcpState, []byte{42}))), ports(6, 1, 2)),
			Info{Proto: 6, State: 42}, "42"},
		{"icmpv6", six(nil, icmp), Info{}, ""},
	} {
		var e Entry
		if err := e.decode(c.message); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if e.Info != c.info || e.Info.StateName() != c.state {
			t.Errorf("%s: %+v %q, want %+v %q", c.name, e.Info, e.Info.StateName(), c.info, c.state)
		}
		if o := e.Original; o.Proto == 58 && (!o.HasICMP || o.ICMPID != 77 || o.ICMPType != 128 || o.ICMPCode != 4 || o.HasPorts) {
			t.Errorf("%s: %+v", c.name, o)
		}
	}
}

// A row is used again and must not keep what its message lacks.
func TestDecodeForgetsTheLastRow(t *testing.T) {
	var e Entry
	if err := e.decode(fullTCP()); err != nil {
		t.Fatal(err)
	}
	plain := message(unix.AF_INET, tuple(AttrTupleOrig, "10.0.0.1", "10.0.0.2", ports(17, 1, 2)), tuple(AttrTupleReply, "10.0.0.2", "10.0.0.1", ports(17, 2, 1)))
	if err := e.decode(plain); err != nil {
		t.Fatal(err)
	}
	var fresh Entry
	if err := fresh.decode(plain); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(fresh, e, gocmp.AllowUnexported(Entry{}), gocmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	b := fullTCP()
	var e Entry
	if n := testing.AllocsPerRun(100, func() {
		if err := e.decode(b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a row", n)
	}
}

func TestDecodeRefusesWhatIsNoEntry(t *testing.T) {
	whole := fullTCP()
	for n := range len(whole) {
		if err := new(Entry).decode(whole[:n:n]); err == nil && n < 100 {
			t.Errorf("cut after %d bytes: taken for whole", n)
		}
	}
	orig := tuple(AttrTupleOrig, "10.0.0.1", "10.0.0.2", ports(6, 1, 2))
	for name, b := range map[string][]byte{
		"no reply":     message(unix.AF_INET, orig),
		"wrong family": message(unix.AF_INET6, orig, tuple(AttrTupleReply, "10.0.0.2", "10.0.0.1", ports(6, 2, 1))),
		"no family":    message(0, orig, tuple(AttrTupleReply, "10.0.0.2", "10.0.0.1", ports(6, 2, 1))),
		"odd address":  message(unix.AF_INET, orig, nest(AttrTupleReply, nest(tupleIP, attr(ipV4Src, []byte{1, 2, 3}), attr(ipV4Dst, []byte{1, 2, 3, 4})))),
		"short status": message(unix.AF_INET, orig, tuple(AttrTupleReply, "10.0.0.2", "10.0.0.1"), attr(AttrStatus, be16(1))),
	} {
		if err := new(Entry).decode(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}

func TestNames(t *testing.T) {
	got := AppendStatus(nil, 1<<1|1<<3|1<<15|1<<16|1<<31)
	if diff := gocmp.Diff([]string{"seen_reply", "confirmed", "hw_offload", "bit_16", "bit_31"}, got); diff != "" {
		t.Error(diff)
	}
	for n := range 256 {
		name := ProtocolName(uint8(n))
		if back, ok := ProtocolNumber(name); !ok || int(back) != n {
			t.Errorf("protocol %d is called %q, which is %d, %v", n, name, back, ok)
		}
	}
	for _, s := range []string{"", "TCP", "256", "-1", "tcp "} {
		if n, ok := ProtocolNumber(s); ok {
			t.Errorf("%q is protocol %d", s, n)
		}
	}
}

func TestFilterWants(t *testing.T) {
	var e Entry
	if err := e.decode(fullTCP()); err != nil {
		t.Fatal(err)
	}
	three, four := uint16(3), uint16(4)
	tcp, udp := uint8(6), uint8(17)
	for _, c := range []struct {
		name string
		f    Filter
		want bool
	}{
		{"nothing asked", Filter{}, true},
		{"zone of one direction", Filter{Zone: &three}, true},
		{"another zone", Filter{Zone: &four}, false},
		{"protocol", Filter{Protocol: &tcp}, true},
		{"another protocol", Filter{Protocol: &udp}, false},
		{"family", Filter{Family: unix.AF_INET6}, false},
		{"mark", Filter{Mark: 0xbe00, MarkMask: 0xff00}, true},
		{"another mark", Filter{Mark: 0xbf00, MarkMask: 0xff00}, false},
		{"a mark outside its mask", Filter{Mark: 1}, false},
		{"status", Filter{Status: 4, StatusMask: 5}, true},
		{"source network", Filter{Source: netip.MustParsePrefix("198.51.100.0/24")}, true},
		{"reply's source", Filter{Source: netip.MustParsePrefix("10.0.0.5/32")}, false},
		{"destination of the other family", Filter{Destination: netip.MustParsePrefix("::/0")}, false},
	} {
		if got := c.f.wants(&e); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestRefusalNamesAKernelWithoutConntrack(t *testing.T) {
	kernel := &nlsock.OpError{Op: "dump conntrack", Err: syscall.EINVAL}
	if err := refusal(kernel); !errors.Is(err, ErrNoConntrack) || !errors.Is(err, syscall.EINVAL) {
		t.Errorf("EINVAL: %v", err)
	}
	denied := &nlsock.OpError{Op: "dump conntrack", Err: syscall.EPERM}
	if err := refusal(denied); errors.Is(err, ErrNoConntrack) {
		t.Errorf("EPERM: %v", err)
	}
}

func FuzzEntry(f *testing.F) {
	f.Add(fullTCP())
	f.Add(message(unix.AF_INET6, tuple(AttrTupleOrig, "fd00::1", "fd00::2", ports(132, 1, 2)), tuple(AttrTupleReply, "fd00::2", "fd00::1", ports(132, 2, 1))))
	f.Add([]byte{2, 0, 0, 0, 8, 0, 1, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var e Entry
		if err := e.decode(b); err != nil {
			return
		}
		if e.Family != unix.AF_INET && e.Family != unix.AF_INET6 {
			t.Errorf("family %d", e.Family)
		}
		for _, a := range []netip.Addr{e.Original.Src, e.Original.Dst, e.Reply.Src, e.Reply.Dst} {
			if a.Is4() != (e.Family == unix.AF_INET) {
				t.Errorf("address %v in family %d", a, e.Family)
			}
		}
		AppendStatus(nil, e.Status)
		if e.Info.StateName() == "" && e.Info.Proto != 0 {
			t.Error("a protocol with a state and no name for it")
		}
	})
}
