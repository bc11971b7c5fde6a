package registrygen

import "fmt"

// emitServers writes the interface of every namespace, its answer for what is not built yet, and the
// functions that call a handler and write what it returns.
func emitServers(p *printer, d *document) {
	p.uses("context")
	p.comment("Servers holds the handlers, one server per namespace of the table.")
	p.line("type Servers struct {")
	for _, ns := range d.namespaces() {
		p.line("%s %sServer", goName(ns), goName(ns))
	}
	p.line("}\n")
	for _, ns := range d.namespaces() {
		methods := d.inNamespace(ns)
		emitInterface(p, ns, methods)
		emitNotBuilt(p, ns, methods)
		emitUnbuilt(p, ns, methods)
	}
	for _, m := range d.methods {
		emitCall(p, m)
	}
}

func (d *document) inNamespace(ns string) (out []*method) {
	for _, m := range d.methods {
		if m.namespace() == ns {
			out = append(out, m)
		}
	}
	return out
}

// signature is the handler's name, params and results.
func (m *method) signature() string {
	switch {
	case m.result == nil:
		return fmt.Sprintf("%s(ctx context.Context, p *%s) (RawJSON, error)", m.goName(), m.paramsType())
	case m.stream != "":
		return fmt.Sprintf("%s(ctx context.Context, p *%s, rows *Stream[%s]) (*%s, error)", m.goName(), m.paramsType(), m.rows().name, m.endType())
	}
	return fmt.Sprintf("%s(ctx context.Context, p *%s) (*%s, error)", m.goName(), m.paramsType(), m.result.deref().name)
}

func emitInterface(p *printer, ns string, methods []*method) {
	name := goName(ns) + "Server"
	p.comment(name + " is what handles the methods " + ns + ".*: one Go method for each.")
	p.line("type %s interface {", name)
	for i, m := range methods {
		if i > 0 {
			p.line("")
		}
		p.comment(fmt.Sprintf("%s handles %s. %s", m.goName(), m.name, m.summary))
		p.line("%s", m.signature())
	}
	p.line("}\n")
}

// emitNotBuilt writes the type that answers every method of a namespace with unsupported.
func emitNotBuilt(p *printer, ns string, methods []*method) {
	name := "NotBuilt" + goName(ns)
	p.comment(name + " answers every method " + ns + ".* with unsupported, reason not_built_yet. A server embeds it and overrides what it has.")
	p.line("type %s struct{}\n", name)
	p.line("var _ %sServer = %s{}\n", goName(ns), name)
	for _, m := range methods {
		p.comment(m.goName() + " is not built yet.")
		p.line("func (%s) %s { return nil, notBuilt(%q) }\n", name, m.unnamedSignature(), m.name)
	}
}

// unnamedSignature is signature without the names of params.
func (m *method) unnamedSignature() string {
	switch {
	case m.result == nil:
		return fmt.Sprintf("%s(context.Context, *%s) (RawJSON, error)", m.goName(), m.paramsType())
	case m.stream != "":
		return fmt.Sprintf("%s(context.Context, *%s, *Stream[%s]) (*%s, error)", m.goName(), m.paramsType(), m.rows().name, m.endType())
	}
	return fmt.Sprintf("%s(context.Context, *%s) (*%s, error)", m.goName(), m.paramsType(), m.result.deref().name)
}

// emitUnbuilt writes the function that finds which methods a server leaves to the embedded answer.
func emitUnbuilt(p *printer, ns string, methods []*method) {
	name := "Unbuilt" + goName(ns)
	p.comment(fmt.Sprintf("%s lists the methods %s.* that v's method set lacks. A server that embeds NotBuilt%s lacks none; to see what it brings itself, "+
		"embed it in a struct beside another one that has the same methods a level deeper, which hides those that are only inherited:", name, ns, goName(ns)))
	p.line("//")
	p.line("//\ttype inherited struct{ registry.NotBuilt%s }", goName(ns))
	p.line("//\ttype own struct {")
	p.line("//\t\t*Server")
	p.line("//\t\tinherited")
	p.line("//\t}")
	p.line("//\tmissing := registry.%s(own{})", name)
	p.line("func %s(v any) (missing []string) {", name)
	for _, m := range methods {
		p.line("if _, ok := v.(interface{ %s }); !ok { missing = append(missing, %q) }", m.unnamedSignature(), m.name)
	}
	p.line("return missing")
	p.line("}\n")
}

func emitCall(p *printer, m *method) {
	server := "s." + goName(m.namespace()) + "." + m.goName()
	p.line("func call%s(ctx context.Context, s *Servers, params any, out *Out) error {", goName(m.name))
	switch {
	case m.result == nil:
		p.line("res, err := %s(ctx, params.(*%s))", server, m.paramsType())
		p.line("return replyRaw(out, res, err)")
	case m.stream != "":
		p.line("rows := newStream(out, %s, (*%s).AppendJSON)", quote(fmt.Sprintf("{%q:[", m.stream)), m.rows().name)
		p.line("end, err := %s(ctx, params.(*%s), rows)", server, m.paramsType())
		p.line("return replyStream(rows, end, err)")
	default:
		p.line("res, err := %s(ctx, params.(*%s))", server, m.paramsType())
		p.line("return reply(out, res, err)")
	}
	p.line("}\n")
}
