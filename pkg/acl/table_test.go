package acl

import (
	"testing"
	"time"
)

var testTime = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// Real methods of the table, enough of each kind to tell rules apart.
var testMethods = []Method{
	{Name: "net.status"},
	{Name: "net.config", Exposes: true},
	{Name: "net.routes"},
	{Name: "net.routes.add"},
	{Name: "net.routes.delete"},
	{Name: "net.conntrack", Exposes: true},
	{Name: "net.conntrack.flush"},
	{Name: "net.firewall", Exposes: true},
	{Name: "net.vm.list"},
	{Name: "net.vm.create_tap"},
	{Name: "vol.list_disks"},
	{Name: "vol.create_partition"},
	{Name: "vol.stop_md_array"},
	{Name: "rpc.health"},
	{Name: "rpc.discover"},
}

// method finds a method of testMethods.
func method(t *testing.T, name string) Method {
	t.Helper()
	for _, m := range testMethods {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("no method %q in testMethods", name)
	return Method{}
}

// Public keys of RFC 8032, section 7.1, tests 1 to 3.
const (
	keyOne   = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
	keyTwo   = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
	keyThree = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
)

// sumOfTest is the SHA-256 of "test".
const sumOfTest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

func mustParse(t testing.TB, file string) *Policy {
	t.Helper()
	p, err := Parse("acl.toml", []byte(file), testMethods)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
