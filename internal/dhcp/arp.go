package dhcp

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
)

// ARP is a message of the address resolution protocol for IPv4 over Ethernet (RFC 826).
type ARP struct {
	Request   bool // else a reply
	SenderMAC net.HardwareAddr
	Sender    netip.Addr // not valid: a probe
	Target    netip.Addr
}

// errARP is the fault of bytes that are no such message.
var errARP = errors.New("not an ARP message for IPv4 over Ethernet")

// Sizes and numbers of a message: hardware type u16, protocol type u16, length of each address u8, operation
// u16, then hardware and protocol address of the sender and of the target.
const (
	arpSize     = 28
	arpEthernet = 1
	arpIPv4     = 0x0800
	arpRequest  = 1
	arpReply    = 2
)

// parseARP reads a message. What follows it is padding.
func parseARP(b []byte) (ARP, error) {
	if len(b) < arpSize || binary.BigEndian.Uint16(b) != arpEthernet || binary.BigEndian.Uint16(b[2:]) != arpIPv4 || b[4] != 6 || b[5] != 4 {
		return ARP{}, errARP
	}
	op := binary.BigEndian.Uint16(b[6:])
	if op != arpRequest && op != arpReply {
		return ARP{}, errARP
	}
	return ARP{Request: op == arpRequest, SenderMAC: net.HardwareAddr(append([]byte(nil), b[8:14]...)), Sender: given(b[14:18]), Target: given(b[24:28])}, nil
}

// appendARP writes a message whose target's hardware address is not known.
func appendARP(b []byte, a ARP) []byte {
	op := uint16(arpReply)
	if a.Request {
		op = arpRequest
	}
	b = binary.BigEndian.AppendUint16(b, arpEthernet)
	b = binary.BigEndian.AppendUint16(b, arpIPv4)
	b = append(b, 6, 4)
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(b, a.SenderMAC...)
	b = append(b, fourBytes(a.Sender)...)
	b = append(b, make([]byte, 6)...)
	return append(b, fourBytes(a.Target)...)
}

// fourBytes is an address as it is sent, 0.0.0.0 for none.
func fourBytes(a netip.Addr) []byte {
	if !a.Is4() {
		return make([]byte, 4)
	}
	return a.AsSlice()
}
