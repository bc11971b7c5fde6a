package rpcserver

import (
	"bytes"
	"slices"
	"time"
)

// usual is a request of the form that nearly all have: a single call, by a caller who is known by the connection
// alone. Its slices are of the bytes it came in.
type usual struct {
	path     string        // /rpc or /
	deadline time.Duration // X-Deadline-Ms, or 0
	caller   []byte        // X-Caller, or nil
	body     []byte
}

// readUsual reads a request that has come whole and with nothing behind it. It takes only what can be understood
// in one way, to the letter: a POST to one of two paths, headers of a short list, each once, none of which says
// anything about who calls but, where records is set, for the log. Of everything else ok is false; what that is,
// and what is wrong with it, is net/http's to say. FuzzUsual holds it against net/http.
func readUsual(b []byte, records bool) (r usual, ok bool) {
	var rest []byte
	if r.path, rest, ok = usualPath(b); !ok {
		return r, false
	}
	h := usualHeaders{records: records}
	for {
		var line []byte
		if line, rest, ok = bytes.Cut(rest, []byte("\r\n")); !ok {
			return r, false
		}
		if len(line) == 0 {
			break
		}
		if !h.take(line) {
			return r, false
		}
	}
	r.deadline, r.caller, r.body = h.deadline, h.caller, rest
	return r, h.seen[usualHost] && h.seen[usualLength] && h.length == len(rest) && !isBatch(rest)
}

// usualPath reads the request line.
func usualPath(b []byte) (path string, rest []byte, ok bool) {
	if rest, ok = bytes.CutPrefix(b, []byte("POST /rpc HTTP/1.1\r\n")); ok {
		return "/rpc", rest, true
	}
	rest, ok = bytes.CutPrefix(b, []byte("POST / HTTP/1.1\r\n"))
	return "/", rest, ok
}

// usualHeaders is what the headers of such a request say.
type usualHeaders struct {
	records  bool
	seen     [len(usualNames)]bool
	length   int
	deadline time.Duration
	caller   []byte
}

// The headers that usual requests have.
const (
	usualHost = iota
	usualLength
	usualDeadline
	usualCaller
	usualKey
)

// usualNames are their names. Nobody looks at those that have no number.
var usualNames = [...]string{
	usualHost: "Host", usualLength: "Content-Length", usualDeadline: headerDeadline, usualCaller: headerCaller, usualKey: headerPublicKey,
	"Content-Type", "User-Agent", "Accept", "Accept-Encoding",
}

// take reads a header, and tells whether it is usual.
func (h *usualHeaders) take(line []byte) bool {
	name, value, ok := bytes.Cut(line, []byte(": "))
	if !ok || !plainText(value) {
		return false
	}
	i := slices.IndexFunc(usualNames[:], func(n string) bool { return len(n) == len(name) && bytes.EqualFold(name, []byte(n)) })
	if i < 0 || h.seen[i] {
		return false
	}
	h.seen[i] = true
	switch i {
	case usualHost:
		return !bytes.ContainsFunc(value, func(c rune) bool { return !isLetter(c) })
	case usualLength:
		h.length, ok = usualNumber(value)
		return ok
	case usualDeadline:
		h.deadline, ok = parseDeadline(value)
		return ok
	case usualCaller:
		h.caller = value
		return h.records
	case usualKey:
		return h.records
	}
	return true
}

// plainText tells whether a header's value is one or more characters of ASCII, with blanks between them at most.
func plainText(value []byte) bool {
	if len(value) == 0 || value[0] == ' ' || value[len(value)-1] == ' ' {
		return false
	}
	for _, c := range value {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// isLetter is what the names of hosts are made of here: Unix sockets have none, and clients say localhost.
func isLetter(c rune) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

// usualNumber reads a length of at most four digits: more does not fit into what is read at a time.
func usualNumber(digits []byte) (n int, ok bool) {
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, len(digits) <= 4
}
