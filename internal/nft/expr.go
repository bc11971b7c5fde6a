package nft

import (
	"iter"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Expression is one step of a rule, or of what an element of a set does.
type Expression struct {
	Name string // the kernel's name of its kind
	Data []byte // its attributes (NFTA_EXPR_DATA), for Decode; nil where it has none
}

// enum nft_expr_attributes and nft_list_attributes.
const (
	exprName = 1
	exprData = 2
	listElem = 1
)

// expressions yields the expressions of a list, which has been checked.
func expressions(list []byte) iter.Seq[Expression] {
	return func(yield func(Expression) bool) {
		a := nlsock.Attributes(list)
		for a.Next() {
			if a.Type() != listElem {
				continue
			}
			if e, err := expression(a.Bytes()); err != nil || !yield(e) {
				return
			}
		}
	}
}

func checkExpressions(list []byte) error {
	a := nlsock.Attributes(list)
	for a.Next() {
		if a.Type() != listElem {
			continue
		}
		if _, err := expression(a.Bytes()); err != nil {
			return err
		}
	}
	return a.Err()
}

func expression(b []byte) (e Expression, err error) {
	a := nlsock.Attributes(b)
	for a.Next() {
		switch a.Type() {
		case exprName:
			e.Name = kindName(nlsock.Text(a.Bytes()))
		case exprData:
			e.Data = a.Bytes()
		}
	}
	return e, a.Err()
}

// kinds are the kinds of expressions by name, so that a name costs no allocation.
var kinds = func() map[string]string {
	m := map[string]string{}
	for _, name := range []string{
		"bitwise", "byteorder", "cmp", "connlimit", "counter", "ct", "dup", "dynset", "exthdr", "fib",
		"flow_offload", "fwd", "hash", "immediate", "inner", "last", "limit", "log", "lookup", "masq",
		"match", "meta", "nat", "notrack", "numgen", "objref", "osf", "payload", "queue", "quota",
		"range", "redir", "reject", "rt", "socket", "synproxy", "target", "tproxy", "tunnel", "xfrm",
	} {
		m[name] = name
	}
	return m
}()

func kindName(b []byte) string {
	if name, ok := kinds[string(b)]; ok {
		return name
	}
	return string(b)
}

// walk goes over the attributes of one expression; err is what was found wrong inside one of them.
type walk struct {
	nlsock.Attrs
	err error
}

// Kind is a struct of this package for one kind of expression or object.
type Kind[T any] interface {
	*T
	// attribute takes one attribute and reports false where the struct has no field for it.
	attribute(w *walk) bool
}

// Decode reads the attributes of an expression, or the data of an object, into the struct of its kind.
// It reports false where not all of it has a field there. ErrMalformed: it is not of that kind.
func Decode[T any, K Kind[T]](data []byte, into K) (complete bool, err error) {
	var zero T
	*into = zero
	w := walk{Attrs: nlsock.Attributes(data)}
	complete = true
	for w.Next() {
		if !into.attribute(&w) {
			complete = false
		}
		if w.err != nil {
			return false, w.err
		}
	}
	return complete, w.Err()
}

// Register is a register of the virtual machine: 0 holds the verdict, 1 to 4 are 16 bytes wide, 8 to 23
// are 4 bytes wide. Where an expression may do without one, 0 is none: only immediate writes verdicts.
type Register uint32

func (w *walk) register() Register { return Register(w.BigUint32()) }

// enum nft_data_attributes and nft_verdict_attributes.
const (
	dataValue   = 1 // NFTA_DATA_VALUE
	dataVerdict = 2 // NFTA_DATA_VERDICT

	verdictCode  = 1
	verdictChain = 2
)

// Verdict says what happens with the packet.
type Verdict struct {
	Code  int32  // NF_* in the low byte with a queue's number above it, or one of the negative NFT_*
	Chain string // of jump and goto
}

// data reads a value or a verdict (NFTA_DATA_*).
func (w *walk) data() (value []byte, verdict Opt[Verdict]) {
	n := w.Nested()
	for n.Next() {
		switch n.Type() {
		case dataValue:
			value = n.Bytes()
		case dataVerdict:
			verdict = some(w.verdict(&n))
		}
	}
	w.fail(n.Err())
	return value, verdict
}

func (w *walk) value() []byte {
	value, _ := w.data()
	return value
}

func (w *walk) verdict(a *nlsock.Attrs) (v Verdict) {
	n := a.Nested()
	for n.Next() {
		switch n.Type() {
		case verdictCode:
			v.Code = int32(n.BigUint32())
		case verdictChain:
			v.Chain = n.String()
		}
	}
	w.fail(n.Err())
	return v
}

func (w *walk) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// list is a list of expressions, checked.
func (w *walk) list() []byte {
	w.fail(checkExpressions(w.Bytes()))
	return w.Bytes()
}
