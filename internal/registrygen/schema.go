package registrygen

import (
	"strings"
)

// kind is what a schema of the closed subset describes.
type kind uint8

const (
	kindReference kind = iota // {"$ref": …} and nothing else
	kindObject                // a component: {"type": "object", "properties": …, "additionalProperties": false}
	kindEnum                  // a component: {"type": "string", "enum": […]}
	kindString                // {"type": "string"} with format, minLength, maxLength, pattern
	kindInteger               // {"type": "integer"} with minimum, maximum
	kindNumber                // {"type": "number"} with minimum, maximum
	kindBoolean               // {"type": "boolean"}
	kindArray                 // {"type": "array", "items": …} with minItems, maxItems; not a component
	kindMap                   // {"type": "object", "additionalProperties": {…}}; not a component
)

// schema is one schema of the closed subset. Absent limits are "".
type schema struct {
	place       string
	name        string // of a component
	kind        kind
	description string

	ref    string  // kindReference
	target *schema // what ref leads to; set by check

	properties []*property // kindObject
	enum       []string    // kindEnum
	element    *schema     // kindArray, kindMap

	format, pattern      string
	minLength, maxLength string
	minimum, maximum     string
	minItems, maxItems   string
}

// property is a member of an object, or a param.
type property struct {
	place       string
	name        string
	description string
	required    bool
	schema      *schema
	constant    string // the only value it can have: kind in an error's data
}

// Formats are the string formats of the subset, with the Go type that each is given.
var formats = map[string]string{
	"ip": "netip.Addr", "ip-prefix": "netip.Prefix", "ip-interface": "netip.Prefix", "date-time": "time.Time",
	"ifname": "string", "mac": "string", "uuid": "string", "abs-path": "string", "device": "string",
	"tag": "string", "comment": "string", "hex": "string",
}

// component reads one of components/schemas.
func (p *problems) component(name string, v value) *schema {
	o := v.object()
	p.rename(o, "schema "+name)
	if !componentName.MatchString(name) {
		p.add(o.place, "its name must be CamelCase")
	}
	if title := o.text("title"); title != name {
		p.add(o.place, "its title must be its name, not %q", title)
	}
	s := &schema{place: o.place, name: name, description: o.text("description")}
	typ := o.text("type")
	switch _, isEnum := o.values["enum"]; {
	case typ == "object":
		s.kind = kindObject
		p.objectSchema(s, o)
	case isEnum:
		s.kind = kindEnum
		p.enumSchema(s, o, typ)
	default:
		p.scalarSchema(s, o, typ)
	}
	o.done()
	return s
}

// schema reads a schema that stands in a member, a param, an array or a map.
func (p *problems) schema(v value) *schema {
	o := v.object()
	s := &schema{place: o.place}
	if _, ok := o.values["$ref"]; ok {
		s.ref = o.reference(schemaPart)
		o.done()
		return s
	}
	s.description = o.optionalText("description")
	switch typ := o.text("type"); typ {
	case "array":
		s.kind = kindArray
		s.minItems, s.maxItems = p.limit(o, "minItems"), p.limit(o, "maxItems")
		p.schemaExamples(o)
		s.element = p.element(o, "items")
	case "object":
		s.kind = kindMap
		p.schemaExamples(o)
		s.element = p.element(o, "additionalProperties")
	default:
		p.scalarSchema(s, o, typ)
	}
	o.done()
	return s
}

func (p *problems) element(o *object, name string) *schema {
	v, ok := o.required(name)
	if !ok {
		return &schema{place: o.place, kind: kindBoolean}
	}
	s := p.schema(v)
	if s.kind == kindArray || s.kind == kindMap {
		p.add(s.place, "lists and maps do not nest: name an object")
	}
	return s
}

func (p *problems) objectSchema(s *schema, o *object) {
	if v, ok := o.required("additionalProperties"); ok && string(v.raw) != "false" {
		p.add(v.place, "must be false: an object's members are known")
	}
	required := map[string]bool{}
	if v, ok := o.required("required"); ok {
		for _, name := range v.texts() {
			if required[name] {
				p.add(v.place, "names %s twice", name)
			}
			required[name] = true
		}
	}
	for _, m := range o.object("properties").members() {
		if !memberName.MatchString(m.name) {
			p.add(m.value.place, "its name must be lower case with underscores")
		}
		prop := &property{place: m.value.place, name: m.name, schema: p.schema(m.value), required: required[m.name]}
		if prop.description = prop.schema.description; prop.description == "" && prop.schema.kind != kindReference {
			p.add(prop.place, "has no description")
		}
		delete(required, m.name)
		s.properties = append(s.properties, prop)
	}
	for name := range required {
		p.add(s.place, "requires %s, which it does not have", name)
	}
	p.schemaExamples(o)
}

func (p *problems) enumSchema(s *schema, o *object, typ string) {
	if typ != "string" {
		p.add(s.place, "an enum must be of strings, not of %s", typ)
	}
	seen := map[string]bool{}
	v, _ := o.required("enum")
	s.enum = v.texts()
	for _, word := range s.enum {
		if seen[word] {
			p.add(v.place, "has %s twice", word)
		}
		if word != strings.ToLower(word) {
			p.add(v.place, "%s must be lower case", word)
		}
		seen[word] = true
	}
	if len(s.enum) == 0 {
		p.add(v.place, "must not be empty")
	}
	p.schemaExamples(o)
}

func (p *problems) scalarSchema(s *schema, o *object, typ string) {
	switch typ {
	case "string":
		s.kind = kindString
		s.format, s.pattern = o.optionalText("format"), o.optionalText("pattern")
		s.minLength, s.maxLength = p.limit(o, "minLength"), p.limit(o, "maxLength")
	case "integer", "number":
		s.kind = kindInteger
		if typ == "number" {
			s.kind = kindNumber
		}
		s.minimum, s.maximum = p.bound(o, "minimum", typ), p.bound(o, "maximum", typ)
	case "boolean":
		s.kind = kindBoolean
	default:
		p.add(s.place, "type must be string, integer, number or boolean, or in a member array, or object for a map or a component; not %q", typ)
	}
	p.schemaExamples(o)
}

// limit takes a count that may be absent.
func (p *problems) limit(o *object, name string) string {
	v, ok := o.optional(name)
	if !ok {
		return ""
	}
	n := v.number(true)
	if strings.HasPrefix(n, "-") || n == "0" && strings.HasPrefix(name, "max") {
		p.add(v.place, "must not be %s", n)
	}
	return n
}

// bound takes the least or the greatest number that is allowed, which may be absent.
func (p *problems) bound(o *object, name, typ string) string {
	v, ok := o.optional(name)
	if !ok {
		return ""
	}
	return v.number(typ == "integer")
}

func (p *problems) schemaExamples(o *object) {
	if v, ok := o.optional("examples"); ok && len(v.list()) == 0 {
		p.add(v.place, "must not be empty")
	}
}
