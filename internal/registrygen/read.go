package registrygen

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

// problems gathers complaints about the specification, each with its place, so that all of them are seen
// at once.
type problems struct{ list []error }

func (p *problems) add(place, format string, args ...any) {
	p.list = append(p.list, fmt.Errorf("%s: %s", place, fmt.Sprintf(format, args...)))
}

func (p *problems) err() error { return errors.Join(p.list...) }

// value is a JSON value of the specification with its place.
type value struct {
	p     *problems
	place string
	raw   []byte
}

// is complains where the value is of another kind. A member that is missing, which has been complained
// about, is of no kind.
func (v value) is(kind jsonwire.Kind) bool {
	if v.raw == nil {
		return false
	}
	got := jsonwire.KindOf(v.raw)
	if got != kind {
		v.p.add(v.place, "must be %v, not %v", kind, got)
	}
	return got == kind
}

// text is the value as a string that is not empty.
func (v value) text() string {
	if !v.is(jsonwire.String) {
		return ""
	}
	s := string(jsonwire.Unquote(v.raw))
	if strings.TrimSpace(s) == "" {
		v.p.add(v.place, "must not be empty")
	}
	return s
}

func (v value) boolean() bool { return v.is(jsonwire.Bool) && v.raw[0] == 't' }

// number is the value as a JSON number, checked to be an integer where it has to be one.
func (v value) number(integer bool) string {
	if !v.is(jsonwire.Number) {
		return ""
	}
	if _, err := jsonwire.Int(v.raw); integer && err != nil {
		v.p.add(v.place, "must be an integer: %v", err)
	}
	return string(v.raw)
}

func (v value) list() (out []value) {
	if !v.is(jsonwire.Array) {
		return nil
	}
	for a := jsonwire.ReadArray(v.raw); a.Next(); {
		out = append(out, value{v.p, fmt.Sprintf("%s[%d]", v.place, len(out)), a.Value()})
	}
	return out
}

func (v value) texts() (out []string) {
	for _, element := range v.list() {
		out = append(out, element.text())
	}
	return out
}

// object is a JSON object whose members are taken one by one; what nobody has taken at the end is what
// the generator does not understand.
type object struct {
	value
	names  []string // those not yet taken, in order
	values map[string]value
}

func (v value) object() *object {
	o := &object{value: v, values: map[string]value{}}
	if !v.is(jsonwire.Object) {
		return o
	}
	for r := jsonwire.ReadObject(v.raw); r.Next(); {
		name := string(r.Name())
		if _, ok := o.values[name]; ok {
			v.p.add(v.place, "has the member %s twice", name)
		}
		o.names = append(o.names, name)
		o.values[name] = value{v.p, v.place + "." + name, r.Value()}
	}
	return o
}

// optional takes a member that may be absent.
func (o *object) optional(name string) (value, bool) {
	v, ok := o.values[name]
	if !ok {
		return value{p: o.p, place: o.place + "." + name}, false
	}
	o.names = slices.DeleteFunc(o.names, func(other string) bool { return other == name })
	return v, true
}

// required takes a member that must be there.
func (o *object) required(name string) (value, bool) {
	v, ok := o.optional(name)
	if !ok && jsonwire.KindOf(o.raw) == jsonwire.Object {
		o.p.add(o.place, "has no member %s", name)
	}
	return v, ok
}

// text takes a required string; "" stands for one that was complained about.
func (o *object) text(name string) string {
	v, _ := o.required(name)
	return v.text()
}

// optionalText takes a string that may be absent.
func (o *object) optionalText(name string) string {
	v, _ := o.optional(name)
	return v.text()
}

func (o *object) optionalBool(name string) bool {
	v, _ := o.optional(name)
	return v.boolean()
}

// list takes a required array.
func (o *object) list(name string) []value {
	v, _ := o.required(name)
	return v.list()
}

// object takes a required object.
func (o *object) object(name string) *object {
	v, _ := o.required(name)
	return v.object()
}

// members takes everything that is left, in order.
func (o *object) members() (out []member) {
	for _, name := range o.names {
		out = append(out, member{name, o.values[name]})
	}
	o.names = nil
	return out
}

type member struct {
	name  string
	value value
}

// reference takes $ref, which must lead into the given part of the document, and returns the last name.
func (o *object) reference(part string) string {
	ref := o.text("$ref")
	name, ok := strings.CutPrefix(ref, part)
	if !ok || strings.Contains(name, "/") {
		o.p.add(o.place, "$ref must lead to %sNAME, not %q", part, ref)
	}
	return name
}

// done complains about what was not taken.
func (o *object) done() {
	for _, name := range o.names {
		o.p.add(o.place, "%s is not understood here", name)
	}
}
