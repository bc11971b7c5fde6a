package rpcserver

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/geomind/my_os_server/internal/identity"
	"github.com/geomind/my_os_server/pkg/acl"
	"github.com/geomind/my_os_server/pkg/registry"
)

// plainCaller is who a connection's requests come from when they carry no credential, and what that one
// may do by one policy. It is found out once: neither the peer nor a policy ever changes.
type plainCaller struct {
	policy *acl.Policy // nil: not found out
	caller acl.Caller
	name   string
	rights []uint8 // by the method's place in the table; unknownRight where nobody has asked
}

const unknownRight = 0xff

// identified is who makes a request, found out when the first call asks.
type identified struct {
	asked  bool
	plain  *plainCaller // nil where the request carries a credential
	policy *acl.Policy  // the one that judges the whole request, even if another one comes in between
	caller *acl.Caller
	name   string
	cause  error // why the caller is not believed, for the log
	err    error // the same for the caller
}

// plainBy finds out who the peer of the connection is by policy.
func (c *conn) plainBy(policy *acl.Policy) *plainCaller {
	if c.plain.policy == policy {
		return &c.plain
	}
	p := &c.plain
	*p = plainCaller{policy: policy, rights: make([]uint8, len(c.s.methods))}
	for i := range p.rights {
		p.rights[i] = unknownRight
	}
	p.caller = c.peer.Caller()
	p.name = p.caller.String()
	return p
}

func (p *plainCaller) right(m *registry.Method, methods []acl.Method) registry.Right {
	if p.rights[m.Index] == unknownRight {
		p.rights[m.Index] = uint8(p.policy.Right(&p.caller, methods[m.Index]))
	}
	return registry.Right(p.rights[m.Index])
}

// identify finds out who makes the request. The error is a *registry.UnauthenticatedError.
func (x *exchange) identify() error {
	if x.who.asked {
		return x.who.err
	}
	x.who.asked = true
	x.who.policy = x.s.policy.Load()
	if !x.headers.credentialed && x.c.peer.Key == "" { // a certificate is judged anew each time: it may end under way
		p := x.c.plainBy(x.who.policy)
		x.who.plain, x.who.caller, x.who.name = p, &p.caller, p.name
		return nil
	}
	caller, err := x.s.verifier.Identify(x.who.policy, &x.c.peer,
		&identity.Request{Method: x.http.r.Method, Path: x.path, Header: x.http.r.Header, Body: x.body})
	if err != nil {
		x.who.name, x.who.cause, x.who.err = "unproven", err, unauthenticated(err)
		x.hold()
		return x.who.err
	}
	x.who.caller, x.who.name = &caller, caller.String()
	return nil
}

func unauthenticated(err error) error {
	why := registry.UnauthenticatedReasonInvalid
	if errors.Is(err, identity.ErrNoProof) {
		why = registry.UnauthenticatedReasonNoProof
	}
	return &registry.UnauthenticatedError{UnauthenticatedData: registry.UnauthenticatedData{Why: why}}
}

// authorize finds out who calls m, and whether that one may. The error is a *registry.UnauthenticatedError
// or a *registry.PermissionDeniedError.
func (x *exchange) authorize(m *registry.Method) (registry.Caller, error) {
	if m.Right == registry.RightNone {
		return registry.Caller{}, nil
	}
	if err := x.identify(); err != nil {
		return registry.Caller{}, err
	}
	caller := registry.Caller{Name: x.who.name, Right: x.rightOn(m)}
	if caller.Right < m.Right {
		return caller, denied(m, caller)
	}
	return caller, nil
}

// rightOn is what the caller, who has been identified, holds for m.
func (x *exchange) rightOn(m *registry.Method) registry.Right {
	if x.who.plain != nil {
		return x.who.plain.right(m, x.s.methods)
	}
	return registry.Right(x.who.policy.Right(x.who.caller, x.s.methods[m.Index]))
}

func denied(m *registry.Method, c registry.Caller) error {
	return &registry.PermissionDeniedError{
		PermissionDeniedData: registry.PermissionDeniedData{
			Method: m.Name, Required: registry.RightName(m.Right.String()), Granted: registry.RightName(c.Right.String()), Caller: c.Name,
		},
		Message: fmt.Sprintf("%s needs %s, and %s has %s", m.Name, m.Right, c.Name, c.Right),
	}
}

// peerName is a peer as logs name it.
type peerName identity.Peer

func (p peerName) String() string {
	switch {
	case p.HasUID:
		return "uid:" + strconv.FormatUint(uint64(p.UID), 10)
	case p.Local:
		return "local"
	case p.Key != "":
		return p.Key
	}
	return "remote"
}
