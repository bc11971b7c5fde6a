package nft

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// Enum names the values of an enumeration of the kernel.
type Enum struct{ names []string }

// Name is the name of v, or v as text where it has none.
func (e Enum) Name(v uint32) string {
	if uint64(v) < uint64(len(e.names)) && e.names[v] != "" {
		return e.names[v]
	}
	return strconv.FormatUint(uint64(v), 10)
}

// Flags names the bits of a mask.
type Flags struct{ names []string }

// Append appends the names of the bits that are set, the lowest first; a bit without a name as bit_N.
func (f Flags) Append(list []string, mask uint32) []string {
	for bit := range 32 {
		switch {
		case mask&(1<<bit) == 0:
		case bit < len(f.names) && f.names[bit] != "":
			list = append(list, f.names[bit])
		default:
			list = append(list, "bit_"+strconv.Itoa(bit))
		}
	}
	return list
}

// Enumerations, in the words of nft(8) or, where it has none, of linux/netfilter/nf_tables.h.
var (
	BitwiseOp     = Enum{[]string{"mask_xor", "lshift", "rshift", "and", "or", "xor"}}
	ByteorderOp   = Enum{[]string{"ntoh", "hton"}}
	CmpOp         = Enum{[]string{"eq", "neq", "lt", "lte", "gt", "gte"}}
	DynsetOp      = Enum{[]string{"add", "update", "delete"}}
	PayloadBase   = Enum{[]string{"link_layer", "network", "transport", "inner", "tunnel"}}
	ChecksumType  = Enum{[]string{"none", "inet", "sctp"}}
	ExthdrOp      = Enum{[]string{"ipv6", "tcp_option", "ipv4_option", "sctp_chunk", "dccp_option"}}
	HashType      = Enum{[]string{"jenkins", "symmetric"}}
	NumgenType    = Enum{[]string{"incremental", "random"}}
	RtKey         = Enum{[]string{"classid", "nexthop4", "nexthop6", "tcpmss", "xfrm"}}
	SocketKey     = Enum{[]string{"transparent", "mark", "wildcard", "cgroupv2"}}
	FibResult     = Enum{[]string{"", "oif", "oifname", "type"}}
	TunnelKeyName = Enum{[]string{"path", "id"}}
	TunnelMode    = Enum{[]string{"none", "rx", "tx"}}
	XfrmKey       = Enum{[]string{"", "daddr_ip4", "daddr_ip6", "saddr_ip4", "saddr_ip6", "reqid", "spi"}}
	XfrmDir       = Enum{[]string{"in", "out"}}
	LimitType     = Enum{[]string{"packets", "bytes"}}
	LogLevel      = Enum{[]string{"emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit"}}
	RejectType    = Enum{[]string{"icmp_unreachable", "tcp_reset", "icmpx_unreachable"}}
	NatType       = Enum{[]string{"snat", "dnat"}}
	Direction     = Enum{[]string{"original", "reply"}}
	SetPolicy     = Enum{[]string{"performance", "memory"}}
	Policy        = Enum{[]string{"drop", "accept"}}
	Family        = Enum{[]string{"unspec", "inet", "ip", "arp", "", "netdev", "", "bridge", "", "", "ip6"}}
	ObjectType    = Enum{[]string{"", "counter", "quota", "ct_helper", "limit", "connlimit", "tunnel", "ct_timeout",
		"secmark", "ct_expectation", "synproxy"}}
	MetaKey = Enum{[]string{"len", "protocol", "priority", "mark", "iif", "oif", "iifname", "oifname", "iiftype", "oiftype",
		"skuid", "skgid", "nftrace", "rtclassid", "secmark", "nfproto", "l4proto", "ibrname", "obrname", "pkttype", "cpu",
		"iifgroup", "oifgroup", "cgroup", "prandom", "secpath", "iifkind", "oifkind", "ibrpvid", "ibrvproto", "time_ns",
		"time_day", "time_hour", "sdif", "sdifname", "broute", "ibrhwaddr"}}
	CtKey = Enum{[]string{"state", "direction", "status", "mark", "secmark", "expiration", "helper", "l3protocol", "src", "dst",
		"protocol", "proto_src", "proto_dst", "labels", "packets", "bytes", "avgpkt", "zone", "eventmask", "src_ip", "dst_ip",
		"src_ip6", "dst_ip6", "id"}}
)

// Masks.
var (
	TableFlags     = Flags{[]string{"dormant", "owner", "persist"}}
	ChainFlags     = Flags{[]string{"base", "hw_offload", "binding"}}
	FlowtableFlags = Flags{[]string{"offload", "counter"}}
	SetFlags       = Flags{[]string{"anonymous", "constant", "interval", "map", "timeout", "dynamic", "object", "concat", "expr"}}
	LogFlags       = Flags{[]string{"tcp_seq", "tcp_opt", "ip_opt", "uid", "nflog", "macdecode"}}
	NatFlags       = Flags{[]string{"map_ips", "proto_specified", "random", "persistent", "random_fully", "proto_offset", "netmap"}}
	MasqFlags      = Flags{[]string{"map_ips", "proto_specified", "random", "persistent", "fully_random", "proto_offset", "netmap"}}
	QueueFlags     = Flags{[]string{"bypass", "cpu_fanout"}}
	FibFlags       = Flags{[]string{"saddr", "daddr", "mark", "iif", "oif", "present"}}
	SynproxyFlags  = Flags{[]string{"mss", "wscale", "sack_perm", "timestamp", "ecn"}}
	ChecksumFlags  = Flags{[]string{"pseudohdr"}}
	InnerFlags     = Flags{[]string{"hdrsize", "ll", "nh", "th"}}
	TunnelFlags    = Flags{[]string{"zero_csum_tx", "dont_fragment", "seq_number"}}
)

// Hooks by number: netfilter's, and those of the netdev family.
var (
	inetHooks   = Enum{[]string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}}
	netdevHooks = Enum{[]string{"ingress", "egress"}}
	arpHooks    = Enum{[]string{"input", "output", "forward"}}
)

// FlowtableHook is the hook of a flowtable, whatever its family.
var FlowtableHook = netdevHooks

// HookName is the hook of a base chain or flowtable in a table of a family.
func HookName(family uint8, hook uint32) string {
	switch family {
	case unix.NFPROTO_NETDEV:
		return netdevHooks.Name(hook)
	case unix.NFPROTO_ARP:
		return arpHooks.Name(hook)
	}
	return inetHooks.Name(hook)
}

// Verdicts with a name (linux/netfilter.h, enum nft_verdicts).
var verdicts = map[int32]string{
	0: "drop", 1: "accept", 2: "stolen", 3: "queue", 4: "repeat",
	-1: "continue", -2: "break", -3: "jump", -4: "goto", -5: "return",
}

const (
	verdictMask  = 0xff
	verdictQueue = 3
)

// Name is the verdict without its chain or queue.
func (v Verdict) Name() string {
	code := v.Code
	if _, ok := v.Queue(); ok {
		code = verdictQueue
	}
	if name, ok := verdicts[code]; ok {
		return name
	}
	return strconv.FormatInt(int64(v.Code), 10)
}

// Queue is the queue of the verdict queue, which stands in the code's upper half.
func (v Verdict) Queue() (number uint16, ok bool) {
	if v.Code < 0 || v.Code&verdictMask != verdictQueue {
		return 0, false
	}
	return uint16(v.Code >> 16), true
}

// States of a timeout policy by protocol (linux/netfilter/nfnetlink_cttimeout.h), in the words of nft.
var (
	streamTimeouts = Enum{[]string{"", "unreplied", "replied"}}
	plainTimeouts  = Enum{[]string{"", "timeout"}}
	timeouts       = map[uint8]Enum{
		unix.IPPROTO_TCP: {[]string{"", "syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "last_ack",
			"time_wait", "close", "syn_sent2", "retrans", "unack"}},
		unix.IPPROTO_SCTP: {[]string{"", "closed", "cookie_wait", "cookie_echoed", "established", "shutdown_sent",
			"shutdown_recd", "shutdown_ack_sent", "heartbeat_sent", "heartbeat_acked"}},
		unix.IPPROTO_DCCP:    {[]string{"", "request", "respond", "partopen", "open", "closereq", "closing", "timewait"}},
		unix.IPPROTO_UDP:     streamTimeouts,
		unix.IPPROTO_UDPLITE: streamTimeouts,
		unix.IPPROTO_GRE:     streamTimeouts,
	}
)

func timeoutName(l4proto uint8, attr uint16) string {
	names, ok := timeouts[l4proto]
	if !ok {
		names = plainTimeouts
	}
	return names.Name(uint32(attr))
}
