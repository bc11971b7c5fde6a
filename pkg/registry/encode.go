package registry

import (
	"maps"
	"slices"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

// RawJSON is a result that is JSON already and is passed on byte for byte.
type RawJSON []byte

// closeObject ends an object none of whose members is always there. Each of them was appended with a
// comma before it; the first comma becomes the opening bracket.
func closeObject(b []byte, start int) []byte {
	if len(b) == start {
		return append(b, '{', '}')
	}
	b[start] = '{'
	return append(b, '}')
}

// appendMap appends m as an object, its members in the order of their names.
func appendMap[T any](b []byte, m map[string]T, appendValue func([]byte, T) []byte) []byte {
	b = append(b, '{')
	for i, name := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = jsonwire.AppendString(b, name)
		b = append(b, ':')
		b = appendValue(b, m[name])
	}
	return append(b, '}')
}
