package rpcserver

import (
	"bytes"
	"time"

	"github.com/rs/zerolog"
	"github.com/sourcegraph/jsonrpc2"

	"github.com/geomind/my_os_server/pkg/registry"
)

// record is what is kept of one call: a line in the log and a sample in the metrics.
type record struct {
	start    time.Time
	deadline time.Time        // zero where the call did not come so far as to have one
	method   *registry.Method // nil where none was found
	caller   registry.Caller
	err      *jsonrpc2.Error // what was answered, nil for a result
	kind     string          // of err
	cut      error           // why the connection was ended in the midst of the answer
	bytes    int             // of the answer
}

// outcome is how the call ended, as metrics and logs name it.
func (r *record) outcome() string {
	switch {
	case r.cut != nil:
		return kindCut
	case r.err != nil:
		return r.kind
	}
	return kindOK
}

// level is how loud the line is: reads are only of interest to who looks for something, changes and
// refused callers to everyone.
func (r *record) level() zerolog.Level {
	switch {
	case r.method != nil && r.method.Effect != registry.EffectRead,
		r.kind == registry.KindPermissionDenied, r.kind == registry.KindUnauthenticated, r.kind == registry.KindInternal:
		return zerolog.InfoLevel
	}
	return zerolog.DebugLevel
}

// conclude records a call that has been answered.
func (x *exchange) conclude(r *record) {
	took := time.Since(r.start)
	outcome := r.outcome()
	x.s.metrics.observe(r.method, outcome, took)
	line := x.s.log.WithLevel(r.level())
	if !line.Enabled() {
		return
	}
	x.identity(line, r.method)
	line.Str("code", outcome).Float64("took_ms", took.Seconds()*1e3).Int("bytes", r.bytes)
	switch {
	case r.cut != nil:
		line.Err(r.cut)
	case r.err != nil:
		line.Str("error", r.err.Message).AnErr("cause", x.who.cause)
	}
	line.Msg("call")
}

// auditedBytes is how much of a write's params its audit line shows.
const auditedBytes = 1 << 10

// audit records a write before it begins, so that there is a trace of one that takes the daemon with it.
func (x *exchange) audit(m *registry.Method, params []byte) {
	if m.Effect == registry.EffectRead {
		return
	}
	line := x.s.log.Info()
	if !line.Enabled() {
		return
	}
	x.identity(line, m)
	line.Str("params", cut(params, auditedBytes)).Msg("audit")
}

// identity adds who calls what.
func (x *exchange) identity(line *zerolog.Event, m *registry.Method) {
	if m != nil {
		line.Str("method", m.Name)
	}
	line.Stringer("peer", peerName(x.c.peer))
	if x.who.asked {
		line.Str("caller", x.who.name)
	}
	if name := x.calledFor(); name != "" {
		line.Str("for", name)
	}
	if x.c.peer.PID > 0 {
		line.Int("pid", x.c.peer.PID)
	}
	if !x.c.peer.Local {
		line.Stringer("from", x.c.RemoteAddr())
	}
}

// httpLog passes what net/http has to say on to the log.
type httpLog struct{ log zerolog.Logger }

// Write takes one line.
func (l httpLog) Write(p []byte) (int, error) {
	l.log.Warn().Str("from", "net/http").Msg(cut(bytes.TrimSpace(p), 4<<10))
	return len(p), nil
}
