package registry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/pkg/registry"
	"github.com/geomind/my_os_server/pkg/registry/registrytest"
)

// checkDecode checks what holds for any method and any bytes: either faults come back, each with a message,
// or params that a second implementation finds to fit the schemas and that survive being written and read
// again.
func checkDecode(t *testing.T, m *registry.Method, raw []byte) {
	t.Helper()
	first, err := m.Decode(raw)
	if err != nil {
		checkFaults(t, m, raw, err)
		return
	}
	if jsonwire.Valid(raw) != nil && len(raw) > 0 {
		t.Errorf("%s takes %q, which is not JSON", m.Name, raw)
	}
	written := first.(encodable).AppendJSON(nil)
	if err := registrytest.CheckParams(m.Name, written); err != nil {
		t.Errorf("%s takes %q: %v", m.Name, raw, err)
	}
	second, err := m.Decode(written)
	if err != nil {
		t.Errorf("%s takes %q but not %s: %v", m.Name, raw, written, err)
	} else if !reflect.DeepEqual(first, second) {
		t.Errorf("%s: %q becomes %s, which is another value", m.Name, raw, written)
	}
}

func checkFaults(t *testing.T, m *registry.Method, raw []byte, err error) {
	t.Helper()
	var e *registry.ParamsError
	if !errors.As(err, &e) || len(e.Faults) == 0 {
		t.Fatalf("%s: %q: %v; want a *ParamsError with faults", m.Name, raw, err)
	}
	for _, f := range e.Faults {
		if !strings.HasPrefix(f.Message, "must ") && !strings.HasPrefix(f.Message, "have more than ") {
			t.Errorf("%s: %q: fault %+v", m.Name, raw, f)
		}
	}
	if err := registrytest.CheckError(e.RPCCode(), e.AppendData(nil)); err != nil {
		t.Errorf("%s: %q: %v", m.Name, raw, err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range specification(f).Methods {
		f.Add(m.Name, []byte(`{}`))
		f.Add(m.Name, []byte(`[]`))
		for _, example := range m.Examples {
			named, positioned := map[string]json.RawMessage{}, []json.RawMessage{}
			for _, p := range example.Params {
				named[p.Name] = p.Value
				positioned = append(positioned, p.Value)
			}
			f.Add(m.Name, marshal(f, named))
			f.Add(m.Name, marshal(f, positioned))
		}
	}
	f.Fuzz(func(t *testing.T, method string, raw []byte) {
		if m, ok := registry.Lookup(method); ok {
			checkDecode(t, m, raw)
		}
	})
}

// For each param of each method: values of every kind, at the edges of what rules allow. A value that our
// decoder refuses must be one that the schemas refuse, or that breaks a rule which schemas cannot have.
func TestDecodersAgreeWithTheSchemas(t *testing.T) {
	for _, m := range registry.All() {
		for _, p := range m.Params {
			for _, value := range edgeValues {
				raw := []byte(`{"` + p.Name + `":` + value + `}`)
				checkDecode(t, m, raw)
				ours, theirs := refuses(m, p.Name, raw), registrytest.CheckParam(m.Name, p.Name, []byte(value)) != nil
				if ours != theirs && !beyondSchemas(value) {
					t.Errorf("%s with %s: refused by us %t, by the schema %t", m.Name, raw, ours, theirs)
				}
			}
		}
	}
}

// refuses tells whether the method finds a fault in the param.
func refuses(m *registry.Method, param string, raw []byte) bool {
	_, err := m.Decode(raw)
	var e *registry.ParamsError
	if !errors.As(err, &e) {
		return false
	}
	for _, f := range e.Faults {
		if strings.HasPrefix(f.Path, param) {
			return true
		}
	}
	return false
}

var edgeValues = []string{
	`null`, `true`, `false`, `0`, `1`, `-1`, `1.0`, `1.5`, `1e3`, `2`, `7`, `64`, `67`, `68`, `255`, `256`, `1023`, `1280`, `4094`, `4095`, `4096`, `65535`, `65536`, `100000`,
	`4294967295`, `4294967296`, `9007199254740991`, `9007199254740992`, `-9007199254740991`, `1e300`,
	`""`, `" "`, `"a"`, `"A"`, `"é"`, `"eth0"`, `"0"`, `"00ff"`, `"x y"`, `"a/b"`, `"/"`, `"/mnt/data"`, `"/dev/vda"`, `"UUID=1"`, `"10.0.0.1"`, `"10.0.0.0/8"`, `"10.0.0.1/8"`,
	`"::1"`, `"::/0"`, `"fe80::1%eth0"`, `"::ffff:10.0.0.1"`, `"52:54:00:12:34:56"`, `"2026-11-23T08:30:00Z"`, `"1A2B-3C4D"`, `"0fc63daf-8483-4772-8e79-3d69d8477de4"`,
	`"ipv4"`, `"tcp"`, `"linux"`, `"raid1"`, `"` + strings.Repeat("a", 64) + `"`, `"` + strings.Repeat("a", 65) + `"`, `"` + strings.Repeat("é", 64) + `"`, `"` + strings.Repeat("a", 5000) + `"`, `"1-4094"`, `"4095"`,
	`[]`, `[null]`, `[1]`, `[1,1]`, `["a"]`, `["/dev/vda"]`, `["/dev/vda","/dev/vdb"]`, `["10.0.0.1/8"]`, `["1","2-5"]`, `[{}]`, `[[]]`, `[{"gateway":"10.0.0.1"}]`, `[` + strings.Repeat(`"a",`, 2000) + `"a"]`,
	`{}`, `{"a":1}`, `{"a":"b"}`, `{"size_bytes":1}`, `{"serial":"x"}`, `{"data":{}}`,
}

// beyondSchemas tells whether a value breaks a rule of ours that a schema without bounds does not have:
// integers are at most 2^53-1.
func beyondSchemas(value string) bool { return value == `9007199254740992` || value == `1e300` }

func BenchmarkDecode(b *testing.B) {
	m, ok := registry.Lookup("net.routes.add")
	if !ok {
		b.Fatal("no method net.routes.add")
	}
	raw := []byte(`{"dst":"10.20.0.0/16","gateway":"192.0.2.1","interface":"eth0","metric":100,"tag":"vm-17"}`)
	b.Run("registry", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.Decode(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("registry-no-params", func(b *testing.B) {
		health, _ := registry.Lookup("rpc.health")
		b.ReportAllocs()
		for b.Loop() {
			if _, err := health.Decode([]byte(`{}`)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d := json.NewDecoder(bytes.NewReader(raw))
			d.DisallowUnknownFields()
			if err := d.Decode(new(registry.NetRoutesAddParams)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
