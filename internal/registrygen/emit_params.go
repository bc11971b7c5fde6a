package registrygen

import (
	"cmp"
	"fmt"
	"strings"
)

// emitParams writes the params struct of every method.
func emitParams(p *printer, d *document) {
	for _, m := range d.methods {
		emitStruct(p, m.paramsType(), fmt.Sprintf("%s holds the params of %s. %s", m.paramsType(), m.name, m.description), m.params)
	}
}

// emitDecoders writes, for every object that params can hold, its members and how each is decoded.
func emitDecoders(p *printer, d *document) {
	objects := d.objectsOfParams()
	for _, s := range stringsIn(objects) {
		p.line("var %s = %s\n", ruleVar(s), stringRule(s))
	}
	for _, s := range enumsIn(objects) {
		p.line("var %s = []%s{", valuesVar(s), s.name)
		for _, value := range s.enum {
			p.line("%s,", enumName(s.name, value))
		}
		p.line("}\n")
	}
	for _, o := range objects {
		emitObjectDecoder(p, o.name, o.properties)
	}
}

// objectsOfParams are the params structs, each as if it were a component, and the objects that they hold.
func (d *document) objectsOfParams() (out []*schema) {
	for _, m := range d.methods {
		out = append(out, &schema{name: m.paramsType(), kind: kindObject, properties: m.params})
	}
	return append(out, reachable(d.methods...)...)
}

// leaves calls f for every scalar in the members of the objects, once for each component.
func leaves(objects []*schema, f func(owner *schema, m *property, s *schema)) {
	seen := map[*schema]bool{}
	for _, o := range objects {
		for _, m := range o.properties {
			s := m.schema.deref()
			if s.element != nil {
				s = s.element.deref()
			}
			if !seen[s] {
				f(o, m, s)
			}
			seen[s] = true
		}
	}
}

// stringsIn are the schemas of strings that become Go strings. Those that are described in place get a
// name, after their object and member.
func stringsIn(objects []*schema) (out []*schema) {
	leaves(objects, func(owner *schema, m *property, s *schema) {
		if s.kind != kindString || s.goType() != "string" {
			return
		}
		if s.name == "" {
			s.name = owner.name + m.goName()
		}
		out = append(out, s)
	})
	return out
}

func enumsIn(objects []*schema) (out []*schema) {
	leaves(objects, func(_ *schema, _ *property, s *schema) {
		if s.kind == kindEnum {
			out = append(out, s)
		}
	})
	return out
}

func valuesVar(s *schema) string { return "valuesOf" + s.name }

func ruleVar(s *schema) string { return "ruleOf" + s.name }

// stringRule is the literal of a rule for strings.
func stringRule(s *schema) string {
	out := "stringRule{"
	if s.format != "" {
		out += "format: &" + formatVar(s.format) + ","
	}
	if s.pattern != "" {
		out += "pattern: newPattern(" + quote(s.pattern) + "),"
	}
	if s.minLength != "" {
		out += "minLength: " + s.minLength + ","
	}
	if s.maxLength != "" {
		out += "maxLength: " + s.maxLength + ","
	}
	return out + "}"
}

// formatVar is the variable of pkg/registry that checks a format: abs-path -> formatAbsPath.
func formatVar(format string) string { return "format" + goName(strings.ReplaceAll(format, "-", "_")) }

func emitObjectDecoder(p *printer, name string, members []*property) {
	p.line("var %s = []Param{", membersVar(name))
	for _, m := range members {
		p.line("{Name: %q, Required: %t},", m.name, m.required)
	}
	p.line("}\n")
	p.line("func (*%s) members() []Param { return %s }\n", name, membersVar(name))
	if len(members) == 0 {
		p.line("func (*%s) set(*decoder, int, []byte) {}\n", name)
		return
	}
	p.line("func (v *%s) set(d *decoder, member int, raw []byte) {", name)
	p.line("switch member {")
	for i, m := range members {
		p.line("case %d:", i)
		emitSet(p, m)
	}
	p.line("}")
	p.line("}\n")
}

// emitSet writes the assignment of one decoded member.
func emitSet(p *printer, m *property) {
	field, s := "v."+m.goName(), m.schema.deref()
	switch {
	case s.kind == kindArray:
		p.line("%s = decodeArray(d, raw, %s, %s)", field, countRule(s), decodeFunc(p, s.element))
	case s.kind == kindMap:
		p.line("%s = decodeMap(d, raw, %s)", field, decodeFunc(p, s.element))
	case m.required:
		p.line("%s, _ = %s", field, decodeCall(s))
	case s.kind == kindObject:
		p.line("%s = pointer(%s)", field, decodeCall(s))
	default:
		p.line("%s = opt(%s)", field, decodeCall(s))
	}
}

func countRule(s *schema) string {
	out := "countRule{"
	if s.minItems != "" {
		out += "least: " + s.minItems + ","
	}
	if s.maxItems != "" {
		out += "most: " + s.maxItems + ","
	}
	return out + "}"
}

// decodeFunc is a function value that decodes one element.
func decodeFunc(p *printer, s *schema) string {
	s = s.deref()
	if s.kind == kindObject {
		return "decodeObject[" + s.name + "]"
	}
	return fmt.Sprintf("func(d *decoder, raw []byte) (%s, bool) { return %s }", p.typ(s.goType()), decodeCall(s))
}

// decodeCall is the call that decodes raw as the schema says, and returns a value and whether it fits.
func decodeCall(s *schema) string {
	switch s.kind {
	case kindObject:
		return "decodeObject[" + s.name + "](d, raw)"
	case kindEnum:
		return "decodeEnum(d, raw, " + valuesVar(s) + ")"
	case kindInteger:
		return "d.integer(raw, integerRule{" + bounds(s, "minInteger", "maxInteger") + "})"
	case kindNumber:
		return "d.number(raw, numberRule{" + bounds(s, "minNumber", "maxNumber") + "})"
	case kindBoolean:
		return "d.boolean(raw)"
	}
	switch s.format {
	case "ip":
		return "d.addr(raw)"
	case "ip-prefix":
		return "d.network(raw)"
	case "ip-interface":
		return "d.prefix(raw)"
	case "date-time":
		return "d.instant(raw)"
	}
	return "d.text(raw, &" + ruleVar(s) + ")"
}

// bounds are the two values of a rule for numbers.
func bounds(s *schema, least, most string) string {
	return cmp.Or(s.minimum, least) + ", " + cmp.Or(s.maximum, most)
}
