package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/sourcegraph/jsonrpc2"

	"github.com/geomind/my_os_server/pkg/registry"
)

// outcome is how a call ended, as metrics name it.
type outcome int

const (
	outcomeOK       outcome = iota
	outcomeError            // the upstream's own
	outcomeDown             // nobody to send it to
	outcomeFault            // an answer that cannot be believed, or none
	outcomeTimeout          // the call's time was up
	outcomeCanceled         // the caller went away
	outcomeUntaken          // the caller did not take the result, or it was larger than it may be
)

var outcomes = [...]string{"ok", "error", "down", "fault", "timeout", "canceled", "untaken"}

func (u *upstream) count(o outcome) { u.ended[o].Add(1) }

// unavailable is the error of a call that could not be sent, or that has no answer to believe.
func (u *upstream) unavailable(socket, why string) *registry.UpstreamUnavailableError {
	return &registry.UpstreamUnavailableError{
		UpstreamUnavailableData: registry.UpstreamUnavailableData{Upstream: u.Prefix, Socket: registry.Some(socket), Cause: why},
		Message:                 u.Prefix + " at " + socket + ": " + why,
	}
}

// notSent is an error for a call of m that has certainly not been done.
func notSent(m *registry.Method, err *registry.UpstreamUnavailableError) error {
	if m.Effect == registry.EffectRead {
		return err
	}
	e := *err // others may have got the same one
	e.Applied = registry.Some(registry.AppliedNo)
	return &e
}

// isAnswer tells whether an error is the upstream's own.
func isAnswer(err error) bool {
	var answered *jsonrpc2.Error
	return errors.As(err, &answered)
}

// hungUp tells whether the other side has ended the connection.
func hungUp(err error) bool {
	return errors.Is(err, errCut) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// conclude makes what a call ended with into what the pipeline is told, and counts it.
func (u *upstream) conclude(ctx context.Context, m *registry.Method, c *conn, x *exchange, err error) error {
	if x.answered {
		u.silent.Store(0)
	}
	var bad *faultError
	switch {
	case err == nil:
		u.count(outcomeOK)
		return nil
	case isAnswer(err):
		u.count(outcomeError)
		return err
	case errors.As(err, &bad):
		u.count(outcomeFault)
		return u.unavailable(c.path, bad.why)
	case hungUp(err):
		u.count(outcomeFault)
		return u.cut(m, c, x, err)
	case ctx.Err() != nil:
		return u.late(ctx, x)
	case isNet(err):
		u.count(outcomeFault)
		return u.unavailable(c.path, err.Error())
	}
	u.count(outcomeUntaken)
	return err
}

// cut is the error for a connection that the upstream ended. What it did not take it has not done.
func (u *upstream) cut(m *registry.Method, c *conn, x *exchange, err error) error {
	switch {
	case x.answered:
		return u.unavailable(c.path, errCut.Error())
	case errors.Is(err, syscall.EPIPE):
		return notSent(m, u.unavailable(c.path, "it ended the connection before the call was sent"))
	}
	return u.unavailable(c.path, "it ended the connection without an answer")
}

// late is the error for a call that ended with its context.
func (u *upstream) late(ctx context.Context, x *exchange) error {
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		u.count(outcomeCanceled)
		return ctx.Err()
	}
	if !x.answered {
		u.silent.Add(1)
	}
	u.count(outcomeTimeout)
	return ctx.Err()
}

// isNet tells whether an error comes from the connection to the upstream.
func isNet(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.ErrUnexpectedEOF)
}
