package registrygen

// emitTypes writes the Go type of every object and every enum, and of what ends a streamed result.
func emitTypes(p *printer, d *document) {
	constants := d.constantEnums()
	for _, s := range d.schemas {
		switch {
		case s.kind == kindObject:
			emitStruct(p, s.name, s.name+": "+s.description, s.properties)
		case s.kind == kindEnum && !constants[s]:
			emitEnum(p, s)
		}
	}
	for _, m := range d.methods {
		if m.stream != "" {
			emitStruct(p, m.endType(), m.endType()+" is what stands behind the rows of "+m.name+".", m.ending())
		}
	}
}

// constantEnums are those that only serve as the kind in an error's data; they become constants.
func (d *document) constantEnums() map[*schema]bool {
	out := map[*schema]bool{}
	for _, e := range d.errors {
		out[e.data.deref().properties[0].schema.deref()] = true
	}
	return out
}

// ending is what a streamed result has beside its list.
func (m *method) ending() (out []*property) {
	for _, member := range m.result.deref().properties {
		if member.name != m.stream {
			out = append(out, member)
		}
	}
	return out
}

// rows is the object that a streamed result is a list of.
func (m *method) rows() *schema {
	for _, member := range m.result.deref().properties {
		if member.name == m.stream {
			return member.schema.element.deref()
		}
	}
	return nil
}

// emitStruct writes a struct. A member that can have one value only has no field: the encoder knows it.
func emitStruct(p *printer, name, comment string, members []*property) {
	p.comment(comment)
	p.line("type %s struct {", name)
	for _, m := range members {
		if m.constant != "" {
			continue
		}
		p.comment(m.text())
		tag := m.name
		if !m.required {
			tag += ",omitzero"
		}
		p.line("%s %s `json:%q`", m.goName(), p.typ(m.goType()), tag)
	}
	p.line("}\n")
}

// text is the member's description, or that of the component that it refers to.
func (m *property) text() string {
	if m.description != "" {
		return m.description
	}
	return m.schema.deref().description
}

func emitEnum(p *printer, s *schema) {
	p.comment(s.name + ": " + s.description)
	p.line("type %s string\n", s.name)
	p.comment("The values of " + s.name + ".")
	p.line("const (")
	for _, value := range s.enum {
		p.line("%s %s = %q", enumName(s.name, value), s.name, value)
	}
	p.line(")\n")
}
