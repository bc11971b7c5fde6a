package dhcp

import (
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// asked are the options that a client asks for (option 55). RFC 3442 wants classless routes before routers.
var asked = []dhcpv4.OptionCode{
	dhcpv4.OptionSubnetMask, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter, dhcpv4.OptionStaticRoutingTable,
	dhcpv4.OptionDomainNameServer, dhcpv4.OptionDomainName, dhcpv4.OptionDNSDomainSearchList, dhcpv4.OptionInterfaceMTU,
	dhcpv4.OptionBroadcastAddress, dhcpv4.OptionNTPServers, dhcpv4.OptionHostName,
	dhcpv4.OptionIPAddressLeaseTime, dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue,
}

// leastMessage is the size of a message that every client takes (RFC 2132 section 9.10).
const leastMessage = 576

// ClientID is option 61 of an interface: hardware type and address.
func ClientID(mac net.HardwareAddr) []byte { return append([]byte{1}, mac...) }

// message makes a message of a kind, of the exchange under way.
func (m *Machine) message(now time.Time, kind dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	d := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootRequest, HWType: 1, TransactionID: m.xid, ClientHWAddr: m.config.MAC,
		NumSeconds:   uint16(min(max(now.Sub(m.began)/time.Second, 0), 0xffff)),
		ClientIPAddr: net.IPv4zero, YourIPAddr: net.IPv4zero, ServerIPAddr: net.IPv4zero, GatewayIPAddr: net.IPv4zero,
		Options: dhcpv4.Options{},
	}
	d.UpdateOption(dhcpv4.OptMessageType(kind))
	d.UpdateOption(dhcpv4.OptGeneric(dhcpv4.OptionClientIdentifier, ClientID(m.config.MAC)))
	if kind != dhcpv4.MessageTypeDecline {
		d.UpdateOption(dhcpv4.OptParameterRequestList(asked...))
		d.UpdateOption(dhcpv4.OptMaxMessageSize(uint16(min(max(m.config.MTU, leastMessage), 1500))))
	}
	return d
}

// request asks for an address: of the server that offered it, or of whoever knows of it (RFC 2131 section
// 4.3.2 says which of them has which members).
func (m *Machine) request(now time.Time, address, server netip.Addr) *dhcpv4.DHCPv4 {
	d := m.message(now, dhcpv4.MessageTypeRequest)
	d.UpdateOption(dhcpv4.OptRequestedIPAddress(address.AsSlice()))
	if server.IsValid() {
		d.UpdateOption(dhcpv4.OptServerIdentifier(server.AsSlice()))
	}
	return d
}

// extension asks for more time for the address that the client has.
func (m *Machine) extension(now time.Time) *dhcpv4.DHCPv4 {
	d := m.message(now, dhcpv4.MessageTypeRequest)
	d.ClientIPAddr = m.lease.Address.Addr().AsSlice()
	return d
}

func (m *Machine) decline(now time.Time, l *Lease) *dhcpv4.DHCPv4 {
	d := m.message(now, dhcpv4.MessageTypeDecline)
	d.UpdateOption(dhcpv4.OptRequestedIPAddress(l.Address.Addr().AsSlice()))
	d.UpdateOption(dhcpv4.OptServerIdentifier(l.Server.AsSlice()))
	return d
}
