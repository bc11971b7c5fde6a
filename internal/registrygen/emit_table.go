package registrygen

// emitTable writes the rows of the table.
func emitTable(p *printer, d *document) {
	p.comment("TableVersion is the version of the table: info.version of the specification.")
	p.line("const TableVersion = %q\n", d.version)
	p.comment("TableTitle is the name of the service: info.title of the specification.")
	p.line("const TableTitle = %q\n", d.title)
	p.line("var methods = []*Method{")
	for _, m := range d.methods {
		p.line("{")
		p.line("Name: %q, Right: Right%s, Effect: Effect%s, Since: %q,", m.name, capital(m.right), capital(m.effect), m.since)
		if m.stream != "" {
			p.line("Stream: true,")
		}
		if m.exposes {
			p.line("Exposes: true,")
		}
		p.line("Params: %s,", membersVar(m.paramsType()))
		p.line("decode: decodeParams[%s],", m.paramsType())
		p.line("call: call%s,", goName(m.name))
		p.line("},")
	}
	p.line("}")
}

// membersVar is the name of the variable that lists the members of an object of params.
func membersVar(typ string) string { return "membersOf" + typ }
