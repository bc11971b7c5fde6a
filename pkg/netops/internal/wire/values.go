package wire

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/registry"
)

// MaxInteger is the largest integer of the table, 2^53-1.
const MaxInteger = 1<<53 - 1

// Integer is a number of the kernel that fits the table's integers.
type Integer interface {
	~int | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32
}

// When is v where known, else absent.
func When[T any](known bool, v T) registry.Opt[T] {
	if !known {
		return registry.Opt[T]{}
	}
	return registry.Some(v)
}

// Number is v where known, else absent.
func Number[N Integer](known bool, v N) registry.Opt[int64] { return When(known, int64(v)) }

// NonZero is v, or absent where that is zero.
func NonZero[N Integer](v N) registry.Opt[int64] { return Number(v != 0, v) }

// Counter is a counter that the kernel keeps in 64 bits.
func Counter(v uint64) int64 { return int64(min(v, MaxInteger)) }

// True is true, or absent.
func True(v bool) registry.Opt[bool] { return When(v, v) }

// Addr is a, or absent where there is none.
func Addr(a netip.Addr) registry.Opt[netip.Addr] { return When(a.IsValid(), a) }

// Prefix is p, or absent where there is none.
func Prefix(p netip.Prefix) registry.Opt[netip.Prefix] { return When(p.IsValid(), p.Masked()) }

// Milliseconds is a number of seconds.
func Milliseconds[N Integer](known bool, v N) registry.Opt[float64] {
	return When(known, float64(v)/1000)
}

// MACSize is the length of a link-layer address that has the text form of a MAC address.
const MACSize = 6

// MAC is six bytes as lower-case hexadecimal pairs with colons; absent for another length.
func MAC(b []byte) registry.Opt[string] {
	if len(b) != MACSize {
		return registry.Opt[string]{}
	}
	const digits = "0123456789abcdef"
	var text [3*MACSize - 1]byte
	for i, c := range b {
		if i > 0 {
			text[3*i-1] = ':'
		}
		text[3*i], text[3*i+1] = digits[c>>4], digits[c&15]
	}
	return registry.Some(string(text[:]))
}

// MACBytes is the inverse of MAC; nil for what is no such text.
func MACBytes(text string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(text, ":", ""))
	if err != nil {
		return nil
	}
	return b
}

// Hex is bytes as hexadecimal digits; absent for none.
func Hex(b []byte) registry.Opt[string] { return registry.NonZero(hex.EncodeToString(b)) }

// Family is the address family in the table's words.
func Family(family uint8) registry.AddressFamily {
	if family == unix.AF_INET6 {
		return registry.AddressFamilyIpv6
	}
	return registry.AddressFamilyIpv4
}

// FamilyNumber is the inverse of Family.
func FamilyNumber(family registry.AddressFamily) uint8 {
	if family == registry.AddressFamilyIpv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// Seconds is a duration in whole seconds.
func Seconds(d time.Duration) int64 { return int64(d / time.Second) }

// Hex32 is a number as eight hexadecimal digits.
func Hex32(v uint32) string {
	var digits [8]byte
	hex.Encode(digits[:], []byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
	return string(digits[:])
}

// Ticks is a time in seconds that the kernel tells in ticks of 1/USER_HZ s.
func Ticks(known bool, n uint64) registry.Opt[float64] {
	return When(known, float64(n)/rtnl.UserHZ)
}
