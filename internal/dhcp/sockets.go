package dhcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"unsafe"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// sockets are what a client sends and receives by: a packet socket, since it has no address at first, and a
// UDP socket that sends to one server by the host's routes. Nothing is ever received from the latter: it keeps
// the port, so that the kernel does not refuse answers for want of a listener.
type sockets struct {
	device device
	packet *os.File
	udp    *os.File
	arp    *os.File // open while an address is probed for
}

// device is the interface that sockets are for.
type device struct {
	name   string
	index  int
	inside func(func() error) error // runs in the interface's network namespace
}

func openSockets(d device) (*sockets, error) {
	s := &sockets{device: d}
	err := d.inside(func() (err error) {
		if s.packet, err = packetSocket(d.index, unix.ETH_P_IP, toClient); err != nil {
			return fmt.Errorf("open packet socket on %s: %w", d.name, err)
		}
		if s.udp, err = udpSocket(d.name); err != nil {
			return fmt.Errorf("open port %d on %s: %w", clientPort, d.name, err)
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *sockets) close() error {
	var errs []error
	for _, f := range []*os.File{s.packet, s.udp, s.arp} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// Classic BPF (linux/filter.h), over a packet that begins with its network header.
var (
	// toClient takes UDP to port 68 that is whole.
	toClient = []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: protocolUDP, Jf: 6},
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 6},
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: 0x3fff, Jt: 4},
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 2},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: clientPort, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: maxPacket},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	nothing = []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
)

const maxPacket = 65535

func filter(fd int, program []unix.SockFilter) error {
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// packetSocket receives what comes in on an interface with an Ethernet protocol and passes the program. It
// hears nothing before it is bound.
func packetSocket(index int, protocol uint16, program []unix.SockFilter) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if program != nil {
		err = filter(fd, program)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(protocol), Ifindex: index})
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "packet"), nil
}

func udpSocket(device string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		filter(fd, nothing),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.BindToDevice(fd, device),
	)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: clientPort})
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "udp"), nil
}

func networkOrder(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// control runs f with the descriptor of a file that nobody closes meanwhile.
func control(file *os.File, f func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	if controlErr := raw.Control(func(fd uintptr) { err = f(int(fd)) }); controlErr != nil {
		return controlErr
	}
	return err
}

// send sends a message. What does not fit the interface's queue is lost, as on the wire: it is sent again in
// its time.
func (s *sockets) send(a Send) error {
	data := a.Message.ToBytes()
	if a.To.IsValid() {
		return s.unicast(a.From, a.To, data)
	}
	to := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return s.broadcast(unix.ETH_P_IP, datagram(a.From, to, data))
}

func (s *sockets) broadcast(protocol uint16, b []byte) error {
	to := &unix.SockaddrLinklayer{Protocol: networkOrder(protocol), Ifindex: s.device.index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	return control(s.packet, func(fd int) error { return unix.Sendto(fd, b, 0, to) })
}

// unicast sends from an address that the interface has.
func (s *sockets) unicast(from, to netip.Addr, data []byte) error {
	info := unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: int32(s.device.index), Spec_dst: from.As4()})
	return control(s.udp, func(fd int) error {
		return unix.Sendmsg(fd, data, info, &unix.SockaddrInet4{Port: serverPort, Addr: to.As4()}, 0)
	})
}

// sendARP sends a request about an address: from nobody to probe, from the address itself to announce it.
func (s *sockets) sendARP(a ARP) error { return s.broadcast(unix.ETH_P_ARP, appendARP(nil, a)) }

// listenARP starts to hear ARP messages.
func (s *sockets) listenARP(take func(ARP) bool) error {
	if s.arp != nil {
		return nil
	}
	err := s.device.inside(func() (err error) {
		s.arp, err = packetSocket(s.device.index, unix.ETH_P_ARP, nil)
		return err
	})
	if err != nil {
		return fmt.Errorf("open ARP socket on %s: %w", s.device.name, err)
	}
	go receive(s.arp, func(b []byte, _ bool) bool {
		a, err := parseARP(b)
		return err != nil || take(a)
	})
	return nil
}

// ignoreARP ends what listenARP began.
func (s *sockets) ignoreARP() {
	if s.arp != nil {
		_ = s.arp.Close()
		s.arp = nil
	}
}

// messages receives DHCP messages until the socket is closed, or nobody takes them any more.
func (s *sockets) messages(take func(*dhcpv4.DHCPv4) bool) {
	receive(s.packet, func(b []byte, checksummed bool) bool {
		data, err := payload(b, checksummed)
		if err != nil {
			return true
		}
		d, err := dhcpv4.FromBytes(data)
		return err != nil || take(d)
	})
}

// receive reads packets that others sent until the socket fails, as when it is closed or the interface goes, or
// f has enough.
func receive(file *os.File, f func(b []byte, checksummed bool) bool) {
	raw, err := file.SyscallConn()
	if err != nil {
		return
	}
	buf, oob := make([]byte, maxPacket), make([]byte, 128)
	for {
		var n, oobn int
		var from unix.Sockaddr
		readErr := raw.Read(func(fd uintptr) bool {
			n, oobn, _, from, err = unix.Recvmsg(int(fd), buf, oob, 0)
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
		if link, ok := from.(*unix.SockaddrLinklayer); ok && link.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if !f(buf[:n], checksummed(oob[:oobn])) {
			return
		}
	}
}

// checksummed tells whether the kernel says that a packet has its checksums (TP_STATUS_CSUMNOTREADY of struct
// tpacket_auxdata).
func checksummed(oob []byte) bool {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return true
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= int(unsafe.Sizeof(uint32(0))) {
			return binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_CSUMNOTREADY == 0
		}
	}
	return true
}
