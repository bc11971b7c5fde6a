package registrygen

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxMembers is how many members an object of params may have: the decoder keeps those it has seen in
// the bits of one word.
const maxMembers = 64

// invalidParams is the error whose Go type, ParamsError, is written by hand in pkg/registry.
const invalidParams = "InvalidParams"

// smallLetter is the form of an error's message.
var smallLetter = regexp.MustCompile(`^[a-z].*[^.]$`)

// check looks at what one place of the specification says about another.
func (p *problems) check(d *document) {
	used := map[string]bool{}
	for _, s := range d.schemas {
		p.resolve(d, s, used)
	}
	for _, e := range d.errors {
		p.resolve(d, e.data, used)
	}
	for _, m := range d.methods {
		for _, param := range m.params {
			p.resolve(d, param.schema, used)
		}
		if m.result != nil {
			p.resolve(d, m.result, used)
		}
	}
	if len(p.list) > 0 {
		return // what follows takes references for granted
	}
	for _, s := range d.schemas {
		if !used[s.name] {
			p.add(s.place, "nothing refers to it")
		}
		p.finite(s, nil)
	}
	for _, e := range d.errors {
		p.checkError(d, e)
	}
	for _, m := range d.methods {
		p.checkMethod(d, m)
	}
	p.checkNames(d)
}

// resolve finds what a schema, and everything in it, refers to, and checks its limits.
func (p *problems) resolve(d *document, s *schema, used map[string]bool) {
	if s.ref != "" {
		used[s.ref] = true
		if s.target = d.schemaByName[s.ref]; s.target == nil {
			p.add(s.place, "there is no schema %s", s.ref)
		}
	}
	if s.element != nil {
		p.resolve(d, s.element, used)
	}
	for _, m := range s.properties {
		p.resolve(d, m.schema, used)
	}
	if _, known := formats[s.format]; s.format != "" && !known {
		p.add(s.place, "format %s is not in the subset", s.format)
	}
	if _, err := regexp.Compile(s.pattern); err != nil {
		p.add(s.place, "pattern: %v", err)
	}
	p.ordered(s, s.minLength, s.maxLength)
	p.ordered(s, s.minItems, s.maxItems)
	p.ordered(s, s.minimum, s.maximum)
}

func (p *problems) ordered(s *schema, least, most string) {
	low, err := strconv.ParseFloat(least, 64)
	if err != nil {
		return
	}
	if high, err := strconv.ParseFloat(most, 64); err == nil && low > high {
		p.add(s.place, "%s to %s leaves nothing", least, most)
	}
}

// finite complains about an object that must hold itself.
func (p *problems) finite(s *schema, above []*schema) {
	if slices.Contains(above, s) {
		if s == above[0] {
			p.add(s.place, "requires itself and has no end")
		}
		return
	}
	for _, m := range s.properties {
		if target := m.schema.deref(); m.required && target.kind == kindObject {
			p.finite(target, append(above, s))
		}
	}
}

// checkError checks that an error's data begins with a constant kind.
func (p *problems) checkError(d *document, e *errorKind) {
	data := e.data.deref()
	if data.name != e.name+"Data" || data.kind != kindObject || len(data.properties) == 0 {
		p.add("error "+e.name, "x-error-data must refer to an object %sData", e.name)
		return
	}
	first := data.properties[0]
	words := first.schema.deref().enum
	if first.name != "kind" || !first.required || len(words) != 1 {
		p.add(data.place, "must begin with a required member kind, an enum of one value")
		return
	}
	first.constant, e.kind = words[0], words[0]
	for _, other := range d.errors {
		if other == e {
			break
		}
		if other.code == e.code || other.kind == e.kind {
			p.add("error "+e.name, "has the code or kind of %s", other.name)
		}
	}
	if !smallLetter.MatchString(e.message) {
		p.add("error "+e.name, "its message must begin with a small letter and end without a full stop")
	}
}

func (p *problems) checkMethod(d *document, m *method) {
	if !methodName.MatchString(m.name) {
		p.add(m.place, "its name must be lower-case words, joined by dots and underscores, with a namespace")
	}
	p.checkColumns(d, m)
	p.checkParams(m)
	for i, name := range m.errors {
		if d.errorByName[name] == nil {
			p.add(m.place, "there is no error %s", name)
		}
		if slices.Contains(m.errors[:i], name) {
			p.add(m.place, "lists the error %s twice", name)
		}
	}
	if m.result == nil {
		if m.stream != "" {
			p.add(m.place, "a foreign result cannot be streamed")
		}
		return
	}
	result := m.result.deref()
	if result.kind != kindObject {
		p.add(m.place, "its result must be an object of components/schemas")
		return
	}
	if m.stream != "" {
		p.checkStream(m, result)
	}
}

func (p *problems) checkColumns(d *document, m *method) {
	if !slices.Contains([]string{"none", "read", "write", "admin"}, m.right) {
		p.add(m.place, "x-right must be none, read, write or admin, not %q", m.right)
	}
	if !slices.Contains([]string{"read", "write", "destroy"}, m.effect) {
		p.add(m.place, "x-effect must be read, write or destroy, not %q", m.effect)
	}
	reads := m.right == "none" || m.right == "read"
	if reads != (m.effect == "read") {
		p.add(m.place, "x-right %s does not go with x-effect %s", m.right, m.effect)
	}
	if m.exposes && m.right != "read" {
		p.add(m.place, "x-exposes is for reads")
	}
	if !versionNumber.MatchString(m.since) || later(m.since, d.version) {
		p.add(m.place, "x-since must be a version up to %s, not %q", d.version, m.since)
	}
}

// later tells whether version a comes after b.
func later(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		x, _ := strconv.Atoi(as[i])
		y, _ := strconv.Atoi(bs[i])
		if x != y {
			return x > y
		}
	}
	return false
}

func (p *problems) checkParams(m *method) {
	optional := ""
	seen := map[string]bool{}
	for _, param := range m.params {
		switch {
		case !memberName.MatchString(param.name):
			p.add(param.place, "its name must be lower case with underscores")
		case seen[param.name]:
			p.add(param.place, "there are two of that name")
		case param.required && optional != "":
			p.add(param.place, "is required and stands behind %s, which is not", optional)
		}
		seen[param.name] = true
		if !param.required {
			optional = param.name
		}
	}
	for _, o := range reachable(m) {
		if len(o.properties) > maxMembers {
			p.add(o.place, "has more than %d members", maxMembers)
		}
	}
	if len(m.params) > maxMembers {
		p.add(m.place, "has more than %d params", maxMembers)
	}
}

// reachable lists the objects that a method's params can hold.
func reachable(methods ...*method) (out []*schema) {
	var visit func(s *schema)
	visit = func(s *schema) {
		if s = s.deref(); s.element != nil {
			visit(s.element)
		}
		if s.kind != kindObject || slices.Contains(out, s) {
			return
		}
		out = append(out, s)
		for _, m := range s.properties {
			visit(m.schema)
		}
	}
	for _, m := range methods {
		for _, param := range m.params {
			visit(param.schema)
		}
	}
	return out
}

// checkStream checks that a streamed result is one required list of objects, and optional scalars.
func (p *problems) checkStream(m *method, result *schema) {
	found := false
	for _, member := range result.properties {
		s := member.schema.deref()
		switch {
		case member.name == m.stream:
			found = true
			if s.kind != kindArray || s.element.deref().kind != kindObject || !member.required {
				p.add(m.place, "x-stream: %s must be a required list of objects", member.name)
			}
		case s.kind == kindArray || s.kind == kindMap || s.kind == kindObject || member.required:
			p.add(m.place, "x-stream: beside the list there may only be optional scalars, not %s", member.name)
		}
	}
	if !found {
		p.add(m.place, "x-stream names %s, which the result does not have", m.stream)
	}
}

// checkNames complains where two things of the specification would get the same Go name.
func (p *problems) checkNames(d *document) {
	names := map[string]string{}
	claim := func(name, place string) {
		if other, taken := names[name]; taken {
			p.add(place, "its Go name %s is that of %s", name, other)
		}
		names[name] = place
	}
	for _, s := range d.schemas {
		claim(s.name, s.place)
		for _, value := range s.enum {
			claim(enumName(s.name, value), s.place+", "+value)
		}
		p.checkFields(s.place, s.properties)
	}
	for _, m := range d.methods {
		claim(m.paramsType(), m.place)
		claim(m.endType(), m.place)
		p.checkFields(m.place, m.params)
	}
	for _, e := range d.errors {
		claim(e.goType(), "error "+e.name)
	}
	for _, ns := range d.namespaces() {
		claim(goName(ns)+"Server", "namespace "+ns)
		claim("NotBuilt"+goName(ns), "namespace "+ns)
	}
}

func (p *problems) checkFields(place string, members []*property) {
	fields := map[string]string{}
	for _, m := range members {
		if other, taken := fields[m.goName()]; taken {
			p.add(place, "%s and %s have the same Go name", other, m.name)
		}
		fields[m.goName()] = m.name
	}
}

// namespaces lists what stands before the first dot of the methods' names, in order.
func (d *document) namespaces() (out []string) {
	for _, m := range d.methods {
		if ns := m.namespace(); !slices.Contains(out, ns) {
			out = append(out, ns)
		}
	}
	return out
}
