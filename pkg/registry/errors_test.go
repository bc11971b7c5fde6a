package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/pkg/registry"
	"github.com/geomind/my_os_server/pkg/registry/registrytest"
)

// wireErrors is one error of every kind, with what its data requires.
func wireErrors() []registry.WireError {
	return []registry.WireError{
		&registry.ParseError{ParseErrorData: registry.ParseErrorData{Offset: 7}},
		&registry.InvalidRequestError{InvalidRequestData: registry.InvalidRequestData{Why: "no method"}},
		&registry.MethodNotFoundError{MethodNotFoundData: registry.MethodNotFoundData{Method: "net.x"}},
		&registry.ParamsError{Faults: []registry.Fault{{Path: "mtu", Message: "must be given"}}},
		&registry.InternalError{InternalData: registry.InternalData{IncidentID: "1"}},
		&registry.UnsupportedError{UnsupportedData: registry.UnsupportedData{Reason: registry.UnsupportedReasonKernel}},
		&registry.PermissionDeniedError{PermissionDeniedData: registry.PermissionDeniedData{Method: "net.routes", Required: "read", Granted: "none", Caller: "anonymous"}},
		&registry.UnauthenticatedError{UnauthenticatedData: registry.UnauthenticatedData{Why: "invalid"}},
		&registry.NotFoundError{NotFoundData: registry.NotFoundData{Resource: "interface", ID: "eth9"}},
		&registry.ConflictError{ConflictData: registry.ConflictData{Resource: "route", ID: "10.0.0.0/8"}},
		&registry.BusyError{},
		&registry.RefusedError{RefusedData: registry.RefusedData{Rule: "the disk of /"}},
		&registry.ToolMissingError{ToolMissingData: registry.ToolMissingData{Tool: "nft"}},
		&registry.UpstreamUnavailableError{UpstreamUnavailableData: registry.UpstreamUnavailableData{Upstream: "mosnet", Cause: "refused"}},
		&registry.DeadlineExceededError{},
		&registry.OSError{OsErrorData: registry.OsErrorData{Op: "open /dev/kmsg", Errno: "EIO"}},
		&registry.ResourceExhaustedError{ResourceExhaustedData: registry.ResourceExhaustedData{Limit: "calls"}},
		&registry.NoPrivilegeError{NoPrivilegeData: registry.NoPrivilegeData{Capability: "CAP_NET_ADMIN"}},
	}
}

func TestEveryErrorIsThatOfTheSpecification(t *testing.T) {
	kinds := specification(t).Components.Errors
	if len(kinds) != len(wireErrors()) {
		t.Errorf("%d kinds are tested, the specification has %d", len(wireErrors()), len(kinds))
	}
	seen := map[int]bool{}
	for _, e := range wireErrors() {
		data := e.AppendData(nil)
		if err := registrytest.CheckError(e.RPCCode(), data); err != nil {
			t.Errorf("%T: %v", e, err)
		}
		if !strings.HasPrefix(string(data), `{"kind":"`+e.ErrorKind()+`"`) {
			t.Errorf("%T: data does not begin with its kind: %s", e, data)
		}
		for _, kind := range kinds {
			if kind.Code == e.RPCCode() && !strings.HasPrefix(e.Error(), kind.Message) {
				t.Errorf("%T says %q by itself, the specification %q", e, e.Error(), kind.Message)
			}
		}
		if seen[e.RPCCode()] {
			t.Errorf("%T: the code %d is that of another kind", e, e.RPCCode())
		}
		seen[e.RPCCode()] = true
	}
}

// What a client reads from an error's data with encoding/json is what went in; the kind is in the type.
func TestErrorDataReadsBack(t *testing.T) {
	for _, e := range wireErrors() {
		v := reflect.ValueOf(e).Elem()
		if v.Type() == reflect.TypeFor[registry.ParamsError]() {
			continue
		}
		back := reflect.New(v.Field(0).Type())
		if err := json.Unmarshal(e.AppendData(nil), back.Interface()); err != nil {
			t.Fatal(err)
		}
		again := back.Interface().(encodable).AppendJSON(nil)
		if diff := cmp.Diff(string(e.AppendData(nil)), string(again)); diff != "" {
			t.Errorf("%T:\n%s", e, diff)
		}
	}
}

func TestTheMessageIsTheHandlersWhereItHasOne(t *testing.T) {
	e := &registry.NotFoundError{Message: "interface eth9: there is none"}
	if e.Error() != "interface eth9: there is none" {
		t.Error(e.Error())
	}
}

func TestWhatIsNotBuiltSaysSo(t *testing.T) {
	s := &registry.Servers{RPC: registry.NotBuiltRPC{}, Net: registry.NotBuiltNet{}, Vol: registry.NotBuiltVol{}}
	spec := specification(t)
	for _, m := range registry.All() {
		params := paramsOf(t, spec, m)
		out := registry.Out{}
		err := m.Call(context.Background(), s, params, &out)
		var e *registry.UnsupportedError
		if !errors.As(err, &e) || e.Reason != registry.UnsupportedReasonNotBuiltYet || e.Missing.Or("") != m.Name || len(out.Buf) != 0 {
			t.Errorf("%s: %v, %s", m.Name, err, out.Buf)
		}
	}
}

// paramsOf decodes the params of a method's first example.
func paramsOf(t *testing.T, spec document, m *registry.Method) any {
	t.Helper()
	named := map[string]json.RawMessage{}
	if examples := spec.Methods[m.Index].Examples; len(examples) > 0 {
		for _, p := range examples[0].Params {
			named[p.Name] = p.Value
		}
	}
	params, err := m.Decode(marshal(t, named))
	if err != nil {
		t.Fatal(err)
	}
	return params
}

// One server that has a single method of its own.
type oneMethod struct{ registry.NotBuiltNet }

func (*oneMethod) Status(context.Context, *registry.NetStatusParams) (*registry.NetStatusResult, error) {
	return nil, nil
}

// Inherited methods of *oneMethod and these stand equally deep, so that own has neither.
type (
	inherited struct{ registry.NotBuiltNet }
	own       struct {
		*oneMethod
		inherited
	}
)

func TestUnbuiltFindsWhatAServerOnlyInherits(t *testing.T) {
	all := []string{}
	for _, m := range registry.All() {
		if m.Namespace() == "net" {
			all = append(all, m.Name)
		}
	}
	if diff := cmp.Diff(all, registry.UnbuiltNet(nil)); diff != "" {
		t.Errorf("of nothing:\n%s", diff)
	}
	if missing := registry.UnbuiltNet(&oneMethod{}); len(missing) != 0 {
		t.Errorf("a whole server lacks %v", missing)
	}
	without := []string{}
	for _, name := range all {
		if name != "net.status" {
			without = append(without, name)
		}
	}
	if diff := cmp.Diff(without, registry.UnbuiltNet(own{})); diff != "" {
		t.Errorf("of a server with one method:\n%s", diff)
	}
}
