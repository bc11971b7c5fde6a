package kernelrow

import (
	"encoding/hex"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Interface makes rows of net.interfaces out of the kernel's links, in memory that each next row
// uses again.
type Interface struct {
	conn  *rtnl.Conn
	names *Names
	veth  *rtnl.LinkSettings // of every veth

	row      registry.Interface
	counters registry.InterfaceCounters
	flags    []string
	vfs      []registry.InterfaceVf
}

// NewInterface makes rows with what it asks by conn, which must not be in the middle of a dump then.
func NewInterface(conn *rtnl.Conn) *Interface {
	return &Interface{conn: conn, names: NamesBy(conn)}
}

// Use makes b ask by another socket, and forget what it knows by the one before.
func (b *Interface) Use(conn *rtnl.Conn) {
	b.conn, b.names.conn, b.veth = conn, conn, nil
	b.names.forget()
}

// Of returns the row for l, without addresses. It holds until the next one is made.
func (b *Interface) Of(l *rtnl.Link) (*registry.Interface, error) {
	b.flags = rtnl.AppendLinkFlags(b.flags[:0], l.Flags)
	b.row = registry.Interface{
		Index:         int64(l.Index),
		Name:          l.Name,
		Kind:          registry.NonZero(l.Kind),
		LinkType:      rtnl.LinkTypeName(l.Type),
		MAC:           wire.MAC(l.HardwareAddr),
		LinkAddress:   otherAddress(l.HardwareAddr),
		Broadcast:     wire.MAC(l.BroadcastAddr),
		LinkBroadcast: otherAddress(l.BroadcastAddr),
		PermanentMAC:  wire.MAC(l.PermanentAddr),
		Flags:         b.flags,
		AdminUp:       l.Flags&unix.IFF_UP != 0,
		OperState:     registry.OperState(rtnl.OperStateName(l.OperState)),
		Alias:         registry.NonZero(l.Alias),
		ParentBus:     registry.NonZero(l.ParentBus),
		ParentDevice:  registry.NonZero(l.ParentDev),
		PhysPortID:    wire.Hex(l.PhysPortID),
		PhysPortName:  registry.NonZero(l.PhysPortName),
		PhysSwitchID:  wire.Hex(l.PhysSwitchID),
	}
	if len(l.AltNames) > 0 {
		b.row.AltNames = l.AltNames
	}
	b.sizes(l)
	b.state(l)
	b.relations(l)
	b.settings(l)
	b.functions(l)
	if l.NumStats > 0 {
		b.counters = countersOf(l)
		b.row.Counters = &b.counters
	}
	return &b.row, b.kind(l)
}

// otherAddress is a link-layer address that has not the length of a MAC address.
func otherAddress(b []byte) registry.Opt[string] {
	if len(b) == wire.MACSize {
		return registry.Opt[string]{}
	}
	return wire.Hex(b)
}

func (b *Interface) sizes(l *rtnl.Link) {
	r := &b.row
	r.MTU = int64(l.MTU)
	r.MinMTU = wire.Number(l.Has(unix.IFLA_MIN_MTU), l.MinMTU)
	r.MaxMTU = wire.Number(l.Has(unix.IFLA_MAX_MTU), l.MaxMTU)
	r.TxQueueLen = wire.Number(l.Has(unix.IFLA_TXQLEN), l.TxQueueLen)
	r.Qdisc = registry.NonZero(l.Qdisc)
	r.Group = wire.When(l.Has(unix.IFLA_GROUP), groupName(l.Group))
	r.NumTxQueues = wire.Number(l.Has(unix.IFLA_NUM_TX_QUEUES), l.NumTxQueues)
	r.NumRxQueues = wire.Number(l.Has(unix.IFLA_NUM_RX_QUEUES), l.NumRxQueues)
	r.Promiscuity = wire.Number(l.Has(unix.IFLA_PROMISCUITY), l.Promiscuity)
	r.Allmulti = wire.Number(l.Has(unix.IFLA_ALLMULTI), l.AllMulti)
	r.GsoMaxSize = wire.Number(l.Has(unix.IFLA_GSO_MAX_SIZE), l.GSOMaxSize)
	r.GsoMaxSegs = wire.Number(l.Has(unix.IFLA_GSO_MAX_SEGS), l.GSOMaxSegs)
	r.GsoIpv4MaxSize = wire.NonZero(l.GSOIPv4MaxSize)
	r.TsoMaxSize = wire.Number(l.Has(unix.IFLA_TSO_MAX_SIZE), l.TSOMaxSize)
	r.TsoMaxSegs = wire.Number(l.Has(unix.IFLA_TSO_MAX_SEGS), l.TSOMaxSegs)
	r.GroMaxSize = wire.Number(l.Has(unix.IFLA_GRO_MAX_SIZE), l.GROMaxSize)
	r.GroIpv4MaxSize = wire.NonZero(l.GROIPv4MaxSize)
	r.NumVfs = wire.Number(l.Has(unix.IFLA_NUM_VF), l.NumVF)
}

func groupName(group uint32) string {
	if group == 0 {
		return "default"
	}
	return strconv.FormatUint(uint64(group), 10)
}

func (b *Interface) state(l *rtnl.Link) {
	r := &b.row
	r.LinkMode = wire.When(l.Has(unix.IFLA_LINKMODE), rtnl.LinkModeName(l.LinkMode))
	r.Carrier = wire.When(l.Has(unix.IFLA_CARRIER), l.Carrier)
	r.CarrierChanges = wire.Number(l.Has(unix.IFLA_CARRIER_CHANGES), l.CarrierChanges)
	r.CarrierUpCount = wire.Number(l.Has(unix.IFLA_CARRIER_UP_COUNT), l.CarrierUpCount)
	r.CarrierDownCount = wire.Number(l.Has(unix.IFLA_CARRIER_DOWN_COUNT), l.CarrierDownCount)
	r.ProtoDown = wire.When(l.Has(unix.IFLA_PROTO_DOWN), l.ProtoDown)
	r.NetnsImmutable = wire.When(l.Has(rtnl.LinkNetNSImmutable), l.NetNSImmutable)
	r.Headroom = wire.Number(l.Has(rtnl.LinkHeadroom), l.Headroom)
	r.Tailroom = wire.Number(l.Has(rtnl.LinkTailroom), l.Tailroom)
	if l.ProtoDownReason != 0 {
		r.ProtoDownReasons = registry.Some(strconv.FormatUint(uint64(l.ProtoDownReason), 16))
	}
	r.Ipv6AddrGenMode = wire.When(l.HasInet6, rtnl.AddrGenModeName(l.AddrGenMode))
	if token := rtnl.AddrOf(l.Token); token.IsValid() && !token.IsUnspecified() {
		r.Ipv6Token = registry.Some(token)
	}
	r.XdpMode = registry.NonZero(rtnl.XDPModeName(l.XDPAttached))
	r.XdpProgramID = wire.NonZero(l.XDPProgID)
}

// relations are the interfaces that it is tied to. One in another network namespace has only an index.
func (b *Interface) relations(l *rtnl.Link) {
	r := &b.row
	b.names.Note(l.Index, l.Name)
	r.Master = b.names.Of(l.Master)
	r.MasterIndex = wire.NonZero(l.Master)
	r.PortKind = registry.NonZero(l.PortKind)
	r.ParentIndex = wire.Number(l.Link > 0, l.Link)
	if l.Has(unix.IFLA_LINK_NETNSID) {
		r.LinkNetnsid = registry.Some(int64(max(l.LinkNetNSID, -1)))
		return
	}
	r.Parent = b.names.beside(l)
}

// settings fills in speed and duplex, which are not known without a carrier.
func (b *Interface) settings(l *rtnl.Link) {
	if !l.Carrier || l.Flags&unix.IFF_LOOPBACK != 0 {
		return
	}
	s := b.ask(l)
	b.row.SpeedBps = wire.Number(s.Mbps != 0, int64(s.Mbps)*1e6)
	switch s.Duplex {
	case rtnl.DuplexHalf:
		b.row.Duplex = registry.Some(registry.DuplexHalf)
	case rtnl.DuplexFull:
		b.row.Duplex = registry.Some(registry.DuplexFull)
	}
}

// ask asks the driver, which takes a lock that every change of a link needs. A veth says the same of
// each (drivers/net/veth.c), and a node has thousands: one is asked.
func (b *Interface) ask(l *rtnl.Link) rtnl.LinkSettings {
	if l.Kind == veth && b.veth != nil {
		return *b.veth
	}
	s, err := b.conn.LinkSettings(l.Name)
	if err != nil {
		return rtnl.LinkSettings{Duplex: rtnl.DuplexUnknown} // no driver has to tell, and an interface may be gone
	}
	if l.Kind == veth {
		b.veth = &s
	}
	return s
}

const veth = "veth"

// functions are the virtual functions of a network card.
func (b *Interface) functions(l *rtnl.Link) {
	if len(l.VFs) == 0 {
		return
	}
	b.vfs = b.vfs[:0]
	for i := range l.VFs {
		b.vfs = append(b.vfs, functionOf(&l.VFs[i], len(l.HardwareAddr)))
	}
	b.row.Vfs = b.vfs
}

func functionOf(v *rtnl.VF, addrSize int) registry.InterfaceVf {
	return registry.InterfaceVf{
		Number:       int64(v.Number),
		MAC:          wire.MAC(v.Addr[:min(addrSize, len(v.Addr))]),
		VlanID:       wire.Number(v.Has(unix.IFLA_VF_VLAN), v.VLAN),
		VlanQos:      wire.Number(v.Has(unix.IFLA_VF_VLAN), v.QoS),
		VlanProtocol: wire.When(v.Has(unix.IFLA_VF_VLAN_LIST) && v.VLAN != 0, rtnl.TagName(v.VLANProtocol)),
		MinTxRateBps: wire.Number(v.Has(unix.IFLA_VF_RATE), int64(v.MinTxRate)*1e6),
		MaxTxRateBps: wire.Number(v.Has(unix.IFLA_VF_RATE), int64(v.MaxTxRate)*1e6),
		SpoofCheck:   wire.When(v.Has(unix.IFLA_VF_SPOOFCHK), v.SpoofCheck),
		LinkState:    wire.When(v.Has(unix.IFLA_VF_LINK_STATE), v.LinkStateName()),
		Trust:        wire.When(v.Has(unix.IFLA_VF_TRUST), v.Trust),
		QueryRss:     wire.When(v.Has(unix.IFLA_VF_RSS_QUERY_EN), v.QueryRSS),
	}
}

func countersOf(l *rtnl.Link) registry.InterfaceCounters {
	c := func(i int) int64 { return wire.Counter(l.Stats[i]) }
	return registry.InterfaceCounters{
		RxPackets:          c(rtnl.RxPackets),
		TxPackets:          c(rtnl.TxPackets),
		RxBytes:            c(rtnl.RxBytes),
		TxBytes:            c(rtnl.TxBytes),
		RxErrors:           c(rtnl.RxErrors),
		TxErrors:           c(rtnl.TxErrors),
		RxDropped:          c(rtnl.RxDropped),
		TxDropped:          c(rtnl.TxDropped),
		Multicast:          c(rtnl.Multicast),
		Collisions:         c(rtnl.Collisions),
		RxLengthErrors:     c(rtnl.RxLengthErrors),
		RxOverErrors:       c(rtnl.RxOverErrors),
		RxCrcErrors:        c(rtnl.RxCRCErrors),
		RxFrameErrors:      c(rtnl.RxFrameErrors),
		RxFifoErrors:       c(rtnl.RxFIFOErrors),
		RxMissedErrors:     c(rtnl.RxMissedErrors),
		TxAbortedErrors:    c(rtnl.TxAbortedErrors),
		TxCarrierErrors:    c(rtnl.TxCarrierErrors),
		TxFifoErrors:       c(rtnl.TxFIFOErrors),
		TxHeartbeatErrors:  c(rtnl.TxHeartbeatErrors),
		TxWindowErrors:     c(rtnl.TxWindowErrors),
		RxCompressed:       c(rtnl.RxCompressed),
		TxCompressed:       c(rtnl.TxCompressed),
		RxNohandler:        wire.When(l.NumStats > rtnl.RxNoHandler, c(rtnl.RxNoHandler)),
		RxOtherhostDropped: wire.When(l.NumStats > rtnl.RxOtherHostDropped, c(rtnl.RxOtherHostDropped)),
	}
}

// hexList is link-layer addresses as text.
func hexList(list [][]byte) []string {
	var out []string
	for _, b := range list {
		if text, ok := wire.MAC(b).Get(); ok {
			out = append(out, text)
		} else {
			out = append(out, hex.EncodeToString(b))
		}
	}
	return out
}
