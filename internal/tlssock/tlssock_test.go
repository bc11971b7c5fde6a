package tlssock

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// failures gathers what a Listener says of connections that came to nothing.
type failures struct {
	mu   sync.Mutex
	errs []error
	came chan struct{}
}

func newFailures() *failures { return &failures{came: make(chan struct{}, 1000)} }

func (f *failures) add(_ netip.Addr, err error) {
	f.mu.Lock()
	f.errs = append(f.errs, err)
	f.mu.Unlock()
	f.came <- struct{}{}
}

// next waits for the next failure.
func (f *failures) next(t *testing.T) error {
	t.Helper()
	select {
	case <-f.came:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was told of a failure")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.errs[0]
	f.errs = f.errs[1:]
	return err
}

// echo listens on the loopback with a certificate of its own and sends back what comes.
func echo(t *testing.T, o Options) (*Listener, *failures) {
	t.Helper()
	files, err := Make(t.TempDir(), "node-7")
	if err != nil {
		t.Fatal(err)
	}
	keeper, err := Keep(files, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	failed := newFailures()
	o.Certificate, o.Failed = keeper.Get, failed.add
	l, err := Listen("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(c, c)
			}()
		}
	}()
	return l, failed
}

func dial(l *Listener, c *tls.Config) (*tls.Conn, error) {
	c.InsecureSkipVerify = true // the tests look at the certificate themselves
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", l.Addr().String(), c)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	return conn, nil
}

func roundTrip(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "hello" {
		t.Fatalf("%q, %v", b, err)
	}
}

func TestHandshake(t *testing.T) {
	l, _ := echo(t, Options{})
	cache := tls.NewLRUClientSessionCache(4)
	for range 3 {
		c, err := dial(l, &tls.Config{NextProtos: []string{"h2", "http/1.1"}, ClientSessionCache: cache, ServerName: "node-7"})
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, c)
		s := c.ConnectionState()
		if s.Version != tls.VersionTLS13 || s.NegotiatedProtocol != "http/1.1" || s.DidResume {
			t.Errorf("version %x, protocol %q, resumed %v", s.Version, s.NegotiatedProtocol, s.DidResume)
		}
		if leaf := s.PeerCertificates[0]; leaf.VerifyHostname("node-7") != nil || leaf.PublicKeyAlgorithm != x509.ECDSA {
			t.Errorf("certificate of %v with a key of %v", leaf.DNSNames, leaf.PublicKeyAlgorithm)
		}
		c.Close()
	}
}

func TestHandshakeRefused(t *testing.T) {
	unwanted := errors.New("not you")
	for _, test := range []struct {
		name   string
		o      Options
		client func(l *Listener) error
		want   string
	}{
		{"TLS 1.2", Options{}, func(l *Listener) error {
			_, err := dial(l, &tls.Config{MaxVersion: tls.VersionTLS12})
			return err
		}, "unsupported versions"},
		{"HTTP/2 alone", Options{}, func(l *Listener) error {
			_, err := dial(l, &tls.Config{NextProtos: []string{"h2"}})
			return err
		}, "unsupported application protocols"},
		{"plain text", Options{}, func(l *Listener) error {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				return nil
			}
			defer c.Close()
			c.Write([]byte("POST /rpc HTTP/1.1\r\n\r\n"))
			answer, err := io.ReadAll(c)
			if strings.Contains(string(answer), "HTTP/1.1") {
				return nil
			}
			return errors.Join(err, io.EOF)
		}, "first record does not look like a TLS handshake"},
		{"silence", Options{Handshake: 50 * time.Millisecond}, func(l *Listener) error {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				return nil
			}
			defer c.Close()
			_, err = c.Read(make([]byte, 1))
			return err
		}, "handshake took too long"},
		{"judged", Options{Verify: func(tls.ConnectionState) error { return unwanted }}, func(l *Listener) error {
			c, err := dial(l, &tls.Config{})
			if err == nil { // in TLS 1.3 a client is done before the server judges it
				_, err = c.Read(make([]byte, 1))
			}
			return err
		}, "not you"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l, failed := echo(t, test.o)
			if err := test.client(l); err == nil {
				t.Error("the client was served")
			}
			if err := failed.next(t); !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// TestSilentStrangers: those who open connections and say nothing keep nobody else out, and of one address
// only so many are heard.
func TestSilentStrangers(t *testing.T) {
	l, failed := echo(t, Options{PerAddress: 8, Handshake: 500 * time.Millisecond})
	for range 8 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	time.Sleep(50 * time.Millisecond) // until they are accepted
	ninth, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer ninth.Close()
	if err := failed.next(t); !errors.Is(err, ErrTooMany) {
		t.Errorf("the ninth: %v", err)
	}
	other, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	c := tls.Client(other, &tls.Config{InsecureSkipVerify: true})
	c.SetDeadline(time.Now().Add(5 * time.Second))
	roundTrip(t, c)
	for range 8 {
		if err := failed.next(t); !errors.Is(err, ErrTimeout) {
			t.Errorf("%v", err)
		}
	}
	again, err := dial(l, &tls.Config{})
	if err != nil {
		t.Fatalf("after the silent ones are gone: %v", err)
	}
	roundTrip(t, again)
}

func TestCloseLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	files, err := Make(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	keeper, err := Keep(files, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	l, err := Listen("127.0.0.1:0", Options{Certificate: keeper.Get})
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	done := make(chan error)
	go func() {
		c, err := l.Accept()
		for err == nil {
			c.Close()
			c, err = l.Accept()
		}
		done <- err
	}()
	go dial(l, &tls.Config{}) // one whose handshake may just be under way
	time.Sleep(10 * time.Millisecond)
	l.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of a closed listener: %v", err)
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

func TestAddrOf(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.1:1":              "192.0.2.1",
		"[::ffff:192.0.2.1]:1":     "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:1": "2001:db8:1:2::",
		"[fe80::1%lo]:1":           "fe80::",
	} {
		a, err := net.ResolveTCPAddr("tcp", from)
		if err != nil {
			t.Fatal(err)
		}
		if got := AddrOf(remote{addr: a}); got.String() != want {
			t.Errorf("%s counts as %s, want %s", from, got, want)
		}
	}
	if got := AddrOf(remote{addr: &net.UnixAddr{}}); got.IsValid() {
		t.Errorf("a Unix socket counts as %s", got)
	}
}

type remote struct {
	net.Conn
	addr net.Addr
}

func (r remote) RemoteAddr() net.Addr { return r.addr }

func TestMake(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "tls")
	files, err := Make(folder, "node-7")
	if err != nil {
		t.Fatal(err)
	}
	first := keep(t, files)
	if _, err := Make(folder, "node-7"); err != nil {
		t.Fatal(err)
	}
	if again := keep(t, files); keyOf(again) != keyOf(first) || !again.current.Leaf.Equal(first.current.Leaf) {
		t.Error("made anew although it stood there")
	}
	if info, err := os.Stat(files.Key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info.Mode(), err)
	}
	if err := os.Remove(files.Certificate); err != nil {
		t.Fatal(err)
	}
	if _, err := Make(folder, "node-8"); err != nil {
		t.Fatal(err)
	}
	if again := keep(t, files); keyOf(again) != keyOf(first) || again.current.Leaf.Equal(first.current.Leaf) {
		t.Error("a new certificate must be for the key that is there")
	}
}

func TestMakeRenews(t *testing.T) {
	folder := t.TempDir()
	files := OwnFiles(folder)
	key, err := newKey(files.Key)
	if err != nil {
		t.Fatal(err)
	}
	for _, age := range []time.Duration{lifetime - renewBefore/2, lifetime + time.Hour} {
		der, err := selfSigned(key, "node-7", time.Now().Add(-age))
		if err == nil {
			err = writePEM(files.Certificate, "CERTIFICATE", der, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Make(folder, "node-7"); err != nil {
			t.Fatal(err)
		}
		if c := keep(t, files).current.Leaf; time.Until(c.NotAfter) < lifetime-time.Hour {
			t.Errorf("a certificate %v old was not renewed: ends %v", age, c.NotAfter)
		}
	}
}

func TestMakeKeepsWhatItDoesNotKnow(t *testing.T) {
	for _, name := range []string{"server.key", "server.crt"} {
		folder := t.TempDir()
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte("somebody's"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Make(folder, "node-7"); err == nil || !strings.Contains(err.Error(), name+": no PEM block") {
			t.Errorf("%s: %v", name, err)
		}
		if b, _ := os.ReadFile(path); string(b) != "somebody's" {
			t.Errorf("%s was overwritten", name)
		}
	}
}

func keep(t *testing.T, files Files) *Keeper {
	t.Helper()
	k, err := Keep(files, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeepRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(t *testing.T, f Files)
		want  string
	}{
		"key for all":        {func(t *testing.T, f Files) { chmod(t, f.Key, 0o644) }, "others must not read it"},
		"key for its group":  {func(t *testing.T, f Files) { chmod(t, f.Key, 0o660) }, "its group must not write"},
		"no key":             {func(t *testing.T, f Files) { os.Remove(f.Key) }, "no such file"},
		"no certificate":     {func(t *testing.T, f Files) { os.Remove(f.Certificate) }, "no such file"},
		"another one's key":  {func(t *testing.T, f Files) { os.Remove(f.Key); newKey(f.Key) }, "private key does not match"},
		"an old certificate": {func(t *testing.T, f Files) { age(t, f, lifetime+time.Hour) }, "ended at"},
	} {
		t.Run(name, func(t *testing.T) {
			files, err := Make(t.TempDir(), "node-7")
			if err != nil {
				t.Fatal(err)
			}
			test.spoil(t, files)
			if _, err := Keep(files, nil); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// age makes the certificate one of some time ago.
func age(t *testing.T, f Files, by time.Duration) {
	t.Helper()
	key, err := ownKey(f.Key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := selfSigned(key, "node-7", time.Now().Add(-by))
	if err == nil {
		err = writePEM(f.Certificate, "CERTIFICATE", der, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestReplacement: a new pair is taken up; a bad one is told of once and changes nothing.
func TestReplacement(t *testing.T) {
	files, err := Make(t.TempDir(), "node-7")
	if err != nil {
		t.Fatal(err)
	}
	var told []error
	k, err := Keep(files, func(err error) { told = append(told, err) })
	if err != nil {
		t.Fatal(err)
	}
	first := keyOf(k)
	os.Remove(files.Key)
	if _, err := newKey(files.Key); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		k.looked = time.Time{}
		if keyOf(k) != first {
			t.Fatal("a key without its certificate was taken up")
		}
	}
	if len(told) != 1 || !strings.Contains(told[0].Error(), "private key does not match") {
		t.Errorf("told %v", told)
	}
	age(t, files, 0)
	k.looked = time.Time{}
	if keyOf(k) == first {
		t.Error("the new pair was not taken up")
	}
}

// keyOf is the public key of the certificate that a keeper shows.
func keyOf(k *Keeper) string { return string(k.Leaf().RawSubjectPublicKeyInfo) }
