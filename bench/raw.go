package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// rawConn is an HTTP client that does next to nothing, so that what is measured is the server.
type rawConn struct {
	net.Conn
	in      *bufio.Reader
	request []byte
	method  string
	scratch []byte
}

func dialRaw(socket string) (*rawConn, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	return &rawConn{Conn: c, in: bufio.NewReaderSize(c, 64<<10), scratch: make([]byte, 64<<10)}, nil
}

// post prepares a request.
func (c *rawConn) post(body string) {
	c.request = fmt.Appendf(c.request[:0], "POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	c.method = ""
}

// must makes a call that answers that something was done.
func (c *rawConn) must(method, params, done string) error {
	c.post(`{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":` + params + `}`)
	if _, err := c.Write(c.request); err != nil {
		return err
	}
	length, _, err := c.head()
	if err != nil {
		return err
	}
	answer := make([]byte, length)
	if _, err := io.ReadFull(c.in, answer); err != nil {
		return err
	}
	if !bytes.Contains(answer, []byte(`"`+done+`":true`)) {
		return fmt.Errorf("%s %s: %s", method, params, answer)
	}
	return nil
}

// call sends one request and reads the whole answer, of whose body it returns the size.
func (c *rawConn) call(method string) (int, error) {
	if c.method != method {
		c.post(`{"jsonrpc":"2.0","id":1,"method":"` + method + `"}`)
		c.method = method
	}
	if _, err := c.Write(c.request); err != nil {
		return 0, err
	}
	length, chunked, err := c.head()
	if err != nil {
		return 0, err
	}
	if !chunked {
		return length, c.skip(length)
	}
	total := 0
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return total, err
		}
		size, err := strconv.ParseInt(strings.TrimSpace(string(line)), 16, 64)
		if err != nil {
			return total, err
		}
		if err := c.skip(int(size) + 2); err != nil {
			return total, err
		}
		if size == 0 {
			return total, nil
		}
		total += int(size)
	}
}

// head reads the head of an answer.
func (c *rawConn) head() (length int, chunked bool, err error) {
	length = -1
	for first := true; ; first = false {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case first && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")):
			return 0, false, fmt.Errorf("HTTP status %s", line)
		case len(line) == 0 && !chunked && length < 0:
			return 0, false, fmt.Errorf("an answer without a length")
		case len(line) == 0:
			return length, chunked, nil
		case len(line) > 15 && strings.EqualFold(string(line[:15]), "Content-Length:"):
			length, err = strconv.Atoi(strings.TrimSpace(string(line[15:])))
			if err != nil {
				return 0, false, err
			}
		case len(line) > 18 && strings.EqualFold(string(line[:18]), "Transfer-Encoding:"):
			chunked = true
		}
	}
}

// skip reads n bytes and forgets them.
func (c *rawConn) skip(n int) error {
	for n > 0 {
		m, err := c.in.Read(c.scratch[:min(n, len(c.scratch))])
		n -= m
		if err != nil {
			return err
		}
	}
	return nil
}
