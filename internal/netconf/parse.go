package netconf

import (
	"encoding/hex"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// addr parses an address; a zone is dropped. Not valid where it is none.
func addr(s string) netip.Addr {
	a, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil {
		return netip.Addr{}
	}
	return a.WithZone("").Unmap()
}

// addrs parses those of the words that are addresses.
func addrs(words []string) []netip.Addr {
	var list []netip.Addr
	for _, w := range words {
		if a := addr(w); a.IsValid() {
			list = append(list, a)
		}
	}
	return list
}

// addrPrefix parses an address with a prefix length, or one without as that of a host.
func addrPrefix(s string) netip.Prefix {
	s = strings.TrimSpace(s)
	if p, err := netip.ParsePrefix(s); err == nil {
		return p
	}
	if a := addr(s); a.IsValid() {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return netip.Prefix{}
}

// maskLen is the prefix length of a netmask in dotted form, or of a number; ok is false for any other.
func maskLen(s string) (bits int, ok bool) {
	if n, err := strconv.Atoi(s); err == nil {
		return n, n >= 0 && n <= 32
	}
	a := addr(s)
	if !a.Is4() {
		return 0, false
	}
	b := a.As4()
	ones, size := net.IPv4Mask(b[0], b[1], b[2], b[3]).Size()
	return ones, size == 32
}

// withMask is an IPv4 address with the length of its netmask; not valid where either is none.
func withMask(a netip.Addr, mask string) netip.Prefix {
	bits, ok := maskLen(mask)
	if !ok || !a.Is4() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, bits)
}

// mac is a link-layer address of six bytes as lower-case pairs with colons; "" for any other text.
func mac(s string) string {
	hw, err := net.ParseMAC(strings.TrimSpace(s))
	if err != nil || len(hw) != 6 {
		return ""
	}
	return hw.String()
}

// hexBytes parses hexadecimal digits, in pairs, with or without colons; nil for any other text.
func hexBytes(s string) []byte {
	if strings.Contains(s, ":") {
		return hexGroups(strings.Split(s, ":"))
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}

func hexGroups(groups []string) []byte {
	b := make([]byte, 0, len(groups))
	for _, g := range groups {
		n, err := strconv.ParseUint(g, 16, 8)
		if err != nil {
			return nil
		}
		b = append(b, byte(n))
	}
	return b
}

// number parses a decimal number of 32 bits.
func number(s string) (n uint32, ok bool) {
	v, err := strconv.ParseUint(strings.TrimSpace(s), 10, 32)
	return uint32(v), err == nil
}

// unixTime is a number of seconds since 1970; the zero time where it is none, or beyond the year 9999.
func unixTime(s string) time.Time {
	v, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return instant(v)
}

// lastInstant is 9999-12-31T23:59:59Z, the last that RFC 3339 can write.
const lastInstant = 253402300799

func instant(unix int64) time.Time {
	if unix <= 0 || unix > lastInstant {
		return time.Time{}
	}
	return time.Unix(unix, 0).UTC()
}

// later is an instant some seconds after another; the zero time where that is none or the time is
// without end.
func later(t time.Time, seconds uint32) time.Time {
	if t.IsZero() || seconds == Forever {
		return time.Time{}
	}
	return instant(t.Unix() + int64(seconds))
}

// yes tells whether a word is one of the words for true.
func yes(s string) bool {
	switch strings.ToLower(s) {
	case "yes", "true", "on", "1", "y", "t":
		return true
	}
	return false
}

// no tells whether a word is one of the words for false.
func no(s string) bool {
	switch strings.ToLower(s) {
	case "no", "false", "off", "0", "n", "f":
		return true
	}
	return false
}

// InterfaceName tells whether a name may be an interface's (dev_valid_name of the kernel, without what
// ip(8) gives a meaning).
func InterfaceName(s string) bool {
	if s == "" || len(s) > 15 || s == "." || s == ".." {
		return false
	}
	return !strings.ContainsAny(s, "/: \t\n\v\f\r") && strings.ToValidUTF8(s, "") == s && !strings.ContainsRune(s, 0)
}

// prefixOf is an address with a prefix length that fits it.
func prefixOf(a netip.Addr, bits int) netip.Prefix { return netip.PrefixFrom(a, bits) }
