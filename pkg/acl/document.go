package acl

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// document is a TOML file that has been read but not judged. Its values are those of toml.Unmarshal into a
// map; lines remembers where each of them stands, by path: "policy.trusted_uids[1]".
type document struct {
	root  map[string]any
	lines map[string]int
}

// readDocument reads TOML. Where the file is none, fault says why.
func readDocument(data []byte) (d document, fault *fault) {
	d.root = map[string]any{}
	if err := toml.Unmarshal(data, &d.root); err != nil {
		return d, tomlFault(err)
	}
	s := newScanner(data)
	if err := s.scan(); err != nil {
		return d, tomlFault(err)
	}
	d.lines = s.lines
	return d, nil
}

// tomlFault takes line and reason out of an error of the TOML library.
func tomlFault(err error) *fault {
	line := 1
	if at := (*toml.DecodeError)(nil); errors.As(err, &at) {
		line, _ = at.Position()
	}
	return &fault{line, "not TOML: " + strings.TrimPrefix(err.Error(), "toml: ")}
}

// line is the line of what stands at path. What a path's last part does not find, an empty array or a key
// that is missing, is looked for where its table stands.
func (d *document) line(path string) int {
	for {
		if line, ok := d.lines[path]; ok || path == "" {
			return max(line, 1)
		}
		path = path[:max(strings.LastIndexAny(path, ".["), 0)]
	}
}

// scanner walks the expressions of a valid document and notes the line of every key and array element, as
// deep as ACL files go. The decoder of the TOML library knows positions only for the faults that it finds
// itself.
type scanner struct {
	parser   unstable.Parser
	starts   []int // offset of each line's first byte
	lines    map[string]int
	elements map[string]int // how many [[tables]] of a path there have been
}

// maxDepth is the number of steps in the longest path that is ever asked for: group, [0], users, [1]. Deeper
// values stand where the value above them does; without a bound, paths would grow with the square of the
// nesting.
const maxDepth = 4

func newScanner(data []byte) *scanner {
	s := &scanner{starts: []int{0}, lines: map[string]int{}, elements: map[string]int{}}
	for i, c := range data {
		if c == '\n' {
			s.starts = append(s.starts, i+1)
		}
	}
	s.parser.Reset(data)
	return s
}

func (s *scanner) scan() error {
	var table path
	for s.parser.NextExpression() {
		switch e := s.parser.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = s.header(e)
		case unstable.KeyValue:
			s.keyValue(table, e)
		}
	}
	return s.parser.Error()
}

// header notes a [table] or [[table]] and returns its path.
func (s *scanner) header(e *unstable.Node) path {
	var at path
	for key := e.Key(); key.Next() && at.depth < maxDepth; {
		at = at.key(string(key.Node().Data))
		s.note(at, key.Node())
		if key.IsLast() && e.Kind == unstable.ArrayTable {
			s.elements[at.text]++
		}
		if n := s.elements[at.text]; n > 0 {
			at = at.element(n - 1)
			s.note(at, key.Node())
		}
	}
	return at
}

// keyValue notes key = value within table, with all that the value contains.
func (s *scanner) keyValue(table path, e *unstable.Node) {
	at := table
	for key := e.Key(); key.Next() && at.depth < maxDepth; {
		at = at.key(string(key.Node().Data))
		s.note(at, key.Node())
	}
	s.value(at, e.Value())
}

func (s *scanner) value(at path, v *unstable.Node) {
	s.note(at, v)
	if at.depth >= maxDepth {
		return
	}
	switch children := v.Children(); v.Kind {
	case unstable.Array:
		for i := 0; children.Next(); i++ {
			s.value(at.element(i), children.Node())
		}
	case unstable.InlineTable:
		for children.Next() {
			s.keyValue(at, children.Node())
		}
	}
}

// note remembers the line of a node, the first time that its path appears. The parser gives arrays and
// tables no position of their own; those stand where their key does.
func (s *scanner) note(at path, n *unstable.Node) {
	if _, seen := s.lines[at.text]; seen || n.Raw.Length == 0 {
		return
	}
	next, _ := slices.BinarySearch(s.starts, int(n.Raw.Offset)+1)
	s.lines[at.text] = next
}

// path leads to a value: "group[0].users[1]" in four steps.
type path struct {
	text  string
	depth int
}

func (p path) key(name string) path { return path{join(p.text, name), p.depth + 1} }

func (p path) element(i int) path { return path{element(p.text, i), p.depth + 1} }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func element(path string, i int) string {
	return path + "[" + strconv.Itoa(i) + "]"
}
