package jsonwire_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

func members(b []byte) (out [][2]string, err error) {
	o := jsonwire.ReadObject(b)
	for o.Next() {
		out = append(out, [2]string{string(o.Name()), string(o.Value())})
	}
	if o.Next() {
		return out, errors.New("Next goes on after it has reported false")
	}
	return out, o.Err()
}

func elements(b []byte) (out []string, err error) {
	a := jsonwire.ReadArray(b)
	for a.Next() {
		out = append(out, string(a.Value()))
	}
	if a.Next() {
		return out, errors.New("Next goes on after it has reported false")
	}
	return out, a.Err()
}

func TestReadObject(t *testing.T) {
	for _, test := range []struct {
		text string
		want [][2]string
	}{
		{`{}`, nil},
		{" {\n} ", nil},
		{`{"a":1}`, [][2]string{{"a", "1"}}},
		{` { "a" : {"b": [ 1 ]} , "c" : "x" } `, [][2]string{{"a", `{"b": [ 1 ]}`}, {"c", `"x"`}}},
		{`{"\u0061\n":null,"":true}`, [][2]string{{"a\n", "null"}, {"", "true"}}},
		{`{"a":1,"a":2}`, [][2]string{{"a", "1"}, {"a", "2"}}},
	} {
		got, err := members([]byte(test.text))
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("members of %s: %v\n%s", test.text, err, diff)
		}
	}
}

func TestReadArray(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string
	}{
		{`[]`, nil},
		{" [\n] ", nil},
		{`[1]`, []string{"1"}},
		{` [ 1 , [ 2 ] ,{"a":3}, "x" ] `, []string{"1", "[ 2 ]", `{"a":3}`, `"x"`}},
	} {
		got, err := elements([]byte(test.text))
		if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
			t.Errorf("elements of %s: %v\n%s", test.text, err, diff)
		}
	}
}

func TestReadersRefuseOtherKinds(t *testing.T) {
	for _, text := range []string{``, ` `, `null`, `1`, `"{}"`, `[]`} {
		if _, err := members([]byte(text)); err == nil {
			t.Errorf("ReadObject accepts %q", text)
		}
	}
	for _, text := range []string{``, ` `, `null`, `1`, `"[]"`, `{}`} {
		if _, err := elements([]byte(text)); err == nil {
			t.Errorf("ReadArray accepts %q", text)
		}
	}
}

// The readers' verdict on a text of their kind is Valid's, and what they return is what encoding/json
// sees there.
func checkReaders(t *testing.T, b []byte) {
	t.Helper()
	valid := jsonwire.Valid(b)
	switch jsonwire.KindOf(b) {
	case jsonwire.Object:
		got, err := members(b)
		checkSameError(t, b, err, valid)
		var want map[string]json.RawMessage
		if valid == nil && json.Unmarshal(b, &want) == nil {
			last := map[string]json.RawMessage{}
			for _, m := range got {
				last[m[0]] = json.RawMessage(m[1])
			}
			if diff := cmp.Diff(want, last); diff != "" {
				t.Errorf("members of %q:\n%s", b, diff)
			}
		}
	case jsonwire.Array:
		got, err := elements(b)
		checkSameError(t, b, err, valid)
		want := []json.RawMessage{}
		if valid == nil && json.Unmarshal(b, &want) == nil {
			if len(want) != len(got) {
				t.Fatalf("%q has %d elements, want %d", b, len(got), len(want))
			}
			for i := range want {
				if got[i] != string(want[i]) {
					t.Errorf("element %d of %q is %q, want %q", i, b, got[i], want[i])
				}
			}
		}
	}
}

func checkSameError(t *testing.T, b []byte, got, want error) {
	t.Helper()
	if diff := cmp.Diff(text(want), text(got)); diff != "" {
		t.Errorf("reading %q ends in another error than Valid:\n%s", b, diff)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestReadersAgreeWithValid(t *testing.T) {
	for _, test := range verdicts {
		checkReaders(t, []byte(test.text))
		checkReaders(t, []byte(`{"a":`+test.text+`}`))
		checkReaders(t, []byte(`[`+test.text+`]`))
	}
}

func FuzzReaders(f *testing.F) {
	for _, test := range verdicts {
		f.Add([]byte(`{"a":` + test.text + `}`))
		f.Add([]byte(`[` + test.text + `]`))
	}
	f.Fuzz(checkReaders)
}

func TestReadersFindTheDepthOfTheWholeText(t *testing.T) {
	nested := strings.Repeat("[", 64) + strings.Repeat("]", 64)
	if _, err := members([]byte(`{"a":` + nested + `}`)); !errors.Is(err, jsonwire.ErrDepth) {
		t.Errorf("an object around 64 arrays: %v, want %v", err, jsonwire.ErrDepth)
	}
	if _, err := elements([]byte(`[` + nested + `]`)); !errors.Is(err, jsonwire.ErrDepth) {
		t.Errorf("65 arrays: %v, want %v", err, jsonwire.ErrDepth)
	}
}

// TestUnfinished cuts an object at every byte: the member that the cut falls into is told of, with all that
// there is of its value.
func TestUnfinished(t *testing.T) {
	const text = `{"a":1,"b":"\u00e4\ud83d\ude00é","c":{"d":[1,true,null,"x"],"e":{}}, "f" : [1.5e3,2] }`
	for cut := range len(text) {
		o := jsonwire.ReadObject([]byte(text[:cut]))
		for o.Next() {
		}
		var syntax *jsonwire.SyntaxError
		if !errors.As(o.Err(), &syntax) {
			t.Fatalf("%q: %v", text[:cut], o.Err())
		}
		name, value := o.Unfinished()
		begun := strings.LastIndex(text[:cut], `"`+string(name)+`"`)
		switch {
		case name == nil && value == nil:
		case begun < 0 || len(value) > cut-begun || !strings.HasSuffix(text[:cut], string(value)):
			t.Errorf("%q: unfinished is %q: %q", text[:cut], name, value)
		case cut-syntax.Offset >= 12:
			t.Errorf("%q: went wrong at byte %d of %d", text[:cut], syntax.Offset, cut)
		}
		if inC := cut >= strings.Index(text, `{"d"`) && cut < strings.Index(text, `, "f"`); inC != (string(name) == "c") {
			t.Errorf("%q: unfinished is %q", text[:cut], name)
		}
	}
	for _, whole := range []string{text, `{}`, `[1`, `{"a"`, `{"a":1 1`} {
		o := jsonwire.ReadObject([]byte(whole))
		for o.Next() {
		}
		if name, value := o.Unfinished(); name != nil || value != nil {
			t.Errorf("%q: unfinished is %q: %q", whole, name, value)
		}
	}
}
