package registrygen

import (
	"regexp"
	"strconv"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

// discoverSchema is the schema of the result of rpc.discover, the one result that is not ours to
// describe: the OpenRPC specification names this address for it.
const discoverSchema = "https://raw.githubusercontent.com/open-rpc/meta-schema/master/schema.json"

// Where references may lead.
const (
	schemaPart = "#/components/schemas/"
	errorPart  = "#/components/errors/"
)

// document is the specification as far as code is made from it.
type document struct {
	title, version string
	methods        []*method
	schemas        []*schema
	schemaByName   map[string]*schema
	errors         []*errorKind
	errorByName    map[string]*errorKind
}

// method is one row of the table.
type method struct {
	place                string
	name                 string
	summary, description string
	right, effect, since string
	stream               string // the member of the result that is streamed
	exposes              bool
	params               []*property
	result               *schema // a reference, or nil for the document itself
	errors               []string
	examples             []example
}

// example is one call of a method: its params as they stand there. Its result is for a test to look at.
type example struct {
	name   string
	params []member
}

// errorKind is one of components/errors with the schema of its data.
type errorKind struct {
	place   string
	name    string
	code    int64
	message string
	kind    string // the constant in data.kind
	data    *schema
}

var (
	methodName    = regexp.MustCompile(`^[a-z][a-z0-9]*(\.[a-z][a-z0-9]*(_[a-z0-9]+)*)+$`)
	memberName    = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	componentName = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)
	versionNumber = regexp.MustCompile(`^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$`)
)

func (p *problems) document(spec []byte) *document {
	d := &document{schemaByName: map[string]*schema{}, errorByName: map[string]*errorKind{}}
	if err := jsonwire.Valid(spec); err != nil {
		p.add("specification", "%v", err)
		return d
	}
	o := value{p, "specification", spec}.object()
	if v := o.text("openrpc"); v != "1.3.2" {
		p.add(o.place+".openrpc", "must be 1.3.2, not %s", v)
	}
	p.info(d, o.object("info"))
	components := o.object("components")
	p.schemas(d, components.object("schemas"))
	p.errorKinds(d, components.object("errors"), o.object("x-error-data"))
	components.done()
	for _, v := range o.list("methods") {
		d.methods = append(d.methods, p.method(v))
	}
	o.done()
	return d
}

func (p *problems) info(d *document, o *object) {
	d.title, d.version = o.text("title"), o.text("version")
	if !versionNumber.MatchString(d.version) {
		p.add(o.place+".version", "must be a semantic version like 1.2.3, not %q", d.version)
	}
	o.text("description")
	if v, ok := o.optional("license"); ok {
		license := v.object()
		license.text("name")
		license.optionalText("url")
		license.done()
	}
	o.done()
}

func (p *problems) schemas(d *document, o *object) {
	for _, m := range o.members() {
		s := p.component(m.name, m.value)
		d.schemas = append(d.schemas, s)
		d.schemaByName[m.name] = s
	}
}

// errorKinds reads components/errors, whose objects take no further members, together with the column of
// ours that gives the schema of each one's data.
func (p *problems) errorKinds(d *document, kinds, data *object) {
	for _, m := range kinds.members() {
		o := m.value.object()
		e := &errorKind{place: o.place, name: m.name, message: o.text("message")}
		if code, ok := o.required("code"); ok {
			e.code, _ = strconv.ParseInt(code.number(true), 10, 64)
		}
		o.done()
		e.data = p.schema(data.object(m.name).value)
		data.optional(m.name)
		d.errors = append(d.errors, e)
		d.errorByName[m.name] = e
	}
	data.done()
}

func (p *problems) method(v value) *method {
	o := v.object()
	m := &method{name: o.text("name")}
	m.place = "method " + m.name
	p.rename(o, m.place)
	m.summary, m.description = o.text("summary"), o.text("description")
	for _, tag := range o.list("tags") {
		t := tag.object()
		t.text("name")
		t.done()
	}
	if s := o.text("paramStructure"); s != "by-name" {
		p.add(m.place, "paramStructure must be by-name, not %q", s)
	}
	for _, param := range o.list("params") {
		m.params = append(m.params, p.param(m.place, param))
	}
	m.result = p.result(o.object("result"))
	for _, e := range o.list("errors") {
		ref := e.object()
		m.errors = append(m.errors, ref.reference(errorPart))
		ref.done()
	}
	m.right, m.effect, m.since = o.text("x-right"), o.text("x-effect"), o.text("x-since")
	m.stream, m.exposes = o.optionalText("x-stream"), o.optionalBool("x-exposes")
	m.examples = p.examples(o)
	o.done()
	return m
}

// rename gives o and what is in it a place that says more than a position in a list.
func (p *problems) rename(o *object, place string) {
	o.place = place
	for name, v := range o.values {
		v.place = place + ", " + name
		o.values[name] = v
	}
}

func (p *problems) param(method string, v value) *property {
	o := v.object()
	name := o.text("name")
	p.rename(o, method+", param "+name)
	param := &property{name: name, description: o.text("description"), place: o.place}
	if required, ok := o.required("required"); ok {
		param.required = required.boolean()
	}
	if s, ok := o.required("schema"); ok {
		param.schema = p.schema(s)
	}
	o.done()
	return param
}

// result reads a method's result; nil stands for the document itself.
func (p *problems) result(o *object) *schema {
	o.text("name")
	v, _ := o.required("schema")
	o.done()
	ref := v.object()
	if v, ok := ref.values["$ref"]; ok && v.text() == discoverSchema {
		return nil
	}
	return p.schema(v)
}

// examples reads a method's examples; whether they fit the schemas is a test's to say.
func (p *problems) examples(o *object) (out []example) {
	list, ok := o.optional("examples")
	if !ok {
		return nil
	}
	for _, v := range list.list() {
		o := v.object()
		e := example{name: o.text("name")}
		o.optionalText("summary")
		o.optionalText("description")
		for _, param := range o.list("params") {
			e.params = append(e.params, p.exampleValue(param.object()))
		}
		p.exampleValue(o.object("result"))
		o.done()
		out = append(out, e)
	}
	return out
}

func (p *problems) exampleValue(o *object) member {
	m := member{name: o.text("name")}
	m.value, _ = o.required("value")
	o.done()
	return m
}
