// Package registrytest holds what servers answer against the specification's own schemas. It is for
// tests: it compiles the schemas with a full JSON Schema implementation, which shares no code with the
// generated encoders and so is a witness for them.
//
// It does not judge rpc.discover, whose schema is OpenRPC's and not ours.
package registrytest

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/geomind/my_os_server/pkg/registry"
)

// address names the specification among the compiler's resources; nothing is fetched from it.
const address = "mem:///openrpc.json"

// specification is the document with its schemas, compiled as they are asked for.
type specification struct {
	mu       sync.Mutex
	compiler *jsonschema.Compiler
	methods  []any
	errors   map[string]any
}

var load = sync.OnceValues(func() (*specification, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(registry.Document()))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7)
	c.AssertFormat()
	for _, name := range registry.Formats() {
		c.RegisterFormat(&jsonschema.Format{Name: name, Validate: func(v any) error {
			if s, ok := v.(string); ok {
				return registry.CheckFormat(name, s)
			}
			return nil
		}})
	}
	if err := c.AddResource(address, doc); err != nil {
		return nil, err
	}
	top := doc.(map[string]any)
	components := top["components"].(map[string]any)
	return &specification{compiler: c, methods: top["methods"].([]any), errors: components["errors"].(map[string]any)}, nil
})

// CheckParams tells whether params, a JSON object, is what the method takes by name, as far as schemas
// can say.
func CheckParams(method string, params []byte) error {
	m, ok := registry.Lookup(method)
	if !ok {
		return fmt.Errorf("%s: no such method", method)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(params))
	if err != nil {
		return fmt.Errorf("params of %s: %w", method, err)
	}
	given, ok := v.(map[string]any)
	if !ok {
		return fmt.Errorf("params of %s: not an object", method)
	}
	for i, param := range m.Params {
		value, there := given[param.Name]
		if !there && param.Required {
			return fmt.Errorf("params of %s: %s is missing", method, param.Name)
		}
		delete(given, param.Name)
		if !there {
			continue
		}
		if err := check(fmt.Sprintf("/methods/%d/params/%d/schema", m.Index, i), value); err != nil {
			return fmt.Errorf("param %s of %s: %w", param.Name, method, err)
		}
	}
	for name := range given {
		return fmt.Errorf("params of %s: there is no %s", method, name)
	}
	return nil
}

// CheckResult tells whether result is what the method may answer.
func CheckResult(method string, result []byte) error {
	m, ok := registry.Lookup(method)
	if !ok {
		return fmt.Errorf("%s: no such method", method)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(result))
	if err != nil {
		return fmt.Errorf("result of %s: %w", method, err)
	}
	if err := check("/methods/"+strconv.Itoa(m.Index)+"/result/schema", v); err != nil {
		return fmt.Errorf("result of %s: %w", method, err)
	}
	return nil
}

// CheckError tells whether data is what an error of the code may carry.
func CheckError(code int, data []byte) error {
	s, err := load()
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("data of error %d: %w", code, err)
	}
	for name, e := range s.errors {
		if fmt.Sprint(e.(map[string]any)["code"]) != strconv.Itoa(code) {
			continue
		}
		if err := check("/x-error-data/"+name, v); err != nil {
			return fmt.Errorf("data of error %d: %w", code, err)
		}
		return nil
	}
	return fmt.Errorf("error %d: not in the specification", code)
}

// check validates v against the schema at a place of the specification.
func check(pointer string, v any) error {
	s, err := load()
	if err != nil {
		return err
	}
	s.mu.Lock()
	schema, err := s.compiler.Compile(address + "#" + pointer)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return schema.Validate(v)
}
