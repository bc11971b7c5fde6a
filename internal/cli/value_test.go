package cli

import (
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

var hopMembers = []param{
	{name: "gateway", kind: kindText}, {name: "weight", kind: kindInteger}, {name: "flags", kind: kindText, list: true},
	{name: "inner", kind: kindObject, members: &innerMembers},
}

var innerMembers = []param{{name: "usage_max", kind: kindInteger}, {name: "soft", kind: kindBoolean}, {name: "size_bytes", kind: kindInteger}}

func TestValues(t *testing.T) {
	integer, bytes, boolean, text := param{name: "n", kind: kindInteger}, param{name: "size_bytes", kind: kindInteger}, param{name: "up", kind: kindBoolean}, param{name: "t"}
	texts, numbers := param{name: "t", list: true}, param{name: "n", kind: kindInteger, list: true}
	object, objects := param{name: "o", kind: kindObject, members: &hopMembers}, param{name: "o", kind: kindObject, members: &hopMembers, list: true}
	for _, c := range []struct {
		p     param
		typed []string
		want  string // or, where it begins with !, what the error says
	}{
		{integer, []string{"7"}, `7`},
		{integer, []string{"-7"}, `-7`},
		{integer, []string{"7x"}, `!"7x" is not a whole number`},
		{integer, []string{"9223372036854775808"}, `!not a whole number`},
		{bytes, []string{"10G"}, `10737418240`},
		{bytes, []string{"10GB"}, `10000000000`},
		{bytes, []string{"1 MiB"}, `1048576`},
		{bytes, []string{"512"}, `512`},
		{bytes, []string{"0"}, `0`},
		{bytes, []string{"99999999P"}, `!is not a size`},
		{bytes, []string{"G"}, `!is not a size`},
		{bytes, []string{"1.5G"}, `!is not a size`},
		{bytes, []string{"10 apples"}, `!is not a size`},
		{boolean, []string{"true"}, `true`},
		{boolean, []string{"0"}, `false`},
		{boolean, []string{"maybe"}, `!neither true nor false`},
		{text, []string{`a"b`}, `"a\"b"`},
		{text, []string{"first", "second"}, `"second"`},
		{texts, []string{"a,b", "c"}, `["a","b","c"]`},
		{texts, []string{`["a,b","c"]`}, `["a,b","c"]`},
		{texts, []string{`["a"`}, `!is not JSON`},
		{numbers, []string{"1,2"}, `[1,2]`},
		{numbers, []string{"1,,2"}, `!"" is not a whole number`},
		{object, []string{"gateway=192.0.2.1,weight=3"}, `{"gateway":"192.0.2.1","weight":3}`},
		{object, []string{"gateway=192.0.2.1", "weight=3"}, `{"gateway":"192.0.2.1","weight":3}`},
		{object, []string{"inner.usage-max=50,inner.soft=true,inner.size_bytes=1K"}, `{"inner":{"usage_max":50,"soft":true,"size_bytes":1024}}`},
		{object, []string{`inner={"usage_max":1,"soft":true},weight=2`}, `{"inner":{"usage_max":1,"soft":true},"weight":2}`},
		{object, []string{`flags=["onlink","pervasive"],weight=2`}, `{"flags":["onlink","pervasive"],"weight":2}`},
		{object, []string{"flags=onlink"}, `{"flags":["onlink"]}`},
		{object, []string{`{"any":"thing"}`}, `{"any":"thing"}`},
		{object, []string{"gateway"}, `!must be KEY=VALUE; the keys are gateway, weight, flags, inner`},
		{object, []string{"nothing=1"}, `!there is no key "nothing"`},
		{object, []string{"weight.x=1"}, `!weight has no keys of its own`},
		{object, []string{"weight=x"}, `!weight: "x" is not a whole number`},
		{objects, []string{"gateway=192.0.2.1", `{"weight":2}`}, `[{"gateway":"192.0.2.1"},{"weight":2}]`},
		{objects, []string{`[{"weight":2}]`}, `[{"weight":2}]`},
	} {
		v := &value{param: &c.p}
		var err error
		for _, typed := range c.typed {
			if err == nil {
				err = v.Set(typed)
			}
		}
		wrong, fails := strings.CutPrefix(c.want, "!")
		switch {
		case fails && (err == nil || !strings.Contains(err.Error(), wrong)):
			t.Errorf("%q: %v, not %s", c.typed, err, wrong)
		case !fails && (err != nil || string(v.json()) != c.want):
			t.Errorf("%q is %s, %v, not %s", c.typed, v.json(), err, c.want)
		}
	}
}

// FuzzValue: whatever is typed for whatever param becomes JSON, or an error, and never something between.
func FuzzValue(f *testing.F) {
	for _, seed := range []string{"", "7", "10G", "true", "a,b", `["a"]`, "gateway=1,weight=2", "inner.soft=true", `inner={"a":[1,2]},weight=1`, "\xff", "=", ".=,", "{", "inner.=", "flags=[\"]\"]"} {
		f.Add(seed)
	}
	params := []param{
		{name: "n", kind: kindInteger}, {name: "n_bytes", kind: kindInteger}, {name: "f", kind: kindNumber}, {name: "b", kind: kindBoolean}, {name: "t"},
		{name: "j", kind: kindJSON}, {name: "o", kind: kindObject, members: &hopMembers},
		{name: "n", kind: kindInteger, list: true}, {name: "t", list: true}, {name: "o", kind: kindObject, members: &hopMembers, list: true},
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, p := range params {
			v := &value{param: &p}
			if err := v.Set(text); err != nil || !v.set() {
				continue
			}
			if err := jsonwire.Valid(v.json()); err != nil {
				t.Fatalf("%q for %s became %q: %v", text, p.name, v.json(), err)
			}
		}
	})
}
