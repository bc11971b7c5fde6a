package nft

import (
	"bytes"
	"encoding/binary"
	"iter"
)

// UserData is what nft(8) and others leave in the kernel beside an object, as a run of records: type u8,
// length u8, value (libnftnl/udata.h). The types differ from object to object.
type UserData []byte

// Types of records. A comment ends in a NUL.
const (
	UserComment       = 0 // of a table, chain, rule, element, object
	UserSetKeyOrder   = 0 // of a set: byte order of the keys, u32: 1 the host's, 2 the network's
	UserSetDataOrder  = 1 // of a map
	UserSetMerge      = 2 // of a set: u32, nft joins overlapping intervals
	UserSetKeyTypeof  = 3
	UserSetDataTypeof = 4
	UserSetExpr       = 5
	UserSetDataRange  = 6
	UserSetComment    = 7
	UserElementFlags  = 1 // of an element: u32, bit 0: an interval without an end
)

// Values of UserSetKeyOrder and UserSetDataOrder (enum byteorder of nft).
const (
	userOrderHost      = 1
	userOrderBigEndian = 2
)

// Records yields each record's type and value, up to the first whose length does not fit.
func (u UserData) Records() iter.Seq2[uint8, []byte] {
	return func(yield func(uint8, []byte) bool) {
		for b := []byte(u); len(b) >= 2; {
			size := 2 + int(b[1])
			if size > len(b) || !yield(b[0], b[2:size:size]) {
				return
			}
			b = b[size:]
		}
	}
}

// Get returns the value of the first record of a type.
func (u UserData) Get(typ uint8) ([]byte, bool) {
	for t, value := range u.Records() {
		if t == typ {
			return value, true
		}
	}
	return nil, false
}

// Comment is the text of the record of type typ, UserComment or UserSetComment; "" where there is none.
func (u UserData) Comment(typ uint8) string {
	value, _ := u.Get(typ)
	return string(bytes.TrimRight(value, "\x00"))
}

// Merges tells whether nft joins overlapping intervals of the set that u is of.
func (u UserData) Merges() bool {
	value, ok := u.Get(UserSetMerge)
	return ok && len(value) == 4 && binary.NativeEndian.Uint32(value) != 0
}

// IsComment tells whether the whole is one record of type typ and nothing else.
func (u UserData) IsComment(typ uint8) bool {
	return len(u) >= 2 && u[0] == typ && int(u[1]) == len(u)-2
}
