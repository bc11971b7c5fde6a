package client

import "io"

// TypedError is typedError, for tests.
var TypedError = typedError

// Scan takes the values of a JSON array out of a stream, as Rows does.
func Scan(src io.Reader) (values []string, err error) {
	x := reader{src: src}
	if err := x.opening('['); err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		more, err := x.next(']', first)
		if err != nil || !more {
			return values, err
		}
		v, err := x.take()
		if err != nil {
			return values, err
		}
		values = append(values, string(v))
	}
}
