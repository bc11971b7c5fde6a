package rtnl

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// userOptions is a message of RTM_NEWNDUSEROPT of interface 7 with the router fe80::1.
func userOptions(options ...[]byte) []byte {
	all := bytes.Join(options, nil)
	b := []byte{unix.AF_INET6, 0}
	b = native.AppendUint16(b, uint16(len(all)))
	b = native.AppendUint32(b, 7)
	b = append(b, 134, 0, 0, 0, 0, 0, 0, 0)
	b = append(b, all...)
	router := netip.MustParseAddr("fe80::1").As16()
	b = native.AppendUint16(b, 20)
	b = native.AppendUint16(b, userOptionAddress)
	return append(b, router[:]...)
}

func rdnss(lifetime byte, servers ...string) []byte {
	b := []byte{optionRDNSS, byte(1 + 2*len(servers)), 0, 0, 0, 0, 0, lifetime}
	for _, s := range servers {
		a := netip.MustParseAddr(s).As16()
		b = append(b, a[:]...)
	}
	return b
}

func dnssl(lifetime byte, text string) []byte {
	b := []byte{optionDNSSL, 0, 0, 0, 0, 0, 0, lifetime}
	b = append(b, text...)
	b = append(b, make([]byte, (8-len(b)%8)%8)...)
	b[1] = byte(len(b) / 8)
	return b
}

func noticesOf(b []byte) (list []Notice, err error) {
	err = decodeUserOptions(b, func(n Notice) { list = append(list, n) })
	return list, err
}

func TestUserOptions(t *testing.T) {
	router := netip.MustParseAddr("fe80::1")
	for name, c := range map[string]struct {
		options [][]byte
		want    []Notice
	}{
		"servers": {[][]byte{rdnss(60, "2001:db8::53", "fe80::1")},
			[]Notice{{Index: 7, Router: router, Lifetime: 60, Servers: []netip.Addr{netip.MustParseAddr("2001:db8::53"), router}}}},
		"no longer": {[][]byte{rdnss(0, "2001:db8::53")}, []Notice{{Index: 7, Router: router, Servers: []netip.Addr{netip.MustParseAddr("2001:db8::53")}}}},
		"names": {[][]byte{dnssl(9, "\x03lab\x04test\x00\x07example\x03net\x00")},
			[]Notice{{Index: 7, Router: router, Lifetime: 9, Search: []string{"lab.test", "example.net"}}}},
		"a name without its end":    {[][]byte{dnssl(9, "\x01a\x00\x03lab\x3ftest")}, []Notice{{Index: 7, Router: router, Lifetime: 9, Search: []string{"a"}}}},
		"a pointer":                 {[][]byte{dnssl(9, "\x03lab\xc0\x00")}, nil},
		"a point in a label":        {[][]byte{dnssl(9, "\x03l.b\x00")}, nil},
		"something else":            {[][]byte{{24, 1, 0, 0, 0, 0, 0, 9}}, nil},
		"several":                   {[][]byte{rdnss(1, "::1"), dnssl(2, "\x01a\x00")}, []Notice{{Index: 7, Router: router, Lifetime: 1, Servers: []netip.Addr{netip.MustParseAddr("::1")}}, {Index: 7, Router: router, Lifetime: 2, Search: []string{"a"}}}},
		"servers that do not count": {[][]byte{rdnss(60)}, nil},
	} {
		got, err := noticesOf(userOptions(c.options...))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v %v, want %+v", name, got, err, c.want)
		}
	}
	good := userOptions(rdnss(60, "2001:db8::53"))
	for name, b := range map[string][]byte{
		"nothing":            {},
		"cut in the header":  good[:userOptionHeader-1],
		"cut in an option":   good[:userOptionHeader+9],
		"of another family":  append([]byte{unix.AF_INET}, good[1:]...),
		"an option too long": userOptions([]byte{optionRDNSS, 2, 0, 0, 0, 0, 0, 1}),
		"an option of none":  userOptions([]byte{optionRDNSS, 0, 0, 0, 0, 0, 0, 1}),
		"cut in the address": good[:len(good)-1],
	} {
		if got, err := noticesOf(b); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}
}

func FuzzUserOptions(f *testing.F) {
	f.Add(userOptions(rdnss(60, "2001:db8::53"), dnssl(9, "\x03lab\x04test\x00")))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := noticesOf(b)
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("error %v", err)
		}
		for _, n := range list {
			for _, s := range n.Search {
				if s == "" || strings.Contains(s, "..") {
					t.Errorf("%q", s)
				}
			}
		}
	})
}
