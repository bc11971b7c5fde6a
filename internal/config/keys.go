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

	index []int // of the field, for reflect.Value.FieldByIndex; of an element's key, of the list
	kind  reflect.Type
	inner []int // of an element's key, of the field in the element; else nil
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
		if isTables(f.Type) {
			for _, k := range keysOf(f.Type.Elem(), name+".", nil) {
				k.index, k.inner = at, k.index
				keys = append(keys, k)
			}
			continue
		}
		keys = append(keys, Key{
			Name: name, Flag: f.Tag.Get("flag"), Reload: f.Tag.Get("reload") == "yes", Range: f.Tag.Get("range"),
			index: at, kind: f.Type,
		})
	}
	return keys
}

// isTables tells whether a key is an array of tables.
func isTables(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct
}

// Value is the key's value in c, in TOML. Of a key of an array of tables it is what a table has that does not
// name it, or else the values of all tables, in order.
func (k Key) Value(c *Config) string {
	if k.inner == nil {
		return valueText(k.value(c))
	}
	list := k.value(c)
	if list.Len() == 0 {
		return valueText(reflect.New(list.Type().Elem()).Elem().FieldByIndex(k.inner))
	}
	var all []string
	for i := range list.Len() {
		all = append(all, valueText(list.Index(i).FieldByIndex(k.inner)))
	}
	return strings.Join(all, ", ")
}

func valueText(value reflect.Value) string {
	switch v := value.Interface().(type) {
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

// value is the key's value in c; of a key of an array of tables it is the array.
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
