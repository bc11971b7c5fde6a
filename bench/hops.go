package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
)

// payload is a result of about size bytes: rows, as lists of the table have them.
func payload(size int) []byte {
	b := []byte(`{"routes":[`)
	for i := 0; len(b) < size; i++ {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"dst":"10.%d.%d.%d/32","family":"ipv4","type":"unicast","table":254,"protocol":"static","scope":"global","gateway":"192.0.2.1","interface":"eth0","interface_index":2,"metric":100,"managed":false}`, i>>16&255, i>>8&255, i&255)
	}
	return append(b, `]}`...)
}

// serveUpstream is a daemon that has its answers ready: of 200 B, 100 KiB and 100 MiB, the last with a length or in
// chunks of 64 KiB.
func serveUpstream(socket string, _ ...string) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	results := map[string][]byte{"health": payload(200), "dns": payload(100 << 10), "lease": payload(100 << 20)}
	results["routes"] = results["lease"]
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var call struct {
			ID     json.RawMessage
			Method string
		}
		if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		name := call.Method[strings.LastIndexByte(call.Method, '.')+1:]
		head, result := `{"jsonrpc":"2.0","id":`+string(call.ID)+`,"result":`, results[name]
		if result == nil {
			result = []byte(`{"status":"ok"}`)
		}
		w.Header().Set("Content-Type", "application/json")
		if name == "routes" {
			writeParts(w, head, result)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(head)+len(result)+1))
		if len(result) < 4<<10 {
			_, _ = w.Write(append(append([]byte(head), result...), '}'))
			return
		}
		_, _ = io.WriteString(w, head)
		_, _ = w.Write(result)
		_, _ = io.WriteString(w, "}")
	}))
}

func writeParts(w io.Writer, head string, result []byte) {
	const part = 64 << 10
	first := append([]byte(head), result[:part-len(head)]...)
	_, err := w.Write(first)
	for result = result[part-len(head):]; len(result) > part && err == nil; result = result[part:] {
		_, err = w.Write(result[:part])
	}
	_, _ = w.Write(append(bytes.Clone(result), '}'))
}

func upstreamTransport(upstream string) *http.Transport {
	return &http.Transport{
		MaxIdleConnsPerHost: 64, DisableCompression: true, ReadBufferSize: 64 << 10,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", upstream)
		},
	}
}

// serveReverse is Go's own reverse proxy. It gets request bodies whole: it reads on in them while its server, once an
// answer has begun, closes them, and then cuts the answer.
func serveReverse(socket string, args ...string) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	p := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "localhost"})
	p.Transport = upstreamTransport(args[0])
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		p.ServeHTTP(w, r)
	}))
}

// serveRecode passes calls on as a program does that knows only JSON: requests and answers are decoded, renamed
// and encoded again.
func serveRecode(socket string, args ...string) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: upstreamTransport(args[0])}
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := recode(client, r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		_, _ = w.Write(answer)
	}))
}

func recode(client *http.Client, request io.Reader) ([]byte, error) {
	var call map[string]any
	if err := json.NewDecoder(request).Decode(&call); err != nil {
		return nil, err
	}
	id := call["id"]
	call["id"] = 1
	method, _ := call["method"].(string)
	call["method"] = strings.Replace(method, "net.", "mosnet.", 1)
	body, err := json.Marshal(call)
	if err != nil {
		return nil, err
	}
	res, err := client.Post("http://localhost/rpc", "application/json", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return nil, err
	}
	answer["id"] = id
	return json.Marshal(answer)
}
