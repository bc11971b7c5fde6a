package testhost

import (
	"bytes"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
)

// Relay passes bytes between the clients of a Unix socket of its own and the server behind another, and can hold or
// cut them at an exact byte.
type Relay struct {
	target string
	listen net.Listener
	ends   sync.WaitGroup

	mu    sync.Mutex
	snag  *Snag // nil: everything passes
	conns map[net.Conn]bool
}

// Snag says where bytes stop: at the first of what clients send in one piece in which Word stands.
type Snag struct {
	Word     string
	Sent     int    // so many bytes of that piece pass; -1: all
	Answered int    // and then so many of what the server sends on that connection; -1: all
	Cut      bool   // then the connection is closed on both sides; else nothing more passes until Release
	First    func() // is called before anything of the piece passes; may be nil
	Then     func() // is called once what is to pass has passed; may be nil

	held chan struct{} // closed by Release
	hit  chan struct{} // closed once the last byte has passed
}

// NewRelay listens on the path of a socket until the test ends.
func NewRelay(t testing.TB, path, target string) *Relay {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{target: target, listen: l, conns: map[net.Conn]bool{}}
	r.ends.Go(r.accept)
	t.Cleanup(func() {
		l.Close()
		r.Release()
		r.Cut()
		r.ends.Wait()
		os.Remove(path)
	})
	return r
}

// Snag sets where bytes stop next, and returns a channel that is closed once they have.
func (r *Relay) Snag(s Snag) <-chan struct{} {
	s.held, s.hit = make(chan struct{}), make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.snag = &s
	return s.hit
}

// Caught tells whether what the snag waits for has come.
func (r *Relay) Caught() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snag != nil && r.snag.Word == ""
}

// Release lets everything pass again, what was held first.
func (r *Relay) Release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.snag != nil {
		close(r.snag.held)
		r.snag = nil
	}
}

// Cut closes all connections.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.Close()
	}
}

func (r *Relay) keep(c net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[c] = true
}

func (r *Relay) accept() {
	for {
		client, err := r.listen.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", r.target)
		if err != nil {
			client.Close()
			continue
		}
		r.keep(client)
		r.keep(server)
		p := &pipe{relay: r, client: client, server: server, snagged: make(chan *Snag, 1)}
		r.ends.Go(p.up)
		r.ends.Go(p.down)
	}
}

// pipe is one connection.
type pipe struct {
	relay          *Relay
	client, server net.Conn
	snagged        chan *Snag // what stops the way down
}

func (p *pipe) close() {
	p.client.Close()
	p.server.Close()
	p.relay.mu.Lock()
	defer p.relay.mu.Unlock()
	delete(p.relay.conns, p.client)
	delete(p.relay.conns, p.server)
}

// up passes what the client sends.
func (p *pipe) up() {
	defer p.close()
	b := make([]byte, 1<<20)
	for {
		n, err := p.client.Read(b)
		if err != nil {
			return
		}
		s := p.relay.caught(b[:n])
		if s != nil && s.First != nil {
			s.First()
		}
		if s == nil {
			_, err = p.server.Write(b[:n])
		} else {
			err = p.snag(s, b[:n])
		}
		if err != nil {
			return
		}
	}
}

// caught is the snag that bytes run into; each catches once.
func (r *Relay) caught(b []byte) *Snag {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.snag == nil || r.snag.Word == "" || !bytes.Contains(b, []byte(r.snag.Word)) {
		return nil
	}
	s := *r.snag
	r.snag.Word = ""
	return &s
}

func (p *pipe) snag(s *Snag, b []byte) error {
	if s.Sent < 0 || s.Sent >= len(b) {
		p.snagged <- s
		_, err := p.server.Write(b)
		return err
	}
	if _, err := p.server.Write(b[:s.Sent]); err != nil {
		return err
	}
	if err := s.stop(); err != nil {
		return err
	}
	_, err := p.server.Write(b[s.Sent:])
	return err
}

// stop is where the last byte has passed: an error where the connection is to be cut.
func (s *Snag) stop() error {
	if s.Then != nil {
		s.Then()
	}
	close(s.hit)
	if s.Cut {
		return errors.New("cut")
	}
	<-s.held
	return nil
}

// down passes what the server sends.
func (p *pipe) down() {
	defer p.close()
	b := make([]byte, 1<<20)
	for {
		n, err := p.server.Read(b)
		if err != nil {
			return
		}
		rest := b[:n]
		select {
		case s := <-p.snagged:
			rest, err = p.held(s, rest)
		default:
		}
		if err == nil {
			_, err = p.client.Write(rest)
		}
		if err != nil {
			return
		}
	}
}

// held passes what a snag lets through, waits, and returns what is left.
func (p *pipe) held(s *Snag, b []byte) ([]byte, error) {
	for passed := 0; s.Answered >= 0; {
		n := min(len(b), s.Answered-passed)
		if _, err := p.client.Write(b[:n]); err != nil {
			return nil, err
		}
		passed += n
		if b = b[n:]; passed == s.Answered {
			return b, s.stop()
		}
		more := make([]byte, 1<<16)
		n, err := p.server.Read(more)
		if err != nil {
			return nil, err
		}
		b = append(b, more[:n]...)
	}
	return b, nil
}
