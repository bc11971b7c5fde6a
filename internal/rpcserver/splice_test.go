package rpcserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

// moving is a backend whose results are strings that come over a socket, in parts that are moved and parts that are not.
type moving struct {
	t      *testing.T
	parts  []string
	moved  func(i int) bool
	length bool // is announced
	cut    bool // the last part that is moved comes half
	ended  chan error
}

func (*moving) Prompt() {}

func (b *moving) Call(_ context.Context, _ *registry.Method, _ any, _ []byte, out *registry.Out) error {
	err := b.answer(out)
	b.ended <- err
	return err
}

func (b *moving) answer(out *registry.Out) error {
	if out.Splice == nil {
		return errors.New("nothing can be moved")
	}
	in, far := socketPair(b.t)
	raw, err := in.(*net.UnixConn).SyscallConn()
	if err != nil {
		return err
	}
	whole := `"` + strings.Join(b.parts, "") + `"`
	if b.length {
		out.Size = int64(len(whole))
	}
	out.Buf = append(out.Buf, '"')
	for i, part := range b.parts {
		if !b.moved(i) {
			out.Buf = append(out.Buf, part...)
			if err := out.Spill(); err != nil {
				return err
			}
			continue
		}
		go func() {
			sent := part
			if b.cut {
				sent = part[:len(part)/2]
			}
			_, _ = io.WriteString(far, sent) // ends with the test where nobody takes it
			if b.cut {
				far.Close()
			}
		}()
		if err := out.Move(raw, int64(len(part))); err != nil {
			return err
		}
	}
	out.Buf = append(out.Buf, '"')
	return nil
}

// TestMovedResult has results of many shapes moved: they come byte for byte, with a length and in chunks.
func TestMovedResult(t *testing.T) {
	rng := rand.New(rand.NewPCG(testhost.Seed(t), 1))
	b := &moving{t: t, ended: make(chan error, 100)}
	s := serve(t, Options{Backend: b})
	c := s.dial(t)
	beDirect(t, s, c)
	for range testhost.Rounds(40) {
		b.parts = nil
		moved := rng.Uint64()
		b.moved = func(i int) bool { return moved>>i&1 == 1 }
		b.length = rng.IntN(2) == 1
		for i := range 1 + rng.IntN(5) {
			b.parts = append(b.parts, strings.Repeat(fmt.Sprint(i), 1+rng.IntN(1<<(4+rng.IntN(16)))))
		}
		want := strings.Join(b.parts, "")
		answer := c.call(t, request(readMethod, ""))
		var got struct{ Result string }
		if err := json.Unmarshal([]byte(answer), &got); err != nil || got.Result != want {
			t.Fatalf("length %t, moved %b: %v, %d bytes of %d: %.200s", b.length, moved, err, len(got.Result), len(want), answer)
		}
		if err := <-b.ended; err != nil {
			t.Fatal(err)
		}
	}
}

// A result whose source ends early never looks whole, and has all that came before.
func TestMovedResultThatIsCut(t *testing.T) {
	for _, length := range []bool{false, true} {
		b := &moving{t: t, ended: make(chan error, 1), parts: []string{strings.Repeat("x", 1<<20)}, moved: func(int) bool { return true }, cut: true, length: length}
		s := serve(t, Options{Backend: b})
		c := s.dial(t)
		beDirect(t, s, c)
		c.post(t, request(readMethod, ""))
		_, body, err := c.answer(t)
		if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.HasSuffix(body, `"`+strings.Repeat("x", 1<<19)) {
			t.Errorf("length announced: %t: %d bytes, %v", length, len(body), err)
		}
		if err := <-b.ended; !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("length announced: %t: the backend got %v", length, err)
		}
	}
}

// Who takes nothing of what is moved is cut, and who goes away too.
func TestMovedResultThatNobodyTakes(t *testing.T) {
	for _, leave := range []bool{false, true} {
		b := &moving{t: t, ended: make(chan error, 1), parts: []string{strings.Repeat("x", 8<<20)}, moved: func(int) bool { return true }}
		s := serve(t, Options{Backend: b, Deadlines: Deadlines{Stall: 200 * time.Millisecond}})
		c := s.dial(t)
		beDirect(t, s, c)
		c.post(t, request(readMethod, ""))
		want := os.ErrDeadlineExceeded
		if leave {
			_, _ = c.in.Peek(1)
			c.Close()
			want = syscall.EPIPE
		}
		if err := <-b.ended; !errors.Is(err, want) && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client leaves: %t: the backend got %v", leave, err)
		}
	}
}
