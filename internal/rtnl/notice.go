package rtnl

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Notice is something that the kernel tells of IPv6 once and does not keep: that another host has an address
// that an interface was to have, or what a router advertised of names (RFC 8106).
type Notice struct {
	Index     int          // of the interface
	Duplicate netip.Addr   // that another host has; else not valid
	Router    netip.Addr   // that advertised the rest; may be not valid
	Lifetime  uint32       // seconds for which that holds; 0: no longer, Forever
	Servers   []netip.Addr // name servers (RDNSS)
	Search    []string     // domains to search (DNSSL), as they came
}

// WatchNotices calls tell with each notice, on a goroutine of its own, until ctx ends. The events of the listener
// say that notices were lost, or that a router has said something new of how addresses are to be had
// ([Link.Managed], [Link.OtherConfig]). netns is the descriptor of the network namespace, 0 for the calling
// thread's.
func WatchNotices(ctx context.Context, netns int, tell func(Notice)) (*Listener, error) {
	var address Address
	groups := []uint32{unix.RTNLGRP_ND_USEROPT, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_IFINFO}
	return nlsock.Listen(ctx, unix.NETLINK_ROUTE, netns, groups, func(m nlsock.Message) bool {
		switch m.Type {
		case unix.RTM_NEWNDUSEROPT:
			_ = decodeUserOptions(m.Data, tell) // what is malformed is as if it had not come
		case unix.RTM_NEWADDR, unix.RTM_DELADDR: // one that was to last for a while alone is gone at once
			if err := address.decode(m.Data); err == nil && address.Family == unix.AF_INET6 && address.Flags&unix.IFA_F_DADFAILED != 0 {
				tell(Notice{Index: address.Index, Duplicate: address.Local})
			}
		case unix.RTM_NEWLINK:
			return true
		}
		return false
	})
}

// The message of RTM_NEWNDUSEROPT (linux/rtnetlink.h): struct nduseroptmsg (family u8, pad u8, opts_len u16,
// ifindex s32, icmp_type u8, icmp_code u8, pad u16, pad u32), opts_len bytes of options of Neighbor Discovery,
// and attributes.
const (
	userOptionHeader  = 16
	userOptionAddress = 1 // NDUSEROPT_SRCADDR
)

// Options of Neighbor Discovery (RFC 8106 section 5): type u8, length u8 in units of 8 bytes, reserved u16,
// lifetime u32, and addresses or names.
const (
	optionRDNSS  = 25
	optionDNSSL  = 31
	optionUnit   = 8
	optionHeader = 8
)

// decodeUserOptions tells what a router advertised of names.
func decodeUserOptions(b []byte, tell func(Notice)) error {
	if len(b) < userOptionHeader || b[0] != unix.AF_INET6 {
		return ErrMalformed
	}
	size := int(native.Uint16(b[2:]))
	if size > len(b)-userOptionHeader {
		return ErrMalformed
	}
	n := Notice{Index: int(int32(native.Uint32(b[4:])))}
	options := b[userOptionHeader:][:size]
	attrs := nlsock.Attributes(b[min(userOptionHeader+(size+3)&^3, len(b)):])
	for attrs.Next() {
		if attrs.Type() == userOptionAddress {
			n.Router, _ = netip.AddrFromSlice(attrs.Bytes())
		}
	}
	if err := attrs.Err(); err != nil {
		return err
	}
	for len(options) > 0 {
		if len(options) < optionUnit || options[1] == 0 || int(options[1])*optionUnit > len(options) {
			return ErrMalformed
		}
		option := options[:int(options[1])*optionUnit]
		options = options[len(option):]
		of := n
		of.Lifetime = binary.BigEndian.Uint32(option[4:])
		switch option[0] {
		case optionRDNSS:
			of.Servers = advertisedServers(option[optionHeader:])
		case optionDNSSL:
			of.Search = advertisedNames(option[optionHeader:])
		}
		if len(of.Servers)+len(of.Search) > 0 {
			tell(of)
		}
	}
	return nil
}

func advertisedServers(b []byte) (list []netip.Addr) {
	for ; len(b) >= 16; b = b[16:] {
		list = append(list, netip.AddrFrom16([16]byte(b)))
	}
	return list
}

// advertisedNames reads names in the form of RFC 1035 section 3.1, never compressed, each ended by an empty
// label; empty ones fill the option up. Nothing is read past what is malformed.
func advertisedNames(b []byte) (list []string) {
	var name []byte
	for len(b) > 0 {
		size := int(b[0])
		if size >= len(b) || size > 63 {
			return list
		}
		label := b[1 : 1+size]
		b = b[1+size:]
		switch {
		case size > 0 && bytes.IndexByte(label, '.') >= 0:
			return list
		case size > 0:
			name = append(append(name, label...), '.')
		case len(name) > 0:
			list, name = append(list, string(name[:len(name)-1])), nil
		}
	}
	return list
}
