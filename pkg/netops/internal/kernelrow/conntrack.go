package kernelrow

import (
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/ct"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Conntrack makes rows of net.conntrack out of the kernel's, in memory that each next row uses again.
type Conntrack struct {
	row         registry.ConntrackEntry
	master      registry.ConntrackTuple
	seqAdj      [2]registry.ConntrackSeqAdjust
	status      []string
	statusBits  uint32
	mark        string
	markValue   uint32
	labelDigits []byte
}

// Of returns the row for e. It holds until the next one is made.
func (b *Conntrack) Of(e *ct.Entry) *registry.ConntrackEntry {
	b.row = registry.ConntrackEntry{
		Family:          wire.Family(e.Family),
		Protocol:        ct.ProtocolName(e.Original.Proto),
		ProtocolNumber:  int64(e.Original.Proto),
		State:           registry.NonZero(e.Info.StateName()),
		Status:          b.statusNames(e.Status),
		Original:        conntrackTuple(&e.Original),
		Reply:           conntrackTuple(&e.Reply),
		Zone:            int64(e.Zone),
		TimeoutS:        wire.Number(e.Has(ct.AttrTimeout), e.Timeout),
		Helper:          registry.NonZero(e.Helper),
		SecurityContext: registry.NonZero(e.SecCtx),
		Use:             wire.Number(e.Has(ct.AttrUse), e.Use),
		StartedAt:       conntrackTime(e.Start),
		StoppedAt:       conntrackTime(e.Stop),
	}
	if e.Has(ct.AttrID) {
		b.row.ID = registry.Some(wire.Hex32(e.ID))
	}
	if e.Has(ct.AttrMark) {
		b.row.Mark = registry.Some(b.markText(e.Mark))
	}
	if e.Has(ct.AttrCountersOrig) {
		AddCounters(&b.row.Original, e.CountersOrig)
	}
	if e.Has(ct.AttrCountersReply) {
		AddCounters(&b.row.Reply, e.CountersReply)
	}
	b.protocolInfo(&e.Info)
	b.rare(e)
	return &b.row
}

// rare adds what few connections have.
func (b *Conntrack) rare(e *ct.Entry) {
	if e.Has(ct.AttrTupleMaster) {
		b.master = conntrackTuple(&e.Master)
		b.row.Master = &b.master
	}
	if e.Has(ct.AttrLabels) {
		b.row.Labels = b.labels(e.Labels)
	}
	if e.Has(ct.AttrSeqAdjOrig) {
		b.seqAdj[0] = seqAdjust(e.SeqAdjOrig)
		b.row.SeqAdjustOriginal = &b.seqAdj[0]
	}
	if e.Has(ct.AttrSeqAdjReply) {
		b.seqAdj[1] = seqAdjust(e.SeqAdjReply)
		b.row.SeqAdjustReply = &b.seqAdj[1]
	}
	if e.Has(ct.AttrSynproxy) {
		b.row.SynproxyIsn = wire.Number(true, e.Synproxy.ISN)
		b.row.SynproxyIts = wire.Number(true, e.Synproxy.ITS)
		b.row.SynproxyTsoff = wire.Number(true, e.Synproxy.TSOff)
	}
}

func (b *Conntrack) protocolInfo(i *ct.Info) {
	switch i.Proto {
	case unix.IPPROTO_TCP:
		b.row.TcpWindowScaleOriginal = wire.Number(true, i.WScaleOrig)
		b.row.TcpWindowScaleReply = wire.Number(true, i.WScaleReply)
		b.row.TcpFlagsOriginal = wire.Number(true, i.FlagsOrig)
		b.row.TcpFlagsReply = wire.Number(true, i.FlagsReply)
	case unix.IPPROTO_SCTP:
		b.row.SctpVtagOriginal = wire.Number(true, i.VTagOrig)
		b.row.SctpVtagReply = wire.Number(true, i.VTagReply)
	case unix.IPPROTO_DCCP:
		b.row.DccpRole = registry.Some([]string{"client", "server"}[i.Role&1])
		b.row.DccpHandshakeSeq = registry.Some(strconv.FormatUint(i.HandshakeSeq, 16))
	}
}

// statusNames is made anew only where it differs from the last row's.
func (b *Conntrack) statusNames(bits uint32) []string {
	if bits != b.statusBits || b.status == nil {
		b.status = ct.AppendStatus(b.status[:0], bits)
		b.statusBits = bits
	}
	return b.status
}

// markText is made anew only where it differs from the last row's.
func (b *Conntrack) markText(mark uint32) string {
	if mark != b.markValue || b.mark == "" {
		b.mark, b.markValue = wire.Hex32(mark), mark
	}
	return b.mark
}

// labels is the bitmap with its highest bit first. The kernel has it in longs of the host, which is a
// little-endian one on every architecture that the daemon is built for.
func (b *Conntrack) labels(bitmap []byte) registry.Opt[string] {
	b.labelDigits = append(b.labelDigits[:0], bitmap...)
	slices.Reverse(b.labelDigits)
	return wire.Hex(b.labelDigits)
}

func conntrackTuple(t *ct.Tuple) registry.ConntrackTuple {
	row := registry.ConntrackTuple{
		Source:      t.Src,
		Destination: t.Dst,
		Zone:        wire.Number(t.HasZone, t.Zone),
	}
	switch {
	case t.HasPorts && t.Proto == unix.IPPROTO_GRE:
		row.SourceKey, row.DestinationKey = wire.Number(true, t.SrcPort), wire.Number(true, t.DstPort)
	case t.HasPorts:
		row.SourcePort, row.DestinationPort = wire.Number(true, t.SrcPort), wire.Number(true, t.DstPort)
	case t.HasICMP:
		row.IcmpType, row.IcmpCode = wire.Number(true, t.ICMPType), wire.Number(true, t.ICMPCode)
		row.IcmpID = wire.Number(true, t.ICMPID)
	}
	return row
}

// AddCounters adds to one direction of a connection what was counted in it.
func AddCounters(t *registry.ConntrackTuple, c ct.Counters) {
	t.Packets, t.Bytes = registry.Some(wire.Counter(c.Packets)), registry.Some(wire.Counter(c.Bytes))
}

func seqAdjust(s ct.SeqAdj) registry.ConntrackSeqAdjust {
	return registry.ConntrackSeqAdjust{
		Position:     int64(s.Position),
		OffsetBefore: int64(s.Before),
		OffsetAfter:  int64(s.After),
	}
}

// conntrackTime is nanoseconds since 1970; 0 is no time.
func conntrackTime(ns uint64) registry.Opt[time.Time] {
	return wire.When(ns != 0, time.Unix(0, int64(ns)))
}
