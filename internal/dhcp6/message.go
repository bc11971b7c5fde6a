package dhcp6

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
)

// asked are the options that a client asks for (option 6), besides those of its associations.
var asked = []dhcpv6.OptionCode{
	dhcpv6.OptionDNSRecursiveNameServer, dhcpv6.OptionDomainSearchList, dhcpv6.OptionNTPServer, dhcpv6.OptionSolMaxRT,
}

// informed are those that it asks for besides where it leases nothing.
var informed = []dhcpv6.OptionCode{dhcpv6.OptionInformationRefreshTime, dhcpv6.OptionInfMaxRT}

// message makes the message of the exchange under way, with what RFC 8415 sections 18.2.1 to 18.2.8 have in it.
func (m *Machine) message(now time.Time) []byte {
	d := dhcpv6.Message{MessageType: m.exchange.kind, TransactionID: m.exchange.transaction}
	add := func(o dhcpv6.Option) { d.Options.Add(o) }
	raw := func(code dhcpv6.OptionCode, b []byte) { add(&dhcpv6.OptionGeneric{OptionCode: code, OptionData: b}) }
	raw(dhcpv6.OptionClientID, m.config.DUID)
	if m.exchange.server != nil {
		raw(dhcpv6.OptionServerID, m.exchange.server)
	}
	elapsed := min(max(now.Sub(m.exchange.began)/(10*time.Millisecond), 0), 0xffff)
	raw(dhcpv6.OptionElapsedTime, binary.BigEndian.AppendUint16(nil, uint16(elapsed)))
	switch m.exchange.kind {
	case dhcpv6.MessageTypeSolicit, dhcpv6.MessageTypeRequest, dhcpv6.MessageTypeRenew, dhcpv6.MessageTypeRebind:
		add(dhcpv6.OptRequestedOption(asked...))
	case dhcpv6.MessageTypeInformationRequest:
		add(dhcpv6.OptRequestedOption(slices.Concat(asked, informed)...))
	}
	if m.exchange.kind == dhcpv6.MessageTypeSolicit && m.config.RapidCommit {
		raw(dhcpv6.OptionRapidCommit, nil)
	}
	for _, o := range m.associations() {
		add(o)
	}
	return d.ToBytes()
}

// associations are those of the message: all that the client wants, also where it has nothing yet; of Decline
// and Release those that it is about alone.
func (m *Machine) associations() (list []dhcpv6.Option) {
	addresses, prefixes, always := m.exchange.addresses, m.exchange.prefixes, true
	switch m.exchange.kind {
	case dhcpv6.MessageTypeInformationRequest:
		return nil
	case dhcpv6.MessageTypeConfirm, dhcpv6.MessageTypeDecline, dhcpv6.MessageTypeRelease:
		always = false
	}
	var id [4]byte
	binary.BigEndian.PutUint32(id[:], m.config.IAID)
	if len(addresses) > 0 || always && m.config.Addresses {
		o := &dhcpv6.OptIANA{IaId: id}
		for _, p := range addresses {
			o.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: net.IP(p.Addr().AsSlice())})
		}
		list = append(list, o)
	}
	if len(prefixes) > 0 || always && m.config.Prefixes {
		o := &dhcpv6.OptIAPD{IaId: id}
		for _, p := range prefixes {
			o.Options.Add(&dhcpv6.OptIAPrefix{Prefix: &net.IPNet{IP: net.IP(p.Addr().AsSlice()), Mask: net.CIDRMask(p.Bits(), 128)}})
		}
		list = append(list, o)
	}
	return list
}

// prefixesOf are the addresses and prefixes of parts, without their times.
func prefixesOf(parts []Part) (list []netip.Prefix) {
	for _, p := range parts {
		list = append(list, p.Prefix)
	}
	return list
}
