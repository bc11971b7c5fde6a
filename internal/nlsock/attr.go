package nlsock

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Attrs walks a run of netlink attributes in place:
//
//	a := nlsock.Attributes(b)
//	for a.Next() {
//		switch a.Type() {
//		case unix.RTA_OIF:
//			oif = a.Uint32()
//		}
//	}
//	return a.Err()
//
// A value that is shorter than what is read from it is an error of the walk, found at its end; a
// longer one is read from its start, since kernels grow what they tell.
type Attrs struct {
	rest  []byte
	value []byte
	typ   uint16
	bad   bool
}

// Attributes starts a walk over b.
func Attributes(b []byte) Attrs { return Attrs{rest: b} }

// Next steps to the next attribute and reports whether there is one.
func (a *Attrs) Next() bool {
	if len(a.rest) < unix.SizeofNlAttr {
		a.bad = a.bad || len(a.rest) > 0
		return false
	}
	size := int(native.Uint16(a.rest))
	if size < unix.SizeofNlAttr || size > len(a.rest) {
		a.bad = true
		a.rest = nil
		return false
	}
	a.typ = native.Uint16(a.rest[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
	a.value = a.rest[unix.SizeofNlAttr:size:size]
	a.rest = a.rest[min(align(size), len(a.rest)):]
	return true
}

// Err returns ErrMalformed where a length did not fit, naming the last attribute that was looked at.
func (a *Attrs) Err() error {
	if !a.bad {
		return nil
	}
	return fmt.Errorf("attribute %d: %w", a.typ, ErrMalformed)
}

// Type is the attribute's type without the flags for nesting and byte order.
func (a *Attrs) Type() uint16 { return a.typ }

// Bytes is the attribute's value, in place.
func (a *Attrs) Bytes() []byte { return a.value }

// Sized is the value's first n bytes, in place, for a structure of that size; nil where it is shorter.
func (a *Attrs) Sized(n int) []byte {
	if !a.has(n) {
		return nil
	}
	return a.value[:n]
}

// Nested walks the attributes in this one's value. The caller asks the returned walk for its error.
func (a *Attrs) Nested() Attrs { return Attributes(a.value) }

// String is the value up to its first NUL.
func (a *Attrs) String() string { return string(Text(a.value)) }

// Flag reads an attribute that is true by being there, or a byte that says so.
func (a *Attrs) Flag() bool { return len(a.value) == 0 || a.value[0] != 0 }

// Uint8 reads one byte.
func (a *Attrs) Uint8() uint8 {
	if !a.has(1) {
		return 0
	}
	return a.value[0]
}

// Uint16 reads two bytes in the host's order.
func (a *Attrs) Uint16() uint16 {
	if !a.has(2) {
		return 0
	}
	return native.Uint16(a.value)
}

// BigUint16 reads two bytes in network order, as ports and ethertypes are kept.
func (a *Attrs) BigUint16() uint16 {
	if !a.has(2) {
		return 0
	}
	return binary.BigEndian.Uint16(a.value)
}

// Uint32 reads four bytes in the host's order.
func (a *Attrs) Uint32() uint32 {
	if !a.has(4) {
		return 0
	}
	return native.Uint32(a.value)
}

// BigUint32 reads four bytes in network order.
func (a *Attrs) BigUint32() uint32 {
	if !a.has(4) {
		return 0
	}
	return binary.BigEndian.Uint32(a.value)
}

// Int32 reads four bytes in the host's order, signed.
func (a *Attrs) Int32() int32 { return int32(a.Uint32()) }

// Uint64 reads eight bytes in the host's order.
func (a *Attrs) Uint64() uint64 {
	if !a.has(8) {
		return 0
	}
	return native.Uint64(a.value)
}

func (a *Attrs) has(n int) bool {
	if len(a.value) >= n {
		return true
	}
	a.bad = true
	return false
}

// Text is b up to its first NUL: netlink strings may or may not end in one.
func Text(b []byte) []byte {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return b[:i]
	}
	return b
}

// Reuse is the text in b as a string. Where it is the same as *last, which it updates, it allocates
// nothing: rows of a dump have the same few kinds and labels again and again.
func Reuse(last *string, b []byte) string {
	if t := Text(b); *last != string(t) {
		*last = string(t)
	}
	return *last
}
