package dhcp6

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Of RFC 4861 sections 4.1 and 6.3.7. The checksum is the kernel's to set (RFC 3542 section 3.1).
const (
	routerSolicitation = 133
	neighborHops       = 255
)

// routers are all routers on a link.
var routers = [16]byte{0: 0xff, 1: 0x02, 15: 0x02}

// SolicitRouters asks the routers on a link to advertise what they have, which else may come minutes later. The
// kernel takes the answers as any other.
func SolicitRouters(name string, index int, inside func(func() error) error) error {
	err := inside(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
		if err != nil {
			return err
		}
		return errors.Join(solicit(fd, name, index), unix.Close(fd))
	})
	if err != nil {
		return fmt.Errorf("ask routers on %s: %w", name, err)
	}
	return nil
}

func solicit(fd int, name string, index int) error {
	var none unix.ICMPv6Filter // all are refused: nothing is received
	for i := range none.Data {
		none.Data[i] = ^uint32(0)
	}
	err := errors.Join(
		unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, 1, &none), // ICMPV6_FILTER
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, neighborHops),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index),
		unix.BindToDevice(fd, name),
	)
	if err != nil {
		return err
	}
	message := []byte{routerSolicitation, 0, 0, 0, 0, 0, 0, 0}
	return unix.Sendto(fd, message, 0, &unix.SockaddrInet6{Addr: routers, ZoneId: uint32(index)})
}
