package jsonwire_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

var (
	smallCall = []byte(`{"jsonrpc":"2.0","id":1,"method":"rpc.health","params":{}}`)
	largeText = []byte(`[` + strings.Repeat(`{"dst":"10.0.0.0/8","interface":"eth0","metric":100,"managed":false},`, 1000) + `null]`)
)

type envelope struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
}

// parts is what a server needs of a call, all of it still lying in the request.
type parts struct{ version, id, method, params []byte }

func readParts(b []byte) (p parts, err error) {
	o := jsonwire.ReadObject(b)
	for o.Next() {
		switch string(o.Name()) {
		case "jsonrpc":
			p.version = o.Value()
		case "id":
			p.id = o.Value()
		case "method":
			p.method = jsonwire.Unquote(o.Value())
		case "params":
			p.params = o.Value()
		}
	}
	return p, o.Err()
}

func TestReadingAnEnvelopeDoesNotAllocate(t *testing.T) {
	n := testing.AllocsPerRun(100, func() {
		if p, err := readParts(smallCall); err != nil || string(p.method) != "rpc.health" {
			t.Errorf("%q, %v", p.method, err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkEnvelope(b *testing.B) {
	b.Run("jsonwire", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := readParts(smallCall); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var e envelope
			if err := json.Unmarshal(smallCall, &e); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkValid(b *testing.B) {
	b.Run("jsonwire", func(b *testing.B) {
		b.SetBytes(int64(len(largeText)))
		for b.Loop() {
			if err := jsonwire.Valid(largeText); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.SetBytes(int64(len(largeText)))
		for b.Loop() {
			if !json.Valid(largeText) {
				b.Fatal("not valid")
			}
		}
	})
}
