package proxy_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/geomind/my_os_server/api"
	"github.com/geomind/my_os_server/internal/rpcserver"
	"github.com/geomind/my_os_server/pkg/registry"
)

// example is an example of the specification.
type example struct {
	Params []struct {
		Name  string
		Value json.RawMessage
	}
	Result struct{ Value json.RawMessage }
}

// examples are those of every method.
func examples(tb testing.TB) map[string][]example {
	tb.Helper()
	var document struct {
		Methods []struct {
			Name     string
			Examples []example
		}
	}
	if err := json.Unmarshal(api.Document, &document); err != nil {
		tb.Fatal(err)
	}
	all := map[string][]example{}
	for _, m := range document.Methods {
		all[m.Name] = m.Examples
	}
	return all
}

// byName and byPosition are an example's params in both forms; order gives the positions.
func (e *example) byName() string {
	object := map[string]json.RawMessage{}
	for _, p := range e.Params {
		object[p.Name] = p.Value
	}
	text, _ := json.Marshal(object)
	return string(text)
}

func (e *example) byPosition(order []registry.Param) string {
	var list []string
	for _, p := range order {
		value := "null"
		for _, given := range e.Params {
			if given.Name == p.Name {
				value = string(given.Value)
			}
		}
		list = append(list, value)
	}
	return "[" + strings.Join(list, ",") + "]"
}

// same compares JSON by what it means.
func same(tb testing.TB, what string, want, got []byte) {
	tb.Helper()
	var w, g any
	if err := json.Unmarshal(want, &w); err != nil {
		tb.Fatalf("%s: %v: %s", what, err, want)
	}
	if err := json.Unmarshal(got, &g); err != nil {
		tb.Fatalf("%s: %v: %s", what, err, got)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		tb.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// TestTheWholeTable calls every method of the table, writes too, with the specification's own examples: by name
// and by position it arrives under its upstream's name with the params by name, and the result comes back.
func TestTheWholeTable(t *testing.T) {
	f := start(t, rpcserver.Options{})
	var got *sent
	var answer string
	echo := answerWith(func(r *sent) string {
		got = r
		return withLength(result(r, answer))
	})
	listen(t, f.net(), echo)
	listen(t, f.vol(), echo)
	c := f.client(t)
	prefix := map[string]string{"net": "mosnet", "vol": "storage"}
	calls := 0
	all := examples(t)
	for _, m := range registry.All() {
		if m.Namespace() == "rpc" {
			continue
		}
		if len(all[m.Name]) == 0 {
			t.Errorf("%s: no example to try it with", m.Name)
		}
		for _, e := range all[m.Name] {
			answer = string(e.Result.Value)
			for _, params := range []string{e.byName(), e.byPosition(m.Params)} {
				reply := call(t, c, m.Name, params)
				want := prefix[m.Namespace()] + strings.TrimPrefix(m.Name, m.Namespace())
				if got.call.Method != want || got.call.JSONRPC != "2.0" {
					t.Errorf("%s arrived as %s", m.Name, got.body)
				}
				same(t, m.Name+" sent", []byte(e.byName()), got.call.Params)
				if reply != `{"jsonrpc":"2.0","id":"mine","result":`+answer+`}` {
					t.Errorf("%s: %.300s", m.Name, reply)
				}
				calls++
			}
		}
	}
	t.Logf("%d calls", calls)
}

// TestHeadersAreMadeAfresh: nothing of what a caller puts into headers goes on, and who it is does.
func TestHeadersAreMadeAfresh(t *testing.T) {
	f := start(t, rpcserver.Options{})
	var got *sent
	listen(t, f.net(), answerWith(func(r *sent) string { got = r; return withLength(result(r, "{}")) }))
	c := f.client(t)
	call(t, c, "net.status", "", "X-Caller: uid:0", "Cookie: a=b", "X-Custom: 1", "User-Agent: me", "X-Deadline-Ms: 2000")
	if got.Header.Get("X-Caller") != "uid:"+strconv.Itoa(syscallUID) || len(got.Header.Values("X-Caller")) != 1 {
		t.Errorf("X-Caller is %q", got.Header.Values("X-Caller"))
	}
	if ms, err := strconv.Atoi(got.Header.Get("X-Deadline-Ms")); err != nil || ms > 2000 || ms < 100 {
		t.Errorf("X-Deadline-Ms is %q", got.Header.Get("X-Deadline-Ms"))
	}
	for name := range got.Header {
		switch name {
		case "Content-Type", "Content-Length", "X-Caller", "X-Deadline-Ms":
		default:
			t.Errorf("%s: %q goes on", name, got.Header[name])
		}
	}
	key := "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
	call(t, c, "net.status", "", "X-Public-Key: "+key) // vouched for by ourselves, who are trusted
	if got.Header.Get("X-Caller") != key || got.Header.Get("X-Public-Key") != key {
		t.Errorf("a key goes on as %q, %q", got.Header.Get("X-Caller"), got.Header.Get("X-Public-Key"))
	}
}

// TestErrorsPassAsTheyAre: an upstream's own error, whatever its words, and one that says that there is no such
// method, come back with code, message and data, and the connection is good for the next call.
func TestErrorsPassAsTheyAre(t *testing.T) {
	f := start(t, rpcserver.Options{})
	answer := ""
	d := listen(t, f.net(), answerWith(func(r *sent) string {
		return withLength(fmt.Sprintf(`{"error":%s,"id":%s,"jsonrpc":"2.0"}`, answer, r.call.ID))
	}))
	c := f.client(t)
	for _, e := range []string{
		`{"code":-32601,"message":"no such method","data":{"kind":"method_not_found","method":"mosnet.status"}}`,
		`{"code":1004,"message":"not\tfound: \u00e4","data":{"kind":"not_found","resource":"interface","id":"eth7"}}`,
		`{"code":77,"message":"in its own words","data":[1,2.50,{"a":null}]}`,
		`{"code":-1,"message":""}`,
		`{"code":5,"message":"null is data too","data":null}`,
		`{"code":1002,"message":"not you","data":{"kind":"permission_denied","method":"mosnet.status","required":"read","granted":"none","caller":"uid:1"}}`,
	} {
		answer = e
		var got struct{ Error json.RawMessage }
		reply := call(t, c, "net.status", "")
		if err := json.Unmarshal([]byte(reply), &got); err != nil {
			t.Fatal(err)
		}
		same(t, e, []byte(e), got.Error)
	}
	if d.count != 1 {
		t.Errorf("%d connections for calls one after the other", d.count)
	}
}

// TestNamespaceWithoutUpstream: a method that no daemon of this version has says so.
func TestNamespaceWithoutUpstream(t *testing.T) {
	f := startWith(t, nil)
	if got := call(t, f.client(t), "net.status", ""); !strings.Contains(got, `"kind":"unsupported","reason":"platform","missing":"a daemon for net.*"`) {
		t.Error(got)
	}
}

// TestSizes passes results of many sizes on, with a length and in chunks, with the members of the envelope in
// every order, byte for byte; what a client gets is JSON, and outside of batches too long for memory.
func TestSizes(t *testing.T) {
	f := start(t, rpcserver.Options{})
	var text string
	var chunk int
	shape := 0
	listen(t, f.net(), answerWith(func(r *sent) string {
		shapes := []string{
			`{"jsonrpc":"2.0","id":%[1]s,"result":%[2]s}`,
			"{\"result\":%[2]s , \"id\" : %[1]s,\n\"jsonrpc\":\"2.0\"}\n",
			`{"id":%[1]s,"result":%[2]s,"jsonrpc":"2.0"}`,
			"\t{\"jsonrpc\":\"2.0\",\"x\":{\"y\":[1]},\"result\":%[2]s,\"id\":%[1]s} ",
		}
		body := fmt.Sprintf(shapes[shape], r.call.ID, text)
		if chunk == 0 {
			return withLength(body)
		}
		return inChunks(body, chunk)
	}))
	c := f.client(t)
	for _, size := range []int{10, 1000, 8 << 10, 63 << 10, 64<<10 - 200, 64 << 10, 64<<10 + 1, 66 << 10, 100 << 10, 300 << 10, 3 << 20} {
		text = rows(size)
		for shape = range 4 {
			for _, chunk = range []int{0, 1 << 10, 64 << 10, 1 << 20} {
				var got struct {
					ID     string
					Result json.RawMessage
				}
				reply := call(t, c, "net.routes", "")
				if err := json.Unmarshal([]byte(reply), &got); err != nil {
					t.Fatalf("%d bytes, shape %d, chunks of %d: %v: %.100s", size, shape, chunk, err, reply)
				}
				if got.ID != "mine" || string(got.Result) != text {
					t.Fatalf("%d bytes, shape %d, chunks of %d: %d bytes came: %.100s", size, shape, chunk, len(got.Result), got.Result)
				}
			}
		}
	}
	chunk, shape, text = 0, 0, rows(5<<20)
	got, err := post(c, `[{"jsonrpc":"2.0","id":1,"method":"net.routes"}]`)
	if err != nil || !strings.Contains(got, `"limit":"result_bytes"`) {
		t.Errorf("in a batch: %.200s, %v", got, err)
	}
}

// rows is a result of about size bytes.
func rows(size int) string {
	var b strings.Builder
	b.WriteString(`{"routes":[`)
	for i := 0; b.Len() < size; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"dst":"10.0.%d.0/24","note":"ä\"}\\","id":%d}`, i%256, i)
	}
	b.WriteString("]}")
	return b.String()
}

// TestOneByteAtATime has an answer come in the smallest pieces there are.
func TestOneByteAtATime(t *testing.T) {
	f := start(t, rpcserver.Options{})
	listen(t, f.net(), func(_ int, c net.Conn, in *bufio.Reader) {
		for {
			r, err := readRequest(in)
			if err != nil {
				return
			}
			for _, b := range []byte(inChunks(result(r, `{"a":1}`), 3)) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
			}
		}
	})
	c := f.client(t)
	for range 3 {
		if got := call(t, c, "net.status", ""); got != `{"jsonrpc":"2.0","id":"mine","result":{"a":1}}` {
			t.Error(got)
		}
	}
}

// TestBatch goes to both upstreams and comes back in order.
func TestBatch(t *testing.T) {
	f := start(t, rpcserver.Options{})
	name := answerWith(func(r *sent) string { return withLength(result(r, `"`+r.call.Method+`"`)) })
	listen(t, f.net(), name)
	listen(t, f.vol(), name)
	got, err := post(f.client(t), `[{"jsonrpc":"2.0","id":1,"method":"vol.list_disks"},{"jsonrpc":"2.0","id":2,"method":"net.routes"},
		{"jsonrpc":"2.0","id":3,"method":"rpc.health"},{"jsonrpc":"2.0","method":"net.status"},{"jsonrpc":"2.0","id":null,"method":"vol.usage","params":["/"]}]`)
	want := `[{"jsonrpc":"2.0","id":1,"result":"storage.list_disks"},{"jsonrpc":"2.0","id":2,"result":"mosnet.routes"},` +
		`{"jsonrpc":"2.0","id":3,"result":{"status":"ok"}},{"jsonrpc":"2.0","id":null,"result":"storage.usage"}]`
	if err != nil || got != want {
		t.Errorf("%s, %v", got, err)
	}
}
