package registrygen_test

import (
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/registrygen"
)

// refusals are changes to the small specification, each of which must be refused with the place.
var refusals = []struct{ old, new, want string }{
	// The document.
	{`"openrpc": "1.3.2"`, `"openrpc": "1.2.6"`, "specification.openrpc: must be 1.3.2, not 1.2.6"},
	{`"openrpc": "1.3.2",`, ``, "specification: has no member openrpc"},
	{`"openrpc": "1.3.2",`, `"openrpc": "1.3.2", "servers": [],`, "specification: servers is not understood here"},
	{`"openrpc": "1.3.2",`, `"openrpc": "1.3.2", "openrpc": "1.3.2",`, "specification: has the member openrpc twice"},
	{`"openrpc": "1.3.2",`, `"openrpc": "1.3.2",,`, "specification: byte 23: ',' stands where a member's name must be"},
	{`"version": "0.2.0"`, `"version": "0.2"`, `specification.info.version: must be a semantic version like 1.2.3, not "0.2"`},
	{`"title": "small"`, `"title": 7`, "specification.info.title: must be a string, not a number"},
	{`"title": "small"`, `"title": " "`, "specification.info.title: must not be empty"},
	{`"title": "small",`, `"title": "small", "contact": {},`, "specification.info: contact is not understood here"},
	{`"title": "small",`, `"title": "small", "license": {"name": "X", "identifier": "Y"},`, "specification.info.license: identifier is not understood here"},

	// Schemas.
	{`"title": "Hop"`, `"title": "Hopp"`, `schema Hop: its title must be its name, not "Hopp"`},
	{`"Tag": {"title": "Tag"`, `"tag": {"title": "tag"`, "schema tag: its name must be CamelCase"},
	{`"description": "A mark.", `, ``, "schema Tag: has no member description"},
	{`"description": "How much.", `, ``, "schema Hop, properties.weight: has no description"},
	{`"weight": {`, `"Weight": {`, "schema Hop, properties.Weight: its name must be lower case with underscores"},
	{`"required": ["via"]`, `"required": ["via", "via"]`, "schema Hop, required: names via twice"},
	{`"required": ["via"]`, `"required": ["way"]`, "schema Hop: requires way, which it does not have"},
	{`"required": ["via"],`, ``, "schema Hop: has no member required"},
	{`"additionalProperties": false,
        "examples"`, `"additionalProperties": true,
        "examples"`, "schema Hop, additionalProperties: must be false"},
	{`"examples": [{"via": "10.0.0.1"}]`, `"examples": []`, "schema Hop, examples: must not be empty"},
	{`"next": {"$ref": "#/components/schemas/Hop"}`, `"next": {"$ref": "#/components/schemas/Hop", "description": "x"}`, "schema Hop, properties.next: description is not understood here"},
	{`"next": {"$ref": "#/components/schemas/Hop"}`, `"next": {"$ref": "#/components/schemas/Hops"}`, "schema Hop, properties.next: there is no schema Hops"},
	{`"next": {"$ref": "#/components/schemas/Hop"}`, `"next": {"$ref": "hop.json"}`, `schema Hop, properties.next: $ref must lead to #/components/schemas/NAME, not "hop.json"`},
	{`"required": ["via"]`, `"required": ["via", "next"]`, "schema Hop: requires itself and has no end"},
	{`"weight": {"type": "integer"`, `"weight": {"type": "object", "properties": {}`, "schema Hop, properties.weight: has no member additionalProperties"},
	{`"weight": {"type": "integer"`, `"weight": {"type": ["integer", "null"]`, "schema Hop, properties.weight.type: must be a string, not an array"},
	{`"weight": {"type": "integer"`, `"weight": {"type": "null"`, `schema Hop, properties.weight: type must be string, integer, number or boolean`},
	{`"weight": {"type": "integer"`, `"weight": {"oneOf": [], "type": "integer"`, "schema Hop, properties.weight: oneOf is not understood here"},
	{`"weight": {"type": "integer"`, `"weight": {"format": "int64", "type": "integer"`, "schema Hop, properties.weight: format is not understood here"},
	{`"weight": {"type": "integer"`, `"weight": {"nullable": true, "type": "integer"`, "schema Hop, properties.weight: nullable is not understood here"},
	{`"weight": {"type": "integer"`, `"weight": {"default": 1, "type": "integer"`, "schema Hop, properties.weight: default is not understood here"},
	{`"minimum": 1}`, `"minimum": 1.5}`, "schema Hop, properties.weight.minimum: must be an integer"},
	{`"minimum": 1}`, `"minimum": 2, "maximum": 1}`, "schema Hop, properties.weight: 2 to 1 leaves nothing"},
	{`"enum": ["ipv4", "ip-v6"]`, `"enum": ["ipv4", "IPv6"]`, "schema Family, enum: IPv6 must be lower case"},
	{`"enum": ["ipv4", "ip-v6"]`, `"enum": ["ipv4", "ipv4"]`, "schema Family, enum: has ipv4 twice"},
	{`"enum": ["ipv4", "ip-v6"]`, `"enum": []`, "schema Family, enum: must not be empty"},
	{`"enum": ["ipv4", "ip-v6"]`, `"enum": ["a-b", "a_b"]`, "its Go name FamilyAB is that of schema Family, a-b"},
	{`"Family", "type": "string"`, `"Family", "type": "integer"`, "schema Family: an enum must be of strings, not of integer"},
	{`{"type": "string", "description": "An address.", "format": "ip"}`, `{"type": "string", "description": "An address.", "enum": ["a"]}`, "schema Hop, properties.via: enum is not understood here"},
	{`"format": "tag"`, `"format": "email"`, "schema Tag: format email is not in the subset"},
	{`"pattern": "^[a-z` + "`" + `]+$"`, `"pattern": "("`, "param code, schema: pattern: error parsing regexp"},
	{`"maxItems": 4`, `"maxItems": -4`, "param addresses, schema.maxItems: must not be -4"},
	{`"maxItems": 4`, `"maxItems": 0`, "param addresses, schema.maxItems: must not be 0"},
	{`"maxItems": 4`, `"uniqueItems": true`, "param addresses, schema: uniqueItems is not understood here"},
	{`"items": {"type": "string", "format": "ip-interface"}`, `"items": {"type": "array", "items": {"type": "string"}}`, "param addresses, schema.items: lists and maps do not nest: name an object"},
	{`"Tag": {`, `"Spare": {"title": "Spare", "type": "string", "description": "Unused."}, "Tag": {`, "schema Spare: nothing refers to it"},
	{`"table_id": {`, `"table.id": {`, "schema Route, properties.table.id: its name must be lower case"},
	{`"table_id": {`, `"hops_": {`, "schema Route, properties.hops_: its name must be lower case"},

	// Errors.
	{`"code": 1011,`, `"code": 1011, "data": {},`, "specification.components.errors.OsError: data is not understood here"},
	{`"code": 1011`, `"code": 1001`, "error OsError: has the code or kind of Unsupported"},
	{`"the system refused"`, `"The system refused"`, "error OsError: its message must begin with a small letter"},
	{`"OsError": {"$ref": "#/components/schemas/OsErrorData"}`, `"OsError": {"$ref": "#/components/schemas/Hop"}`, "error OsError: x-error-data must refer to an object OsErrorData"},
	{`"required": ["kind", "errno"]`, `"required": ["errno"]`, "schema OsErrorData: must begin with a required member kind, an enum of one value"},
	{`"OsError": {"$ref": "#/components/schemas/OsErrorData"}`, `"OsErr": {"$ref": "#/components/schemas/OsErrorData"}`, "specification.x-error-data: has no member OsError"},
	{`"OsError": {"$ref": "#/components/schemas/OsErrorData"}`, `"OsError": {"$ref": "#/components/schemas/OsErrorData"}, "Other": {}`, "specification.x-error-data: Other is not understood here"},

	// Methods.
	{`"name": "net.routes"`, `"name": "net.Routes"`, "method net.Routes: its name must be lower-case words"},
	{`"name": "net.routes"`, `"name": "routes"`, "method routes: its name must be lower-case words"},
	{`"name": "net.routes"`, `"name": "net.vm_create.tap"`, "method net.vm_create.tap: its Go name NetVMCreateTapParams is that of method net.vm.create_tap"},
	{`"summary": "List them.",`, ``, "method net.routes: has no member summary"},
	{`"summary": "List them.",`, `"summary": "List them.", "deprecated": true,`, "method net.routes: deprecated is not understood here"},
	{`"x-right": "read", `, ``, "method net.routes: has no member x-right"},
	{`"x-right": "read"`, `"x-right": "reader"`, `method net.routes: x-right must be none, read, write or admin, not "reader"`},
	{`"x-right": "read"`, `"x-right": "write"`, "method net.routes: x-right write does not go with x-effect read"},
	{`"x-effect": "destroy"`, `"x-effect": "delete"`, `method net.vm.create_tap: x-effect must be read, write or destroy, not "delete"`},
	{`"x-effect": "destroy"`, `"x-effect": "read"`, "method net.vm.create_tap: x-right admin does not go with x-effect read"},
	{`"x-since": "0.2.0"`, `"x-since": "0.3.0"`, `method net.vm.create_tap: x-since must be a version up to 0.2.0, not "0.3.0"`},
	{`"x-since": "0.2.0"`, `"x-since": "0.2.0", "x-exposes": true`, "method net.vm.create_tap: x-exposes is for reads"},
	{`"x-stream": "routes"`, `"x-stream": "rows"`, "method net.routes: x-stream names rows, which the result does not have"},
	{`"x-stream": "routes"`, `"x-stream": "consistent"`, "method net.routes: x-stream: consistent must be a required list of objects"},
	{`"required": ["routes"]`, `"required": []`, "method net.routes: x-stream: routes must be a required list of objects"},
	{`"required": ["routes"]`, `"required": ["routes", "consistent"]`, "method net.routes: x-stream: beside the list there may only be optional scalars, not consistent"},
	{`"consistent": {"type": "boolean"`, `"consistent": {"items": {"type": "string"}, "type": "array"`, "method net.routes: x-stream: beside the list there may only be optional scalars, not consistent"},
	{`"items": {"$ref": "#/components/schemas/Route"}`, `"items": {"$ref": "#/components/schemas/Tag"}`, "method net.routes: x-stream: routes must be a required list of objects"},
	{`{"$ref": "#/components/errors/Unsupported"}`, `{"$ref": "#/components/errors/Gone"}`, "method net.routes: there is no error Gone"},
	{`{"$ref": "#/components/errors/OsError"}`, `{"$ref": "#/components/errors/InvalidParams"}`, "method net.vm.create_tap: lists the error InvalidParams twice"},
	{`{"$ref": "#/components/schemas/NetRoutesResult"}`, `{"$ref": "#/components/schemas/Tag"}`, "method net.routes: its result must be an object of components/schemas"},
	{`"result": {"name": "result", "schema": {"$ref": "#/components/schemas/NetRoutesResult"}},`, ``, "method net.routes: has no member result"},
	{`"result": {"name": "result", "schema": {"$ref": "#/components/schemas/NetRoutesResult"}},`, `"result": {"name": "result"},`, "method net.routes, result: has no member schema"},
	{`"name": "mtu", "required": false`, `"name": "mtu", "required": true`, ""},
	{`"name": "count", "required": false`, `"name": "count", "required": true`, "param count: is required and stands behind share, which is not"},
	{`"name": "count"`, `"name": "mtu"`, "param mtu: there are two of that name"},
	{`"name": "count"`, `"name": "Count"`, "param Count: its name must be lower case with underscores"},
	{`"name": "count", "required": false,`, `"name": "count",`, "param count: has no member required"},
	{`"name": "count", "required": false,`, `"name": "count", "required": false, "deprecated": true,`, "param count: deprecated is not understood here"},
	{`"paramStructure": "by-name",
      "params": [
`, `"paramStructure": "either",
      "params": [
`, `method net.vm.create_tap: paramStructure must be by-name, not "either"`},
	{`"summary": "One of them.",`, `"result2": 1,`, "method net.vm.create_tap, examples[0]: result2 is not understood here"},
	{`{"name": "vm_id", "value": "a"}`, `{"name": "vm_id"}`, "method net.vm.create_tap, examples[0].params[0]: has no member value"},
}

func TestRefusals(t *testing.T) {
	small := string(read(t, "testdata/small.json"))
	for _, test := range refusals {
		if strings.Count(small, test.old) == 0 {
			t.Errorf("the small specification has no %s", test.old)
			continue
		}
		_, err := registrygen.Generate([]byte(strings.Replace(small, test.old, test.new, 1)))
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s -> %s: %v", test.old, test.new, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s -> %s: %v; want %s", test.old, test.new, err, test.want)
		}
	}
}

func TestAllComplaintsComeAtOnce(t *testing.T) {
	small := string(read(t, "testdata/small.json"))
	small = strings.Replace(small, `"title": "Hop"`, `"title": "X"`, 1)
	small = strings.Replace(small, `"x-right": "read"`, `"right": "read"`, 1)
	_, err := registrygen.Generate([]byte(small))
	if err == nil || len(strings.Split(err.Error(), "\n")) != 3 {
		t.Errorf("want three complaints, got %v", err)
	}
}

// Whatever stands in the specification, the generator answers and does not panic.
func FuzzGenerate(f *testing.F) {
	small := string(read(f, "testdata/small.json"))
	f.Add([]byte(small))
	for _, test := range refusals {
		f.Add([]byte(strings.Replace(small, test.old, test.new, 1)))
	}
	f.Fuzz(func(t *testing.T, spec []byte) {
		files, err := registrygen.Generate(spec)
		if (err == nil) != (len(files) > 0) {
			t.Errorf("%d files, %v", len(files), err)
		}
	})
}
