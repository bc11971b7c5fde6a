package ovsdb

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
)

// Bounds of what a server may send.
const (
	maxMessage = 64 << 20 // bytes
	maxDepth   = 32       // of brackets: a select's answer has seven
)

// message is a request, a notification or an answer of JSON-RPC 1.0 (RFC 7047, section 4).
type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// decodeMessage decodes one message.
func decodeMessage(raw []byte) (message, error) {
	var m message
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, protocol("%v", err)
	}
	return m, nil
}

// number is the id of an answer as we choose them.
func (m *message) number() (uint64, bool) {
	n, err := strconv.ParseUint(string(m.ID), 10, 64)
	return n, err == nil
}

// failure is the error that an answer has in place of a result: an object like those of operations, or a word.
func (m *message) failure() (error, bool) {
	if len(m.Error) == 0 || string(m.Error) == "null" {
		return nil, false
	}
	var v any
	if err := unmarshal(m.Error, &v); err != nil {
		return err, true
	}
	switch v := v.(type) {
	case string:
		return &Error{Tag: v}, true
	case map[string]any:
		if e := refusal(v); e != nil {
			return e, true
		}
	}
	return protocol("an error that says nothing"), true
}

// unmarshal decodes JSON with numbers as they are written.
func unmarshal(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return protocol("%v", err)
	}
	return nil
}

// framer parts a stream of JSON objects, which nothing stands between.
type framer struct {
	r     io.Reader
	buf   []byte // what was read; the message under way begins at start
	start int
	next  int // first byte that was not looked at
	limit int

	depth           int
	quoted, escaped bool
}

func newFramer(r io.Reader) *framer { return &framer{r: r, limit: maxMessage} }

// readSize is how much is read at a time.
const readSize = 64 << 10

// message returns the next object. Its bytes stand until the next call.
func (f *framer) message() ([]byte, error) {
	f.drop()
	for {
		for ; f.next < len(f.buf); f.next++ {
			whole, err := f.look(f.buf[f.next])
			if err != nil {
				return nil, err
			}
			if whole {
				f.next++
				raw := f.buf[f.start:f.next]
				f.start = f.next
				return raw, nil
			}
		}
		if len(f.buf)-f.start > f.limit {
			return nil, protocol("a message of more than %d bytes", f.limit)
		}
		if err := f.fill(); err != nil {
			return nil, err
		}
	}
}

// drop moves what is left of the last read to the front, and lets go of a buffer that a large message needed.
func (f *framer) drop() {
	rest := f.buf[f.start:]
	if cap(f.buf) > 4*readSize && len(rest) < readSize {
		f.buf = append(make([]byte, 0, 2*readSize), rest...)
	} else {
		f.buf = f.buf[:copy(f.buf, rest)]
	}
	f.next -= f.start
	f.start = 0
}

func (f *framer) fill() error {
	have := len(f.buf)
	if cap(f.buf)-have < readSize {
		f.buf = append(f.buf, make([]byte, readSize)...)[:have]
	}
	n, err := f.r.Read(f.buf[have : have+readSize])
	f.buf = f.buf[:have+n]
	if n > 0 {
		return nil
	}
	if err == io.EOF && f.depth > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}

// look takes one byte and tells whether it ends a message.
func (f *framer) look(c byte) (whole bool, err error) {
	if f.quoted {
		switch {
		case f.escaped:
			f.escaped = false
		case c == '\\':
			f.escaped = true
		case c == '"':
			f.quoted = false
		}
		return false, nil
	}
	switch c {
	case '{', '[':
		if f.depth == 0 && c == '[' {
			return false, protocol("a message that is no object")
		}
		if f.depth++; f.depth > maxDepth {
			return false, protocol("more than %d levels", maxDepth)
		}
	case '}', ']':
		if f.depth--; f.depth < 0 {
			return false, protocol("a bracket that closes nothing")
		}
		return f.depth == 0, nil
	case '"':
		f.quoted = true
		fallthrough
	default:
		if f.depth > 0 {
			return false, nil
		}
		if c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return false, protocol("a message that begins with %q", c)
		}
		f.start = f.next + 1
	}
	return false, nil
}
