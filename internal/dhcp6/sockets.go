package dhcp6

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// The ports of RFC 8415 section 7.2.
const (
	clientPort = 546
	serverPort = 547
)

// servers are all servers and relays on a link (RFC 8415 section 7.1).
var servers = netip.MustParseAddr("ff02::1:2").As16()

// socket is what a client sends and receives by.
type socket struct {
	file  *os.File
	index int // of the interface
}

// openSocket opens the client's port on one interface.
func openSocket(name string, index int, inside func(func() error) error) (s *socket, err error) {
	err = inside(func() error {
		s, err = udpSocket(name, index)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open port %d on %s: %w", clientPort, name, err)
	}
	return s, nil
}

func udpSocket(name string, index int) (*socket, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0),
		unix.BindToDevice(fd, name),
	)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet6{Port: clientPort})
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &socket{os.NewFile(uintptr(fd), "udp"), index}, nil
}

func (s *socket) close() error { return s.file.Close() }

// send sends a message to all servers. What does not fit the interface's queue is lost, as on the wire: it is
// sent again in its time.
func (s *socket) send(b []byte) error {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return err
	}
	to := &unix.SockaddrInet6{Port: serverPort, ZoneId: uint32(s.index), Addr: servers}
	controlErr := raw.Control(func(fd uintptr) { err = unix.Sendto(int(fd), b, 0, to) })
	return errors.Join(controlErr, err)
}

// maxMessage is the size of the largest datagram.
const maxMessage = 65535

// receive hands over the answers that come in until the socket is closed, fails, or nobody takes them any more.
func (s *socket) receive(take func(*Answer) bool) {
	raw, err := s.file.SyscallConn()
	if err != nil {
		return
	}
	b := make([]byte, maxMessage)
	for {
		var n int
		var from unix.Sockaddr
		readErr := raw.Read(func(fd uintptr) bool {
			n, from, err = unix.Recvfrom(int(fd), b, 0)
			return err != unix.EAGAIN
		})
		if readErr != nil {
			return
		}
		if err == unix.ENETDOWN || err == unix.EINTR { // the interface is down: it may come again
			continue
		}
		if err != nil {
			return
		}
		server, ok := from.(*unix.SockaddrInet6)
		if !ok {
			continue
		}
		a, err := ParseAnswer(b[:n], netip.AddrFrom16(server.Addr))
		if err == nil && !take(a) {
			return
		}
	}
}
