package e2e

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/geomind/my_os_server/internal/testhost"
)

// longResult is a result of 100 MiB and a little, a string of hex digits that are never twice the same.
type longResult struct {
	random *rand.ChaCha8
	sum    hash.Hash // of what has been written
}

const (
	longParts = 200
	longPart  = 512 << 10
	longSize  = len(`""`) + longParts*longPart
)

func newLongResult(seed uint64) *longResult {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return &longResult{rand.NewChaCha8(key), sha256.New()}
}

// writeTo writes the result to w.
func (l *longResult) writeTo(w io.Writer) error {
	w = io.MultiWriter(w, l.sum)
	raw, text := make([]byte, longPart/2), make([]byte, longPart)
	_, err := io.WriteString(w, `"`)
	for i := 0; i < longParts && err == nil; i++ {
		_, _ = l.random.Read(raw)
		hex.Encode(text, raw)
		_, err = w.Write(text)
	}
	if err == nil {
		_, err = io.WriteString(w, `"`)
	}
	return err
}

// chunked writes each piece as a chunk.
type chunked struct{ net.Conn }

func (c chunked) Write(p []byte) (int, error) {
	_, err := fmt.Fprintf(c.Conn, "%x\r\n%s\r\n", len(p), p)
	return len(p), err
}

// answer answers with the result, with a length or in chunks.
func (l *longResult) answer(c net.Conn, id string, inChunks bool) bool {
	head := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":`, id)
	var body io.Writer = c
	framing, end := fmt.Sprintf("Content-Length: %d", len(head)+longSize+len("}")), ""
	if inChunks {
		body, framing, end = chunked{c}, "Transfer-Encoding: chunked", "0\r\n\r\n"
	}
	_, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%s\r\n\r\n", framing)
	if err == nil {
		_, err = io.WriteString(body, head)
	}
	if err == nil {
		err = l.writeTo(body)
	}
	if err == nil {
		_, err = io.WriteString(body, "}")
	}
	if err == nil {
		_, err = io.WriteString(c, end)
	}
	return err == nil
}

// TestLongAnswerArrivesWhole passes results of 100 MiB on, byte for byte, one after the other on the same
// connections, in memory that does not grow with them.
func TestLongAnswerArrivesWhole(t *testing.T) {
	seed := testhost.Seed(t)
	storage := startServer(t, "--serve-as", "storage")
	sums := make(chan string, 1)
	b := &brokenUpstream{socket: filepath.Join(t.TempDir(), "s")}
	b.fault.answer = func(c net.Conn, i int, id string) bool {
		l := newLongResult(seed + uint64(i))
		ok := l.answer(c, id, i%2 == 1)
		sums <- hex.EncodeToString(l.sum.Sum(nil))
		return ok
	}
	b.start(t)
	defer b.stop()
	s := startMOS(t, b.socket, storage.socket)
	c := s.client()
	defer c.CloseIdleConnections()
	for i := range 4 {
		got := longAnswer(t, c)
		if want := <-sums; got != want {
			t.Fatalf("answer %d of seed %d: sha256 %s, want %s", i, seed, got, want)
		}
	}
	if peak := memoryOf(t, s, "VmHWM"); peak > mosMemory {
		t.Errorf("took %d KiB at most", peak)
	} else {
		t.Logf("took %d KiB at most", peak)
	}
}

// longAnswer asks for such a result and returns its sum. The answer must be whole, and nothing else in it.
func longAnswer(t *testing.T, c *http.Client) string {
	t.Helper()
	res, err := c.Post("http://localhost/rpc", "application/json", strings.NewReader(`{"jsonrpc":"2.0","id":"mine","method":"net.routes"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	in := bufio.NewReaderSize(res.Body, 256<<10)
	head := `{"jsonrpc":"2.0","id":"mine","result":`
	if got, err := in.Peek(len(head)); err != nil || string(got) != head {
		t.Fatalf("begins with %q, %v", got, err)
	}
	_, _ = in.Discard(len(head))
	sum := sha256.New()
	if n, err := io.CopyN(sum, in, int64(longSize)); err != nil {
		t.Fatalf("%v after %d bytes of the result", err, n)
	}
	rest, err := io.ReadAll(in)
	if err != nil || strings.TrimSpace(string(rest)) != "}" {
		t.Fatalf("ends with %.100q, %v", rest, err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}
