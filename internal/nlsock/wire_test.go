package nlsock

import (
	"bytes"
	"errors"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// message builds one netlink message of an answer with sequence number 7.
func message(typ, flags uint16, data []byte) []byte {
	b := native.AppendUint32(nil, uint32(headerSize+len(data)))
	b = native.AppendUint16(b, typ)
	b = native.AppendUint16(b, flags)
	b = native.AppendUint32(b, 7)
	b = native.AppendUint32(b, 0)
	b = append(b, data...)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

func attribute(typ uint16, value []byte) []byte {
	b := native.AppendUint16(nil, uint16(4+len(value)))
	b = native.AppendUint16(b, typ)
	b = append(b, value...)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

func int32Bytes(v int32) []byte { return native.AppendUint32(nil, uint32(v)) }

func TestAnswer(t *testing.T) {
	request := message(unix.RTM_GETLINK, 0, nil)
	words := attribute(unix.NLMSGERR_ATTR_MSG, []byte("no such thing\x00"))
	tests := []struct {
		name        string
		datagram    []byte
		multi       bool
		types       []uint16
		done        bool
		interrupted bool
		err         error
		words       string
	}{
		{name: "rows without an end", multi: true,
			datagram: append(message(16, unix.NLM_F_MULTI, nil), message(17, unix.NLM_F_MULTI, []byte{1, 2, 3})...),
			types:    []uint16{16, 17}},
		{name: "rows and the end", multi: true,
			datagram: append(message(16, unix.NLM_F_MULTI, nil), message(unix.NLMSG_DONE, unix.NLM_F_MULTI, int32Bytes(0))...),
			types:    []uint16{16}, done: true},
		{name: "nothing after the end", multi: true,
			datagram: append(message(unix.NLMSG_DONE, 0, int32Bytes(0)), message(16, 0, nil)...), done: true},
		{name: "an end without a status", multi: true, datagram: message(unix.NLMSG_DONE, 0, nil), done: true},
		{name: "interrupted at a row", multi: true, types: []uint16{16},
			datagram: message(16, unix.NLM_F_DUMP_INTR, nil), interrupted: true},
		{name: "interrupted at the end", multi: true, datagram: message(unix.NLMSG_DONE, unix.NLM_F_DUMP_INTR, int32Bytes(0)),
			done: true, interrupted: true},
		{name: "an end that failed", multi: true, done: true, err: syscall.ENOBUFS, words: "no such thing",
			datagram: message(unix.NLMSG_DONE, unix.NLM_F_ACK_TLVS, append(int32Bytes(-int32(syscall.ENOBUFS)), words...))},
		{name: "refused", done: true, err: syscall.EPERM, words: "no such thing",
			datagram: message(unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS|unix.NLM_F_CAPPED, bytes.Join([][]byte{int32Bytes(-1), request[:headerSize], words}, nil))},
		{name: "refused, with the whole request", done: true, err: syscall.EPERM, words: "no such thing",
			datagram: message(unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS, bytes.Join([][]byte{int32Bytes(-1), request, words}, nil))},
		{name: "refused without words", done: true, err: syscall.ENOENT,
			datagram: message(unix.NLMSG_ERROR, 0, append(int32Bytes(-2), request...))},
		{name: "acknowledged", done: true, datagram: message(unix.NLMSG_ERROR, 0, append(int32Bytes(0), request...))},
		{name: "one message is a whole answer", datagram: append(message(16, 0, nil), message(17, 0, nil)...),
			types: []uint16{16}, done: true},
		{name: "overrun", datagram: message(unix.NLMSG_OVERRUN, 0, nil), err: syscall.ENOBUFS},
		{name: "noop", datagram: append(message(unix.NLMSG_NOOP, 0, nil), message(16, 0, nil)...), types: []uint16{16}, done: true},
		{name: "an error cut short", datagram: message(unix.NLMSG_ERROR, 0, nil), done: true, err: ErrMalformed},
		{name: "shorter than a header", datagram: []byte{1, 2, 3}, err: ErrMalformed},
		{name: "longer than the datagram", datagram: message(16, 0, []byte("1234"))[:headerSize], err: ErrMalformed},
		{name: "shorter than itself", datagram: append(native.AppendUint32(nil, 4), make([]byte, 12)...), err: ErrMalformed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var types []uint16
			a := answer{seq: 7, multi: test.multi, take: func(m Message) bool { types = append(types, m.Type); return true }}
			err := a.datagram(test.datagram)
			if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) {
				t.Errorf("error %v, want %v", err, test.err)
			}
			var told *OpError
			if errors.As(err, &told) && told.Message != test.words {
				t.Errorf("words %q, want %q", told.Message, test.words)
			}
			if diff := cmp.Diff(test.types, types); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
			if a.done != test.done || a.interrupted != test.interrupted {
				t.Errorf("done %v, interrupted %v, want %v, %v", a.done, a.interrupted, test.done, test.interrupted)
			}
		})
	}
}

func TestAnswerPassesOverForeignSequence(t *testing.T) {
	a := answer{seq: 8, take: func(m Message) bool { t.Errorf("took %v", m); return true }}
	if err := a.datagram(message(16, 0, nil)); err != nil || a.done {
		t.Errorf("err %v, done %v", err, a.done)
	}
}

// TestAheadIsWhatIsTakenNext: whoever looks ahead sees what comes, and nothing that is another answer's or broken.
func TestAheadIsWhatIsTakenNext(t *testing.T) {
	b := bytes.Join([][]byte{message(16, 0, nil), message(17, 0, []byte{1, 2, 3}), message(18, 0, []byte{4})}, nil)
	foreign := message(19, 0, nil)
	native.PutUint32(foreign[8:], 8)
	for _, behind := range [][]byte{nil, foreign, b[:headerSize-1], {1, 2, 3}} {
		c := &Conn{}
		var types [][]uint16
		c.answer = &answer{seq: 7, multi: true, take: func(m Message) bool {
			types = append(types, []uint16{m.Type})
			for next := range c.Ahead() {
				types[len(types)-1] = append(types[len(types)-1], next.Type)
			}
			return true
		}}
		_ = c.answer.datagram(append(bytes.Clone(b), behind...))
		if diff := cmp.Diff([][]uint16{{16, 17, 18}, {17, 18}, {18}}, types); diff != "" {
			t.Errorf("before %x (-want +got):\n%s", behind, diff)
		}
	}
	for m := range (&Conn{}).Ahead() {
		t.Errorf("ahead of no answer: %+v", m)
	}
}

func TestOpError(t *testing.T) {
	e := &OpError{Op: "dump routes", Err: syscall.EPERM, Message: "not yours"}
	if got, want := e.Error(), "dump routes: operation not permitted (not yours)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := e.Capability(); got != "CAP_NET_ADMIN" {
		t.Errorf("EPERM lacks %q", got)
	}
	if got := (&OpError{Op: "x", Err: syscall.ENODEV}).Capability(); got != "" {
		t.Errorf("ENODEV lacks %q", got)
	}
}

// TestRequestRoundTrip checks that what a Request holds is what a walk finds.
func TestRequestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-z0-9.]{0,20}`).Draw(t, "text")
		raw := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "raw")
		number := rapid.Uint32().Draw(t, "number")
		c := &Conn{}
		req := c.Request("test", 18)
		req.Raw([]byte{1, 2, 3})
		req.String(1, text)
		req.Nest(2, func() {
			req.Uint32(3, number)
			req.Bytes(4, raw)
		})
		req.Uint32(5, number)
		req.finish(unix.NLM_F_DUMP, 9)

		if size := int(native.Uint32(req.b)); size != len(req.b) || size != align(size) {
			t.Fatalf("length field %d of a message of %d", size, len(req.b))
		}
		if got := native.Uint16(req.b[6:]); got != unix.NLM_F_REQUEST|unix.NLM_F_DUMP {
			t.Fatalf("flags %x", got)
		}
		a := Attributes(req.b[headerSize+4:])
		if !a.Next() || a.Type() != 1 || a.String() != text {
			t.Fatalf("attribute 1 is %q", a.String())
		}
		if !a.Next() || a.Type() != 2 {
			t.Fatal("no attribute 2")
		}
		nested := a.Nested()
		if !nested.Next() || nested.Type() != 3 || nested.Uint32() != number {
			t.Fatalf("attribute 2.3 is %d", nested.Uint32())
		}
		if !nested.Next() || nested.Type() != 4 || !bytes.Equal(nested.Bytes(), raw) {
			t.Fatalf("attribute 2.4 is %x", nested.Bytes())
		}
		if nested.Next() || nested.Err() != nil {
			t.Fatalf("after attribute 2.4: %v", nested.Err())
		}
		if !a.Next() || a.Type() != 5 || a.Uint32() != number || a.Next() || a.Err() != nil {
			t.Fatalf("attribute 5 is %d, %v", a.Uint32(), a.Err())
		}
	})
}

func TestAttributesRefuse(t *testing.T) {
	tests := map[string][]byte{
		"a cut header":                {8, 0, 1},
		"a length below the header's": {3, 0, 1, 0},
		"a length beyond the end":     {9, 0, 1, 0, 1, 2, 3, 4},
		"a rest":                      append(attribute(1, []byte{1}), 0, 0),
	}
	for name, b := range tests {
		a := Attributes(b)
		for a.Next() {
		}
		if !errors.Is(a.Err(), ErrMalformed) {
			t.Errorf("%s: %v, want %v", name, a.Err(), ErrMalformed)
		}
	}
}

func TestAttributeValues(t *testing.T) {
	a := Attributes(attribute(unix.NLA_F_NESTED|9, []byte{1, 2, 3, 4, 5, 6, 7, 8}))
	if !a.Next() || a.Type() != 9 {
		t.Fatalf("type %d, want 9 without its flags", a.Type())
	}
	if a.Uint8() != 1 || a.BigUint16() != 0x0102 || a.BigUint32() != 0x01020304 || !a.Flag() {
		t.Errorf("%d %x %x", a.Uint8(), a.BigUint16(), a.BigUint32())
	}
	if a.Uint16() != native.Uint16(a.Bytes()) || a.Uint32() != native.Uint32(a.Bytes()) ||
		a.Int32() != int32(a.Uint32()) || a.Uint64() != native.Uint64(a.Bytes()) {
		t.Error("host order")
	}
	if a.Err() != nil {
		t.Errorf("reading the start of a longer value: %v", a.Err())
	}
	short := Attributes(attribute(1, []byte{1}))
	short.Next()
	if short.Uint16() != 0 || short.Uint32() != 0 || short.Uint64() != 0 || short.BigUint16() != 0 || short.BigUint32() != 0 {
		t.Error("a value out of too few bytes")
	}
	if !errors.Is(short.Err(), ErrMalformed) {
		t.Errorf("too few bytes: %v", short.Err())
	}
}

func TestReuse(t *testing.T) {
	last := ""
	if got := Reuse(&last, []byte("veth\x00")); got != "veth" || last != "veth" {
		t.Errorf("%q, %q", got, last)
	}
	same := []byte("veth\x00")
	if n := testing.AllocsPerRun(100, func() { Reuse(&last, same) }); n != 0 {
		t.Errorf("%v allocations for a text that was there", n)
	}
}

func FuzzAttributes(f *testing.F) {
	f.Add(attribute(1, []byte("eth0\x00")))
	f.Add(append(attribute(1, nil), attribute(2, attribute(3, []byte{1, 2, 3}))...))
	f.Add([]byte{3, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		size := 0
		a := Attributes(b)
		for a.Next() {
			size += 4 + len(a.Bytes())
			_ = a.String()
			_ = a.Uint64() + uint64(a.Uint32()) + uint64(a.Uint16()) + uint64(a.Uint8())
			for n := a.Nested(); n.Next(); {
				if len(n.Bytes()) > len(a.Bytes()) {
					t.Fatal("a nested value larger than what holds it")
				}
			}
		}
		if size > len(b) {
			t.Fatalf("%d bytes of attributes in %d", size, len(b))
		}
	})
}

func FuzzAnswer(f *testing.F) {
	f.Add(message(16, unix.NLM_F_MULTI, []byte{1, 2, 3}), true)
	f.Add(append(message(16, unix.NLM_F_MULTI, []byte{1, 2, 3}), message(17, unix.NLM_F_MULTI, []byte{4})...), true)
	f.Add(message(unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS, append(int32Bytes(-1), attribute(1, []byte("x"))...)), false)
	f.Add(message(unix.NLMSG_DONE, unix.NLM_F_ACK_TLVS, append(int32Bytes(-1), attribute(1, []byte("x"))...)), true)
	f.Fuzz(func(t *testing.T, b []byte, multi bool) {
		taken := 0
		c := &Conn{}
		c.answer = &answer{seq: 7, multi: multi, take: func(m Message) bool {
			taken += headerSize + len(m.Data)
			ahead := 0
			for next := range c.Ahead() {
				ahead += headerSize + len(next.Data)
			}
			if taken+ahead > len(b) {
				t.Fatalf("%d bytes of messages, and %d ahead, in %d", taken, ahead, len(b))
			}
			return true
		}}
		_ = c.answer.datagram(b)
		if taken > len(b) {
			t.Fatalf("%d bytes of messages in %d", taken, len(b))
		}
	})
}
