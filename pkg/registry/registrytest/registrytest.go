// Package registrytest holds what servers answer against the specification's own schemas. It is for
// tests: it compiles the schemas with a full JSON Schema implementation, which shares no code with the
// generated encoders and so is a witness for them.
//
// It does not judge rpc.discover, whose schema is OpenRPC's and not ours.
package registrytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
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
	errors   map[string]any
}

// What callers give may be written in any way that the formats allow; what servers answer is written in
// one way only.
var (
	forParams  = sync.OnceValues(func() (*specification, error) { return load(registry.CheckFormat) })
	forResults = sync.OnceValues(func() (*specification, error) { return load(checkCanonical) })
)

// checkCanonical is registry.CheckFormat for what servers answer: addresses in their one canonical text.
func checkCanonical(format, s string) error {
	if err := registry.CheckFormat(format, s); err != nil {
		return err
	}
	var canonical string
	switch format {
	case "ip":
		canonical = netip.MustParseAddr(s).String()
	case "ip-prefix", "ip-interface":
		canonical = netip.MustParsePrefix(s).String()
	default:
		return nil
	}
	if s != canonical {
		return fmt.Errorf("must be written as %s", canonical)
	}
	return nil
}

func load(checkFormat func(format, s string) error) (*specification, error) {
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
				return checkFormat(name, s)
			}
			return nil
		}})
	}
	if err := c.AddResource(address, doc); err != nil {
		return nil, err
	}
	components := doc.(map[string]any)["components"].(map[string]any)
	return &specification{compiler: c, errors: components["errors"].(map[string]any)}, nil
}

// CheckParams tells whether params, a JSON object, is what the method takes by name, as far as schemas
// can say.
func CheckParams(method string, params []byte) error {
	m, ok := registry.Lookup(method)
	if !ok {
		return fmt.Errorf("%s: no such method", method)
	}
	var given map[string]json.RawMessage
	if err := json.Unmarshal(params, &given); err != nil {
		return fmt.Errorf("params of %s: %w", method, err)
	}
	for _, param := range m.Params {
		value, there := given[param.Name]
		delete(given, param.Name)
		if !there && param.Required {
			return fmt.Errorf("params of %s: %s is missing", method, param.Name)
		}
		if !there {
			continue
		}
		if err := CheckParam(method, param.Name, value); err != nil {
			return err
		}
	}
	for name := range given {
		return fmt.Errorf("params of %s: there is no %s", method, name)
	}
	return nil
}

// CheckParam tells whether value fits the schema of one of the method's params.
func CheckParam(method, param string, value []byte) error {
	m, ok := registry.Lookup(method)
	if !ok {
		return fmt.Errorf("%s: no such method", method)
	}
	i := slices.IndexFunc(m.Params, func(p registry.Param) bool { return p.Name == param })
	if i < 0 {
		return fmt.Errorf("params of %s: there is no %s", method, param)
	}
	if err := check(forParams, fmt.Sprintf("/methods/%d/params/%d/schema", m.Index, i), value); err != nil {
		return fmt.Errorf("param %s of %s: %w", param, method, err)
	}
	return nil
}

// CheckResult tells whether result is what the method may answer.
func CheckResult(method string, result []byte) error {
	m, ok := registry.Lookup(method)
	if !ok {
		return fmt.Errorf("%s: no such method", method)
	}
	if err := check(forResults, "/methods/"+strconv.Itoa(m.Index)+"/result/schema", result); err != nil {
		return fmt.Errorf("result of %s: %w", method, err)
	}
	return nil
}

// CheckError tells whether data is what an error of the code may carry.
func CheckError(code int, data []byte) error {
	s, err := forResults()
	if err != nil {
		return err
	}
	for name, e := range s.errors {
		if fmt.Sprint(e.(map[string]any)["code"]) != strconv.Itoa(code) {
			continue
		}
		if err := check(forResults, "/x-error-data/"+name, data); err != nil {
			return fmt.Errorf("data of error %d: %w", code, err)
		}
		return nil
	}
	return fmt.Errorf("error %d: not in the specification", code)
}

// check validates a JSON text against the schema at a place of the specification.
func check(spec func() (*specification, error), pointer string, text []byte) error {
	s, err := spec()
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
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
