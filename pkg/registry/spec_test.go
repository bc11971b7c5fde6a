package registry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/geomind/my_os_server/pkg/registry"
	"github.com/geomind/my_os_server/pkg/registry/registrytest"
)

// document is the specification as far as these tests look at it.
type document struct {
	Info    struct{ Version, Title string }
	Methods []struct {
		Name     string
		Right    string `json:"x-right"`
		Effect   string `json:"x-effect"`
		Since    string `json:"x-since"`
		Stream   string `json:"x-stream"`
		Exposes  bool   `json:"x-exposes"`
		Params   []struct{ Name string }
		Errors   []map[string]string
		Examples []struct {
			Name   string
			Params []struct {
				Name  string
				Value json.RawMessage
			}
			Result struct{ Value json.RawMessage }
		}
	}
	Components struct {
		Schemas map[string]struct {
			Examples   []json.RawMessage
			Properties map[string]struct{ Examples []json.RawMessage }
		}
		Errors map[string]struct {
			Code    int
			Message string
		}
	}
}

func specification(t testing.TB) (d document) {
	t.Helper()
	if err := json.Unmarshal(registry.Document(), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// The table promises so many methods of each namespace; more may come, none may go.
func TestTheTableIsComplete(t *testing.T) {
	got := map[string]int{}
	for _, m := range registry.All() {
		got[m.Namespace()]++
	}
	for namespace, promised := range map[string]int{"rpc": 2, "net": 41, "vol": 31} {
		if got[namespace] < promised {
			t.Errorf("%s: %d methods, %d are promised", namespace, got[namespace], promised)
		}
	}
}

func TestTheTableIsTheSpecification(t *testing.T) {
	d := specification(t)
	if registry.TableVersion != d.Info.Version || registry.TableTitle != d.Info.Title {
		t.Errorf("%s %s is not %s %s", registry.TableTitle, registry.TableVersion, d.Info.Title, d.Info.Version)
	}
	if len(d.Methods) != len(registry.All()) {
		t.Fatalf("%d rows for %d methods", len(registry.All()), len(d.Methods))
	}
	for i, m := range registry.All() {
		want := d.Methods[i]
		got := fmt.Sprintln(m.Index, m.Name, m.Right, m.Effect, m.Since, m.Stream, m.Exposes)
		if diff := cmp.Diff(fmt.Sprintln(i, want.Name, want.Right, want.Effect, want.Since, want.Stream != "", want.Exposes), got); diff != "" {
			t.Error(diff)
		}
		for j, p := range m.Params {
			if p.Name != want.Params[j].Name {
				t.Errorf("%s: param %d is %s, want %s", m.Name, j, p.Name, want.Params[j].Name)
			}
		}
	}
}

// Every example's params decode, by name and by position, and fit the schemas; its result fits too.
func TestExamplesHold(t *testing.T) {
	for i, m := range specification(t).Methods {
		row := registry.All()[i]
		if len(m.Examples) == 0 {
			t.Errorf("%s has no example", m.Name)
		}
		for _, example := range m.Examples {
			byName, byPosition := map[string]json.RawMessage{}, make([]json.RawMessage, len(row.Params))
			for _, p := range example.Params {
				byName[p.Name] = p.Value
				for j := range row.Params {
					if row.Params[j].Name == p.Name {
						byPosition[j] = p.Value
					}
				}
			}
			named, positioned := decodeExample(t, row, example.Name, byName), decodeExample(t, row, example.Name, byPosition)
			if diff := cmp.Diff(named, positioned); diff != "" {
				t.Errorf("%s, example %s, by name and by position:\n%s", m.Name, example.Name, diff)
			}
			if err := registrytest.CheckParams(m.Name, marshal(t, byName)); err != nil {
				t.Errorf("example %s: %v", example.Name, err)
			}
			if err := checkResult(t, m.Name, example.Result.Value); err != nil {
				t.Errorf("example %s: %v", example.Name, err)
			}
		}
	}
}

// checkResult judges rpc.discover's result by OpenRPC's own schema.
func checkResult(t *testing.T, method string, result []byte) error {
	t.Helper()
	if method == "rpc.discover" {
		return openRPC(t).Validate(value(t, result))
	}
	return registrytest.CheckResult(method, result)
}

// decodeExample returns the params that an example decodes to, as JSON.
func decodeExample(t *testing.T, m *registry.Method, example string, params any) string {
	t.Helper()
	v, err := m.Decode(marshal(t, params))
	var faults *registry.ParamsError
	if errors.As(err, &faults) {
		t.Errorf("%s, example %s: %+v", m.Name, example, faults.Faults)
		return ""
	}
	return string(v.(interface{ AppendJSON([]byte) []byte }).AppendJSON(nil))
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Every schema's examples fit it.
func TestSchemaExamplesHold(t *testing.T) {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7)
	addResource(t, c, "mem:///openrpc.json", registry.Document(), "")
	check := func(pointer string, examples []json.RawMessage) {
		schema, err := c.Compile("mem:///openrpc.json#/components/schemas/" + pointer)
		if err != nil {
			t.Fatal(err)
		}
		for _, example := range examples {
			if err := schema.Validate(value(t, example)); err != nil {
				t.Errorf("%s: %v", pointer, err)
			}
		}
	}
	for name, s := range specification(t).Components.Schemas {
		check(name, s.Examples)
		for member, m := range s.Properties {
			check(name+"/properties/"+member, m.Examples)
		}
	}
}

// openRPC is the official meta-schema of OpenRPC 1.3.
func openRPC(t *testing.T) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	for file, addresses := range map[string][]string{
		"openrpc-1.3.schema.json":       {"https://meta.open-rpc.org", "https://meta.open-rpc.org/"},
		"json-schema-tools.schema.json": {"https://meta.json-schema.tools", "https://meta.json-schema.tools/"},
	} {
		b, err := os.ReadFile("../../testdata/openrpc/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for _, address := range addresses {
			addResource(t, c, address, b, "http://json-schema.org/draft-07/schema#")
		}
	}
	schema, err := c.Compile("https://meta.open-rpc.org/")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestTheSpecificationIsOpenRPC(t *testing.T) {
	schema := openRPC(t)
	if err := schema.Validate(value(t, registry.Document())); err != nil {
		t.Error(err)
	}
	if err := schema.Validate(value(t, []byte(`{"openrpc":"1.3.2","info":{"title":"x","version":"1"},"methods":[{"name":"x"}]}`))); err == nil {
		t.Error("a method without params passes the meta-schema: it is not applied")
	}
}

// addResource gives the compiler a document; where a dialect is named it takes the place of the document's own.
func addResource(t *testing.T, c *jsonschema.Compiler, address string, b []byte, dialect string) {
	t.Helper()
	doc := value(t, b)
	if dialect != "" {
		doc.(map[string]any)["$schema"] = dialect
		delete(doc.(map[string]any), "$id")
	}
	if err := c.AddResource(address, doc); err != nil {
		t.Fatal(err)
	}
}

func value(t testing.TB, b []byte) any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return v
}
