package registrygen

import (
	"strings"
	"unicode"
)

// initialisms are written in capitals where a whole word of a name is one.
var initialisms = map[string]bool{
	"cpu": true, "df": true, "dnat": true, "dns": true, "fs": true, "guid": true, "id": true, "ip": true, "mac": true,
	"md": true, "mtu": true, "nat": true, "os": true, "ovs": true, "rpc": true, "snat": true, "ttl": true, "uuid": true, "vm": true,
}

// goName is the Go name for words separated by dots and underscores: vm.create_tap -> VMCreateTap,
// vlan_id -> VlanID.
func goName(name string) string {
	var b strings.Builder
	for _, word := range strings.FieldsFunc(name, func(r rune) bool { return r == '.' || r == '_' }) {
		if initialisms[word] {
			b.WriteString(strings.ToUpper(word))
		} else {
			b.WriteString(capital(word))
		}
	}
	return b.String()
}

// enumName is the Go name of a value of an enum: its letters and digits, each run of them with a capital.
func enumName(typ, value string) string {
	name := typ
	for _, word := range strings.FieldsFunc(value, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		name += capital(word)
	}
	return name
}

func capital(word string) string { return strings.ToUpper(word[:1]) + word[1:] }

// namespace is what stands before the first dot of the method's name.
func (m *method) namespace() string {
	ns, _, _ := strings.Cut(m.name, ".")
	return ns
}

// goName is the name of the method in its server's interface: net.vm.create_tap -> VMCreateTap.
func (m *method) goName() string {
	_, name, _ := strings.Cut(m.name, ".")
	return goName(name)
}

func (m *method) paramsType() string { return goName(m.name) + "Params" }
func (m *method) endType() string    { return goName(m.name) + "End" }

// goType is the Go name of an error kind: NotFound -> NotFoundError, OsError -> OSError.
func (e *errorKind) goType() string {
	if e.name == "OsError" {
		return "OSError"
	}
	return strings.TrimSuffix(e.name, "Error") + "Error"
}

// goType is the Go type of a value that is there.
func (s *schema) goType() string {
	switch s = s.deref(); s.kind {
	case kindObject, kindEnum:
		return s.name
	case kindInteger:
		return "int64"
	case kindNumber:
		return "float64"
	case kindBoolean:
		return "bool"
	case kindArray:
		return "[]" + s.element.goType()
	case kindMap:
		return "map[string]" + s.element.goType()
	}
	if s.format != "" {
		return formats[s.format]
	}
	return "string"
}

// goType is the Go type of the field for the member.
func (m *property) goType() string {
	s := m.schema.deref()
	switch {
	case m.required || s.kind == kindArray || s.kind == kindMap:
		return s.goType()
	case s.kind == kindObject:
		return "*" + s.goType()
	}
	return "Opt[" + s.goType() + "]"
}

// isOpt tells whether the field for the member is an Opt.
func (m *property) isOpt() bool { return strings.HasPrefix(m.goType(), "Opt[") }

// goName is the field's name.
func (m *property) goName() string { return goName(m.name) }

// deref is the schema itself, or the component that it refers to.
func (s *schema) deref() *schema {
	if s.kind == kindReference {
		return s.target
	}
	return s
}
