package nft

import (
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Step is one expression of a rule to be made. The numbers of keys, bases and operations are those of
// linux/netfilter/nf_tables.h.
type Step struct {
	kind string
	data func(*nlsock.Request)
}

func (s Step) append(r *nlsock.Request) {
	r.String(exprName, s.kind)
	r.Nest(exprData, func() {
		if s.data != nil {
			s.data(r)
		}
	})
}

func appendSteps(r *nlsock.Request, steps []Step) {
	for _, s := range steps {
		r.Nest(listElem, func() { s.append(r) })
	}
}

// LoadMeta puts what the host knows of the packet into a register (unix.NFT_META_*).
func LoadMeta(key uint32, to Register) Step {
	return Step{"meta", func(r *nlsock.Request) {
		r.BigUint32(1, uint32(to))
		r.BigUint32(2, key)
	}}
}

// LoadPayload puts bytes of the packet into a register, counted from a header (unix.NFT_PAYLOAD_*).
func LoadPayload(base, offset, length uint32, to Register) Step {
	return Step{"payload", func(r *nlsock.Request) {
		r.BigUint32(1, uint32(to))
		r.BigUint32(2, base)
		r.BigUint32(3, offset)
		r.BigUint32(4, length)
	}}
}

// LoadCt puts what connection tracking knows of the packet into a register (unix.NFT_CT_*).
func LoadCt(key uint32, to Register) Step {
	return Step{"ct", func(r *nlsock.Request) {
		r.BigUint32(1, uint32(to))
		r.BigUint32(2, key)
	}}
}

// LoadFib looks an address of the packet up in the routing tables (unix.NFT_FIB_RESULT_*, unix.NFTA_FIB_F_*).
func LoadFib(result, flags uint32, to Register) Step {
	return Step{"fib", func(r *nlsock.Request) {
		r.BigUint32(1, uint32(to))
		r.BigUint32(2, result)
		r.BigUint32(3, flags)
	}}
}

// Compare goes on where a register compares so with a value (unix.NFT_CMP_*).
func Compare(op uint32, register Register, value []byte) Step {
	return Step{"cmp", func(r *nlsock.Request) {
		r.BigUint32(1, uint32(register))
		r.BigUint32(2, op)
		r.Nest(3, func() { r.Bytes(dataValue, value) })
	}}
}

// Equal goes on where a register holds a value.
func Equal(register Register, value []byte) Step { return Compare(unix.NFT_CMP_EQ, register, value) }

// Mask keeps of a register the bits of mask.
func Mask(register Register, mask []byte) Step {
	return MaskAndSet(register, mask, make([]byte, len(mask)))
}

// MaskAndSet keeps of a register the bits of mask, and sets those of bits, which are none of mask's.
func MaskAndSet(register Register, mask, bits []byte) Step {
	return Step{"bitwise", func(r *nlsock.Request) {
		r.BigUint32(1, uint32(register))
		r.BigUint32(2, uint32(register))
		r.BigUint32(3, uint32(len(mask)))
		r.Nest(4, func() { r.Bytes(dataValue, mask) })
		r.Nest(5, func() { r.Bytes(dataValue, bits) })
	}}
}

// Find goes on where the registers from one on hold a key of a set.
func Find(set string, from Register) Step {
	return Step{"lookup", func(r *nlsock.Request) {
		r.String(1, set)
		r.BigUint32(2, uint32(from))
	}}
}

// Miss goes on where the registers from one on hold a key that a set does not have.
func Miss(set string, from Register) Step {
	return Step{"lookup", func(r *nlsock.Request) {
		r.String(1, set)
		r.BigUint32(2, uint32(from))
		r.BigUint32(5, unix.NFT_LOOKUP_F_INV)
	}}
}

// Map goes on where the registers from one on hold a key of a map, and puts what the map has for it into those
// from to on; verdicts go to register 0.
func Map(set string, from, to Register) Step {
	return Step{"lookup", func(r *nlsock.Request) {
		r.String(1, set)
		r.BigUint32(2, uint32(from))
		r.BigUint32(3, uint32(to))
	}}
}

// Count counts the packets that come to it.
func Count() Step { return Step{kind: "counter"} }

// Decide ends the rule with a verdict.
func Decide(v Verdict) Step {
	return Step{"immediate", func(r *nlsock.Request) {
		r.BigUint32(1, unix.NFT_REG_VERDICT)
		r.Nest(2, func() { appendVerdict(r, v) })
	}}
}

// Accept lets the packet through, as far as this table has a say.
func Accept() Step { return Decide(Verdict{Code: nfAccept}) }

// Drop drops it, whatever other tables say.
func Drop() Step { return Decide(Verdict{Code: nfDrop}) }

// Return goes on behind the jump that led to this chain.
func Return() Step { return Decide(Verdict{Code: unix.NFT_RETURN}) }

// Jump goes on with the rules of another chain, and comes back behind the last of them.
func Jump(chain string) Step { return Decide(Verdict{Code: unix.NFT_JUMP, Chain: chain}) }

// Verdicts of netfilter (linux/netfilter.h).
const (
	nfDrop   = 0
	nfAccept = 1
)

// NAT rewrites addresses and ports to what is in registers; 0 is none. kind is unix.NFT_NAT_SNAT or
// unix.NFT_NAT_DNAT, flags are NF_NAT_RANGE_*.
func NAT(kind, family uint32, address, port Register, flags uint32) Step {
	return Step{"nat", func(r *nlsock.Request) {
		r.BigUint32(1, kind)
		r.BigUint32(2, family)
		if address != 0 {
			r.BigUint32(3, uint32(address))
		}
		if port != 0 {
			r.BigUint32(5, uint32(port))
		}
		if flags != 0 {
			r.BigUint32(7, flags)
		}
	}}
}

// Masquerade rewrites the source to an address of the interface that the packet leaves by.
func Masquerade() Step { return Step{kind: "masq"} }

func appendVerdict(r *nlsock.Request, v Verdict) {
	r.Nest(dataVerdict, func() {
		r.BigUint32(verdictCode, uint32(v.Code))
		if v.Chain != "" {
			r.String(verdictChain, v.Chain)
		}
	})
}
