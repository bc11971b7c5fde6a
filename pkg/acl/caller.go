package acl

import (
	"fmt"
	"strconv"
)

// Kind says what a caller is known by.
type Kind uint8

// The kinds of caller.
const (
	KindAnonymous Kind = iota // by nothing
	KindUID                   // by the kernel's word: UID and GIDs
	KindKey                   // by a public key: Key
	KindToken                 // by an opaque token: Token
)

var kindNames = [...]string{"anonymous", "uid", "key", "token"}

// String is anonymous, uid, key or token.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Caller is who makes a request. Only the fields that belong to its Kind count: a caller known by its key
// has nothing from the uid of the connection that it came over. The zero Caller is anonymous and remote.
type Caller struct {
	Kind  Kind
	UID   uint32   // KindUID: effective uid
	GIDs  []uint32 // KindUID: effective gid and supplementary groups; shared, not to be changed
	Key   string   // KindKey: ed25519 public key, 64 lower-case hex digits
	Token string   // KindToken: the token's name in the ACL file
	Local bool     // reached the daemon over a Unix socket, without a relay
}

// String is the caller as logs and error answers name it: uid:1000, the key's 64 hex digits, token:ci, or
// anonymous.
func (c *Caller) String() string {
	switch c.Kind {
	case KindUID:
		return "uid:" + strconv.FormatUint(uint64(c.UID), 10)
	case KindKey:
		return c.Key
	case KindToken:
		return "token:" + c.Token
	default:
		return "anonymous"
	}
}

// Method is what a decision has to know about a method.
type Method struct {
	Name    string // net.routes
	Exposes bool   // shows more than a bystander should see; see anonymous_privileged
}
