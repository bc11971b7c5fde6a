package unixctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// readAll reads an answer from r and collects its lines.
func readAll(r io.Reader) (lines []string, refusal *string, err error) {
	refusal, err = newReply(r, func(line []byte) error {
		lines = append(lines, string(line))
		return nil
	}).read()
	return lines, refusal, err
}

func TestReply(t *testing.T) {
	refused := func(s string) *string { return &s }
	for text, want := range map[string]struct {
		lines   []string
		refusal *string
	}{
		`{"id":0,"result":"a\nb\n","error":null}`:                      {lines: []string{"a", "b"}},
		`{"error":null,"result":"a\n\nb","id":0}`:                      {lines: []string{"a", "", "b"}},
		` { "id" : 0 , "error" : null , "result" : "" } `:              {},
		`{"result":"tab\t \"q\" \\ \/ \u00e9\u20AC\ud83d\ude00\r\n"}`:  {lines: []string{"tab\t \"q\" \\ / é€😀\r"}},
		`{"result":"\ud83d! \ude00\u000a"}`:                            {lines: []string{"\uFFFD! \uFFFD"}},
		`{"id":0,"result":null,"error":"no such datapath\n"}`:          {refusal: refused("no such datapath\n")},
		`{"id":0,"error":"","result":null}`:                            {refusal: refused("")},
		`{"id":-1.5e3,"result":null,"error":17}`:                       {refusal: refused("17")},
		`{"i\u0064":true,"result":"x","extra":"\"}","error":null}rest`: {lines: []string{"x"}},
	} {
		for _, reader := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text))} {
			lines, refusal, err := readAll(reader)
			if err != nil {
				t.Errorf("%s: %v", text, err)
			}
			if diff := cmp.Diff(want.lines, lines); diff != "" {
				t.Errorf("%s (-want +got):\n%s", text, diff)
			}
			if diff := cmp.Diff(want.refusal, refusal); diff != "" {
				t.Errorf("%s (-want +got):\n%s", text, diff)
			}
		}
	}
}

func TestReplyRefusesGarbage(t *testing.T) {
	for _, text := range []string{
		"HTTP/1.1 400 Bad Request\r\n\r\n", "\x00\x01\x02", "[]", `{}`, `{"id":0}`, `{"result":null}`, `{"result":5}`,
		`{"result":"a`, `{"result":"a\q"}`, `{"result":"\u00g0"}`, `{"result":"a"`, `{"result" "a"}`, `{result:"a"}`,
		`{"result":"a";}`, `{"result":["a"]}`, `{"id":[1],"result":"a"}`, `{"id":0,"error":{},"result":null}`, `{"id":nul,"result":"a"}`, "",
		`{"pad":"` + strings.Repeat("x", restLimit) + `","result":"a"}`,
		`{"result":"` + strings.Repeat("x", lineLimit+1) + `"}`,
		strings.Repeat(" ", restLimit+1) + `{"result":"a"}`,
	} {
		_, _, err := readAll(strings.NewReader(text))
		if !errors.Is(err, ErrProtocol) && !errors.Is(err, io.EOF) {
			t.Errorf("%.60q: %v", text, err)
		}
	}
}

// TestReplyLikeEncodingJSON: whatever the text, its lines are those that encoding/json decodes.
func TestReplyLikeEncodingJSON(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	pieces := []string{"\n", "\n\n", "\"", "\\", "/", "\t", "é", "€", "😀", "<&>", "\u2028", "\x01", strings.Repeat("x", 3000), "ct_state=+trk"}
	for range 300 {
		var b strings.Builder
		for range rng.IntN(200) {
			b.WriteString(pieces[rng.IntN(len(pieces))])
		}
		raw, err := json.Marshal(map[string]any{"id": 0, "result": b.String(), "error": nil})
		if err != nil {
			t.Fatal(err)
		}
		lines, refusal, err := readAll(strings.NewReader(string(raw)))
		if err != nil || refusal != nil {
			t.Fatal(err, refusal)
		}
		want := strings.Split(b.String(), "\n")
		if last := len(want) - 1; want[last] == "" {
			want = want[:last]
		}
		if !slices.Equal(want, lines) {
			t.Fatalf("want %q\ngot  %q", want, lines)
		}
	}
}

// TestReplyAllocatesNothingALine: the memory does not grow with the answer.
func TestReplyAllocatesNothingALine(t *testing.T) {
	line := strings.Repeat("tcp,orig=(src=198.51.100.1)", 8) + `\n`
	answer := func(n int) float64 {
		text := `{"id":0,"result":"` + strings.Repeat(line, n) + `","error":null}`
		return testing.AllocsPerRun(5, func() {
			count := 0
			if _, err := newReply(strings.NewReader(text), func([]byte) error { count++; return nil }).read(); err != nil || count != n {
				t.Error(err, count)
			}
		})
	}
	if few, many := answer(10), answer(20000); many > few+2 {
		t.Errorf("%v allocations for 10 lines, %v for 20000", few, many)
	}
}

func FuzzReply(f *testing.F) {
	f.Add([]byte(`{"id":0,"result":"a\nb\u00e9\ud83d\ude00","error":null}`))
	f.Add([]byte(`{"id":0,"result":null,"error":"no\n"}`))
	f.Add([]byte(`{"x":-1.5e9,"result":"\\\"\/","error":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		lines, refusal, err := readAll(strings.NewReader(string(data)))
		again, _, errAgain := readAll(iotest.OneByteReader(strings.NewReader(string(data))))
		if fmt.Sprint(err) != fmt.Sprint(errAgain) || !slices.Equal(lines, again) {
			t.Fatalf("%q: %q %v, byte by byte %q %v", data, lines, err, again, errAgain)
		}
		var witness struct {
			Result, Error *string
		}
		if err == nil && json.Unmarshal(data, &witness) == nil && witness.Error != nil && (refusal == nil || *refusal != *witness.Error) {
			t.Fatalf("%q: error %v, want %q", data, refusal, *witness.Error)
		}
	})
}
