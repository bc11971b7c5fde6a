package nft

import (
	"iter"
)

// The kinds here move and compare values: what a rule matches with. Each struct has the kernel's
// attributes in their order (enum nft_*_attributes).

// Bitwise is the kind bitwise: an operation on the bits of a register.
type Bitwise struct {
	SReg, DReg, SReg2 Register
	Len               uint32
	Op                uint32 // see BitwiseOp
	Mask, Xor         []byte // of mask_xor
	Data              []byte // of the others, where the operand is no register
}

func (x *Bitwise) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.SReg = w.register()
	case 2:
		x.DReg = w.register()
	case 3:
		x.Len = w.BigUint32()
	case 4:
		x.Mask = w.value()
	case 5:
		x.Xor = w.value()
	case 6:
		x.Op = w.BigUint32()
	case 7:
		x.Data = w.value()
	case 8:
		x.SReg2 = w.register()
	default:
		return false
	}
	return true
}

// Byteorder is the kind byteorder: numbers turned between the host's order and the network's.
type Byteorder struct {
	SReg, DReg Register
	Op         uint32 // 0 ntoh, 1 hton
	Len, Size  uint32 // bytes in all, bytes of one number
}

func (x *Byteorder) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.SReg = w.register()
	case 2:
		x.DReg = w.register()
	case 3:
		x.Op = w.BigUint32()
	case 4:
		x.Len = w.BigUint32()
	case 5:
		x.Size = w.BigUint32()
	default:
		return false
	}
	return true
}

// Cmp is the kind cmp: the rule ends where the comparison does not hold.
type Cmp struct {
	SReg Register
	Op   uint32 // see CmpOp
	Data []byte
}

func (x *Cmp) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.SReg = w.register()
	case 2:
		x.Op = w.BigUint32()
	case 3:
		x.Data = w.value()
	default:
		return false
	}
	return true
}

// Range is the kind range: a comparison with two bounds, both inside.
type Range struct {
	SReg     Register
	Op       uint32 // 0 eq, 1 neq
	From, To []byte
}

func (x *Range) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.SReg = w.register()
	case 2:
		x.Op = w.BigUint32()
	case 3:
		x.From = w.value()
	case 4:
		x.To = w.value()
	default:
		return false
	}
	return true
}

// Immediate is the kind immediate: a value, or a verdict, into a register.
type Immediate struct {
	DReg    Register
	Data    []byte
	Verdict Opt[Verdict]
}

func (x *Immediate) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.DReg = w.register()
	case 2:
		x.Data, x.Verdict = w.data()
	default:
		return false
	}
	return true
}

// Lookup is the kind lookup: a search in a set or map.
type Lookup struct {
	Set   string
	SReg  Register
	DReg  Opt[Register] // of a map; of a map of verdicts it is 0
	SetID Opt[uint32]
	Flags uint32 // bit 0: matches where it is not found
}

func (x *Lookup) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Set = w.String()
	case 2:
		x.SReg = w.register()
	case 3:
		x.DReg = some(w.register())
	case 4:
		x.SetID = some(w.BigUint32())
	case 5:
		x.Flags = w.BigUint32()
	default:
		return false
	}
	return true
}

// Dynset is the kind dynset: an element added to a set, updated or deleted.
type Dynset struct {
	Set              string
	SetID            Opt[uint32]
	Op               uint32 // see DynsetOp
	SRegKey, SRegVal Register
	Timeout          uint64 // milliseconds; 0: the set's
	Flags            uint32 // bit 0: matches where it could not be done

	exprs []byte // a list, or
	expr  []byte // the one
}

func (x *Dynset) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Set = w.String()
	case 2:
		x.SetID = some(w.BigUint32())
	case 3:
		x.Op = w.BigUint32()
	case 4:
		x.SRegKey = w.register()
	case 5:
		x.SRegVal = w.register()
	case 6:
		x.Timeout = w.BigUint64()
	case 7:
		x.expr = w.single()
	case 8: // NFTA_DYNSET_PAD
	case 9:
		x.Flags = w.BigUint32()
	case 10:
		x.exprs = w.list()
	default:
		return false
	}
	return true
}

// Expressions yields the expressions that the element gets.
func (x *Dynset) Expressions() iter.Seq[Expression] { return oneOrMore(x.expr, x.exprs) }

// single is one expression, checked.
func (w *walk) single() []byte {
	_, err := expression(w.Bytes())
	w.fail(err)
	return w.Bytes()
}

// oneOrMore yields the expressions of a list or, where there is none, the one expression: the kernel
// tells a single one by an attribute of its own.
func oneOrMore(one, list []byte) iter.Seq[Expression] {
	if list != nil || one == nil {
		return expressions(list)
	}
	return func(yield func(Expression) bool) {
		if e, err := expression(one); err == nil {
			yield(e)
		}
	}
}

// Hash is the kind hash.
type Hash struct {
	SReg, DReg Register
	Len        uint32
	Modulus    uint32
	Seed       Opt[uint32]
	Offset     uint32
	Type       uint32 // 0 jenkins, 1 symmetric
}

func (x *Hash) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.SReg = w.register()
	case 2:
		x.DReg = w.register()
	case 3:
		x.Len = w.BigUint32()
	case 4:
		x.Modulus = w.BigUint32()
	case 5:
		x.Seed = some(w.BigUint32())
	case 6:
		x.Offset = w.BigUint32()
	case 7:
		x.Type = w.BigUint32()
	default:
		return false
	}
	return true
}

// Numgen is the kind numgen: numbers one after the other, or at random.
type Numgen struct {
	DReg    Register
	Modulus uint32
	Type    uint32 // 0 incremental, 1 random
	Offset  uint32
}

func (x *Numgen) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.DReg = w.register()
	case 2:
		x.Modulus = w.BigUint32()
	case 3:
		x.Type = w.BigUint32()
	case 4:
		x.Offset = w.BigUint32()
	default:
		return false
	}
	return true
}

// Objref is the kind objref: the use of a stateful object, named here or found in a map.
type Objref struct {
	Type  Opt[uint32] // see ObjectType
	Name  string
	SReg  Register
	Set   string
	SetID Opt[uint32]
}

func (x *Objref) attribute(w *walk) bool {
	switch w.Type() {
	case 1:
		x.Type = some(w.BigUint32())
	case 2:
		x.Name = w.String()
	case 3:
		x.SReg = w.register()
	case 4:
		x.Set = w.String()
	case 5:
		x.SetID = some(w.BigUint32())
	default:
		return false
	}
	return true
}
