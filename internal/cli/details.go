package cli

import (
	"fmt"
	"strings"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

// details prints a result that is not one long list: what it says of the whole first, then its lists of
// objects as tables. One that is nothing but a list is that table.
func (o *output) details(raw []byte) {
	if jsonwire.KindOf(raw) != jsonwire.Object {
		o.w.WriteString(cellText("", raw) + "\n")
		return
	}
	if o.verb.list != "" {
		t := o.newTable(o.verb.row(o.verb.list))
		o.listOnly(t, raw)
		t.end()
		o.remark(t)
		return
	}
	if o.node != "" {
		o.w.WriteString(o.session.paint.bold(o.node) + "\n")
	}
	o.object(raw, "")
}

// listOnly puts a result that has one list, and at most a remark beside it, into a table.
func (o *output) listOnly(t *table, raw []byte) {
	var rest []byte
	for r := jsonwire.ReadObject(raw); r.Next(); {
		if string(r.Name()) == o.verb.list {
			for a := jsonwire.ReadArray(r.Value()); a.Next(); {
				t.add(a.Value())
			}
			continue
		}
		rest = append(jsonwire.AppendString(append(rest, ','), string(r.Name())), ':')
		rest = append(rest, r.Value()...)
	}
	if rest != nil {
		rest[0] = '{'
		o.warn(append(rest, '}'))
	}
}

// object prints the members of an object, a line each; objects within and lists of objects come after those,
// below their names.
func (o *output) object(raw []byte, indent string) {
	longest := 0
	for r := jsonwire.ReadObject(raw); r.Next(); {
		if isFlat(r.Value()) {
			longest = max(longest, cells(string(r.Name())))
		}
	}
	for r := jsonwire.ReadObject(raw); r.Next(); {
		if isFlat(r.Value()) {
			name := string(r.Name())
			text := o.session.paint.mood(cellText(name, r.Value()))
			if k := jsonwire.KindOf(r.Value()); text == "" && (k == jsonwire.Array || k == jsonwire.Object) {
				text = o.session.paint.dim("none")
			}
			o.w.WriteString(strings.TrimRight(indent+pad(clean(name)+":", longest+1, false)+"  "+text, " ") + "\n")
		}
	}
	for r := jsonwire.ReadObject(raw); r.Next(); {
		if !isFlat(r.Value()) {
			o.below(string(r.Name()), r.Value(), indent)
		}
	}
}

// below prints an object, or a list of objects as a table, with its name above.
func (o *output) below(name string, raw []byte, indent string) {
	o.w.WriteString(indent + o.session.paint.bold(clean(name)+":") + "\n")
	indent += "  "
	if jsonwire.KindOf(raw) == jsonwire.Object {
		if !o.gist(name, raw, indent) {
			o.object(raw, indent)
		}
		return
	}
	t := o.newTable(o.verb.row(name))
	t.nodes, t.indent = 0, indent
	for a := jsonwire.ReadArray(raw); a.Next(); {
		t.add(a.Value())
	}
	t.end()
}

// gistMembers is from how many members on an object that is one of the rows of tables is told by its columns there.
const gistMembers = 24

// gist prints what matters of an object that has more members than anybody reads, as a bridge has: those that are
// columns where it is the row of a table. It tells whether it did.
func (o *output) gist(name string, raw []byte, indent string) bool {
	if name == "" || o.session.global.output == formatWide {
		return false
	}
	columns := columnsFor(strings.ToUpper(name[:1]) + name[1:])
	members, longest := 0, 0
	for r := jsonwire.ReadObject(raw); r.Next(); {
		members++
	}
	if len(columns) == 0 || members < gistMembers {
		return false
	}
	var lines [][2]string
	for _, c := range columns {
		if text, _ := lookup(raw, c.path); text != "" {
			lines = append(lines, [2]string{strings.ToLower(c.heading) + ":", text})
			longest = max(longest, cells(c.heading)+1)
		}
	}
	for _, line := range lines {
		o.w.WriteString(indent + pad(line[0], longest, false) + "  " + o.session.paint.mood(line[1]) + "\n")
	}
	o.w.WriteString(indent + o.session.paint.dim(fmt.Sprintf("… -o wide shows all %d members", members)) + "\n")
	return true
}

// isFlat tells whether a value takes one line: a scalar, or a list of them.
func isFlat(raw []byte) bool {
	switch jsonwire.KindOf(raw) {
	case jsonwire.Object:
		return isEmpty(raw)
	case jsonwire.Array:
		a := jsonwire.ReadArray(raw)
		return !a.Next() || jsonwire.KindOf(a.Value()) != jsonwire.Object
	}
	return true
}
