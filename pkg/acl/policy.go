package acl

import (
	"iter"
	"slices"
	"time"
)

// Policy is a set of access rules, ready to decide. It never changes and may be used by any number of
// goroutines. Parse makes one from a file, Default makes the one for a daemon without a file. The zero
// Policy grants nothing to anyone, and trusts root and the daemon's own uid to vouch for keys.
type Policy struct {
	groups  []*group
	users   map[user][]*group // the groups that list a user
	methods map[string]int    // a method's place in group.byMethod
	tokens  map[[32]byte]token

	anonymousLocal   Right
	anonymousRemote  Right
	anonymousExposes bool

	trusted []uint32 // nil: root and the daemon's own uid
	builtIn bool     // made by Default
}

// group is a group with all that it grants, its own rules and those of the groups that it is a member of.
type group struct {
	name     string
	users    int      // how many users it lists itself
	members  []string // its member groups
	rules    []string // its own rules, for Summary: "write on net.*"
	every    Right    // on every method
	byMethod []Right  // on the methods that globs name, by their place; empty where no glob applies
}

// right is what the group grants on the method at place i, where -1 is a method that Parse was not told of.
func (g *group) right(i int) Right {
	if i < 0 || i >= len(g.byMethod) {
		return g.every
	}
	return max(g.every, g.byMethod[i])
}

// user is one entry of a group's users, comparable so that it can be looked up.
type user struct {
	form userForm
	id   uint32 // formUID, formGID
	name string // formKey: 64 hex digits; formToken: the token's name
}

type userForm uint8

const (
	formKey userForm = iota
	formUID
	formGID
	formToken
)

// token is a named opaque token of the file. The token itself is not known, only its SHA-256.
type token struct {
	name    string
	expires time.Time
}

// Default is the policy of a daemon that has no ACL file and runs with daemonUID as its uid: root and
// daemonUID have admin, other local callers read without the methods that expose, remote callers nothing.
func Default(daemonUID uint32) *Policy {
	owners := &group{name: "owners", every: Admin}
	p := &Policy{
		groups:         []*group{owners},
		users:          map[user][]*group{},
		anonymousLocal: Read,
		builtIn:        true,
	}
	for _, uid := range []uint32{0, daemonUID} {
		p.users[user{form: formUID, id: uid}] = []*group{owners}
	}
	owners.users = len(p.users)
	return p
}

// Right is what the caller has on a method: the highest right of its groups, and at least what an anonymous
// caller from the same place has. Rules with globs never cover a method that Parse was not told of.
func (p *Policy) Right(c *Caller, m Method) Right {
	var few [8]*group
	return p.right(p.groupsOf(c, few[:0]), c, m)
}

// Rights is Right for several methods, in their order. It looks the caller's groups up once.
func (p *Policy) Rights(c *Caller, methods []Method) []Right {
	groups := p.groupsOf(c, nil)
	rights := make([]Right, len(methods))
	for i, m := range methods {
		rights[i] = p.right(groups, c, m)
	}
	return rights
}

func (p *Policy) right(groups []*group, c *Caller, m Method) Right {
	place, known := p.methods[m.Name]
	if !known {
		place = -1
	}
	right := p.anonymous(c.Local, m)
	for _, g := range groups {
		right = max(right, g.right(place))
	}
	return right
}

// anonymous is what a caller has who is in no group at all.
func (p *Policy) anonymous(local bool, m Method) Right {
	switch {
	case m.Exposes && !p.anonymousExposes:
		return None
	case local:
		return p.anonymousLocal
	default:
		return p.anonymousRemote
	}
}

// groupsOf appends the groups that list the caller to groups. A group that lists it twice, by uid and by gid,
// stands there twice.
func (p *Policy) groupsOf(c *Caller, groups []*group) []*group {
	switch c.Kind {
	case KindUID:
		groups = append(groups, p.users[user{form: formUID, id: c.UID}]...)
		for _, gid := range c.GIDs {
			groups = append(groups, p.users[user{form: formGID, id: gid}]...)
		}
	case KindKey:
		groups = append(groups, p.users[user{form: formKey, name: c.Key}]...)
	case KindToken:
		groups = append(groups, p.users[user{form: formToken, name: c.Token}]...)
	}
	return groups
}

// TrustsUID reports whether a local user's word is taken for a public key that it passes on. daemonUID is
// the uid that the daemon runs with.
func (p *Policy) TrustsUID(uid, daemonUID uint32) bool {
	if p.trusted == nil {
		return uid == 0 || uid == daemonUID
	}
	return slices.Contains(p.trusted, uid)
}

// KnowsKey reports whether a group lists the public key, given as 64 lower-case hex digits.
func (p *Policy) KnowsKey(key string) bool {
	return len(p.users[user{form: formKey, name: key}]) > 0
}

// Keys yields every public key that a group lists, once, in no order.
func (p *Policy) Keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for u := range p.users {
			if u.form == formKey && !yield(u.name) {
				return
			}
		}
	}
}

// TokenBySum finds an opaque token by the SHA-256 of its bytes, and gives its name and the instant from which
// on it is no longer valid, which is for the asker to check. How long the look-up takes depends on the digest
// alone, and so tells nothing about the tokens that exist.
func (p *Policy) TokenBySum(sum [32]byte) (name string, expires time.Time, ok bool) {
	t, ok := p.tokens[sum]
	return t.name, t.expires, ok
}
