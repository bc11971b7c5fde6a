package rpcserver

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// counted is a connection that counts how often its read deadline is set.
type counted struct {
	net.Conn
	sets int
}

func (c *counted) SetReadDeadline(t time.Time) error {
	c.sets++
	return c.Conn.SetReadDeadline(t)
}

func TestReadDeadlineIsSetWhenItCounts(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := &counted{Conn: ours}
	defer c.Close()
	var d readDeadline
	note := func(at time.Time) {
		t.Helper()
		if err := d.note(c, at); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		note(time.Now().Add(time.Duration(i+1) * time.Minute))
	}
	note(time.Time{})
	if d.ready(c) != nil || c.sets > 0 {
		t.Errorf("set %d times for no read", c.sets)
	}
	c.sets = 0
	soon := time.Now().Add(30 * time.Millisecond)
	note(soon)
	if err := d.ready(c); err != nil || c.sets != 1 {
		t.Fatal(err, c.sets)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read: %v", err)
	}
	if d.ready(c) != nil || c.sets != 1 {
		t.Error("set again for the same deadline")
	}
}

func TestReadDeadlineInThePastWakesTheReader(t *testing.T) {
	for range 500 {
		ours, theirs := net.Pipe()
		var d readDeadline
		read := make(chan error, 1)
		if err := d.note(ours, time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		go func() {
			if err := d.ready(ours); err != nil {
				read <- err
				return
			}
			_, err := ours.Read(make([]byte, 1))
			read <- err
		}()
		if err := d.note(ours, time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-read:
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("the reader sleeps on")
		}
		ours.Close()
		theirs.Close()
	}
}

func TestImmediateWriter(t *testing.T) {
	l := listen(t)
	defer l.Close()
	ours, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var w immediateWriter
	w.open(ours)
	p := make([]byte, 100<<10)
	total := 0
	for n := 1; n > 0; total += n { // until there is no room
		if n, err = w.write(nil, p); err != nil {
			t.Fatal(err)
		}
	}
	if total < 4096 {
		t.Errorf("the socket took %d bytes", total)
	}
	theirs.Close()
	if _, err := w.write(nil, p); err == nil {
		t.Error("nobody reads, and there is no error")
	}
	ours.Close()
	if _, err := w.write(nil, p); !errors.Is(err, net.ErrClosed) {
		t.Errorf("on a closed connection: %v", err)
	}
	var none immediateWriter
	pipe, other := net.Pipe()
	defer other.Close()
	none.open(pipe)
	if n, err := none.write(nil, p); n != 0 || err != nil {
		t.Errorf("without a socket: %d, %v", n, err)
	}
}
