package cli

import (
	"fmt"
	"strings"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

// object is an object that is put together from KEY=VALUE, in the order given.
type object struct {
	names   []string
	members map[string]*member
}

// member is a value as JSON, or an object within the object.
type member struct {
	raw    []byte
	inside *object
}

// add takes KEY=VALUE,KEY=VALUE. A key has a dot before each member of an object within; - and _ are the
// same. A value that begins with [ or { is JSON and may have commas.
func (o *object) add(params []param, text string) error {
	for text != "" {
		key, rest, ok := strings.Cut(text, "=")
		if !ok {
			return fmt.Errorf("%s must be KEY=VALUE; the keys are %s", quoted(text), keys(params))
		}
		var word string
		word, text = cutValue(rest)
		if err := o.put(params, strings.Split(key, "."), word); err != nil {
			return err
		}
	}
	return nil
}

// put sets the member that the path leads to.
func (o *object) put(params []param, path []string, word string) error {
	name := strings.ReplaceAll(strings.TrimSpace(path[0]), "-", "_")
	p := find(params, name)
	if p == nil {
		return fmt.Errorf("there is no key %s; the keys are %s", quoted(path[0]), keys(params))
	}
	if len(path) > 1 {
		if p.kind != kindObject || p.list {
			return fmt.Errorf("%s has no keys of its own", name)
		}
		m := o.member(name)
		if m.inside == nil {
			m.inside = new(object)
		}
		return m.inside.put(*p.members, path[1:], word)
	}
	v := value{param: p}
	if err := v.Set(word); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	o.member(name).raw = v.json()
	return nil
}

// member is the member of that name, made where there is none.
func (o *object) member(name string) *member {
	if o.members == nil {
		o.members = map[string]*member{}
	}
	if o.members[name] == nil {
		o.members[name] = new(member)
		o.names = append(o.names, name)
	}
	return o.members[name]
}

func (o *object) appendJSON(b []byte) []byte {
	b = append(b, '{')
	for i, name := range o.names {
		if i > 0 {
			b = append(b, ',')
		}
		b = jsonwire.AppendString(b, name)
		b = append(b, ':')
		if m := o.members[name]; m.inside != nil {
			b = m.inside.appendJSON(b)
		} else {
			b = append(b, m.raw...)
		}
	}
	return append(b, '}')
}

func find(params []param, name string) *param {
	for i := range params {
		if params[i].name == name {
			return &params[i]
		}
	}
	return nil
}

func keys(params []param) string {
	var names []string
	for _, p := range params {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}

// cutValue cuts text behind the value that it begins with, at a comma outside of brackets and JSON strings.
func cutValue(text string) (word, rest string) {
	if !strings.HasPrefix(text, "[") && !strings.HasPrefix(text, "{") {
		word, rest, _ = strings.Cut(text, ",")
		return word, rest
	}
	depth, quotes, escaped := 0, false, false
	for i, c := range text {
		switch {
		case escaped:
			escaped = false
		case quotes:
			escaped, quotes = c == '\\', c != '"'
		case c == '"':
			quotes = true
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		case c == ',' && depth == 0:
			return text[:i], text[i+1:]
		}
	}
	return text, ""
}
