package nlsock

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/testhost"
)

// A dump of links is what every process may ask of every kernel; the tests here need no more.
func linkDump(c *Conn) *Request {
	req := c.Request("dump links", unix.RTM_GETLINK)
	req.Raw(make([]byte, unix.SizeofIfInfomsg))
	return req
}

func linkGet(c *Conn, index uint32) *Request {
	req := c.Request("get link", unix.RTM_GETLINK)
	header := make([]byte, unix.SizeofIfInfomsg)
	native.PutUint32(header[4:], index)
	req.Raw(header)
	return req
}

func dialRoute(t *testing.T) *Conn {
	t.Helper()
	c, err := Dial(unix.NETLINK_ROUTE, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestDumpAgainAndAgain(t *testing.T) {
	c := dialRoute(t)
	for range 3 {
		links := 0
		for m, err := range c.Dump(t.Context(), linkDump(c)) {
			if err != nil {
				t.Fatal(err)
			}
			if m.Type != unix.RTM_NEWLINK {
				t.Errorf("message of type %d in a dump of links", m.Type)
			}
			links++
		}
		if links == 0 {
			t.Error("no link, not even lo")
		}
		if !c.Reusable() {
			t.Fatal("not reusable after a whole dump")
		}
	}
}

func TestDoAnswersOne(t *testing.T) {
	c := dialRoute(t)
	m, err := c.Do(t.Context(), linkGet(c, 1), 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := native.Uint32(m.Data[4:]); got != 1 {
		t.Errorf("asked for interface 1, got %d", got)
	}
}

func TestKernelErrorKeepsErrnoAndSocket(t *testing.T) {
	c := dialRoute(t)
	_, err := c.Do(t.Context(), linkGet(c, 0x7ffffff0), 0)
	if !errors.Is(err, syscall.ENODEV) {
		t.Errorf("get of no interface: %v, want ENODEV", err)
	}
	if !c.Reusable() {
		t.Error("not reusable after the kernel's refusal")
	}
	if _, err := c.Do(t.Context(), linkGet(c, 1), 0); err != nil {
		t.Errorf("next request: %v", err)
	}
}

func TestKernelErrorKeepsItsWords(t *testing.T) {
	c := dialRoute(t)
	req := c.Request("dump links", unix.RTM_GETLINK)
	header := make([]byte, unix.SizeofIfInfomsg)
	native.PutUint32(header[4:], 1) // strict checking refuses an index in a dump of links
	req.Raw(header)
	var last error
	for _, err := range c.Dump(t.Context(), req) {
		last = err
	}
	var told *OpError
	if !errors.As(last, &told) || told.Op != "dump links" || !errors.Is(told, syscall.EINVAL) || told.Message == "" {
		t.Errorf("dump with an index: %#v, want EINVAL with the kernel's words", last)
	}
	if !c.Reusable() {
		t.Error("not reusable after the kernel's refusal")
	}
}

// TestEarlyStopOfAShortDump: the rest is read away. See package rtnl's tests for that of a long one. The
// host's own links may be many; a new namespace has the loopback alone.
func TestEarlyStopOfAShortDump(t *testing.T) {
	c, err := Dial(unix.NETLINK_ROUTE, testhost.NewNetNS(t).FD())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	links := 0
	for range c.Dump(t.Context(), linkDump(c)) {
		links++
		break
	}
	if links != 1 || !c.Reusable() {
		t.Fatalf("%d links, reusable: %v", links, c.Reusable())
	}
	if _, err := c.Do(t.Context(), linkGet(c, 1), 0); err != nil {
		t.Errorf("the request after it: %v", err)
	}
}

func TestUnreadAnswerRefusesTheNextRequest(t *testing.T) {
	c := dialRoute(t)
	c.inUse = true
	if _, err := c.Do(t.Context(), linkGet(c, 1), 0); !errors.Is(err, errInUse) {
		t.Errorf("%v, want %v", err, errInUse)
	}
}

func TestTruncatedAnswerGrowsTheBuffer(t *testing.T) {
	c := dialRoute(t)
	c.buf = make([]byte, 64) // no link fits
	var last error
	for m, err := range c.Dump(t.Context(), linkDump(c)) {
		if last = err; err == nil {
			t.Errorf("message of %d bytes came out of a buffer of 64", len(m.Data))
		}
	}
	if !errors.Is(last, ErrTruncated) {
		t.Fatalf("dump into 64 bytes: %v, want %v", last, ErrTruncated)
	}
	if !c.Reusable() {
		t.Fatal("not reusable after a truncated dump was read to its end")
	}
	for _, err := range c.Dump(t.Context(), linkDump(c)) {
		if err != nil {
			t.Errorf("same dump again: %v", err)
		}
	}
}

func TestContext(t *testing.T) {
	c := dialRoute(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Do(ctx, linkGet(c, 1), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("with a dead context: %v", err)
	}
	if !c.Reusable() {
		t.Error("spoilt by a request that was never sent")
	}
}

// TestContextUnblocksAWait makes the socket wait for an answer that does not come: an acknowledgement
// of a request that was not made.
func TestContextUnblocksAWait(t *testing.T) {
	for name, arm := range map[string]func() (context.Context, context.CancelFunc){
		"deadline": func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 20*time.Millisecond)
		},
		"cancel": func() (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(20*time.Millisecond, cancel)
			return ctx, cancel
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := dialRoute(t)
			ctx, cancel := arm()
			defer cancel()
			req := c.Request("wait", unix.NLMSG_NOOP) // the kernel answers a control message with nothing
			began := time.Now()
			_, err := c.Do(ctx, req, 0)
			if !errors.Is(err, ctx.Err()) || ctx.Err() == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%v, want the context's error %v", err, ctx.Err())
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("unblocked after %v", took)
			}
			if c.Reusable() {
				t.Error("reusable with an answer that may still come")
			}
		})
	}
}

func isClosed(c *Conn) bool { return c.Control(func(uintptr) {}) != nil }

func TestPool(t *testing.T) {
	dialled := 0
	p := NewPool(func() (*Conn, error) {
		dialled++
		return Dial(unix.NETLINK_ROUTE, 0)
	})
	defer p.Close()
	first, err := p.Get()
	if err != nil {
		t.Fatal(err)
	}
	p.Put(first)
	again, err := p.Get()
	if err != nil {
		t.Fatal(err)
	}
	if again != first || dialled != 1 {
		t.Errorf("a clean socket was not kept: dialled %d times", dialled)
	}
	again.inUse = true
	p.Put(again)
	other, err := p.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if other == again || dialled != 2 {
		t.Error("a socket with an unread answer was kept")
	}
	if !isClosed(again) {
		t.Error("a socket with an unread answer was left open")
	}
}

func TestPoolKeepsFew(t *testing.T) {
	p := NewPool(func() (*Conn, error) { return Dial(unix.NETLINK_ROUTE, 0) })
	var out []*Conn
	for range maxIdle + 3 {
		c, err := p.Get()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	for _, c := range out {
		p.Put(c)
	}
	if len(p.idle) != maxIdle {
		t.Errorf("%d idle sockets, want %d", len(p.idle), maxIdle)
	}
	p.Close()
	if !isClosed(out[0]) {
		t.Error("closing the pool left a socket open")
	}
	p.Put(out[0])
	if len(p.idle) != 0 {
		t.Error("a closed pool keeps sockets")
	}
}

// fakeSocket stands in where only time matters: in a bubble of synctest nothing may wait for a kernel.
type fakeSocket struct{ closed atomic.Bool }

func (*fakeSocket) Reusable() bool { return true }

func (s *fakeSocket) Close() error {
	s.closed.Store(true)
	return nil
}

func TestPoolForgetsWhatNobodyTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPool(func() (*fakeSocket, error) { return new(fakeSocket), nil })
		hot, _ := p.Get()
		cold, _ := p.Get()
		p.Put(cold)
		p.Put(hot)
		for range 4 { // the one that is taken again and again stays
			time.Sleep(idleTime / 2)
			synctest.Wait()
			again, _ := p.Get()
			if again != hot {
				t.Fatal("the socket that was put back last was not the first to be taken")
			}
			p.Put(again)
		}
		if hot.closed.Load() || !cold.closed.Load() {
			t.Errorf("in use closed: %v, unused closed: %v", hot.closed.Load(), cold.closed.Load())
		}
		time.Sleep(3 * idleTime)
		synctest.Wait()
		if !hot.closed.Load() || len(p.idle) != 0 || p.timer != nil {
			t.Errorf("long after: closed %v, %d idle, timer %v", hot.closed.Load(), len(p.idle), p.timer)
		}
	})
}
