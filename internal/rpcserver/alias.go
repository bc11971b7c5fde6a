package rpcserver

import (
	"bytes"

	"github.com/geomind/my_os_server/pkg/registry"
)

// Alias has the server stand behind a proxy: it has the methods of one namespace only, under another name, and
// whom its peer calls for is for the records only. The zero Alias is none.
type Alias struct {
	Namespace string // of the table: net
	Prefix    string // what stands in its place: mosnet
}

// longestName is longer than the name of any method.
const longestName = 128

// lookup finds a method by the name that it has on the wire.
func (s *Server) lookup(name []byte) (*registry.Method, bool) {
	if s.alias == (Alias{}) {
		return registry.LookupBytes(name)
	}
	if rest, ok := bytes.CutPrefix(name, []byte(s.alias.Prefix+".")); ok && len(name) < longestName {
		var room [2 * longestName]byte
		own := append(append(room[:0], s.alias.Namespace...), '.')
		return registry.LookupBytes(append(own, rest...))
	}
	if m, ok := registry.LookupBytes(name); ok && s.inline[m.Index] {
		return m, true
	}
	return nil, false
}

// The headers by which a proxy tells whom it calls for.
const (
	headerCaller    = "X-Caller"
	headerPublicKey = "X-Public-Key"
)

// isRecord tells whether a header is one that only the log is for.
func (s *Server) isRecord(name string) bool {
	return s.alias != (Alias{}) && (name == headerCaller || name == headerPublicKey)
}

// calledFor is whom a proxy that may be believed calls for, "" where there is none.
func (x *exchange) calledFor() string {
	if x.s.alias == (Alias{}) || !x.c.share.privileged {
		return ""
	}
	return cut([]byte(x.headers.caller), longestName)
}
