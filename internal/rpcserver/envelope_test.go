package rpcserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// verdict is what a text is taken for: a call, or the code of the error, and the id that is answered.
type verdict struct {
	code         int
	id           string // "" for none
	method       string
	params       string
	notification bool
}

func verdictOf(c call, err error) verdict {
	v := verdict{id: string(c.id), notification: err == nil && c.id == nil}
	var w registry.WireError
	if errors.As(err, &w) {
		v.code = w.RPCCode()
		return v
	}
	v.method, v.params = string(c.method), string(c.params)
	return v
}

// reference reads a request object with encoding/json, slowly and by other means. It leaves it open
// (ok is false) what to say of texts that the two read differently on purpose: those with half surrogates,
// which are refused here, and those that nest too deep.
func reference(text []byte) (v verdict, ok bool) {
	if depth(text) > jsonwire.MaxDepth {
		return verdict{}, false // and so is said before it is known whether the rest is JSON
	}
	if !json.Valid(text) || !utf8.Valid(text) {
		return verdict{code: registry.CodeParseError}, true
	}
	if halfSurrogate(text) {
		return verdict{}, false
	}
	members, isObject := decodeMembers(text)
	if !isObject {
		return verdict{code: registry.CodeInvalidRequest}, true
	}
	v = verdict{code: registry.CodeInvalidRequest}
	count := map[string]int{}
	value := map[string]json.RawMessage{}
	for _, m := range members {
		count[m.name]++
		value[m.name] = m.value
	}
	bad := false
	for _, n := range count {
		bad = bad || n > 1
	}
	if id := value["id"]; count["id"] == 1 {
		if strings.ContainsRune("{[tf", rune(id[0])) {
			bad = true
		} else {
			v.id = string(id)
		}
	}
	var version, method string
	bad = bad || json.Unmarshal(value["jsonrpc"], &version) != nil || version != "2.0" || value["jsonrpc"][0] != '"'
	bad = bad || json.Unmarshal(value["method"], &method) != nil || value["method"][0] != '"'
	if params := value["params"]; params != nil {
		bad = bad || params[0] != '{' && params[0] != '['
	}
	if bad {
		return v, true
	}
	return verdict{id: v.id, method: method, params: string(value["params"]), notification: count["id"] == 0}, true
}

type member struct {
	name  string
	value json.RawMessage
}

// decodeMembers lists the members of an object in their order, those that stand there twice too.
func decodeMembers(text []byte) (members []member, isObject bool) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, false
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			panic(err)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			panic(err)
		}
		members = append(members, member{name.(string), value})
	}
	return members, true
}

// halfSurrogate tells whether a string of the valid text has half a surrogate pair, which encoding/json
// turns into U+FFFD.
func halfSurrogate(text []byte) bool {
	if !bytes.Contains(bytes.ToLower(text), []byte(`\ud`)) {
		return false
	}
	return jsonwire.Valid(text) != nil
}

// depth is how deep the text nests, be it JSON to its end or not.
func depth(text []byte) (deepest int) {
	at, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			at++
			deepest = max(deepest, at)
		case c == '}' || c == ']':
			at--
		}
	}
	return deepest
}

// FuzzEnvelope reads request objects of all shapes and holds them against encoding/json.
func FuzzEnvelope(f *testing.F) {
	for _, text := range wireBodies(f) {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		want, ok := reference(text)
		if !ok {
			return
		}
		if got := verdictOf(readCall(text)); got != want {
			t.Errorf("%q\ngot  %+v\nwant %+v", text, got, want)
		}
	})
}

// FuzzBatch cuts bodies into their members as encoding/json does.
func FuzzBatch(f *testing.F) {
	for _, text := range wireBodies(f) {
		f.Add([]byte(text))
	}
	s := &Server{limits: Limits{BatchCalls: 20}.withDefaults()}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !isBatch(text) || depth(text) > jsonwire.MaxDepth {
			return
		}
		x := &exchange{s: s, body: text}
		var w registry.WireError
		err := x.judgeBatch()
		if err != nil && !errors.As(err, &w) {
			t.Fatalf("%q: %v", text, err)
		}
		var members []json.RawMessage
		switch valid := json.Unmarshal(text, &members) == nil && utf8.Valid(text); {
		case !valid:
			if err == nil || w.RPCCode() != registry.CodeParseError {
				t.Errorf("%q is no JSON, and the batch is judged: %v", text, err)
			}
		case halfSurrogate(text):
		case len(members) == 0 || len(members) > 20:
			if err == nil || w.RPCCode() != registry.CodeInvalidRequest {
				t.Errorf("%q has %d members, and is judged: %v", text, len(members), err)
			}
		default:
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			i := 0
			for a := jsonwire.ReadArray(text); a.Next(); i++ {
				if !bytes.Equal(a.Value(), members[i]) {
					t.Errorf("%q: member %d is %q, want %q", text, i, a.Value(), members[i])
				}
			}
		}
	})
}

// wireBodies are the short bodies of the conversations.
func wireBodies(tb testing.TB) (bodies []string) {
	tb.Helper()
	for _, path := range wireFiles(tb) {
		text, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if body, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), ">> "); ok {
				bodies = append(bodies, body)
			}
		}
	}
	return bodies
}

// TestManyMembers is a request made to be slow to judge.
func TestManyMembers(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"jsonrpc":"2.0","method":"rpc.health","id":1`)
	for i := range 200_000 {
		b.WriteString(`,"`)
		b.WriteString(string([]byte{byte('a' + i%26), byte('a' + i/26%26), byte('a' + i/676%26), byte('a' + i/17576)}))
		b.WriteString(`":0`)
	}
	b.WriteString("}")
	if c, err := readCall([]byte(b.String())); err != nil || string(c.method) != "rpc.health" {
		t.Errorf("%q, %v", c.method, err)
	}
}

func TestReadCallAllocates(t *testing.T) {
	text := []byte(`{"jsonrpc":"2.0","id":12345,"method":"net.routes","params":{"family":"ipv4","limit":10}}`)
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := readCall(text); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("%v allocations, at most 2", n)
	}
}

// BenchmarkEnvelope compares with what decodes the same by reflection.
func BenchmarkEnvelope(b *testing.B) {
	text := []byte(`{"jsonrpc":"2.0","id":12345,"method":"net.routes","params":{"family":"ipv4","limit":10}}`)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := readCall(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var r struct {
				JSONRPC string           `json:"jsonrpc"`
				ID      *json.RawMessage `json:"id"`
				Method  string           `json:"method"`
				Params  *json.RawMessage `json:"params"`
			}
			if err := json.Unmarshal(text, &r); err != nil {
				b.Fatal(err)
			}
		}
	})
}
