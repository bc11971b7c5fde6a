package ct

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// The names below are the kernel's, in lower case (nf_conntrack_proto_*.c, nf_conntrack_common.h).
var (
	tcpStates = [...]string{
		"none", "syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "last_ack", "time_wait",
		"close", "syn_sent2",
	}
	sctpStates = [...]string{
		"none", "closed", "cookie_wait", "cookie_echoed", "established", "shutdown_sent", "shutdown_recd",
		"shutdown_ack_sent", "heartbeat_sent", "heartbeat_acked",
	}
	dccpStates = [...]string{
		"none", "request", "respond", "partopen", "open", "closereq", "closing", "timewait", "ignore", "invalid",
	}
	statusBits = [...]string{
		"expected", "seen_reply", "assured", "confirmed", "src_nat", "dst_nat", "seq_adjust", "src_nat_done",
		"dst_nat_done", "dying", "fixed_timeout", "template", "untracked", "helper", "offload", "hw_offload",
	}
)

// StateName is the state of a protocol that has one, and "" where there is none. A state that is newer
// than this package is its number.
func (i *Info) StateName() string {
	switch i.Proto {
	case unix.IPPROTO_TCP:
		return nameOr(tcpStates[:], i.State)
	case unix.IPPROTO_SCTP:
		return nameOr(sctpStates[:], i.State)
	case unix.IPPROTO_DCCP:
		return nameOr(dccpStates[:], i.State)
	}
	return ""
}

func nameOr(names []string, n uint8) string {
	if int(n) < len(names) {
		return names[n]
	}
	return strconv.Itoa(int(n))
}

// AppendStatus appends the names of the IPS_* bits that are set, the lowest first; a bit without a
// name as bit_N.
func AppendStatus(names []string, status uint32) []string {
	for bit := range 32 {
		switch {
		case status&(1<<bit) == 0:
		case bit < len(statusBits):
			names = append(names, statusBits[bit])
		default:
			names = append(names, "bit_"+strconv.Itoa(bit))
		}
	}
	return names
}

// protocols has the IP protocols that the kernel tracks, and those that a reader expects by name, as
// /etc/protocols spells them.
var protocols = map[uint8]string{
	unix.IPPROTO_ICMP:    "icmp",
	unix.IPPROTO_IGMP:    "igmp",
	unix.IPPROTO_IPIP:    "ipip",
	unix.IPPROTO_TCP:     "tcp",
	unix.IPPROTO_UDP:     "udp",
	unix.IPPROTO_DCCP:    "dccp",
	unix.IPPROTO_IPV6:    "ipv6",
	unix.IPPROTO_GRE:     "gre",
	unix.IPPROTO_ESP:     "esp",
	unix.IPPROTO_AH:      "ah",
	unix.IPPROTO_ICMPV6:  "icmpv6",
	unix.IPPROTO_SCTP:    "sctp",
	unix.IPPROTO_UDPLITE: "udplite",
}

// protocolTexts has every protocol's name, or number where it has none, so that none is made twice.
var protocolTexts, protocolNumbers = func() (texts [256]string, numbers map[string]uint8) {
	numbers = make(map[string]uint8)
	for n := range texts {
		texts[n] = strconv.Itoa(n)
		if name, ok := protocols[uint8(n)]; ok {
			texts[n] = name
			numbers[name] = uint8(n)
		}
	}
	return texts, numbers
}()

// ProtocolName is the name of an IP protocol, or its number as text.
func ProtocolName(proto uint8) string { return protocolTexts[proto] }

// ProtocolNumber is the inverse of ProtocolName; numbers are taken for any protocol.
func ProtocolNumber(s string) (uint8, bool) {
	if n, ok := protocolNumbers[s]; ok {
		return n, true
	}
	n, err := strconv.ParseUint(s, 10, 8)
	return uint8(n), err == nil
}
