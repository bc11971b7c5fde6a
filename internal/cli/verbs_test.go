package cli

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/geomind/my_os_server/pkg/registry"
)

// table is the specification as these tests read it, without the generator.
type tableOf struct {
	Methods []struct {
		Name   string
		Params []struct {
			Name     string
			Required bool
			Schema   map[string]any
		}
		Result struct {
			Schema map[string]any
		}
		Examples []struct {
			Name   string
			Params []struct {
				Name  string
				Value any
			}
		}
		Effect string `json:"x-effect"`
		Right  string `json:"x-right"`
		Stream string `json:"x-stream"`
	}
	Components struct {
		Schemas map[string]struct {
			Properties map[string]map[string]any
		}
	}
}

func readTable(t *testing.T) (d tableOf) {
	t.Helper()
	if err := json.Unmarshal(registry.Document(), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Methods) < 70 {
		t.Fatalf("the table has %d methods", len(d.Methods))
	}
	return d
}

func newTree() *cobra.Command {
	return newSession(os.Stdin, os.Stdout, os.Stderr, func(string) string { return "" }).command(all)
}

// Every row of the table is a verb under its name, with a flag for each param and no other but the manners.
func TestEveryMethodIsAVerb(t *testing.T) {
	root := newTree()
	for _, m := range readTable(t).Methods {
		words := strings.FieldsFunc(m.Name, func(r rune) bool { return r == '.' || r == '_' })
		c, rest, err := root.Find(words)
		if err != nil || len(rest) > 0 || c.Annotations[annotationMethod] != m.Name {
			t.Errorf("%s: `%s` leads to %s, %v", m.Name, strings.Join(words, " "), c.CommandPath(), err)
			continue
		}
		var want []string
		for _, p := range m.Params {
			want = append(want, strings.ReplaceAll(p.Name, "_", "-"))
		}
		if m.Effect == "destroy" {
			want = append(want, "yes")
		}
		if m.Effect == "read" && m.Right != "none" {
			want = append(want, "watch")
		}
		if slices.Contains([]string{"vol.scrub_start", "vol.balance_start", "vol.create_md_array", "vol.md_detail"}, m.Name) {
			want = append(want, "wait")
		}
		var got []string
		c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { got = append(got, f.Name) })
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: flags: %s", m.Name, diff)
		}
	}
}

// No param hides a flag that every verb has.
func TestNoFlagHidesAnother(t *testing.T) {
	root := newTree()
	for _, v := range verbs {
		for _, p := range v.params {
			if root.PersistentFlags().Lookup(p.flag()) != nil || slices.Contains([]string{"yes", "watch", "wait", "help"}, p.flag()) {
				t.Errorf("%s: --%s means something else already", v.method, p.flag())
			}
		}
	}
}

// The example of every row, typed as the help shows it, is the call that the table has.
func TestExamplesAreTheTables(t *testing.T) {
	n := 0
	for _, m := range readTable(t).Methods {
		v := verbOf(m.Name)
		if len(v.examples) != len(m.Examples) || len(v.examples) == 0 {
			t.Errorf("%s has %d examples, the table %d", m.Name, len(v.examples), len(m.Examples))
			continue
		}
		for i, e := range m.Examples {
			want := map[string]any{}
			for _, p := range e.Params {
				want[p.Name] = p.Value
			}
			got := map[string]any{}
			if params := typed(t, v, v.examples[i].line); params != nil {
				if err := json.Unmarshal(params, &got); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s: %s", m.Name, v.examples[i].line, diff)
			}
			n++
		}
	}
	t.Logf("%d examples", n)
}

// typed is the params of a command line.
func typed(t *testing.T, v *verb, line string) []byte {
	t.Helper()
	args, ok := strings.CutPrefix(line, strings.Join(v.words(), " "))
	if !ok {
		t.Fatalf("%s: %s", v.method, line)
	}
	call := newCall(v)
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	call.addFlags(flags)
	err := flags.Parse(shellWords(args))
	if err == nil {
		err = call.arguments(flags.Args())
	}
	if err == nil {
		err = call.check()
	}
	if err != nil {
		t.Errorf("%s: %v", line, err)
	}
	return call.params()
}

// shellWords takes a line apart as a shell does, as far as examples go: blanks, and single quotes.
func shellWords(line string) (out []string) {
	word, quotes, any := "", false, false
	for _, r := range line + " " {
		switch {
		case r == '\'':
			quotes, any = !quotes, true
		case r == ' ' && !quotes:
			if word != "" || any {
				out = append(out, word)
			}
			word, any = "", false
		default:
			word += string(r)
		}
	}
	return out
}

// What a command line leaves out of its flags, required params in order, is the same call.
func TestArgumentsInOrder(t *testing.T) {
	for _, c := range []struct{ method, with, without string }{
		{"net.routes.add", "net routes add --dst 10.0.0.0/8 --gateway 192.0.2.1", "net routes add 10.0.0.0/8 --gateway 192.0.2.1"},
		{"net.bridge.connect", "net bridge connect --a br0 --b br1", "net bridge connect br0 br1"},
		{"net.bridge.connect", "net bridge connect --a br0 --b br1", "net bridge connect --b br1 br0"},
		{"vol.create_md_array", "vol create md array --name data --devices /dev/vdb,/dev/vdc", "vol create md array data /dev/vdb /dev/vdc"},
	} {
		v := verbOf(c.method)
		var with, without map[string]any
		for line, into := range map[string]*map[string]any{c.with: &with, c.without: &without} {
			if err := json.Unmarshal(typed(t, v, line), into); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(with, without); diff != "" {
			t.Errorf("%s: %s", c.without, diff)
		}
	}
	for method, args := range map[string][]string{
		"net.routes":         {"10.0.0.0/8"},
		"net.bridge.connect": {"br0", "br1", "br2"},
		"vol.usage":          {"/", "/mnt"},
	} {
		if err := newCall(verbOf(method)).arguments(args); err == nil {
			t.Errorf("%s took %q", method, args)
		}
	}
}

// The columns of tables are members that rows have.
func TestColumnsAreMembers(t *testing.T) {
	d := readTable(t)
	for row := range columnsOf {
		columns := columnsFor(row)
		if row == "Context" { // of this program, not of the table
			checkContextColumns(t, columns)
			continue
		}
		schema, ok := d.Components.Schemas[row]
		if !ok {
			t.Errorf("columns for %s, which the table does not have", row)
			continue
		}
		for _, c := range columns {
			if columns[0].path[0] == inOne {
				checkInOne(t, d, row, c)
			} else {
				checkPath(t, d, row, schema.Properties, c.path)
			}
		}
	}
	for _, v := range verbs {
		for _, l := range v.lists {
			if _, ok := d.Components.Schemas[l.row]; !ok {
				t.Errorf("%s lists %s, which the table does not have", v.method, l.row)
			}
		}
	}
}

func checkContextColumns(t *testing.T, columns []column) {
	row, err := json.Marshal(contextRow{Name: "a", Node: "b", Key: "c", Token: "d", Groups: []string{"e"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range columns {
		if memberOf(row, c.path[0]) == nil {
			t.Errorf("contexts have no %s", c.path[0])
		}
	}
}

func checkPath(t *testing.T, d tableOf, row string, properties map[string]map[string]any, path []string) {
	for i, step := range path {
		p, ok := properties[step]
		if !ok {
			t.Errorf("%s has no %s", row, strings.Join(path[:i+1], "."))
			return
		}
		properties = d.Components.Schemas[referred(p)].Properties
	}
}

// checkInOne checks that a column is a member of one of the objects of which a row has one.
func checkInOne(t *testing.T, d tableOf, row string, c column) {
	if c.path[0] == inOne {
		return
	}
	for _, p := range d.Components.Schemas[row].Properties {
		if _, ok := d.Components.Schemas[referred(p)].Properties[c.path[0]]; ok {
			return
		}
	}
	t.Errorf("nothing in %s has %s", row, c.path[0])
}

// referred is the component that a schema, or the elements of its list, refers to.
func referred(p map[string]any) string {
	if items, ok := p["items"].(map[string]any); ok {
		p = items
	}
	ref, _ := p["$ref"].(string)
	return strings.TrimPrefix(ref, "#/components/schemas/")
}

func TestMethodsCanBeSpelledWithDots(t *testing.T) {
	for typed, want := range map[string]string{
		"net.routes.add --dst x":              "net routes add --dst x",
		"-o json vol.create_subvolume":        "-o json vol create subvolume",
		"-ojson net.routes":                   "-ojson net routes",
		"--output=json --socket s net.routes": "--output=json --socket s net routes",
		"--help net.routes":                   "--help net routes",
		"net routes":                          "net routes",
		"call net.routes":                     "call net.routes",
		"net.nothing":                         "net.nothing",
		"net vm create_tap v0 --up":           "net vm create tap v0 --up",
		"net vm create-tap":                   "net vm create tap",
		"vol list-disks --path /dev/a-b":      "vol list disks --path /dev/a-b",
		"vol list_disks":                      "vol list disks",
		"net routes add net.routes":           "net routes add net.routes",
		"":                                    "",
		"-o json":                             "-o json",
		"-o":                                  "-o",
	} {
		if got := strings.Join(spelledOut(strings.Fields(typed)), " "); got != want {
			t.Errorf("%s is %s, not %s", typed, got, want)
		}
	}
}

func TestReferenceIsUpToDate(t *testing.T) {
	page, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != string(Reference()) {
		t.Error("docs/cli.md is not what the verbs say: run go generate ./...")
	}
}
