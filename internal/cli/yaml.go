package cli

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/pkg/client"
)

// yaml prints the result as YAML at a depth, in the order of its members; the rows of a list as they come, before
// what else the result has.
func (o *output) yaml(a *client.Answer, depth int) error {
	if o.verb.list == "" {
		raw, err := a.Bytes()
		if err != nil {
			return err
		}
		return o.write(appendYAML(nil, raw, 0))
	}
	indent := strings.Repeat("  ", depth)
	o.w.WriteString(indent + o.verb.list + ":")
	rows := 0
	var b []byte
	for row, err := range a.Rows(o.verb.list) {
		if err != nil {
			return err
		}
		b = append(b[:0], "\n"+indent+"-"...)
		if err := o.write(appendBelow(b, row, depth, true)); err != nil {
			return err
		}
		rows++
	}
	if rows == 0 {
		o.w.WriteString(" []")
	}
	o.w.WriteByte('\n')
	if rest := a.Rest(); len(rest) > 2 {
		return o.write(appendYAML(nil, rest, depth))
	}
	return nil
}

// nodeYAML prints what one of several nodes has answered, a document of its own.
func (o *output) nodeYAML(a *client.Answer) error {
	o.w.WriteString("---\nnode: " + string(appendText(nil, o.node)) + "\nresult:")
	if o.verb.list != "" {
		o.w.WriteByte('\n')
		return o.yaml(a, 1)
	}
	raw, err := a.Bytes()
	if err != nil {
		return err
	}
	return o.write(append(appendBelow(nil, raw, 0, false), '\n'))
}

func (o *output) write(b []byte) error {
	_, err := o.w.Write(b)
	return err
}

// appendYAML appends a whole document.
func appendYAML(b, raw []byte, depth int) []byte {
	k := jsonwire.KindOf(raw)
	if k != jsonwire.Object && k != jsonwire.Array || isEmpty(raw) {
		return append(appendScalar(b, raw), '\n')
	}
	return append(trimLine(appendBelow(nil, raw, depth-1, false)), '\n')
}

// trimLine takes away the line feed that appendBelow begins with.
func trimLine(b []byte) []byte {
	if len(b) > 0 && b[0] == '\n' {
		return b[1:]
	}
	return b
}

// appendBelow appends a value behind a key or a dash that stands at the given depth: a scalar in the same
// line, others in lines of their own, a level deeper. Behind a dash the first member has its place in the
// dash's line.
func appendBelow(b, raw []byte, depth int, dash bool) []byte {
	kind := jsonwire.KindOf(raw)
	if kind != jsonwire.Object && kind != jsonwire.Array || isEmpty(raw) {
		return appendScalar(append(b, ' '), raw)
	}
	if kind == jsonwire.Array {
		for a := jsonwire.ReadArray(raw); a.Next(); {
			b = appendIndent(b, depth+1)
			b = append(b, '-')
			b = appendBelow(b, a.Value(), depth+1, true)
		}
		return b
	}
	for o := jsonwire.ReadObject(raw); o.Next(); dash = false {
		if dash {
			b = append(b, ' ')
		} else {
			b = appendIndent(b, depth+1)
		}
		b = appendText(b, string(o.Name()))
		b = append(b, ':')
		b = appendBelow(b, o.Value(), depth+1, false)
	}
	return b
}

func appendIndent(b []byte, depth int) []byte {
	b = append(b, '\n')
	for range depth {
		b = append(b, "  "...)
	}
	return b
}

func isEmpty(raw []byte) bool {
	inner := raw[1 : len(raw)-1]
	for _, c := range inner {
		if c > ' ' {
			return false
		}
	}
	return true
}

// appendScalar appends a value that takes one line. JSON's own spelling is YAML's too, but for strings that
// need no quotes.
func appendScalar(b, raw []byte) []byte {
	switch jsonwire.KindOf(raw) {
	case jsonwire.String:
		return appendText(b, string(jsonwire.Unquote(raw)))
	case jsonwire.Object:
		return append(b, "{}"...)
	case jsonwire.Array:
		return append(b, "[]"...)
	}
	return append(b, raw...)
}

// Plain are the strings that every YAML reader takes for strings without quotes, those aside that stand for
// other things in some version of YAML.
var (
	plainYAML = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./+=@%-]*$`) })
	otherYAML = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^(?i:y|n|yes|no|true|false|on|off|null)$`)
	})
)

func appendText(b []byte, text string) []byte {
	if plainYAML().MatchString(text) && !otherYAML().MatchString(text) {
		return append(b, text...)
	}
	if strings.IndexFunc(text, isHidden) < 0 {
		return jsonwire.AppendString(b, text)
	}
	b = append(b, '"')
	for _, r := range text {
		if isHidden(r) {
			b = fmt.Appendf(b, `\u%04x`, r)
			continue
		}
		quoted := jsonwire.AppendString(nil, string(r))
		b = append(b, quoted[1:len(quoted)-1]...)
	}
	return append(b, '"')
}

// isHidden tells what JSON takes as it is and YAML only as an escape (YAML 1.2, section 5.1; line breaks of
// YAML 1.1 with it).
func isHidden(r rune) bool {
	return r >= 0x7f && r <= 0x9f || r == 0x2028 || r == 0x2029 || r == 0xfeff || r == 0xfffe || r == 0xffff
}
