package acl

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Explanation is what an ACL file decides for one caller and one method, and why.
type Explanation struct {
	Right   Right    // what Policy.Right says
	Reasons []Reason // all that grants something, the strongest first
}

// Reason is one thing of the file that grants a right.
type Reason struct {
	Right Right
	Line  int    // where it stands; 0 for a default that the file does not mention
	Text  string // what it is, in the file's terms
	Path  []Step // how the caller belongs to it: first the listing of the user, then group by group
}

// Step is one membership.
type Step struct {
	Line int
	Text string
}

// Explain reads an ACL file as Parse does, with the same errors, and says what it decides for a call, and by
// which lines.
func Explain(file string, data []byte, methods []Method, c *Caller, m Method) (*Explanation, error) {
	policy, err := Parse(file, data, methods)
	if err != nil {
		return nil, err
	}
	d, _ := readDocument(data)
	s, _ := readSource(d)
	e := &Explanation{Right: policy.Right(c, m)}
	paths := s.memberships(c)
	for _, a := range s.aces {
		e.rule(a, m, paths)
	}
	e.anonymous(policy, &d, c, m)
	slices.SortStableFunc(e.Reasons, func(a, b Reason) int { return cmp.Compare(b.Right, a.Right) })
	return e, nil
}

// rule adds what a rule grants: nothing where it does not cover the method or none of its groups has the
// caller.
func (e *Explanation) rule(a sourceACE, m Method, paths map[string][]Step) {
	line, on := a.line, "all methods"
	if a.methods != nil {
		i := slices.IndexFunc(a.methods, func(glob word) bool { return match(glob.text, m.Name) })
		if i < 0 {
			return
		}
		line, on = a.methods[i].line, a.methods[i].text
	}
	for _, group := range a.groups {
		if path, ok := paths[group.text]; ok {
			e.Reasons = append(e.Reasons, Reason{a.right, line, fmt.Sprintf("rule: %s on %s for group %q", a.right, on, group.text), path})
		}
	}
}

// anonymous adds what everybody has from where the caller is.
func (e *Explanation) anonymous(p *Policy, d *document, c *Caller, m Method) {
	right := p.anonymous(c.Local, m)
	if right == None {
		return
	}
	key := "anonymous_remote"
	if c.Local {
		key = "anonymous_local"
	}
	e.Reasons = append(e.Reasons, Reason{Right: right, Line: d.lines["policy."+key], Text: fmt.Sprintf("policy: %s = %q, for every caller", key, right)})
}

// memberships finds the groups that the caller is in, each with how it comes to be there.
func (s *source) memberships(c *Caller) map[string][]Step {
	wanted := c.users()
	paths := map[string][]Step{}
	for _, g := range s.groups {
		for _, w := range g.users {
			u, err := parseUser(w.text)
			if _, known := paths[g.name.text]; err == nil && !known && slices.Contains(wanted, u) {
				paths[g.name.text] = []Step{{w.line, fmt.Sprintf("group %q lists %s", g.name.text, w.text)}}
			}
		}
	}
	for more := true; more; { // it ends: each round adds a group or is the last
		more = false
		for _, g := range s.groups {
			for _, w := range g.members {
				below, in := paths[w.text]
				if _, known := paths[g.name.text]; in && !known {
					paths[g.name.text] = append(slices.Clone(below), Step{w.line, fmt.Sprintf("group %q has group %q as a member", g.name.text, w.text)})
					more = true
				}
			}
		}
	}
	return paths
}

// users are the entries of a group's users that mean the caller.
func (c *Caller) users() (out []user) {
	switch c.Kind {
	case KindUID:
		out = append(out, user{form: formUID, id: c.UID})
		for _, gid := range c.GIDs {
			out = append(out, user{form: formGID, id: gid})
		}
	case KindKey:
		out = append(out, user{form: formKey, name: c.Key})
	case KindToken:
		out = append(out, user{form: formToken, name: c.Token})
	}
	return out
}

// ParseCaller makes a caller of what an ACL file would call it: one of anonymous, a public key, token:NAME;
// or uid:N with any number of gid:N. A caller of gids alone is a user with a uid that no file can name.
func ParseCaller(words []string, local bool) (Caller, error) {
	c := Caller{Local: local}
	if len(words) == 1 && words[0] == kindNames[KindAnonymous] {
		return c, nil
	}
	for _, w := range words {
		u, err := parseUser(w)
		if err != nil {
			return Caller{}, fmt.Errorf("a caller %w", err)
		}
		uid := u.form == formUID && (c.Kind == KindAnonymous || c.Kind == KindUID && c.UID == maxID+1)
		switch {
		case uid:
			c.Kind, c.UID = KindUID, u.id
		case u.form == formGID && c.Kind == KindAnonymous:
			c.Kind, c.UID, c.GIDs = KindUID, maxID+1, []uint32{u.id}
		case u.form == formGID && c.Kind == KindUID:
			c.GIDs = append(c.GIDs, u.id)
		case u.form == formKey && c.Kind == KindAnonymous:
			c.Kind, c.Key = KindKey, u.name
		case u.form == formToken && c.Kind == KindAnonymous:
			c.Kind, c.Token = KindToken, u.name
		default:
			return Caller{}, errors.New("a caller is one user: a uid with its gids, or a key, or a token")
		}
	}
	if c.Kind == KindAnonymous {
		return Caller{}, errors.New("a caller is named by uid:N, gid:N, a public key, token:NAME or anonymous")
	}
	return c, nil
}
