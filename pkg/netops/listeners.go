package netops

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/sockdiag"
	"github.com/geomind/my_os_server/pkg/netops/internal/owntable"
)

// listener is a socket of the node that takes what comes for a port.
type listener struct {
	address netip.Addr
	port    int
	only6   bool // an unspecified address of IPv6 takes nothing of IPv4
}

// States of a socket in /proc/net (net/tcp_states.h).
const (
	socketListens = "0A"
	socketUnbound = "07" // of UDP: bound, and connected to nobody
)

// listeners are those of a protocol, on ports from first to last.
func (n *Net) listeners(ctx context.Context, protocol string, first, last int, yield func(listener) bool) error {
	err := n.diagnosed(ctx, owntable.ProtocolNumber(protocol), first, last, yield)
	if !errors.Is(err, sockdiag.ErrUnsupported) {
		return err
	}
	return n.listedListeners(protocol, func(l listener) bool { return l.port < first || l.port > last || yield(l) })
}

// diagnosed asks the kernel for them. For one port it looks at that alone.
func (n *Net) diagnosed(ctx context.Context, protocol uint8, first, last int, yield func(listener) bool) error {
	conn, err := n.diagnosis.Get()
	if err != nil {
		return err
	}
	defer n.diagnosis.Put(conn)
	port := uint16(0)
	if first == last {
		port = uint16(first)
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		for s, err := range conn.Listening(ctx, family, protocol, port) {
			if errors.Is(err, sockdiag.ErrInterrupted) {
				break // what is opened just now could as well be opened afterwards
			}
			if err != nil {
				return err
			}
			l := listener{s.Local.Addr().Unmap(), int(s.Local.Port()), s.V6Only}
			if l.port >= first && l.port <= last && !yield(l) {
				return nil
			}
		}
	}
	return nil
}

// listedListeners reads them, of all ports, where the kernel cannot be asked. It lists the listening sockets of TCP
// before all others.
func (n *Net) listedListeners(protocol string, yield func(listener) bool) error {
	for _, file := range []string{protocol, protocol + "6"} {
		err := n.inside(func() error {
			f, err := os.Open(filepath.Join("/", n.options.Root, "proc/thread-self/net", file))
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			defer f.Close()
			return readListeners(f, protocol == "tcp", yield)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// readListeners reads /proc/net/tcp and its kind (proc_net_tcp(5)): after a line with the names, one line a
// socket:
//
//	0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 …
//
// with the address in words of the host's order, the port, the same of the other end, and the state.
func readListeners(r io.Reader, sorted bool, yield func(listener) bool) error {
	lines := bufio.NewScanner(r)
	lines.Scan() // names
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 {
			continue
		}
		if fields[3] != socketListens && fields[3] != socketUnbound {
			if sorted {
				return nil
			}
			continue
		}
		if l, ok := parseListener(fields[1]); ok && !yield(l) {
			return nil
		}
	}
	return lines.Err()
}

func parseListener(text string) (l listener, ok bool) {
	address, port, found := strings.Cut(text, ":")
	number, err := strconv.ParseUint(port, 16, 16)
	words, hexErr := hex.DecodeString(address)
	if !found || err != nil || hexErr != nil || len(words) != 4 && len(words) != 16 {
		return l, false
	}
	for i := 0; i < len(words); i += 4 {
		binary.NativeEndian.PutUint32(words[i:], binary.BigEndian.Uint32(words[i:]))
	}
	a, _ := netip.AddrFromSlice(words)
	return listener{address: a.Unmap(), port: int(number)}, true
}

// takes tells whether the listener would get what a forward is for.
func (l listener) takes(d *dnatSpec, f *owntable.Facts) bool {
	if l.port < d.Port || l.port > d.last() || l.address.IsLoopback() {
		return false
	}
	if l.address.IsUnspecified() { // of IPv6 it takes IPv4 too, unless told otherwise
		return l.address.Is6() && !l.only6 || l.address.Is4() == d.ToAddress.Is4()
	}
	switch {
	case l.address.Is4() != d.ToAddress.Is4():
		return false
	case d.Destination.IsValid():
		return l.address == d.Destination
	case d.Interface != "":
		return f.Addresses[l.address] == d.Interface
	}
	return true
}
