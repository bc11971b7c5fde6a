package acl

import (
	"bytes"
	"errors"
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
	s := scanner{document: data, line: 1, lines: map[string]int{}, elements: map[string]int{}}
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
	for path != "" {
		if line, ok := d.lines[path]; ok {
			return line
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return 1
}

// scanner walks the expressions of a valid document and notes the line of every key and array element. The
// decoder of the TOML library knows positions only for the faults that it finds itself.
type scanner struct {
	document []byte
	offset   int // up to which line has counted
	line     int
	parser   unstable.Parser
	lines    map[string]int
	elements map[string]int // how many [[tables]] of a path there have been
}

func (s *scanner) scan() error {
	table := ""
	s.parser.Reset(s.document)
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
func (s *scanner) header(e *unstable.Node) string {
	path := ""
	for key := e.Key(); key.Next(); {
		path = join(path, string(key.Node().Data))
		if key.IsLast() && e.Kind == unstable.ArrayTable {
			s.note(path, key.Node())
			s.elements[path]++
		}
		if n := s.elements[path]; n > 0 {
			path = element(path, n-1)
		}
		s.note(path, key.Node())
	}
	return path
}

// keyValue notes key = value within table, with all that the value contains.
func (s *scanner) keyValue(table string, e *unstable.Node) {
	path := table
	for key := e.Key(); key.Next(); {
		path = join(path, string(key.Node().Data))
		s.note(path, key.Node())
	}
	s.value(path, e.Value())
}

func (s *scanner) value(path string, v *unstable.Node) {
	s.note(path, v)
	switch children := v.Children(); v.Kind {
	case unstable.Array:
		for i := 0; children.Next(); i++ {
			s.value(element(path, i), children.Node())
		}
	case unstable.InlineTable:
		for children.Next() {
			s.keyValue(path, children.Node())
		}
	}
}

// note remembers the line of a node, the first time that its path appears. The parser gives arrays and
// tables no position of their own; those stand where their key does.
func (s *scanner) note(path string, n *unstable.Node) {
	if _, seen := s.lines[path]; seen || n.Raw.Length == 0 {
		return
	}
	at := int(n.Raw.Offset)
	if at < s.offset {
		s.offset, s.line = 0, 1
	}
	s.line += bytes.Count(s.document[s.offset:at], []byte("\n"))
	s.offset = at
	s.lines[path] = s.line
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func element(path string, i int) string {
	return path + "[" + strconv.Itoa(i) + "]"
}
