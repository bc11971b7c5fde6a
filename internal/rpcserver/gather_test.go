package rpcserver

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// chunked writes as net/http does: through a small buffer, with the length of each piece before it.
type chunked struct{ out *bufio.Writer }

func (c chunked) Write(p []byte) (int, error) {
	fmt.Fprintf(c.out, "%x\r\n", len(p))
	n, err := c.out.Write(p)
	_, _ = c.out.WriteString("\r\n")
	return n, err
}

// TestGather sends pieces of every size to a reader that is slow now and then: what comes is what was sent, in
// order and whole.
func TestGather(t *testing.T) {
	a, b := socketPair(t)
	c := &conn{Conn: a, s: serve(t, Options{Backend: backend(obedient)}).Server}
	c.out.open(a)
	var want bytes.Buffer
	through := chunked{bufio.NewWriterSize(c, httpBuffer)}
	expected := chunked{bufio.NewWriter(&want)}
	got := make(chan []byte)
	go func() {
		var all []byte
		buf := make([]byte, 100<<10)
		for {
			n, err := b.Read(buf[:1+rand.IntN(len(buf))])
			if all = append(all, buf[:n]...); err != nil {
				got <- all
				return
			}
			if rand.IntN(100) == 0 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	for i := range 2000 {
		p := bytes.Repeat([]byte{byte(i)}, rand.IntN(1<<rand.IntN(18)))
		if n, err := c.sendThrough(through, p); n != len(p) || err != nil {
			t.Fatalf("piece %d: %d of %d, %v", i, n, len(p), err)
		}
		_, _ = expected.Write(p)
	}
	if err := through.out.Flush(); err != nil {
		t.Fatal(err)
	}
	_ = expected.out.Flush()
	a.Close()
	if all := <-got; !bytes.Equal(all, want.Bytes()) {
		t.Errorf("%d bytes came, %d were sent", len(all), want.Len())
	}
}

// TestGatherSendsOnce sees a large piece arrive in one go, and what is small not wait.
func TestGatherSendsOnce(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b := fileConn(t, fds[0]), fileConn(t, fds[1])
	c := &conn{Conn: a}
	c.out.open(a)
	through := chunked{bufio.NewWriterSize(c, httpBuffer)}
	if _, err := c.sendThrough(through, make([]byte, 60<<10)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.sendThrough(through.out, []byte("end")); err != nil {
		t.Fatal(err)
	}
	if err := through.out.Flush(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100<<10)
	for _, want := range []int{len("f000\r\n") + 60<<10, len("\r\nend")} {
		if n, err := b.Read(buf); n != want || err != nil {
			t.Errorf("%d bytes in one go, %v; want %d", n, err, want)
		}
	}
	if _, err := c.sendThrough(failing{}, buf); err != io.ErrClosedPipe || len(c.held) != 0 {
		t.Errorf("a writer that fails: %v, %d bytes held", err, len(c.held))
	}
}

// failing is a writer that nothing can be written to.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func socketPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("unix", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return a, b
}

func fileConn(t *testing.T, fd int) net.Conn {
	t.Helper()
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
