package netops

import (
	"encoding/hex"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/registry"
)

// maxInteger is the largest integer of the table, 2^53-1.
const maxInteger = 1<<53 - 1

type integer interface {
	~int | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32
}

// when is v where known, else absent.
func when[T any](known bool, v T) registry.Opt[T] {
	if !known {
		return registry.Opt[T]{}
	}
	return registry.Some(v)
}

// number is v where known, else absent.
func number[N integer](known bool, v N) registry.Opt[int64] { return when(known, int64(v)) }

// nonZero is v, or absent where that is zero.
func nonZero[N integer](v N) registry.Opt[int64] { return number(v != 0, v) }

// counter is a counter that the kernel keeps in 64 bits.
func counter(v uint64) int64 { return int64(min(v, maxInteger)) }

// isTrue is true, or absent.
func isTrue(v bool) registry.Opt[bool] { return when(v, v) }

// validAddr is a, or absent where there is none.
func validAddr(a netip.Addr) registry.Opt[netip.Addr] { return when(a.IsValid(), a) }

// validPrefix is p, or absent where there is none.
func validPrefix(p netip.Prefix) registry.Opt[netip.Prefix] { return when(p.IsValid(), p.Masked()) }

// milliseconds is a number of seconds.
func milliseconds[N integer](known bool, v N) registry.Opt[float64] {
	return when(known, float64(v)/1000)
}

// macSize is the length of a link-layer address that has the text form of a MAC address.
const macSize = 6

// macText is six bytes as lower-case hexadecimal pairs with colons; absent for another length.
func macText(b []byte) registry.Opt[string] {
	if len(b) != macSize {
		return registry.Opt[string]{}
	}
	const digits = "0123456789abcdef"
	var text [3*macSize - 1]byte
	for i, c := range b {
		if i > 0 {
			text[3*i-1] = ':'
		}
		text[3*i], text[3*i+1] = digits[c>>4], digits[c&15]
	}
	return registry.Some(string(text[:]))
}

// hexText is bytes as hexadecimal digits; absent for none.
func hexText(b []byte) registry.Opt[string] { return registry.NonZero(hex.EncodeToString(b)) }

// familyName is the address family in the table's words.
func familyName(family uint8) registry.AddressFamily {
	if family == unix.AF_INET6 {
		return registry.AddressFamilyIpv6
	}
	return registry.AddressFamilyIpv4
}

// familyNumber is the inverse of familyName.
func familyNumber(family registry.AddressFamily) uint8 {
	if family == registry.AddressFamilyIpv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// seconds is a duration in whole seconds.
func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// interfaceNames finds the names of interfaces by their index, each once a call: names change.
type interfaceNames struct {
	conn  *rtnl.Conn
	names map[int]string
	last  int // the index asked for before, which is likely to come again
	name  string
}

func namesBy(conn *rtnl.Conn) *interfaceNames {
	return &interfaceNames{conn: conn, names: map[int]string{}}
}

// forget empties the list and keeps its memory.
func (n *interfaceNames) forget() {
	clear(n.names)
	n.last, n.name = 0, ""
}

// note keeps a name that the kernel has told in passing.
func (n *interfaceNames) note(index int, name string) { n.names[index] = name }

// of returns the name; absent where there is no such interface, or none any more.
func (n *interfaceNames) of(index int) registry.Opt[string] {
	if index <= 0 {
		return registry.Opt[string]{}
	}
	if index == n.last {
		return registry.NonZero(n.name)
	}
	name, ok := n.names[index]
	if !ok {
		name, _ = n.conn.LinkName(index)
		n.names[index] = name
	}
	n.last, n.name = index, name
	return registry.NonZero(name)
}
