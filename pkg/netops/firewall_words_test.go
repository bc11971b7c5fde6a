package netops

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/pkg/registry"
)

// The functions here say an expression of net.firewall in the words of libnftnl, as
// nft --debug=netlink prints them: an independent decoder of the same messages.

func exprWords(x *registry.NftExpression) string {
	words := kindWords(x)
	if words == "" {
		return x.Type
	}
	return x.Type + " " + words
}

func kindWords(x *registry.NftExpression) string {
	switch {
	case x.Payload != nil:
		return payloadWords(x.Payload)
	case x.Bitwise != nil:
		return bitwiseWords(x.Bitwise)
	case x.Immediate != nil:
		return immediateWords(x.Immediate)
	case x.Lookup != nil:
		return fmt.Sprintf("reg %d set %s", x.Lookup.Sreg, x.Lookup.Set) + opt(" dreg %d", x.Lookup.Dreg) + fmt.Sprintf(" 0x%x", bit(x.Lookup.Invert))
	case x.Dynset != nil:
		return dynsetWords(x.Dynset)
	case x.Exthdr != nil:
		return exthdrWords(x.Exthdr)
	case x.Fib != nil:
		return fibWords(x.Fib)
	case x.Log != nil:
		return logWords(x.Log)
	case x.NAT != nil, x.Masq != nil, x.Redir != nil:
		return natWords(x)
	case x.Counter != nil, x.Limit != nil, x.Quota != nil, x.Connlimit != nil:
		return stateWords(&registry.NftStateful{Counter: x.Counter, Limit: x.Limit, Quota: x.Quota, Connlimit: x.Connlimit})
	case x.Meta != nil, x.Ct != nil, x.Rt != nil, x.Socket != nil, x.Xfrm != nil:
		return loadWords(x)
	}
	return otherWords(x)
}

func otherWords(x *registry.NftExpression) string {
	switch {
	case x.Cmp != nil:
		return fmt.Sprintf("%s reg %d %s", x.Cmp.Op, x.Cmp.Sreg, data(x.Cmp.Data))
	case x.Range != nil:
		return fmt.Sprintf("%s reg %d %s %s", x.Range.Op, x.Range.Sreg, data(x.Range.From), data(x.Range.To))
	case x.Byteorder != nil:
		b := x.Byteorder
		return fmt.Sprintf("reg %d = %s(reg %d, %d, %d)", b.Dreg, b.Op, b.Sreg, b.Size, b.Length)
	case x.Hash != nil:
		return hashWords(x.Hash)
	case x.Numgen != nil:
		n := x.Numgen
		words := fmt.Sprintf("reg %d = %s mod %d", n.Dreg, strings.Replace(n.Generator, "incremental", "inc", 1), n.Modulus)
		return words + nonZeroWord(" offset %d", n.Offset)
	case x.Objref != nil:
		if name, ok := x.Objref.Object.Get(); ok {
			return fmt.Sprintf("type %d name %s", objectNumber(x.Objref.ObjectType.Or("")), name)
		}
		return fmt.Sprintf("sreg %d set %s", x.Objref.Sreg.Or(-1), x.Objref.Set.Or(""))
	case x.Osf != nil:
		return fmt.Sprintf("dreg %d", x.Osf.Dreg)
	case x.Reject != nil:
		kind := slices.Index([]string{"icmp_unreachable", "tcp_reset", "icmpx_unreachable"}, x.Reject.RejectType)
		return fmt.Sprintf("type %d code %d", kind, x.Reject.IcmpCode.Or(0))
	case x.Synproxy != nil:
		return fmt.Sprintf("mss %d wscale %d", x.Synproxy.Mss, x.Synproxy.WindowScale)
	case x.Tproxy != nil:
		return strings.TrimSpace(strings.TrimPrefix(x.Tproxy.Family, "unspec") + opt(" addr reg %d", x.Tproxy.SregAddress) + opt(" port reg %d", x.Tproxy.SregPort))
	case x.Dup != nil:
		return strings.TrimSpace(opt("sreg_addr %d", x.Dup.SregAddress) + opt(" sreg_dev %d", x.Dup.SregDevice))
	case x.FlowOffload != nil:
		return "flowtable " + x.FlowOffload.Flowtable
	case x.Queue != nil:
		return queueWords(x.Queue)
	case x.Fwd != nil:
		words := fmt.Sprintf("sreg_dev %d", x.Fwd.SregDevice) + opt(" sreg_addr %d", x.Fwd.SregAddress)
		if family, ok := x.Fwd.Family.Get(); ok {
			words += fmt.Sprintf(" nfproto %d", map[string]int{"ip": 2, "ip6": 10}[family])
		}
		return words
	}
	return ""
}

// data is a value as libnftnl prints it: words of four bytes in the host's order.
func data(text string) string {
	b, err := hex.DecodeString(text)
	if err != nil {
		return err.Error()
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	var words []string
	for ; len(b) > 0; b = b[4:] {
		words = append(words, fmt.Sprintf("0x%08x", binary.NativeEndian.Uint32(b)))
	}
	return strings.Join(words, " ")
}

func opt(format string, v registry.Opt[int64]) string {
	if n, ok := v.Get(); ok {
		return fmt.Sprintf(format, n)
	}
	return ""
}

func nonZeroWord(format string, v int64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf(format, v)
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func objectNumber(name string) int {
	return slices.Index([]string{"", "counter", "quota", "ct_helper", "limit", "connlimit", "tunnel", "ct_timeout", "secmark", "ct_expectation", "synproxy"}, name)
}

func payloadWords(p *registry.NftPayload) string {
	header := strings.Replace(p.Base, "link_layer", "link", 1) + " header"
	if sreg, ok := p.Sreg.Get(); ok {
		csum := slices.Index([]string{"none", "inet", "sctp"}, p.ChecksumType.Or("none"))
		return fmt.Sprintf("write reg %d => %db @ %s + %d csum_type %d csum_off %d csum_flags 0x%x", sreg, p.Length, header, p.Offset,
			csum, p.ChecksumOffset.Or(0), len(p.ChecksumFlags))
	}
	return fmt.Sprintf("load %db @ %s + %d => reg %d", p.Length, header, p.Offset, p.Dreg.Or(-1))
}

func bitwiseWords(b *registry.NftBitwise) string {
	switch b.Op {
	case "mask_xor":
		return fmt.Sprintf("reg %d = ( reg %d & %s ) ^ %s", b.Dreg, b.Sreg, data(b.Mask.Or("")), data(b.Xor.Or("")))
	case "lshift":
		return fmt.Sprintf("reg %d = ( reg %d << %s )", b.Dreg, b.Sreg, data(b.Data.Or("")))
	}
	return fmt.Sprintf("reg %d = ( reg %d >> %s )", b.Dreg, b.Sreg, data(b.Data.Or("")))
}

func immediateWords(i *registry.NftImmediate) string {
	if i.Verdict == nil {
		return fmt.Sprintf("reg %d %s", i.Dreg, data(i.Data.Or("")))
	}
	words := fmt.Sprintf("reg %d %s", i.Dreg, i.Verdict.Code)
	if chain, ok := i.Verdict.Chain.Get(); ok {
		words += " -> " + chain
	}
	return words
}

func dynsetWords(d *registry.NftDynset) string {
	words := fmt.Sprintf("%s reg_key %d set %s", d.Op, d.SregKey, d.Set) + opt(" sreg_data %d", d.SregData)
	words += fmt.Sprintf(" timeout %.0fms", d.TimeoutS.Or(0)*1000)
	for i := range d.Expressions {
		words += fmt.Sprintf(" expr [ %s %s ]", d.Expressions[i].Type, stateWords(&d.Expressions[i]))
	}
	return words
}

func exthdrWords(e *registry.NftExthdr) string {
	op := map[string]string{"tcp_option": "tcpopt ", "ipv4_option": "ipv4 ", "ipv6": "ipv6 "}[e.Op]
	at := fmt.Sprintf("%db @ %d + %d", e.Length, e.HeaderType, e.Offset)
	if e.Present {
		at += " present"
	}
	if dreg, ok := e.Dreg.Get(); ok {
		return fmt.Sprintf("load %s%s => reg %d", op, at, dreg)
	}
	if sreg, ok := e.Sreg.Get(); ok {
		return fmt.Sprintf("write %sreg %d => %s", op, sreg, at)
	}
	return fmt.Sprintf("reset %s%d", op, e.HeaderType)
}

func queueWords(q *registry.NftQueue) string {
	words := opt("sreg_qnum %d", q.SregNumber)
	if first, ok := q.Number.Get(); ok {
		words = fmt.Sprintf("num %d", first) + nonZeroWord("-%d", (first+q.Total.Or(1)-1)*int64(bit(q.Total.Or(1) > 1)))
	}
	for _, f := range q.Flags {
		words += " " + strings.TrimPrefix(f, "cpu_")
	}
	return words
}

func fibWords(f *registry.NftFib) string {
	flags, result := slices.Clone(f.Flags), f.Result
	if i := slices.Index(flags, "present"); i >= 0 {
		flags, result = slices.Delete(flags, i, i+1), result+" present"
	}
	return fmt.Sprintf("%s %s => reg %d", strings.Join(flags, " . "), result, f.Dreg)
}

func logWords(l *registry.NftLog) string {
	words := ""
	if prefix, ok := l.Prefix.Get(); ok {
		words += "prefix " + prefix + " "
	}
	if _, grouped := l.Group.Get(); grouped {
		return words + opt("group %d ", l.Group) + fmt.Sprintf("snaplen %d qthreshold %d", l.Snaplen.Or(0), l.QueueThreshold.Or(0))
	}
	level := slices.Index([]string{"emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit"}, l.Level.Or("warn"))
	words += fmt.Sprintf("level %d", level)
	for _, f := range l.Flags {
		words += " " + strings.ReplaceAll(f, "_", "")
	}
	return words
}

// natFlagBits are the bits of NF_NAT_RANGE_*, in their order.
var natFlagBits = []string{"map_ips", "proto_specified", "random", "persistent", "random_fully", "proto_offset", "netmap"}

func natWords(x *registry.NftExpression) string {
	flags := func(names []string) string {
		mask := 0
		for _, n := range names {
			mask |= 1 << slices.Index(natFlagBits, strings.Replace(n, "fully_random", "random_fully", 1))
		}
		return nonZeroWord(" flags 0x%x", int64(mask))
	}
	switch {
	case x.NAT != nil:
		n := x.NAT
		words := n.NATType + " " + n.Family + opt(" addr_min reg %d", n.SregAddressMin) + opt(" addr_max reg %d", n.SregAddressMax)
		return words + opt(" proto_min reg %d", n.SregPortMin) + opt(" proto_max reg %d", n.SregPortMax) + flags(n.Flags)
	case x.Masq != nil:
		return strings.TrimSpace(opt("proto_min reg %d", x.Masq.SregPortMin) + opt(" proto_max reg %d", x.Masq.SregPortMax) + flags(x.Masq.Flags))
	}
	return strings.TrimSpace(opt("proto_min reg %d", x.Redir.SregPortMin) + opt(" proto_max reg %d", x.Redir.SregPortMax) + flags(x.Redir.Flags))
}

var limitUnits = map[int64]string{1: "second", 60: "minute", 3600: "hour", 86400: "day", 604800: "week"}

func stateWords(s *registry.NftStateful) string {
	switch {
	case s.Counter != nil:
		return fmt.Sprintf("pkts %d bytes %d", s.Counter.Packets, s.Counter.Bytes)
	case s.Limit != nil:
		l := s.Limit
		return fmt.Sprintf("rate %d/%s burst %d type %s flags 0x%x", l.Rate, limitUnits[l.UnitS], l.Burst, l.LimitType, bit(l.Invert))
	case s.Quota != nil:
		return fmt.Sprintf("bytes %d consumed %d flags %d", s.Quota.Bytes, s.Quota.Consumed, bit(s.Quota.Invert)|bit(s.Quota.Depleted)<<1)
	}
	return fmt.Sprintf("count %d flags %d", s.Connlimit.Count, bit(s.Connlimit.Invert))
}

// metaWords are keys that libnftnl calls otherwise.
var metaWords = map[string]string{
	"time_day": "day", "time_hour": "hour", "ibrname": "bri_iifname", "obrname": "bri_oifname", "ibrpvid": "bri_iifpvid",
}

func loadWords(x *registry.NftExpression) string {
	key, dreg, sreg, tail := "", registry.Opt[int64]{}, registry.Opt[int64]{}, ""
	switch {
	case x.Meta != nil:
		key, dreg, sreg = x.Meta.Key, x.Meta.Dreg, x.Meta.Sreg
		if name, ok := metaWords[key]; ok {
			key = name
		}
	case x.Ct != nil:
		key, dreg, sreg = strings.Replace(x.Ct.Key, "labels", "label", 1), x.Ct.Dreg, x.Ct.Sreg
		if dir, ok := x.Ct.Direction.Get(); ok {
			tail = " , dir " + dir
		}
	case x.Rt != nil:
		key, dreg = strings.Replace(x.Rt.Key, "xfrm", "ipsec", 1), registry.Some(x.Rt.Dreg)
	case x.Socket != nil:
		key, dreg = x.Socket.Key, registry.Some(x.Socket.Dreg)
	default:
		key = strings.NewReplacer("_ip4", "4", "_ip6", "6").Replace(x.Xfrm.Key)
		key, dreg = fmt.Sprintf("%s %d %s", x.Xfrm.Direction, x.Xfrm.Number, key), registry.Some(x.Xfrm.Dreg)
	}
	if n, ok := sreg.Get(); ok {
		return fmt.Sprintf("set %s with reg %d%s", key, n, tail)
	}
	return fmt.Sprintf("load %s => reg %d%s", key, dreg.Or(-1), tail)
}

func hashWords(h *registry.NftHash) string {
	words := "symhash()"
	if h.HashType == "jenkins" {
		words = fmt.Sprintf("jhash(reg %d, %d, 0x%s)", h.Sreg.Or(-1), h.Length.Or(-1), strings.TrimLeft(h.Seed.Or("0"), "0"))
	}
	return fmt.Sprintf("reg %d = %s %% mod %d", h.Dreg, words, h.Modulus) + nonZeroWord(" offset %d", h.Offset)
}
