package nlsock

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

var (
	// ErrInterrupted ends a dump during which the kernel's list changed: rows may be missing or
	// double (NLM_F_DUMP_INTR). That the kernel does not say so is no proof of the contrary.
	ErrInterrupted = errors.New("dump was interrupted by changes")

	// ErrMalformed is a message or attribute whose lengths do not fit.
	ErrMalformed = errors.New("malformed netlink message")

	// ErrTruncated is a datagram that did not fit the receive buffer. The buffer of the socket has
	// grown: the same request can be made again.
	ErrTruncated = errors.New("netlink message exceeds the receive buffer")
)

// OpError is a request that failed.
type OpError struct {
	Op      string // what was asked, as in "dump routes"
	Err     error  // the kernel's syscall.Errno, or why there was no answer
	Message string // the kernel's own words where it had any (extended acknowledgement)
}

// Error is "op: cause", with the kernel's words in parentheses.
func (e *OpError) Error() string {
	s := e.Op + ": " + e.Err.Error()
	if e.Message != "" {
		s += " (" + e.Message + ")"
	}
	return s
}

// Unwrap returns the cause, a syscall.Errno where the kernel refused.
func (e *OpError) Unwrap() error { return e.Err }

// Capability names the capability that the process lacks where that is why the kernel refused, and is
// empty otherwise. Netlink answers EPERM for want of CAP_NET_ADMIN over the socket's namespace.
func (e *OpError) Capability() string {
	if errors.Is(e.Err, syscall.EPERM) {
		return "CAP_NET_ADMIN"
	}
	return ""
}

// errorOf decodes NLMSG_ERROR: an errno, negative, or 0 for an acknowledgement; then the request's
// header, its payload unless NLM_F_CAPPED, and attributes where NLM_F_ACK_TLVS.
func errorOf(m Message) error {
	if len(m.Data) < 4 {
		return ErrMalformed
	}
	errno := -int32(native.Uint32(m.Data))
	if errno == 0 {
		return nil
	}
	e := &OpError{Err: syscall.Errno(errno)}
	if m.Flags&unix.NLM_F_ACK_TLVS != 0 && len(m.Data) >= 4+headerSize {
		skip := 4 + headerSize
		if m.Flags&unix.NLM_F_CAPPED == 0 {
			skip = 4 + int(native.Uint32(m.Data[4:]))
		}
		e.Message = extendedAck(m.Data, skip)
	}
	return e
}

// doneError decodes NLMSG_DONE: how the dump ended as an errno, negative, or at least 0 where it went
// well; then attributes where NLM_F_ACK_TLVS. Some kernel dumps send it empty.
func doneError(m Message) error {
	if len(m.Data) < 4 {
		return nil
	}
	status := int32(native.Uint32(m.Data))
	if status >= 0 {
		return nil
	}
	e := &OpError{Err: syscall.Errno(-status)}
	if m.Flags&unix.NLM_F_ACK_TLVS != 0 {
		e.Message = extendedAck(m.Data, 4)
	}
	return e
}

// extendedAck returns NLMSGERR_ATTR_MSG of the attributes that begin at skip.
func extendedAck(b []byte, skip int) string {
	if skip < 0 || align(skip) > len(b) {
		return ""
	}
	for a := Attributes(b[align(skip):]); a.Next(); {
		if a.Type() == unix.NLMSGERR_ATTR_MSG {
			return a.String()
		}
	}
	return ""
}
