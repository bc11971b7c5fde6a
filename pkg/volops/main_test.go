package volops

import (
	"encoding/json"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

func newVol(t testing.TB, o Options) *Vol {
	t.Helper()
	v, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// try calls a method with params in JSON, the way the server does.
func try(t testing.TB, v *Vol, method, params string) ([]byte, error) {
	t.Helper()
	row, ok := registry.Lookup(method)
	if !ok {
		t.Fatalf("there is no method %s", method)
	}
	p, err := row.Decode([]byte(params))
	if err != nil {
		t.Fatalf("%s %s: %v", method, params, err)
	}
	out := &registry.Out{}
	err = row.Call(t.Context(), &registry.Servers{Vol: v}, p, out)
	return out.Buf, err
}

// result is what a call that must succeed returns. It is held against its schema.
func result(t testing.TB, v *Vol, method, params string) []byte {
	t.Helper()
	b, err := try(t, v, method, params)
	if err != nil {
		t.Fatalf("%s %s: %v", method, params, err)
	}
	testhost.ValidateResult(t, method, b)
	return b
}

// rows is the list in the result of a call, each row by its member names.
func rows(t testing.TB, v *Vol, method, params, list string) []map[string]any {
	t.Helper()
	var all map[string]json.RawMessage
	b := result(t, v, method, params)
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	var found []map[string]any
	if err := json.Unmarshal(all[list], &found); err != nil {
		t.Fatal(err)
	}
	return found
}
