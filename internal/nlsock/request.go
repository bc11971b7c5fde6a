package nlsock

import (
	"golang.org/x/sys/unix"
)

const headerSize = unix.SizeofNlMsghdr // length u32, type u16, flags u16, sequence u32, port u32

// Request is one message to the kernel under construction: its header, the family's own header
// (Raw), then attributes. It is made by [Conn.Request] and sent by [Conn.Dump] or [Conn.Do].
type Request struct {
	op string
	b  []byte
}

// Request starts a message of type typ in the socket's own send buffer; the one started before is
// gone. op names the request in errors, as in "dump routes".
func (c *Conn) Request(op string, typ uint16) *Request {
	c.req.op = op
	c.req.b = append(c.req.b[:0], make([]byte, headerSize)...)
	native.PutUint16(c.req.b[4:], typ)
	return &c.req
}

// Raw appends bytes as they are, padded to the alignment of attributes.
func (r *Request) Raw(b []byte) {
	r.b = append(r.b, b...)
	r.pad()
}

// Uint32 appends an attribute of four bytes in the host's order.
func (r *Request) Uint32(typ uint16, v uint32) {
	r.head(typ, 4)
	r.b = native.AppendUint32(r.b, v)
}

// Bytes appends an attribute that holds b.
func (r *Request) Bytes(typ uint16, b []byte) {
	r.head(typ, len(b))
	r.Raw(b)
}

// String appends an attribute that holds s and the NUL that netlink strings end with.
func (r *Request) String(typ uint16, s string) {
	r.head(typ, len(s)+1)
	r.b = append(append(r.b, s...), 0)
	r.pad()
}

// Nest appends an attribute whose attributes are what f appends.
func (r *Request) Nest(typ uint16, f func()) {
	start := len(r.b)
	r.head(typ|unix.NLA_F_NESTED, 0)
	f()
	native.PutUint16(r.b[start:], uint16(len(r.b)-start))
}

// Run appends an attribute that holds whatever f appends, without the flag of nesting, which some
// families do not take (RTA_MULTIPATH).
func (r *Request) Run(typ uint16, f func()) {
	start := len(r.b)
	r.head(typ, 0)
	f()
	native.PutUint16(r.b[start:], uint16(len(r.b)-start))
}

// Hop appends a struct rtnexthop (rtnetlink(7)): its length, flags, hops and interface, and the attributes
// that f appends.
func (r *Request) Hop(flags, hops uint8, index int32, f func()) {
	start := len(r.b)
	r.b = append(r.b, 0, 0, flags, hops)
	r.b = native.AppendUint32(r.b, uint32(index))
	f()
	native.PutUint16(r.b[start:], uint16(len(r.b)-start))
}

func (r *Request) head(typ uint16, size int) {
	r.b = native.AppendUint16(r.b, uint16(unix.SizeofNlAttr+size))
	r.b = native.AppendUint16(r.b, typ)
}

func (r *Request) pad() {
	for len(r.b) != align(len(r.b)) {
		r.b = append(r.b, 0)
	}
}

func (r *Request) finish(flags uint16, seq uint32) {
	native.PutUint32(r.b, uint32(len(r.b)))
	native.PutUint16(r.b[6:], flags|unix.NLM_F_REQUEST)
	native.PutUint32(r.b[8:], seq)
}

// Fail makes the error of the request out of what its consumer found wrong with the answer.
func (r *Request) Fail(err error) error { return &OpError{Op: r.op, Err: err} }
