package acl

import (
	"slices"
	"strings"
)

// compiler looks up what the names of a source refer to and resolves nesting and globs.
type compiler struct {
	faults
	source  source
	methods []Method
	policy  *Policy
	groups  map[string]*group   // by name
	holders map[*group][]*group // the groups that have a group as a member
}

func newCompiler(s source, methods []Method) *compiler {
	p := &Policy{
		users:            map[user][]*group{},
		methods:          make(map[string]int, len(methods)),
		tokens:           make(map[[32]byte]token, len(s.tokens)),
		anonymousLocal:   s.policy.anonymousLocal,
		anonymousRemote:  s.policy.anonymousRemote,
		anonymousExposes: s.policy.anonymousPrivileged,
		trusted:          s.policy.trusted,
	}
	for i, m := range methods {
		p.methods[m.Name] = i
	}
	return &compiler{
		source:  s,
		methods: methods,
		policy:  p,
		groups:  make(map[string]*group, len(s.groups)),
		holders: map[*group][]*group{},
	}
}

// compile fills the policy, or notes faults. The order matters: groups and tokens must be known before
// anything can refer to them, and rules before they can be handed down.
func (c *compiler) compile() {
	c.declareGroups()
	tokens := c.declareTokens()
	for _, g := range c.source.groups {
		c.listUsers(g, tokens)
		c.linkMembers(g)
	}
	for _, a := range c.source.aces {
		c.grant(a)
	}
	c.findCycle()
	if len(c.faults) == 0 {
		c.inherit()
	}
}

func (c *compiler) declareGroups() {
	for _, g := range c.source.groups {
		name := g.name.text
		if _, taken := c.groups[name]; taken {
			c.add(g.name.line, "group %q is there twice", name)
			continue
		}
		c.groups[name] = &group{name: name}
		c.policy.groups = append(c.policy.groups, c.groups[name])
	}
}

// declareTokens returns the set of token names.
func (c *compiler) declareTokens() map[string]bool {
	names := map[string]bool{}
	for _, t := range c.source.tokens {
		name := t.name.text
		if names[name] {
			c.add(t.name.line, "token %q is there twice", name)
		}
		if other, taken := c.policy.tokens[t.sum]; taken {
			c.add(t.sumLine, "token %q has the sha256 of token %q", name, other.name)
		}
		names[name] = true
		c.policy.tokens[t.sum] = token{name: name, expires: t.expires}
	}
	return names
}

func (c *compiler) listUsers(g sourceGroup, tokens map[string]bool) {
	group := c.groups[g.name.text]
	for i, w := range g.users {
		u, err := parseUser(w.text)
		if err != nil {
			c.add(w.line, "group %q: user %d %s", group.name, i+1, err)
			continue
		}
		if u.form == formToken && !tokens[u.name] {
			c.add(w.line, "group %q: user %d: there is no token %q", group.name, i+1, u.name)
		}
		if !slices.Contains(c.policy.users[u], group) {
			c.policy.users[u] = append(c.policy.users[u], group)
			group.users++
		}
	}
}

func (c *compiler) linkMembers(g sourceGroup) {
	holder := c.groups[g.name.text]
	for _, w := range g.members {
		member, ok := c.groups[w.text]
		if !ok {
			c.add(w.line, "group %q: there is no group %q for member_groups", holder.name, w.text)
			continue
		}
		holder.members = append(holder.members, member.name)
		c.holders[member] = append(c.holders[member], holder)
	}
}

// grant gives the groups of a rule its right.
func (c *compiler) grant(a sourceACE) {
	covered := c.covered(a)
	rule := a.right.String() + " on all methods"
	if a.methods != nil {
		rule = a.right.String() + " on " + joinWords(a.methods)
	}
	for _, w := range a.groups {
		g, ok := c.groups[w.text]
		if !ok {
			c.add(w.line, "rule: there is no group %q", w.text)
			continue
		}
		g.rules = append(g.rules, rule)
		if a.methods == nil {
			g.every = max(g.every, a.right)
		}
		for _, i := range covered {
			g.raise(i, a.right)
		}
	}
}

// covered returns the places of the methods that fit one of the rule's globs.
func (c *compiler) covered(a sourceACE) []int {
	var covered []int
	for _, glob := range a.methods {
		before := len(covered)
		for i, m := range c.methods {
			if match(glob.text, m.Name) {
				covered = append(covered, i)
			}
		}
		if len(covered) == before {
			c.add(glob.line, "rule: %q fits no method", glob.text)
		}
	}
	return covered
}

// raise gives the group at least a right on the method at place i.
func (g *group) raise(i int, right Right) {
	if missing := i + 1 - len(g.byMethod); missing > 0 {
		g.byMethod = append(g.byMethod, make([]Right, missing)...)
	}
	g.byMethod[i] = max(g.byMethod[i], right)
}

// findCycle notes the first circle of groups that are members of each other, at the member that closes it.
func (c *compiler) findCycle() {
	f := cycleFinder{members: map[string][]word{}, state: map[string]visitState{}}
	for _, g := range c.source.groups {
		f.members[g.name.text] = g.members
	}
	for _, g := range c.source.groups {
		if closing, found := f.visit(g.name.text); found {
			start := slices.Index(f.path, closing.text)
			circle := strings.Join(append(f.path[start:], closing.text), " -> ")
			c.add(closing.line, "member_groups go in a circle: %s", circle)
			return
		}
	}
}

// cycleFinder searches the member groups depth first.
type cycleFinder struct {
	members map[string][]word
	state   map[string]visitState
	path    []string // from the group where the search began to the one it has come to
}

type visitState uint8

const (
	unvisited visitState = iota
	onPath
	visited
)

// visit returns the member that leads back to a group on the path, and leaves the path as it is then.
func (f *cycleFinder) visit(name string) (closing word, found bool) {
	if f.state[name] == visited {
		return word{}, false
	}
	f.state[name] = onPath
	f.path = append(f.path, name)
	for _, m := range f.members[name] {
		if f.state[m.text] == onPath {
			return m, true
		}
		if closing, found = f.visit(m.text); found {
			return closing, true
		}
	}
	f.path = f.path[:len(f.path)-1]
	f.state[name] = visited
	return word{}, false
}

// inherit hands what a group grants down to its member groups, whose users are its users too.
func (c *compiler) inherit() {
	done := map[*group]bool{}
	for _, g := range c.policy.groups {
		c.inheritOne(g, done)
	}
}

// inheritOne completes the groups that have g as a member, then g. It ends because there is no circle.
func (c *compiler) inheritOne(g *group, done map[*group]bool) {
	if done[g] {
		return
	}
	done[g] = true
	for _, holder := range c.holders[g] {
		c.inheritOne(holder, done)
		g.every = max(g.every, holder.every)
		for i, right := range holder.byMethod {
			g.raise(i, right)
		}
	}
}

func joinWords(words []word) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = w.text
	}
	return strings.Join(texts, ", ")
}
