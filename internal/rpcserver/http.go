package rpcserver

import (
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"
)

// httpServer is the net/http server that carries the pipeline: HTTP/1.1 and nothing else.
func (s *Server) httpServer() *http.Server {
	hs := &http.Server{
		Handler:                      http.HandlerFunc(s.serveHTTP),
		ConnContext:                  withConn,
		ReadHeaderTimeout:            s.deadlines.Header,
		ReadTimeout:                  s.deadlines.Read, // header and body together
		IdleTimeout:                  s.deadlines.Idle,
		MaxHeaderBytes:               s.limits.HeaderBytes,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.New(httpLog{s.log}, "", 0),
		Protocols:                    new(http.Protocols),
	}
	hs.Protocols.SetHTTP1(true)
	return hs
}

// headers is what the headers of a request say to the pipeline.
type headers struct {
	refuse       int           // the status that the request is refused with, or 0
	deadline     time.Duration // X-Deadline-Ms, or 0
	credentialed bool          // something here may change who the caller is
	caller       string        // X-Caller, where that is for the log
}

// readHeaders looks at each header once. Whatever begins with X- is taken for a credential or a relay's
// mark, so that a name which identity learns later need not be learned here.
func (s *Server) readHeaders(h http.Header) (r headers) {
	for name, values := range h {
		switch name {
		case "Origin", "Sec-Fetch-Site":
			r.refuse = http.StatusForbidden // a browser, which nobody here means to serve
			return r
		case "Content-Encoding":
			r.refuse = http.StatusBadRequest
		case headerDeadline:
			ok := len(values) == 1
			if ok {
				r.deadline, ok = parseDeadline(values[0])
			}
			if !ok {
				r.refuse = http.StatusBadRequest
			}
		case "Authorization", "Forwarded", "Via":
			r.credentialed = true
		default:
			r.credentialed = r.credentialed || strings.HasPrefix(name, "X-") && !s.isRecord(name)
			if name == headerCaller {
				r.caller = values[0]
			}
		}
	}
	return r
}

// longestDeadline is what a longer X-Deadline-Ms is cut to; the server's own deadline is shorter anyway.
const longestDeadline = 24 * time.Hour

const headerDeadline = "X-Deadline-Ms"

// parseDeadline reads X-Deadline-Ms: one decimal number without a sign, at least 1.
func parseDeadline[T string | []byte](value T) (time.Duration, bool) {
	if len(value) == 0 || len(value) > 20 || value[0] == '0' {
		return 0, false
	}
	ms := int64(0)
	for _, c := range []byte(value) {
		if c < '0' || c > '9' {
			return 0, false
		}
		ms = min(ms*10+int64(c-'0'), longestDeadline.Milliseconds())
	}
	return time.Duration(ms) * time.Millisecond, true
}

// serveHTTP refuses what is not for this server, and sends the rest to where it is answered.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	c := connFrom(r.Context())
	c.cutoff = now.Add(s.deadlines.Read)
	if status := judgeFraming(r); status != 0 {
		c.refuse(w, status)
		return
	}
	h := s.readHeaders(r.Header)
	if h.refuse != 0 {
		c.refuse(w, h.refuse)
		return
	}
	x := s.borrow()
	defer func() {
		_, local := c.Conn.(*net.UnixConn)
		c.between = local && x.http.whole // else net/http reads on, and what it reads is no request
		s.giveBack(x)
	}()
	x.http = httpWire{c: c, w: w, r: r, whole: r.ContentLength == 0}
	x.c, x.wire, x.start, x.headers = c, &x.http, now, h
	x.path, _, _ = strings.Cut(r.RequestURI, "?")
	if x.path == "/rpc" || x.path == "/" {
		x.serveRPC()
	} else {
		x.servePage()
	}
}

// judgeFraming refuses what could be understood differently by a relay in front: how long the request is,
// and whom it is for. HTTP/1.0 is refused because net/http hides its Transfer-Encoding.
func judgeFraming(r *http.Request) int {
	switch {
	case r.ProtoMajor != 1 || r.ProtoMinor < 1:
		return http.StatusHTTPVersionNotSupported
	case len(r.TransferEncoding) > 0:
		return http.StatusLengthRequired
	case r.RequestURI[0] != '/' && r.RequestURI != "*":
		return http.StatusBadRequest // absolute-form, or CONNECT's host:port
	}
	return 0
}

// refuse answers with a status and nothing else, and ends the connection: what is left of the request
// must not be taken for the next one.
func (c *conn) refuse(w http.ResponseWriter, status int) {
	c.countRefusal(status)
	c.allow(errorTime)
	w.Header().Set("Connection", "close")
	w.WriteHeader(status)
}

// countRefusal records a request that was refused with a status.
func (c *conn) countRefusal(status int) {
	c.s.metrics.refused(status)
	c.s.log.Debug().Stringer("peer", peerName(c.peer)).Int("pid", c.peer.PID).Int("status", status).Msg("request refused")
}

// refuse refuses what has come so far as to be an exchange.
func (x *exchange) refuse(status int) { x.c.refuse(x.http.w, status) }

// refuseVerb refuses a verb, and names those that there are.
func (x *exchange) refuseVerb(verbs string) {
	x.http.w.Header().Set("Allow", verbs)
	x.refuse(http.StatusMethodNotAllowed)
}

// serveRPC reads the request's body and answers what is in it.
func (x *exchange) serveRPC() {
	switch {
	case x.http.r.Method != http.MethodPost:
		x.refuseVerb("POST")
		return
	case x.http.r.ContentLength > int64(x.s.limits.BodyBytes):
		x.refuse(http.StatusRequestEntityTooLarge)
		return
	case x.c.tls && !jsonContent(x.http.r.Header["Content-Type"]):
		x.refuse(http.StatusUnsupportedMediaType)
		return
	case x.http.r.ContentLength > strangersBody && x.stranger():
		x.refuse(http.StatusRequestEntityTooLarge)
		return
	}
	if limit := x.takeBody(); limit != nil {
		x.refuseBody(limit)
		return
	}
	if status := x.readBody(); status != 0 {
		x.refuse(status)
		return
	}
	x.http.whole = true
	x.answer()
	if x.broken != nil {
		panic(http.ErrAbortHandler)
	}
}

// jsonContent tells whether a Content-Type is absent or names JSON. It is asked for on TLS, where a
// browser could send a form or plain text without asking first; on the Unix socket any will do.
func jsonContent(types []string) bool {
	if len(types) == 0 {
		return true
	}
	media, _, _ := strings.Cut(types[0], ";")
	return len(types) == 1 && strings.EqualFold(strings.TrimSpace(media), "application/json")
}

// bigBody is from where on a body counts against its caller's share. Smaller ones are bounded well
// enough by the number of connections.
const bigBody = 64 << 10

// takeBody takes the memory that the body needs.
func (x *exchange) takeBody() *limitError {
	if x.http.r.ContentLength <= bigBody {
		return nil
	}
	if limit := x.s.ledger.bodies.take(&x.c.share.bodies, x.http.r.ContentLength, x.c.share.privileged); limit != nil {
		return limit
	}
	x.bodyTaken = x.http.r.ContentLength
	return nil
}

// refuseBody answers that there is no room for the body now. The call in it has not been read, so its id
// is not known.
func (x *exchange) refuseBody(limit *limitError) {
	x.http.w.Header().Set("Connection", "close")
	x.answerFault(limit)
}

// readBody reads the body, whose length is known and within the limit. It reports the status that a
// request is refused with whose body does not come whole. Memory is taken as the bytes come: to announce
// much costs a client nothing.
func (x *exchange) readBody() int {
	size := max(int(x.http.r.ContentLength), 0)
	x.body = x.body[:0]
	for len(x.body) < size {
		x.body = grow(x.body, min(size-len(x.body), max(bigBody, len(x.body))))
		start := len(x.body)
		x.body = x.body[:min(size, cap(x.body))]
		n, err := io.ReadFull(x.http.r.Body, x.body[start:])
		x.body = x.body[:start+n]
		if err != nil {
			return bodyStatus(err)
		}
	}
	return 0
}

// grow makes room for n more bytes behind b.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	return append(make([]byte, 0, len(b)+n), b...)
}

func bodyStatus(err error) int {
	if isTimeout(err) {
		return http.StatusRequestTimeout
	}
	return http.StatusBadRequest
}
