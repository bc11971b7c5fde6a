package rpcserver

import (
	"github.com/sourcegraph/jsonrpc2"

	"github.com/geomind/my_os_server/internal/jsonwire"
)

// appendID appends what every answer begins with.
func appendID(b, id []byte) []byte {
	b = append(b, `{"jsonrpc":"2.0","id":`...)
	if id == nil {
		return append(b, "null"...)
	}
	return append(b, id...)
}

// appendResult appends the beginning of an answer, up to where the result stands. A closing brace ends it.
func appendResult(b, id []byte) []byte {
	return append(appendID(b, id), `,"result":`...)
}

// appendError appends a whole answer.
func appendError(b, id []byte, e *jsonrpc2.Error) []byte {
	b = append(appendID(b, id), `,"error":{"code":`...)
	b = jsonwire.AppendInt(b, e.Code)
	b = append(b, `,"message":`...)
	b = jsonwire.AppendString(b, e.Message)
	if e.Data != nil {
		b = append(b, `,"data":`...)
		b = append(b, *e.Data...)
	}
	return append(b, "}}"...)
}
