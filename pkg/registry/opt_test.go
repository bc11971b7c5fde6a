package registry_test

import (
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/pkg/registry"
)

func TestOpt(t *testing.T) {
	absent := registry.Opt[int64]{}
	zero := registry.Some(int64(0))
	if _, ok := absent.Get(); ok || absent.IsSet() || !absent.IsZero() || absent.Or(7) != 7 {
		t.Errorf("the zero Opt is not absent: %+v", absent)
	}
	if v, ok := zero.Get(); v != 0 || !ok || !zero.IsSet() || zero.IsZero() || zero.Or(7) != 0 {
		t.Errorf("Some(0) is absent: %+v", zero)
	}
	if registry.NonZero("").IsSet() || registry.NonZero("x").Or("") != "x" {
		t.Error("NonZero is not absent for the zero value, and there for others")
	}
}

func TestOptInJSON(t *testing.T) {
	type object struct {
		N    registry.Opt[int64]      `json:"n,omitzero"`
		S    registry.Opt[string]     `json:"s,omitzero"`
		Addr registry.Opt[netip.Addr] `json:"addr,omitzero"`
		At   registry.Opt[time.Time]  `json:"at,omitzero"`
	}
	for text, want := range map[string]object{
		`{}`:             {},
		`{"n":0,"s":""}`: {N: registry.Some(int64(0)), S: registry.Some("")},
		`{"addr":"::1","at":"2026-11-23T08:30:00Z"}`: {Addr: registry.Some(netip.IPv6Loopback()), At: registry.Some(time.Date(2026, 11, 23, 8, 30, 0, 0, time.UTC))},
	} {
		var got object
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(registry.Opt[int64]{}, registry.Opt[string]{}, registry.Opt[netip.Addr]{}, registry.Opt[time.Time]{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s:\n%s", text, diff)
		}
		if b, err := json.Marshal(want); err != nil || string(b) != text {
			t.Errorf("%s, %v; want %s", b, err, text)
		}
	}
	var o registry.Opt[int64]
	if err := json.Unmarshal([]byte(`"x"`), &o); err == nil || o.IsSet() {
		t.Errorf("a string in an Opt of integers: %v, %+v", err, o)
	}
	if err := json.Unmarshal([]byte(`null`), &o); err != nil || o.IsSet() {
		t.Errorf("null: %v, %+v", err, o)
	}
	if b, err := json.Marshal(o); err != nil || string(b) != "null" {
		t.Errorf("an absent Opt outside of a struct is %s, %v", b, err)
	}
}
