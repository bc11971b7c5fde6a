package ovsdb

// Row is columns of a row by name. Its methods give the value of a column as one type; a column that is not there,
// is empty or is of another type has none.
type Row map[string]any

// UUID is the row's own name.
func (r Row) UUID() UUID {
	u, _ := one[UUID](r["_uuid"])
	return u
}

// String is a column's only string.
func (r Row) String(column string) (string, bool) { return one[string](r[column]) }

// Text is a column's only string, "" where there is none.
func (r Row) Text(column string) string {
	text, _ := one[string](r[column])
	return text
}

// Int is a column's only integer.
func (r Row) Int(column string) (int64, bool) { return one[int64](r[column]) }

// Bool is a column's only truth.
func (r Row) Bool(column string) (value, ok bool) { return one[bool](r[column]) }

// Ref is the only row that a column names.
func (r Row) Ref(column string) (UUID, bool) { return one[UUID](r[column]) }

// Refs are the rows that a column names.
func (r Row) Refs(column string) []UUID { return all[UUID](r[column]) }

// List are a column's strings.
func (r Row) List(column string) []string { return all[string](r[column]) }

// Ints are a column's integers.
func (r Row) Ints(column string) []int64 { return all[int64](r[column]) }

// Map is a column that maps strings to strings; nil where it is empty.
func (r Row) Map(column string) map[string]string { return mapAs[string](r[column]) }

// IntMap is a column that maps strings to integers; nil where it is empty.
func (r Row) IntMap(column string) map[string]int64 { return mapAs[int64](r[column]) }

// one is the only atom of a value.
func one[T any](v any) (atom T, ok bool) {
	if set, isSet := v.(Set); isSet {
		if len(set) != 1 {
			return atom, false
		}
		v = set[0]
	}
	atom, ok = v.(T)
	return atom, ok
}

// all are the atoms of a value.
func all[T any](v any) (list []T) {
	set, isSet := v.(Set)
	if !isSet {
		set = Set{v}
	}
	for _, item := range set {
		if atom, ok := item.(T); ok {
			list = append(list, atom)
		}
	}
	return list
}

func mapAs[T any](v any) map[string]T {
	pairs, _ := v.(Map)
	var out map[string]T
	for _, p := range pairs {
		key, ok1 := p.Key.(string)
		value, ok2 := p.Value.(T)
		if !ok1 || !ok2 {
			continue
		}
		if out == nil {
			out = make(map[string]T, len(pairs))
		}
		out[key] = value
	}
	return out
}
