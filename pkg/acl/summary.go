package acl

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Summary says in a few lines what the policy grants, for the daemon's log at start and at reload: one line a
// group, one a token that is expired at now or that no group lists, and one each for anonymous callers and
// for trust. It holds no secret.
func (p *Policy) Summary(now time.Time) []string {
	var lines []string
	if p.builtIn {
		lines = append(lines, "no ACL file: root and the daemon's own uid have admin")
	} else {
		for _, g := range p.groups {
			lines = append(lines, g.summary())
		}
		lines = append(lines, p.tokenSummary(now)...)
	}
	return append(lines, p.anonymousSummary(), "public keys are believed when passed on by "+p.trustSummary())
}

// String is a short form of Summary, in one line.
func (p *Policy) String() string {
	if p.builtIn {
		return "built-in policy: " + p.anonymousSummary()
	}
	return fmt.Sprintf("%d groups, %d users, %d tokens; %s", len(p.groups), len(p.users), len(p.tokens), p.anonymousSummary())
}

func (g *group) summary() string {
	s := fmt.Sprintf("group %q (%d users", g.name, g.users)
	if len(g.members) > 0 {
		s += ", and those of " + strings.Join(g.members, ", ")
	}
	if len(g.rules) == 0 {
		return s + ") has no rule of its own"
	}
	return s + ") has " + strings.Join(g.rules, "; ")
}

func (p *Policy) tokenSummary(now time.Time) []string {
	var lines []string
	for _, t := range p.tokens {
		if !t.expires.After(now) {
			lines = append(lines, fmt.Sprintf("token %q has expired at %s", t.name, t.expires.UTC().Format(time.RFC3339)))
		}
		if len(p.users[user{form: formToken, name: t.name}]) == 0 {
			lines = append(lines, fmt.Sprintf("token %q is in no group", t.name))
		}
	}
	slices.Sort(lines)
	return lines
}

func (p *Policy) anonymousSummary() string {
	s := fmt.Sprintf("others have %s locally and %s remotely", p.anonymousLocal, p.anonymousRemote)
	if !p.anonymousExposes && max(p.anonymousLocal, p.anonymousRemote) > None {
		s += ", without the methods that expose connections, flows, firewall, NAT or configuration"
	}
	return s
}

func (p *Policy) trustSummary() string {
	switch {
	case p.trusted == nil:
		return "root and the daemon's own uid"
	case len(p.trusted) == 0:
		return "nobody"
	default:
		return "uids " + strings.Trim(fmt.Sprint(p.trusted), "[]")
	}
}
