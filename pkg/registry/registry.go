// Package registry is the method table of my_os_server: one row per method with its right, its
// effect and its typed params and results. Everything in the files that end in _gen.go comes from
// api/openrpc.json by way of internal/registrygen; what is written by hand here is what every row
// shares: looking a row up, checking params, carrying a result to the wire.
//
// The package does no I/O, knows no policy and holds no handler. It is meant to be imported by both
// servers, by clients and by other people's programs.
package registry

import (
	"context"
	"fmt"

	"github.com/geomind/my_os_server/api"
)

//go:generate go run ../../internal/registrygen/gen -spec ../../api/openrpc.json -out . -client ../client/methods_gen.go -verbs ../../internal/cli/verbs_gen.go -reference ../../docs/methods.md
//go:generate go run ../../internal/cli/gen ../../docs/cli.md

// Right is what a caller must hold to call a method. Rights are ordered: Admin holds Write, Write
// holds Read, and every caller holds None.
type Right uint8

// The rights, weakest first.
const (
	RightNone Right = iota
	RightRead
	RightWrite
	RightAdmin
)

var rightNames = [...]string{"none", "read", "write", "admin"}

// String is the name the specification and ACL files use: none, read, write or admin.
func (r Right) String() string {
	if int(r) < len(rightNames) {
		return rightNames[r]
	}
	return fmt.Sprintf("right(%d)", uint8(r))
}

// Effect says what a call does to the host.
type Effect uint8

// The effects, mildest first.
const (
	EffectRead    Effect = iota // changes nothing
	EffectWrite                 // changes something that another call can change back
	EffectDestroy               // may end something that no call brings back
)

var effectNames = [...]string{"read", "write", "destroy"}

// String is the name in the specification's x-effect column.
func (e Effect) String() string {
	if int(e) < len(effectNames) {
		return effectNames[e]
	}
	return fmt.Sprintf("effect(%d)", uint8(e))
}

// Param names one param of a method; its place in Method.Params is its position in a call by position.
type Param struct {
	Name     string
	Required bool
}

// Method is one row of the table. Rows are made by the generator and never change.
type Method struct {
	Name    string // "net.routes"
	Index   int    // its place in All
	Right   Right  // what a caller needs
	Effect  Effect // what a call does
	Stream  bool   // the result's list is written row by row
	Exposes bool   // a read that shows more than anonymous callers should see by default
	Since   string // the table version that brought it
	Params  []Param

	decode func(raw []byte) (any, error)
	call   func(ctx context.Context, s *Servers, params any, out *Out) error
}

// Document is the specification itself, the OpenRPC document that rpc.discover answers. It must not be
// changed.
func Document() []byte { return api.Document }

// byName finds the rows, which the specification's order numbers.
var byName = index(methods)

func index(rows []*Method) map[string]*Method {
	found := make(map[string]*Method, len(rows))
	for i, m := range rows {
		m.Index = i
		found[m.Name] = m
	}
	return found
}

// All lists every method in the order of the specification. The slice must not be changed.
func All() []*Method { return methods }

// Lookup finds a row by its exact name.
func Lookup(name string) (*Method, bool) {
	m, ok := byName[name]
	return m, ok
}

// LookupBytes is Lookup for a name that still lies in a request's bytes; it does not allocate.
func LookupBytes(name []byte) (*Method, bool) {
	m, ok := byName[string(name)]
	return m, ok
}

// Namespace is the part of the name before the first dot: net, vol or rpc.
func (m *Method) Namespace() string {
	for i := range m.Name {
		if m.Name[i] == '.' {
			return m.Name[:i]
		}
	}
	return m.Name
}

// Decode checks raw, the call's params as they stand in the request (an object, an array, or nothing
// where they are absent), and returns a pointer to the method's params struct. Every fault of the call
// is in the *ParamsError that comes back where it does not fit.
func (m *Method) Decode(raw []byte) (any, error) { return m.decode(raw) }

// Call runs the handler of the server that the method belongs to and appends its result to out. params
// is what Decode returned. Where an error comes back and out.Sent is false, out.Buf is as it was before.
func (m *Method) Call(ctx context.Context, s *Servers, params any, out *Out) error {
	return m.call(ctx, s, params, out)
}
