package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// maxSize is the size of the largest file, in bytes.
const maxSize = 1 << 20

// ErrUnsafe says that somebody other than root and the daemon's user could have written the file, or
// that it is none. What stands in it decides which ACL holds.
var ErrUnsafe = errors.New("not safe to believe")

// Error is one fault of a file.
type Error struct {
	File         string
	Line, Column int    // counted from 1, the column in bytes
	Key          string // "limits.calls"; empty where the fault is not in one key
	Reason       string
}

// Error is file:line:column: key: reason.
func (e *Error) Error() string {
	at := fmt.Sprintf("%s:%d:%d: ", e.File, e.Line, e.Column)
	if e.Key != "" {
		at += e.Key + ": "
	}
	return at + e.Reason
}

// Load reads the file at path. Where path is empty it is DefaultPath, which need not exist; file is then
// empty. The error joins an *Error for each fault of the content, in the order of the lines.
func Load(path string) (c Config, file string, err error) {
	file = path
	if path == "" {
		file = DefaultPath
	}
	data, err := read(file)
	if path == "" && errors.Is(err, fs.ErrNotExist) {
		return Default(), "", nil
	}
	if err != nil {
		return Config{}, file, fmt.Errorf("configuration: %w", err)
	}
	c, err = Parse(file, data)
	return c, file, err
}

func read(path string) ([]byte, error) {
	// O_NONBLOCK: opening a named pipe must not wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := judge(info, uint32(os.Geteuid())); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return io.ReadAll(io.LimitReader(f, maxSize))
}

func judge(info fs.FileInfo, own uint32) error {
	owner := info.Sys().(*syscall.Stat_t).Uid
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		return fmt.Errorf("%w: it is no regular file", ErrUnsafe)
	case owner != 0 && owner != own:
		return fmt.Errorf("%w: it belongs to user %d; run chown root", ErrUnsafe, owner)
	case mode.Perm()&0o022 != 0:
		return fmt.Errorf("%w: others may write it (mode %04o); run chmod go-w", ErrUnsafe, mode.Perm())
	case info.Size() > maxSize:
		return fmt.Errorf("%w: it has %d bytes, at most %d", ErrUnsafe, info.Size(), maxSize)
	}
	return nil
}

// Parse reads a file's content; file is the name that errors give.
func Parse(file string, data []byte) (Config, error) {
	c := Default()
	if err := toml.Unmarshal(data, &c); err != nil {
		return Config{}, unreadable(file, err)
	}
	places := positions(data)
	faults := unknown(file, places)
	c.fit(func(key string) bool { _, named := places[key]; return named })
	for _, f := range c.Faults() {
		at, ok := places[f.Key.Name]
		if table, _, inTable := strings.Cut(f.Key.Name, "]."); !ok && inTable { // a key that is missing there
			at, ok = places[table+"]"]
		}
		if ok { // else it came by another spelling, which is told of
			faults = append(faults, &Error{file, at.Line, at.Column, f.Key.Name, f.Reason})
		}
	}
	if len(faults) > 0 {
		return Config{}, join(faults)
	}
	return c, nil
}

// unreadable turns what go-toml says into an error of ours: the first thing that is no TOML, or no value
// for its key.
func unreadable(file string, err error) error {
	var decode *toml.DecodeError
	if !errors.As(err, &decode) {
		return fmt.Errorf("%s: %w", file, err)
	}
	line, column := decode.Position()
	key, reason := reword(strings.Join(decode.Key(), "."), strings.TrimPrefix(decode.Error(), "toml: "))
	return &Error{file, line, column, key, reason}
}

// reword says what a value should have been in the words of the file, where go-toml speaks of Go's types.
func reword(key, text string) (string, string) {
	if !strings.HasPrefix(text, "cannot ") {
		return key, text
	}
	for _, k := range Keys() {
		if strings.HasPrefix(key+".", k.Name+".") {
			return k.Name, k.wanted()
		}
		if k.inner != nil && strings.HasPrefix(k.Name, key+".") {
			return key, "must be an array of tables: [[" + key + "]]"
		}
	}
	return key, "must be a table"
}

// unknown makes an error of each key and table that does not exist. go-toml's own strict mode does not
// do: it takes Calls for calls, and both in one file for the same key.
func unknown(file string, places map[string]unstable.Position) []*Error {
	known, lists := map[string]bool{}, map[string]bool{}
	for _, k := range Keys() {
		known[k.Name] = true
		table, _, _ := strings.Cut(k.Name, ".")
		known[table] = true
		lists[table] = k.inner != nil
	}
	var all []*Error
	for name, at := range places {
		table, _, _ := strings.Cut(name, ".")
		if _, parent := places[table]; parent && table != name && !known[unnumbered(table)] {
			continue // its table is told of
		}
		if lists[table] { // written in another way, its faults would have no place
			all = append(all, &Error{file, at.Line, at.Column, name, "must be an array of tables: [[" + table + "]]"})
			continue
		}
		if !known[unnumbered(name)] {
			all = append(all, &Error{file, at.Line, at.Column, name, "there is no such key"})
		}
	}
	return all
}

// unnumbered is a name without the number of its table: interface[1].name is interface.name.
func unnumbered(name string) string {
	table, rest, ok := strings.Cut(name, "[")
	_, rest, closed := strings.Cut(rest, "]")
	if !ok || !closed || strings.HasPrefix(name, `"`) {
		return name
	}
	return table + rest
}

func join(all []*Error) error {
	slices.SortFunc(all, func(a, b *Error) int {
		return cmp.Or(a.Line-b.Line, a.Column-b.Column, strings.Compare(a.Key, b.Key))
	})
	var list []error
	for _, e := range all {
		list = append(list, e)
	}
	return errors.Join(list...)
}

// positions finds where each key and each table stands, by its full name, in a document that is TOML. Tables of
// an array are numbered: interface[0].name.
func positions(data []byte) map[string]unstable.Position {
	places := map[string]unstable.Position{}
	var p unstable.Parser
	p.Reset(data)
	var table string
	counts := map[string]int{}
	for p.NextExpression() {
		switch e := p.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			var at unstable.Position
			table, at = keyOf(&p, "", e)
			if e.Kind == unstable.ArrayTable {
				counts[table]++
				table = fmt.Sprintf("%s[%d]", table, counts[table]-1)
			}
			places[table] = at
		case unstable.KeyValue:
			locate(&p, table, e, places)
		}
	}
	return places
}

// locate notes where a key = value stands, and what stands in its value where that is an inline table.
func locate(p *unstable.Parser, table string, e *unstable.Node, places map[string]unstable.Position) {
	name, at := keyOf(p, table, e)
	places[name] = at
	if e.Value().Kind != unstable.InlineTable {
		return
	}
	for inner := e.Value().Children(); inner.Next(); {
		locate(p, name, inner.Node(), places)
	}
}

// keyOf is the full name of a key and where it begins. A part that could be mistaken for several is quoted.
func keyOf(p *unstable.Parser, table string, e *unstable.Node) (name string, at unstable.Position) {
	var parts []string
	if table != "" {
		parts = append(parts, table)
	}
	for it := e.Key(); it.Next(); {
		if at.Line == 0 {
			at = p.Shape(it.Node().Raw).Start
		}
		part := string(it.Node().Data)
		if part == "" || strings.ContainsFunc(part, mustQuote) {
			part = strconv.Quote(part)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, "."), at
}

// mustQuote tells the characters that a bare key of TOML cannot have.
func mustQuote(r rune) bool {
	return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '-'
}
