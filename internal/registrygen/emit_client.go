package registrygen

import (
	"fmt"
	"go/format"
)

// Client returns the generated file of pkg/client: one Go method for each row of the table, and what turns
// an error of the wire back into its Go type. The error is Generate's.
func Client(spec []byte) ([]byte, error) {
	d, err := parse(spec)
	if err != nil {
		return nil, err
	}
	p := printer{pkg: "client"}
	p.uses("context")
	p.uses(registryPath)
	for _, m := range d.methods {
		emitClientMethod(&p, m)
	}
	emitTypedErrors(&p, d)
	return format.Source(p.file())
}

func emitClientMethod(p *printer, m *method) {
	name := goName(m.name)
	comment := fmt.Sprintf("%s calls %s. %s Nil params are none.", name, m.name, m.summary)
	params := "registry." + m.paramsType()
	switch {
	case m.result == nil:
		p.comment(comment)
		p.line("func (c *Client) %s(ctx context.Context, p *%s) (registry.RawJSON, error) {", name, params)
		p.line("return callRaw(ctx, c, %q, p)", m.name)
	case m.stream != "":
		row, end := "registry."+m.rows().name, "registry."+m.endType()
		p.comment(comment + " The rows come one by one, in constant memory; the caller closes them.")
		p.line("func (c *Client) %s(ctx context.Context, p *%s) (*Rows[%s, %s], error) {", name, params, row, end)
		p.line("return callRows[%s, %s](ctx, c, %q, %q, p)", row, end, m.name, m.stream)
	default:
		result := "registry." + m.result.deref().name
		p.comment(comment)
		p.line("func (c *Client) %s(ctx context.Context, p *%s) (*%s, error) {", name, params, result)
		p.line("return callOne[%s](ctx, c, %q, p)", result, m.name)
	}
	p.line("}\n")
}

// emitTypedErrors writes the function that makes an error's Go type of its code and data.
func emitTypedErrors(p *printer, d *document) {
	p.comment("typedError is the Go type of an error with its data; nil for a code that this table does not have.")
	p.line("func typedError(code int, message string, data []byte) registry.WireError {")
	p.line("switch code {")
	for _, e := range d.errors {
		p.line("case registry.Code%s:", e.name)
		if e.name == invalidParams {
			p.line("var d registry.%s", e.data.deref().name)
			p.line("decodeData(data, &d)")
			p.line("return &registry.ParamsError{Faults: d.Errors}")
			continue
		}
		p.line("e := &registry.%s{Message: message}", e.goType())
		p.line("decodeData(data, &e.%s)", e.data.deref().name)
		p.line("return e")
	}
	p.line("}")
	p.line("return nil")
	p.line("}")
}
