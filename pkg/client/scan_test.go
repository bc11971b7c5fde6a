package client_test

import (
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/pkg/client"
)

// FuzzScan holds the scanner for streams against the strict one for texts: of every JSON array both see the
// same elements, however the stream comes in pieces, and of what is cut short the first sees no end.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`[]`, ` [ ] `, `[1]`, `[1,2.5e3 , -0 ]`, `[true,false,null]`, `["a","\"","\\","]",","]`, `[{"a":[1,{"b":"}"}]},[[]],{}]`,
		`[` + strings.Repeat(`"x",`, 50) + `1]`, "[\n\t{\"a\" : \"\\\\\" }\r\n,\"\\u005d\"]",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var want []string
		a := jsonwire.ReadArray([]byte(text))
		for a.Next() {
			want = append(want, string(a.Value()))
		}
		for name, src := range map[string]*strings.Reader{"whole": strings.NewReader(text), "bytes": strings.NewReader(text)} {
			var got []string
			var err error
			if name == "bytes" {
				got, err = client.Scan(iotest.OneByteReader(src))
			} else {
				got, err = client.Scan(src)
			}
			if a.Err() != nil {
				continue // what is no JSON need not be found out here, only survived
			}
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("%s of %q: %q, %v, where there are %q", name, text, got, err, want)
			}
		}
		if a.Err() == nil {
			cut := strings.TrimRight(text, " \t\r\n")
			if values, err := client.Scan(strings.NewReader(cut[:len(cut)-1])); err == nil {
				t.Fatalf("%q without its end: %q and no error", cut, values)
			}
		}
	})
}
