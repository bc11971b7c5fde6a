package registry

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// format is one of the specification's string formats that stay strings in Go.
type format struct {
	want string // what a value must be, for messages
	fits func(string) bool
}

var (
	formatIfname  = format{`an interface name: 1 to 15 bytes without slash, colon and white space, neither "." nor ".."`, isInterfaceName}
	formatMAC     = format{"six bytes as lower-case hexadecimal pairs like 52:54:00:12:34:56", isMAC}
	formatUUID    = format{"a lower-case UUID like 0fc63daf-8483-4772-8e79-3d69d8477de4, or a vfat volume id like 1A2B-3C4D", isUUID}
	formatAbsPath = format{"an absolute path of at most 4095 bytes", isAbsolutePath}
	formatDevice  = format{"/dev/…, UUID=…, LABEL=… or PARTUUID=…", isDevice}
	formatTag     = format{`1 to 64 printable ASCII characters without " and \`, isComment}
	formatComment = format{`1 to 64 printable ASCII characters without " and \`, isComment}
	formatHex     = format{"lower-case hexadecimal digits without 0x", isHex}
)

// checks says, for every format of the specification, what a string must be and is not, or "".
var checks = map[string]func(string) string{
	"ifname":       formatIfname.check,
	"mac":          formatMAC.check,
	"uuid":         formatUUID.check,
	"abs-path":     formatAbsPath.check,
	"device":       formatDevice.check,
	"tag":          formatTag.check,
	"comment":      formatComment.check,
	"hex":          formatHex.check,
	"ip":           func(s string) string { _, want := parseAddr(s); return want },
	"ip-prefix":    func(s string) string { _, want := parseNetwork(s); return want },
	"ip-interface": func(s string) string { _, want := parsePrefix(s); return want },
	"date-time":    func(s string) string { _, want := parseInstant(s); return want },
}

// Formats lists the string formats of the specification.
func Formats() []string { return slices.Sorted(maps.Keys(checks)) }

// CheckFormat tells whether value is what a string of the format must be. The error says what that is.
func CheckFormat(name, value string) error {
	check := checks[name]
	if check == nil {
		return fmt.Errorf("format %s: must be one of %s", name, strings.Join(Formats(), ", "))
	}
	if want := check(value); want != "" {
		return fmt.Errorf("format %s: must be %s, not %q", name, want, cut(value))
	}
	return nil
}

// check is what s must be and is not, or "".
func (f *format) check(s string) string {
	if f.fits(s) {
		return ""
	}
	return f.want
}

// isInterfaceName is the kernel's dev_valid_name (net/core/dev.c), which looks at bytes: its isspace takes
// 0xa0 too. A NUL byte would end the name in the kernel.
func isInterfaceName(s string) bool {
	if len(s) == 0 || len(s) > 15 || s == "." || s == ".." {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c == '/', c == ':', c == ' ', c == 0xa0, c == 0, '\t' <= c && c <= '\r':
			return false
		}
	}
	return true
}

func isMAC(s string) bool {
	if len(s) != 17 {
		return false
	}
	for i := range len(s) {
		if i%3 == 2 && s[i] != ':' || i%3 != 2 && !isLowerHex(s[i]) {
			return false
		}
	}
	return true
}

func isLowerHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' }

func isHex(s string) bool {
	for i := range len(s) {
		if !isLowerHex(s[i]) {
			return false
		}
	}
	return s != ""
}

// isUUID takes the usual form, and the XXXX-XXXX that blkid prints for vfat.
func isUUID(s string) bool {
	if len(s) == 9 {
		return s[4] == '-' && isUpperHex(s[:4]) && isUpperHex(s[5:])
	}
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch i {
		case 8, 13, 18, 23:
			if s[i] != '-' {
				return false
			}
		default:
			if !isLowerHex(s[i]) {
				return false
			}
		}
	}
	return true
}

func isUpperHex(s string) bool { return strings.Trim(s, "0123456789ABCDEF") == "" }

// maxPath is the longest path that the kernel takes: PATH_MAX with its NUL is 4096.
const maxPath = 4095

func isAbsolutePath(s string) bool {
	return strings.HasPrefix(s, "/") && len(s) <= maxPath && !strings.Contains(s, "\x00")
}

// isDevice takes the ways in which a block device is named; whether there is one is for the handler to see.
func isDevice(s string) bool {
	if len(s) > maxPath || strings.Contains(s, "\x00") {
		return false
	}
	for _, prefix := range []string{"UUID=", "LABEL=", "PARTUUID="} {
		if name, ok := strings.CutPrefix(s, prefix); ok {
			return name != ""
		}
	}
	name, ok := strings.CutPrefix(s, "/dev/")
	return ok && name != "" && !strings.Contains("/"+name+"/", "/../")
}

// isComment takes what nftables and the state files can keep as a comment without any escaping.
func isComment(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// parseAddr reads an address. An IPv4 address mapped into IPv6 is refused, since it is neither one thing
// nor the other in routes and rules, and so is a zone, which has a param of its own.
func parseAddr(s string) (netip.Addr, string) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return a, "an IPv4 or IPv6 address"
	case a.Is4In6():
		return a, "the IPv4 address " + a.Unmap().WithZone("").String() + " itself"
	case a.Zone() != "":
		return a, "an address without a zone"
	}
	return a, ""
}

// parsePrefix reads an address with the length of its network's prefix.
func parsePrefix(s string) (netip.Prefix, string) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, "an address with its prefix length like 10.0.0.1/24"
	case p.Addr().Is4In6():
		return p, "an IPv4 address as such, not mapped into IPv6"
	}
	return p, ""
}

// parseNetwork reads a network, in which no bit behind the prefix is set.
func parseNetwork(s string) (netip.Prefix, string) {
	p, want := parsePrefix(s)
	switch {
	case want != "" && !p.IsValid():
		return p, "a network like 10.0.0.0/8 or 2001:db8::/32"
	case want != "":
		return p, want
	case p != p.Masked():
		return p, p.Masked().String() + ", which has no bits behind the prefix"
	}
	return p, ""
}

// parseInstant reads an instant in UTC. Go's own parser also takes an hour of one digit and a comma before
// the fraction, which RFC 3339 does not have: the fixed places of colon and fraction tell.
func parseInstant(s string) (time.Time, string) {
	var t time.Time
	err := t.UnmarshalText([]byte(s))
	if err != nil || !strings.HasSuffix(s, "Z") || s[13] != ':' || s[19] == ',' {
		return t, "an instant in UTC like 2026-11-23T08:30:00Z"
	}
	return t, ""
}
