package cli

import (
	"bufio"
	"fmt"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/pkg/client"
)

// layoutRows and layoutBytes are how much of a list is looked at before its columns get their widths. Rows
// behind that go into the same columns, so that a list of any length takes the same memory.
const (
	layoutRows  = 1000
	layoutBytes = 1 << 20
)

// table prints a list whose rows come one by one.
func (o *output) table(a *client.Answer) error {
	t := o.newTable(o.verb.row(o.verb.list))
	err := o.rows(t, a)
	t.end()
	if err == nil {
		o.remark(t)
		o.warn(a.Rest())
	}
	return err
}

// remark tells people that a list is empty, where nothing at all would leave them in doubt.
func (o *output) remark(t *table) {
	if t.columns == nil && isTerminal(o.session.out) {
		fmt.Fprintln(o.session.errs, o.session.paintErrs.dim("no "+strings.ReplaceAll(o.verb.list, "_", " ")))
	}
}

// rows puts the rows of a list into a table.
func (o *output) rows(t *table, a *client.Answer) error {
	for row, err := range a.Rows(o.verb.list) {
		if err != nil {
			return err
		}
		t.add(row)
	}
	return nil
}

// table lays rows out in columns.
type table struct {
	w       *bufio.Writer
	paint   painter
	fixed   []column // what is asked for, or none: what the rows have
	wide    bool     // everything that rows have
	room    int      // cells in a line; 0 is no limit
	indent  string
	node    string // where rows come from, in a first column of its own
	nodes   int    // the width of that column; 0: there is none
	waiting []waitingRow
	bytes   int
	columns []laidOut // nil as long as rows wait
	inOne   bool      // each row has one member, which holds the rest
}

// waitingRow is a row that waits for the columns to get their widths.
type waitingRow struct {
	node string
	row  []byte
}

// laidOut is a column with its place in the line.
type laidOut struct {
	column
	width int
	right bool
}

func (o *output) newTable(row string) *table {
	t := &table{w: o.w, paint: o.session.paint, fixed: columnsFor(row), wide: o.session.global.output == formatWide}
	t.setNodes(o.node)
	t.inOne = len(t.fixed) > 0 && t.fixed[0].path[0] == inOne
	if !t.wide {
		t.room = o.session.columns()
	}
	return t
}

// setNodes lets rows bear the name of their node, the widest of which is among names.
func (t *table) setNodes(names ...string) {
	for _, name := range names {
		if name != "" {
			t.node, t.nodes = name, max(t.nodes, cells(name), len("NODE"))
		}
	}
}

// add takes a row, which the caller may reuse.
func (t *table) add(row []byte) {
	if t.columns != nil {
		t.line(t.node, row)
		return
	}
	t.waiting = append(t.waiting, waitingRow{t.node, slices.Clone(row)})
	t.bytes += len(row)
	if len(t.waiting) >= layoutRows || t.bytes >= layoutBytes {
		t.layOut()
	}
}

// end prints what still waits.
func (t *table) end() {
	if t.columns == nil && len(t.waiting) > 0 {
		t.layOut()
	}
}

// layOut chooses the columns and their widths by the rows that wait, and prints those.
func (t *table) layOut() {
	candidates := t.fixed
	if t.wide || len(candidates) == 0 {
		candidates = t.found()
	}
	var columns []laidOut
	for _, c := range candidates {
		if l, any := t.measure(c); any {
			columns = append(columns, l)
		}
	}
	t.columns = fit(columns, t.roomLeft())
	t.header()
	for _, w := range t.waiting {
		t.line(w.node, w.row)
	}
	t.waiting = nil
}

// roomLeft is the room that indentation and the node's name leave.
func (t *table) roomLeft() int {
	if t.room == 0 {
		return 0
	}
	used := cells(t.indent)
	if t.nodes > 0 {
		used += t.nodes + gap
	}
	return max(t.room-used, 1)
}

// found are the columns of what the rows have, in the order in which it first appears; those that are always
// shown come first.
func (t *table) found() []column {
	columns := slices.Clone(t.fixed)
	seen := map[string]bool{}
	for _, c := range columns {
		if len(c.path) == 1 {
			seen[c.path[0]] = true
		}
	}
	for _, w := range t.waiting {
		for o := jsonwire.ReadObject(w.row); o.Next(); {
			name := string(o.Name())
			if seen[name] || !t.wide && jsonwire.KindOf(o.Value()) > jsonwire.String {
				continue
			}
			seen[name] = true
			columns = append(columns, column{heading(name), []string{name}, narrowest})
		}
	}
	return columns
}

// measure finds how wide a column wants to be, and whether there is anything in it.
func (t *table) measure(c column) (l laidOut, any bool) {
	l = laidOut{column: c, width: cells(c.heading), right: true}
	for _, w := range t.waiting {
		text, numeric := t.text(w.row, c.path)
		if text == "" {
			continue
		}
		any = true
		l.width = max(l.width, cells(text))
		l.right = l.right && numeric
	}
	return l, any
}

// gap is what stands between columns.
const gap = 2

// narrowest is what a column keeps at least of its width before columns are left out, textLeast one that is text.
const (
	narrowest = 18 // a MAC address, or 255.255.255.255/32
	textLeast = 36
)

// fit makes columns as narrow as they must be for a line of room cells: the widest give first, and where all
// are as narrow as they may be the last ones go. room 0 is no limit.
func fit(columns []laidOut, room int) []laidOut {
	if room == 0 {
		return columns
	}
	for len(columns) > 1 && sum(columns, laidOut.shortest) > room {
		columns = columns[:len(columns)-1]
	}
	for over := sum(columns, laidOut.whole) - room; over > 0; over = sum(columns, laidOut.whole) - room {
		widest, room := -1, 0
		for i, c := range columns { // the one with the most to give
			if give := c.width - c.shortest(); give > room {
				widest, room = i, give
			}
		}
		if widest < 0 { // one is left, and the terminal is narrower than its least
			columns[0].width = max(columns[0].width-over, 1)
			return columns
		}
		columns[widest].width -= min(over, max(room/2, 1))
	}
	return columns
}

func (c laidOut) whole() int    { return c.width }
func (c laidOut) shortest() int { return min(c.width, c.least) }

// sum is the length of a line whose columns are as wide as that says.
func sum(columns []laidOut, width func(laidOut) int) int {
	n := -gap
	for _, c := range columns {
		n += width(c) + gap
	}
	return n
}

func (t *table) header() {
	t.w.WriteString(t.indent)
	if t.nodes > 0 {
		t.w.WriteString(t.paint.bold(pad("NODE", t.nodes+gap, false)))
	}
	for i, c := range t.columns {
		t.cell(i, t.paint.bold, cut(c.heading, c.width), i == len(t.columns)-1)
	}
	t.w.WriteByte('\n')
}

// line prints a row.
func (t *table) line(node string, row []byte) {
	t.w.WriteString(t.indent)
	if t.nodes > 0 {
		t.w.WriteString(pad(node, t.nodes+gap, false))
	}
	texts := make([]string, len(t.columns))
	last := 0
	for i, c := range t.columns {
		text, _ := t.text(row, c.path)
		if t.room > 0 {
			text = cut(text, c.width)
		}
		if texts[i] = text; text != "" {
			last = i
		}
	}
	for i, text := range texts[:last+1] {
		t.cell(i, t.paint.mood, text, i == last)
	}
	t.w.WriteByte('\n')
}

// cell prints one cell of a line; the last one needs nothing behind it.
func (t *table) cell(i int, paint func(string) string, text string, last bool) {
	c := t.columns[i]
	if !last || c.right {
		text = pad(text, c.width, c.right)
	}
	t.w.WriteString(paint(text))
	if !last {
		t.w.WriteString(strings.Repeat(" ", gap))
	}
}

// text is what a row has in a column, "" for nothing, and whether it is a number.
func (t *table) text(row []byte, path []string) (text string, numeric bool) {
	if !t.inOne {
		return lookup(row, path)
	}
	o := jsonwire.ReadObject(row)
	if !o.Next() {
		return "", false
	}
	if path[0] == inOne {
		return clean(string(o.Name())), false
	}
	return lookup(o.Value(), path)
}

// lookup is the text of what a path leads to, "" where there is nothing, and whether it is a number. A list
// on the way stands for each of its elements.
func lookup(raw []byte, path []string) (text string, numeric bool) {
	name := ""
	for i, step := range path {
		switch jsonwire.KindOf(raw) {
		case jsonwire.Array:
			return lookupEach(raw, path[i:]), false
		case jsonwire.Object:
			raw, name = memberOf(raw, step), step
		default:
			return "", false
		}
		if raw == nil {
			return "", false
		}
	}
	return cellText(name, raw), jsonwire.KindOf(raw) == jsonwire.Number
}

func lookupEach(list []byte, path []string) string {
	var parts []string
	for a := jsonwire.ReadArray(list); a.Next(); {
		if text, _ := lookup(a.Value(), path); text != "" {
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, ",")
}

// memberOf is a member of an object, nil where it has none of that name.
func memberOf(object []byte, name string) []byte {
	for o := jsonwire.ReadObject(object); o.Next(); {
		if string(o.Name()) == name {
			return o.Value()
		}
	}
	return nil
}
