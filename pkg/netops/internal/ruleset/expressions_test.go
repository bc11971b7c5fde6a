package ruleset

import (
	"reflect"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/pkg/registry"
)

// A kind that is not known, and an attribute that is not known, stand as they came.
func TestFirewallKeepsWhatItDoesNotKnow(t *testing.T) {
	unknown := nft.Expression{Name: "quantum", Data: []byte{8, 0, 1, 0, 0, 0, 0, 5}}
	if x := expressionOf(0, unknown); x.Type != "quantum" || x.Raw.Or("") != "0800010000000005" {
		t.Errorf("%+v", x)
	}
	newer := nft.Expression{Name: "counter", Data: append([]byte{12, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 7}, 8, 0, 99, 0, 0, 0, 0, 1)}
	if x := expressionOf(0, newer); x.Counter == nil || x.Counter.Bytes != 7 || len(x.Raw.Or("")) != 40 {
		t.Errorf("%+v", x)
	}
	broken := nft.Expression{Name: "counter", Data: []byte{6, 0, 1, 0, 0, 0}}
	if x := expressionOf(0, broken); x.Counter != nil || x.Raw.Or("") != "060001000000" {
		t.Errorf("%+v", x)
	}
	if s := statefulOf(unknown); s.Type != "quantum" || !s.Raw.IsSet() {
		t.Errorf("%+v", s)
	}
}

// Every kind that the table has a member for is decoded.
func TestFirewallKnowsEveryKind(t *testing.T) {
	x := reflect.TypeFor[registry.NftExpression]()
	for i := range x.NumField() {
		name, _, _ := strings.Cut(x.Field(i).Tag.Get("json"), ",")
		if _, ok := expressionKinds[name]; !ok && name != "type" && name != "raw" {
			t.Errorf("no decoder for %s", name)
		}
	}
	if len(expressionKinds) != x.NumField()-2+1 { // and notrack, which has no member
		t.Errorf("%d decoders for %d members", len(expressionKinds), x.NumField()-2)
	}
}
