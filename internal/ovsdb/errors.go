package ovsdb

import (
	"errors"
	"fmt"
)

// Error is a refusal of the server: of one operation, of the transaction as a whole, or of the request.
type Error struct {
	Operation string // that it is about, as in "insert Bridge"; "": the whole transaction or request
	Tag       string // one of the Tag constants, or another word of the server's
	Details   string // the server's own words; may be empty
}

// The words for what went wrong (RFC 7047, sections 3.1 and 5.2; the last two are ovsdb-server(1)'s own).
const (
	TagConstraint  = "constraint violation"
	TagReferential = "referential integrity violation"
	TagTimedOut    = "timed out" // of a wait
	TagCanceled    = "canceled"
	TagExhausted   = "resources exhausted"
	TagIO          = "I/O error"
	TagAborted     = "aborted"
	TagUnknownDB   = "unknown database"
	TagNotAllowed  = "not allowed"      // the database is read-only
	TagPermission  = "permission error" // of role-based access control
)

// Error is the operation, the word and the details.
func (e *Error) Error() string {
	text := e.Tag
	if e.Details != "" {
		text += ": " + e.Details
	}
	if e.Operation != "" {
		text = e.Operation + ": " + text
	}
	return text
}

// IsTag tells whether an error is a refusal of that kind.
func IsTag(err error, tag string) bool {
	var refusal *Error
	return errors.As(err, &refusal) && refusal.Tag == tag
}

// Unavailable is a server that cannot be reached, was lost, or does not answer in time.
type Unavailable struct {
	Socket string
	Sent   bool // the request was sent: whether it was carried out is not known
	// Known is closed once the server has answered what was sent, or closed the connection that it was sent on: from
	// then on the database says whether it was carried out, and what it does not say will not come. nil where nothing
	// was sent that changes something.
	Known <-chan struct{}
	Err   error
}

// Error is the socket and the cause.
func (e *Unavailable) Error() string { return fmt.Sprintf("ask %s: %v", e.Socket, e.Err) }

// Unwrap is the cause: a context's error, an errno of connect(2), io.EOF, ErrProtocol, ErrClosed.
func (e *Unavailable) Unwrap() error { return e.Err }

var (
	// ErrProtocol is in the chain of an error about what no OVSDB server should send.
	ErrProtocol = errors.New("no OVSDB")
	// ErrClosed is the error of a Client that was closed.
	ErrClosed = errors.New("the client is closed")
	// ErrNotYet is the error of a Watcher that has not reached its server yet.
	ErrNotYet = errors.New("the server is not reached yet")
)

func protocol(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}
