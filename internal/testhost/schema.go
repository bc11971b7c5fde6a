package testhost

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/geomind/my_os_server/api"
)

// ValidateResult fails the test where result, the JSON of a method's result, is not valid against the
// schema that the specification has for it, formats of our own included.
func ValidateResult(t testing.TB, method string, result []byte) {
	t.Helper()
	schema, err := resultSchema(method)
	if err != nil {
		t.Fatalf("schema of %s: %v", method, err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(result))
	if err != nil {
		t.Fatalf("result of %s: %v", method, err)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("result of %s: %v", method, err)
	}
}

// spec is the specification, parsed once.
var spec = sync.OnceValues(func() (*specification, error) {
	s := &specification{schemas: map[string]*jsonschema.Schema{}}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(api.Document))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(api.Document, &s.document); err != nil {
		return nil, err
	}
	s.compiler = jsonschema.NewCompiler()
	s.compiler.DefaultDraft(jsonschema.Draft7)
	for name, check := range formats {
		s.compiler.RegisterFormat(&jsonschema.Format{Name: name, Validate: ofString(check)})
	}
	s.compiler.AssertFormat()
	return s, s.compiler.AddResource(specURL, doc)
})

const specURL = "openrpc.json"

type specification struct {
	document struct {
		Methods []struct {
			Name   string
			Result struct {
				Schema struct {
					Ref string `json:"$ref"`
				}
			}
		}
	}
	compiler *jsonschema.Compiler

	mu      sync.Mutex
	schemas map[string]*jsonschema.Schema // by method
}

func resultSchema(method string) (*jsonschema.Schema, error) {
	s, err := spec()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if schema, ok := s.schemas[method]; ok {
		return schema, nil
	}
	for _, m := range s.document.Methods {
		if m.Name == method {
			s.schemas[method], err = s.compiler.Compile(specURL + m.Result.Schema.Ref)
			return s.schemas[method], err
		}
	}
	return nil, fmt.Errorf("no such method")
}

// formats are those of the specification that JSON Schema does not have, and those that it has with a
// form of ours.
var formats = map[string]func(string) error{
	"ifname":       matches(`^[^/:\s]{1,15}$`),
	"mac":          matches(`^[0-9a-f]{2}(:[0-9a-f]{2}){5}$`),
	"hex":          matches(`^[0-9a-f]+$`),
	"abs-path":     matches(`^/[^\x00]*$`),
	"tag":          matches(`^[ !#-\[\]-~]{1,64}$`),
	"comment":      matches(`^[ !#-\[\]-~]{1,64}$`),
	"date-time":    matches(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`),
	"ip":           canonical(netip.ParseAddr),
	"ip-interface": canonical(netip.ParsePrefix),
	"ip-prefix": canonical(func(s string) (netip.Prefix, error) {
		p, err := netip.ParsePrefix(s)
		return p.Masked(), err
	}),
}

func ofString(check func(string) error) func(any) error {
	return func(v any) error {
		if s, ok := v.(string); ok {
			return check(s)
		}
		return nil
	}
}

func matches(pattern string) func(string) error {
	re := regexp.MustCompile(pattern)
	return func(s string) error {
		if !re.MatchString(s) {
			return fmt.Errorf("%q does not match %s", s, pattern)
		}
		return nil
	}
}

// canonical asks that s is written as the parsed value writes itself.
func canonical[T fmt.Stringer](parse func(string) (T, error)) func(string) error {
	return func(s string) error {
		v, err := parse(s)
		if err == nil && v.String() != s {
			err = fmt.Errorf("%q is not in canonical form, %q", s, v)
		}
		if err != nil && strings.Contains(s, "%") {
			err = fmt.Errorf("%w (zones are not part of an address)", err)
		}
		return err
	}
}
