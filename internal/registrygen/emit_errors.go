package registrygen

// emitErrors writes the codes and kinds of all errors, and a Go type for each but InvalidParams.
func emitErrors(p *printer, d *document) {
	p.comment("The codes of errors.")
	p.line("const (")
	for _, e := range d.errors {
		p.line("Code%s = %d // %s", e.name, e.code, e.message)
	}
	p.line(")\n")
	p.comment("The kinds of errors, as data.kind has them.")
	p.line("const (")
	for _, e := range d.errors {
		p.line("Kind%s = %q", e.name, e.kind)
	}
	p.line(")\n")
	p.comment("What errors say where nothing more is known.")
	p.line("const (")
	for _, e := range d.errors {
		p.line("message%s = %q", e.name, e.message)
	}
	p.line(")\n")
	for _, e := range d.errors {
		if e.name != invalidParams {
			emitError(p, e)
		}
	}
}

func emitError(p *printer, e *errorKind) {
	typ, data := e.goType(), e.data.deref().name
	p.comment(typ + " is the error " + e.kind + ": " + e.message + ".")
	p.line("type %s struct {", typ)
	p.line("%s", data)
	p.line("Message string // what to tell the caller; where it is empty, %q", e.message)
	p.line("}\n")
	p.comment("Error is the message.")
	p.line("func (e *%s) Error() string { return messageOr(e.Message, message%s) }\n", typ, e.name)
	p.comment("RPCCode is Code" + e.name + ".")
	p.line("func (e *%s) RPCCode() int { return Code%s }\n", typ, e.name)
	p.comment("ErrorKind is Kind" + e.name + ".")
	p.line("func (e *%s) ErrorKind() string { return Kind%s }\n", typ, e.name)
	p.comment("AppendData appends the error's data, which begins with its kind.")
	p.line("func (e *%s) AppendData(b []byte) []byte { return e.%s.AppendJSON(b) }\n", typ, data)
}
