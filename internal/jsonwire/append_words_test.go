package jsonwire_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

// TestAppendStringAtEveryPlace: each byte at each place of a string, next to each of a few others, is written so that
// it is read back: strings are looked at eight bytes at a time.
func TestAppendStringAtEveryPlace(t *testing.T) {
	for _, filler := range []string{"a", " ", "~", "\x7f", "!", "#", "[", "]"} {
		for c := range 256 {
			for place := range 17 {
				s := strings.Repeat(filler, place) + string([]byte{byte(c)}) + strings.Repeat(filler, 17-place)
				want := strings.ToValidUTF8(s, "\uFFFD")
				var got string
				if err := json.Unmarshal(jsonwire.AppendString(nil, s), &got); err != nil || got != want {
					t.Fatalf("%q is read as %q: %v", s, got, err)
				}
			}
		}
	}
}
