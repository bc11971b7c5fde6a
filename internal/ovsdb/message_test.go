package ovsdb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFramer(t *testing.T) {
	stream := ` {"a":"}\"{"}{"b":[{},[]]}` + "\n" + `{"c":"` + strings.Repeat("é\\", 2*readSize-1) + `\"}`
	for name, r := range map[string]io.Reader{"whole": strings.NewReader(stream), "byte by byte": iotest.OneByteReader(strings.NewReader(stream))} {
		f := newFramer(r)
		var got []string
		for {
			raw, err := f.message()
			if err != nil {
				break
			}
			got = append(got, string(raw))
		}
		if len(got) < 2 || got[0] != `{"a":"}\"{"}` || got[1] != `{"b":[{},[]]}` {
			t.Errorf("%s: %.100q", name, got)
		}
	}
	for text, want := range map[string]error{
		`{"a":1`: io.ErrUnexpectedEOF, ``: io.EOF, `[1]`: ErrProtocol, `}`: ErrProtocol, `x{}`: ErrProtocol, `"a"`: ErrProtocol,
		`{"a":` + strings.Repeat("[", maxDepth) + "1": ErrProtocol, `{"a":"` + strings.Repeat("a", 3000): ErrProtocol,
	} {
		f := newFramer(strings.NewReader(text))
		f.limit = 2000
		if _, err := f.message(); !errors.Is(err, want) {
			t.Errorf("%.20q: %v, want %v", text, err, want)
		}
	}
}

func TestValues(t *testing.T) {
	const u = "6f0c7c3e-2f5e-4f0e-9d0b-3b7f0c1f2a11"
	for text, want := range map[string]any{
		`1`: int64(1), `-1`: int64(-1), `9007199254740993`: int64(9007199254740993), `1.5`: 1.5, `1e300`: 1e300, `true`: true, `"x"`: "x",
		`["uuid","` + u + `"]`: UUID(u), `["set",[]]`: Set{}, `["set",[1,2]]`: Set{int64(1), int64(2)},
		`["set",[["uuid","` + u + `"]]]`:       Set{UUID(u)},
		`["map",[["a","b"],[1,true]]]`:         Map{{"a", "b"}, {int64(1), true}},
		`["map",[["a",["uuid","` + u + `"]]]]`: Map{{"a", UUID(u)}},
	} {
		var v any
		if err := unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		got, err := valueOf(v)
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %#v, %v", text, got, err)
		}
		if back, err := json.Marshal(got); err != nil || !strings.HasPrefix(text, "1e") && string(back) != text {
			t.Errorf("%s became %s, %v", text, back, err)
		}
	}
	for _, text := range []string{
		`null`, `{}`, `[]`, `["set"]`, `["set",1]`, `["set",[[]]]`, `["set",[["set",[]]]]`, `["map",[1]]`, `["map",[["a"]]]`, `["map",[["a",[]]]]`,
		`["map",[[[],1]]]`, `["uuid","x"]`, `["uuid","6f0c7c3e-2f5e-4f0e-9d0b-3b7f0c1f2a1g"]`, `["uuid","6f0c7c3e+2f5e-4f0e-9d0b-3b7f0c1f2a11"]`, `1e999`,
	} {
		var v any
		if err := unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		if got, err := valueOf(v); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: %#v, %v", text, got, err)
		}
	}
}

// TestRowTakesWhatFits: a column of another type has no value, and a set of one is that one.
func TestRowTakesWhatFits(t *testing.T) {
	row := Row{"n": Set{int64(3)}, "many": Set{"a", int64(1), "b"}, "none": Set{}, "m": Map{{"a", int64(1)}, {"b", "x"}, {int64(2), "y"}}}
	n, ok := row.Int("n")
	if !ok || n != 3 {
		t.Error("a set of one")
	}
	if _, ok := row.Int("many"); ok {
		t.Error("a set of three is one")
	}
	if _, ok := row.String("n"); ok {
		t.Error("an integer is a string")
	}
	if !cmp.Equal(row.List("many"), []string{"a", "b"}) || row.List("none") != nil || row.Ints("missing") != nil {
		t.Error("lists")
	}
	if !cmp.Equal(row.Map("m"), map[string]string{"b": "x"}) || !cmp.Equal(row.IntMap("m"), map[string]int64{"a": 1}) || row.Map("n") != nil {
		t.Error("maps")
	}
}

// scripted is a client of a server that says one thing whatever it is asked.
func scripted(t *testing.T, answer string) *Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := newFramer(c).message(); err == nil {
					_, _ = io.WriteString(c, answer)
				}
				_, _ = io.Copy(io.Discard, c)
			}()
		}
	}()
	return client(t, socket)
}

// TestAnswersThatNoServerShouldGive end in an error, and what is fine is taken.
func TestAnswersThatNoServerShouldGive(t *testing.T) {
	for answer, want := range map[string]string{
		`{"id":1,"result":[{"rows":[]}],"error":null}`: "",
		`{"id":7,"result":[],"error":null}{"id":null,"method":"update","params":[]}{"id":1,"result":[{"rows":[{"a":1}]}],"error":null}`: "",
		`{"id":1,"result":[],"error":null}`:                      "0 results of 1",
		`{"id":1,"result":[{},{}],"error":null}`:                 "2 results of 1",
		`{"id":1,"result":[null],"error":null}`:                  "without a result",
		`{"id":1,"result":[1],"error":null}`:                     "no object",
		`{"id":1,"result":{},"error":null}`:                      "no OVSDB",
		`{"id":1,"result":null,"error":null}`:                    "0 results",
		`{"id":1,"result":[{"rows":[1]}],"error":null}`:          "a row that is no object",
		`{"id":1,"result":[{"rows":[{"a":[]}]}],"error":null}`:   "a value of 0 parts",
		`{"id":1,"result":[{"count":1.5}],"error":null}`:         "a count",
		`{"id":1,"result":[{"uuid":"x"}],"error":null}`:          "",
		`{"id":1,"result":[{"uuid":[]}],"error":null}`:           "an atom",
		`{"id":1,"result":[],"error":"canceled"}`:                "canceled",
		`{"id":1,"result":[],"error":{"error":"x","details":7}}`: "x",
		`{"id":1,"result":[],"error":{"a":1}}`:                   "says nothing",
		`{"id":1,"result":[],"error":7}`:                         "says nothing",
		`{]`:                                                     "no OVSDB",
		`<html>`:                                                 "begins with",
	} {
		_, err := scripted(t, answer).Transact(within(t, long), database, Select("T", nil))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", answer, err, want)
		}
	}
}

// TestNobodyThere: no socket, no folder, a context that is over.
func TestNobodyThere(t *testing.T) {
	c := client(t, filepath.Join(t.TempDir(), "none", "db.sock"))
	var un *Unavailable
	if _, err := c.Transact(within(t, long), database, Touch()); !errors.As(err, &un) || un.Sent || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := scripted(t, "").Transact(ctx, database, Touch()); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if _, err := scripted(t, "").Transact(within(t, 50*time.Millisecond), database, Touch()); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("silence: %v", err)
	}
}

// FuzzAnswers: whatever a server sends, it is taken whole or refused, and a value that was taken means the same
// when it is sent back.
func FuzzAnswers(f *testing.F) {
	const u = "6f0c7c3e-2f5e-4f0e-9d0b-3b7f0c1f2a11"
	for _, seed := range []string{
		`{"id":1,"result":[{"rows":[{"_uuid":["uuid","` + u + `"],"name":"br0","tag":["set",[]],"trunks":["set",[1,2]]}]},{"count":1}],"error":null}`,
		`{"id":"echo","method":"echo","params":[]}{"id":1,"result":[{"uuid":["uuid","` + u + `"]},{}],"error":null}`,
		`{"id":1,"error":{"error":"constraint violation","details":"\"x\""},"result":null}`,
		`{"id":1,"result":[{"rows":[{"external_ids":["map",[["a","b"],[1,2.5]]]}]},null],"error":null}`,
		`{"id":1,"result":[{},{"error":"timed out","details":null}],"error":null}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		framer := newFramer(bytes.NewReader(stream))
		for {
			raw, err := framer.message()
			if err != nil {
				return
			}
			m, err := decodeMessage(raw)
			if err != nil {
				continue
			}
			m.number()
			m.failure()
			results, err := resultsOf([]Operation{Select("T", nil), Touch()}, m.Result)
			if err != nil {
				continue
			}
			for _, r := range results {
				for _, row := range r.Rows {
					checkRow(t, row)
				}
			}
		}
	})
}

func checkRow(t *testing.T, row Row) {
	t.Helper()
	for column, value := range row {
		row.Text(column)
		row.Ints(column)
		row.Map(column)
		sent, err := json.Marshal(value)
		if err != nil {
			t.Fatalf("%v cannot be sent: %v", value, err)
		}
		var v any
		if err := unmarshal(sent, &v); err != nil {
			t.Fatal(err)
		}
		again, err := valueOf(v)
		if err != nil {
			t.Fatalf("%s is not taken again: %v", sent, err)
		}
		if resent, _ := json.Marshal(again); !bytes.Equal(sent, resent) {
			t.Fatalf("%s became %s", sent, resent)
		}
	}
}
