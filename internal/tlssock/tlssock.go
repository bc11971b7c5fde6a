// Package tlssock is the door for callers from elsewhere: TCP listeners that speak TLS 1.3 and nothing else,
// and the certificate that a server shows there.
//
// A [Listener] hands out connections whose handshake has succeeded. Handshakes run side by side, each within a
// deadline and only so many at a time, of one address and in all, so that strangers who open connections
// and say nothing cost a descriptor for a few seconds and no more. Sessions are not resumed: a client
// proves its key anew on every connection, and nobody can say for it that it once did.
//
// A [Keeper] holds the server's certificate: one that the operator gave, or one of its own making, and takes a
// new one up without a restart. Who the client is, the package leaves to its user.
package tlssock

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Options are what a Listener is made of.
type Options struct {
	// Certificate shows the server's certificate; [Keeper.Get].
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Verify judges a client whose handshake is otherwise done, with a certificate or without; nil judges
	// none. An error ends the connection with an alert.
	Verify func(tls.ConnectionState) error
	// Handshake is how long one may take: 5 s where it is 0.
	Handshake time.Duration
	// Handshakes bounds those under way: 512 where it is 0; PerAddress those of one address, 64 where it is 0.
	Handshakes, PerAddress int
	// Failed is told of connections that came to nothing; nil: nobody is.
	Failed func(from netip.Addr, err error)
}

// What keeps a connection from coming about, besides the errors of crypto/tls.
var (
	ErrTooMany = errors.New("too many handshakes under way")
	ErrTimeout = errors.New("handshake took too long")
)

// Listener accepts TLS connections. Each that Accept returns is a *tls.Conn whose handshake is done.
type Listener struct {
	tcp    net.Listener
	config *tls.Config
	o      Options

	ready chan net.Conn
	fails chan error // takes why accepting has ended
	done  context.Context
	close context.CancelFunc
	wg    sync.WaitGroup

	mu    sync.Mutex
	total int
	of    map[netip.Addr]int
}

// Listen listens on a TCP address: host:port, where an empty host is every address of the node.
func Listen(address string, o Options) (*Listener, error) {
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return Over(tcp, o), nil
}

// Over speaks TLS on the connections of another listener, which it owns from now on.
func Over(tcp net.Listener, o Options) *Listener {
	if o.Handshake == 0 {
		o.Handshake = 5 * time.Second
	}
	if o.Handshakes == 0 {
		o.Handshakes = 512
	}
	if o.PerAddress == 0 {
		o.PerAddress = 64
	}
	if o.Failed == nil {
		o.Failed = func(netip.Addr, error) {}
	}
	l := &Listener{tcp: tcp, config: config(o), o: o, ready: make(chan net.Conn), fails: make(chan error, 1), of: map[netip.Addr]int{}}
	l.done, l.close = context.WithCancel(context.Background())
	l.wg.Go(l.accept)
	return l
}

// config asks every client for a certificate and demands none: who has other credentials needs none.
func config(o Options) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		GetCertificate:         o.Certificate,
		ClientAuth:             tls.RequestClientCert,
		VerifyConnection:       o.Verify,
		NextProtos:             []string{"http/1.1"},
		SessionTicketsDisabled: true,
	}
}

// Addr is the address that the listener has.
func (l *Listener) Addr() net.Addr { return l.tcp.Addr() }

// Accept returns the next connection whose handshake has succeeded.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.fails:
		l.fails <- err // for the next one who asks
		return nil, err
	}
}

// Close ends the listener and the handshakes under way. Connections that were accepted go on.
func (l *Listener) Close() error {
	l.close()
	err := l.tcp.Close()
	l.wg.Wait()
	return err
}

// accept takes connections until the listener is closed. Where the process has no descriptor left it waits,
// as net/http does, for one to become free.
func (l *Listener) accept() {
	const shortest, longest = 5 * time.Millisecond, time.Second
	pause := shortest
	for {
		c, err := l.tcp.Accept()
		var temporary interface{ Temporary() bool }
		switch {
		case err == nil:
			pause = shortest
			l.begin(c)
		case l.done.Err() == nil && errors.As(err, &temporary) && temporary.Temporary():
			l.o.Failed(netip.Addr{}, err)
			select {
			case <-l.done.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, longest)
		default:
			l.fails <- err
			return
		}
	}
}

// begin has a handshake made, unless too many are under way.
func (l *Listener) begin(c net.Conn) {
	from := AddrOf(c)
	if !l.enter(from) {
		l.o.Failed(from, ErrTooMany)
		c.Close()
		return
	}
	l.wg.Go(func() {
		t, err := l.handshake(c)
		l.leave(from)
		if err != nil {
			l.o.Failed(from, err)
			c.Close()
			return
		}
		select {
		case l.ready <- t:
		case <-l.done.Done():
			c.Close()
		}
	})
}

func (l *Listener) handshake(c net.Conn) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(l.done, l.o.Handshake)
	defer cancel()
	t := tls.Server(c, l.config)
	if err := t.HandshakeContext(ctx); err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("%w: %v", ErrTimeout, l.o.Handshake)
		}
		return nil, err
	}
	return t, nil
}

func (l *Listener) enter(from netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= l.o.Handshakes || l.of[from] >= l.o.PerAddress {
		return false
	}
	l.total++
	l.of[from]++
	return true
}

func (l *Listener) leave(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.of[from]--; l.of[from] == 0 {
		delete(l.of, from)
	}
}

// AddrOf is what tells one remote caller from another: the IPv4 address, or the /64 of an IPv6 address,
// which a single host can have all of. It is the zero Addr of what is not TCP.
func AddrOf(c net.Conn) netip.Addr {
	a, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	addr := a.AddrPort().Addr().Unmap()
	if addr.Is4() {
		return addr
	}
	return netip.PrefixFrom(addr.WithZone(""), 64).Masked().Addr()
}
