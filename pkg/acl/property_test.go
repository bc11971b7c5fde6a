package acl

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// model is an ACL file as the contract speaks of it. It is evaluated by walking it anew for every question,
// with nothing resolved beforehand: slow, and plain enough to be compared with the text by eye.
type model struct {
	groups  []modelGroup
	aces    []modelACE
	local   Right
	remote  Right
	exposes bool
}

type modelGroup struct {
	name    string
	users   []string
	members []string
}

type modelACE struct {
	right   Right
	groups  []string
	methods []string // nil: absent
}

// right: "For a method a caller has the highest right of its groups' matching ACEs, and at least what an
// anonymous caller from the same place has. There is no deny."
func (f model) right(c Caller, m Method) Right {
	right := f.remote
	if c.Local {
		right = f.local
	}
	if m.Exposes && !f.exposes {
		right = None // "reads marked x-exposes need a group"
	}
	for _, ace := range f.aces {
		inGroup := slices.ContainsFunc(ace.groups, func(name string) bool { return f.contains(name, names(c)) })
		covers := ace.methods == nil || slices.ContainsFunc(ace.methods, func(glob string) bool { return fits(glob, m.Name) })
		if inGroup && covers && ace.right > right {
			right = ace.right
		}
	}
	return right
}

// contains reports whether one of the users is in the group or in one of its member groups.
func (f model) contains(group string, users []string) bool {
	for _, g := range f.groups {
		if g.name != group {
			continue
		}
		for _, u := range users {
			if slices.Contains(g.users, u) {
				return true
			}
		}
		for _, member := range g.members {
			if f.contains(member, users) {
				return true
			}
		}
	}
	return false
}

// names is what an ACL file may call the caller.
func names(c Caller) []string {
	switch c.Kind {
	case KindUID:
		list := []string{fmt.Sprintf("uid:%d", c.UID)}
		for _, gid := range c.GIDs {
			list = append(list, fmt.Sprintf("gid:%d", gid))
		}
		return list
	case KindKey:
		return []string{c.Key}
	case KindToken:
		return []string{"token:" + c.Token}
	}
	return nil
}

// fits is what a glob means, by trying all the ways that * can be read.
func fits(glob, name string) bool {
	switch {
	case glob == "":
		return name == ""
	case glob[0] == '*':
		return fits(glob[1:], name) || name != "" && fits(glob, name[1:])
	default:
		return name != "" && name[0] == glob[0] && fits(glob[1:], name[1:])
	}
}

// file writes the model as TOML.
func (f model) file() string {
	var b strings.Builder
	for _, g := range f.groups {
		fmt.Fprintf(&b, "[[group]]\nname = %q\nusers = %s\nmember_groups = %s\n", g.name, list(g.users), list(g.members))
	}
	for _, a := range f.aces {
		fmt.Fprintf(&b, "[[ace]]\nright = %q\ngroups = %s\n", a.right, list(a.groups))
		if a.methods != nil {
			fmt.Fprintf(&b, "methods = %s\n", list(a.methods))
		}
	}
	fmt.Fprintf(&b, "[[token]]\nname = \"ci\"\nsha256 = %q\nexpires = 2027-01-01T00:00:00Z\n", sumOfTest)
	fmt.Fprintf(&b, "[policy]\nanonymous_local = %q\nanonymous_remote = %q\nanonymous_privileged = %v\n", f.local, f.remote, f.exposes)
	return b.String()
}

func list(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = fmt.Sprintf("%q", w)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

var modelUsers = []string{keyOne, keyTwo, keyThree, "uid:0", "uid:1", "uid:2", "gid:0", "gid:1", "gid:2", "token:ci"}

// drawModel makes a file without faults: a group's members come before it, so that there is no circle.
func drawModel(t *rapid.T) model {
	right := rapid.SampledFrom([]Right{None, Read, Write, Admin})
	f := model{
		local:   right.Draw(t, "local"),
		remote:  right.Draw(t, "remote"),
		exposes: rapid.Bool().Draw(t, "privileged"),
	}
	var groups []string
	for i := range rapid.IntRange(0, 6).Draw(t, "groups") {
		g := modelGroup{name: fmt.Sprintf("g%d", i), users: rapid.SliceOfN(rapid.SampledFrom(modelUsers), 0, 3).Draw(t, "users")}
		if i > 0 {
			g.members = rapid.SliceOfN(rapid.SampledFrom(groups), 0, 2).Draw(t, "members")
		}
		groups = append(groups, g.name)
		f.groups = append(f.groups, g)
	}
	for range rapid.IntRange(0, 4).Draw(t, "rules") {
		if len(groups) == 0 {
			break
		}
		f.aces = append(f.aces, modelACE{
			right:   rapid.SampledFrom([]Right{Read, Write, Admin}).Draw(t, "right"),
			groups:  rapid.SliceOfN(rapid.SampledFrom(groups), 1, 2).Draw(t, "rule's groups"),
			methods: drawGlobs(t),
		})
	}
	// The order in the file must not matter, a member group may come after the group that names it.
	f.groups = rapid.Permutation(f.groups).Draw(t, "order")
	return f
}

// drawGlobs makes globs that fit something, by putting * for parts of real names.
func drawGlobs(t *rapid.T) []string {
	var globs []string
	for range rapid.IntRange(0, 3).Draw(t, "globs") {
		name := rapid.SampledFrom(testMethods).Draw(t, "method").Name
		from := rapid.IntRange(0, len(name)).Draw(t, "from")
		to := rapid.IntRange(from, len(name)).Draw(t, "to")
		star := rapid.SampledFrom([]string{"*", "**", name[from:to]}).Draw(t, "star")
		globs = append(globs, name[:from]+star+name[to:])
	}
	return globs
}

func drawCaller(t *rapid.T) Caller {
	return Caller{
		Kind:  rapid.SampledFrom([]Kind{KindAnonymous, KindUID, KindUID, KindKey, KindToken}).Draw(t, "kind"),
		UID:   rapid.Uint32Range(0, 3).Draw(t, "uid"),
		GIDs:  rapid.SliceOfN(rapid.Uint32Range(0, 3), 0, 4).Draw(t, "gids"),
		Key:   rapid.SampledFrom([]string{keyOne, keyTwo, keyThree, ""}).Draw(t, "key"),
		Token: rapid.SampledFrom([]string{"ci", "other", ""}).Draw(t, "token"),
		Local: rapid.Bool().Draw(t, "local"),
	}
}

// What Parse resolves beforehand gives the same answers as the contract read anew for every question.
func TestRightIsTheContracts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := drawModel(t)
		file := f.file()
		p, err := Parse("acl.toml", []byte(file), testMethods)
		if err != nil {
			t.Fatalf("%v\n%s", err, file)
		}
		c := drawCaller(t)
		rights := p.Rights(&c, testMethods)
		for i, m := range testMethods {
			want := f.right(c, m)
			if got := p.Right(&c, m); got != want || rights[i] != want {
				t.Fatalf("%s on %s: Right %v, Rights %v, want %v\n%s", c.String(), m.Name, got, rights[i], want, file)
			}
		}
	})
}

func TestMatchIsFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		glob := rapid.StringOf(rapid.SampledFrom([]rune("ab*."))).Draw(t, "glob")
		name := rapid.StringOf(rapid.SampledFrom([]rune("ab."))).Draw(t, "name")
		if len(glob) > 12 {
			glob = glob[:12] // fits takes time exponential in the stars
		}
		if got, want := match(glob, name), fits(glob, name); got != want {
			t.Fatalf("match(%q, %q) = %v, want %v", glob, name, got, want)
		}
	})
}
