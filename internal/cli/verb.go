// Package cli is my-os-ctl, the command line of the daemon: one verb for each row of the table, and around
// them what people and scripts need to use them: output as tables or data, questions before something is
// destroyed, pictures, completion, contexts for many nodes, keys and tokens.
//
// The verbs come from the table by way of internal/registrygen; nothing here names a method except where it
// adds something to one (a picture, a bar of progress, a column). The package talks to daemons through
// pkg/client alone, and holds nothing of what they do.
package cli

import "strings"

// verb is one row of the table as a command line needs it. The rows are generated.
type verb struct {
	method               string // net.routes.add
	effect, right, since string
	summary, description string
	lists                []listed // the members of a read's result that list objects
	list                 string   // the one of them that is the whole result, if one is
	stream               bool     // that list comes row by row and may be long
	params               []param
	examples             []example
}

// param is a param of a method, or a member of an object that is one.
type param struct {
	name     string
	kind     paramKind // of an element, where it is a list
	list     bool
	required bool
	schema   string   // the component of the table that describes it, if one does
	format   string   // of a text
	values   []string // of an enum
	members  *[]param // of an object
	text     string
}

type paramKind uint8

const (
	kindText paramKind = iota
	kindInteger
	kindNumber
	kindBoolean
	kindObject
	kindJSON // anything else; given as JSON
)

// listed is a member of a result that lists objects, and the component of the table that they are.
type listed struct{ member, row string }

// row is the component that the objects of a list are; "" for a member that is no list of them.
func (v *verb) row(member string) string {
	for _, l := range v.lists {
		if l.member == member {
			return l.row
		}
	}
	return ""
}

// lookedUp tells whether the verb is a row of the table.
func (v *verb) lookedUp() bool { return v.right != "" }

// example is a call of the table's as a command line, without the name of the program.
type example struct{ name, line string }

// words are what is typed for the verb: the parts of the method's name.
func (v *verb) words() []string {
	return strings.FieldsFunc(v.method, func(r rune) bool { return r == '.' || r == '_' })
}

// flag is what is typed for the param.
func (p *param) flag() string { return strings.ReplaceAll(p.name, "_", "-") }
