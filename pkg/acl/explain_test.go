package acl

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const explained = `[[group]]
name = "admins"
users = ["uid:0"]
[[group]]
name = "operators"
users = ["gid:27"]
member_groups = ["admins"]
[[ace]]
right = "write"
groups = ["operators"]
methods = ["vol.*",
  "net.*"]
[[ace]]
right = "admin"
groups = ["admins"]
[policy]
anonymous_local = "read"
`

func TestExplain(t *testing.T) {
	methods := []Method{{Name: "net.routes.add"}, {Name: "vol.mount"}}
	for _, c := range []struct {
		as    string
		local bool
		want  []string
	}{
		{"uid:0", true, []string{
			`admin: 13: rule: admin on all methods for group "admins" [3: group "admins" lists uid:0]`,
			`write: 12: rule: write on net.* for group "operators" [3: group "admins" lists uid:0] [7: group "operators" has group "admins" as a member]`,
			`read: 17: policy: anonymous_local = "read", for every caller`,
		}},
		{"uid:1000,gid:27", false, []string{
			`write: 12: rule: write on net.* for group "operators" [6: group "operators" lists gid:27]`,
		}},
		{"gid:27", false, []string{
			`write: 12: rule: write on net.* for group "operators" [6: group "operators" lists gid:27]`,
		}},
		{"anonymous", true, []string{`read: 17: policy: anonymous_local = "read", for every caller`}},
		{"anonymous", false, nil},
	} {
		caller, err := ParseCaller(strings.Split(c.as, ","), c.local)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Explain("acl.toml", []byte(explained), methods, &caller, methods[0])
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range e.Reasons {
			line := fmt.Sprintf("%s: %d: %s", r.Right, r.Line, r.Text)
			for _, step := range r.Path {
				line += fmt.Sprintf(" [%d: %s]", step.Line, step.Text)
			}
			got = append(got, line)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s, local %t: %s", c.as, c.local, diff)
		}
	}
	if _, err := Explain("acl.toml", []byte("x = 1"), methods, &Caller{}, methods[0]); err == nil {
		t.Error("a file that is none was explained")
	}
}

func TestParseCallerRefuses(t *testing.T) {
	for _, words := range []string{"", "uid:x", "uid:1,uid:2", "token:a,uid:1", "anonymous,uid:1", "gid:1,token:a", "uid:4294967295", "abc"} {
		if c, err := ParseCaller(strings.Split(words, ","), true); err == nil {
			t.Errorf("%q is %v", words, c)
		}
	}
}

// TestExplainIsTheDecision holds the explanation of random files against the decision: the strongest reason is
// the right, and there are reasons exactly where there is a right.
func TestExplainIsTheDecision(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawModel(t)
		caller := drawCaller(t)
		m := rapid.SampledFrom(testMethods).Draw(t, "method")
		text := []byte(f.file())
		p, err := Parse("acl.toml", text, testMethods)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Explain("acl.toml", text, testMethods, &caller, m)
		if err != nil {
			t.Fatal(err)
		}
		if want := p.Right(&caller, m); e.Right != want {
			t.Fatalf("explained as %v, decided as %v", e.Right, want)
		}
		best := None
		for _, r := range e.Reasons {
			best = max(best, r.Right)
			if lines := strings.Count(string(text), "\n"); r.Line < 1 || r.Line > lines {
				t.Fatalf("line %d of %d", r.Line, lines)
			}
		}
		if best != e.Right {
			t.Fatalf("the reasons give %v, the decision is %v", best, e.Right)
		}
	})
}
