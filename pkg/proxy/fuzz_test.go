package proxy_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/internal/rpcserver"
	"github.com/geomind/my_os_server/pkg/registry"
)

// decode is a full decode, numbers as they are written.
func decode(text []byte) (v any, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return v, d.Decode(&v)
}

// FuzzRequest sends any body through the whole pipeline. Where it asks for something that goes upstream, that is
// what a full decode and encode of it would send; where nothing goes upstream, no answer says otherwise; and the
// id comes back as it was sent.
func FuzzRequest(f *testing.F) {
	for _, body := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"net.routes","params":{"family":"ipv4","limit":10}}`,
		`{"jsonrpc":"2.0","id":"\u00e4\ud83d\ude00\\","method":"net.\u0072outes","params":["ipv4",null,"eth0"]}`,
		`{"jsonrpc":"2.0","id":null,"method":"vol.usage","params":["/"]}`,
		`{"jsonrpc":"2.0","id":-1.5e300,"method":"vol.usage","params":{"path":"\/mnt\/\u00e4\"\n"}}`,
		`{"jsonrpc":"2.0","id":123456789012345678901234567890,"method":"net.status","params":[]}`,
		`{"jsonrpc":"2.0","method":"net.routes.delete","params":{"dst":"192.0.2.0/24"}}`,
		`{"jsonrpc":"2.0","id":1,"method":"net.status","params":{},"extra":{"a":[[[[1]]]]}}`,
		`{"jsonrpc":"2.0","id":1,"id":2,"method":"net.status"}`,
		`{"jsonrpc":"2.0","id":1,"method":"net.routes","params":{"limit":1,"limit":2}}`,
		`{"jsonrpc":"2.0","id":1,"method":"net.routes.add","params":{"dst":"10.0.0.0/8","nexthops":[{"gateway":"192.0.2.1","weight":1}],"metric":1.0e2}}`,
		"\ufeff" + `{"jsonrpc":"2.0","id":1,"method":"net.status"}`,
		` [ {"jsonrpc":"2.0","id":1,"method":"net.status"} , {"jsonrpc":"2.0","id":2,"method":"vol.usage","params":["/"]} ] `,
		`{"jsonrpc":"2.0","id":1,"method":"net.status","params":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + `}`,
		`{"jsonrpc":"2.0","id":[],"method":"net.status"}`,
	} {
		f.Add([]byte(body))
	}
	front := start(f, rpcserver.Options{})
	arrived := make(chan *sent, 4096)
	record := answerWith(func(r *sent) string {
		arrived <- r
		return withLength(result(r, "[]"))
	})
	listen(f, front.net(), record)
	listen(f, front.vol(), record)
	c := front.client(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		if bytes.Count(body, []byte("{")) > 500 {
			return
		}
		answer, err := post(c, string(body))
		if err != nil {
			t.Fatalf("%v: %q", err, body)
		}
		var requests []*sent
		for len(arrived) > 0 {
			requests = append(requests, <-arrived)
		}
		asked, err := decode(body)
		if err != nil && len(requests) > 0 {
			t.Fatalf("%q is not JSON, and %d requests went upstream", body, len(requests))
		}
		if list, batch := asked.([]any); batch {
			checkBatch(t, list, requests)
			return
		}
		if len(requests) == 0 {
			if strings.Contains(answer, `"result":[]`) {
				t.Errorf("%q: answered without asking: %s", body, answer)
			}
			return
		}
		checkSent(t, asked.(map[string]any), requests[0])
		checkID(t, body, answer)
	})
}

// checkSent compares what went upstream with what a full decode and encode would send.
func checkSent(t *testing.T, asked map[string]any, r *sent) {
	t.Helper()
	name, _ := asked["method"].(string)
	m, known := registry.Lookup(name)
	if !known {
		t.Fatalf("%s went upstream as %s", name, r.body)
	}
	prefix := map[string]string{"net": "mosnet", "vol": "storage"}[m.Namespace()]
	want := map[string]any{"jsonrpc": "2.0", "id": json.Number(r.call.ID), "method": prefix + strings.TrimPrefix(name, m.Namespace())}
	switch params := asked["params"].(type) {
	case map[string]any:
		want["params"] = params
	case []any:
		named := map[string]any{}
		for i, p := range params {
			if p != nil {
				named[m.Params[i].Name] = p
			}
		}
		want["params"] = named
	}
	got, err := decode(r.body)
	if err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("%s: sent upstream (-want +got):\n%s", r.body, diff)
	}
}

// checkBatch finds for each request the call of a batch that it was sent for.
func checkBatch(t *testing.T, calls []any, requests []*sent) {
	t.Helper()
	for _, r := range requests {
		found := false
		for _, c := range calls {
			asked, _ := c.(map[string]any)
			name, _ := asked["method"].(string)
			_, verb, _ := strings.Cut(r.call.Method, ".")
			found = found || strings.HasSuffix(name, "."+verb)
		}
		if !found {
			t.Errorf("%s went upstream for none of %v", r.body, calls)
		}
	}
}

// checkID compares the ids of a call and its answer byte for byte.
func checkID(t *testing.T, body []byte, answer string) {
	t.Helper()
	var asked, got struct{ ID json.RawMessage }
	if err := json.Unmarshal(body, &asked); err != nil {
		t.Fatal(err)
	}
	if answer == "" {
		return // a notification
	}
	if err := json.Unmarshal([]byte(answer), &got); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	if !bytes.Contains(body, got.ID) {
		t.Errorf("%q: the id came back as %s", body, got.ID)
	}
}

// FuzzAnswer has an upstream answer with any bytes: as they are, or as a body with a length or in chunks, where ID
// stands for the id. Whatever they are, the client gets an answer to its call that is JSON; a result only where a
// full decode finds the same one, under the right id.
func FuzzAnswer(f *testing.F) {
	for _, u := range unbelievable {
		if text := u.answer("ID"); len(text) < 4<<10 {
			f.Add([]byte(text), uint8(0))
			_, body, _ := strings.Cut(text, "\r\n\r\n")
			f.Add([]byte(body), uint8(1))
		}
	}
	for _, body := range []string{
		`{"jsonrpc":"2.0","id":ID,"result":{"a":[1,"\u00e4"]}}`,
		`{"result":null,"id":ID,"jsonrpc":"2.0","error":{"code":5,"message":"no","data":{"a":null}}}`,
		` { "\u0072esult" : [ 1e400 , "\ud83d\ude00" ] , "id" : ID, "jsonrpc" : "2.\u0030" } `,
	} {
		for framing := range uint8(9) {
			f.Add([]byte(body), framing)
		}
	}
	front := start(f, rpcserver.Options{})
	type turn struct {
		text    []byte
		framing uint8
		body    chan string // what was sent as the body
	}
	turns := make(chan turn, 1)
	listen(f, front.net(), func(_ int, c net.Conn, in *bufio.Reader) {
		r, err := readRequest(in)
		if err != nil {
			return
		}
		turn := <-turns
		body := strings.ReplaceAll(string(turn.text), "ID", string(r.call.ID))
		turn.body <- body
		switch turn.framing {
		case 0:
		case 1:
			body = withLength(body)
		default:
			body = inChunks(body, int(turn.framing))
		}
		_, _ = io.WriteString(c, body)
		_ = c.(*net.UnixConn).CloseWrite()
		_, _ = io.Copy(io.Discard, in)
	})
	c := front.client(f)
	f.Fuzz(func(t *testing.T, text []byte, framing uint8) {
		if len(text) > 32<<10 {
			return // longer ones may break off
		}
		turn := turn{text, framing, make(chan string, 1)}
		turns <- turn
		got, err := post(c, `{"jsonrpc":"2.0","id":"mine","method":"net.routes"}`, "X-Deadline-Ms: 5000")
		if err != nil {
			t.Fatalf("%v: %q", err, text)
		}
		var answer struct {
			ID            string
			Result, Error json.RawMessage
		}
		if err := json.Unmarshal([]byte(got), &answer); err != nil || answer.ID != "mine" || (answer.Result == nil) == (answer.Error == nil) {
			t.Fatalf("%q: %v: %s", text, err, got)
		}
		if body := <-turn.body; answer.Result != nil && framing > 0 {
			checkResult(t, body, answer.Result)
		}
	})
}

// checkResult compares a result with what a full decode of the upstream's answer finds.
func checkResult(t *testing.T, body string, result json.RawMessage) {
	t.Helper()
	var decoded map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &decoded); err != nil {
		t.Fatalf("%q is not JSON, and came as %s: %v", body, result, err)
	}
	var version string
	if err := json.Unmarshal(decoded["jsonrpc"], &version); err != nil || version != "2.0" || !bytes.Equal(decoded["result"], result) || decoded["id"] == nil {
		t.Errorf("%q came as %s", body, result)
	}
}
