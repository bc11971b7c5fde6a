package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Key is one key of the file, as the fields of Config and their tags describe it.
type Key struct {
	Name   string // "limits.calls"
	Flag   string // the flag that sets it, without dashes; empty where there is none
	Reload bool   // whether a running daemon takes a new value over
	Range  string // of a number: "1..100"; else empty

	index []int // of the field, for reflect.Value.FieldByIndex
	kind  reflect.Type
}

// Keys lists every key in the order of Config.
func Keys() []Key { return keysOf(reflect.TypeFor[Config](), "", nil) }

func keysOf(t reflect.Type, prefix string, index []int) []Key {
	var keys []Key
	for i := range t.NumField() {
		f := t.Field(i)
		at := append(index[:len(index):len(index)], i)
		name := prefix + f.Tag.Get("toml")
		if f.Type.Kind() == reflect.Struct {
			keys = append(keys, keysOf(f.Type, name+".", at)...)
			continue
		}
		keys = append(keys, Key{
			Name: name, Flag: f.Tag.Get("flag"), Reload: f.Tag.Get("reload") == "yes", Range: f.Tag.Get("range"),
			index: at, kind: f.Type,
		})
	}
	return keys
}

// Value is the key's value in c, in TOML.
func (k Key) Value(c *Config) string {
	switch v := k.value(c).Interface().(type) {
	case string:
		return fmt.Sprintf("%q", v)
	case []string:
		quoted := make([]string, len(v))
		for i, s := range v {
			quoted[i] = fmt.Sprintf("%q", s)
		}
		return "[" + strings.Join(quoted, ", ") + "]"
	case []uint32:
		return strings.ReplaceAll(fmt.Sprint(append([]uint32{}, v...)), " ", ", ")
	default:
		return fmt.Sprint(v)
	}
}

func (k Key) value(c *Config) reflect.Value { return reflect.ValueOf(c).Elem().FieldByIndex(k.index) }

// wanted says what type of value the key takes.
func (k Key) wanted() string {
	switch k.kind.Kind() {
	case reflect.Bool:
		return "must be true or false"
	case reflect.Int:
		return "must be an integer"
	case reflect.Float64:
		return "must be a number"
	case reflect.Slice:
		if k.kind.Elem().Kind() == reflect.Uint32 {
			return "must be an array of user numbers"
		}
		return "must be an array of strings"
	default:
		return "must be a string"
	}
}

// Changed lists the keys whose values differ between two configurations: those that a running daemon
// takes over, and those that wait for its next start.
func Changed(old, new *Config) (reload, restart []string) {
	for _, k := range Keys() {
		switch {
		case k.Value(old) == k.Value(new):
		case k.Reload:
			reload = append(reload, k.Name)
		default:
			restart = append(restart, k.Name)
		}
	}
	return reload, restart
}
