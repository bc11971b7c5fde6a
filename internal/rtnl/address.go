package rtnl

import (
	"context"
	"encoding/binary"
	"iter"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// ifaProto is IFA_PROTO (Linux 5.18), which x/sys/unix does not have.
const ifaProto = 11

// Address is one address of an interface (RTM_NEWADDR).
type Address struct {
	Family    uint8 // AF_INET or AF_INET6
	Scope     uint8 // unix.RT_SCOPE_*
	Protocol  uint8 // IFA_PROTO: 1 kernel_lo, 2 kernel_ra, 3 kernel_ll; 0: not said
	Index     int   // of the interface
	PrefixLen int   // of Peer where that is valid, of Local otherwise
	Flags     uint32
	Local     netip.Addr // the address itself
	Peer      netip.Addr // the other end, valid only where it differs from Local
	Broadcast netip.Addr
	Anycast   netip.Addr
	Label     string // IPv4
	Priority  uint32 // of the prefix route, where Has(unix.IFA_RT_PRIORITY)
	Preferred uint32 // seconds; Forever
	Valid     uint32 // seconds; Forever

	attrs     attrSet
	lastLabel string // likely to come again
}

// Forever is a lifetime without an end (INFINITY_LIFE_TIME).
const Forever = 0xffffffff

// Has tells whether the message had an attribute, one of unix.IFA_*.
func (a *Address) Has(attr uint16) bool { return a.attrs.has(attr) }

// AddressFilter says which addresses a dump yields.
type AddressFilter struct {
	Family uint8 // AF_INET or AF_INET6; 0: both
	Index  int   // of the interface; 0: every interface
}

// Addresses yields addresses, IPv4 before IPv6. An interface that is not there is ENODEV.
func (c *Conn) Addresses(ctx context.Context, f AddressFilter) iter.Seq2[*Address, error] {
	req := c.sock.Request("dump addresses", unix.RTM_GETADDR)
	var header [unix.SizeofIfAddrmsg]byte // family, prefixlen, flags, scope: a byte each; index u32
	header[0] = f.Family
	native.PutUint32(header[4:], uint32(f.Index))
	req.Raw(header[:])
	return dump(ctx, c, req, unix.RTM_NEWADDR, &c.address, func(b []byte) (bool, error) {
		if len(b) >= 1 && !f.wantsFamily(b[0]) {
			return false, nil
		}
		if err := c.address.decode(b); err != nil {
			return false, err
		}
		return f.Index == 0 || c.address.Index == f.Index, nil
	})
}

// wantsFamily is asked because a dump of every family brings what else the kernel speaks, and one of a
// family that it does not speak every other.
func (f *AddressFilter) wantsFamily(family uint8) bool {
	if f.Family != 0 {
		return family == f.Family
	}
	return family == unix.AF_INET || family == unix.AF_INET6
}

func (a *Address) decode(b []byte) error {
	if len(b) < unix.SizeofIfAddrmsg {
		return ErrMalformed
	}
	*a = Address{
		Family:    b[0],
		PrefixLen: int(b[1]),
		Flags:     uint32(b[2]),
		Scope:     b[3],
		Index:     int(int32(native.Uint32(b[4:]))),
		Preferred: Forever,
		Valid:     Forever,
		lastLabel: a.lastLabel,
	}
	if _, ok := unspecified(a.Family); !ok {
		return ErrMalformed
	}
	attrs := nlsock.Attributes(b[unix.SizeofIfAddrmsg:])
	for attrs.Next() {
		a.attrs.add(attrs.Type())
		a.attribute(&attrs)
	}
	if err := attrs.Err(); err != nil {
		return err
	}
	return a.settle()
}

func (a *Address) attribute(attr *nlsock.Attrs) {
	switch attr.Type() {
	case unix.IFA_ADDRESS:
		a.Peer = AddrOf(attr.Bytes())
	case unix.IFA_LOCAL:
		a.Local = AddrOf(attr.Bytes())
	case unix.IFA_BROADCAST:
		a.Broadcast = AddrOf(attr.Bytes())
	case unix.IFA_ANYCAST:
		a.Anycast = AddrOf(attr.Bytes())
	case unix.IFA_LABEL:
		a.Label = nlsock.Reuse(&a.lastLabel, attr.Bytes())
	case unix.IFA_FLAGS:
		a.Flags = attr.Uint32()
	case unix.IFA_RT_PRIORITY:
		a.Priority = attr.Uint32()
	case unix.IFA_CACHEINFO: // struct ifa_cacheinfo: preferred, valid, then two time stamps
		a.Preferred = attr.Uint32()
		if b := attr.Bytes(); len(b) >= 8 {
			a.Valid = native.Uint32(b[4:])
		}
	case ifaProto:
		a.Protocol = attr.Uint8()
	}
}

// settle sorts out which address is whose: without IFA_LOCAL (IPv6 but for point-to-point addresses)
// IFA_ADDRESS is the address itself, with it the other end's, or the same once more.
func (a *Address) settle() error {
	if !a.Local.IsValid() {
		a.Local = a.Peer
	}
	if a.Peer == a.Local {
		a.Peer = netip.Addr{}
	}
	if !a.Local.IsValid() || a.PrefixLen > a.Local.BitLen() {
		return ErrMalformed
	}
	return nil
}

// native is the byte order of rtnetlink's integers.
var native = binary.NativeEndian

// AddrOf is the IPv4 or IPv6 address that b holds in network order; none where it has another length.
func AddrOf(b []byte) netip.Addr {
	addr, _ := netip.AddrFromSlice(b)
	return addr
}

// via reads struct rtvia: family u16, then the address.
func via(b []byte) netip.Addr {
	if len(b) < 2 {
		return netip.Addr{}
	}
	return AddrOf(b[2:])
}

func unspecified(family uint8) (netip.Addr, bool) {
	switch family {
	case unix.AF_INET:
		return netip.IPv4Unspecified(), true
	case unix.AF_INET6:
		return netip.IPv6Unspecified(), true
	}
	return netip.Addr{}, false
}
