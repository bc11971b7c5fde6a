package jsonwire

import (
	"bytes"
	"errors"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Unquote is the text of raw, a valid JSON string with its quotes, as ObjectReader.Value returns it. It
// is a part of raw where there is no escape, and a copy where there is one.
func Unquote(raw []byte) []byte {
	inner := raw[1 : len(raw)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	return AppendUnquoted(make([]byte, 0, len(inner)), raw)
}

// AppendUnquoted appends the text of raw, a valid JSON string with its quotes, to dst.
func AppendUnquoted(dst, raw []byte) []byte {
	inner := raw[1 : len(raw)-1]
	for {
		i := bytes.IndexByte(inner, '\\')
		if i < 0 {
			return append(dst, inner...)
		}
		dst = append(dst, inner[:i]...)
		n := 0
		if dst, n = appendUnescaped(dst, inner[i:]); n == 0 {
			return dst
		}
		inner = inner[i+n:]
	}
}

// appendUnescaped appends what the escape at the start of b stands for, and returns the escape's length.
func appendUnescaped(dst, b []byte) ([]byte, int) {
	if len(b) < 2 {
		return dst, 0
	}
	switch c := b[1]; c {
	case 'u':
		r, n := unicodeEscape(b)
		return utf8.AppendRune(dst, r), n
	case 'b':
		return append(dst, '\b'), 2
	case 'f':
		return append(dst, '\f'), 2
	case 'n':
		return append(dst, '\n'), 2
	case 'r':
		return append(dst, '\r'), 2
	case 't':
		return append(dst, '\t'), 2
	default:
		return append(dst, c), 2
	}
}

// unicodeEscape decodes the \uXXXX that b begins with, or the two of a surrogate pair, and returns its
// length; 0 where b begins with neither.
func unicodeEscape(b []byte) (rune, int) {
	hi, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(hi) {
		return hi, 6
	}
	lo, ok := hex4(b[6:])
	if r := utf16.DecodeRune(hi, lo); ok && r != utf8.RuneError {
		return r, 12
	}
	return 0, 0
}

// hex4 decodes the \uXXXX that b begins with.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// MaxInt is the largest integer, and -MaxInt the smallest, that every JSON implementation keeps exactly
// (RFC 7493, section 2.2): 2^53-1.
const MaxInt = 1<<53 - 1

// What Int can say against a number.
var (
	ErrNotInteger = errors.New("not an integer")
	ErrRange      = errors.New("outside of -(2^53-1) to 2^53-1")
)

// Int is the value of raw, a valid JSON number. 1, 1.0 and 10e-1 are the same integer, as JSON Schema has
// it; the value is computed exactly, without a detour through floating point. The error is ErrNotInteger
// or ErrRange.
func Int(raw []byte) (int64, error) {
	digits, negative := raw, false
	if len(raw) > 0 && raw[0] == '-' {
		digits, negative = raw[1:], true
	}
	n, rest, err := leadingInt(digits)
	if err == nil && len(rest) > 0 {
		n, err = scaledInt(digits)
	}
	if negative {
		n = -n
	}
	return n, err
}

// leadingInt reads digits as long as there are any.
func leadingInt(b []byte) (n int64, rest []byte, err error) {
	for i, c := range b {
		if !isDigit(c) {
			return n, b[i:], nil
		}
		if n = n*10 + int64(c-'0'); n > MaxInt {
			// With a fraction and a negative exponent it might still fit; scaledInt will tell.
			if bytes.ContainsAny(b, ".eE") {
				return 0, b[i:], nil
			}
			return 0, nil, ErrRange
		}
	}
	return n, nil, nil
}

// scaledInt is the value of b, a number without a sign but with a fraction or an exponent.
func scaledInt(b []byte) (int64, error) {
	digits, exp := splitNumber(b)
	if len(digits) == 0 {
		return 0, nil
	}
	switch {
	case exp < 0:
		return 0, ErrNotInteger
	case len(digits)+exp > 16: // 2^53-1 has 16 digits
		return 0, ErrRange
	}
	n := int64(0)
	for _, c := range digits {
		n = n*10 + int64(c-'0')
	}
	for range exp {
		n *= 10
	}
	if n > MaxInt {
		return 0, ErrRange
	}
	return n, nil
}

// maxExp stands for every larger exponent: no request is so long that its digits could make up for it.
const maxExp = 1 << 30

// splitNumber writes b as digits times ten to the power of exp, where digits neither begin nor end with
// a zero; none are left for zero itself.
func splitNumber(b []byte) (digits []byte, exp int) {
	mantissa := b
	if i := bytes.IndexAny(b, "eE"); i >= 0 {
		mantissa, exp = b[:i], exponent(b[i+1:])
	}
	if i := bytes.IndexByte(mantissa, '.'); i >= 0 {
		fraction := mantissa[i+1:]
		exp -= len(fraction)
		mantissa = append(append(make([]byte, 0, len(b)), mantissa[:i]...), fraction...)
	}
	digits = bytes.TrimRight(mantissa, "0")
	exp += len(mantissa) - len(digits)
	return bytes.TrimLeft(digits, "0"), exp
}

// exponent is the value of what stands behind the e, cut at maxExp.
func exponent(b []byte) int {
	negative := b[0] == '-'
	n := 0
	for _, c := range bytes.TrimLeft(b, "+-") {
		n = min(n*10+int(c-'0'), maxExp)
	}
	if negative {
		return -n
	}
	return n
}

// Float is the value of raw, a valid JSON number, as the nearest float64. The error is that of
// strconv.ParseFloat for one too large to have a neighbour.
func Float(raw []byte) (float64, error) { return strconv.ParseFloat(string(raw), 64) }
