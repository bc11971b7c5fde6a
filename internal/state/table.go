package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// table is one registry in memory. The store's mutex guards it.
type table struct {
	name    string
	entries map[string]*entry
	seq     uint64 // of the last record that the file has
	dirty   bool   // something changed since
	filed   uint64 // seq of what was put into the file last; under Store.filing
	decode  func(json.RawMessage) (any, error)
	indexes []*index
}

// entry is one object. It is replaced, never changed.
type entry struct {
	raw     json.RawMessage
	decoded any // nil: not asked for yet, or it cannot be
}

// typed is an entry as a registry's type.
type typed[T any] struct{ e *entry }

func (t typed[T]) as() (v T, ok bool) {
	if t.e == nil {
		return v, false
	}
	v, ok = t.e.decoded.(T)
	return v, ok
}

func (t *table) decodeEntry(e *entry) (err error) {
	if e.decoded == nil && t.decode != nil {
		e.decoded, err = t.decode(e.raw)
		if err != nil {
			e.decoded = nil
		}
	}
	return err
}

// change puts or removes one entry.
func (t *table) change(c Change) {
	t.dirty = true
	if old := t.entries[c.Key]; old != nil {
		for _, ix := range t.indexes {
			ix.remove(c.Key, old)
		}
	}
	if c.Removes() {
		delete(t.entries, c.Key)
		return
	}
	e := &entry{raw: c.Value, decoded: c.decoded}
	_ = t.decodeEntry(e) // one that does not decode is kept and not seen
	t.entries[c.Key] = e
	for _, ix := range t.indexes {
		ix.add(c.Key, e)
	}
}

// index maps a value to the keys of the entries that have it.
type index struct {
	of   func(key string, e *entry) string
	keys map[string]map[string]struct{}
}

func (ix *index) add(key string, e *entry) {
	value := ix.of(key, e)
	if value == "" {
		return
	}
	if ix.keys[value] == nil {
		ix.keys[value] = map[string]struct{}{}
	}
	ix.keys[value][key] = struct{}{}
}

func (ix *index) remove(key string, e *entry) {
	value := ix.of(key, e)
	delete(ix.keys[value], key)
	if len(ix.keys[value]) == 0 {
		delete(ix.keys, value)
	}
}

// tableOf returns the registry of a name, which may be new.
func (s *Store) tableOf(name string) *table {
	t := s.tables[name]
	if t == nil {
		t = &table{name: name, entries: map[string]*entry{}}
		s.tables[name] = t
	}
	return t
}

// apply makes changes visible.
func (s *Store) apply(changes []Change) {
	for _, c := range changes {
		s.tableOf(c.Registry).change(c)
	}
}

func (s *Store) problem(p Problem) { s.problems = append(s.problems, p) }

const fileSuffix = ".json"

// fileOf names the file of a registry.
func fileOf(registry string) string { return registry + fileSuffix }

// registryOf is the registry whose file a name may be.
func registryOf(file string) (name string, ok bool) {
	name, ok = strings.CutSuffix(file, fileSuffix)
	return name, ok && registryName(name)
}

// tableFile is the file of a registry: what a person reads.
type tableFile struct {
	Version  int                        `json:"version"`
	Registry string                     `json:"registry"`
	Seq      uint64                     `json:"seq"` // of the last record of the journal that went into it
	CRC      string                     `json:"crc"` // CRC-32C of seq in decimal and the entries without white space
	Entries  map[string]json.RawMessage `json:"entries"`
}

func (f *tableFile) sum() (string, error) {
	compact, err := json.Marshal(f.Entries) // in the order of keys
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%08x", crc32.Checksum(strconv.AppendUint(compact, f.Seq, 10), castagnoli)), nil
}

func encodeTable(name string, seq uint64, entries map[string]*entry) ([]byte, error) {
	f := tableFile{Version: Version, Registry: name, Seq: seq, Entries: make(map[string]json.RawMessage, len(entries))}
	for key, e := range entries {
		f.Entries[key] = e.raw
	}
	var err error
	if f.CRC, err = f.sum(); err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(f, "", "  ")
	return append(b, '\n'), err
}

// errNewer is a file that a newer daemon wrote.
var errNewer = errors.New("written by a newer version")

// decodeTable reads the file of a registry. The error is errNewer, or says what is wrong with it.
func decodeTable(name string, b []byte) (*table, error) {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, err
	}
	if head.Version > Version {
		return nil, fmt.Errorf("version %d: %w", head.Version, errNewer)
	}
	var f tableFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, err
	}
	if head.Version < 1 || f.Registry != name {
		return nil, fmt.Errorf("it is no file of the registry %s", name)
	}
	if sum, err := f.sum(); err != nil || sum != f.CRC {
		return nil, errBadLine
	}
	t := &table{name: name, seq: f.Seq, entries: make(map[string]*entry, len(f.Entries))}
	for key, raw := range f.Entries {
		c := Change{Registry: name, Key: key, Value: raw}
		if err := c.check(); err != nil {
			return nil, err
		}
		t.entries[key] = &entry{raw: raw}
	}
	return t, nil
}
