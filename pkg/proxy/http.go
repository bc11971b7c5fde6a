package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/geomind/my_os_server/pkg/registry"
)

// errTooLong is a head, or the head of a chunk, that is longer than any that makes sense.
var errTooLong error = &faultError{"its answer is not HTTP, or has a longer head than any that makes sense"}

// faultError is an answer that cannot be believed.
type faultError struct{ why string }

func (e *faultError) Error() string { return e.why }

func fault(format string, args ...any) error { return &faultError{fmt.Sprintf(format, args...)} }

// quoted shows what an upstream sent.
func quoted(b []byte) string { return strconv.Quote(string(b[:min(len(b), 64)])) }

// head is what the head of an answer says of its body (RFC 9112).
type head struct {
	length  int64 // -1: not said
	chunked bool
	last    bool // the connection ends behind it
}

const endOfHead = "\r\n\r\n"

// readHead reads the head of an answer, which must be one of success.
func (c *conn) readHead() (head, error) {
	text, err := c.until(endOfHead, bufferSize)
	if err != nil {
		return head{}, err
	}
	return parseHead(text[:len(text)-len(endOfHead)])
}

func parseHead(text []byte) (head, error) {
	h := head{length: -1}
	line, rest, _ := bytes.Cut(text, []byte("\r\n"))
	if err := h.status(line); err != nil {
		return h, err
	}
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 || bytes.ContainsAny(name, " \t") {
			return h, fault("its answer is not HTTP: the header %s", quoted(line))
		}
		if err := h.header(string(name), string(bytes.Trim(value, " \t"))); err != nil {
			return h, err
		}
	}
	return h, h.judge()
}

// status reads the status line.
func (h *head) status(line []byte) error {
	version, status, ok := bytes.Cut(line, []byte(" "))
	if !ok || string(version) != "HTTP/1.1" && string(version) != "HTTP/1.0" || len(status) < 3 {
		return fault("its answer is not HTTP: it begins with %s", quoted(line))
	}
	h.last = string(version) == "HTTP/1.0"
	if string(status[:3]) != "200" || len(status) > 3 && status[3] != ' ' {
		return fault("it answered with HTTP status %s", quoted(status))
	}
	return nil
}

func (h *head) header(name, value string) error {
	switch {
	case strings.EqualFold(name, "Content-Length"):
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil || value[0] == '+' || h.length >= 0 && h.length != int64(n) {
			return fault("its answer has no length to believe: %s", quoted([]byte(value)))
		}
		h.length = int64(n)
	case strings.EqualFold(name, "Transfer-Encoding"):
		if h.chunked || !strings.EqualFold(value, "chunked") {
			return fault("its answer has the transfer coding %s", quoted([]byte(value)))
		}
		h.chunked = true
	case strings.EqualFold(name, "Content-Encoding"):
		return fault("its answer has the content coding %s", quoted([]byte(value)))
	case strings.EqualFold(name, "Connection"):
		h.last = h.last || strings.EqualFold(value, "close")
	}
	return nil
}

// judge refuses an answer that could be read in two ways, or whose end nobody could tell from a cut.
func (h *head) judge() error {
	switch {
	case h.chunked && h.length >= 0:
		return fault("its answer has both a length and chunks")
	case !h.chunked && h.length < 0:
		return fault("its answer has neither a length nor chunks, so that its end could not be told from a cut")
	}
	return nil
}

// body reads the body of an answer.
type body struct {
	c       *conn
	chunked bool
	begun   bool  // chunked: a chunk has been read, and an end of line follows it
	left    int64 // bytes of the body, or of this chunk, that have not been read
	ended   bool
}

func (c *conn) body(h head) body {
	return body{c: c, chunked: h.chunked, left: max(0, h.length), ended: h.length == 0}
}

// inBuffer is the whole body where it has been read ahead.
func (b *body) inBuffer() ([]byte, bool) {
	text := b.c.buffered()
	if b.chunked || int64(len(text)) < b.left {
		return nil, false
	}
	text = text[:b.left]
	b.c.start += len(text)
	b.left, b.ended = 0, true
	return text, true
}

// Read reads on, and returns io.EOF at the end of the body, where the connection is ready for the next answer.
func (b *body) Read(p []byte) (n int, err error) {
	if err := b.advance(); err != nil {
		return 0, err
	}
	if b.ended {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), b.left)]
	if ahead := b.c.buffered(); len(ahead) > 0 {
		n = copy(p, ahead)
		b.c.start += n
	} else if b.chunked && int64(len(p)) == b.left {
		n, err = b.c.readChunk(p)
	} else {
		n, err = b.c.receive(p, nil)
	}
	b.left -= int64(n)
	b.ended = b.left == 0 && !b.chunked
	return n, err
}

// advance goes on to the next chunk where one has been read.
func (b *body) advance() error {
	if b.left > 0 || b.ended || !b.chunked {
		return nil
	}
	return b.nextChunk()
}

// takeBuffered appends to p what has been read ahead of a body, or a chunk, of which there is more.
func (b *body) takeBuffered(p []byte) []byte {
	ahead := b.c.buffered()
	b.c.start += len(ahead)
	b.left -= int64(len(ahead))
	return append(p, ahead...)
}

// move passes n bytes on, behind what stands in out.Buf. Nothing may be buffered, and more must be left.
func (b *body) move(n int64, out *registry.Out) error {
	b.c.endWithCall()
	b.left -= n
	err := out.Move(b.c.raw, n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errCut
	}
	return err
}

// longestChunkHead bounds the line that begins a chunk, extensions included, and each line of a trailer.
const longestChunkHead = 256

// nextChunk reads what stands between two chunks, and behind the last one the trailer.
func (b *body) nextChunk() error {
	if b.begun {
		if line, err := b.c.until("\r\n", longestChunkHead); err != nil {
			return err
		} else if len(line) > 2 {
			return fault("its answer is not HTTP: a chunk goes on behind its length")
		}
	}
	line, err := b.c.until("\r\n", longestChunkHead)
	if err != nil {
		return err
	}
	size, _, _ := strings.Cut(string(line[:len(line)-2]), ";")
	n, err := strconv.ParseUint(strings.TrimRight(size, " \t"), 16, 63)
	if err != nil || n > math.MaxInt64/2 {
		return fault("its answer is not HTTP: a chunk of length %s", quoted(line))
	}
	b.begun, b.left = true, int64(n)
	for n == 0 && !b.ended {
		if line, err = b.c.until("\r\n", longestChunkHead); err != nil {
			return err
		}
		b.ended = len(line) == 2
	}
	return nil
}
