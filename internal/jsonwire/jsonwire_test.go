package jsonwire_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

// verdicts are texts at the edges of the grammar; each witness test goes over all of them.
var verdicts = []struct {
	text  string
	valid bool
}{
	{`null`, true}, {`true`, true}, {`false`, true}, {` 1 `, true}, {"\t\r\n\"\"\n", true},
	{``, false}, {` `, false}, {`nul`, false}, {`nulll`, false}, {`True`, false}, {`1 2`, false}, {`{}{}`, false},
	{"\ufeff{}", false}, {"\v1", false}, {"\x001", false}, {`// c` + "\n1", false},
	{`{}`, true}, {`{ }`, true}, {`[]`, true}, {`[ ]`, true}, {`{"a":1}`, true}, {`{ "a" : 1 , "b" : [ ] }`, true},
	{`{,}`, false}, {`{"a"}`, false}, {`{"a":}`, false}, {`{"a":1,}`, false}, {`{a:1}`, false}, {`{1:1}`, false},
	{`{"a":1 "b":2}`, false}, {`{"a":1`, false}, {`{"a"`, false}, {`{`, false}, {`}`, false}, {`{]`, false},
	{`[,]`, false}, {`[1,]`, false}, {`[1 2]`, false}, {`[1`, false}, {`[`, false}, {`]`, false}, {`[}`, false},
	{`0`, true}, {`-0`, true}, {`10`, true}, {`0.0`, true}, {`1e5`, true}, {`1E+05`, true}, {`-1.5e-3`, true},
	{`01`, false}, {`-`, false}, {`+1`, false}, {`.5`, false}, {`1.`, false}, {`1e`, false}, {`1e+`, false}, {`0x1`, false},
	{`NaN`, false}, {`Infinity`, false}, {`--1`, false}, {`1_000`, false},
	{`"\"\\\/\b\f\n\r\t\u00e9\uABCD"`, true}, {`"\x"`, false}, {`"\u12"`, false}, {`"\u12G4"`, false}, {`"\`, false},
	{`"`, false}, {`"a`, false}, {`'a'`, false}, {"\"\n\"", false}, {"\"\x00\"", false}, {"\"\x7f\"", true},
	{`"\ud83d\ude00"`, true}, {`"\ud83d"`, false}, {`"\ude00"`, false}, {`"\ud83d\ud83d"`, false}, {`"\ud83d\n"`, false}, {`"\ud83dxxxxxx"`, false},
	{`"é€😀"`, true}, {"\"\xff\"", false}, {"\"\xc3\"", false}, {"\"\xed\xa0\x80\"", false}, {"\"\xc0\x80\"", false}, {`"�"`, true},
	{strings.Repeat("[", 64) + strings.Repeat("]", 64), true},
	{strings.Repeat("[", 65) + strings.Repeat("]", 65), false},
	{strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 64), true},
	{strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65), false},
	{strings.Repeat("[", 63) + "{},[]" + strings.Repeat("]", 63), true},
}

func TestValid(t *testing.T) {
	for _, test := range verdicts {
		if err := jsonwire.Valid([]byte(test.text)); (err == nil) != test.valid {
			t.Errorf("Valid(%q) = %v, want valid %v", test.text, err, test.valid)
		}
		checkAgainstWitnesses(t, []byte(test.text))
	}
}

// checkAgainstWitnesses compares our verdict on b with that of two other implementations: encoding/json,
// which is laxer in three known ways (depth, UTF-8, surrogates), and jsontext, laxer in depth alone.
func checkAgainstWitnesses(t *testing.T, b []byte) {
	t.Helper()
	err := jsonwire.Valid(b)
	want := jsontext.Value(b).IsValid(jsontext.AllowDuplicateNames(true))
	switch {
	case errors.Is(err, jsonwire.ErrDepth):
		if depth(b) <= jsonwire.MaxDepth {
			t.Errorf("Valid(%q) = %v at depth %d", b, err, depth(b))
		}
	case err == nil && !want:
		t.Errorf("Valid accepts %q, jsontext does not", b)
	case err != nil && want:
		t.Errorf("Valid(%q) = %v, jsontext accepts it", b, err)
	case err == nil && !json.Valid(b):
		t.Errorf("Valid accepts %q, encoding/json does not", b)
	case err != nil && json.Valid(b) && utf8.Valid(b) && !strings.Contains(strings.ToLower(string(b)), `\ud`):
		t.Errorf("Valid(%q) = %v, encoding/json accepts it, and there is no surrogate in it", b, err)
	case err == nil && depth(b) > jsonwire.MaxDepth:
		t.Errorf("Valid accepts %q of depth %d", b, depth(b))
	}
	checkOffset(t, b, err)
}

// checkOffset checks that an error is a *SyntaxError that points into the text, and that what stands
// before the offset can still be the start of a JSON text.
func checkOffset(t *testing.T, b []byte, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var syntax *jsonwire.SyntaxError
	if !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len(b) || syntax.Msg == "" {
		t.Errorf("Valid(%q) = %#v, want a *SyntaxError with an offset in the text", b, err)
	}
}

// depth is how deep the brackets of b nest where it does not matter whether b is JSON.
func depth(b []byte) (deepest int) {
	now, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '[' || c == '{':
			now++
			deepest = max(deepest, now)
		case c == ']' || c == '}':
			now--
		}
	}
	return deepest
}

func TestSyntaxErrorSaysWhereAndWhat(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{``, "byte 0: the text ends where a value must be"},
		{`{"a":1,}`, "byte 7: '}' stands where a member's name must be"},
		{`[1 2]`, "byte 3: '2' stands where a comma or ] must be"},
		{`{"a" 1}`, "byte 5: '1' stands where a colon must be"},
		{`tru `, "byte 3: ' ' stands where true must be"},
		{`"a`, "byte 2: the text ends inside a string"},
		{`"a\q"`, "byte 2: an escape that JSON does not have, or half a surrogate pair"},
		{"\"a\n\"", "byte 2: a control character in a string"},
		{"\"a\xff\"", "byte 2: a string that is not UTF-8"},
		{`-x`, "byte 1: 'x' stands where a digit must be"},
		{`1 x`, "byte 2: 'x' stands where the end of the text must be"},
		{strings.Repeat("[", 65), "byte 64: nests deeper than 64 levels"},
	} {
		if err := jsonwire.Valid([]byte(test.text)); err == nil || err.Error() != test.want {
			t.Errorf("Valid(%q) = %v, want %s", test.text, err, test.want)
		}
	}
}

func TestKindOf(t *testing.T) {
	for text, want := range map[string]jsonwire.Kind{
		"": jsonwire.Invalid, " \n": jsonwire.Invalid, "x": jsonwire.Invalid, "+1": jsonwire.Invalid,
		" null": jsonwire.Null, "true": jsonwire.Bool, "false": jsonwire.Bool, "-1": jsonwire.Number, "9": jsonwire.Number,
		`"a"`: jsonwire.String, "\t[": jsonwire.Array, " {": jsonwire.Object,
	} {
		if got := jsonwire.KindOf([]byte(text)); got != want {
			t.Errorf("KindOf(%q) = %v, want %v", text, got, want)
		}
	}
	if got := jsonwire.Kind(99).String(); got != "kind(99)" {
		t.Errorf("unknown kind is called %q", got)
	}
}

func FuzzValid(f *testing.F) {
	for _, test := range verdicts {
		f.Add([]byte(test.text))
	}
	f.Fuzz(func(t *testing.T, b []byte) { checkAgainstWitnesses(t, b) })
}
