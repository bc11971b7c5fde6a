package dhcp

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// The ports of RFC 2131 section 4.1.
const (
	serverPort = 67
	clientPort = 68
)

// Sizes of an IPv4 header without options (RFC 791) and of a UDP header (RFC 768), and the numbers of a UDP
// datagram.
const (
	ipHeader    = 20
	udpHeader   = 8
	protocolUDP = 17
	ttl         = 64
)

// errPacket is the fault of bytes that are no datagram for a client.
var errPacket = errors.New("not a UDP datagram for port 68")

// payload returns what a packet carries to a client's port. The UDP checksum is looked at where the packet
// came over a wire: between virtual interfaces it is left to be computed (checksummed false).
func payload(b []byte, checksummed bool) ([]byte, error) {
	if len(b) < ipHeader || b[0]>>4 != 4 {
		return nil, errPacket
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if header < ipHeader || total < header+udpHeader || total > len(b) || b[9] != protocolUDP || binary.BigEndian.Uint16(b[6:])&0x3fff != 0 {
		return nil, errPacket
	}
	udp := b[header:total]
	size := int(binary.BigEndian.Uint16(udp[4:]))
	if binary.BigEndian.Uint16(udp[2:]) != clientPort || size < udpHeader || size > len(udp) || sum(0, b[:header]) != 0xffff {
		return nil, errPacket
	}
	udp = udp[:size]
	if checksummed && binary.BigEndian.Uint16(udp[6:]) != 0 && sum(pseudoSum(b[12:20], size), udp) != 0xffff {
		return nil, errPacket
	}
	return udp[udpHeader:], nil
}

// datagram is a packet from the client's port to the server's.
func datagram(from, to netip.Addr, data []byte) []byte {
	size := udpHeader + len(data)
	b := make([]byte, ipHeader+udpHeader, ipHeader+size)
	b[0], b[8], b[9] = 0x45, ttl, protocolUDP
	binary.BigEndian.PutUint16(b[2:], uint16(ipHeader+size))
	copy(b[12:], fourBytes(from))
	copy(b[16:], fourBytes(to))
	binary.BigEndian.PutUint16(b[10:], ^sum(0, b[:ipHeader]))
	udp := b[ipHeader:]
	binary.BigEndian.PutUint16(udp, clientPort)
	binary.BigEndian.PutUint16(udp[2:], serverPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(size))
	b = append(b, data...)
	check := ^sum(pseudoSum(b[12:20], size), b[ipHeader:])
	if check == 0 { // 0 stands for none
		check = 0xffff
	}
	binary.BigEndian.PutUint16(b[ipHeader+6:], check)
	return b
}

// pseudoSum is that of the pseudo header: addresses, protocol, length.
func pseudoSum(addresses []byte, size int) uint32 {
	return uint32(sum(protocolUDP+uint32(size), addresses))
}

// sum is the one's complement sum of 16-bit words (RFC 1071).
func sum(start uint32, b []byte) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		start += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		start += uint32(b[0]) << 8
	}
	for start > 0xffff {
		start = start>>16 + start&0xffff
	}
	return uint16(start)
}
