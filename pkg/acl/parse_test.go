package acl

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// Every fault is found, and reported with the line where it stands.
func TestParseRefuses(t *testing.T) {
	long := strings.Repeat("x", 65)
	tests := []struct {
		name   string
		file   string
		line   int
		reason string
	}{
		// What is not TOML.
		{"syntax", "[[group]]\nname = \"a\"\nusers = [\n", 3, "not TOML: array is incomplete"},
		{"no value", "\n[policy]\nanonymous_local\n", 3, "not TOML: expected '=' after key"},
		{"invalid UTF-8", "[[group]]\nname = \"a\xff\"\n", 2, "not TOML: invalid UTF-8 character in basic string"},
		{"key twice", "[policy]\nanonymous_local = \"read\"\nanonymous_local = \"none\"\n", 3, "not TOML: key anonymous_local is already defined"},
		{"policy twice", "[policy]\n[policy]\n", 2, "not TOML: table policy already exists"},
		{"impossible date", "[[token]]\nname = \"a\"\nexpires = 2027-02-30T00:00:00Z", 3, "not TOML: impossible date"},

		// Unknown keys.
		{"unknown table", "[[group]]\nname = \"a\"\n[acl]\n", 3, `unknown key "acl" in the file: its keys are group, ace, token, policy`},
		{"unknown key at the top", "version = 1\n", 1, `unknown key "version" in the file: its keys are group, ace, token, policy`},
		{"unknown key of group", "[[group]]\nname = \"a\"\n\nuser = [\"uid:0\"]\n", 4, `unknown key "user" in [[group]]: its keys are name, users, member_groups`},
		{"unknown key of a later group", "[[group]]\nname = \"a\"\n[[group]]\nname = \"b\"\nx.y = 1\n", 5, `unknown key "x" in [[group]]: its keys are name, users, member_groups`},
		{"unknown table of group", "[[group]]\nname = \"a\"\n[group.x]\n", 3, `unknown key "x" in [[group]]: its keys are name, users, member_groups`},
		{"unknown key of ace", "[[ace]]\nright = \"read\"\nmethod = \"net.*\"\ngroups = []\n", 3, `unknown key "method" in [[ace]]: its keys are right, groups, methods`},
		{"unknown key of token", token1(`name = "ci"`) + "secret = \"x\"\n", 5, `unknown key "secret" in [[token]]: its keys are name, sha256, expires`},
		{"unknown key of policy", "[policy]\nanonymous = \"read\"\n", 2, `unknown key "anonymous" in [policy]: its keys are anonymous_local, anonymous_remote, anonymous_privileged, trusted_uids`},
		{"key in the wrong case", "[policy]\nAnonymous_local = \"read\"\n", 2, `unknown key "Anonymous_local" in [policy]: its keys are anonymous_local, anonymous_remote, anonymous_privileged, trusted_uids`},

		// Wrong shapes and types.
		{"group as a table", "[group]\nname = \"a\"\n", 1, "group must be an array of tables: [[group]]"},
		{"ace as an array of strings", "ace = [\n\"read\"]\n", 2, "ace must be an array of tables: [[ace]]"},
		{"policy as an array", "[[policy]]\nanonymous_local = \"read\"\n", 1, "policy must be a table: [policy]"},
		{"name as a number", "[[group]]\nname = 1\n", 2, "name must be a string"},
		{"users as a string", "[[group]]\nname = \"a\"\nusers = \"uid:0\"\n", 3, "users must be an array of strings"},
		{"user as a number", "[[group]]\nname = \"a\"\nusers = [\n  \"uid:0\",\n  0,\n]\n", 5, "users must be an array of strings"},
		{"user as an array", "[[group]]\nname = \"a\"\nusers = [\n  [],\n]\n", 3, "users must be an array of strings"},
		{"user as a table", "[[group]]\nname = \"a\"\nusers = [\n  {uid = 0},\n]\n", 4, "users must be an array of strings"},
		{"deep inline nesting", "group = [{name = \"a\"},\n{name = \"b\", users = [\n\"uid:1\", \"x\"]}]\n", 3, `group "b": user 2 must be a public key (64 lower-case hex digits), uid:N, gid:N or token:NAME`},
		{"privileged as a string", "[policy]\nanonymous_privileged = \"true\"\n", 2, "anonymous_privileged must be true or false"},
		{"trusted_uids as a number", "[policy]\ntrusted_uids = 0\n", 2, "trusted_uids must be an array of uids"},
		{"trusted_uids negative", "[policy]\ntrusted_uids = [0,\n-1]\n", 3, "trusted_uids must be whole numbers from 0 to 4294967294"},
		{"trusted_uids (uid_t)-1", "[policy]\ntrusted_uids = [4294967295]\n", 2, "trusted_uids must be whole numbers from 0 to 4294967294"},
		{"trusted_uids in quotes", "[policy]\ntrusted_uids = [\"0\"]\n", 2, "trusted_uids must be whole numbers from 0 to 4294967294"},

		// Names.
		{"group without name", "\n[[group]]\nusers = []\n", 2, "[[group]] lacks name"},
		{"empty group name", "[[group]]\nname = \"\"\n", 2, "group name is empty"},
		{"long group name", "[[group]]\nname = \"" + long + "\"\n", 2, "group name is longer than 64 bytes"},
		{"blank group name", "[[group]]\nname = \" \"\n", 2, "group name has blanks at its ends"},
		{"group name over two lines", "[[group]]\nname = \"a\\nb\"\n", 2, "group name has characters that cannot be printed"},
		{"group twice", "[[group]]\nname = \"a\"\n[[group]]\nname = \"b\"\n[[group]]\nname = \"a\"\n", 6, `group "a" is there twice`},
		{"empty token name", token1(`name = ""`), 2, "token name is empty"},
		{"long token name", token1(`name = "` + long + `"`), 2, "token name is longer than 64 bytes"},
		{"token name with a blank", token1(`name = "c i"`), 2, "token name has other characters than A-Z a-z 0-9 . _ @ + -"},
		{"token name not ASCII", token1(`name = "çi"`), 2, "token name has other characters than A-Z a-z 0-9 . _ @ + -"},

		// Users.
		{"user of no form", users(`"bob"`), 3, `group "a": user 1 must be a public key (64 lower-case hex digits), uid:N, gid:N or token:NAME`},
		{"empty user", users(`"uid:0", ""`), 3, `group "a": user 2 must be a public key (64 lower-case hex digits), uid:N, gid:N or token:NAME`},
		{"user of an unknown form", users(`"user:bob"`), 3, `group "a": user 1 must be a public key (64 lower-case hex digits), uid:N, gid:N or token:NAME`},
		{"short key", users(`"` + keyOne[1:] + `"`), 3, `group "a": user 1 must be a public key (64 lower-case hex digits), uid:N, gid:N or token:NAME`},
		{"key in capitals", users("\n\"uid:1\",\n\"" + strings.ToUpper(keyOne) + `"`), 5, `group "a": user 2 is no public key: not 64 lower-case hex digits`},
		{"key not hex", users(`"` + keyOne[1:] + `g"`), 3, `group "a": user 1 is no public key: not 64 lower-case hex digits`},
		{"key not canonical", users(`"` + strings.Repeat("ff", 31) + `7f"`), 3, `group "a": user 1 is no public key: not the canonical encoding of a point`},
		{"key of small order", users(`"` + strings.Repeat("00", 32) + `"`), 3, `group "a": user 1 is no public key: a point of small order`},
		{"key off the curve", users(`"02` + strings.Repeat("00", 31) + `"`), 3, `group "a": user 1 is no public key: not a point on the curve`},
		{"uid without number", users(`"uid:"`), 3, `group "a": user 1 has a number that is not decimal, from 0 to 4294967294, without leading zeros`},
		{"uid with leading zero", users(`"uid:01000"`), 3, `group "a": user 1 has a number that is not decimal, from 0 to 4294967294, without leading zeros`},
		{"uid with sign", users(`"uid:+1"`), 3, `group "a": user 1 has a number that is not decimal, from 0 to 4294967294, without leading zeros`},
		{"uid by name", users(`"uid:root"`), 3, `group "a": user 1 has a number that is not decimal, from 0 to 4294967294, without leading zeros`},
		{"uid (uid_t)-1", users(`"uid:4294967295"`), 3, `group "a": user 1 has a number that is not decimal, from 0 to 4294967294, without leading zeros`},
		{"gid too large", users(`"gid:4294967296"`), 3, `group "a": user 1 has a number that is not decimal, from 0 to 4294967294, without leading zeros`},
		{"unknown token", users(`"token:ci"`), 3, `group "a": user 1: there is no token "ci"`},

		// Member groups.
		{"unknown member group", "[[group]]\nname = \"a\"\nmember_groups = [\n\"b\"]\n", 4, `group "a": there is no group "b" for member_groups`},
		{"group in itself", "[[group]]\nname = \"a\"\nmember_groups = [\"a\"]\n", 3, "member_groups go in a circle: a -> a"},
		{"circle of three", "[[group]]\nname = \"z\"\nmember_groups = [\"a\"]\n[[group]]\nname = \"a\"\nmember_groups = [\"b\"]\n" +
			"[[group]]\nname = \"b\"\nmember_groups = [\"c\"]\n[[group]]\nname = \"c\"\nmember_groups = [\"a\"]\n", 12, "member_groups go in a circle: a -> b -> c -> a"},

		// Rules.
		{"rule without right", "[[group]]\nname = \"a\"\n[[ace]]\ngroups = [\"a\"]\n", 3, "[[ace]] lacks right"},
		{"rule with an unknown right", ace(`right = "root"`), 4, "right must be one of read, write, admin"},
		{"rule that grants none", ace(`right = "none"`), 4, "right must be one of read, write, admin"},
		{"rule with a right in capitals", ace(`right = "Read"`), 4, "right must be one of read, write, admin"},
		{"rule without groups", "[[ace]]\nright = \"read\"\n", 1, "[[ace]] lacks groups"},
		{"rule with empty groups", "[[ace]]\nright = \"read\"\ngroups = []\n", 3, "groups is empty: a rule without a group grants nothing"},
		{"rule for an unknown group", "[[ace]]\nright = \"read\"\ngroups = [\"a\"]\n", 3, `rule: there is no group "a"`},
		{"rule with empty methods", ace("right = \"read\"\nmethods = []"), 5, "methods is empty: name some, or leave it out for all methods"},
		{"glob that fits nothing", ace("right = \"read\"\nmethods = [\"net.*\",\n\"nets.*\"]"), 6, `rule: "nets.*" fits no method`},
		{"empty glob", ace("right = \"read\"\nmethods = [\"\"]"), 5, `rule: "" fits no method`},
		{"glob with a question mark", ace("right = \"read\"\nmethods = [\"net.route?\"]"), 5, `rule: "net.route?" fits no method`},

		// Tokens.
		{"token twice", token1(`name = "ci"`) + "[[token]]\nname = \"ci\"\nsha256 = \"" + keyOne + "\"\nexpires = 2027-01-01T00:00:00Z\n", 6, `token "ci" is there twice`},
		{"digest twice", token1(`name = "ci"`) + strings.Replace(token1(`name = "cd"`), "sha256", "\nsha256", 1), 8, `token "cd" has the sha256 of token "ci"`},
		{"token without name", "[[token]]\nsha256 = \"" + sumOfTest + "\"\nexpires = 2027-01-01T00:00:00Z\n", 1, "[[token]] lacks name"},
		{"token without digest", "[[token]]\nname = \"ci\"\nexpires = 2027-01-01T00:00:00Z\n", 1, "[[token]] lacks sha256"},
		{"token without expiry", "\n\n[[token]]\nname = \"ci\"\nsha256 = \"" + sumOfTest + "\"\n", 3, "[[token]] lacks expires"},
		{"digest too short", "[[token]]\nname = \"ci\"\nsha256 = \"" + sumOfTest[2:] + "\"\nexpires = 2027-01-01T00:00:00Z\n", 3, "sha256 must be 64 lower-case hex digits"},
		{"digest in capitals", "[[token]]\nname = \"ci\"\nsha256 = \"" + strings.ToUpper(sumOfTest) + "\"\nexpires = 2027-01-01T00:00:00Z\n", 3, "sha256 must be 64 lower-case hex digits"},
		{"token in the place of its digest", "[[token]]\nname = \"ci\"\nsha256 = \"hunter2\"\nexpires = 2027-01-01T00:00:00Z\n", 3, "sha256 must be 64 lower-case hex digits"},
		{"expiry as a string", strings.Replace(token1(`name = "ci"`), "2027-01-01T00:00:00Z", `"2027-01-01T00:00:00Z"`, 1), 4, "expires must be an instant with its offset from UTC, like 2027-01-01T00:00:00Z"},
		{"expiry as a local date", strings.Replace(token1(`name = "ci"`), "T00:00:00Z", "", 1), 4, "expires must be an instant with its offset from UTC, like 2027-01-01T00:00:00Z"},
		{"expiry without offset", strings.Replace(token1(`name = "ci"`), "00Z", "00", 1), 4, "expires must be an instant with its offset from UTC, like 2027-01-01T00:00:00Z"},

		// Policy.
		{"unknown anonymous right", "[policy]\nanonymous_local = \"all\"\n", 2, "anonymous_local must be one of none, read, write, admin"},
		{"anonymous right as a boolean", "policy.anonymous_remote = false\n", 1, "anonymous_remote must be a string"},

		// Several faults: the first in the file counts, but forms come before references.
		{"first of two", "[[group]]\nname = \"\"\n[[ace]]\nright = \"x\"\n", 2, "group name is empty"},
		{"form before reference", ace("right = \"read\"\nmethods = [\"x\"]") + "[policy]\nx = 1\n", 8, `unknown key "x" in [policy]: its keys are anonymous_local, anonymous_remote, anonymous_privileged, trusted_uids`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, err := Parse("/etc/acl.toml", []byte(test.file), testMethods)
			var wrong *ParseError
			if !errors.As(err, &wrong) {
				t.Fatalf("got policy %v, error %v, want a *ParseError", p, err)
			}
			want := ParseError{"/etc/acl.toml", test.line, test.reason}
			if *wrong != want {
				t.Errorf("got  %v\nwant %v", wrong, &want)
			}
			if p != nil {
				t.Errorf("got a policy beside the error: %v", p)
			}
		})
	}
}

// users is a file with one group; its users begin in line 3.
func users(list string) string {
	return "[[group]]\nname = \"a\"\nusers = [" + list + "]\n"
}

// ace is a file with a group and a rule for it; the rule's fields begin in line 4.
func ace(fields string) string {
	return "[[group]]\nname = \"a\"\n[[ace]]\n" + fields + "\ngroups = [\"a\"]\n"
}

// token1 is a file with one token of four lines, the first field as given.
func token1(field string) string {
	return "[[token]]\n" + field + "\nsha256 = \"" + sumOfTest + "\"\nexpires = 2027-01-01T00:00:00Z\n"
}

func TestParseErrorText(t *testing.T) {
	_, err := Parse("/etc/my_os_server/acl.toml", []byte("\n[[group]]\n"), nil)
	want := "/etc/my_os_server/acl.toml:2: [[group]] lacks name"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// A secret that was pasted in the wrong place must not come back in the error, which goes to the log.
func TestParseKeepsSecrets(t *testing.T) {
	const secret = "k7Yw2cQm9Xb4Rt6Lp1Zs8Vn3"
	for _, file := range []string{
		users(`"` + secret + `"`),
		users(`"tok:` + secret + `"`),
		strings.Replace(token1(`name = "ci"`), sumOfTest, secret, 1),
		strings.Replace(token1(`name = "ci"`), `"`+sumOfTest+`"`, `"`+secret, 1),
	} {
		_, err := Parse("acl.toml", []byte(file), testMethods)
		if err == nil {
			t.Fatalf("parsed %q", file)
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%q: the error shows the secret: %v", file, err)
		}
	}
}

// The same rules in other spellings of TOML are the same rules.
func TestParseSpellings(t *testing.T) {
	for name, file := range map[string]string{
		"tables":  "[[group]]\nname = \"a\"\nusers = [\"uid:1\"]\n[[ace]]\nright = \"write\"\ngroups = [\"a\"]\n[policy]\nanonymous_local = \"read\"\n",
		"inline":  "group = [{name = \"a\", users = [\"uid:1\"]}]\nace = [{right = \"write\", groups = [\"a\"]}]\npolicy = {anonymous_local = \"read\"}\n",
		"dotted":  "policy.anonymous_local = 'read'\n[[\"group\"]]\n\"name\" = '''a'''\nusers = [ # who\n\t\"uid:1\",\n]\n[['ace']]\nright = \"wri\\u0074e\"\ngroups = [\"a\"]\n",
		"windows": "[policy]\r\nanonymous_local = \"read\"\r\n[[ace]]\r\nright = \"write\"\r\ngroups = [\"a\"]\r\n[[group]]\r\nname = \"a\"\r\nusers = [\"uid:1\"]",
	} {
		t.Run(name, func(t *testing.T) {
			p := mustParse(t, file)
			m := method(t, "net.routes")
			if got := p.Right(&Caller{Kind: KindUID, UID: 1, Local: true}, m); got != Write {
				t.Errorf("uid:1 has %v, want write", got)
			}
			if got := p.Right(&Caller{Local: true}, m); got != Read {
				t.Errorf("anonymous has %v, want read", got)
			}
		})
	}
}

// What is nested deeper than any ACL file does not cost more than its size.
func TestParseAbsurdNesting(t *testing.T) {
	for name, file := range map[string]string{
		"arrays": "x = " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		"keys":   strings.Repeat("x.", 100_000) + "x = 1",
		"header": "[" + strings.Repeat("x.", 100_000) + "x]",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("acl.toml", []byte("\n"+file), testMethods)
			want := `acl.toml:2: unknown key "x" in the file: its keys are group, ace, token, policy`
			if err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

// Groups nested 3,000 deep: the one rule, for the outermost, reaches the users of the innermost.
func TestParseDeepNesting(t *testing.T) {
	const groups = 3000
	var file strings.Builder
	for i := range groups {
		fmt.Fprintf(&file, "[[group]]\nname = \"g%d\"\nusers = [\"uid:%d\"]\n", i, i)
		if i > 0 {
			fmt.Fprintf(&file, "member_groups = [\"g%d\"]\n", i-1)
		}
	}
	fmt.Fprintf(&file, "[[ace]]\nright = \"admin\"\ngroups = [\"g%d\"]\nmethods = [\"vol.*\"]\n", groups-1)
	p := mustParse(t, file.String())
	for _, uid := range []uint32{0, groups / 2, groups - 1} {
		if got := p.Right(&Caller{Kind: KindUID, UID: uid}, method(t, "vol.list_disks")); got != Admin {
			t.Errorf("uid %d, a member through all groups above it, has %v, want admin", uid, got)
		}
	}
	if got := p.Right(&Caller{Kind: KindUID, UID: groups}, method(t, "vol.list_disks")); got != None {
		t.Errorf("uid %d, in no group, has %v, want none", groups, got)
	}
}
