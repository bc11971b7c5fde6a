package state

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
)

// Registry is the entries of one kind, by key. Its values are shared: they must not be changed, only
// replaced by a write.
type Registry[T any] struct {
	store *Store
	table *table
	name  string
}

// Register gives access to a registry, which is empty until something is put there. T is kept as JSON by
// package encoding/json, so that its members carry tags; a member may be added later, one that changes its
// meaning needs a new name. An entry that does not decode is left as it is, is not seen, and is told by
// [Store.Problems]. Register panics where the name does not fit: 1 to 32 lower-case letters,
// underscores and digits, a letter first.
func Register[T any](s *Store, name string) *Registry[T] {
	if !registryName(name) {
		panic(fmt.Sprintf("state: registry %q: no such name", name))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tableOf(name)
	t.decode = decodeAs[T]
	for key, e := range t.entries {
		if err := t.decodeEntry(e); err != nil {
			s.problem(Problem{File: fileOf(name), Cause: fmt.Sprintf("entry %s: %v", key, err)})
		}
	}
	return &Registry[T]{store: s, table: t, name: name}
}

func decodeAs[T any](raw json.RawMessage) (any, error) {
	var v T
	err := json.Unmarshal(raw, &v)
	return v, err
}

// Get returns an entry.
func (r *Registry[T]) Get(key string) (T, bool) {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	return typed[T]{r.table.entries[key]}.as()
}

// Has tells whether there is an entry.
func (r *Registry[T]) Has(key string) bool {
	_, ok := r.Get(key)
	return ok
}

// Len is the number of entries.
func (r *Registry[T]) Len() int {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	return len(r.table.entries)
}

// All yields the entries as they are now, in the order of their keys.
func (r *Registry[T]) All() iter.Seq2[string, T] {
	r.store.mu.Lock()
	entries := maps.Clone(r.table.entries)
	r.store.mu.Unlock()
	return func(yield func(string, T) bool) {
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			if v, ok := (typed[T]{entries[key]}).as(); ok && !yield(key, v) {
				return
			}
		}
	}
}

// Put is the change that makes value the entry of key: 1 to 512 bytes of UTF-8.
func (r *Registry[T]) Put(key string, value T) Change {
	raw, err := json.Marshal(value)
	if err != nil {
		raw = nil // refused by check, with the key
	}
	return Change{Registry: r.name, Key: key, Value: orInvalid(raw), decoded: value}
}

// orInvalid keeps a value that could not be encoded from looking like a removal.
func orInvalid(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage{}
	}
	return raw
}

// Remove is the change that takes the entry of key away.
func (r *Registry[T]) Remove(key string) Change { return Change{Registry: r.name, Key: key} }

// Value returns what a change of this registry puts. It is not ok for a change that removes, for one of
// another registry, and for one that does not decode.
func (r *Registry[T]) Value(c Change) (value T, ok bool) {
	if c.Registry != r.name || c.Removes() {
		return value, false
	}
	if v, ok := c.decoded.(T); ok {
		return v, true
	}
	return value, json.Unmarshal(c.Value, &value) == nil
}

// Index finds entries by something else than their key, at the cost of a look-up.
type Index[T any] struct {
	registry *Registry[T]
	index    *index
}

// IndexBy makes an index by what of returns for each entry; entries for which it returns nothing are not in
// it. It is kept up with every write.
func (r *Registry[T]) IndexBy(of func(key string, value T) string) *Index[T] {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	ix := &index{keys: map[string]map[string]struct{}{}, of: func(key string, e *entry) string {
		v, ok := typed[T]{e}.as()
		if !ok {
			return ""
		}
		return of(key, v)
	}}
	for key, e := range r.table.entries {
		ix.add(key, e)
	}
	r.table.indexes = append(r.table.indexes, ix)
	return &Index[T]{r, ix}
}

// Keys are the keys of the entries under a value, sorted.
func (ix *Index[T]) Keys(value string) []string {
	ix.registry.store.mu.Lock()
	defer ix.registry.store.mu.Unlock()
	return slices.Sorted(maps.Keys(ix.index.keys[value]))
}

// Some are at most n of these keys, in no order: what is only asked of a few does not cost what all would.
func (ix *Index[T]) Some(value string, n int) (keys []string) {
	ix.registry.store.mu.Lock()
	defer ix.registry.store.mu.Unlock()
	for key := range ix.index.keys[value] {
		if len(keys) == n {
			break
		}
		keys = append(keys, key)
	}
	return keys
}

// Len is the number of entries under a value.
func (ix *Index[T]) Len(value string) int {
	ix.registry.store.mu.Lock()
	defer ix.registry.store.mu.Unlock()
	return len(ix.index.keys[value])
}

// Find returns the entries under a value, in the order of their keys.
func (ix *Index[T]) Find(value string) iter.Seq2[string, T] {
	return func(yield func(string, T) bool) {
		for _, key := range ix.Keys(value) {
			if v, ok := ix.registry.Get(key); ok && !yield(key, v) {
				return
			}
		}
	}
}
