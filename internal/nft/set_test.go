package nft

import (
	"encoding/hex"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func elem(attrs ...[]byte) []byte { return nest(listElem, attrs...) }

// listMessage is a message with elements of a set.
func listMessage(elems ...[]byte) []byte {
	return message(1, attr(elemListTable, text("t")), attr(elemListSet, text("s")), nest(elemListElements, elems...))
}

// words are the elements that a message yields, as key or key-end.
func words(t testing.TB, c *Conn, b []byte) (got []string) {
	t.Helper()
	if _, err := c.elements(b, func(e *Element, err error) bool {
		w := hex.EncodeToString(e.Key)
		if e.KeyEnd != nil {
			w += "-" + hex.EncodeToString(e.KeyEnd)
		}
		if e.CatchAll {
			w = "*"
		}
		got = append(got, w)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func begins(key ...byte) []byte { return elem(value(elemKey, key...)) }
func ends(key ...byte) []byte   { return elem(value(elemKey, key...), reg(elemFlags, elemIntervalEnd)) }

func TestIntervals(t *testing.T) {
	for _, c := range []struct {
		name  string
		elems [][]byte
		want  []string
	}{
		{"one", [][]byte{ends(20), begins(10), ends(0)}, []string{"0a-13"}},
		{"a single key", [][]byte{ends(11), begins(10), ends(0)}, []string{"0a"}},
		{"up to the highest key", [][]byte{begins(250), ends(20), begins(0)}, []string{"fa-ff", "00-13"}},
		{"the highest key", [][]byte{begins(255), ends(0)}, []string{"ff"}},
		{"neighbours", [][]byte{ends(30), begins(20), ends(20), begins(10)}, []string{"14-1d", "0a-13"}},
		{"neighbours without an end between", [][]byte{ends(30), begins(20), begins(10)}, []string{"14-1d", "0a-13"}},
		{"everything", [][]byte{begins(0)}, []string{"00-ff"}},
		{"catch-all", [][]byte{ends(20), begins(10), elem(reg(elemFlags, elemCatchAll))}, []string{"0a-13", "*"}},
		{"nothing", nil, nil},
	} {
		conn := &Conn{join: intervals{on: true, size: 1}}
		if diff := cmp.Diff(c.want, words(t, conn, listMessage(c.elems...))); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

// Whatever the intervals, and wherever the kernel cuts the list into messages, they come back.
func TestIntervalsProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		inside := rapid.SliceOfN(rapid.Bool(), 256, 256).Draw(t, "keys")
		var marks [][]byte
		var want []string
		for key := 255; key >= 0; key-- {
			above := key < 255 && inside[key+1]
			if inside[key] && !above && key < 255 {
				marks = append(marks, ends(byte(key+1)))
			}
			if inside[key] && (key == 0 || !inside[key-1]) {
				end := key
				for end < 255 && inside[end+1] {
					end++
				}
				w := hex.EncodeToString([]byte{byte(key)})
				if end != key {
					w += "-" + hex.EncodeToString([]byte{byte(end)})
				}
				marks = append(marks, begins(byte(key)))
				want = append(want, w)
			}
		}
		conn := &Conn{join: intervals{on: true, size: 1}}
		cut := rapid.IntRange(0, len(marks)).Draw(t, "cut")
		got := append(messageWords(t, conn, marks[:cut]), messageWords(t, conn, marks[cut:])...)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func messageWords(t *rapid.T, c *Conn, marks [][]byte) (got []string) {
	_, err := c.elements(listMessage(marks...), func(e *Element, err error) bool {
		w := hex.EncodeToString(e.Key)
		if e.KeyEnd != nil {
			w += "-" + hex.EncodeToString(e.KeyEnd)
		}
		got = append(got, w)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestDecodeElement(t *testing.T) {
	full := join(value(elemKey, 1, 2), value(elemKeyEnd, 1, 9), value(elemData, 7), reg(elemFlags, 0), attr(elemTimeout, be64(5000)),
		attr(elemExpiration, be64(400)), attr(elemUserData, []byte{0, 2, 'x', 0}), attr(elemObject, text("o")),
		nest(elemExpr, attr(exprName, text("counter"))), attr(elemPad))
	var e Element
	if err := e.decode(full); err != nil {
		t.Fatal(err)
	}
	want := Element{Key: []byte{1, 2}, KeyEnd: []byte{1, 9}, Data: []byte{7}, Timeout: some[uint64](5000), Expires: some[uint64](400),
		UserData: []byte{0, 2, 'x', 0}, Object: "o", expr: attr(exprName, text("counter"))}
	if diff := cmp.Diff(want, e, cmp.AllowUnexported(Element{})); diff != "" {
		t.Error(diff)
	}
	for x := range e.Expressions() {
		if x.Name != "counter" {
			t.Error(x)
		}
	}
	newer := append(full, attr(77, be32(1))...)
	if err := e.decode(newer); err != nil || string(e.Raw) != string(newer) {
		t.Errorf("an unknown attribute: raw %x, %v", e.Raw, err)
	}
	verdict := join(value(elemKey, 1), nest(elemData, nest(dataVerdict, reg(verdictCode, 1))), reg(elemFlags, 8))
	if err := e.decode(verdict); err != nil || e.Verdict != some(Verdict{Code: 1}) || e.Raw == nil {
		t.Errorf("%+v %v", e, err)
	}
}

func setMessage() []byte {
	return message(1, attr(setTable, text("t")), attr(setName, text("s")), reg(setFlags, SetInterval|SetConcat|SetMap|SetTimeout),
		reg(setKeyType, 7<<6|13), reg(setKeyLen, 8), reg(setDataType, 19), reg(setDataLen, 4), reg(setPolicy, 1),
		nest(setDesc, reg(setDescSize, 100), nest(setDescConcat, nest(listElem, reg(setFieldLen, 4)), nest(listElem, reg(setFieldLen, 2)))),
		attr(setTimeout, be64(90000)), reg(setGCInterval, 30000), attr(setUserData, []byte{2, 4, 1, 0, 0, 0, 7, 2, 'c', 0}), reg(setObjectType, 1),
		attr(setHandle, be64(5)), nest(setExpressions, expr("counter"), expr("limit")), attr(setBackend, text("pipapo")), reg(setCount, 9))
}

func TestDecodeSet(t *testing.T) {
	var s Set
	if err := decodeRow(setMessage(), &s); err != nil {
		t.Fatal(err)
	}
	want := Set{Family: 1, Table: "t", Name: "s", Handle: 5, Flags: 0x9c, KeyType: 7<<6 | 13, KeyLen: 8, FieldLens: []uint32{4, 2}, DataType: 19,
		DataLen: 4, ObjectType: 1, Policy: some[uint32](1), Size: 100, Count: some[uint32](9), Backend: "pipapo", Timeout: 90000, GCInterval: 30000,
		UserData: []byte{2, 4, 1, 0, 0, 0, 7, 2, 'c', 0}, exprs: join(expr("counter"), expr("limit"))}
	if diff := cmp.Diff(want, s, cmp.AllowUnexported(Set{})); diff != "" {
		t.Error(diff)
	}
	u := UserData(s.UserData)
	if !u.Merges() || u.Comment(UserSetComment) != "c" || u.IsComment(UserSetComment) || s.Intervals() {
		t.Errorf("merges %v, comment %q, intervals %v", u.Merges(), u.Comment(UserSetComment), s.Intervals())
	}
	if err := decodeRow(message(1, attr(setName, text("n")), attr(setBackend, text("0xffffffff825080e0"))), &s); err != nil || s.Backend != "" {
		t.Errorf("an address of the kernel's: %q, %v", s.Backend, err)
	}
	if err := decodeRow(message(1, attr(setTable, text("t")), attr(setName, text("n"))), &s); err != nil || s.Backend != "" || len(s.FieldLens) != 0 {
		t.Errorf("a plain set after it: %+v, %v", s, err)
	}
}

func TestText(t *testing.T) {
	host := func(v byte) []byte {
		if littleEndian {
			return []byte{v, 0, 0, 0}
		}
		return []byte{0, 0, 0, v}
	}
	ifname := func(s string) []byte { return append([]byte(s), make([]byte, 16-len(s))...) }
	for _, c := range []struct {
		name       string
		set        Set
		value, end []byte
		want       string
	}{
		{"address", Set{KeyType: 7, KeyLen: 4}, []byte{192, 0, 2, 1}, nil, "192.0.2.1"},
		{"network", Set{KeyType: 7, KeyLen: 4, Flags: SetInterval}, []byte{10, 0, 0, 0}, []byte{10, 255, 255, 255}, "10.0.0.0/8"},
		{"range", Set{KeyType: 7, KeyLen: 4, Flags: SetInterval}, []byte{10, 0, 0, 1}, []byte{10, 0, 0, 2}, "10.0.0.1-10.0.0.2"},
		{"IPv6", Set{KeyType: 8, KeyLen: 16}, []byte{0xfe, 0x80, 15: 1}, nil, "fe80::1"},
		{"ether", Set{KeyType: 9, KeyLen: 6}, []byte{2, 0, 0, 0, 0, 0xff}, nil, "02:00:00:00:00:ff"},
		{"port", Set{KeyType: 13, KeyLen: 2}, []byte{1, 187}, nil, "443"},
		{"ports that would be a prefix", Set{KeyType: 13, KeyLen: 2, Flags: SetInterval}, []byte{0, 0}, []byte{0, 255}, "0-255"},
		{"mark", Set{KeyType: 19, KeyLen: 4}, host(16), nil, "0x00000010"},
		{"mark of an interval", Set{KeyType: 19, KeyLen: 4, Flags: SetInterval}, []byte{0, 0, 0, 16}, []byte{0, 0, 0, 18}, "0x00000010-0x00000012"},
		{"marks that are a prefix", Set{KeyType: 19, KeyLen: 4, Flags: SetInterval}, []byte{0, 0, 0, 4}, []byte{0, 0, 0, 5}, "0x00000004/31"},
		{"protocols", Set{KeyType: 12, KeyLen: 1, Flags: SetInterval}, []byte{4}, []byte{6}, "4-6"},
		{"protocol", Set{KeyType: 12, KeyLen: 1}, []byte{6}, nil, "tcp"},
		{"nameless protocol", Set{KeyType: 12, KeyLen: 1}, []byte{200}, nil, ""},
		{"interface", Set{KeyType: 41, KeyLen: 16}, ifname("eth0"), nil, `"eth0"`},
		{"interfaces", Set{KeyType: 41, KeyLen: 16, Flags: SetInterval}, ifname("eth"), append([]byte("eth"), hexBytes("ffffffffffffffffffffffffff")...), `"eth*"`},
		{"parts", Set{KeyType: 7<<6 | 13, KeyLen: 8, FieldLens: []uint32{4, 2}}, []byte{1, 2, 3, 4, 0, 80, 0, 0}, nil, "1.2.3.4 . 80"},
		{"parts without lengths", Set{KeyType: 12<<6 | 13, KeyLen: 8}, []byte{17, 0, 0, 0, 0, 53, 0, 0}, nil, "udp . 53"},
		{"parts of intervals", Set{KeyType: 7<<6 | 13, KeyLen: 8, FieldLens: []uint32{4, 2}, Flags: SetInterval | SetConcat},
			[]byte{10, 0, 0, 0, 0, 80, 0, 0}, []byte{10, 0, 0, 255, 0, 90, 0, 0}, "10.0.0.0/24 . 80-90"},
		{"a type without text", Set{KeyType: 26, KeyLen: 4}, []byte{1, 0, 0, 0}, nil, ""},
		{"no type", Set{KeyLen: 4}, []byte{1, 0, 0, 0}, nil, ""},
		{"longer than its type", Set{KeyType: 7, KeyLen: 8}, []byte{1, 2, 3, 4, 5, 6, 7, 8}, nil, ""},
		{"shorter than its type", Set{KeyType: 9, KeyLen: 2}, []byte{1, 2}, nil, ""},
	} {
		got, ok := c.set.KeyLayout().Text(c.value, c.end)
		if !ok {
			got = ""
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func hexBytes(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func TestUserData(t *testing.T) {
	for _, c := range []struct {
		name    string
		u       UserData
		comment string
		only    bool
	}{
		{"a comment", UserData{0, 3, 'h', 'i', 0}, "hi", true},
		{"none", nil, "", false},
		{"with more", UserData{0, 2, 'a', 0, 1, 1, 9}, "a", false},
		{"another record", UserData{5, 1, 9}, "", false},
		{"cut", UserData{0, 9, 'a'}, "", false},
		{"a lone type", UserData{0}, "", false},
	} {
		if got := c.u.Comment(UserComment); got != c.comment || c.u.IsComment(UserComment) != c.only {
			t.Errorf("%s: %q, %v", c.name, got, c.u.IsComment(UserComment))
		}
	}
}

func FuzzRule(f *testing.F) {
	f.Add(ruleMessage())
	for _, c := range everyKind() {
		f.Add(message(1, nest(ruleExpressions, nest(listElem, attr(exprName, text(c.name)), nest(exprData, c.data)))))
	}
	all := everyKind()
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Rule
		if err := decodeRow(b, &r); err != nil {
			return
		}
		for e := range r.Expressions() {
			// Whatever its name, its attributes must do no harm to any decoder.
			for _, c := range all {
				_, _, _ = c.run(e.Data)
			}
			var d Dynset
			_, _ = Decode(e.Data, &d)
			for range d.Expressions() {
			}
			var p Payload
			_, _ = Decode(e.Data, &p)
			p.Field(r.Family)
		}
	})
}

func FuzzSet(f *testing.F) {
	f.Add(setMessage(), []byte{1, 2, 3, 4, 0, 80, 0, 0}, []byte{1, 2, 3, 5, 0, 90, 0, 0})
	f.Add(message(1, reg(setKeyType, 9), reg(setKeyLen, 6)), []byte{1}, []byte(nil))
	f.Fuzz(func(t *testing.T, b, key, end []byte) {
		var s Set
		if err := decodeRow(b, &s); err != nil {
			return
		}
		for range s.Expressions() {
		}
		TypeName(s.KeyType)
		s.KeyLayout().Text(key, end)
		s.DataLayout().Text(key, nil)
		UserData(s.UserData).Comment(UserSetComment)
	})
}

func FuzzElements(f *testing.F) {
	f.Add(listMessage(ends(20), begins(10), elem(reg(elemFlags, elemCatchAll))), true)
	f.Add(listMessage(elem(value(elemKey, 1, 2), value(elemKeyEnd, 1, 9), nest(elemExpr, attr(exprName, text("counter"))))), false)
	f.Fuzz(func(t *testing.T, b []byte, on bool) {
		c := &Conn{join: intervals{on: on, size: 4}}
		_, _ = c.elements(b, func(e *Element, err error) bool {
			for range e.Expressions() {
			}
			if e.KeyEnd != nil && string(e.KeyEnd) == string(e.Key) {
				t.Error("an interval of one key says so twice")
			}
			return true
		})
	})
}

func FuzzRest(f *testing.F) {
	f.Add(message(1, attr(tableName, text("t"))))
	f.Add(message(unix.NFPROTO_NETDEV, nest(chainHook, reg(hookNumber, 0), attr(hookDevice, text("lo")))))
	f.Add(message(1, reg(objectType, ObjectTunnel), nest(objectData, nest(9, nest(3, attr(1, be16(1)))))))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, into := range []row{new(Table), new(Chain), new(Flowtable), new(Object)} {
			if decodeRow(b, into) == nil {
				into.place()
			}
		}
	})
}
