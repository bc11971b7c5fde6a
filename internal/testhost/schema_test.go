package testhost

import (
	"fmt"
	"testing"
)

// record is a testing.TB that notes failures instead of failing.
type record struct {
	testing.TB
	failed string
}

func (r *record) Helper()                      {}
func (r *record) Errorf(f string, args ...any) { r.failed = fmt.Sprintf(f, args...) }
func (r *record) Fatalf(f string, args ...any) { r.failed = fmt.Sprintf(f, args...) }

func TestValidateResult(t *testing.T) {
	route := func(members string) string {
		return `{"routes":[{"dst":"10.0.0.0/8","family":"ipv4","type":"unicast","table":254,"protocol":"static","scope":"global","managed":false` + members + `}]}`
	}
	tests := map[string]struct {
		result string
		valid  bool
	}{
		"a route":                  {route(``), true},
		"no routes":                {`{"routes":[]}`, true},
		"all of a stream's end":    {`{"routes":[],"consistent":false}`, true},
		"a lacking member":         {`{}`, false},
		"an unknown member":        {route(`,"colour":"red"`), false},
		"null":                     {route(`,"gateway":null`), false},
		"an address":               {route(`,"gateway":"10.0.0.1"`), true},
		"no address":               {route(`,"gateway":"10.0.0.256"`), false},
		"an address not canonical": {route(`,"gateway":"2001:DB8::1"`), false},
		"a prefix with host bits":  {route(`,"source":"10.0.0.1/8"`), false},
		"a number out of range":    {route(`,"tos":256`), false},
		"an unknown enum value":    {`{"routes":[{"dst":"10.0.0.0/8","family":"ipv5","type":"unicast","table":254,"protocol":"static","scope":"global","managed":false}]}`, false},
		"no JSON":                  {`{`, false},
	}
	for name, test := range tests {
		r := &record{TB: t}
		ValidateResult(r, "net.routes", []byte(test.result))
		if (r.failed == "") != test.valid {
			t.Errorf("%s: valid %v, want %v (%s)", name, r.failed == "", test.valid, r.failed)
		}
	}
	r := &record{TB: t}
	func() {
		defer func() { _ = recover() }() // Fatalf of a record goes on
		ValidateResult(r, "net.nothing", []byte(`{}`))
	}()
	if r.failed == "" {
		t.Error("a method that is not there has a schema")
	}
}
