// Package jsonwire reads and writes JSON as this project's wire format needs it: a strict reader that
// walks a []byte without allocating, and append helpers for encoders that know their types.
//
// It accepts exactly what RFC 8259 calls a JSON text, with three limits that the RFC leaves to
// implementations: the text is UTF-8, an escaped surrogate stands in a pair, and arrays and objects nest
// at most MaxDepth deep. It refuses everything else with the offset at which the text went wrong:
// trailing commas, comments, leading zeros, bare words, a second value. Duplicate member names are left
// to the caller, who knows which names there are.
//
// It maps nothing to Go types by reflection; for that there is encoding/json.
package jsonwire

import (
	"errors"
	"fmt"
)

// MaxDepth is how deep arrays and objects may nest; a text of one flat object has depth 1.
const MaxDepth = 64

// ErrDepth is what errors.Is finds in the *SyntaxError for a text that nests deeper than MaxDepth.
var ErrDepth = errors.New("nests deeper than 64 levels")

// A SyntaxError says where and why a text is not JSON.
type SyntaxError struct {
	Offset int    // the byte, counted from 0, that cannot stand where it stands; the length where the text ends too early
	Msg    string // what was wrong, without the offset
	err    error
}

// Error is the message with its offset.
func (e *SyntaxError) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Msg) }

// Unwrap is ErrDepth for a text that nests too deep, else nil.
func (e *SyntaxError) Unwrap() error { return e.err }

// Kind is the kind of a JSON value, which its first byte decides.
type Kind uint8

// The kinds of values; Invalid is what begins no value.
const (
	Invalid Kind = iota
	Null
	Bool
	Number
	String
	Array
	Object
)

var kindNames = [...]string{"no value", "null", "a boolean", "a number", "a string", "an array", "an object"}

// String is the kind with its article, as messages need it: "a string".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// KindOf tells what kind of value b begins with, white space aside. It looks at one byte only: whether
// the rest is a value of that kind is for Valid, ReadObject and ReadArray to say.
func KindOf(b []byte) Kind {
	s := scanner{data: b}
	s.space()
	if s.pos == len(b) {
		return Invalid
	}
	switch c := b[s.pos]; c {
	case '{':
		return Object
	case '[':
		return Array
	case '"':
		return String
	case 't', 'f':
		return Bool
	case 'n':
		return Null
	default:
		if c == '-' || isDigit(c) {
			return Number
		}
		return Invalid
	}
}

// Valid tells whether b is one JSON value with nothing but white space around it. The error is a
// *SyntaxError.
func Valid(b []byte) error {
	s := scanner{data: b}
	s.space()
	if err := s.value(0); err != nil {
		return err
	}
	return s.end()
}
