package proxy

import (
	"context"
	"strconv"
	"time"

	"github.com/geomind/my_os_server/internal/jsonwire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// headRoom is what is kept free in front of a request's body for its headers: the longest name of a caller has
// 70 bytes.
const headRoom = 512

// appendRequest appends a whole HTTP request for a call of m. b must be empty.
func (u *upstream) appendRequest(ctx context.Context, b []byte, id uint64, m *registry.Method, params []byte) []byte {
	b = append(b, make([]byte, headRoom)...)
	b = appendCall(b, id, u.Prefix, m, params)
	var room [headRoom]byte
	head := u.appendHead(ctx, room[:0], len(b)-headRoom)
	start := headRoom - len(head)
	copy(b[start:], head)
	return b[start:]
}

func (u *upstream) appendHead(ctx context.Context, b []byte, size int) []byte {
	b = append(b, "POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(size), 10)
	if deadline, ok := ctx.Deadline(); ok {
		b = append(b, "\r\nX-Deadline-Ms: "...)
		b = strconv.AppendInt(b, max(1, time.Until(deadline).Milliseconds()), 10)
	}
	b = appendCaller(b, registry.CallerFrom(ctx).Name)
	return append(b, "\r\n\r\n"...)
}

// appendCaller tells who calls: X-Caller, and where that is a public key X-Public-Key too. A name that could
// not stand in a header, which none of package acl's is, is left out.
func appendCaller(b []byte, name string) []byte {
	if name == "" || len(name) > 128 {
		return b
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c > '~' {
			return b
		}
	}
	b = append(b, "\r\nX-Caller: "...)
	b = append(b, name...)
	if isKey(name) {
		b = append(b, "\r\nX-Public-Key: "...)
		b = append(b, name...)
	}
	return b
}

// isKey tells whether a caller's name is a public key: 64 lower-case hex digits.
func isKey(name string) bool {
	if len(name) != 64 {
		return false
	}
	for _, c := range []byte(name) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// appendCall appends the request object for a call of m. params are valid for m, as they stand in the caller's
// request, nil where there are none.
func appendCall(b []byte, id uint64, prefix string, m *registry.Method, params []byte) []byte {
	b = append(b, `{"jsonrpc":"2.0","id":`...)
	b = strconv.AppendUint(b, id, 10)
	b = append(b, `,"method":"`...)
	b = append(b, prefix...)
	b = append(b, m.Name[len(m.Namespace()):]...)
	b = append(b, '"')
	switch {
	case jsonwire.KindOf(params) == jsonwire.Array:
		b = append(b, `,"params":`...)
		b = appendByName(b, m, params)
	case len(params) > 0:
		b = append(b, `,"params":`...)
		b = append(b, params...)
	}
	return append(b, '}')
}

// appendByName appends params by position as an object. null is what is not given.
func appendByName(b []byte, m *registry.Method, params []byte) []byte {
	b = append(b, '{')
	empty := len(b)
	elements := jsonwire.ReadArray(params)
	for i := 0; elements.Next() && i < len(m.Params); i++ {
		if jsonwire.KindOf(elements.Value()) == jsonwire.Null {
			continue
		}
		if len(b) > empty {
			b = append(b, ',')
		}
		b = append(b, '"')
		b = append(b, m.Params[i].Name...)
		b = append(b, `":`...)
		b = append(b, elements.Value()...)
	}
	return append(b, '}')
}
