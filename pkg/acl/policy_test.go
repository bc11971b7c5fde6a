package acl

import (
	"crypto/sha256"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRights(t *testing.T) {
	for i, name := range []string{"none", "read", "write", "admin"} {
		right, err := ParseRight(name)
		if err != nil || right != Right(i) || right.String() != name {
			t.Errorf("ParseRight(%q) = %v, %v", name, right, err)
		}
	}
	for _, name := range []string{"", "None", "all", "right(4)"} {
		if right, err := ParseRight(name); err == nil || right != None {
			t.Errorf("ParseRight(%q) = %v, %v, want an error", name, right, err)
		}
	}
	if got := Right(4).String(); got != "right(4)" {
		t.Errorf("Right(4) is %q", got)
	}
}

func TestCallerString(t *testing.T) {
	for _, test := range []struct {
		caller Caller
		want   string
	}{
		{Caller{}, "anonymous"},
		{Caller{Local: true, UID: 7, Key: keyOne, Token: "ci"}, "anonymous"},
		{Caller{Kind: KindUID, UID: 1000}, "uid:1000"},
		{Caller{Kind: KindUID}, "uid:0"},
		{Caller{Kind: KindKey, Key: keyOne, UID: 1000}, keyOne},
		{Caller{Kind: KindToken, Token: "ci"}, "token:ci"},
	} {
		if got := test.caller.String(); got != test.want {
			t.Errorf("%+v is %q, want %q", test.caller, got, test.want)
		}
	}
	if got := KindKey.String() + " " + Kind(9).String(); got != "key kind(9)" {
		t.Errorf("kinds are %q", got)
	}
}

// decision is one row of a table: what a caller has on a method.
type decision struct {
	caller Caller
	method string
	want   Right
}

func checkDecisions(t *testing.T, p *Policy, decisions []decision) {
	t.Helper()
	for _, d := range decisions {
		m := method(t, d.method)
		if got := p.Right(&d.caller, m); got != d.want {
			t.Errorf("%s (%+v) on %s has %v, want %v", d.caller.String(), d.caller, d.method, got, d.want)
		}
		if got := p.Rights(&d.caller, []Method{m}); got[0] != d.want {
			t.Errorf("%s on %s: Rights says %v, Right %v", d.caller.String(), d.method, got[0], d.want)
		}
	}
}

func uid(id uint32, gids ...uint32) Caller {
	return Caller{Kind: KindUID, UID: id, GIDs: gids, Local: true}
}

func key(hex string) Caller { return Caller{Kind: KindKey, Key: hex} }

func named(token string) Caller { return Caller{Kind: KindToken, Token: token} }

var (
	anonymousLocal  = Caller{Local: true}
	anonymousRemote = Caller{}
)

func TestDefault(t *testing.T) {
	checkDecisions(t, Default(998), []decision{
		{uid(0), "vol.stop_md_array", Admin},
		{uid(998), "net.conntrack", Admin},
		{uid(1000), "net.routes.add", Read},
		{uid(1000), "net.routes", Read},
		{uid(1000, 0, 998), "net.firewall", None},
		{anonymousLocal, "net.status", Read},
		{anonymousLocal, "net.config", None},
		{anonymousRemote, "net.status", None},
		{anonymousRemote, "rpc.health", None},
		{Caller{Kind: KindUID, UID: 1000}, "net.status", None},
		{key(keyOne), "net.status", None},
		{Caller{Kind: KindKey, Key: keyOne, Local: true}, "net.status", Read},
		{named("ci"), "net.status", None},
	})
	if p := Default(998); !p.TrustsUID(0, 998) || !p.TrustsUID(998, 998) || p.TrustsUID(1000, 998) {
		t.Error("trust is not exactly root and the daemon's own uid")
	}
	if got := Default(0).Right(&Caller{Kind: KindUID, UID: 1}, method(t, "net.status")); got != None {
		t.Errorf("uid:1 has %v remotely under a daemon of root", got)
	}
}

// The zero Policy is of use as the policy of a daemon that has none yet.
func TestZeroPolicy(t *testing.T) {
	var p Policy
	checkDecisions(t, &p, []decision{{uid(0), "net.status", None}, {anonymousLocal, "rpc.health", None}})
	if _, _, ok := p.TokenBySum([32]byte{}); ok || p.KnowsKey("") {
		t.Error("the zero policy knows somebody")
	}
}

// An ACL file grants only what it says: not even root has a right by nature.
func TestEmptyFile(t *testing.T) {
	p := mustParse(t, "")
	for _, c := range []Caller{uid(0), key(keyOne), named("ci"), anonymousLocal, anonymousRemote} {
		for i, right := range p.Rights(&c, testMethods) {
			if right != None {
				t.Errorf("%s on %s has %v, want none", c.String(), testMethods[i].Name, right)
			}
		}
	}
}

// The example of the contract, and what each of its parts does.
const exampleFile = `
[[group]]
name = "admins"
users = ["` + keyOne + `", "uid:0", "token:ci"]
[[group]]
name = "operators"
users = ["` + keyTwo + `", "gid:27"]
member_groups = ["admins"]
[[group]]
name = "watchers"
users = ["uid:1001"]
[[ace]]
right = "write"
groups = ["operators"]
methods = ["net.*"]
[[ace]]
right = "admin"
groups = ["admins"]
methods = ["*flush", "vol.stop_md_array"]
[[ace]]
right = "read"
groups = ["watchers", "operators"]
[[token]]
name = "ci"
sha256 = "` + sumOfTest + `"
expires = 2027-01-01T00:00:00Z
[policy]
anonymous_local = "read"
anonymous_remote = "none"
anonymous_privileged = false
trusted_uids = [0, 33]
`

func TestExample(t *testing.T) {
	p := mustParse(t, exampleFile)
	checkDecisions(t, p, []decision{
		// Directly in operators.
		{uid(1000, 100, 27), "net.routes.add", Write},
		{uid(1000, 100, 27), "net.conntrack.flush", Write},
		{uid(1000, 100, 27), "vol.list_disks", Read},
		{uid(1000, 100, 27), "vol.create_partition", Read},
		{key(keyTwo), "net.vm.create_tap", Write},
		{key(keyTwo), "rpc.health", Read},
		// In operators because admins are.
		{uid(0), "net.routes.add", Write},
		{uid(0), "net.conntrack.flush", Admin},
		{uid(0), "vol.stop_md_array", Admin},
		{uid(0), "vol.create_partition", Read},
		{key(keyOne), "net.routes.delete", Write},
		{named("ci"), "net.conntrack.flush", Admin},
		// The other way round nothing is handed down.
		{key(keyTwo), "vol.stop_md_array", Read},
		// A group lifts the veil from the reads that expose; no group does not.
		{uid(1001), "net.conntrack", Read},
		{uid(1002), "net.conntrack", None},
		{uid(1002), "net.routes", Read},
		{Caller{Kind: KindUID, UID: 1001}, "net.conntrack", Read},
		// A uid is no gid, a name no key.
		{uid(27), "net.routes.add", Read},
		{uid(1002, 0, 1001), "net.routes.add", Read},
		{named(keyOne), "net.routes", None},
		{key("ci"), "net.routes", None},
		// A caller has what its kind says, whatever else the struct holds.
		{Caller{Kind: KindKey, Key: keyThree, UID: 0, GIDs: []uint32{27}, Local: true}, "net.routes.add", Read},
		{Caller{Kind: KindAnonymous, UID: 0, Key: keyOne, Local: true}, "net.routes.add", Read},
		{anonymousLocal, "net.conntrack", None},
		{anonymousRemote, "net.routes", None},
	})
	if !p.TrustsUID(0, 998) || !p.TrustsUID(33, 998) || p.TrustsUID(998, 998) {
		t.Error("trusted_uids = [0, 33] trusts others than those")
	}
	if !p.KnowsKey(keyOne) || !p.KnowsKey(keyTwo) || p.KnowsKey(keyThree) || p.KnowsKey("ci") {
		t.Error("known keys are not those of the groups")
	}
	if diff := cmp.Diff([]string{keyTwo, keyOne}, slices.Sorted(p.Keys())); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	name, expires, ok := p.TokenBySum(sha256.Sum256([]byte("test")))
	if want := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC); name != "ci" || !expires.Equal(want) || !ok {
		t.Errorf("token is %q, %v, %v", name, expires, ok)
	}
	if name, _, ok := p.TokenBySum(sha256.Sum256([]byte("Test"))); ok || name != "" {
		t.Errorf("an unknown token is %q", name)
	}
}

// A method that Parse was not told of is covered by rules without globs only.
func TestUnknownMethod(t *testing.T) {
	p := mustParse(t, exampleFile)
	for _, name := range []string{"net.future", "", "net.routes.add "} {
		if got := p.Right(&Caller{Kind: KindUID}, Method{Name: name}); got != Read {
			t.Errorf("uid:0 on %q has %v, want read", name, got)
		}
	}
}

func TestTrustedUIDs(t *testing.T) {
	for _, test := range []struct {
		file                string
		root, daemon, other bool
	}{
		{"", true, true, false},
		{"[policy]\n", true, true, false},
		{"[policy]\ntrusted_uids = []\n", false, false, false},
		{"[policy]\ntrusted_uids = [1000]\n", false, false, true},
		{"[policy]\ntrusted_uids = [4294967294, 0, 0]\n", true, false, false},
	} {
		p := mustParse(t, test.file)
		if p.TrustsUID(0, 998) != test.root || p.TrustsUID(998, 998) != test.daemon || p.TrustsUID(1000, 998) != test.other {
			t.Errorf("%q: root %v, daemon %v, other %v", test.file, p.TrustsUID(0, 998), p.TrustsUID(998, 998), p.TrustsUID(1000, 998))
		}
	}
}

func TestAnonymousPolicy(t *testing.T) {
	p := mustParse(t, "[policy]\nanonymous_local = \"write\"\nanonymous_remote = \"read\"\nanonymous_privileged = true\n")
	checkDecisions(t, p, []decision{
		{anonymousLocal, "net.conntrack", Write},
		{anonymousLocal, "net.routes.add", Write},
		{anonymousRemote, "net.conntrack", Read},
		{anonymousRemote, "net.routes.add", Read},
		{uid(5), "net.routes", Write},
		{key(keyOne), "net.routes", Read},
	})
}

// A rule can be the weaker part: nobody has less for being in a group.
func TestGroupNeverTakesAway(t *testing.T) {
	p := mustParse(t, "[[group]]\nname = \"a\"\nusers = [\"uid:5\"]\n[[ace]]\nright = \"read\"\ngroups = [\"a\"]\n[policy]\nanonymous_local = \"write\"\n")
	checkDecisions(t, p, []decision{{uid(5), "net.routes.add", Write}, {uid(5), "net.conntrack", Read}})
}

func TestMatch(t *testing.T) {
	for _, test := range []struct {
		glob, name string
		want       bool
	}{
		{"net.routes", "net.routes", true},
		{"net.routes", "net.routes.add", false},
		{"net.routes", "net.route", false},
		{"*", "net.routes", true},
		{"*", "", true},
		{"**", "x", true},
		{"", "", true},
		{"", "x", false},
		{"net.*", "net.vm.list", true},
		{"net.*", "net", false},
		{"net.*", "nets.x", false},
		{"*.add", "net.routes.add", true},
		{"*.add", "net.routes.address", false},
		{"net.*.add", "net.routes.add", true},
		{"net.*.add", "net.add", false},
		{"net*add", "netadd", true},
		{"*list*", "vol.list_disks", true},
		{"*s*s*", "vol.list_disks", true},
		{"*s*s*s*s*", "vol.list_disks", false},
		{"ab*ba", "aba", false},
		{"a*a", "a", false},
		{"net?routes", "net.routes", false},
		{"NET.*", "net.routes", false},
	} {
		if got := match(test.glob, test.name); got != test.want {
			t.Errorf("match(%q, %q) = %v", test.glob, test.name, got)
		}
	}
}

func TestSummary(t *testing.T) {
	want := []string{
		`group "admins" (3 users) has admin on *flush, vol.stop_md_array`,
		`group "operators" (2 users, and those of admins) has write on net.*; read on all methods`,
		`group "watchers" (1 users) has read on all methods`,
		`token "ci" has expired at 2027-01-01T00:00:00Z`,
		"others have read locally and none remotely, without the methods that expose connections, flows, firewall, NAT or configuration",
		"public keys are believed when passed on by uids 0 33",
	}
	p := mustParse(t, exampleFile)
	if diff := cmp.Diff(want, p.Summary(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got, want := p.String(), "3 groups, 6 users, 1 tokens; "+want[4]; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := Default(998).String(), "built-in policy: "+want[4]; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	want = []string{
		"no ACL file: root and the daemon's own uid have admin",
		want[4],
		"public keys are believed when passed on by root and the daemon's own uid",
	}
	if diff := cmp.Diff(want, Default(998).Summary(time.Now())); diff != "" {
		t.Errorf("default (-want +got):\n%s", diff)
	}
	want = []string{
		`group "idle" (0 users) has no rule of its own`,
		`token "x" is in no group`,
		"others have none locally and none remotely",
		"public keys are believed when passed on by nobody",
	}
	p = mustParse(t, "[[group]]\nname = \"idle\"\n[policy]\ntrusted_uids = []\n"+token1(`name = "x"`))
	if diff := cmp.Diff(want, p.Summary(time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC))); diff != "" {
		t.Errorf("idle (-want +got):\n%s", diff)
	}
}

// A decision costs no allocation: it is taken for every call.
func TestRightAllocates(t *testing.T) {
	p := mustParse(t, exampleFile)
	m := method(t, "net.routes.add")
	for _, c := range []Caller{uid(1000, 4, 24, 27, 30), key(keyOne), named("ci"), anonymousLocal} {
		if n := testing.AllocsPerRun(100, func() { p.Right(&c, m) }); n != 0 {
			t.Errorf("%s: %v allocations a decision", c.String(), n)
		}
	}
}

func BenchmarkRight(b *testing.B) {
	p := mustParse(b, exampleFile)
	c := uid(1000, 4, 24, 27, 30, 46, 100)
	m := Method{Name: "net.routes.add"}
	b.ReportAllocs()
	for b.Loop() {
		if p.Right(&c, m) != Write {
			b.Fatal("wrong right")
		}
	}
}
