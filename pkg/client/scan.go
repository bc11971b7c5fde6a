package client

import (
	"errors"
	"fmt"
	"io"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

// Sizes of the buffer between the connection and the scanner.
const (
	readSize = 64 << 10
	// maxValue bounds one row, or one result that is wanted whole as Go values.
	maxValue = 1 << 30
)

// errTooLarge says that a single value is larger than maxValue.
var errTooLarge = errors.New("a value is larger than a client keeps in memory")

// reader takes a JSON text apart while it comes. It finds where values begin and end; that what lies between
// is JSON is for whoever decodes it to see.
type reader struct {
	src  io.Reader
	buf  []byte
	r, w int // what is not taken yet: buf[r:w]
}

// fill reads more behind what is not taken yet, which may move to the front of the buffer.
func (x *reader) fill() error {
	if x.r > 0 && (x.r == x.w || len(x.buf)-x.w < readSize/2) {
		x.w = copy(x.buf, x.buf[x.r:x.w])
		x.r = 0
	}
	if x.w == len(x.buf) {
		if len(x.buf) >= maxValue {
			return errTooLarge
		}
		x.buf = append(x.buf, make([]byte, max(readSize, len(x.buf)))...)
	}
	n, err := x.src.Read(x.buf[x.w:])
	x.w += n
	switch {
	case n > 0:
		return nil
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	}
	return err
}

// peek skips white space and returns the byte behind it.
func (x *reader) peek() (byte, error) {
	for {
		for x.r < x.w {
			switch c := x.buf[x.r]; c {
			case ' ', '\t', '\n', '\r':
				x.r++
			default:
				return c, nil
			}
		}
		if err := x.fill(); err != nil {
			return 0, err
		}
	}
}

// end checks that nothing follows.
func (x *reader) end() error {
	c, err := x.peek()
	switch {
	case err == nil:
		return fmt.Errorf("%q stands behind the answer", c)
	case errors.Is(err, io.ErrUnexpectedEOF):
		// Whatever ended the body, the answer in it has come whole.
		return nil
	}
	return err
}

// take returns the value that comes next. It is a part of the buffer and good until the next call.
func (x *reader) take() ([]byte, error) {
	if _, err := x.peek(); err != nil {
		return nil, err
	}
	var s span
	for n := 0; ; {
		k, done := s.scan(x.buf[x.r+n : x.w])
		n += k
		if done {
			v := x.buf[x.r : x.r+n]
			x.r += n
			return v, nil
		}
		if err := x.fill(); err != nil {
			return nil, err
		}
	}
}

// copyValue writes the value that comes next to w, however long it is.
func (x *reader) copyValue(w io.Writer) (written int64, err error) {
	if _, err := x.peek(); err != nil {
		return 0, err
	}
	var s span
	for {
		k, done := s.scan(x.buf[x.r:x.w])
		if k > 0 {
			n, err := w.Write(x.buf[x.r : x.r+k])
			written += int64(n)
			if err != nil {
				return written, &writeError{err}
			}
			x.r += k
		}
		if done {
			return written, nil
		}
		if err := x.fill(); err != nil {
			return written, err
		}
	}
}

// writeError is an error of the writer and not of the server.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// next goes to the next element of an object or array, whose opening bracket has been taken already, and
// reports false behind the last. first says that none has been taken yet.
func (x *reader) next(closing byte, first bool) (bool, error) {
	c, err := x.peek()
	switch {
	case err != nil:
		return false, err
	case c == closing:
		x.r++
		return false, nil
	case first:
		return true, nil
	case c != ',':
		return false, fmt.Errorf("%q stands where a comma or %q must be", c, closing)
	}
	x.r++
	return true, nil
}

// opening takes the opening bracket.
func (x *reader) opening(bracket byte) error {
	c, err := x.peek()
	if err == nil && c != bracket {
		err = fmt.Errorf("%q stands where %q must be", c, bracket)
	}
	if err == nil {
		x.r++
	}
	return err
}

// name takes a member's name and the colon behind it.
func (x *reader) name() (string, error) {
	raw, err := x.take()
	if err != nil {
		return "", err
	}
	if err := jsonwire.Valid(raw); err != nil || raw[0] != '"' {
		return "", errors.New("a member has no name")
	}
	name := string(jsonwire.Unquote(raw))
	return name, x.opening(':')
}

// span finds the end of one value that is scanned in pieces.
type span struct {
	depth   int
	started bool
	quoted  bool // within a string
	escaped bool // behind a backslash
}

// Classes of bytes outside of strings.
const (
	plain uint8 = iota
	quote
	open
	shut
	delimiter // ends a number or a literal: white space, comma
)

var classes = func() (t [256]uint8) {
	t['"'], t['{'], t['['], t['}'], t[']'] = quote, open, open, shut, shut
	t[','], t[' '], t['\t'], t['\n'], t['\r'] = delimiter, delimiter, delimiter, delimiter, delimiter
	return t
}()

// scan takes the bytes of b that belong to the value, and tells whether the value ends there.
func (s *span) scan(b []byte) (n int, done bool) {
	i := 0
	for i < len(b) {
		if s.quoted {
			i += s.text(b[i:])
			if !s.quoted && s.depth == 0 {
				return i, true
			}
			continue
		}
		switch classes[b[i]] {
		case quote:
			s.quoted = true
		case open:
			s.depth++
		case shut:
			if s.depth == 0 {
				return i, true // of what the number or literal stands in
			}
			s.depth--
			if s.depth == 0 {
				return i + 1, true
			}
		case delimiter:
			if s.depth == 0 && s.started {
				return i, true
			}
		}
		s.started = true
		i++
	}
	return i, false
}

// text takes the bytes of b that belong to the string, with the quote that ends it.
func (s *span) text(b []byte) int {
	for i, c := range b {
		switch {
		case s.escaped:
			s.escaped = false
		case c == '\\':
			s.escaped = true
		case c == '"':
			s.quoted = false
			return i + 1
		}
	}
	return len(b)
}
