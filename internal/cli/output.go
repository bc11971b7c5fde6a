package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/pkg/client"
)

// outputFormat is what --output says; "" is nothing.
type outputFormat string

// The formats.
const (
	formatTable outputFormat = "table"
	formatWide  outputFormat = "wide"
	formatJSON  outputFormat = "json"
	formatJSONL outputFormat = "jsonl"
	formatYAML  outputFormat = "yaml"
	formatName  outputFormat = "name"
)

var formats = []string{"table", "wide", "json", "jsonl", "yaml", "name"}

// String is the format's name.
func (f *outputFormat) String() string { return string(*f) }

// Type is what stands for the format in the help.
func (f *outputFormat) Type() string { return "FORMAT" }

// Set takes a format's name.
func (f *outputFormat) Set(text string) error {
	if !slices.Contains(formats, text) {
		return fmt.Errorf("there is no format %s; there are %s", quoted(text), strings.Join(formats, ", "))
	}
	*f = outputFormat(text)
	return nil
}

// bufferSize is how much goes to the terminal or the next program at once.
const bufferSize = 64 << 10

func newBuffered(w io.Writer) *bufio.Writer { return bufio.NewWriterSize(w, bufferSize) }

// output prints the result of one call.
type output struct {
	session *session
	w       *bufio.Writer
	verb    *verb
	node    string // where rows are to say which node they come from
}

// print prints a result in the format that is asked for. Lists go row by row, whatever their length.
func (o *output) print(a *client.Answer) error {
	switch o.session.global.output {
	case formatJSON:
		return o.json(a)
	case formatJSONL:
		return o.jsonl(a)
	case formatYAML:
		return o.yaml(a, 0)
	case formatName:
		return o.names(a)
	}
	if o.verb.stream {
		return o.table(a)
	}
	raw, err := a.Bytes()
	if err == nil {
		o.details(raw)
	}
	return err
}

// json prints the result's bytes as they are, and a line feed.
func (o *output) json(a *client.Answer) error {
	if _, err := a.WriteTo(o.w); err != nil {
		return err
	}
	return o.w.WriteByte('\n')
}

// jsonl prints each row of a list as a line, and any other result as one.
func (o *output) jsonl(a *client.Answer) error {
	if o.verb.list == "" {
		raw, err := a.Bytes()
		if err == nil {
			_, err = o.w.Write(append(oneLine(raw), '\n'))
		}
		return err
	}
	for row, err := range a.Rows(o.verb.list) {
		if err != nil {
			return err
		}
		if _, err := o.w.Write(oneLine(row)); err != nil {
			return err
		}
		if err := o.w.WriteByte('\n'); err != nil {
			return err
		}
	}
	o.warn(a.Rest())
	return nil
}

// oneLine is a value without line feeds between its parts. The daemon puts none there, but what a proxy passes
// on is somebody else's.
func oneLine(raw []byte) []byte {
	if bytes.IndexByte(raw, '\n') < 0 {
		return raw
	}
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return raw
	}
	return b.Bytes()
}

// names prints what each row is called by, a line each.
func (o *output) names(a *client.Answer) error {
	if o.verb.list == "" {
		raw, err := a.Bytes()
		if err == nil {
			o.name(raw)
		}
		return err
	}
	for row, err := range a.Rows(o.verb.list) {
		if err != nil {
			return err
		}
		o.name(row)
	}
	o.warn(a.Rest())
	return nil
}

// nameMembers are the members that something is called by, the first that it has.
var nameMembers = []string{"id", "name", "path", "dst", "target", "address", "uuid", "device", "interface", "prefix", "bridge"}

// name prints what an object is called by. What a write answers has the object under its noun.
func (o *output) name(raw []byte) {
	if jsonwire.KindOf(raw) != jsonwire.Object {
		return
	}
	found := map[string][]byte{}
	var inside []byte // the first object or list of them
	for r := jsonwire.ReadObject(raw); r.Next(); {
		if k := jsonwire.KindOf(r.Value()); k != jsonwire.Object && k != jsonwire.Array {
			found[string(r.Name())] = r.Value()
		} else if inside == nil {
			inside = r.Value()
		}
	}
	names := nameMembers
	if c := columnsFor(o.verb.row(o.verb.list)); len(c) > 0 {
		names = append([]string{c[0].path[0]}, names...)
	}
	for _, name := range names {
		if value, ok := found[name]; ok {
			fmt.Fprintln(o.w, cellText("", value))
			return
		}
	}
	if jsonwire.KindOf(inside) != jsonwire.Array {
		o.name(inside)
		return
	}
	for a := jsonwire.ReadArray(inside); a.Next(); {
		o.name(a.Value())
	}
}

// warn says on standard error what a list has behind its rows: that it may be incomplete, say. A picture or
// a row per line has no place for it.
func (o *output) warn(rest []byte) {
	for r := jsonwire.ReadObject(rest); r.Next(); {
		name, text := string(r.Name()), cellText("", r.Value())
		if name == "consistent" && text == "false" {
			text += " (it changed while it was read: rows may be missing or doubled)"
		}
		switch {
		case jsonwire.KindOf(r.Value()) <= jsonwire.String:
			o.aside(name, text)
		case jsonwire.KindOf(r.Value()) == jsonwire.Array:
			for a := jsonwire.ReadArray(r.Value()); a.Next(); {
				o.aside(name, cellText("", a.Value()))
			}
		}
	}
}

// aside says something on standard error.
func (o *output) aside(name, text string) {
	_ = o.w.Flush() // in the order in which people should read it
	fmt.Fprintf(o.session.errs, "%s%s: %s\n", o.prefix(), name, text)
}

// prefix names the node where there are several.
func (o *output) prefix() string {
	if o.node == "" {
		return ""
	}
	return o.node + ": "
}
