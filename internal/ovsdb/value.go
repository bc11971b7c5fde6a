package ovsdb

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
)

// A value of a column is an atom, a [Set] of atoms or a [Map] of atoms to atoms. An atom is an int64, a float64, a
// bool, a string or a [UUID]; in what is sent, a [NamedUUID] too. A set of exactly one atom and that atom are the
// same (RFC 7047, section 5.1), so that the methods of [Row] take either.

// UUID names a row.
type UUID string

// NamedUUID names a row that an [Insert] of the same transaction makes.
type NamedUUID string

// Set is a set of atoms.
type Set []any

// Map is a map from atoms to atoms, in the server's order.
type Map []Pair

// Pair is one entry of a Map.
type Pair struct{ Key, Value any }

// MarshalJSON is ["uuid", u].
func (u UUID) MarshalJSON() ([]byte, error) { return json.Marshal([]string{"uuid", string(u)}) }

// MarshalJSON is ["named-uuid", u].
func (u NamedUUID) MarshalJSON() ([]byte, error) {
	return json.Marshal([]string{"named-uuid", string(u)})
}

// MarshalJSON is ["set", [...]].
func (s Set) MarshalJSON() ([]byte, error) {
	list := []any(s)
	if list == nil {
		list = []any{}
	}
	return json.Marshal([]any{"set", list})
}

// MarshalJSON is ["map", [[key, value], ...]].
func (m Map) MarshalJSON() ([]byte, error) {
	pairs := make([][2]any, 0, len(m))
	for _, p := range m {
		pairs = append(pairs, [2]any{p.Key, p.Value})
	}
	return json.Marshal([]any{"map", pairs})
}

// Strings is a map of strings, in the order of its keys.
func Strings(m map[string]string) Map {
	out := make(Map, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		out = append(out, Pair{key, m[key]})
	}
	return out
}

// valueOf is a value out of JSON that was decoded with numbers as json.Number.
func valueOf(v any) (any, error) {
	list, ok := v.([]any)
	if !ok {
		return atomOf(v)
	}
	if len(list) != 2 {
		return nil, protocol("a value of %d parts", len(list))
	}
	kind, _ := list[0].(string)
	items, isList := list[1].([]any)
	switch {
	case kind == "set" && isList:
		return setOf(items)
	case kind == "map" && isList:
		return mapOf(items)
	}
	return atomOf(v)
}

func setOf(items []any) (Set, error) {
	set := make(Set, 0, len(items))
	for _, item := range items {
		atom, err := atomOf(item)
		if err != nil {
			return nil, err
		}
		set = append(set, atom)
	}
	return set, nil
}

func mapOf(items []any) (Map, error) {
	out := make(Map, 0, len(items))
	for _, item := range items {
		pair, ok := item.([]any)
		if !ok || len(pair) != 2 {
			return nil, protocol("a map whose entries are no pairs")
		}
		key, err := atomOf(pair[0])
		if err != nil {
			return nil, err
		}
		value, err := atomOf(pair[1])
		if err != nil {
			return nil, err
		}
		out = append(out, Pair{key, value})
	}
	return out, nil
}

func atomOf(v any) (any, error) {
	switch v := v.(type) {
	case string, bool:
		return v, nil
	case json.Number:
		return numberOf(v)
	case []any:
		if len(v) == 2 && v[0] == "uuid" {
			if u, ok := v[1].(string); ok && isUUID(u) {
				return UUID(u), nil
			}
		}
	}
	return nil, protocol("an atom that is none")
}

// numberOf is an integer where the text is one, else a real.
func numberOf(n json.Number) (any, error) {
	if i, err := strconv.ParseInt(string(n), 10, 64); err == nil {
		return i, nil
	}
	f, err := n.Float64()
	if err != nil {
		return nil, protocol("a number out of range: %s", n)
	}
	return f, nil
}

// uuidLen is the length of a UUID's text: 8-4-4-4-12 digits.
const uuidLen = 36

func isUUID(text string) bool {
	if len(text) != uuidLen {
		return false
	}
	for i := range len(text) {
		c := text[i]
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F':
		default:
			return false
		}
	}
	return true
}
