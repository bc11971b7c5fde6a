package rpcserver

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/geomind/my_os_server/internal/testhost"
	"github.com/geomind/my_os_server/pkg/registry"
)

func TestDrain(t *testing.T) {
	g := newGate()
	s := serve(t, Options{Backend: g})
	idle, busy := s.dial(t), s.dial(t)
	idle.call(t, request("rpc.health", ""))
	busy.post(t, request(readMethod, ""))
	<-g.begun
	s.stop()
	if !idle.closed(t) {
		t.Error("an idle connection stays open")
	}
	testhost.Eventually(t, "nobody is let in any more", func() bool {
		c, err := net.Dial("unix", s.socket)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(g.open)
	res, body, err := busy.answer(t)
	if err != nil || !strings.Contains(body, `"result":{}`) || !res.Close {
		t.Errorf("the running call: %s, %v", body, err)
	}
	if !busy.closed(t) {
		t.Error("its connection stays open")
	}
	s.end(t)
}

func TestDrainEndsReadsAndSparesWrites(t *testing.T) {
	begun := make(chan struct{}, 2)
	s := serve(t, Options{Deadlines: Deadlines{Drain: 100 * time.Millisecond}, Backend: backend(func(ctx context.Context, m *registry.Method, params any, raw []byte, out *registry.Out) error {
		begun <- struct{}{}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(600 * time.Millisecond):
			out.Buf = append(out.Buf, `"done"`...)
			return nil
		}
	})})
	reader, writer := s.dial(t), s.dial(t)
	reader.post(t, request(readMethod, ""))
	writer.post(t, request(writeMethod, writeParams))
	<-begun
	<-begun
	start := time.Now()
	s.stop()
	_, body, err := reader.answer(t)
	if err != nil || !strings.Contains(body, `"code":1010,"message":"the server is stopping; the call was ended after`) {
		t.Errorf("the read: %s, %v", body, err)
	}
	took(t, start, 100*time.Millisecond)
	if _, body, err := writer.answer(t); err != nil || !strings.Contains(body, `"result":"done"`) {
		t.Errorf("the write: %s, %v", body, err)
	}
	s.end(t)
}

func TestDrainDoesNotWaitForWhatHangs(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	begun := make(chan struct{}, 2)
	s, err := New(Options{DaemonUID: uint32(os.Geteuid()), Log: zerolog.New(io.Discard), Deadlines: Deadlines{Drain: 50 * time.Millisecond, Write: 200 * time.Millisecond}, Backend: backend(func(context.Context, *registry.Method, any, []byte, *registry.Out) error {
		begun <- struct{}{}
		<-release
		return nil
	})})
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx, l) }()
	hung := &testServer{Server: s, socket: l.Addr().String()}
	hung.dial(t).post(t, request(readMethod, ""))
	hung.dial(t).post(t, request(writeMethod, writeParams))
	<-begun
	<-begun
	start := time.Now()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	took(t, start, 50*time.Millisecond)
}

// brokenListener fails when it is told to.
type brokenListener struct {
	net.Listener
	fail chan struct{}
}

var errBroken = errors.New("no more connections")

func (l *brokenListener) Accept() (net.Conn, error) {
	<-l.fail
	return nil, errBroken
}

func TestListenerThatFailsEndsAll(t *testing.T) {
	s, err := New(Options{Backend: newGate(), Log: zerolog.New(io.Discard)})
	if err != nil {
		t.Fatal(err)
	}
	good, bad := listen(t), &brokenListener{listen(t), make(chan struct{})}
	ended := make(chan error)
	go func() { ended <- s.Serve(context.Background(), good, bad) }()
	c := (&testServer{socket: good.Addr().String()}).dial(t)
	c.call(t, request("rpc.health", ""))
	close(bad.fail)
	if err := <-ended; !errors.Is(err, errBroken) {
		t.Errorf("Serve: %v", err)
	}
	if !c.closed(t) {
		t.Error("the other listener's connection stays open")
	}
}

func TestServeOnTwoSockets(t *testing.T) {
	s, err := New(Options{Backend: newGate(), Log: zerolog.New(io.Discard)})
	if err != nil {
		t.Fatal(err)
	}
	a, b := listen(t), listen(t)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx, a, b) }()
	for _, l := range []net.Listener{a, b} {
		(&testServer{socket: l.Addr().String()}).dial(t).call(t, request("rpc.health", ""))
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestNewRefusesWhatCannotBe(t *testing.T) {
	for name, o := range map[string]Options{
		"no backend":                 {},
		"a document that is no JSON": {Backend: newGate(), Document: []byte("{")},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
