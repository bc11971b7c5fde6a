package jsonwire

import (
	"math"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string. What JSON requires to be escaped is escaped and nothing else;
// a byte that is not part of UTF-8 (a file name may have such) becomes U+FFFD, so that what is sent is
// always JSON.
func AppendString(b []byte, s string) []byte {
	i := 0
	for ; i+8 <= len(s) && plainWord(s[i:i+8]); i += 8 {
	}
	for ; i < len(s); i++ {
		if !plain[s[i]] {
			return appendEscaped(b, s, i)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// plainWord tells whether eight bytes are plain, all of them at a time. It may say no of some that are.
func plainWord(s string) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	// A byte of a difference has its high bit where it was less than what was taken off, or where a lower one borrowed.
	return (w|(w-ones*' ')|((w^ones*'"')-ones)|((w^ones*'\\')-ones))&high == 0
}

// appendEscaped is AppendString for what is not plain from byte i on.
func appendEscaped(b []byte, s string, i int) []byte {
	b = append(b, '"')
	start := 0
	for i < len(s) {
		if plain[s[i]] {
			i++
			continue
		}
		n := 1
		if s[i] >= utf8.RuneSelf {
			if _, n = utf8.DecodeRuneInString(s[i:]); n > 1 {
				i += n
				continue
			}
		}
		b = append(b, s[start:i]...)
		b = appendEscape(b, s[i])
		i += n
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// appendEscape appends c, a byte that may not stand in a string as it is.
func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	}
	if c >= utf8.RuneSelf {
		return append(b, "\uFFFD"...)
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// AppendInt appends n in decimal. Values beyond MaxInt are not for the wire: they go as hexadecimal strings.
func AppendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

// AppendFloat appends f in the shortest form that reads back as the same number. JSON has no word for an
// infinity or for what is not a number: they become 0.
func AppendFloat(b []byte, f float64) []byte {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return append(b, '0')
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, f, format, -1, 64)
}

// AppendBool appends true or false.
func AppendBool(b []byte, v bool) []byte { return strconv.AppendBool(b, v) }

// The first and the last instant that RFC 3339, with its four digits for the year, can say.
var (
	firstInstant = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	lastInstant  = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

// AppendTime appends t as an RFC 3339 string in UTC, with a fraction of a second where t has one. An
// instant outside of the years 0 to 9999 becomes the nearest inside.
func AppendTime(b []byte, t time.Time) []byte {
	t = t.UTC()
	switch year := t.Year(); {
	case year < 0:
		t = firstInstant
	case year > 9999:
		t = lastInstant
	}
	b = append(b, '"')
	b = t.AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

// AppendAddr appends a as a string, without a zone; the zero Addr is "".
func AppendAddr(b []byte, a netip.Addr) []byte {
	b = append(b, '"')
	switch {
	case a.Is4():
		b = appendAddr4(b, a.As4())
	case a.IsValid():
		b = a.WithZone("").AppendTo(b)
	}
	return append(b, '"')
}

// appendAddr4 is netip.Addr.AppendTo for IPv4, at half of the cost.
func appendAddr4(b []byte, a [4]byte) []byte {
	for i, v := range a {
		if i > 0 {
			b = append(b, '.')
		}
		switch {
		case v >= 100:
			b = append(b, '0'+v/100, '0'+v/10%10, '0'+v%10)
		case v >= 10:
			b = append(b, '0'+v/10, '0'+v%10)
		default:
			b = append(b, '0'+v)
		}
	}
	return b
}

// AppendPrefix appends p as a string, address/length; the zero Prefix is "".
func AppendPrefix(b []byte, p netip.Prefix) []byte {
	b = append(b, '"')
	if p.IsValid() {
		b = p.AppendTo(b)
	}
	return append(b, '"')
}
