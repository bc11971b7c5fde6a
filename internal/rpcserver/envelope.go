package rpcserver

import (
	"errors"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// call is one request object of JSON-RPC 2.0, section 4, as slices of the body it stands in.
type call struct {
	id     []byte // as it stands in the request: a string, a number or null; nil for a notification
	method []byte // without its quotes and escapes
	params []byte // as they stand in the request: an object or an array; nil where they are absent
}

// readCall reads one request object. Where the text is not one, the error is a *registry.ParseError or a
// *registry.InvalidRequestError, and the call holds the id as far as it could be read.
func readCall(text []byte) (call, error) {
	switch jsonwire.KindOf(text) {
	case jsonwire.Object:
		return readEnvelope(text)
	case jsonwire.Invalid:
		return call{}, notJSON(jsonwire.Valid(text))
	}
	if err := jsonwire.Valid(text); err != nil {
		return call{}, notJSON(err)
	}
	return call{}, invalidRequest("a request is an object")
}

func readEnvelope(text []byte) (call, error) {
	var e envelope
	o := jsonwire.ReadObject(text)
	for o.Next() {
		e.member(o.Name(), o.Value())
	}
	if err := o.Err(); errors.Is(err, jsonwire.ErrDepth) {
		return call{id: e.id}, notJSON(err)
	} else if err != nil {
		return call{}, notJSON(err)
	}
	if why := e.judge(); why != "" {
		return call{id: e.id}, invalidRequest(why)
	}
	return call{id: e.id, method: jsonwire.Unquote(e.method), params: e.params}, nil
}

// envelope gathers the members of a request object.
type envelope struct {
	version, method, id, params []byte // as they stand in the request

	seen   uint8
	others nameSet
	fault  string // the first thing wrong with a single member
}

const (
	sawVersion = 1 << iota
	sawMethod
	sawID
	sawParams
)

// member takes one member. Names are compared as they are, in upper and lower case; what has another name
// means nothing to JSON-RPC, and nothing to us.
func (e *envelope) member(name, value []byte) {
	switch string(name) {
	case "jsonrpc":
		e.version = e.once(sawVersion, name, value)
	case "method":
		e.method = e.once(sawMethod, name, value)
	case "params":
		e.params = e.once(sawParams, name, value)
	case "id":
		e.id = e.once(sawID, name, value)
		if kind := jsonwire.KindOf(value); kind != jsonwire.String && kind != jsonwire.Number && kind != jsonwire.Null {
			e.id = nil
			e.blame("id must be a string, a number or null")
		}
	default:
		if !e.others.add(name) {
			e.blame("the member " + quote(name) + " stands there twice")
		}
	}
}

// once returns the value of a member that is seen for the first time. Of two there is none that could be
// believed.
func (e *envelope) once(bit uint8, name, value []byte) []byte {
	if e.seen&bit != 0 {
		e.blame("the member " + quote(name) + " stands there twice")
		return nil
	}
	e.seen |= bit
	return value
}

func (e *envelope) blame(why string) {
	if e.fault == "" {
		e.fault = why
	}
}

// judge says what is wrong with the whole, or nothing.
func (e *envelope) judge() string {
	switch {
	case e.fault != "":
		return e.fault
	case jsonwire.KindOf(e.version) != jsonwire.String || string(jsonwire.Unquote(e.version)) != "2.0":
		return `jsonrpc must be "2.0"`
	case jsonwire.KindOf(e.method) != jsonwire.String:
		return "method must be a string"
	case e.params == nil:
		return ""
	}
	if kind := jsonwire.KindOf(e.params); kind != jsonwire.Object && kind != jsonwire.Array {
		return "params must be an object or an array, or absent"
	}
	return ""
}

// nameSet finds names that stand twice. A few are compared one by one; many go into a map, so that no
// request is slow to judge.
type nameSet struct {
	few  [8][]byte
	n    int
	many map[string]struct{}
}

// add adds a name and tells whether it is new.
func (s *nameSet) add(name []byte) bool {
	if s.many != nil {
		before := len(s.many)
		s.many[string(name)] = struct{}{}
		return len(s.many) > before
	}
	if slices.ContainsFunc(s.few[:s.n], func(n []byte) bool { return string(n) == string(name) }) {
		return false
	}
	if s.n < len(s.few) {
		s.few[s.n] = name
		s.n++
		return true
	}
	s.many = map[string]struct{}{}
	for _, n := range s.few {
		s.many[string(n)] = struct{}{}
	}
	return s.add(name)
}

// notJSON is the error for a text that jsonwire refuses. One that only nests too deep is JSON all the
// same, and no request that is served here.
func notJSON(err error) error {
	if errors.Is(err, jsonwire.ErrDepth) {
		return invalidRequest("it nests deeper than " + strconv.Itoa(jsonwire.MaxDepth) + " levels")
	}
	e := &registry.ParseError{Message: "the body is not JSON: " + err.Error()}
	var syntax *jsonwire.SyntaxError
	if errors.As(err, &syntax) {
		e.Offset = int64(syntax.Offset)
	}
	return e
}

func invalidRequest(why string) error {
	return &registry.InvalidRequestError{
		InvalidRequestData: registry.InvalidRequestData{Why: why},
		Message:            "the body is not a JSON-RPC 2.0 request: " + why,
	}
}

// quotedBytes is how much of what an unproven caller sent is shown to anyone.
const quotedBytes = 64

// cut is at most the first quotedBytes of b, without half a character at its end.
func cut(b []byte, most int) string {
	if len(b) <= most {
		return string(b)
	}
	for most > 0 && !utf8.RuneStart(b[most]) {
		most--
	}
	return string(b[:most])
}

// quote is b as it may stand in a message: in quotes, and cut.
func quote(b []byte) string { return strconv.Quote(cut(b, quotedBytes)) }
