package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/geomind/my_os_server/pkg/registry"
)

// Rows is a long list that is read row by row: T is a row, E what the result has behind the rows.
type Rows[T, E any] struct {
	answer *Answer
	list   string
	end    E
}

// All walks the rows. Each is a value of its own. The loop ends with the first error, which makes what was
// read before it an incomplete list; leaving the loop early closes the rows.
func (r *Rows[T, E]) All() iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		for raw, err := range r.answer.Rows(r.list) {
			if err != nil {
				yield(nil, err)
				return
			}
			row := new(T)
			if err := r.answer.decode(raw, row); err != nil {
				yield(nil, err)
				return
			}
			if !yield(row, nil) {
				return
			}
		}
		if err := r.answer.decode(r.answer.Rest(), &r.end); err != nil {
			yield(nil, err)
		}
	}
}

// End is what the result has behind the rows; it is empty until All has come to its end.
func (r *Rows[T, E]) End() *E { return &r.end }

// Close gives up the rows that have not been read.
func (r *Rows[T, E]) Close() error { return r.answer.Close() }

// decode makes a Go value of a part of the result.
func (a *Answer) decode(raw []byte, into any) error {
	if len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: %w: %w", a.method, ErrBroken, err)
	}
	return nil
}

// params is a pointer to one of the params structs of pkg/registry.
type params[P any] interface {
	*P
	AppendJSON(b []byte) []byte
}

// encode is the JSON of params, nil for none.
func encode[P any, PP params[P]](p PP) []byte {
	if p == nil {
		return nil
	}
	return p.AppendJSON(nil)
}

// callOne calls a method and decodes its result.
func callOne[R, P any, PP params[P]](ctx context.Context, c *Client, method string, p PP) (*R, error) {
	raw, err := callRaw(ctx, c, method, p)
	if err != nil {
		return nil, err
	}
	result := new(R)
	if err := json.Unmarshal(raw, result); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", method, ErrBroken, err)
	}
	return result, nil
}

// callRaw calls a method and returns its result as JSON.
func callRaw[P any, PP params[P]](ctx context.Context, c *Client, method string, p PP) (registry.RawJSON, error) {
	a, err := c.Call(ctx, method, encode(p))
	if err != nil {
		return nil, err
	}
	raw, err := a.Bytes()
	return registry.RawJSON(raw), err
}

// callRows calls a method whose result is a long list.
func callRows[T, E, P any, PP params[P]](ctx context.Context, c *Client, method, list string, p PP) (*Rows[T, E], error) {
	a, err := c.Call(ctx, method, encode(p))
	if err != nil {
		return nil, err
	}
	return &Rows[T, E]{answer: a, list: list}, nil
}
