package rpcserver

import (
	"bytes"
	"fmt"
	"net/http"
)

// net/http answers what it cannot parse by itself, straight to the connection and before a handler is
// asked: a malformed request line, headers that are too large, a protocol version or a transfer coding
// that it does not know. Those answers have a line of text as their body, and a status of 501 for a
// transfer coding, where this server promises empty bodies and 411. Nothing in net/http lets one change
// that, so they are recognised on their way out: each goes out in one Write that begins with a status
// line and is followed by exactly these headers. No answer of a handler looks like that, and a body that
// is being streamed cannot, because JSON has no bare line ends in strings.
// TestRefusalsOfNetHTTP pins it to the net/http that this is built with.
var refusalHeaders = []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")

const statusLine = "HTTP/1.1 "

// refusal is the status of an answer that net/http gives by itself, or 0 for any other bytes.
func refusal(p []byte) int {
	if len(p) < len(statusLine)+3 || string(p[:len(statusLine)]) != statusLine {
		return 0
	}
	code := p[len(statusLine) : len(statusLine)+3]
	if code[0] != '4' && code[0] != '5' {
		return 0
	}
	end := bytes.IndexByte(p, '\r')
	if end < 0 || !bytes.HasPrefix(p[end:], refusalHeaders) {
		return 0
	}
	status := int(code[0]-'0')*100 + int(code[1]-'0')*10 + int(code[2]-'0')
	if status == http.StatusNotImplemented {
		return http.StatusLengthRequired // the transfer coding is the only thing net/http does not implement
	}
	return status
}

// bareAnswer is a whole answer of nothing but a status.
func bareAnswer(status int) []byte {
	return fmt.Appendf(nil, "%s%03d %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", statusLine, status, http.StatusText(status))
}
