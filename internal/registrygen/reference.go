package registrygen

import (
	"fmt"
	"slices"
	"strings"
)

// Reference returns docs/methods.md: the table for people, one section a method. Objects inside results
// are named and not unfolded; the specification has them. The error is Generate's.
func Reference(spec []byte) ([]byte, error) {
	d, err := parse(spec)
	if err != nil {
		return nil, err
	}
	var p printer
	p.line("<!-- Made from api/openrpc.json by go generate; do not edit. -->\n")
	p.line("# Methods\n")
	p.line("The table, version %s. [api/openrpc.json](../api/openrpc.json) is the whole of it: schemas, ranges, errors, examples.", d.version)
	p.line("Types are named as there. A member or param that is not required is absent where it does not apply.\n")
	p.line("| method | right | effect | |\n|---|---|---|---|")
	for _, m := range d.methods {
		p.line("| [%s](#%s) | %s | %s | %s |", m.name, anchor(m.name), m.right, m.effect, cell(m.summary))
	}
	for _, m := range d.methods {
		m.reference(&p)
		p.line("Errors: %s.", strings.Join(d.kinds(m.errors), ", "))
	}
	return p.body.Bytes(), nil
}

// anchor is the fragment that a heading gets where the page is shown.
func anchor(heading string) string { return strings.ReplaceAll(heading, ".", "") }

// cell makes text fit for one cell of a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}

func (m *method) reference(p *printer) {
	p.line("\n## %s\n\n%s %s\n", m.name, m.summary, m.description)
	p.line("Right: %s. Effect: %s. Since %s.%s\n", m.right, m.effect, m.since, m.remarks())
	members(p, "param", m.params)
	if m.result != nil {
		members(p, "result", m.result.target.properties)
	}
}

// kinds are errors as data.kind names them in an answer.
func (d *document) kinds(names []string) []string {
	var kinds []string
	for _, e := range d.errors {
		if slices.Contains(names, e.name) {
			kinds = append(kinds, e.kind)
		}
	}
	return kinds
}

// remarks are the columns that most methods leave empty.
func (m *method) remarks() string {
	var text string
	if m.stream != "" {
		text += fmt.Sprintf(" Streamed: `%s` is written row by row.", m.stream)
	}
	if m.exposes {
		text += " Shows what anonymous callers may be kept from."
	}
	return text
}

// members writes a table of params or of an object's members, or nothing where there are none.
func members(p *printer, heading string, list []*property) {
	if len(list) == 0 {
		return
	}
	p.line("| %s | type | |\n|---|---|---|", heading)
	for _, m := range list {
		name := "`" + m.name + "`"
		if m.required {
			name += " (required)"
		}
		p.line("| %s | %s | %s |", name, m.schema.typeName(), cell(m.meaning()))
	}
	p.line("")
}

// meaning is what a member's own description says, or else its type's.
func (m *property) meaning() string {
	switch {
	case m.description != "":
		return m.description
	case m.schema.description != "":
		return m.schema.description
	case m.schema.target != nil:
		return m.schema.target.description
	}
	return ""
}

// typeName is a schema as a reader of the reference names it.
func (s *schema) typeName() string {
	switch s.kind {
	case kindReference:
		if s.target.kind == kindEnum {
			return strings.Join(s.target.enum, ", ")
		}
		return s.ref
	case kindArray:
		return "list of " + s.element.typeName()
	case kindMap:
		return "map to " + s.element.typeName()
	case kindInteger:
		return "integer" + s.bounds()
	case kindNumber:
		return "number" + s.bounds()
	case kindBoolean:
		return "boolean"
	}
	return "string"
}

func (s *schema) bounds() string {
	switch {
	case s.minimum != "" && s.maximum != "":
		return fmt.Sprintf(" %s..%s", s.minimum, s.maximum)
	case s.minimum != "":
		return " from " + s.minimum
	case s.maximum != "":
		return " to " + s.maximum
	}
	return ""
}
