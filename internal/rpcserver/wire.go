package rpcserver

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// wire is what carries the answer to one request.
type wire interface {
	// begin sets the head of an answer whose body will have so many bytes; -1 is not known.
	begin(size int)
	// write puts a part of the body on the wire, behind the head and what is there of the body.
	write(p []byte) (int, error)
	// none answers without a body.
	none() error
	// watch has gone called where the client goes away, until stop.
	watch(gone func()) (stop func())
}

// httpWire is the wire of a request that net/http serves.
type httpWire struct {
	c *conn
	w http.ResponseWriter
	r *http.Request

	whole bool // nothing of the request is left to be read
}

var jsonType = []string{"application/json"}

// implicitLength is up to where net/http finds the length of an answer by itself: it is what its own
// buffer holds when the handler returns.
const implicitLength = 2048

func (h *httpWire) begin(size int) {
	headers := h.w.Header()
	headers["Content-Type"] = jsonType
	if size > implicitLength {
		headers["Content-Length"] = []string{strconv.Itoa(size)}
	}
}

func (h *httpWire) write(p []byte) (int, error) { return h.c.sendThrough(h.w, p) }

func (h *httpWire) none() error {
	h.w.WriteHeader(http.StatusNoContent)
	return nil
}

// watch asks net/http, which reads on while a request is served.
func (h *httpWire) watch(gone func()) (stop func()) {
	c := h.c
	cancel := context.AfterFunc(h.r.Context(), func() {
		if c.gone() {
			gone()
		}
	})
	return func() { cancel() }
}

// directWire is the wire of a usual request. It frames answers as net/http does.
type directWire struct {
	c       *conn
	head    []byte // what goes out in front of the next part
	chunked bool
	left    int    // bytes of the body that must come yet, where their number is known
	last    bool   // the connection ends with it
	pipe    *moved // for what is moved; nil: nothing has been

	date   []byte // as it stands in heads
	second int64  // that it says, in Unix time
}

func (d *directWire) begin(size int) {
	d.open("200 OK\r\nContent-Type: application/json")
	d.chunked, d.left = size < 0, max(size, 0)
	if d.chunked {
		d.head = append(d.head, "\r\nTransfer-Encoding: chunked\r\n\r\n"...)
		return
	}
	d.head = append(d.head, "\r\nContent-Length: "...)
	d.head = strconv.AppendInt(d.head, int64(size), 10)
	d.head = append(d.head, "\r\n\r\n"...)
}

func (d *directWire) none() error {
	d.open("204 No Content")
	d.chunked, d.left = false, 0
	d.head = append(d.head, "\r\n\r\n"...)
	return nil
}

// open begins a head.
func (d *directWire) open(status string) {
	if now := time.Now(); now.Unix() != d.second {
		d.second, d.date = now.Unix(), now.UTC().AppendFormat(d.date[:0], http.TimeFormat)
	}
	d.head = append(append(d.head[:0], "HTTP/1.1 "...), status...)
	d.head = append(append(d.head, "\r\nDate: "...), d.date...)
	if d.last = d.c.s.draining.Load(); d.last {
		d.head = append(d.head, "\r\nConnection: close"...)
	}
}

func (d *directWire) write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := d.frame(len(p)); err != nil {
		return 0, err
	}
	n, err := d.c.put(d.head, p)
	d.written()
	return n, err
}

// frame says in the head that a part of n bytes follows.
func (d *directWire) frame(n int) error {
	switch {
	case d.chunked:
		d.head = strconv.AppendInt(d.head, int64(n), 16)
		d.head = append(d.head, "\r\n"...)
	case n > d.left:
		return http.ErrContentLength
	default:
		d.left -= n
	}
	return nil
}

// written begins the head of what comes next.
func (d *directWire) written() {
	d.head = d.head[:0]
	if d.chunked {
		d.head = append(d.head, "\r\n"...)
	}
}

// end ends the body, which must be whole.
func (d *directWire) end() error {
	if d.left > 0 {
		return http.ErrContentLength
	}
	if d.chunked {
		d.head = append(d.head, "0\r\n\r\n"...)
	}
	if len(d.head) == 0 {
		return nil
	}
	_, err := d.c.put(d.head, nil)
	d.head = d.head[:0]
	return err
}

// watch waits for the client's end of the connection. It takes nothing from it.
func (d *directWire) watch(gone func()) (stop func()) {
	c := d.c
	_ = c.readBy.note(c.Conn, time.Time{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if c.readBy.ready(c.Conn) == nil && c.out.socket.Read(func(uintptr) bool { return c.gone() }) == nil {
			gone()
		}
	}()
	return func() {
		_ = c.readBy.note(c.Conn, longAgo)
		<-ended
		_ = c.readBy.note(c.Conn, time.Time{})
		c.renewed = time.Time{}
	}
}

// longAgo is a deadline that wakes up whoever waits.
var longAgo = time.Unix(1, 0)
