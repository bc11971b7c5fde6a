package registry

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// sample is a params struct as the generator makes them, with a field of every kind; it does not change
// with the specification.
type sample struct {
	Name   string
	Count  Opt[int64]
	Size   Opt[int64]
	Any    Opt[int64]
	Share  Opt[float64]
	Up     Opt[bool]
	Family Opt[AddressFamily]
	Via    Opt[netip.Addr]
	Dst    Opt[netip.Prefix]
	Own    Opt[netip.Prefix]
	At     Opt[time.Time]
	Code   Opt[string]
	Tags   []string
	Hops   []sampleHop
	Map    map[string]int64
	Hop    *sampleHop
}

type sampleHop struct {
	Via    netip.Addr
	Weight Opt[int64]
	Next   *sampleHop
}

var (
	sampleRule  = stringRule{minLength: 1, maxLength: 4}
	sampleTag   = stringRule{format: &formatTag}
	sampleCode  = stringRule{pattern: newPattern("^[a-z]+$")}
	sampleNames = []Param{
		{"name", true}, {"count", false}, {"size", false}, {"any", false}, {"share", false}, {"up", false}, {"family", false}, {"via", false},
		{"dst", false}, {"own", false}, {"at", false}, {"code", false}, {"tags", false}, {"hops", false}, {"map", false}, {"hop", false},
	}
)

func (*sample) members() []Param { return sampleNames }

func (v *sample) set(d *decoder, member int, raw []byte) {
	switch sampleNames[member].Name {
	case "name":
		v.Name, _ = d.text(raw, &sampleRule)
	case "count":
		v.Count = opt(d.integer(raw, integerRule{1, 65535}))
	case "size":
		v.Size = opt(d.integer(raw, integerRule{0, maxInteger}))
	case "any":
		v.Any = opt(d.integer(raw, integerRule{minInteger, maxInteger}))
	case "share":
		v.Share = opt(d.number(raw, numberRule{0, 1}))
	case "up":
		v.Up = opt(d.boolean(raw))
	case "family":
		v.Family = opt(decodeEnum(d, raw, []AddressFamily{AddressFamilyIpv4, AddressFamilyIpv6}))
	case "via":
		v.Via = opt(d.addr(raw))
	case "dst":
		v.Dst = opt(d.network(raw))
	case "own":
		v.Own = opt(d.prefix(raw))
	case "at":
		v.At = opt(d.instant(raw))
	case "code":
		v.Code = opt(d.text(raw, &sampleCode))
	case "tags":
		v.Tags = decodeArray(d, raw, countRule{1, 3}, func(d *decoder, raw []byte) (string, bool) { return d.text(raw, &sampleTag) })
	case "hops":
		v.Hops = decodeArray(d, raw, countRule{}, decodeObject[sampleHop])
	case "map":
		v.Map = decodeMap(d, raw, func(d *decoder, raw []byte) (int64, bool) { return d.integer(raw, integerRule{0, 9}) })
	case "hop":
		v.Hop = pointer(decodeObject[sampleHop](d, raw))
	}
}

func (*sampleHop) members() []Param {
	return []Param{{"via", true}, {"weight", false}, {"next", false}}
}

func (v *sampleHop) set(d *decoder, member int, raw []byte) {
	switch member {
	case 0:
		v.Via, _ = d.addr(raw)
	case 1:
		v.Weight = opt(d.integer(raw, integerRule{1, 255}))
	case 2:
		v.Next = pointer(decodeObject[sampleHop](d, raw))
	}
}

// nothing is a params struct without params.
type nothing struct{}

func (*nothing) members() []Param          { return nil }
func (*nothing) set(*decoder, int, []byte) {}

func TestDecode(t *testing.T) {
	hop := sampleHop{Via: netip.MustParseAddr("10.0.0.1")}
	for _, test := range []struct {
		raw  string
		want sample
	}{
		{`{"name":"a"}`, sample{Name: "a"}},
		{`["a"]`, sample{Name: "a"}},
		{`[ "a" , null , 7 ]`, sample{Name: "a", Size: Some(int64(7))}},
		{`{"name":"\u00e4\n"}`, sample{Name: "ä\n"}},
		{`{"n\u0061me":"a"}`, sample{Name: "a"}},
		{`{"name":"ääää"}`, sample{Name: "ääää"}},
		{`{"name":"a","count":1e3}`, sample{Name: "a", Count: Some(int64(1000))}},
		{`{"name":"a","count":1.0}`, sample{Name: "a", Count: Some(int64(1))}},
		{`{"name":"a","size":9007199254740991}`, sample{Name: "a", Size: Some(int64(maxInteger))}},
		{`{"name":"a","any":-9007199254740991}`, sample{Name: "a", Any: Some(int64(minInteger))}},
		{`{"name":"a","share":0.25}`, sample{Name: "a", Share: Some(0.25)}},
		{`{"name":"a","up":false}`, sample{Name: "a", Up: Some(false)}},
		{`{"name":"a","family":"ipv\u0036"}`, sample{Name: "a", Family: Some(AddressFamilyIpv6)}},
		{`{"name":"a","via":"::1"}`, sample{Name: "a", Via: Some(netip.IPv6Loopback())}},
		{`{"name":"a","dst":"10.0.0.0/8"}`, sample{Name: "a", Dst: Some(netip.MustParsePrefix("10.0.0.0/8"))}},
		{`{"name":"a","own":"10.0.0.1/8"}`, sample{Name: "a", Own: Some(netip.MustParsePrefix("10.0.0.1/8"))}},
		{`{"name":"a","at":"2026-11-23T08:30:00Z"}`, sample{Name: "a", At: Some(time.Date(2026, 11, 23, 8, 30, 0, 0, time.UTC))}},
		{`{"name":"a","tags":["x","y"]}`, sample{Name: "a", Tags: []string{"x", "y"}}},
		{`{"name":"a","hops":[]}`, sample{Name: "a", Hops: []sampleHop{}}},
		{`{"name":"a","hops":[{"via":"10.0.0.1","weight":2}]}`, sample{Name: "a", Hops: []sampleHop{{Via: hop.Via, Weight: Some(int64(2))}}}},
		{`{"name":"a","map":{"x":1,"":2}}`, sample{Name: "a", Map: map[string]int64{"x": 1, "": 2}}},
		{`{"name":"a","hop":{"via":"10.0.0.1","next":{"via":"10.0.0.1"}}}`, sample{Name: "a", Hop: &sampleHop{Via: hop.Via, Next: &hop}}},
	} {
		got, err := decodeParams[sample]([]byte(test.raw))
		if err != nil {
			t.Errorf("%s: %v", test.raw, err)
			continue
		}
		if diff := cmp.Diff(&test.want, got, compareValues); diff != "" {
			t.Errorf("%s:\n%s", test.raw, diff)
		}
	}
	for _, raw := range []string{"", "{}", " [ ] "} {
		if got, err := decodeParams[nothing]([]byte(raw)); err != nil || got == nil {
			t.Errorf("%q as params of a method that has none: %v, %v", raw, got, err)
		}
	}
}

// compareValues lets cmp look into optional values, and compare addresses by their values.
var compareValues = cmp.Options{
	cmp.Exporter(func(typ reflect.Type) bool { return strings.HasPrefix(typ.Name(), "Opt[") }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// faults decodes raw as params of T and returns the faults as text, one a line.
func faults[T any, P interface {
	*T
	object
}](t *testing.T, raw string) string {
	t.Helper()
	v, err := decodeParams[T, P]([]byte(raw))
	var e *ParamsError
	if !errors.As(err, &e) || v != nil {
		t.Errorf("%s: %v, %v; want a *ParamsError and nothing else", raw, v, err)
		return ""
	}
	out := ""
	for _, f := range e.Faults {
		out += f.Path + ": " + f.Message + "\n"
	}
	return out
}

func TestFaults(t *testing.T) {
	for _, test := range []struct{ raw, want string }{
		// The params as a whole.
		{`7`, ": must be an object or an array, not a number\n"},
		{`null`, ": must be an object or an array, not null\n"},
		{`"x`, ": must be an object or an array, not a string\n"},
		{` "x" `, ": must be an object or an array, not a string\n"},
		{``, "name: must be given\n"},
		{`{}`, "name: must be given\n"},
		{`[]`, "name: must be given\n"},
		{`[null]`, "name: must be given\n"},
		{`["a",2,3,4,0.5,true,"ipv4","::1","10.0.0.0/8","10.0.0.1/8","2026-11-23T08:30:00Z","x",["t"],[],{},null,1,2]`, ": must be at most 16 by position, not 18\n"},
		{`x`, ": must be JSON: byte 0: 'x' stands where a value must be\n"},
		{`{"name":"a",}`, ": must be JSON: byte 12: '}' stands where a member's name must be\n"},
		// Members.
		{`{"name":"a","Name":"b"}`, "Name: must not be given: known here are name, count, size, any, share, up, family, via, dst, own, at, code, tags, hops, map, hop\n"},
		{`{"name":"a","name":"a"}`, "name: must be given once\n"},
		{`{"name":null}`, "name: must be a string, not null\n"},
		{`{"name":"a","count":null}`, "count: must be an integer from 1 to 65535, not null\n"},
		{`{"name":"a","` + strings.Repeat("é", 40) + `":1}`, strings.Repeat("é", 32) + "…: must not be given: known here are name, count, size, any, share, up, family, via, dst, own, at, code, tags, hops, map, hop\n"},
		// Strings.
		{`{"name":7}`, "name: must be a string, not 7\n"},
		{`{"name":["a"]}`, "name: must be a string, not an array\n"},
		{`{"name":{"a":1}}`, "name: must be a string, not an object\n"},
		{`{"name":""}`, `name: must be 1 to 4 characters long, not ""` + "\n"},
		{`{"name":"\u0000aaaa"}`, `name: must be 1 to 4 characters long, not "\x00aaaa"` + "\n"},
		{`{"name":"` + strings.Repeat("a", 70) + `"}`, `name: must be 1 to 4 characters long, not "` + strings.Repeat("a", 64) + `…"` + "\n"},
		{`{"name":"a","code":"A"}`, `code: must be what the pattern ^[a-z]+$ allows, not "A"` + "\n"},
		{`{"name":"a","family":"inet"}`, `family: must be one of ipv4, ipv6, not "inet"` + "\n"},
		{`{"name":"a","family":4}`, `family: must be one of ipv4, ipv6, not 4` + "\n"},
		{`{"name":"a","via":4}`, `via: must be a string, not 4` + "\n"},
		{`{"name":"a","via":"x"}`, `via: must be an IPv4 or IPv6 address, not "x"` + "\n"},
		{`{"name":"a","dst":"10.0.0.1/8"}`, `dst: must be 10.0.0.0/8, which has no bits behind the prefix, not "10.0.0.1/8"` + "\n"},
		{`{"name":"a","own":"10.0.0.1"}`, `own: must be an address with its prefix length like 10.0.0.1/24, not "10.0.0.1"` + "\n"},
		{`{"name":"a","at":"now"}`, `at: must be an instant in UTC like 2026-11-23T08:30:00Z, not "now"` + "\n"},
		// Numbers.
		{`{"name":"a","count":"1"}`, `count: must be an integer from 1 to 65535, not "1"` + "\n"},
		{`{"name":"a","count":0}`, "count: must be an integer from 1 to 65535, not 0\n"},
		{`{"name":"a","count":65536}`, "count: must be an integer from 1 to 65535, not 65536\n"},
		{`{"name":"a","count":1.5}`, "count: must be an integer from 1 to 65535, not 1.5\n"},
		{`{"name":"a","size":-1}`, "size: must be an integer of at least 0 and less than 2^53, not -1\n"},
		{`{"name":"a","size":9007199254740992}`, "size: must be an integer of at least 0 and less than 2^53, not 9007199254740992\n"},
		{`{"name":"a","any":1e99}`, "any: must be an integer with an absolute value below 2^53, not 1e99\n"},
		{`{"name":"a","any":` + strings.Repeat("9", 70) + `}`, "any: must be an integer with an absolute value below 2^53, not " + strings.Repeat("9", 64) + "…\n"},
		{`{"name":"a","share":1.5}`, "share: must be a number from 0 to 1, not 1.5\n"},
		{`{"name":"a","share":true}`, "share: must be a number from 0 to 1, not true\n"},
		{`{"name":"a","up":1}`, "up: must be a boolean, not 1\n"},
		{`{"name":"a","up":"true"}`, `up: must be a boolean, not "true"` + "\n"},
		// Lists, maps, objects.
		{`{"name":"a","tags":"x"}`, `tags: must be an array, not "x"` + "\n"},
		{`{"name":"a","tags":[]}`, "tags: must have 1 to 3 elements, not 0\n"},
		{`{"name":"a","tags":["a","b","c","d"]}`, "tags: must have 1 to 3 elements, not 4\n"},
		{`{"name":"a","tags":["a",null]}`, "tags[1]: must be a string, not null\n"},
		{`{"name":"a","hops":[{"via":"::1"},{}]}`, "hops[1].via: must be given\n"},
		{`{"name":"a","hops":[7]}`, "hops[0]: must be an object, not 7\n"},
		{`{"name":"a","hop":[]}`, "hop: must be an object, not an array\n"},
		{`{"name":"a","hop":{"via":"::1","next":{"via":"::1","next":{"via":1}}}}`, "hop.next.next.via: must be a string, not 1\n"},
		{`{"name":"a","hop":{"via":"::1","gateway":1}}`, "hop.gateway: must not be given: known here are via, weight, next\n"},
		{`{"name":"a","map":7}`, "map: must be an object, not 7\n"},
		{`{"name":"a","map":{"x":10}}`, "map.x: must be an integer from 0 to 9, not 10\n"},
		{`{"name":"a","map":{"x":1,"x":1}}`, "map.x: must be given once\n"},
		// All at once, in the order in which they stand; what is missing comes last.
		{`{"count":0,"up":"x","extra":1,"hops":[{"via":"x"},{"weight":0}],"count":1}`,
			"count: must be an integer from 1 to 65535, not 0\n" +
				`up: must be a boolean, not "x"` + "\n" +
				"extra: must not be given: known here are name, count, size, any, share, up, family, via, dst, own, at, code, tags, hops, map, hop\n" +
				`hops[0].via: must be an IPv4 or IPv6 address, not "x"` + "\n" +
				"hops[1].weight: must be an integer from 1 to 255, not 0\nhops[1].via: must be given\n" +
				"count: must be given once\nname: must be given\n"},
	} {
		if diff := cmp.Diff(test.want, faults[sample](t, test.raw)); diff != "" {
			t.Errorf("%s:\n%s", test.raw, diff)
		}
	}
	if got := faults[nothing](t, `{"x":1}`); got != "x: must not be given: there are no members here\n" {
		t.Error(got)
	}
	if got := faults[nothing](t, `[1]`); got != ": must be at most 0 by position, not 1\n" {
		t.Error(got)
	}
}

func TestFaultsAreBounded(t *testing.T) {
	got := faults[sample](t, `{"name":"a","hops":[`+strings.Repeat("1,", 100_000)+`1]}`)
	lines := strings.Split(strings.TrimSpace(got), "\n")
	if len(lines) != maxFaults+1 || lines[maxFaults] != ": have more than 100 faults; the rest is not listed" {
		t.Errorf("%d faults, the last: %s", len(lines), lines[len(lines)-1])
	}
}

func TestRulesInWords(t *testing.T) {
	for want, got := range map[string]string{
		"at least 1 character":                         span(1, 0, "character"),
		"at least 2 characters":                        span(2, 0, "character"),
		"at most 1 element":                            span(0, 1, "element"),
		"at most 3 elements":                           span(0, 3, "element"),
		"1 element":                                    span(1, 1, "element"),
		"2 to 3 elements":                              span(2, 3, "element"),
		"a number":                                     numberRule{minNumber, maxNumber}.want(),
		"a number of at least 0.5":                     numberRule{0.5, maxNumber}.want(),
		"a number of at most 7":                        numberRule{minNumber, 7}.want(),
		"an integer from -9007199254740991 to 5":       integerRule{minInteger, 5}.want(),
		"an integer of at least 5 and less than 2^53":  integerRule{5, maxInteger}.want(),
		"an integer with an absolute value below 2^53": integerRule{minInteger, maxInteger}.want(),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestParamsErrorSaysTheFirstFault(t *testing.T) {
	for _, test := range []struct {
		faults []Fault
		want   string
	}{
		{nil, messageInvalidParams},
		{[]Fault{{Message: "must be an object"}}, messageInvalidParams + ": must be an object"},
		{[]Fault{{Path: "mtu", Message: "must be given"}, {Path: "x"}, {Path: "y"}}, messageInvalidParams + ": mtu must be given (and 2 more)"},
	} {
		if got := (&ParamsError{Faults: test.faults}).Error(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
