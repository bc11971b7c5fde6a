package nft

import (
	"bytes"
	"context"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Set is a set or map (NFT_MSG_NEWSET), without its elements.
type Set struct {
	Family      uint8
	Table, Name string
	Handle      uint64
	Flags       uint32 // Set*
	KeyType     uint32 // see TypeName
	KeyLen      uint32
	FieldLens   []uint32 // of a concatenation
	DataType    uint32   // of a map; DataVerdict: verdicts
	DataLen     uint32
	ObjectType  uint32 // of a map of objects
	Policy      Opt[uint32]
	Size        uint32 // most elements; 0: no limit
	Count       Opt[uint32]
	Backend     string // how the kernel keeps it; "" where it does not say
	Timeout     uint64 // milliseconds; 0: none
	GCInterval  uint32 // milliseconds; 0: the kernel's
	UserData    []byte

	exprs, expr []byte
}

// Flags of a set (NFT_SET_*).
const (
	SetAnonymous = 1 << iota
	SetConstant
	SetInterval
	SetMap
	SetTimeout
	SetEval
	SetObject
	SetConcat
	SetExpr
)

// DataVerdict is the type of data that is verdicts (NFT_DATA_VERDICT).
const DataVerdict = 0xffffff00

// enum nft_set_attributes.
const (
	setTable = iota + 1
	setName
	setFlags
	setKeyType
	setKeyLen
	setDataType
	setDataLen
	setPolicy
	setDesc
	setID
	setTimeout
	setGCInterval
	setUserData
	_
	setObjectType
	setHandle
	setExpr
	setExpressions
	setBackend // Linux 6.17
	setCount   // Linux 6.17

	setDescSize   = 1
	setDescConcat = 2
	setFieldLen   = 1
)

// Sets yields the sets and maps of each table.
func (c *Conn) Sets(ctx context.Context, f Filter) iter.Seq2[*Set, error] {
	return dump(ctx, c, "dump sets", unix.NFT_MSG_GETSET, unix.NFT_MSG_NEWSET, setTable, f, &c.set)
}

func (s *Set) place() (uint8, string) { return s.Family, s.Table }

func (s *Set) decode(family uint8, a nlsock.Attrs) error {
	*s = Set{Family: family, Table: s.Table, Backend: s.Backend, FieldLens: s.FieldLens[:0]}
	backend := false
	for a.Next() {
		switch a.Type() {
		case setTable:
			nlsock.Reuse(&s.Table, a.Bytes())
		case setName:
			s.Name = a.String()
		case setFlags:
			s.Flags = a.BigUint32()
		case setHandle:
			s.Handle = a.BigUint64()
		case setUserData:
			s.UserData = a.Bytes()
		case setBackend:
			// The kernel tells its symbol and, where it was built without symbols, an address of its own
			// memory, which is nobody's to know.
			if backend = !bytes.HasPrefix(a.Bytes(), []byte("0x")); backend {
				nlsock.Reuse(&s.Backend, a.Bytes())
			}
		default:
			if err := s.attribute(&a); err != nil {
				return err
			}
		}
	}
	if !backend {
		s.Backend = ""
	}
	return a.Err()
}

func (s *Set) attribute(a *nlsock.Attrs) error {
	switch a.Type() {
	case setKeyType:
		s.KeyType = a.BigUint32()
	case setKeyLen:
		s.KeyLen = a.BigUint32()
	case setDataType:
		s.DataType = a.BigUint32()
	case setDataLen:
		s.DataLen = a.BigUint32()
	case setObjectType:
		s.ObjectType = a.BigUint32()
	case setPolicy:
		s.Policy = some(a.BigUint32())
	case setTimeout:
		s.Timeout = a.BigUint64()
	case setGCInterval:
		s.GCInterval = a.BigUint32()
	case setCount:
		s.Count = some(a.BigUint32())
	case setDesc:
		return s.desc(a)
	case setExpr:
		s.expr = a.Bytes()
		_, err := expression(s.expr)
		return err
	case setExpressions:
		s.exprs = a.Bytes()
		return checkExpressions(s.exprs)
	}
	return nil
}

// desc reads NFTA_SET_DESC: the size, and the lengths of a concatenation's parts.
func (s *Set) desc(a *nlsock.Attrs) error {
	n := a.Nested()
	for n.Next() {
		switch n.Type() {
		case setDescSize:
			s.Size = n.BigUint32()
		case setDescConcat:
			for field := n.Nested(); ; {
				if !field.Next() {
					if err := field.Err(); err != nil {
						return err
					}
					break
				}
				for l := field.Nested(); l.Next(); {
					if l.Type() == setFieldLen {
						s.FieldLens = append(s.FieldLens, l.BigUint32())
					}
				}
			}
		}
	}
	return n.Err()
}

// Expressions yields the expressions that each element gets.
func (s *Set) Expressions() iter.Seq[Expression] { return oneOrMore(s.expr, s.exprs) }

// Intervals tells whether the kernel keeps intervals as pairs of marks, which Elements joins.
func (s *Set) Intervals() bool { return s.Flags&SetInterval != 0 && s.Flags&SetConcat == 0 }

// Ref is what is needed of a set to read its elements.
type Ref struct {
	Family      uint8
	Table, Name string
	Intervals   bool // see [Set.Intervals]
	KeyLen      int
}

// Ref names the set for [Conn.Elements].
func (s *Set) Ref() Ref {
	return Ref{Family: s.Family, Table: s.Table, Name: s.Name, Intervals: s.Intervals(), KeyLen: int(s.KeyLen)}
}

// Element is an element of a set or map.
type Element struct {
	Key      []byte
	KeyEnd   []byte // last key of an interval, itself inside; nil where it is one key
	CatchAll bool   // for every key that no other element has: Key is nil

	Data     []byte
	Verdict  Opt[Verdict]
	Object   string
	Timeout  Opt[uint64] // milliseconds
	Expires  Opt[uint64] // milliseconds
	UserData []byte
	Raw      []byte // the whole element, where an attribute has no field

	flags       uint32
	exprs, expr []byte
}

// Expressions yields the element's expressions, with their state.
func (e *Element) Expressions() iter.Seq[Expression] { return oneOrMore(e.expr, e.exprs) }

// enum nft_set_elem_attributes, nft_set_elem_list_attributes and nft_set_elem_flags.
const (
	elemKey = iota + 1
	elemData
	elemFlags
	elemTimeout
	elemExpiration
	elemUserData
	elemExpr
	elemPad
	elemObject
	elemKeyEnd
	elemExpressions

	elemListTable    = 1
	elemListSet      = 2
	elemListElements = 3

	elemIntervalEnd = 1
	elemCatchAll    = 2
)

// Elements yields the elements of a set, in the kernel's order. A set that has gone has none.
func (c *Conn) Elements(ctx context.Context, set Ref) iter.Seq2[*Element, error] {
	return func(yield func(*Element, error) bool) {
		c.join = intervals{on: set.Intervals, size: set.KeyLen, last: c.join.last[:0], end: c.join.end}
		req := c.request("dump set elements", unix.NFT_MSG_GETSETELEM, set.Family)
		req.String(elemListTable, set.Table)
		req.String(elemListSet, set.Name)
		for m, err := range c.sock.Dump(ctx, req) {
			switch {
			case isGone(err):
				return
			case err != nil:
				yield(nil, refusal(err))
				return
			case m.Type != messageType(unix.NFT_MSG_NEWSETELEM):
				continue
			}
			more, err := c.elements(m.Data, yield)
			if err != nil {
				yield(nil, req.Fail(err))
			}
			if !more || err != nil {
				return
			}
		}
	}
}

// elements yields the elements of one message.
func (c *Conn) elements(b []byte, yield func(*Element, error) bool) (more bool, err error) {
	if len(b) < headerSize {
		return false, ErrMalformed
	}
	a := nlsock.Attributes(b[headerSize:])
	for a.Next() {
		if a.Type() != elemListElements {
			continue
		}
		list := a.Nested()
		for list.Next() {
			if err := c.element.decode(list.Bytes()); err != nil {
				return false, err
			}
			if c.join.take(&c.element) && !yield(&c.element, nil) {
				return false, nil
			}
		}
		if err := list.Err(); err != nil {
			return false, err
		}
	}
	return true, a.Err()
}

func (e *Element) decode(b []byte) error {
	*e = Element{}
	w := walk{Attrs: nlsock.Attributes(b)}
	complete := true
	for w.Next() {
		complete = e.attribute(&w) && complete
		if w.err != nil {
			return w.err
		}
	}
	e.CatchAll = e.flags&elemCatchAll != 0
	if !complete || e.flags&^(elemIntervalEnd|elemCatchAll) != 0 {
		e.Raw = b
	}
	return w.Err()
}

func (e *Element) attribute(w *walk) bool {
	switch w.Type() {
	case elemKey:
		e.Key = w.value()
	case elemKeyEnd:
		e.KeyEnd = w.value()
	case elemData:
		e.Data, e.Verdict = w.data()
	case elemFlags:
		e.flags = w.BigUint32()
	case elemTimeout:
		e.Timeout = some(w.BigUint64())
	case elemExpiration:
		e.Expires = some(w.BigUint64())
	case elemUserData:
		e.UserData = w.Bytes()
	case elemObject:
		e.Object = w.String()
	case elemExpr:
		e.expr = w.single()
	case elemExpressions:
		e.exprs = w.list()
	case elemPad:
	default:
		return false
	}
	return true
}
