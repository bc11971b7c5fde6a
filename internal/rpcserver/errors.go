package rpcserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/sourcegraph/jsonrpc2"
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/pkg/registry"
)

// facts is what an error's answer depends on beside the error.
type facts struct {
	method   *registry.Method // nil: none was found
	right    registry.Right   // what the caller holds for it
	took     time.Duration    // how long the call ran, or was allowed to run where it is late
	late     bool             // the deadline has passed
	stopping bool             // the server is at its end and has cancelled its reads
}

// writes tells whether the call may have changed something.
func (f *facts) writes() bool { return f.method != nil && f.method.Effect != registry.EffectRead }

// Kinds for logs and metrics that no answer has.
const (
	kindOK       = "ok"
	kindUpstream = "upstream" // an upstream's own error, passed on as it is
	kindCut      = "cut"      // the connection was ended in the midst of the answer
	kindCanceled = "canceled" // the client went away
)

// errNotBegun ends a call whose time was up before it began.
var errNotBegun = fmt.Errorf("not begun: %w", context.DeadlineExceeded)

// isTimeout tells whether an error says that time is up, in other words than context.DeadlineExceeded.
func isTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

// wireError is the one place where errors become what callers see: a code, a message and data. It returns
// the error's kind beside it, for the records.
func (s *Server) wireError(err error, f *facts) (*jsonrpc2.Error, string) {
	var upstream *jsonrpc2.Error
	if errors.As(err, &upstream) {
		return upstream, kindUpstream
	}
	w := s.classify(err, f)
	data := json.RawMessage(w.AppendData(nil))
	kind := w.ErrorKind()
	if errors.Is(err, context.Canceled) && !f.late && !f.stopping {
		kind = kindCanceled
	}
	return &jsonrpc2.Error{Code: int64(w.RPCCode()), Message: w.Error(), Data: &data}, kind
}

// classify finds the error of the table that err is.
func (s *Server) classify(err error, f *facts) registry.WireError {
	var (
		typed registry.WireError
		limit *limitError
		errno syscall.Errno
	)
	switch {
	case errors.As(err, &typed):
		return f.complete(typed)
	case errors.As(err, &limit):
		return exhausted(limit.limit, limit.maximum, limit.Error())
	case errors.Is(err, registry.ErrTooLarge):
		most := int64(s.limits.MemberBytes)
		return exhausted("result_bytes", most, fmt.Sprintf("the result is larger than %d bytes; make the call outside of a batch", most))
	case errors.Is(err, errNotBegun):
		return f.deadlineExceeded(registry.AppliedNo)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), f.late && isTimeout(err):
		return f.deadlineExceeded(registry.AppliedUnknown)
	case errors.As(err, &errno):
		return f.osError(err, errno)
	}
	return s.incident(err, f)
}

func exhausted(limit string, maximum int64, message string) *registry.ResourceExhaustedError {
	return &registry.ResourceExhaustedError{
		ResourceExhaustedData: registry.ResourceExhaustedData{Limit: limit, Maximum: registry.Some(maximum)},
		Message:               message,
	}
}

// complete adds to a handler's error what the handler need not think of, and takes out what this caller
// may not see. The error itself is left as it is: a handler may return the same one twice.
func (f *facts) complete(w registry.WireError) registry.WireError {
	switch e := w.(type) {
	case *registry.DeadlineExceededError:
		c := *e
		c.Applied = f.applied(c.Applied)
		return &c
	case *registry.UpstreamUnavailableError:
		c := *e
		c.Applied = f.applied(c.Applied)
		return &c
	case *registry.OSError:
		c := *e
		c.Applied = f.applied(c.Applied)
		if f.right < registry.RightWrite {
			c.Text = registry.Opt[string]{}
		}
		return &c
	}
	return w
}

// applied is what a handler said of its write, and unknown where it said nothing. For a read there is
// nothing to say.
func (f *facts) applied(said registry.Opt[registry.Applied]) registry.Opt[registry.Applied] {
	if f.writes() && !said.IsSet() {
		return registry.Some(registry.AppliedUnknown)
	}
	return said
}

func (f *facts) deadlineExceeded(applied registry.Applied) *registry.DeadlineExceededError {
	e := &registry.DeadlineExceededError{DeadlineExceededData: registry.DeadlineExceededData{AfterMs: f.took.Milliseconds()}}
	if f.writes() {
		e.Applied = registry.Some(applied)
	}
	switch {
	case f.stopping && !f.late:
		e.Message = fmt.Sprintf("the server is stopping; the call was ended after %d ms", e.AfterMs)
	default:
		e.Message = fmt.Sprintf("the call's time was up after %d ms", e.AfterMs)
	}
	return e
}

// osError is the error for a system call that failed: 1013 where what failed knows which capability the
// daemon would need, else 1011.
func (f *facts) osError(err error, errno syscall.Errno) registry.WireError {
	var needs interface{ Capability() string }
	if (errno == syscall.EPERM || errno == syscall.EACCES) && errors.As(err, &needs) {
		return &registry.NoPrivilegeError{
			NoPrivilegeData: registry.NoPrivilegeData{Capability: needs.Capability()},
			Message:         fmt.Sprintf("the daemon may not %s: it lacks %s", operation(err, errno), needs.Capability()),
		}
	}
	name := unix.ErrnoName(errno)
	if name == "" {
		name = fmt.Sprintf("errno_%d", int(errno))
	}
	return f.complete(&registry.OSError{
		OsErrorData: registry.OsErrorData{Op: operation(err, errno), Errno: name},
		Message:     err.Error(),
	})
}

// operation is what the error's text says before the errno's own words: the operation and its object.
func operation(err error, errno syscall.Errno) string {
	text := err.Error()
	op, found := text, false
	if i := strings.LastIndex(text, errno.Error()); i >= 0 {
		op, found = strings.TrimRight(text[:i], ": "), true
	}
	if !found || op == "" {
		return text
	}
	return op
}

// incident logs an error that nobody expected, and returns the name to find the line by: that is all that
// a caller is told.
func (s *Server) incident(err error, f *facts) *registry.InternalError {
	id := fmt.Sprintf("%016x", rand.Uint64())
	line := s.log.Error().Str("incident_id", id).Err(err)
	if f.method != nil {
		line = line.Str("method", f.method.Name)
	}
	var p *panicError
	if errors.As(err, &p) {
		line = line.Bytes("stack", p.stack)
	}
	line.Msg("internal error")
	return &registry.InternalError{InternalData: registry.InternalData{IncidentID: id}}
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }
