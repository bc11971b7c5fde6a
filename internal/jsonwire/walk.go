package jsonwire

// ObjectReader walks the members of one object, in their order, without allocating:
//
//	o := jsonwire.ReadObject(b)
//	for o.Next() {
//		switch string(o.Name()) {
//		case "id":
//			id = o.Value()
//		…
//	}
//	if err := o.Err(); err != nil { … }
//
// Everything is validated as it is passed. Only after Next has reported false and Err is nil is the
// whole text known to be one JSON object.
type ObjectReader struct {
	walk
	name    []byte // with its quotes
	escaped bool
}

// ReadObject begins to walk b, which must hold one object with nothing but white space around it.
func ReadObject(b []byte) ObjectReader { return ObjectReader{walk: walk{scanner: scanner{data: b}}} }

// Next goes to the next member. It reports false after the last one and where the text is wrong.
func (o *ObjectReader) Next() bool {
	if !o.advance('{', '}', "an object") {
		return false
	}
	if o.name, o.escaped, o.err = o.scanner.name(); o.err != nil {
		return false
	}
	return o.take()
}

// Name is the member's name, unescaped. It is a part of the text where it has no escape, which is the
// usual case, and a copy where it has one.
func (o *ObjectReader) Name() []byte {
	if o.escaped {
		return Unquote(o.name)
	}
	return o.name[1 : len(o.name)-1]
}

// Unfinished tells, after Next has reported false, of a member within whose value the text went wrong: its
// name, and its value from the first byte to the end of the text. It is what is known of an object of which
// only the beginning has come; Err says whether the text could go on from there (Offset is its end, or lies
// within the escape, literal or character that the end cut in two). name is nil where the text went wrong outside of values.
func (o *ObjectReader) Unfinished() (name, value []byte) {
	if o.state != insideValue {
		return nil, nil
	}
	return o.Name(), o.value
}

// ArrayReader walks the elements of one array as ObjectReader walks an object.
type ArrayReader struct{ walk }

// ReadArray begins to walk b, which must hold one array with nothing but white space around it.
func ReadArray(b []byte) ArrayReader { return ArrayReader{walk{scanner: scanner{data: b}}} }

// Next goes to the next element. It reports false after the last one and where the text is wrong.
func (a *ArrayReader) Next() bool { return a.advance('[', ']', "an array") && a.take() }

// walk is what the two readers share: where they are, the value there, and the first error.
type walk struct {
	scanner
	value []byte
	err   error
	state walkState
}

type walkState uint8

const (
	beforeFirst walkState = iota
	behindValue
	insideValue // where the text went wrong
	finished
)

// Value is the member's or element's value as it stands in the text, without the white space around it.
func (w *walk) Value() []byte { return w.value }

// Err is the *SyntaxError that ended the walk early, or nil.
func (w *walk) Err() error { return w.err }

// advance goes to where the next member or element begins, and reports false where there is none.
func (w *walk) advance(opening, closing byte, what string) bool {
	if w.err != nil || w.state == finished {
		return false
	}
	more := false
	if w.state == beforeFirst {
		w.space()
		if w.peek() != opening {
			w.err = w.unexpected(what)
			return false
		}
		more, w.err = w.enter(closing)
	} else {
		more, w.err = w.more(closing)
	}
	if w.err == nil && !more {
		w.state = finished
		w.err = w.end()
	}
	return more && w.err == nil
}

// enter takes the opening bracket and reports false where the closing one follows at once.
func (w *walk) enter(closing byte) (bool, error) {
	w.state = behindValue
	empty, err := w.open(closing, 1)
	return !empty, err
}

// take reads the value that stands here.
func (w *walk) take() bool {
	start := w.pos
	w.err = w.scanner.value(1)
	if w.err != nil {
		w.state, w.value = insideValue, w.data[start:]
		return false
	}
	w.value = w.data[start:w.pos]
	return true
}
