package registrygen

import (
	"fmt"
	"go/format"
	"strings"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

// Verbs returns the generated file of internal/cli: the table as a command line needs it, with every
// param's type, and the examples as somebody would type them. The error is Generate's.
func Verbs(spec []byte) ([]byte, error) {
	d, err := parse(spec)
	if err != nil {
		return nil, err
	}
	p := printer{pkg: "cli"}
	p.comment("verbs are the rows of the table, in its order.")
	p.line("var verbs = []verb{")
	for _, m := range d.methods {
		emitVerb(&p, m)
	}
	p.line("}\n")
	for _, s := range reachable(d.methods...) {
		p.comment(objectVar(s) + " are the members of " + s.name + ".")
		p.line("var %s = []param{", objectVar(s))
		emitFlags(&p, s.properties)
		p.line("}\n")
	}
	return format.Source(p.file())
}

func emitVerb(p *printer, m *method) {
	p.line("{")
	p.line("method: %q, effect: %q, right: %q, since: %q,", m.name, m.effect, m.right, m.since)
	p.line("summary: %q,", m.summary)
	p.line("description: %q,", m.description)
	emitLists(p, m)
	if len(m.params) > 0 {
		p.line("params: []param{")
		emitFlags(p, m.params)
		p.line("},")
	}
	if len(m.examples) > 0 {
		p.line("examples: []example{")
		for _, e := range m.examples {
			p.line("{%q, %q},", e.name, m.commandLine(e))
		}
		p.line("},")
	}
	p.line("},")
}

// lacks is the member of a result that lists what its rows lack. It is said beside them.
const lacks = "unread"

// emitLists writes which members of a read's result list objects, and which of them is the result itself: the
// only one, with nothing beside it but optional scalars and what it lacks.
func emitLists(p *printer, m *method) {
	if m.result == nil || m.effect != "read" {
		return
	}
	lists, alone := "", m.stream
	for _, member := range m.result.deref().properties {
		s := member.schema.deref()
		switch {
		case member.name == lacks:
		case s.kind == kindArray && s.element.deref().kind == kindObject:
			lists += fmt.Sprintf("{%q, %q},", member.name, s.element.deref().name)
			if alone == "" {
				alone = member.name
			} else if alone != member.name {
				alone = "-"
			}
		case s.kind == kindArray || s.kind == kindMap || s.kind == kindObject || member.required:
			alone = "-"
		}
	}
	if lists != "" {
		p.line("lists: []listed{%s},", lists)
	}
	if alone != "" && alone != "-" {
		p.line("list: %q, stream: %t,", alone, m.stream != "")
	}
}

// emitFlags writes the params of a method or the members of an object.
func emitFlags(p *printer, members []*property) {
	for _, m := range members {
		s := m.schema.deref()
		p.line("{name: %q, %s%stext: %q},", m.name, flagType(s), requiredFlag(m), m.text())
	}
}

func requiredFlag(m *property) string {
	if m.required {
		return "required: true, "
	}
	return ""
}

// flagType says how the value of a param is read from a command line.
func flagType(s *schema) string {
	list := ""
	if s.kind == kindArray {
		list, s = "list: true, ", s.element.deref()
	}
	switch s.kind {
	case kindObject:
		return list + "kind: kindObject, members: &" + objectVar(s) + ", schema: \"" + s.name + "\", "
	case kindEnum:
		return list + fmt.Sprintf("kind: kindText, schema: %q, values: %#v, ", s.name, s.enum)
	case kindInteger:
		return list + "kind: kindInteger, "
	case kindNumber:
		return list + "kind: kindNumber, "
	case kindBoolean:
		return list + "kind: kindBoolean, "
	case kindMap:
		return list + "kind: kindJSON, "
	}
	out := list + "kind: kindText, "
	if s.name != "" {
		out += fmt.Sprintf("schema: %q, ", s.name)
	}
	if s.format != "" {
		out += fmt.Sprintf("format: %q, ", s.format)
	}
	return out
}

func objectVar(s *schema) string { return "membersOf" + s.name }

// commandLine is an example as somebody would type it behind the name of the program.
func (m *method) commandLine(e example) string {
	words := strings.FieldsFunc(m.name, func(r rune) bool { return r == '.' || r == '_' })
	for _, v := range e.params {
		for _, param := range m.params {
			if param.name == v.name {
				words = append(words, flagWords(param, v.value.raw)...)
			}
		}
	}
	return strings.Join(words, " ")
}

// flagWords is one param with a value as the words of a command line.
func flagWords(m *property, raw []byte) []string {
	flag := "--" + strings.ReplaceAll(m.name, "_", "-")
	s := m.schema.deref()
	switch {
	case s.kind == kindBoolean && string(raw) == "true":
		return []string{flag}
	case s.kind == kindBoolean:
		return []string{flag + "=false"}
	case s.kind == kindArray && s.element.deref().kind == kindObject:
		var words []string
		for a := jsonwire.ReadArray(raw); a.Next(); {
			words = append(words, flag, shellWord(pairs("", a.Value())))
		}
		return words
	case s.kind == kindArray:
		var elements []string
		for a := jsonwire.ReadArray(raw); a.Next(); {
			elements = append(elements, plainText(a.Value()))
		}
		return []string{flag, shellWord(strings.Join(elements, ","))}
	case s.kind == kindObject:
		return []string{flag, shellWord(pairs("", raw))}
	}
	return []string{flag, shellWord(plainText(raw))}
}

// pairs is an object as key=value,key=value, with dotted keys for objects inside it.
func pairs(prefix string, raw []byte) string {
	var out []string
	for o := jsonwire.ReadObject(raw); o.Next(); {
		key := prefix + string(o.Name())
		if jsonwire.KindOf(o.Value()) == jsonwire.Object {
			out = append(out, pairs(key+".", o.Value()))
		} else {
			out = append(out, key+"="+plainText(o.Value()))
		}
	}
	return strings.Join(out, ",")
}

func plainText(raw []byte) string {
	if jsonwire.KindOf(raw) == jsonwire.String {
		return string(jsonwire.Unquote(raw))
	}
	return string(raw)
}

// shellWord quotes a word where a shell would take it apart.
func shellWord(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:,=@%+", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
