package registrygen

import (
	"fmt"
	"strings"
)

// encoder writes the statements that append one value to b. Text that is the same for every value is
// kept until something else must be written, so that neighbours become one append.
type encoder struct {
	*printer
	pending string
	depth   int // of loops, for their variables
}

// text appends what is the same for every value.
func (e *encoder) text(s string) { e.pending += s }

// code writes a statement behind the pending text.
func (e *encoder) code(format string, args ...any) {
	switch len(e.pending) {
	case 0:
	case 1:
		e.line("b = append(b, %q)", e.pending[0])
	default:
		e.line("b = append(b, %s...)", quote(e.pending))
	}
	e.pending = ""
	e.line(format, args...)
}

// quote is s as a Go literal, raw where that can be.
func quote(s string) string {
	if strings.Contains(s, "`") {
		return fmt.Sprintf("%q", s)
	}
	return "`" + s + "`"
}

// emitEncoders writes AppendJSON for every object and every params struct.
func emitEncoders(p *printer, d *document) {
	p.uses(jsonwirePath)
	for _, s := range d.schemas {
		if s.kind == kindObject {
			emitObjectEncoder(p, s.name, s.properties)
		}
	}
	for _, m := range d.methods {
		emitObjectEncoder(p, m.paramsType(), m.params)
		if m.stream != "" {
			emitEndEncoder(p, m)
		}
	}
}

func emitObjectEncoder(p *printer, name string, members []*property) {
	e := encoder{printer: p}
	p.comment("AppendJSON appends v as a JSON object.")
	p.line("func (v *%s) AppendJSON(b []byte) []byte {", name)
	switch {
	case len(members) == 0:
		p.line("return append(b, '{', '}')")
	case members[0].required:
		e.text("{")
		e.members(members, "")
		e.text("}")
		e.code("return b")
	default:
		p.line("start := len(b)")
		e.members(members, ",")
		e.code("return closeObject(b, start)")
	}
	p.line("}\n")
}

// emitEndEncoder writes the encoder of what follows a list of rows.
func emitEndEncoder(p *printer, m *method) {
	e := encoder{printer: p}
	p.comment("appendMembers appends the members that follow the rows, each behind a comma.")
	p.line("func (v *%s) appendMembers(b []byte) []byte {", m.endType())
	e.members(m.ending(), ",")
	e.code("return b")
	p.line("}\n")
}

// members appends each member behind a comma; the first one behind what first says.
func (e *encoder) members(members []*property, comma string) {
	for _, m := range members {
		field := "v." + m.goName()
		name := fmt.Sprintf("%s%q:", comma, m.name)
		comma = ","
		switch {
		case m.constant != "":
			e.text(name + fmt.Sprintf("%q", m.constant))
			continue
		case m.required:
			e.text(name)
			e.value(field, m.schema)
			continue
		case m.isOpt():
			e.code("if %s.set {", field)
			field += ".value"
		default:
			e.code("if %s != nil {", field)
		}
		e.text(name)
		e.value(field, m.schema)
		e.code("}")
	}
}

// value appends the value of a Go expression.
func (e *encoder) value(x string, s *schema) {
	switch s = s.deref(); s.kind {
	case kindObject:
		e.code("b = %s.AppendJSON(b)", x)
	case kindEnum:
		e.code("b = jsonwire.AppendString(b, string(%s))", x)
	case kindArray:
		e.array(x, s.element)
	case kindMap:
		e.code("b = appendMap(b, %s, func(b []byte, v %s) []byte {", x, e.typ(s.element.goType()))
		e.value("v", s.element)
		e.code("return b")
		e.code("})")
	default:
		e.code("b = jsonwire.%s(b, %s)", appenders[s.goType()], x)
	}
}

// appenders are the functions of jsonwire by the Go type that they append.
var appenders = map[string]string{
	"string": "AppendString", "int64": "AppendInt", "float64": "AppendFloat", "bool": "AppendBool",
	"netip.Addr": "AppendAddr", "netip.Prefix": "AppendPrefix", "time.Time": "AppendTime",
}

func (e *encoder) array(x string, element *schema) {
	e.text("[")
	i := string(rune('i' + e.depth))
	e.depth++
	e.code("for %s := range %s {", i, x)
	e.code("if %s > 0 {", i)
	e.text(",")
	e.code("}")
	e.value(x+"["+i+"]", element)
	e.code("}")
	e.depth--
	e.text("]")
}
