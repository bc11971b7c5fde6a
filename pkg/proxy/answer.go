package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"

	"github.com/sourcegraph/jsonrpc2"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/pkg/registry"
)

const (
	// wholeSize is up to what size an answer is read and checked as a whole before any of it is passed on.
	wholeSize = 64 << 10
	// tailSize is how much of a longer answer is kept back until its end is known: what follows the result.
	tailSize = 256
	// beginSize is how much of it is looked through for the beginning of the result.
	beginSize = 2 << 10
	// Of a longer answer so much is read at a time, of one that is longer than longAnswer more.
	shortPart  = registry.FlushSize + tailSize
	longPart   = 256<<10 + tailSize
	longAnswer = 1 << 20
	// movedSize is from where on it pays to have the kernel move what comes.
	movedSize = 32 << 10
)

// The members of an answer.
const (
	sawVersion = 1 << iota
	sawID
	sawResult
	sawError
)

// envelope gathers the members of an answer, JSON-RPC 2.0, section 5.
type envelope struct {
	id            []byte // that must come back
	seen          uint8
	result, error []byte
	fault         error // the first thing wrong with a member
}

// member takes one member. What has another name means nothing to JSON-RPC.
func (e *envelope) member(name, value []byte) {
	bit := uint8(0)
	switch string(name) {
	case "jsonrpc":
		bit = sawVersion
		if jsonwire.KindOf(value) != jsonwire.String || string(jsonwire.Unquote(value)) != "2.0" {
			e.blame(fault("its answer is not JSON-RPC 2.0: jsonrpc is %s", quoted(value)))
		}
	case "id":
		bit = sawID
		if !bytes.Equal(value, e.id) {
			e.blame(fault("its answer has the id %s, not %s", quoted(value), e.id))
		}
	case "result":
		bit, e.result = sawResult, value
	case "error":
		bit, e.error = sawError, value
	}
	if e.seen&bit != 0 {
		e.blame(fault("its answer has %s twice", quoted(name)))
	}
	e.seen |= bit
}

func (e *envelope) blame(why error) {
	if e.fault == nil {
		e.fault = why
	}
}

// judge says what is wrong with the whole. null beside a result or an error is an older protocol's way to say
// that there is none.
func (e *envelope) judge() error {
	if e.seen&sawError != 0 && e.seen&sawResult != 0 {
		if jsonwire.KindOf(e.error) == jsonwire.Null {
			e.seen &^= sawError
		} else if jsonwire.KindOf(e.result) == jsonwire.Null {
			e.seen &^= sawResult
		}
	}
	switch {
	case e.fault != nil:
		return e.withError(e.fault)
	case e.seen&sawVersion == 0:
		return fault("its answer is not JSON-RPC 2.0: jsonrpc is absent")
	case e.seen&sawID == 0:
		return fault("its answer has no id")
	case e.seen&(sawResult|sawError) == 0:
		return fault("its answer has neither a result nor an error")
	case e.seen&sawResult != 0 && e.seen&sawError != 0:
		return fault("its answer has both a result and an error")
	}
	return nil
}

// withError adds to a fault what the upstream itself had to say: an error without an id is one about the
// request as a whole.
func (e *envelope) withError(why error) error {
	if e.seen&sawError == 0 {
		return why
	}
	return fault("%v; it says %s", why, quoted(e.error))
}

// readWhole reads an answer that has come as a whole. It returns the result as it stands in the text, or the
// error as a *jsonrpc2.Error.
func readWhole(text, id []byte) (result []byte, err error) {
	e := envelope{id: id}
	o := jsonwire.ReadObject(text)
	for o.Next() {
		e.member(o.Name(), o.Value())
	}
	if err := o.Err(); err != nil {
		return nil, fault("its answer is not a JSON object: %v", err)
	}
	if err := e.judge(); err != nil {
		return nil, err
	}
	if e.seen&sawError != 0 {
		return nil, readError(e.error)
	}
	return e.result, nil
}

// readError makes the error that an upstream answered with into one that passes through the pipeline as it is.
func readError(text []byte) error {
	var e jsonrpc2.Error
	hasCode, hasMessage := false, false
	o := jsonwire.ReadObject(text)
	for o.Next() {
		switch value := o.Value(); string(o.Name()) {
		case "code":
			code, err := jsonwire.Int(value)
			if jsonwire.KindOf(value) != jsonwire.Number || err != nil {
				return fault("its error has the code %s", quoted(value))
			}
			e.Code, hasCode = code, true
		case "message":
			if jsonwire.KindOf(value) != jsonwire.String {
				return fault("its error has the message %s", quoted(value))
			}
			e.Message, hasMessage = string(jsonwire.Unquote(value)), true
		case "data":
			data := slices.Clone(value)
			e.Data = (*json.RawMessage)(&data)
		}
	}
	if o.Err() != nil || !hasCode || !hasMessage {
		return fault("its error is none of JSON-RPC 2.0: %s", quoted(text))
	}
	return &e
}

// stream passes on an answer of which more is to come.
type stream struct {
	missing uint8 // members that must follow the result
	opening byte  // the first byte of the result
	start   int   // where in out.Buf stands what has come of the result and is not on the wire
	part    int   // how much is read at a time
	passed  int64 // how much of the result is on the wire
}

// maxEscape is how far before its end a text can be found wrong that has been cut within a surrogate pair.
const maxEscape = 12

// begin reads the first part of an answer, up to and with the beginning of its result, which it appends to out.
func (s *stream) begin(text, id []byte, rest *body, out *registry.Out) error {
	e := envelope{id: id}
	head := text[:min(len(text), beginSize)]
	o := jsonwire.ReadObject(head)
	for o.Next() {
		e.member(o.Name(), o.Value())
	}
	var syntax *jsonwire.SyntaxError
	name, value := o.Unfinished()
	switch {
	case errors.As(o.Err(), &syntax) && syntax.Offset < len(head)-maxEscape:
		return fault("its answer is not a JSON object: %v", syntax)
	case e.fault != nil:
		return e.withError(e.fault)
	case string(name) != "result" || e.seen&sawResult != 0 || len(value) == 0:
		return fault("its answer has no result within its first %d bytes", len(head))
	case e.seen&sawError != 0 && jsonwire.KindOf(e.error) != jsonwire.Null:
		return fault("its answer has both a result and an error")
	}
	s.missing = (sawVersion | sawID) &^ e.seen
	s.opening = value[0]
	s.start = len(out.Buf)
	before := len(head) - len(value)
	out.Buf = append(out.Buf, text[before:]...)
	if !rest.chunked {
		// The closing brace is not the result's. Whatever else is not is made up for by blanks.
		out.Size = int64(len(text)-before) + rest.left - int64(len("}"))
	}
	return nil
}

// copy passes the rest of the answer on.
func (s *stream) copy(from *body, id []byte, out *registry.Out) error {
	for {
		if err := s.move(from, out); err != nil {
			return err
		}
		if err := s.spill(out); err != nil {
			return err
		}
		b := slices.Grow(out.Buf, s.part-len(out.Buf))
		n, err := from.Read(b[len(b):cap(b)])
		out.Buf = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return s.end(id, out)
		}
		if err != nil {
			return err
		}
	}
}

// move passes on, without reading it, all but the tail of what is known to come: of the body, or of this chunk and
// those behind it as long as they are large. The tail is read.
func (s *stream) move(from *body, out *registry.Out) error {
	for out.Splice != nil {
		if err := from.advance(); err != nil {
			return err
		}
		if from.left < movedSize {
			return nil
		}
		out.Buf = from.takeBuffered(out.Buf)
		n := from.left - tailSize
		s.passed += int64(len(out.Buf)-s.start) + n
		s.start = 0
		if err := from.move(n, out); err != nil {
			return err
		}
		if err := s.readTail(from, out); err != nil {
			return err
		}
	}
	return nil
}

// readTail reads the tail of what has been moved.
func (s *stream) readTail(from *body, out *registry.Out) error {
	var tail [tailSize]byte
	for from.left > 0 {
		n, err := from.Read(tail[:])
		if err != nil {
			return err
		}
		out.Buf = append(out.Buf, tail[:n]...)
	}
	return nil
}

// spill puts what has come on the wire where it is much, but for the tail.
func (s *stream) spill(out *registry.Out) error {
	if len(out.Buf) < s.part {
		return nil
	}
	var tail [tailSize]byte
	rest := len(out.Buf) - tailSize
	copy(tail[:], out.Buf[rest:])
	out.Buf = out.Buf[:rest]
	err := out.Spill()
	if len(out.Buf) < rest {
		s.passed += int64(rest - s.start)
		s.start = len(out.Buf)
	} else if out.Write == nil {
		s.part = rest + shortPart // it all stays in the buffer
	}
	if s.passed > longAnswer {
		s.part = longPart
	}
	out.Buf = append(out.Buf, tail[:]...)
	return err
}

// end takes from the result what stands behind it.
func (s *stream) end(id []byte, out *registry.Out) error {
	n := s.cut(out.Buf[s.start:], id)
	if n < 0 {
		return fault("its answer does not end as a JSON-RPC answer does")
	}
	out.Buf = out.Buf[:s.start+n]
	if out.Size > 0 && out.Write != nil {
		blanks := int(out.Size - s.passed - int64(n))
		out.Buf = append(out.Buf, bytes.Repeat([]byte{' '}, blanks)...)
	}
	return nil
}

// cut is where the result ends in the last part of an answer, or -1 where it has no end to believe: behind it
// must stand the members that were missing before it, and the closing brace.
func (s *stream) cut(text, id []byte) int {
	text = trimRight(text)
	if len(text) == 0 || text[len(text)-1] != '}' {
		return -1
	}
	end := len(text) - 1
	if s.missing != 0 {
		end = s.lastMembers(text, id)
	}
	if end < 0 {
		return -1
	}
	result := trimRight(text[:end])
	if len(result) == 0 || !closes(s.opening, result[len(result)-1]) {
		return -1
	}
	return len(result)
}

// lastMembers is where the comma stands behind which the text holds exactly the missing members, or -1.
func (s *stream) lastMembers(text, id []byte) int {
	last := text[max(0, len(text)-tailSize):]
	for i := len(last) - 1; i >= 0; i-- {
		if last[i] != ',' {
			continue
		}
		e := envelope{id: id}
		others := 0
		o := jsonwire.ReadObject(append([]byte{'{'}, last[i+1:]...))
		for o.Next() {
			before := e.seen
			e.member(o.Name(), o.Value())
			if e.seen == before {
				others++
			}
		}
		if o.Err() == nil && e.fault == nil && others == 0 && e.seen == s.missing {
			return len(text) - len(last) + i
		}
	}
	return -1
}

// closes tells whether a value that begins with one byte can end with the other. Numbers and literals are never
// so long that it is asked of them.
func closes(opening, closing byte) bool {
	switch opening {
	case '{':
		return closing == '}'
	case '[':
		return closing == ']'
	}
	return opening == '"' && closing == '"'
}

func trimRight(b []byte) []byte { return bytes.TrimRight(b, " \t\r\n") }
