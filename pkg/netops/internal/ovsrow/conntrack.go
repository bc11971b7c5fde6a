package ovsrow

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/ct"
	"github.com/geomind/my_os_server/internal/ovstext"
	"github.com/geomind/my_os_server/pkg/netops/internal/kernelrow"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// userspaceDatapath is how the names of the datapaths begin that ovs-vswitchd is itself.
const userspaceDatapath = "netdev@"

// Connection makes rows of net.ovs.conntrack out of lines, in memory that each next row uses again.
type Connection struct {
	Datapath string
	Row      registry.OvsConntrackEntry
	entry    ovstext.Connection
	master   registry.ConntrackTuple
	status   []string
}

// Read takes a line. The row holds until the next one.
func (b *Connection) Read(line string) error {
	e := &b.entry
	if err := e.Read(line); err != nil {
		return Garbled("ovs-vswitchd prints what is no connection", err.Error())
	}
	row := &b.Row
	*row = registry.OvsConntrackEntry{} // and then field by field: a literal would be made elsewhere and copied
	row.Datapath, row.Protocol, row.Zone = b.Datapath, e.Protocol, int64(e.Zone)
	row.Family = registry.Some(wire.Family(unix.AF_INET))
	row.TimeoutS = wire.Number(e.HasTimeout, e.Timeout)
	row.State = registry.NonZero(strings.ToLower(e.State))
	row.Helper = registry.NonZero(e.Helper)
	row.TcpFlagsOriginal, row.TcpFlagsReply = registry.NonZero(e.FlagsOrig), registry.NonZero(e.FlagsRepl)
	row.TcpWindowScaleOriginal, row.TcpWindowScaleReply = wire.Number(e.HasWScale, e.WScaleOrig), wire.Number(e.HasWScale, e.WScaleRepl)
	row.SctpVtagOriginal, row.SctpVtagReply = wire.Number(e.HasVTags, e.VTagOrig), wire.Number(e.HasVTags, e.VTagReply)
	if e.Original.Source.Is6() {
		b.Row.Family = registry.Some(wire.Family(unix.AF_INET6))
	}
	protocol, known := ct.ProtocolNumber(e.Protocol)
	if known {
		b.Row.Protocol, b.Row.ProtocolNumber = ct.ProtocolName(protocol), registry.Some(int64(protocol))
	}
	if e.ID != 0 { // the userspace datapath numbers none
		b.Row.ID = registry.Some(wire.Hex32(e.ID))
	}
	if e.Mark != 0 {
		b.Row.Mark = registry.Some(wire.Hex32(e.Mark))
	}
	if e.Labels != "" {
		b.Row.Labels = registry.Some(strings.Repeat("0", 32-len(e.Labels)) + e.Labels)
	}
	if strings.HasPrefix(b.Datapath, userspaceDatapath) { // the kernel keeps one state, which is told twice
		b.Row.StateReply = registry.NonZero(strings.ToLower(e.StateReply))
	}
	fillTuple(&b.Row.Original, &e.Original, protocol)
	fillTuple(&b.Row.Reply, &e.Reply, protocol)
	if e.Master.Source.IsValid() {
		b.master = registry.ConntrackTuple{}
		fillTuple(&b.master, &e.Master, protocol)
		b.Row.Master = &b.master
	}
	b.Row.Status = b.statusNames(e.Status)
	return nil
}

// statusNames are the names of a status, absent where there is none.
func (b *Connection) statusNames(text string) []string {
	if text == "" {
		return nil
	}
	b.status = b.status[:0]
	for name := range strings.SplitSeq(text, "|") {
		b.status = append(b.status, strings.ToLower(name))
	}
	return b.status
}

// fillTuple fills in one direction, as it is answered. Protocols without ports are printed with ports of 0.
func fillTuple(row *registry.ConntrackTuple, t *ovstext.Tuple, protocol uint8) {
	row.Source, row.Destination = t.Source, t.Destination
	switch protocol {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE, unix.IPPROTO_SCTP, unix.IPPROTO_DCCP:
		row.SourcePort, row.DestinationPort = wire.Number(t.HasPorts, t.SourcePort), wire.Number(t.HasPorts, t.DestinationPort)
	}
	if t.HasICMP {
		row.IcmpType, row.IcmpCode, row.IcmpID = wire.Number(true, t.ICMPType), wire.Number(true, t.ICMPCode), wire.Number(true, t.ICMPID)
	}
	if t.HasCounters {
		kernelrow.AddCounters(row, ct.Counters{Packets: t.Packets, Bytes: t.Bytes})
	}
}
