package unixsock

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Claim is a name that a process holds in a network namespace, as long as it lives and does not close it.
type Claim struct{ listener *net.UnixListener }

// NewClaim takes a name in the network namespace of the calling thread: an abstract socket (unix(7)), of which there is
// one of a name in each, and which goes with its process. Where another daemon of root or of this process's own user
// holds it the error is an *InUseError. Anybody may take any such name: where it is somebody else who has done so the error
// matches ErrUntrustedPeer, and tells nothing about another daemon.
func NewClaim(name string) (*Claim, error) {
	address := &net.UnixAddr{Name: "@" + name, Net: "unix"}
	for attempt := 0; ; attempt++ {
		listener, err := net.ListenUnix("unix", address)
		if err == nil {
			c := &Claim{listener}
			go c.answer()
			return c, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("claim %s: %w", name, err)
		}
		// A holder that has bound and does not listen yet is given a moment; so is the name of one that has just ended.
		if err = holderOf(address); attempt == 10 || !errors.Is(err, unix.ECONNREFUSED) {
			if errors.Is(err, unix.ECONNREFUSED) {
				err = fmt.Errorf("%w: it does not answer", ErrUntrustedPeer)
			}
			return nil, fmt.Errorf("claim %s: %w", name, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// holderOf is an *InUseError that names who holds an address, or says why that is not known.
func holderOf(address *net.UnixAddr) error {
	conn, err := net.DialUnix("unix", nil, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	peer, err := PeerOf(conn)
	if err == nil {
		err = checkServer(peer, uint32(os.Geteuid()), nil)
	}
	if err != nil {
		return err
	}
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", peer.PID)) // gone, or hidden from us: unknown
	return &InUseError{PID: peer.PID, Comm: strings.TrimSpace(string(comm))}
}

// answer lets go of those who ask who holds the name: the kernel has told them.
func (c *Claim) answer() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		conn.Close()
	}
}

// Close lets another process have the name.
func (c *Claim) Close() error { return c.listener.Close() }
