package e2e

import (
	"bufio"
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
)

// Types of records (RFC 8446, section 5.1) and of handshake messages (section 4).
const (
	recordCipherSpec  = 20
	recordHandshake   = 22
	recordApplication = 23
	messageRequest    = 0 // HelloRequest, of TLS 1.2
	messageHello      = 1
	messageKeyUpdate  = 24
)

// recordWriter writes the records of a client whose handshake is done, whatever is in them, with the keys that it
// would use itself.
type recordWriter struct {
	conn   net.Conn
	client *tls.Conn // the same, for what comes back
	hash   func() hash.Hash
	length int // of a key
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	number uint64
}

// newRecordWriter makes a handshake with the server at address. The secret comes by the log of keys that debuggers
// use.
func newRecordWriter(t *testing.T, address string) *recordWriter {
	t.Helper()
	var log bytes.Buffer
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, KeyLogWriter: &log})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	w := &recordWriter{conn: conn, client: c, hash: sha256.New, length: 16}
	switch c.ConnectionState().CipherSuite {
	case tls.TLS_AES_256_GCM_SHA384:
		w.hash, w.length = sha512.New384, 32
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		t.Skip("without AES in hardware the two agree on ChaCha20, which the standard library has for itself alone")
	}
	for lines := bufio.NewScanner(&log); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "CLIENT_TRAFFIC_SECRET_0" {
			if w.secret, err = hex.DecodeString(fields[2]); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.rekey(t)
	return w
}

// rekey takes the keys of the secret into use (RFC 8446, section 7.3).
func (w *recordWriter) rekey(t *testing.T) {
	t.Helper()
	block, err := aes.NewCipher(w.expand(t, "key", w.length))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	w.aead, w.iv, w.number = aead, w.expand(t, "iv", aead.NonceSize()), 0
}

// update takes the next secret and its keys into use (section 7.2).
func (w *recordWriter) update(t *testing.T) {
	t.Helper()
	w.secret = w.expand(t, "traffic upd", w.hash().Size())
	w.rekey(t)
}

// expand is HKDF-Expand-Label (RFC 8446, section 7.1) without a context.
func (w *recordWriter) expand(t *testing.T, label string, length int) []byte {
	t.Helper()
	label = "tls13 " + label
	info := append(append([]byte{byte(length >> 8), byte(length), byte(len(label))}, label...), 0)
	key, err := hkdf.Expand(w.hash, w.secret, string(info), length)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// write sends a record. An error is no matter: the server may have closed.
func (w *recordWriter) write(kind byte, content []byte) error {
	inner := append(bytes.Clone(content), kind)
	header := []byte{recordApplication, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(header[3:], uint16(len(inner)+w.aead.Overhead()))
	nonce := bytes.Clone(w.iv)
	for i := range 8 {
		nonce[len(nonce)-1-i] ^= byte(w.number >> (8 * i))
	}
	w.number++
	_, err := w.conn.Write(w.aead.Seal(header, nonce, inner, header))
	return err
}

// flood are the records of which a server might be made to work through one after the other.
const flood = 10_000

// afterHandshake are what clients try when the handshake is done and before they have called anything.
var afterHandshake = []struct {
	name string
	send func(t *testing.T, w *recordWriter) error
}{
	{"renegotiation", func(_ *testing.T, w *recordWriter) error {
		hello := append([]byte{messageHello, 0, 0, 41, 3, 3}, make([]byte, 39)...)
		return w.write(recordHandshake, hello)
	}},
	{"renegotiation asked for", func(_ *testing.T, w *recordWriter) error {
		return w.write(recordHandshake, []byte{messageRequest, 0, 0, 0})
	}},
	{"new keys without end", func(t *testing.T, w *recordWriter) error {
		for range flood {
			if err := w.write(recordHandshake, []byte{messageKeyUpdate, 0, 0, 1, 1}); err != nil {
				return err
			}
			w.update(t)
		}
		return nil
	}},
	{"empty records without end", func(_ *testing.T, w *recordWriter) error {
		for range flood {
			if err := w.write(recordApplication, nil); err != nil {
				return err
			}
		}
		return nil
	}},
	{"changes of ciphers without end", func(_ *testing.T, w *recordWriter) error { // one is let pass, as old relays need it
		_, err := w.conn.Write(bytes.Repeat([]byte{recordCipherSpec, 3, 3, 0, 1, 1}, flood))
		return err
	}},
	{"a message that does not end", func(_ *testing.T, w *recordWriter) error {
		if err := w.write(recordHandshake, []byte{messageHello, 0xff, 0xff, 0xff}); err != nil {
			return err
		}
		for range flood {
			if err := w.write(recordHandshake, make([]byte, 1<<10)); err != nil {
				return err
			}
		}
		return nil
	}},
	{"plain text", func(_ *testing.T, w *recordWriter) error {
		_, err := io.WriteString(w.conn, rawRequest("", `{"jsonrpc":"2.0","id":1,"method":"rpc.health"}`))
		return err
	}},
}

// TestAttacksAfterHandshake: TLS 1.3 has nothing to agree upon anew, and who tries is cut off at once: no
// request is read any more, and no work done.
func TestAttacksAfterHandshake(t *testing.T) {
	for _, b := range binaries {
		t.Run(b.name, func(t *testing.T) {
			address := testhost.FreeAddress(t)
			s := b.start(t, "--listen", address)
			asks(t, newRecordWriter(t, address)) // what is cut off below is not so because it could not be read
			before := cpuTime(t, s)
			for _, test := range afterHandshake {
				t.Run(test.name, func(t *testing.T) {
					w := newRecordWriter(t, address)
					ended := make(chan error, 1)
					go func() {
						_, err := io.Copy(io.Discard, w.conn)
						ended <- err
					}()
					sent := test.send(t, w)
					if err := <-ended; errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(sent, os.ErrDeadlineExceeded) {
						t.Errorf("the connection stays: %v, %v", sent, err)
					}
				})
			}
			took := cpuTime(t, s) - before
			if took > 2*time.Second {
				t.Errorf("they cost the server %v", took)
			}
			t.Logf("%d attacks, %v of the server's time", len(afterHandshake), took)
			asks(t, newRecordWriter(t, address))
		})
	}
}

// cpuTime is what a server has computed so far, in hundredths of a second.
func cpuTime(t *testing.T, s *server) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	var ticks time.Duration
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond
}

// asks calls the server after one change of keys, and wants an answer.
func asks(t *testing.T, w *recordWriter) {
	t.Helper()
	if err := w.write(recordHandshake, []byte{messageKeyUpdate, 0, 0, 1, 0}); err != nil {
		t.Fatal(err)
	}
	w.update(t)
	if err := w.write(recordApplication, []byte(rawRequest("Connection: close\r\n", `{"jsonrpc":"2.0","id":1,"method":"rpc.health"}`))); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(w.client); err != nil || !bytes.Contains(b, []byte(`"status":"ok"`)) {
		t.Errorf("%q, %v", b, err)
	}
}
