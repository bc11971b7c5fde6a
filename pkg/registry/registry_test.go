package registry_test

import (
	"slices"
	"testing"

	"github.com/geomind/my_os_server/pkg/registry"
)

func TestLookup(t *testing.T) {
	for i, m := range registry.All() {
		found, ok := registry.Lookup(m.Name)
		if !ok || found != m || m.Index != i {
			t.Errorf("Lookup(%s) is not row %d", m.Name, i)
		}
	}
	for _, name := range []string{"", "net", "net.Routes", "net.routes.", "net.routes\x00", "rpc"} {
		if m, ok := registry.Lookup(name); ok {
			t.Errorf("Lookup(%q) finds %s", name, m.Name)
		}
	}
	name := []byte("net.routes")
	if n := testing.AllocsPerRun(100, func() { registry.LookupBytes(name) }); n != 0 {
		t.Errorf("LookupBytes allocates %v times", n)
	}
	if m, ok := registry.LookupBytes(name); !ok || m.Namespace() != "net" {
		t.Errorf("LookupBytes(%s) = %+v", name, m)
	}
	if m := (&registry.Method{Name: "x"}); m.Namespace() != "x" {
		t.Error("a name without a dot is its own namespace")
	}
}

func TestRights(t *testing.T) {
	rights := []registry.Right{registry.RightNone, registry.RightRead, registry.RightWrite, registry.RightAdmin}
	if !slices.IsSorted(rights) {
		t.Error("rights are not ordered from none to admin")
	}
	for i, name := range []string{"none", "read", "write", "admin"} {
		if got := rights[i].String(); got != name {
			t.Errorf("%s is called %s", name, got)
		}
	}
	if got := registry.Right(9).String(); got != "right(9)" {
		t.Errorf("right 9 is called %s", got)
	}
	for i, name := range []string{"read", "write", "destroy", "effect(3)"} {
		if got := registry.Effect(i).String(); got != name {
			t.Errorf("effect %d is called %s", i, got)
		}
	}
}
