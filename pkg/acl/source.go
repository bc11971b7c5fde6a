package acl

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// source is an ACL file in its own terms: every key known, every value of the right type and form, no name
// looked up yet.
type source struct {
	groups []sourceGroup
	aces   []sourceACE
	tokens []sourceToken
	policy sourcePolicy
}

type sourceGroup struct {
	name    word
	users   []word
	members []word
}

type sourceACE struct {
	line    int
	right   Right
	groups  []word
	methods []word // nil: all
}

type sourceToken struct {
	name    word
	sum     [32]byte
	sumLine int
	expires time.Time
}

type sourcePolicy struct {
	anonymousLocal      Right
	anonymousRemote     Right
	anonymousPrivileged bool
	trusted             []uint32 // nil: absent
}

// word is a string of the file and where it stands.
type word struct {
	text string
	line int
}

// readSource takes the document apart. What it returns is of use only where faults is empty.
func readSource(d document) (source, faults) {
	r := reader{document: d}
	root := entry{kind: "the file", fields: d.root}
	r.knows(root, "group", "ace", "token", "policy")
	var s source
	for _, e := range r.entries("group") {
		s.groups = append(s.groups, r.group(e))
	}
	for _, e := range r.entries("ace") {
		s.aces = append(s.aces, r.ace(e))
	}
	for _, e := range r.entries("token") {
		s.tokens = append(s.tokens, r.token(e))
	}
	s.policy = r.policy()
	return s, r.faults
}

func (r *reader) group(e entry) sourceGroup {
	r.knows(e, "name", "users", "member_groups")
	g := sourceGroup{name: r.word(e, "name")}
	if reason := checkGroupName(g.name.text); reason != "" && g.name.line > 0 {
		r.add(g.name.line, "group name %s", reason)
	}
	g.users, _ = r.words(e, "users")
	g.members, _ = r.words(e, "member_groups")
	return g
}

func (r *reader) ace(e entry) sourceACE {
	r.knows(e, "right", "groups", "methods")
	a := sourceACE{line: r.line(e.path)}
	if right := r.word(e, "right"); right.line > 0 {
		a.right = r.right(right, "right", Read)
	}
	groups, ok := r.words(e, "groups")
	if !ok {
		r.missing(e, "groups")
	} else if groups != nil && len(groups) == 0 {
		r.add(r.line(e.at("groups")), "groups is empty: a rule without a group grants nothing")
	}
	methods, ok := r.words(e, "methods")
	if ok && methods != nil && len(methods) == 0 {
		r.add(r.line(e.at("methods")), "methods is empty: name some, or leave it out for all methods")
	}
	a.groups, a.methods = groups, methods
	return a
}

func (r *reader) token(e entry) sourceToken {
	r.knows(e, "name", "sha256", "expires")
	t := sourceToken{name: r.word(e, "name")}
	if reason := checkTokenName(t.name.text); reason != "" && t.name.line > 0 {
		r.add(t.name.line, "token name %s", reason)
	}
	if sum := r.word(e, "sha256"); sum.line > 0 {
		t.sumLine = sum.line
		if !decodeSum(&t.sum, sum.text) {
			r.add(sum.line, "sha256 must be 64 lower-case hex digits")
		}
	}
	switch expires := e.fields["expires"].(type) {
	case nil:
		r.missing(e, "expires")
	case time.Time:
		t.expires = expires
	default:
		r.add(r.line(e.at("expires")), "expires must be an instant with its offset from UTC, like 2027-01-01T00:00:00Z")
	}
	return t
}

func (r *reader) policy() sourcePolicy {
	var p sourcePolicy
	fields, ok := r.root["policy"].(map[string]any)
	if !ok {
		if _, present := r.root["policy"]; present {
			r.add(r.line("policy"), "policy must be a table: [policy]")
		}
		return p
	}
	e := entry{kind: "[policy]", path: "policy", fields: fields}
	r.knows(e, "anonymous_local", "anonymous_remote", "anonymous_privileged", "trusted_uids")
	p.anonymousLocal = r.anonymous(e, "anonymous_local")
	p.anonymousRemote = r.anonymous(e, "anonymous_remote")
	switch privileged := fields["anonymous_privileged"].(type) {
	case nil:
	case bool:
		p.anonymousPrivileged = privileged
	default:
		r.add(r.line(e.at("anonymous_privileged")), "anonymous_privileged must be true or false")
	}
	p.trusted = r.uids(e, "trusted_uids")
	return p
}

// reader takes typed values out of a document and notes what does not fit.
type reader struct {
	document
	faults
}

// entry is one table of the file.
type entry struct {
	kind   string // [[group]], for messages
	path   string // group[0]
	fields map[string]any
}

// at is the path of one of the entry's keys.
func (e entry) at(key string) string { return join(e.path, key) }

func (r *reader) missing(e entry, key string) {
	r.add(r.line(e.path), "%s lacks %s", e.kind, key)
}

// knows refuses keys of the entry that are not among known.
func (r *reader) knows(e entry, known ...string) {
	for _, key := range slices.Sorted(maps.Keys(e.fields)) {
		if !slices.Contains(known, key) {
			r.add(r.line(e.at(key)), "unknown key %q in %s: its keys are %s", key, e.kind, strings.Join(known, ", "))
		}
	}
}

// entries returns the tables that [[key]] made.
func (r *reader) entries(key string) []entry {
	value, present := r.root[key]
	elements, ok := value.([]any)
	if present && !ok {
		r.add(r.line(key), "%s must be an array of tables: [[%s]]", key, key)
	}
	var entries []entry
	for i, v := range elements {
		path := element(key, i)
		fields, ok := v.(map[string]any)
		if !ok {
			r.add(r.line(path), "%s must be an array of tables: [[%s]]", key, key)
			continue
		}
		entries = append(entries, entry{kind: "[[" + key + "]]", path: path, fields: fields})
	}
	return entries
}

// word returns a required string; its line is 0 where there is none.
func (r *reader) word(e entry, key string) word {
	switch v := e.fields[key].(type) {
	case nil:
		r.missing(e, key)
		return word{}
	case string:
		return word{v, r.line(e.at(key))}
	default:
		r.add(r.line(e.at(key)), "%s must be a string", key)
		return word{}
	}
}

// words returns an optional array of strings: not nil where it stands in the file as one. ok says that the
// key is there, well-formed or not.
func (r *reader) words(e entry, key string) (words []word, ok bool) {
	value, ok := e.fields[key]
	if !ok {
		return nil, false
	}
	elements, isArray := value.([]any)
	if !isArray {
		r.add(r.line(e.at(key)), "%s must be an array of strings", key)
		return nil, true
	}
	words = make([]word, 0, len(elements))
	for i, v := range elements {
		path := element(e.at(key), i)
		text, isString := v.(string)
		if !isString {
			r.add(r.line(path), "%s must be an array of strings", key)
			continue
		}
		words = append(words, word{text, r.line(path)})
	}
	return words, true
}

// right reads a right that is at least least.
func (r *reader) right(w word, key string, least Right) Right {
	right, err := ParseRight(w.text)
	if err != nil || right < least {
		r.add(w.line, "%s must be one of %s", key, strings.Join(rightNames[least:], ", "))
	}
	return right
}

// anonymous reads an optional right; absent is None.
func (r *reader) anonymous(e entry, key string) Right {
	if _, present := e.fields[key]; !present {
		return None
	}
	w := r.word(e, key)
	if w.line == 0 {
		return None
	}
	return r.right(w, key, None)
}

// uids reads an optional array of uids; absent is nil.
func (r *reader) uids(e entry, key string) []uint32 {
	value, present := e.fields[key]
	if !present {
		return nil
	}
	elements, ok := value.([]any)
	if !ok {
		r.add(r.line(e.at(key)), "%s must be an array of uids", key)
	}
	uids := make([]uint32, 0, len(elements))
	for i, v := range elements {
		uid, ok := v.(int64)
		if !ok || uid < 0 || uid > maxID {
			r.add(r.line(element(e.at(key), i)), "%s must be whole numbers from 0 to %d", key, maxID)
			continue
		}
		uids = append(uids, uint32(uid))
	}
	return uids
}
