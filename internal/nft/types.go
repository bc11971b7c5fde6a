package nft

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// The kernel keeps the type of a set's keys and data as a number that means nothing to it. nft(8) puts its
// own types there (enum datatypes), the parts of a concatenation six bits each, the first one highest.
const typeBits = 6

// Types that values are made text of.
const (
	typeNFProto = 2
	typeInteger = 4
	typeIPv4    = 7
	typeIPv6    = 8
	typeEther   = 9
	typeProto   = 12
	typeService = 13
	typeMark    = 19
	typeUID     = 24
	typeGID     = 25
	typeIfname  = 41
)

var typeNames = [...]string{
	"", "verdict", "nf_proto", "bitmask", "integer", "string", "ll_addr", "ipv4_addr", "ipv6_addr", "ether_addr", "ether_type",
	"arp_op", "inet_proto", "inet_service", "icmp_type", "tcp_flag", "dccp_pkttype", "mh_type", "time", "mark", "iface_index",
	"iface_type", "realm", "classid", "uid", "gid", "ct_state", "ct_dir", "ct_status", "icmpv6_type", "ct_label", "pkt_type",
	"icmp_code", "icmpv6_code", "icmpx_code", "devgroup", "dscp", "ecn", "fib_addrtype", "boolean", "ct_event", "ifname",
	"igmp_type", "time", "hour", "day", "cgroupsv2",
}

// TypeName is a type's name, parts of a concatenation joined by " . "; the number where nft has no such
// type.
func TypeName(id uint32) string {
	if id == DataVerdict {
		return "verdict"
	}
	parts := typeParts(id)
	names := make([]string, len(parts))
	for i, part := range parts {
		if int(part) >= len(typeNames) || typeNames[part] == "" {
			return strconv.FormatUint(uint64(id), 10)
		}
		names[i] = typeNames[part]
	}
	if len(names) == 0 {
		return strconv.FormatUint(uint64(id), 10)
	}
	return strings.Join(names, " . ")
}

func typeParts(id uint32) (parts []uint32) {
	for ; id != 0; id >>= typeBits {
		parts = append([]uint32{id & (1<<typeBits - 1)}, parts...)
	}
	return parts
}

// Layout says how values of a set's keys or data lie in memory.
type Layout struct {
	parts []uint32 // types
	sizes []int    // bytes, each part padded to a register's four
	host  bool     // numbers are in the host's order, where their type is not an address or a port
}

// KeyLayout is the layout of the set's keys.
func (s *Set) KeyLayout() Layout {
	sizes := make([]int, len(s.FieldLens))
	for i, n := range s.FieldLens {
		sizes[i] = int(n)
	}
	// Intervals are kept in network order whatever the type, so that they sort.
	return layout(s.KeyType, int(s.KeyLen), sizes, UserData(s.UserData), UserSetKeyOrder, s.Flags&SetInterval != 0)
}

// DataLayout is the layout of the map's data.
func (s *Set) DataLayout() Layout {
	return layout(s.DataType, int(s.DataLen), nil, UserData(s.UserData), UserSetDataOrder, false)
}

func layout(id uint32, size int, sizes []int, u UserData, record uint8, network bool) Layout {
	l := Layout{parts: typeParts(id), sizes: sizes, host: !network}
	if order, ok := u.Get(record); ok && len(order) == 4 && binary.NativeEndian.Uint32(order) == userOrderBigEndian {
		l.host = false
	}
	if len(l.sizes) != len(l.parts) {
		l.sizes = typeSizes(l.parts, size)
	}
	return l
}

// typeSizes are the sizes of types that have one, or of the one type that there is.
func typeSizes(parts []uint32, size int) []int {
	if len(parts) == 1 {
		return []int{size}
	}
	known := map[uint32]int{typeNFProto: 1, typeIPv4: 4, typeIPv6: 16, typeEther: 6, typeProto: 1, typeService: 2, typeMark: 4, typeUID: 4, typeGID: 4, typeIfname: 16}
	sizes := make([]int, len(parts))
	for i, part := range parts {
		if sizes[i] = known[part]; sizes[i] == 0 {
			return nil
		}
	}
	return sizes
}

// Text is a value as nft(8) prints it, or the interval from value to end where end is not nil. It
// reports false for types whose text this package does not know for sure.
func (l Layout) Text(value, end []byte) (string, bool) {
	var words []string
	for i, part := range l.parts {
		if i >= len(l.sizes) {
			return "", false
		}
		size := l.sizes[i]
		if size <= 0 || size > len(value) || end != nil && size > len(end) {
			return "", false
		}
		var to []byte
		if end != nil {
			to = end[:size]
		}
		word, ok := l.word(part, value[:size], to)
		if !ok {
			return "", false
		}
		words = append(words, word)
		pad := size
		if len(l.parts) > 1 {
			pad = (size + 3) &^ 3
		}
		value = value[min(pad, len(value)):]
		end = end[min(pad, len(end)):]
	}
	return strings.Join(words, " . "), len(words) > 0 && len(value) == 0
}

func (l Layout) word(typ uint32, from, to []byte) (string, bool) {
	first, ok := l.single(typ, from)
	if to == nil || bytes.Equal(from, to) || !ok && typ != typeProto {
		return first, ok
	}
	if bits, ok := prefixLength(from, to); ok {
		switch typ {
		case typeIPv4, typeIPv6, typeMark:
			return first + "/" + strconv.Itoa(bits), true
		case typeIfname:
			return `"` + string(from[:bits/8]) + `*"`, bits%8 == 0 && bytes.IndexByte(from[:bits/8], 0) < 0
		}
	}
	switch typ {
	case typeIfname:
		return "", false
	case typeProto:
		return fmt.Sprintf("%d-%d", l.number(from, true), l.number(to, true)), true // no names in ranges
	}
	last, ok := l.single(typ, to)
	return first + "-" + last, ok
}

// prefixLength tells whether an interval is all that begins with the same bits, and how many they are.
func prefixLength(from, to []byte) (bits int, ok bool) {
	a, b := new(big.Int).SetBytes(from), new(big.Int).SetBytes(to)
	differ := new(big.Int).Xor(a, b)
	free := differ.BitLen()
	all := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), uint(free)), big.NewInt(1))
	return len(from)*8 - free, differ.Cmp(all) == 0 && new(big.Int).And(a, all).Sign() == 0
}

func (l Layout) single(typ uint32, b []byte) (string, bool) {
	switch typ {
	case typeIPv4, typeIPv6:
		addr, ok := netip.AddrFromSlice(b)
		return addr.String(), ok && addr.Is4() == (typ == typeIPv4)
	case typeEther:
		return net.HardwareAddr(b).String(), len(b) == 6
	case typeService:
		return l.decimal(b, true)
	case typeIfname:
		name, rest, _ := bytes.Cut(b, []byte{0})
		return `"` + string(name) + `"`, len(name) > 0 && len(bytes.Trim(rest, "\x00")) == 0
	case typeMark:
		return fmt.Sprintf("0x%08x", l.number(b, false)), len(b) == 4
	case typeProto:
		return named(protocols, b)
	case typeNFProto:
		return named(nfProtos, b)
	case typeInteger, typeUID, typeGID:
		return l.decimal(b, false)
	}
	return "", false
}

func (l Layout) decimal(b []byte, network bool) (string, bool) {
	return strconv.FormatUint(l.number(b, network), 10), len(b) <= 8
}

// number reads up to eight bytes.
func (l Layout) number(b []byte, network bool) (v uint64) {
	for i := range min(len(b), 8) {
		c := b[i]
		if l.host && !network && littleEndian {
			c = b[len(b)-1-i]
		}
		v = v<<8 | uint64(c)
	}
	return v
}

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// protocols are those of /etc/protocols that nft(8) names on every host.
var protocols = map[byte]string{
	1: "icmp", 2: "igmp", 4: "ipencap", 6: "tcp", 17: "udp", 33: "dccp", 41: "ipv6", 47: "gre", 50: "esp", 51: "ah", 58: "ipv6-icmp",
	108: "ipcomp", 132: "sctp", 136: "udplite",
}

var nfProtos = map[byte]string{2: "ipv4", 10: "ipv6"}

// named is the name of a one-byte number; without a name it is not for sure what nft prints.
func named(names map[byte]string, b []byte) (string, bool) {
	if len(b) != 1 {
		return "", false
	}
	name, ok := names[b[0]]
	return name, ok
}
