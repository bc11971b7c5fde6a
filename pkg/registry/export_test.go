package registry

import "reflect"

// Fill sets o to what f puts into the value; tests that make values at random need it.
func (o *Opt[T]) Fill(f func(reflect.Value)) {
	f(reflect.ValueOf(&o.value).Elem())
	o.set = true
}

// RowType is the type of the rows that the stream takes.
func (s *Stream[T]) RowType() reflect.Type { return reflect.TypeFor[T]() }
