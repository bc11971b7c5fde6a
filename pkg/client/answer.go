package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

// Answer is the result of one call, to be read once, in one of three ways: WriteTo, Bytes, or Rows.
type Answer struct {
	ctx    context.Context
	method string
	body   io.ReadCloser
	in     reader
	rest   []byte // members of the result beside the rows
}

// open reads the envelope up to the result, or to an error, which it returns.
func (a *Answer) open() error {
	if err := a.in.opening('{'); err != nil {
		return a.broken(err)
	}
	for first := true; ; first = false {
		more, err := a.in.next('}', first)
		if err != nil {
			return a.broken(err)
		}
		if !more {
			return a.broken(errors.New("it has neither a result nor an error"))
		}
		name, err := a.in.name()
		if err != nil {
			return a.broken(err)
		}
		if name == "result" {
			return nil
		}
		value, err := a.in.take()
		if err != nil {
			return a.broken(err)
		}
		if name == "error" && string(value) != "null" {
			return parseError(value)
		}
	}
}

// Kept is an answer whose result has been kept, as WriteTo wrote it, to be read again in any way.
func Kept(method string, result io.Reader) *Answer {
	envelope := io.MultiReader(result, strings.NewReader("}"))
	return &Answer{ctx: context.Background(), method: method, body: io.NopCloser(envelope), in: reader{src: envelope}}
}

// finish reads what the envelope has behind the result, and ends the answer.
func (a *Answer) finish() error {
	for {
		more, err := a.in.next('}', false)
		if err == nil && !more {
			break
		}
		if err == nil {
			_, err = a.in.name()
		}
		if err == nil {
			_, err = a.in.take()
		}
		if err != nil {
			return a.broken(err)
		}
	}
	if err := a.in.end(); err != nil {
		return a.broken(err)
	}
	return a.Close()
}

// broken is the error for an answer that does not come whole.
func (a *Answer) broken(err error) error {
	if cause := a.ctx.Err(); cause != nil {
		return inTime(cause)
	}
	return fmt.Errorf("%w: %w", ErrBroken, err)
}

// named puts the method before an error.
func (a *Answer) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", a.method, err)
}

// Close gives up what has not been read.
func (a *Answer) Close() error { return a.body.Close() }

// WriteTo writes the result's bytes to w, exactly as they come and however many. An error of w comes back
// as it is; any other means that what was written is not the whole result.
func (a *Answer) WriteTo(w io.Writer) (int64, error) {
	defer a.Close()
	n, err := a.in.copyValue(w)
	var own *writeError
	switch {
	case errors.As(err, &own):
		return n, own.err
	case err != nil:
		return n, a.named(a.broken(err))
	}
	return n, a.named(a.finish())
}

// Bytes is the whole result, which is checked to be JSON.
func (a *Answer) Bytes() ([]byte, error) {
	defer a.Close()
	raw, err := a.in.take()
	if err == nil {
		err = jsonwire.Valid(raw)
	}
	if err != nil {
		return nil, a.named(a.broken(err))
	}
	raw = bytes.Clone(raw)
	return raw, a.named(a.finish())
}

// Rows are the elements of one list of the result, an object, each as it comes and good until the next. After
// the last one Rest is what else the result has. The loop ends with the first error.
func (a *Answer) Rows(list string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		defer a.Close()
		switch stopped, err := a.rows(list, yield); {
		case stopped:
		case err != nil:
			yield(nil, a.named(a.broken(err)))
		default:
			if err := a.finish(); err != nil {
				yield(nil, a.named(err))
			}
		}
	}
}

// rows walks the result and reports whether yield wanted no more.
func (a *Answer) rows(list string, yield func([]byte, error) bool) (stopped bool, err error) {
	if err := a.in.opening('{'); err != nil {
		return false, err
	}
	a.rest = []byte{'{'}
	for first := true; ; first = false {
		more, err := a.in.next('}', first)
		if err != nil || !more {
			a.rest = append(a.rest, '}')
			return false, err
		}
		name, err := a.in.name()
		if err != nil {
			return false, err
		}
		if name == list {
			stopped, err = a.elements(yield)
		} else {
			err = a.keep(name)
		}
		if stopped || err != nil {
			return stopped, err
		}
	}
}

// elements walks the list.
func (a *Answer) elements(yield func([]byte, error) bool) (stopped bool, err error) {
	if err := a.in.opening('['); err != nil {
		return false, err
	}
	for first := true; ; first = false {
		more, err := a.in.next(']', first)
		if err != nil || !more {
			return false, err
		}
		row, err := a.in.take()
		if err != nil {
			return false, err
		}
		if !yield(row, nil) {
			return true, nil
		}
	}
}

// keep adds a member to the rest.
func (a *Answer) keep(name string) error {
	value, err := a.in.take()
	if err != nil {
		return err
	}
	if len(a.rest) > 1 {
		a.rest = append(a.rest, ',')
	}
	a.rest = jsonwire.AppendString(a.rest, name)
	a.rest = append(a.rest, ':')
	a.rest = append(a.rest, value...)
	return nil
}

// Rest is, when Rows has come to its end, the result without that list, an object.
func (a *Answer) Rest() []byte { return a.rest }
