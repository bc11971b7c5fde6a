package registry

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

// The widest bounds that numbers of the table have.
const (
	minInteger = -jsonwire.MaxInt
	maxInteger = jsonwire.MaxInt
	minNumber  = -math.MaxFloat64
	maxNumber  = math.MaxFloat64
)

// stringRule is what the specification says of a string. Zero lengths are no limit; they count code
// points, as JSON Schema does. A format is looked at first, because it can say best what is wrong.
type stringRule struct {
	format               *format
	pattern              *pattern
	minLength, maxLength int
}

// pattern is a regular expression that is compiled when it is first needed.
type pattern struct {
	text   string
	regexp func() *regexp.Regexp
}

func newPattern(text string) *pattern {
	return &pattern{text, sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })}
}

// integerRule and numberRule are the least and the greatest number that is allowed; countRule is how
// many elements an array may have, where a zero most is no limit.
type (
	integerRule struct{ least, most int64 }
	numberRule  struct{ least, most float64 }
	countRule   struct{ least, most int }
)

// is tells whether raw is of the kind, and notes it where it is not.
func (d *decoder) is(kind jsonwire.Kind, raw []byte) bool {
	if jsonwire.KindOf(raw) == kind {
		return true
	}
	d.must(kind.String(), raw)
	return false
}

// text decodes a string.
func (d *decoder) text(raw []byte, r *stringRule) (string, bool) {
	if !d.is(jsonwire.String, raw) {
		return "", false
	}
	s := string(jsonwire.Unquote(raw))
	if want := r.broken(s); want != "" {
		d.must(want, raw)
		return "", false
	}
	return s, true
}

// broken is what s must be and is not, or "".
func (r *stringRule) broken(s string) string {
	n := utf8.RuneCountInString(s)
	switch {
	case r.format != nil && !r.format.fits(s):
		return r.format.want
	case n < r.minLength || r.maxLength > 0 && n > r.maxLength:
		return span(r.minLength, r.maxLength, "character") + " long"
	case r.pattern != nil && !r.pattern.regexp().MatchString(s):
		return "what the pattern " + r.pattern.text + " allows"
	}
	return ""
}

// span says how many of something there must be; a zero most is no limit.
func span(least, most int, unit string) string {
	switch {
	case most == 0:
		return fmt.Sprintf("at least %d %s", least, plural(least, unit))
	case least == 0:
		return fmt.Sprintf("at most %d %s", most, plural(most, unit))
	case least == most:
		return fmt.Sprintf("%d %s", least, plural(least, unit))
	}
	return fmt.Sprintf("%d to %d %ss", least, most, unit)
}

func plural(n int, unit string) string {
	if n == 1 {
		return unit
	}
	return unit + "s"
}

// integer decodes an integer, however it is written: 1.0 and 1e3 are integers.
func (d *decoder) integer(raw []byte, r integerRule) (int64, bool) {
	if jsonwire.KindOf(raw) == jsonwire.Number {
		if n, err := jsonwire.Int(raw); err == nil && r.least <= n && n <= r.most {
			return n, true
		}
	}
	d.must(r.want(), raw)
	return 0, false
}

func (r integerRule) want() string {
	switch {
	case r.most < maxInteger:
		return fmt.Sprintf("an integer from %d to %d", r.least, r.most)
	case r.least > minInteger:
		return fmt.Sprintf("an integer of at least %d and less than 2^53", r.least)
	}
	return "an integer with an absolute value below 2^53"
}

// number decodes a number that may have a fraction.
func (d *decoder) number(raw []byte, r numberRule) (float64, bool) {
	if jsonwire.KindOf(raw) == jsonwire.Number {
		if f, err := jsonwire.Float(raw); err == nil && r.least <= f && f <= r.most {
			return f, true
		}
	}
	d.must(r.want(), raw)
	return 0, false
}

func (r numberRule) want() string {
	switch {
	case r.least == minNumber && r.most == maxNumber:
		return "a number"
	case r.most == maxNumber:
		return fmt.Sprintf("a number of at least %v", r.least)
	case r.least == minNumber:
		return fmt.Sprintf("a number of at most %v", r.most)
	}
	return fmt.Sprintf("a number from %v to %v", r.least, r.most)
}

func (d *decoder) boolean(raw []byte) (bool, bool) {
	return string(raw) == "true", d.is(jsonwire.Bool, raw)
}

// decodeEnum decodes one of a closed set of strings.
func decodeEnum[T ~string](d *decoder, raw []byte, values []T) (T, bool) {
	if jsonwire.KindOf(raw) == jsonwire.String {
		s := jsonwire.Unquote(raw)
		for _, v := range values {
			if string(v) == string(s) {
				return v, true
			}
		}
	}
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = string(v)
	}
	d.must("one of "+strings.Join(words, ", "), raw)
	return "", false
}

// parse decodes a string by way of a function that says what it must be where it is not that.
func parse[T any](d *decoder, raw []byte, f func(string) (T, string)) (T, bool) {
	if !d.is(jsonwire.String, raw) {
		var zero T
		return zero, false
	}
	v, want := f(string(jsonwire.Unquote(raw)))
	if want != "" {
		d.must(want, raw)
	}
	return v, want == ""
}

func (d *decoder) addr(raw []byte) (netip.Addr, bool)      { return parse(d, raw, parseAddr) }
func (d *decoder) network(raw []byte) (netip.Prefix, bool) { return parse(d, raw, parseNetwork) }
func (d *decoder) prefix(raw []byte) (netip.Prefix, bool)  { return parse(d, raw, parsePrefix) }
func (d *decoder) instant(raw []byte) (time.Time, bool)    { return parse(d, raw, parseInstant) }

// decodeArray decodes an array; what it returns is never nil where the array is one.
func decodeArray[T any](d *decoder, raw []byte, r countRule, element func(*decoder, []byte) (T, bool)) []T {
	if !d.is(jsonwire.Array, raw) {
		return nil
	}
	out := []T{}
	a := jsonwire.ReadArray(raw)
	for a.Next() {
		mark := d.enterElement(len(out))
		v, _ := element(d, a.Value())
		out = append(out, v)
		d.leave(mark)
	}
	d.syntax(a.Err())
	if n := len(out); n < r.least || r.most > 0 && n > r.most {
		d.fault(fmt.Sprintf("must have %s, not %d", span(r.least, r.most, "element"), n))
	}
	return out
}

// decodeMap decodes an object whose members' names are the caller's to choose.
func decodeMap[T any](d *decoder, raw []byte, value func(*decoder, []byte) (T, bool)) map[string]T {
	if !d.is(jsonwire.Object, raw) {
		return nil
	}
	out := map[string]T{}
	o := jsonwire.ReadObject(raw)
	for o.Next() {
		mark := d.enter(cut(string(o.Name())))
		if _, twice := out[string(o.Name())]; twice {
			d.fault("must be given once")
		}
		out[string(o.Name())], _ = value(d, o.Value())
		d.leave(mark)
	}
	d.syntax(o.Err())
	return out
}

// decodeObject decodes an object of the specification.
func decodeObject[T any, P interface {
	*T
	object
}](d *decoder, raw []byte) (v T, ok bool) {
	if !d.is(jsonwire.Object, raw) {
		return v, false
	}
	d.object(raw, P(&v))
	return v, true
}

// opt is the Opt of a value that was decoded, absent where it did not fit.
func opt[T any](v T, ok bool) Opt[T] { return Opt[T]{value: v, set: ok} }

// pointer is opt for objects.
func pointer[T any](v T, ok bool) *T {
	if !ok {
		return nil
	}
	return &v
}
