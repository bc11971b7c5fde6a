package nft

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
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
func text(s string) []byte                     { return append([]byte(s), 0) }

func join(parts ...[]byte) (b []byte) {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func message(family uint8, attrs ...[]byte) []byte {
	return append([]byte{family, 0, 0, 0}, join(attrs...)...)
}

func expr(name string, attrs ...[]byte) []byte {
	return nest(listElem, attr(exprName, text(name)), nest(exprData, attrs...))
}

// value is an attribute that holds a value (NFTA_DATA_VALUE).
func value(typ uint16, b ...byte) []byte { return nest(typ, attr(dataValue, b)) }

func reg(typ uint16, r uint32) []byte { return attr(typ, be32(r)) }

// decoded is a case of Decode: what the attributes are to become.
type decoded struct {
	name string
	run  func(data []byte) (got any, complete bool, err error)
	data []byte
	want any
}

func of[T any, K Kind[T]](name string, want T, attrs ...[]byte) decoded {
	return decoded{name, func(data []byte) (any, bool, error) {
		var v T
		complete, err := Decode[T, K](data, &v)
		return v, complete, err
	}, join(attrs...), want}
}

// everyKind has each kind of expression and of object with all its attributes.
func everyKind() []decoded {
	four := []byte{0, 0, 0, 4}
	return []decoded{
		of("bitwise", Bitwise{SReg: 1, DReg: 2, SReg2: 3, Len: 4, Op: 5, Mask: []byte{0xff}, Xor: []byte{1}, Data: four},
			reg(1, 1), reg(2, 2), reg(3, 4), value(4, 0xff), value(5, 1), reg(6, 5), value(7, four...), reg(8, 3)),
		of("byteorder", Byteorder{SReg: 1, DReg: 2, Op: 1, Len: 4, Size: 2}, reg(1, 1), reg(2, 2), reg(3, 1), reg(4, 4), reg(5, 2)),
		of("cmp", Cmp{SReg: 8, Op: 1, Data: four}, reg(1, 8), reg(2, 1), value(3, four...)),
		of("range", Range{SReg: 1, Op: 1, From: []byte{1}, To: []byte{9}}, reg(1, 1), reg(2, 1), value(3, 1), value(4, 9)),
		of("immediate", Immediate{DReg: 1, Data: four}, reg(1, 1), value(2, four...)),
		of("verdict", Immediate{Verdict: some(Verdict{Code: -3, Chain: "next"})},
			reg(1, 0), nest(2, nest(dataVerdict, reg(verdictCode, 0xfffffffd), attr(verdictChain, text("next"))))),
		of("lookup", Lookup{Set: "s", SReg: 1, DReg: some[Register](0), SetID: some[uint32](7), Flags: 1},
			attr(1, text("s")), reg(2, 1), reg(3, 0), reg(4, 7), reg(5, 1)),
		of("hash", Hash{SReg: 1, DReg: 2, Len: 8, Modulus: 10, Seed: some[uint32](0xbeef), Offset: 5, Type: 1},
			reg(1, 1), reg(2, 2), reg(3, 8), reg(4, 10), reg(5, 0xbeef), reg(6, 5), reg(7, 1)),
		of("numgen", Numgen{DReg: 1, Modulus: 2, Type: 1, Offset: 3}, reg(1, 1), reg(2, 2), reg(3, 1), reg(4, 3)),
		of("objref", Objref{Type: some[uint32](1), Name: "c", SReg: 2, Set: "m", SetID: some[uint32](3)},
			reg(1, 1), attr(2, text("c")), reg(3, 2), attr(4, text("m")), reg(5, 3)),
		of("payload", Payload{DReg: 1, Base: 4, Offset: 12, Len: 4, SReg: 2, CsumType: some[uint32](1), CsumOffset: some[uint32](10), CsumFlags: 1},
			reg(1, 1), reg(2, 4), reg(3, 12), reg(4, 4), reg(5, 2), reg(6, 1), reg(7, 10), reg(8, 1)),
		of("exthdr", Exthdr{DReg: 1, Type: 44, Offset: 4, Len: 2, Flags: 1, Op: 3, SReg: 2},
			reg(1, 1), attr(2, []byte{44}), reg(3, 4), reg(4, 2), reg(5, 1), reg(6, 3), reg(7, 2)),
		of("meta", Meta{DReg: 1, Key: 36, SReg: 2}, reg(1, 1), reg(2, 36), reg(3, 2)),
		of("ct", Ct{DReg: 1, Key: 3, Direction: some[uint8](1), SReg: 2}, reg(1, 1), reg(2, 3), attr(3, []byte{1}), reg(4, 2)),
		of("rt", Rt{DReg: 1, Key: 4}, reg(1, 1), reg(2, 4)),
		of("socket", Socket{Key: 3, DReg: 1, Level: some[uint32](2)}, reg(1, 3), reg(2, 1), reg(3, 2)),
		of("fib", Fib{DReg: 1, Result: 3, Flags: 0x21}, reg(1, 1), reg(2, 3), reg(3, 0x21)),
		of("osf", Osf{DReg: 1, TTL: 2, Flags: some[uint32](1)}, reg(1, 1), attr(2, []byte{2}), reg(3, 1)),
		of("tunnel", TunnelKey{Key: 1, DReg: 2, Mode: some[uint32](1)}, reg(1, 1), reg(2, 2), reg(3, 1)),
		of("xfrm", Xfrm{DReg: 1, Key: 6, Dir: 1, Num: 2}, reg(1, 1), reg(2, 6), attr(3, []byte{1}), reg(4, 2)),
		of("inner", Inner{Num: 0, Type: 1, Flags: 0xf, HdrSize: 8, Expr: Expression{Name: "meta", Data: reg(2, 1)}},
			reg(1, 0), reg(2, 1), reg(3, 0xf), reg(4, 8), nest(5, attr(exprName, text("meta")), nest(exprData, reg(2, 1)))),
		of("match", Xt{Name: "comment", Rev: 1, Info: []byte("hi\x00\x00")}, attr(1, text("comment")), reg(2, 1), attr(3, []byte("hi\x00\x00"))),
		of("counter", Counter{Bytes: 1 << 40, Packets: 9}, attr(1, be64(1<<40)), attr(2, be64(9)), attr(3)),
		of("quota", Quota{Bytes: 5, Flags: 3, Consumed: 4}, attr(1, be64(5)), reg(2, 3), attr(3), attr(4, be64(4))),
		of("limit", Limit{Rate: 5, Unit: 604800, Burst: 6, Type: 1, Flags: 1}, attr(1, be64(5)), attr(2, be64(604800)), reg(3, 6), reg(4, 1), reg(5, 1), attr(6)),
		of("connlimit", Connlimit{Count: 20, Flags: 1}, reg(1, 20), reg(2, 1)),
		of("last", Last{Set: true, Msecs: 1500}, reg(1, 1), attr(2, be64(1500)), attr(3)),
		of("synproxy", Synproxy{MSS: 1460, WScale: 7, Flags: 0x1f}, attr(1, be16(1460)), attr(2, []byte{7}), reg(3, 0x1f)),
		of("log", Log{Group: some[uint16](5), Prefix: "p", Snaplen: some[uint32](64), QThreshold: some[uint16](2), Level: some[uint32](8), Flags: 0x3f},
			attr(1, be16(5)), attr(2, text("p")), reg(3, 64), attr(4, be16(2)), reg(5, 8), reg(6, 0x3f)),
		of("reject", Reject{Type: 2, Code: some[uint8](3)}, reg(1, 2), attr(2, []byte{3})),
		of("nat", Nat{Type: 1, Family: 2, RegAddrMin: 1, RegAddrMax: 2, RegPortMin: 3, RegPortMax: 4, Flags: 0x7f},
			reg(1, 1), reg(2, 2), reg(3, 1), reg(4, 2), reg(5, 3), reg(6, 4), reg(7, 0x7f)),
		of("masq", Masq{Flags: 4, RegPortMin: 1, RegPortMax: 2}, reg(1, 4), reg(2, 1), reg(3, 2)),
		of("redir", Redir{RegPortMin: 1, RegPortMax: 2, Flags: 8}, reg(1, 1), reg(2, 2), reg(3, 8)),
		of("tproxy", Tproxy{Family: 10, RegAddr: 1, RegPort: 2}, reg(1, 10), reg(2, 1), reg(3, 2)),
		of("queue", Queue{Num: some[uint16](1), Total: some[uint16](4), Flags: 3, SRegNum: 1}, attr(1, be16(1)), attr(2, be16(4)), attr(3, be16(3)), reg(4, 1)),
		of("dup", Dup{SRegAddr: 1, SRegDev: 2}, reg(1, 1), reg(2, 2)),
		of("fwd", Fwd{SRegDev: 1, SRegAddr: 2, Family: some[uint32](2)}, reg(1, 1), reg(2, 2), reg(3, 2)),
		of("flow_offload", FlowOffload{Table: "ft"}, attr(1, text("ft"))),
		of("ct helper", CtHelper{Name: "ftp", L3Proto: 2, L4Proto: 6}, attr(1, text("ftp")), attr(2, be16(2)), attr(3, []byte{6})),
		of("ct expectation", CtExpectation{L3Proto: 2, L4Proto: 6, DPort: 99, Timeout: 600000, Size: 5},
			attr(1, be16(2)), attr(2, []byte{6}), attr(3, be16(99)), attr(4, binary.NativeEndian.AppendUint32(nil, 600000)), attr(5, []byte{5})),
		of("secmark", Secmark{Context: "system_u"}, attr(1, text("system_u"))),
		of("tunnel object", Tunnel{ID: 7, Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"), Flags: 3, TOS: some[uint8](1),
			TTL: some[uint8](64), SrcPort: some[uint16](1), DstPort: some[uint16](2), Options: TunnelOptions{Kind: "vxlan", VxlanGBP: 9}},
			reg(1, 7), nest(2, attr(1, []byte{10, 0, 0, 1}), attr(2, []byte{10, 0, 0, 2})), reg(4, 3), attr(5, []byte{1}), attr(6, []byte{64}),
			attr(7, be16(1)), attr(8, be16(2)), nest(9, nest(1, reg(1, 9)))),
		of("tunnel object of IPv6", Tunnel{Src: netip.MustParseAddr("::1"), Dst: netip.MustParseAddr("::2"), FlowLabel: some[uint32](5),
			Options: TunnelOptions{Kind: "erspan", ErspanVersion: 2, ErspanIndex: 1, ErspanHwID: 3, ErspanDir: 1}},
			nest(3, attr(1, netip.MustParseAddr("::1").AsSlice()), attr(2, netip.MustParseAddr("::2").AsSlice()), reg(3, 5)),
			nest(9, nest(2, reg(1, 2), reg(2, 1), attr(3, []byte{3}), attr(4, []byte{1})))),
		of("tunnel object of geneve", Tunnel{Options: TunnelOptions{Kind: "geneve", Geneve: [][]byte{{1, 2, 3, 4, 5, 6, 7}, {0, 1, 2}}}},
			nest(9, nest(3, attr(1, be16(0x102)), attr(2, []byte{3}), attr(3, []byte{4, 5, 6, 7})), nest(3, attr(1, be16(1)), attr(2, []byte{2})))),
	}
}

var comparers = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.AllowUnexported(Dynset{}, CtTimeout{}),
}

func TestDecodeEveryKind(t *testing.T) {
	for _, c := range everyKind() {
		got, complete, err := c.run(c.data)
		if err != nil || !complete {
			t.Errorf("%s: complete %v, %v", c.name, complete, err)
		}
		if diff := cmp.Diff(c.want, got, comparers); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
		// An attribute of a newer kernel is noticed, and the rest is still there.
		got, complete, err = c.run(append(attr(200, be32(1)), c.data...))
		if diff := cmp.Diff(c.want, got, comparers); diff != "" || complete || err != nil {
			t.Errorf("%s with an unknown attribute: complete %v, %v\n%s", c.name, complete, err, diff)
		}
		if _, _, err := c.run(c.data[:len(c.data)-1]); len(c.data) > 8 && err == nil && c.data[len(c.data)-1] != 0 {
			t.Errorf("%s: cut, and taken for whole", c.name)
		}
	}
}

func TestDecodeStatefulDynset(t *testing.T) {
	counter := expr("counter", attr(1, be64(1)), attr(2, be64(2)))
	limit := expr("limit", attr(1, be64(5)))
	for name, c := range map[string]struct {
		attrs []byte
		want  []string
	}{
		"one":  {nest(7, counter[4:]), []string{"counter"}},
		"list": {nest(10, counter, limit), []string{"counter", "limit"}},
		"none": {nil, nil},
	} {
		var d Dynset
		data := join(attr(1, text("s")), reg(2, 9), reg(3, 1), reg(4, 1), reg(5, 2), attr(6, be64(5000)), c.attrs, attr(8), reg(9, 1))
		if complete, err := Decode(data, &d); err != nil || !complete {
			t.Errorf("%s: %v %v", name, complete, err)
		}
		if d.Set != "s" || d.SetID != some[uint32](9) || d.Op != 1 || d.SRegKey != 1 || d.SRegVal != 2 || d.Timeout != 5000 || d.Flags != 1 {
			t.Errorf("%s: %+v", name, d)
		}
		var got []string
		for e := range d.Expressions() {
			got = append(got, e.Name)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
}

func TestDecodeTimeouts(t *testing.T) {
	var x CtTimeout
	data := join(attr(1, be16(2)), attr(2, []byte{6}), nest(3, reg(3, 100), reg(11, 5), reg(99, 1)))
	if complete, err := Decode(data, &x); err != nil || !complete {
		t.Fatal(complete, err)
	}
	got := map[string]uint32{}
	for state, seconds := range x.Timeouts() {
		got[state] = seconds
	}
	if diff := cmp.Diff(map[string]uint32{"established": 100, "unack": 5, "99": 1}, got); diff != "" {
		t.Error(diff)
	}
	for proto, want := range map[uint8]string{17: "replied", 1: "2", 132: "cookie_wait", 33: "respond"} {
		if got := timeoutName(proto, 2); got != want {
			t.Errorf("state 2 of protocol %d: %q, want %q", proto, got, want)
		}
	}
}

// ruleMessage is a rule like iptables-nft makes them.
func ruleMessage() []byte {
	return message(unix.NFPROTO_IPV4,
		attr(ruleTable, text("filter")), attr(ruleChain, text("INPUT")), attr(ruleHandle, be64(7)), attr(rulePosition, be64(5)),
		nest(ruleExpressions,
			expr("meta", reg(1, 1), reg(2, 16)),
			expr("cmp", reg(1, 1), reg(2, 0), value(3, 6)),
			expr("quantum", reg(1, 1)),
			nest(listElem, attr(exprName, text("notrack"))),
			expr("counter", attr(1, be64(60)), attr(2, be64(1)))),
		nest(ruleCompat, reg(compatProto, 6), reg(compatFlags, CompatInvert)),
		attr(ruleUserData, []byte{0, 3, 'h', 'i', 0}))
}

func TestDecodeRule(t *testing.T) {
	var r Rule
	if err := decodeRow(ruleMessage(), &r); err != nil {
		t.Fatal(err)
	}
	if r.Family != unix.NFPROTO_IPV4 || r.Table != "filter" || r.Chain != "INPUT" || r.Handle != 7 || r.Position != some[uint64](5) ||
		r.CompatProto != some[uint32](6) || r.CompatFlags != CompatInvert || UserData(r.UserData).Comment(UserComment) != "hi" {
		t.Errorf("%+v", r)
	}
	var names []string
	for e := range r.Expressions() {
		names = append(names, e.Name)
	}
	if diff := cmp.Diff([]string{"meta", "cmp", "quantum", "notrack", "counter"}, names); diff != "" {
		t.Error(diff)
	}
	for range r.Expressions() {
		break // leaving early must do no harm
	}
}

func TestDecodeRuleAllocatesNothing(t *testing.T) {
	b := message(2, attr(ruleTable, text("filter")), attr(ruleChain, text("INPUT")), nest(ruleExpressions, expr("counter", attr(1, be64(60)))))
	var r Rule
	if n := testing.AllocsPerRun(100, func() {
		if err := decodeRow(b, &r); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a rule", n)
	}
}

func TestDecodeTableChainFlowtableObject(t *testing.T) {
	var table Table
	if err := decodeRow(message(1, attr(tableName, text("t")), reg(tableFlags, 5), reg(tableUse, 3), attr(tableHandle, be64(9)),
		attr(tableUserData, []byte{0, 2, 'c', 0}), reg(tableOwner, 77)), &table); err != nil {
		t.Error(err)
	}
	if want := (Table{Family: 1, Name: "t", Flags: 5, Use: 3, Handle: 9, UserData: []byte{0, 2, 'c', 0}, Owner: 77}); !cmp.Equal(want, table) {
		t.Error(cmp.Diff(want, table))
	}
	var chain Chain
	devices := nest(hookDevices, attr(deviceName, text("lo")), attr(devicePrefix, text("eth")))
	if err := decodeRow(message(5, attr(chainTable, text("t")), attr(chainHandle, be64(2)), attr(chainName, text("c")),
		nest(chainHook, reg(hookNumber, 1), reg(hookPriority, 0xfffffffb), attr(hookDevice, text("lo")), devices),
		reg(chainPolicy, 0), reg(chainUse, 4), attr(chainType, text("filter")), nest(chainCounters, attr(1, be64(5)), attr(2, be64(6))),
		reg(chainFlags, 3)), &chain); err != nil {
		t.Error(err)
	}
	if want := (Chain{Family: 5, Table: "t", Name: "c", Handle: 2, Flags: 3, Use: 4, Base: true, Type: "filter", Hook: 1, Priority: -5,
		Devices: []string{"lo", "eth*"}, Policy: some[uint32](0), Counters: some(Counter{Bytes: 5, Packets: 6})}); !cmp.Equal(want, chain) {
		t.Error(cmp.Diff(want, chain))
	}
	if err := decodeRow(message(1, attr(chainTable, text("t")), attr(chainName, text("d"))), &chain); err != nil || chain.Base || len(chain.Devices) != 0 {
		t.Errorf("a chain that is no base chain, after one: %+v, %v", chain, err)
	}
	var flow Flowtable
	if err := decodeRow(message(1, attr(flowtableTable, text("t")), attr(flowtableName, text("f")),
		nest(flowtableHook, reg(hookNumber, 0), reg(hookPriority, 10), nest(flowtableHookDevices, attr(deviceName, text("lo")))),
		reg(flowtableUse, 1), attr(flowtableHandle, be64(3)), reg(flowtableFlags, 2)), &flow); err != nil {
		t.Error(err)
	}
	if want := (Flowtable{Family: 1, Table: "t", Name: "f", Handle: 3, Priority: 10, Devices: []string{"lo"}, Flags: 2, Use: 1}); !cmp.Equal(want, flow) {
		t.Error(cmp.Diff(want, flow))
	}
	var object Object
	if err := decodeRow(message(1, attr(objectTable, text("t")), attr(objectName, text("o")), reg(objectType, ObjectCounter),
		nest(objectData, attr(1, be64(1))), reg(objectUse, 2), attr(objectHandle, be64(8)), attr(objectUserData, []byte{1})), &object); err != nil {
		t.Error(err)
	}
	if want := (Object{Family: 1, Table: "t", Name: "o", Handle: 8, Type: 1, Use: 2, Data: attr(1, be64(1)), UserData: []byte{1}}); !cmp.Equal(want, object) {
		t.Error(cmp.Diff(want, object))
	}
}

func TestMalformed(t *testing.T) {
	rule := ruleMessage()
	binary.NativeEndian.PutUint16(rule[4:], 3) // an attribute shorter than its header
	for name, c := range map[string]struct {
		b    []byte
		into row
	}{
		"no header":              {[]byte{1, 0}, new(Table)},
		"attribute length":       {rule, new(Rule)},
		"expression cut":         {message(1, nest(ruleExpressions, []byte{9, 0, 1, 0, 0})), new(Rule)},
		"short number":           {message(1, attr(tableHandle, be32(1))), new(Table)},
		"set's expression":       {message(1, nest(setExpr, []byte{99, 0, 1, 0})), new(Set)},
		"set's field":            {message(1, nest(setDesc, nest(setDescConcat, []byte{3, 0, 1, 0}))), new(Set)},
		"hook":                   {message(1, nest(chainHook, attr(hookNumber, be16(1)))), new(Chain)},
		"flowtable's devices":    {message(1, nest(flowtableHook, nest(flowtableHookDevices, []byte{1, 0}))), new(Flowtable)},
		"chain's counter number": {message(1, nest(chainCounters, attr(1, be32(1)))), new(Chain)},
	} {
		if err := decodeRow(c.b, c.into); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
	var i Immediate
	if _, err := Decode(join(reg(1, 1), nest(2, []byte{99, 0, 1, 0})), &i); !errors.Is(err, ErrMalformed) {
		t.Errorf("data: %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{CmpOp.Name(5), "gte"}, {CmpOp.Name(6), "6"}, {FibResult.Name(0), "0"}, {Family.Name(10), "ip6"}, {Family.Name(4), "4"}, {MetaKey.Name(36), "ibrhwaddr"},
		{HookName(unix.NFPROTO_INET, 5), "ingress"}, {HookName(unix.NFPROTO_NETDEV, 1), "egress"}, {HookName(unix.NFPROTO_ARP, 1), "output"},
		{Verdict{Code: 0}.Name(), "drop"}, {Verdict{Code: -5}.Name(), "return"}, {Verdict{Code: 7<<16 | 3}.Name(), "queue"}, {Verdict{Code: 99}.Name(), "99"}, {Verdict{Code: -9}.Name(), "-9"},
		{TypeName(7), "ipv4_addr"}, {TypeName(7<<6 | 13), "ipv4_addr . inet_service"}, {TypeName(DataVerdict), "verdict"}, {TypeName(63), "63"}, {TypeName(0), "0"},
		{(&Payload{Base: 1, Offset: 12, Len: 4}).Field(unix.NFPROTO_IPV4), "ip saddr"}, {(&Payload{Base: 1, Offset: 12, Len: 4}).Field(unix.NFPROTO_INET), ""},
		{(&Payload{Base: 2, Offset: 2, Len: 2}).Field(unix.NFPROTO_INET), "th dport"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	if q, ok := (Verdict{Code: 7<<16 | 3}).Queue(); !ok || q != 7 {
		t.Errorf("queue %d %v", q, ok)
	}
	if diff := cmp.Diff([]string{"anonymous", "interval", "expr", "bit_31"}, SetFlags.Append(nil, 1|4|256|1<<31)); diff != "" {
		t.Error(diff)
	}
}
