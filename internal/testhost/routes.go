package testhost

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// routesPerDatagram requests go to the kernel in one system call.
const routesPerDatagram = 500

// FillRoutes makes n IPv4 host routes from 16.0.0.0 upwards, by a gateway on an interface of the kind
// bridge that it makes for them ("fill"). A million take about ten seconds.
func (ns *NetNS) FillRoutes(n int) {
	ns.t.Helper()
	ns.IP("link add fill type bridge", "link set fill up", "addr add 10.255.255.1/24 dev fill")
	index := ns.ifindex("fill")
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{NetNS: ns.FD()})
	if err != nil {
		ns.t.Fatalf("fill routes: %v", err)
	}
	defer conn.Close()
	for first := 0; first < n; first += routesPerDatagram {
		if err := addRoutes(conn, index, first, min(routesPerDatagram, n-first)); err != nil {
			ns.t.Fatalf("fill routes: %v", err)
		}
	}
}

func (ns *NetNS) ifindex(name string) uint32 {
	ns.t.Helper()
	var index int
	out := ns.Run("ip", "-o", "link", "show", name)
	if _, err := fmt.Sscanf(out, "%d:", &index); err != nil {
		ns.t.Fatalf("index of %s: %v", name, err)
	}
	return uint32(index)
}

// addRoutes sends n requests and waits for the last one's acknowledgement; a refusal of another comes
// before it.
func addRoutes(conn *netlink.Conn, index uint32, first, n int) error {
	messages := make([]netlink.Message, n)
	for i := range messages {
		messages[i] = routeMessage(index, uint32(16<<24+first+i))
	}
	messages[n-1].Header.Flags |= netlink.Acknowledge
	if _, err := conn.SendMessages(messages); err != nil {
		return err
	}
	_, err := conn.Receive()
	return err
}

func routeMessage(index, destination uint32) netlink.Message {
	data := []byte{unix.AF_INET, 32, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_UNIVERSE, unix.RTN_UNICAST, 0, 0, 0, 0}
	attr := func(typ uint16, value []byte) {
		data = binary.NativeEndian.AppendUint16(data, 8)
		data = binary.NativeEndian.AppendUint16(data, typ)
		data = append(data, value...)
	}
	attr(unix.RTA_DST, binary.BigEndian.AppendUint32(nil, destination))
	attr(unix.RTA_GATEWAY, []byte{10, 255, 255, 2})
	attr(unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, index))
	return netlink.Message{
		Header: netlink.Header{Type: unix.RTM_NEWROUTE, Flags: netlink.Request | netlink.Create | netlink.Excl},
		Data:   data,
	}
}
