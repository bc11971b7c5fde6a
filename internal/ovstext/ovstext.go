// Package ovstext reads what Open vSwitch prints: OpenFlow flows (ovs-ofctl(8), dump-flows), datapaths and their
// flows (ovs-dpctl(8), show and dump-flows), and what datapaths track (dump-conntrack, ct-stats-show and the rest of
// the CONNECTION TRACKING TABLE DEBUGGING COMMANDS). These have no other form that has all of it.
//
// The readers are pure, keep what they do not know as text or leave it out, and take lines of any origin: a line that
// is none of theirs is an error in whose chain is [ErrFormat].
package ovstext

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrFormat is in the chain of an error about text that is not what it should be.
var ErrFormat = errors.New("not the text that Open vSwitch prints")

func format(line, what string) error {
	return fmt.Errorf("%w: %s in %.200q", ErrFormat, what, line)
}

// Field is what a flow matches: a field, or an attribute of the packet.
type Field struct {
	Name  string // as printed; of nested attributes with dots between: ipv4.src
	Value string // as printed; "": only the name is there
	Mask  string // as printed; "": every bit
}

// Action is one action of a flow.
type Action struct {
	Name      string
	Arguments string // what stands in its brackets, or behind its colon; "": nothing
}

// first is the first part of a list with a comma between them, and the rest; commas in brackets and in quotes part
// nothing.
func first(list string) (part, rest string) {
	n := span(list, ',')
	return list[:n], list[min(n+1, len(list)):]
}

// What a byte means to span.
const (
	opens = 1 + iota
	closes
	quotes
)

var meaning = [256]uint8{'(': opens, '[': opens, '{': opens, ')': closes, ']': closes, '}': closes, '"': quotes}

// span is how many bytes come before the first stop that stands in no brackets and no quotes: all of them where there
// is none.
func span(s string, stop byte) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == stop && depth == 0 {
			return i
		}
		switch meaning[c] {
		case opens:
			depth++
		case closes:
			depth = max(depth-1, 0)
		case quotes:
			i += quoted(s[i+1:])
		}
	}
	return len(s)
}

// quoted is how many bytes there are up to the quote that ends a text, with that: all of them where none does.
func quoted(s string) int {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// inside is what stands in the brackets that s ends with, and what stands before them: name(inside).
func inside(s string) (name, in string, ok bool) {
	last := len(s) - 1
	if last < 0 || s[last] != ')' {
		return "", "", false
	}
	open := strings.IndexByte(s, '(')
	if open < 0 || open+1+strings.IndexByte(s[open+1:], ')') != last && open+1+span(s[open+1:], ')') != last {
		return "", "", false
	}
	return s[:open], s[open+1 : last], true
}

// appendActions appends the actions of a list of them.
func appendActions(list []Action, text string) []Action {
	if text == "drop" {
		return list
	}
	for text != "" {
		var part string
		part, text = first(text)
		list = append(list, action(part))
	}
	return list
}

// action is one action: NORMAL, output:1, ct(commit), check_pkt_larger(1500)->reg0[0].
func action(s string) Action {
	if name, in, ok := inside(s); ok && !strings.ContainsRune(name, ':') {
		return Action{Name: name, Arguments: in}
	}
	switch n := strings.IndexAny(s, "(:"); {
	case n < 0:
		return Action{Name: s}
	case s[n] == ':':
		return Action{Name: s[:n], Arguments: s[n+1:]}
	default:
		return Action{Name: s[:n], Arguments: s[n:]}
	}
}

// field is name=value/mask.
func field(s string) Field {
	name, value, _ := strings.Cut(s, "=")
	return valued(name, value)
}

func valued(name, value string) Field {
	f := Field{Name: name, Value: value}
	if strings.IndexByte(value, '/') < 0 {
		return f
	}
	if n := span(value, '/'); n < len(value) {
		f.Value, f.Mask = value[:n], value[n+1:]
	}
	return f
}

// unsigned is a decimal number of so many bits.
func unsigned(s string, bits int) (v uint64, fine bool) {
	if len(s) > 19 { // it may not fit
		v, err := strconv.ParseUint(s, 10, bits)
		return v, err == nil
	}
	for i := 0; i < len(s); i++ {
		digit := uint64(s[i]) - '0'
		if digit > 9 {
			return 0, false
		}
		v = v*10 + digit
	}
	return v, s != "" && v>>(bits-1)>>1 == 0
}

// seconds is a number of seconds with an s behind it.
func seconds(s string) (float64, bool) {
	text, ok := strings.CutSuffix(s, "s")
	v, err := strconv.ParseFloat(text, 64)
	return v, ok && err == nil && v >= 0 && v < 1<<53
}

// hexDigits are those of a number that begins with 0x, in lower case, without the zeros that it does not need.
func hexDigits(s string) (string, bool) {
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok || digits == "" || strings.Trim(digits, "0123456789abcdefABCDEF") != "" {
		return "", false
	}
	if digits = strings.TrimLeft(digits, "0"); digits == "" {
		digits = "0"
	}
	return strings.ToLower(digits), true
}
