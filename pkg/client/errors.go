package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/geomind/my_os_server/pkg/registry"
)

// What can go wrong before there is an answer.
var (
	// ErrUnreachable says that there was no connection to a server, or that it ended before an answer.
	ErrUnreachable = errors.New("no answer from a server")
	// ErrBroken says that the connection ended, or stopped being sense, within an answer.
	ErrBroken = errors.New("the answer broke off")
)

// Error is an error that the server has answered. errors.As finds the Go type of its kind within it.
type Error struct {
	Code    int             // of JSON-RPC
	Message string          // one sentence
	Data    json.RawMessage // as it came; nil where there is none

	typed registry.WireError // nil for a code that this client does not know
}

// Error is the server's message.
func (e *Error) Error() string { return e.Message }

// Unwrap is the error as one of the generated types of pkg/registry, or nil.
func (e *Error) Unwrap() error {
	if e.typed == nil {
		return nil
	}
	return e.typed
}

// Kind is data.kind, or "" where the server gave none.
func (e *Error) Kind() string {
	var data struct {
		Kind string `json:"kind"`
	}
	decodeData(e.Data, &data)
	return data.Kind
}

// HTTPError is an answer that is no JSON-RPC: the server, or something before it, refused the request as such.
type HTTPError struct{ Status int }

// Error names the status.
func (e *HTTPError) Error() string {
	return fmt.Sprintf("the server refused the request: HTTP %d %s", e.Status, http.StatusText(e.Status))
}

// unreachable is the error for a request that got no answer. Where the caller's own deadline passed, or the
// caller went, it is the context's.
func unreachable(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil {
		return inTime(cause)
	}
	if named := (*url.Error)(nil); errors.As(err, &named) {
		err = named.Err // the URL means nothing here
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// inTime is the error for a context that has ended: its deadline or its caller's leaving.
func inTime(cause error) error {
	if errors.Is(cause, context.DeadlineExceeded) {
		return fmt.Errorf("the answer did not come in time: %w", cause)
	}
	return cause
}

// parseError makes an *Error of the member error of an answer.
func parseError(raw []byte) error {
	var e struct {
		Code    int             `json:"code"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return fmt.Errorf("%w: its error is none: %w", ErrBroken, err)
	}
	return &Error{Code: e.Code, Message: e.Message, Data: e.Data, typed: typedError(e.Code, e.Message, e.Data)}
}

// decodeData reads what it can of an error's data. What does not fit is left out: a server that is newer
// than this client may say more, and the code has said what matters.
func decodeData(data []byte, into any) {
	if len(data) > 0 {
		_ = json.Unmarshal(data, into)
	}
}
