package unixctl

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	window    = 64 << 10 // bytes that are read at a time
	lineLimit = 1 << 20  // bytes of one line of an answer
	restLimit = 64 << 10 // bytes of what an answer has beside its result
)

// reply reads an answer: {"id": 0, "result": "...", "error": null}, its members in any order.
type reply struct {
	in   *bufio.Reader
	f    func(line []byte) error
	line []byte // what has come of the line under way
	rest int    // bytes of what is not the result
}

func newReply(r io.Reader, f func([]byte) error) *reply {
	return &reply{in: bufio.NewReaderSize(r, window), f: f}
}

func protocol(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// read reads one answer to its end, and returns what it has as its error: nil where there is none.
func (r *reply) read() (refusal *string, err error) {
	if c, err := r.next(); err != nil || c != '{' {
		return nil, orProtocol(err, "begins with %q", c)
	}
	answered := false
	for {
		name, err := r.name()
		if err != nil {
			return nil, err
		}
		switch name {
		case "result":
			var some bool
			some, err = r.result()
			answered = answered || some
		case "error":
			refusal, err = r.failure()
			answered = answered || refusal != nil
		default:
			err = r.skip()
		}
		if err != nil {
			return nil, err
		}
		switch c, err := r.next(); {
		case err != nil:
			return nil, err
		case c == '}' && !answered:
			return nil, protocol("neither a result nor an error")
		case c == '}':
			return refusal, nil
		case c != ',':
			return nil, protocol("%q after a member", c)
		}
	}
}

func orProtocol(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return protocol(format, args...)
}

// byte is the next byte of what is not the result, of which there may be only so much.
func (r *reply) byte() (byte, error) {
	if r.rest++; r.rest > restLimit {
		return 0, protocol("more than %d bytes beside the result", restLimit)
	}
	return r.in.ReadByte()
}

// next is the next byte that is no white space.
func (r *reply) next() (byte, error) {
	for {
		c, err := r.byte()
		if err != nil || c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c, err
		}
	}
}

// name is the name of the next member, with the colon behind it.
func (r *reply) name() (string, error) {
	if c, err := r.next(); err != nil || c != '"' {
		return "", orProtocol(err, "%q where a name should be", c)
	}
	text, err := r.rawString()
	if err != nil {
		return "", err
	}
	var name string
	if err := json.Unmarshal(text, &name); err != nil {
		return "", protocol("%v", err)
	}
	c, err := r.next()
	if err != nil || c != ':' {
		return "", orProtocol(err, "%q after a name", c)
	}
	return name, nil
}

// rawString is the rest of a string whose quote was read, as JSON.
func (r *reply) rawString() ([]byte, error) {
	text := []byte{'"'}
	for escaped := false; ; {
		c, err := r.byte()
		if err != nil {
			return nil, err
		}
		text = append(text, c)
		switch {
		case escaped:
			escaped = false
		case c == '\\':
			escaped = true
		case c == '"':
			return text, nil
		}
	}
}

// value is a value that is no array and no object: nothing that these daemons send is.
func (r *reply) value() ([]byte, error) {
	c, err := r.next()
	if err != nil {
		return nil, err
	}
	if c == '"' {
		return r.rawString()
	}
	text := []byte{c}
	for {
		next, err := r.in.Peek(1)
		if err != nil {
			return nil, err
		}
		if bytes.IndexByte([]byte(",} \t\r\n"), next[0]) >= 0 {
			break
		}
		if c, err = r.byte(); err != nil {
			return nil, err
		}
		text = append(text, c)
	}
	if !json.Valid(text) || text[0] == '{' || text[0] == '[' {
		return nil, protocol("%.40q where a value should be", text)
	}
	return text, nil
}

func (r *reply) skip() error {
	_, err := r.value()
	return err
}

// failure is the error: nil where it is null. What is no string is given as it stands.
func (r *reply) failure() (*string, error) {
	raw, err := r.value()
	if err != nil || string(raw) == "null" {
		return nil, err
	}
	text := string(raw)
	_ = json.Unmarshal(raw, &text)
	return &text, nil
}

// result reads the result, and tells whether there is one.
func (r *reply) result() (bool, error) {
	c, err := r.next()
	if err != nil {
		return false, err
	}
	if c == '"' {
		return true, r.lines()
	}
	_ = r.in.UnreadByte() // it was read just now
	raw, err := r.value()
	if err == nil && string(raw) != "null" {
		err = protocol("the result is %.40q", raw)
	}
	return false, err
}

// lines reads the rest of the string that is the result and hands on each of its lines.
func (r *reply) lines() error {
	for {
		if r.in.Buffered() == 0 {
			if _, err := r.in.Peek(1); err != nil {
				return err
			}
		}
		chunk, _ := r.in.Peek(r.in.Buffered())
		// In this order, since lines are short: the other way round each line would cost a look at all that is there.
		n := bytes.IndexByte(chunk, '\\')
		if n < 0 {
			n = len(chunk)
		}
		if quote := bytes.IndexByte(chunk[:n], '"'); quote >= 0 {
			n = quote
		}
		if err := r.add(chunk[:n]); err != nil {
			return err
		}
		special := n < len(chunk)
		end := special && chunk[n] == '"'
		_, _ = r.in.Discard(n) // it is there
		if !special {
			continue
		}
		_, _ = r.in.ReadByte()
		if end {
			return r.last()
		}
		if err := r.escape(); err != nil {
			return err
		}
	}
}

func (r *reply) add(p []byte) error {
	if len(r.line)+len(p) > lineLimit {
		return protocol("a line of more than %d bytes", lineLimit)
	}
	r.line = append(r.line, p...)
	return nil
}

// last hands on what is left at the end of the result.
func (r *reply) last() error {
	if len(r.line) == 0 {
		return nil
	}
	return r.flush()
}

func (r *reply) flush() error {
	err := r.f(r.line)
	r.line = r.line[:0]
	return err
}

// escapes are the bytes behind a backslash that stand for one other byte (RFC 8259, section 7).
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'r': '\r', 't': '\t'}

// escape reads what is behind a backslash.
func (r *reply) escape() error {
	c, err := r.in.ReadByte()
	switch {
	case err != nil:
		return err
	case c == 'n':
		return r.flush()
	case c == 'u':
		return r.unicode()
	case escapes[c] == 0:
		return protocol("\\%c in a string", c)
	}
	return r.add([]byte{escapes[c]})
}

// unicode reads what is behind \u, and the other half of a surrogate pair where one follows.
func (r *reply) unicode() error {
	v, err := r.hex()
	if err != nil {
		return err
	}
	if v == '\n' {
		return r.flush()
	}
	if utf16.IsSurrogate(v) {
		low := rune(utf8.RuneError)
		if next, _ := r.in.Peek(2); string(next) == `\u` {
			_, _ = r.in.Discard(2) // they are there
			if low, err = r.hex(); err != nil {
				return err
			}
		}
		v = utf16.DecodeRune(v, low)
	}
	return r.add(utf8.AppendRune(nil, v))
}

func (r *reply) hex() (rune, error) {
	var v rune
	for range 4 {
		c, err := r.in.ReadByte()
		if err != nil {
			return 0, err
		}
		d := bytes.IndexByte([]byte("0123456789abcdefABCDEF"), c)
		if d < 0 {
			return 0, protocol("%q in a \\u escape", c)
		}
		if d > 15 {
			d -= 6
		}
		v = v<<4 | rune(d)
	}
	return v, nil
}
