package jsonwire

import (
	"fmt"
	"unicode/utf8"
)

// scanner walks data; each of its methods leaves pos behind what it has read, or returns a *SyntaxError.
type scanner struct {
	data []byte
	pos  int
}

// plain marks the bytes that stand for themselves in a string and need no second look: ASCII without
// control characters, quote and backslash.
var plain = func() (t [256]bool) {
	for c := 0x20; c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// space skips white space.
func (s *scanner) space() {
	for s.pos < len(s.data) && s.data[s.pos] <= ' ' {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// peek is the byte at pos, or 0, which begins nothing, at the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

// end checks that only white space is left.
func (s *scanner) end() error {
	s.space()
	if s.pos < len(s.data) {
		return s.unexpected("the end of the text")
	}
	return nil
}

// fail is the error that the text is wrong at offset.
func (s *scanner) fail(offset int, msg string) error {
	return &SyntaxError{Offset: offset, Msg: msg}
}

// unexpected is the error that something else than want stands at pos.
func (s *scanner) unexpected(want string) error {
	if s.pos >= len(s.data) {
		return s.fail(len(s.data), "the text ends where "+want+" must be")
	}
	return s.fail(s.pos, fmt.Sprintf("%q stands where %s must be", rune(s.data[s.pos]), want))
}

// value reads one value that stands inside depth arrays and objects.
func (s *scanner) value(depth int) error {
	switch c := s.peek(); c {
	case '"':
		_, err := s.str()
		return err
	case '{':
		return s.object(depth + 1)
	case '[':
		return s.array(depth + 1)
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		if c == '-' || isDigit(c) {
			return s.number()
		}
		return s.unexpected("a value")
	}
}

func (s *scanner) literal(word string) error {
	for i := range len(word) {
		if s.peek() != word[i] {
			return s.unexpected(word)
		}
		s.pos++
	}
	return nil
}

// open enters an array or object that is depth deep, and tells whether it is empty, and left again.
func (s *scanner) open(closing byte, depth int) (empty bool, err error) {
	if depth > MaxDepth {
		return false, &SyntaxError{Offset: s.pos, Msg: ErrDepth.Error(), err: ErrDepth}
	}
	s.pos++
	s.space()
	if s.peek() == closing {
		s.pos++
		return true, nil
	}
	return false, nil
}

// more stands behind an element: it takes the comma, or the closing bracket and reports false.
func (s *scanner) more(closing byte) (bool, error) {
	s.space()
	switch s.peek() {
	case ',':
		s.pos++
		s.space()
		return true, nil
	case closing:
		s.pos++
		return false, nil
	}
	return false, s.unexpected("a comma or " + string(closing))
}

func (s *scanner) object(depth int) error {
	empty, err := s.open('}', depth)
	for more := !empty; more && err == nil; {
		if _, _, err = s.name(); err != nil {
			break
		}
		if err = s.value(depth); err != nil {
			break
		}
		more, err = s.more('}')
	}
	return err
}

func (s *scanner) array(depth int) error {
	empty, err := s.open(']', depth)
	for more := !empty; more && err == nil; {
		if err = s.value(depth); err != nil {
			break
		}
		more, err = s.more(']')
	}
	return err
}

// name reads a member's name and the colon behind it, up to the value. raw is the name with its quotes.
func (s *scanner) name() (raw []byte, escaped bool, err error) {
	if s.peek() != '"' {
		return nil, false, s.unexpected("a member's name")
	}
	start := s.pos
	if escaped, err = s.str(); err != nil {
		return nil, false, err
	}
	raw = s.data[start:s.pos]
	s.space()
	if s.peek() != ':' {
		return nil, false, s.unexpected("a colon")
	}
	s.pos++
	s.space()
	return raw, escaped, nil
}

// str reads a string, which must begin at pos, and tells whether it has escapes.
func (s *scanner) str() (escaped bool, err error) {
	data := s.data
	i := s.pos + 1
	for i < len(data) {
		c := data[i]
		switch {
		case plain[c]:
			i++
		case c == '"':
			s.pos = i + 1
			return escaped, nil
		case c == '\\':
			n := escapeLen(data[i:])
			if n == 0 {
				return false, s.fail(i, "an escape that JSON does not have, or half a surrogate pair")
			}
			escaped = true
			i += n
		case c < ' ':
			return false, s.fail(i, "a control character in a string")
		default:
			_, n := utf8.DecodeRune(data[i:])
			if n == 1 {
				return false, s.fail(i, "a string that is not UTF-8")
			}
			i += n
		}
	}
	return false, s.fail(len(data), "the text ends inside a string")
}

// escapeLen is the length of the escape that b begins with, 12 for a surrogate pair, 0 for none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		_, n := unicodeEscape(b)
		return n
	}
	return 0
}

// number reads a number, which must begin at pos with a minus or a digit.
func (s *scanner) number() error {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if err := s.digits(); err != nil {
		return err
	}
	if s.peek() == '.' {
		s.pos++
		if err := s.digits(); err != nil {
			return err
		}
	}
	if c := s.peek(); c != 'e' && c != 'E' {
		return nil
	}
	s.pos++
	if c := s.peek(); c == '+' || c == '-' {
		s.pos++
	}
	return s.digits()
}

// digits reads one digit or more.
func (s *scanner) digits() error {
	if !isDigit(s.peek()) {
		return s.unexpected("a digit")
	}
	for s.pos < len(s.data) && isDigit(s.data[s.pos]) {
		s.pos++
	}
	return nil
}
