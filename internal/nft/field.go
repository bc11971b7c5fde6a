package nft

import "golang.org/x/sys/unix"

// span is a run of bytes in a header.
type span struct{ base, offset, length uint32 }

const (
	baseLink      = 0
	baseNetwork   = 1
	baseTransport = 2
)

// Fields that have a name whatever else a rule looks at: of Ethernet, and the ports, which stand in the
// same place in every protocol that has them.
var anyFields = map[span]string{
	{baseLink, 0, 6}:      "ether daddr",
	{baseLink, 6, 6}:      "ether saddr",
	{baseLink, 12, 2}:     "ether type",
	{baseTransport, 0, 2}: "th sport",
	{baseTransport, 2, 2}: "th dport",
}

// Fields of the network header where the table's family says which one it is.
var networkFields = map[uint8]map[span]string{
	unix.NFPROTO_IPV4: {
		{baseNetwork, 2, 2}:  "ip length",
		{baseNetwork, 4, 2}:  "ip id",
		{baseNetwork, 6, 2}:  "ip frag-off",
		{baseNetwork, 8, 1}:  "ip ttl",
		{baseNetwork, 9, 1}:  "ip protocol",
		{baseNetwork, 10, 2}: "ip checksum",
		{baseNetwork, 12, 4}: "ip saddr",
		{baseNetwork, 16, 4}: "ip daddr",
	},
	unix.NFPROTO_IPV6: {
		{baseNetwork, 4, 2}:   "ip6 length",
		{baseNetwork, 6, 1}:   "ip6 nexthdr",
		{baseNetwork, 7, 1}:   "ip6 hoplimit",
		{baseNetwork, 8, 16}:  "ip6 saddr",
		{baseNetwork, 24, 16}: "ip6 daddr",
	},
	unix.NFPROTO_ARP: {
		{baseNetwork, 0, 2}: "arp htype",
		{baseNetwork, 2, 2}: "arp ptype",
		{baseNetwork, 4, 1}: "arp hlen",
		{baseNetwork, 5, 1}: "arp plen",
		{baseNetwork, 6, 2}: "arp operation",
	},
}

// Field is the name of the field that x reads in a table of a family, as nft(8) calls it; "" where it
// takes the rest of the rule to know.
func (x *Payload) Field(family uint8) string {
	s := span{x.Base, x.Offset, x.Len}
	if name, ok := networkFields[family][s]; ok {
		return name
	}
	return anyFields[s]
}
