package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/pkg/client"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Exit codes. Where a call went to several nodes the highest counts, so that the order is one of gravity as
// far as there is one.
const (
	exitOK          = 0
	exitFailed      = 1 // anything that has no code of its own
	exitUsage       = 2
	exitDeclined    = 3 // a question was answered with no
	exitUnreachable = 30
	exitBroken      = 31
	exitInterrupted = 130
)

// exitCodes are those of the kinds of errors that a server answers.
var exitCodes = map[string]int{
	registry.KindInvalidParams:       4,
	registry.KindMethodNotFound:      5,
	registry.KindInvalidRequest:      6,
	registry.KindParseError:          7,
	registry.KindNotFound:            10,
	registry.KindConflict:            11,
	registry.KindBusy:                12,
	registry.KindRefused:             13,
	registry.KindUnsupported:         14,
	registry.KindToolMissing:         15,
	registry.KindUnauthenticated:     16,
	registry.KindPermissionDenied:    17,
	registry.KindNoPrivilege:         18,
	registry.KindResourceExhausted:   19,
	registry.KindOsError:             20,
	registry.KindUpstreamUnavailable: 21,
	registry.KindDeadlineExceeded:    22,
	registry.KindInternal:            23,
}

// usageError is a command line that cannot be run.
type usageError struct{ command, message string }

func (e *usageError) Error() string { return e.message }

// localError is a fault on this side: a file, the terminal.
type localError struct{ err error }

func (e *localError) Error() string { return e.err.Error() }
func (e *localError) Unwrap() error { return e.err }

var (
	errDeclined   = errors.New("nothing was done")
	errNotAllowed = errors.New("the call would be refused")
)

// exitCode is what the program ends with.
func exitCode(err error) int {
	var usage *usageError
	var several *nodeErrors
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &several):
		return several.worst
	case errors.As(err, &usage):
		return exitUsage
	case errors.Is(err, errDeclined):
		return exitDeclined
	case errors.Is(err, errNotAllowed):
		return exitCodes[registry.KindPermissionDenied]
	case errors.Is(err, client.ErrUnreachable):
		return exitUnreachable
	case errors.Is(err, client.ErrBroken):
		return exitBroken
	case errors.Is(err, context.DeadlineExceeded):
		return exitCodes[registry.KindDeadlineExceeded]
	}
	if e, ok := isServer(err); ok && exitCodes[kindOf(e)] != 0 {
		return exitCodes[kindOf(e)]
	}
	return exitFailed
}

// kindOf is the kind of an error, from its data or else from its code.
func kindOf(e *client.Error) string {
	var typed registry.WireError
	if errors.As(e, &typed) {
		return typed.ErrorKind()
	}
	return e.Kind()
}

// report prints an error: for programs as JSON where they asked for JSON, else as a sentence with its facts
// and what may help.
func (s *session) report(err error) {
	var several *nodeErrors
	if errors.As(err, &several) {
		return // each has been told
	}
	e, ok := isServer(err)
	if ok && (s.global.output == formatJSON || s.global.output == formatJSONL) {
		fmt.Fprintf(s.errs, "%s\n", appendError(nil, e))
		return
	}
	p := s.paintErrs
	text := err.Error()
	if method, message, twice := strings.Cut(text, ": "); twice && strings.HasPrefix(message, method+" ") {
		text = message
	}
	if params := (*registry.ParamsError)(nil); errors.As(err, &params) && len(params.Faults) > 0 {
		text = strings.TrimSuffix(text, e.Message) + "the params do not fit" // how they do not, the facts say
	}
	fmt.Fprintf(s.errs, "%s %s\n", p.bad("error:"), clean(text))
	if ok {
		for _, line := range facts(e) {
			fmt.Fprintf(s.errs, "  %s\n", line)
		}
	}
	if hint := hintFor(err); hint != "" {
		fmt.Fprintf(s.errs, "%s %s\n", p.bold("hint:"), clean(hint))
	}
}

// appendError is an error of the wire as it came.
func appendError(b []byte, e *client.Error) []byte {
	b = jsonwire.AppendInt(append(b, `{"code":`...), int64(e.Code))
	b = jsonwire.AppendString(append(b, `,"message":`...), e.Message)
	if len(e.Data) > 0 {
		b = append(append(b, `,"data":`...), e.Data...)
	}
	return append(b, '}')
}

// facts are the members of an error's data, a line each. Faults of params are told by the flags that the
// params have.
func facts(e *client.Error) []string {
	var params *registry.ParamsError
	if errors.As(e, &params) {
		return faults(params)
	}
	var lines []string
	data := jsonwire.ReadObject(e.Data)
	for data.Next() {
		if name := string(data.Name()); name != "kind" || exitCodes[kindOf(e)] == 0 {
			lines = append(lines, fact(name, data.Value())...)
		}
	}
	return append([]string{"kind: " + kindOf(e)}, lines...)
}

// fact is a member of the data: a list of objects takes a line for each of them.
func fact(name string, raw []byte) []string {
	if jsonwire.KindOf(raw) != jsonwire.Array {
		return []string{name + ": " + cellText("", raw)}
	}
	var lines []string
	for a := jsonwire.ReadArray(raw); a.Next(); {
		lines = append(lines, name+": "+cellText("", a.Value()))
	}
	return lines
}

func faults(e *registry.ParamsError) []string {
	var lines []string
	for _, f := range e.Faults {
		if f.Path == "" {
			lines = append(lines, clean(f.Message))
			continue
		}
		param, within := f.Path, ""
		if i := strings.IndexAny(f.Path, ".["); i > 0 {
			param, within = f.Path[:i], f.Path[i:]
		}
		lines = append(lines, clean("--"+strings.ReplaceAll(param, "_", "-")+within+" "+f.Message))
	}
	return lines
}

// hintFor says what may help against an error; "" where nothing is known that the message does not say.
func hintFor(err error) string {
	var (
		usage       *usageError
		refused     *registry.RefusedError
		tool        *registry.ToolMissingError
		denied      *registry.PermissionDeniedError
		unsupported *registry.UnsupportedError
	)
	switch {
	case errors.As(err, &usage):
		return "see " + usage.command + " --help"
	case errors.As(err, &refused) && refused.Override.IsSet():
		return "--" + strings.ReplaceAll(refused.Override.Or(""), "_", "-") + " overrides this rule"
	case errors.As(err, &tool) && tool.Package.IsSet():
		return "on the node: apt-get install " + tool.Package.Or("")
	case errors.As(err, &denied):
		return "the node's ACL file says who may do what; " + Name + " acl check explains it"
	case errors.As(err, &unsupported) && unsupported.Reason == registry.UnsupportedReasonNotBuiltYet:
		return Name + " net status -o json lists what this server cannot do"
	case errors.Is(err, client.ErrUnreachable) && errors.Is(err, fs.ErrPermission):
		return "this user may not open the server's socket: root, or who runs the server, says who may (socket_mode)"
	case errors.Is(err, client.ErrUnreachable):
		return "is the server running? --socket or --context say where it is"
	case errors.Is(err, context.DeadlineExceeded):
		return "--timeout says how long to wait"
	}
	return ""
}
