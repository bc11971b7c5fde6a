package nlsock

import "encoding/binary"

// Netfilter keeps the numbers of its attributes in network order (linux/netfilter/nfnetlink.h), where
// the other families keep the host's.

// BigUint64 reads eight bytes in network order.
func (a *Attrs) BigUint64() uint64 {
	if !a.has(8) {
		return 0
	}
	return binary.BigEndian.Uint64(a.value)
}

// Uint8 appends an attribute of one byte.
func (r *Request) Uint8(typ uint16, v uint8) { r.Bytes(typ, []byte{v}) }

// BigUint16 appends an attribute of two bytes in network order.
func (r *Request) BigUint16(typ, v uint16) {
	r.head(typ, 2)
	r.b = binary.BigEndian.AppendUint16(r.b, v)
	r.pad()
}

// BigUint32 appends an attribute of four bytes in network order.
func (r *Request) BigUint32(typ uint16, v uint32) {
	r.head(typ, 4)
	r.b = binary.BigEndian.AppendUint32(r.b, v)
}

// BigUint64 appends an attribute of eight bytes in network order.
func (r *Request) BigUint64(typ uint16, v uint64) {
	r.head(typ, 8)
	r.b = binary.BigEndian.AppendUint64(r.b, v)
}
