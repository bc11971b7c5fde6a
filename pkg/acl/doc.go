// Package acl decides who may do what: it reads the access rules of a my_os_server daemon and answers
// which right a caller has on a method. It knows no transport, no method of its own and makes no system
// call: who is calling has been settled before (the caller arrives as a Caller), what the methods are is
// an argument of Parse, and the bytes of the file are the daemon's to read.
//
// # Rights
//
// There are three: admin holds write, write holds read. A method needs exactly one of them, or none at
// all. A Policy only ever grants; there is no rule that denies, and what no rule grants is denied.
//
// # Callers
//
// A caller is one of these and never two at a time:
//
//   - a user of the host, with a uid and all gids, as the kernel reports them for a Unix socket;
//   - the holder of an ed25519 public key, who has proven it or for whom a trusted peer has vouched;
//   - the holder of an opaque token that the file lists under a name;
//   - anonymous.
//
// Each is local or remote. What is local (a Unix socket without a relay in between) is decided by the
// transport.
//
// # The file
//
// An ACL file is TOML 1.0. Unknown keys, wrong types and names that refer to nothing are errors, so that a
// slip of the pen never turns into a rule that silently does nothing. It holds any number of groups, rules
// (ACEs) and tokens, and at most one policy table, in any order:
//
//	[[group]]
//	name = "admins"
//	users = ["d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "uid:0", "token:ci"]
//
//	[[group]]
//	name = "operators"
//	users = ["gid:27"]
//	member_groups = ["admins"]
//
//	[[ace]]
//	right = "write"
//	groups = ["operators"]
//	methods = ["net.*"]
//
//	[[token]]
//	name = "ci"
//	sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
//	expires = 2027-01-01T00:00:00Z
//
//	[policy]
//	anonymous_local = "read"
//	anonymous_remote = "none"
//	anonymous_privileged = true
//	trusted_uids = [0]
//
// group: name is required: 1 to 64 bytes of printable text without blanks at its ends, unique among the
// groups. users lists its users, member_groups the groups whose users, and theirs in turn, belong to it
// too. Either may be absent or empty. Groups that contain each other in a circle are an error.
//
// A user is written in one of four forms:
//
//	<64 digits>  an ed25519 public key in lower-case hex: a canonical encoding (RFC 8032, section 5.1.3)
//	             of a point on the curve that is not of small order
//	uid:N        the user with uid N, decimal, 0 to 4294967294, without leading zeros
//	gid:N        every user one of whose groups on the host has gid N
//	token:NAME   the holder of the token NAME, which must be listed
//
// There is no user that is admin by nature: with an ACL file, uid:0 too has only what the file grants.
//
// ace: right (read, write or admin) and groups (at least one) are required. methods narrows the rule to
// the methods that fit one of its globs; absent, the rule covers all methods. In a glob * stands for any
// run of characters, dots too, and every other character for itself. A glob that fits no method is an
// error, an empty list as well.
//
// token: name (1 to 64 of the characters A-Z a-z 0-9 . _ @ + -), sha256 (the SHA-256 of the token's
// bytes, 64 lower-case hex digits) and expires (an instant with its offset from UTC) are required. Names
// and digests are unique. A token that has expired may stay in the file.
//
// policy: anonymous_local and anonymous_remote (none, read, write or admin; absent: none) are what
// anonymous callers have. anonymous_privileged (absent: false) says whether that extends to the methods
// that expose more than a bystander should see (connections, flows, firewall, NAT, configuration):
// where it is false those need a group. trusted_uids names the local users whose word is taken for a
// public key that they pass on; absent, these are root and the daemon's own uid, and [] is nobody.
//
// # Evaluation
//
// The groups of a caller are the groups that list it and, in turn, the groups that have one of those as a
// member group. A user of the host is listed by its uid and by each of its gids. On a method a caller has
// the highest right of all rules that name one of its groups and cover the method, and at least what an
// anonymous caller from the same place, local or remote, has.
//
// Parse resolves all nesting and all globs, so that a decision is a look-up for each identity of the
// caller and a maximum over the groups found.
package acl
