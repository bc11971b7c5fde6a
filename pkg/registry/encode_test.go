package registry_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// encodable is what the generator makes of every object.
type encodable interface{ AppendJSON([]byte) []byte }

// wireTypes are all structs that go over the wire, found from the signatures of the handlers.
func wireTypes() map[string]reflect.Type {
	found := map[string]reflect.Type{}
	for _, server := range []reflect.Type{reflect.TypeFor[registry.RPCServer](), reflect.TypeFor[registry.NetServer](), reflect.TypeFor[registry.VolServer]()} {
		for i := range server.NumMethod() {
			m := server.Method(i).Type
			for in := range m.NumIn() {
				addWireTypes(found, m.In(in))
			}
			addWireTypes(found, m.Out(0))
		}
	}
	return found
}

func addWireTypes(found map[string]reflect.Type, typ reflect.Type) {
	if s, ok := reflect.New(typ).Elem().Interface().(interface{ RowType() reflect.Type }); ok {
		typ = s.RowType()
	}
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		addWireTypes(found, typ.Elem())
	case reflect.Struct:
		if _, ok := reflect.New(typ).Interface().(encodable); !ok || found[typ.Name()] != nil {
			return
		}
		found[typ.Name()] = typ
		for i := range typ.NumField() {
			addWireTypes(found, typ.Field(i).Type)
		}
	}
}

// fill sets v to a value made at random, as deep as depth allows.
func fill(t *rapid.T, v reflect.Value, depth int) {
	if o, ok := v.Addr().Interface().(interface{ Fill(func(reflect.Value)) }); ok {
		if rapid.Bool().Draw(t, "there") {
			o.Fill(func(v reflect.Value) { fill(t, v, depth) })
		}
		return
	}
	switch p := v.Addr().Interface().(type) {
	case *netip.Addr:
		*p = fillAddr(t)
		return
	case *netip.Prefix:
		a := fillAddr(t)
		*p = netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
		return
	case *time.Time:
		*p = time.Unix(rapid.Int64Range(-62135596800, 253402300799).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC()
		return
	}
	fillKind(t, v, depth)
}

func fillAddr(t *rapid.T) netip.Addr {
	if rapid.Bool().Draw(t, "v4") {
		return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "a")))
	}
	return netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "a")))
}

func fillKind(t *rapid.T, v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(string(rapid.SliceOfN(rapid.Byte(), 0, 9).Draw(t, "s")))
	case reflect.Int64:
		v.SetInt(rapid.Int64Range(-jsonwire.MaxInt, jsonwire.MaxInt).Draw(t, "n"))
	case reflect.Float64:
		v.SetFloat(rapid.Float64Range(-1e30, 1e30).Draw(t, "f"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "b"))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), depth-1)
		}
	case reflect.Pointer:
		if depth > 0 && rapid.Bool().Draw(t, "there") {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem(), depth)
		}
	case reflect.Slice:
		n := rapid.IntRange(0, min(2, max(depth, 0))).Draw(t, "len")
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(t, v.Index(i), depth)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for _, key := range rapid.SliceOfNDistinct(rapid.String(), 0, 2, rapid.ID[string]).Draw(t, "keys") {
			e := reflect.New(v.Type().Elem()).Elem()
			fill(t, e, depth)
			v.SetMapIndex(reflect.ValueOf(key), e)
		}
	default:
		t.Fatalf("a field of the type %v", v.Type())
	}
}

// What our encoders write is what encoding/json, which goes by the struct tags, writes of the same value;
// and encoding/json reads it back.
func TestEncodersAgreeWithEncodingJSON(t *testing.T) {
	types := wireTypes()
	if len(types) < 200 {
		t.Errorf("only %d types found", len(types))
	}
	for name, typ := range types {
		t.Run(name, func(t *testing.T) {
			if strings.HasSuffix(name, "Data") {
				t.Fatal("an error's data in a result has a kind that its Go type does not have")
			}
			rapid.Check(t, func(t *rapid.T) {
				v := reflect.New(typ)
				fill(t, v.Elem(), 3)
				ours := v.Interface().(encodable).AppendJSON([]byte("prefix"))[len("prefix"):]
				theirs, err := json.Marshal(v.Interface())
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(decoded(t, theirs), decoded(t, ours)); diff != "" {
					t.Fatalf("%s\n%s", ours, diff)
				}
				checkReadsBack(t, typ, ours)
			})
		})
	}
}

func decoded(t *rapid.T, b []byte) (v any) {
	if err := jsonwire.Valid(b); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return v
}

// checkReadsBack checks that a client with encoding/json gets a value that is written in the same way.
func checkReadsBack(t *rapid.T, typ reflect.Type, b []byte) {
	v := reflect.New(typ)
	if err := json.Unmarshal(b, v.Interface()); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	if again := v.Interface().(encodable).AppendJSON(nil); string(again) != string(b) {
		t.Fatalf("read back, it is\n%s\ninstead of\n%s", again, b)
	}
}

var row = registry.Route{
	Dst: netip.MustParsePrefix("10.20.0.0/16"), Family: registry.AddressFamilyIpv4, Type: "unicast", Table: 254,
	Protocol: "static", Scope: "global", Gateway: registry.Some(netip.MustParseAddr("192.0.2.1")), Interface: registry.Some("eth0"),
	InterfaceIndex: registry.Some(int64(2)), Metric: registry.Some(int64(100)),
}

func TestEncodingARowDoesNotAllocate(t *testing.T) {
	b := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { b = row.AppendJSON(b[:0]) }); n != 0 {
		t.Errorf("%v allocations a row", n)
	}
}

func BenchmarkRow(b *testing.B) {
	b.Run("registry", func(b *testing.B) {
		b.ReportAllocs()
		buf := make([]byte, 0, 4096)
		for b.Loop() {
			buf = row.AppendJSON(buf[:0])
		}
		b.SetBytes(int64(len(buf)))
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(&row); err != nil {
				b.Fatal(err)
			}
		}
	})
}
