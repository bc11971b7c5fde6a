package registry

import "encoding/json"

// Opt is a value that may be absent: an optional scalar of params or of a result. The zero Opt is
// absent; it is left out of JSON, never written as null.
type Opt[T any] struct {
	value T
	set   bool
}

// Some is the Opt that holds v.
func Some[T any](v T) Opt[T] { return Opt[T]{value: v, set: true} }

// NonZero is Some(v), or absent where v is the zero value: "" for a fact that the kernel does not
// tell, say.
func NonZero[T comparable](v T) Opt[T] {
	var zero T
	return Opt[T]{value: v, set: v != zero}
}

// Get returns the value and whether there is one.
func (o Opt[T]) Get() (T, bool) { return o.value, o.set }

// Or returns the value, or def where there is none.
func (o Opt[T]) Or(def T) T {
	if o.set {
		return o.value
	}
	return def
}

// IsSet tells whether there is a value.
func (o Opt[T]) IsSet() bool { return o.set }

// IsZero is what encoding/json's omitzero asks.
func (o Opt[T]) IsZero() bool { return !o.set }

// MarshalJSON writes the value; an absent one, which omitzero leaves out, as null.
func (o Opt[T]) MarshalJSON() ([]byte, error) {
	if !o.set {
		return []byte("null"), nil
	}
	return json.Marshal(o.value)
}

// UnmarshalJSON reads a value that is there; null, which the table never has, is taken as absent.
func (o *Opt[T]) UnmarshalJSON(b []byte) error {
	*o = Opt[T]{}
	if string(b) == "null" {
		return nil
	}
	if err := json.Unmarshal(b, &o.value); err != nil {
		return err
	}
	o.set = true
	return nil
}
