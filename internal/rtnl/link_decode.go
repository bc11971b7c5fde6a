package rtnl

import (
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Attributes that x/sys/unix does not have (linux/if_link.h).
const (
	iflaGSOIPv4MaxSize = 63 // Linux 6.3
	iflaGROIPv4MaxSize = 64
)

// size takes the attributes that count or bound something.
func (l *Link) size(a *nlsock.Attrs) bool {
	switch a.Type() {
	case unix.IFLA_MTU:
		l.MTU = a.Uint32()
	case unix.IFLA_MIN_MTU:
		l.MinMTU = a.Uint32()
	case unix.IFLA_MAX_MTU:
		l.MaxMTU = a.Uint32()
	case unix.IFLA_TXQLEN:
		l.TxQueueLen = a.Uint32()
	case unix.IFLA_GROUP:
		l.Group = a.Uint32()
	case unix.IFLA_NUM_TX_QUEUES:
		l.NumTxQueues = a.Uint32()
	case unix.IFLA_NUM_RX_QUEUES:
		l.NumRxQueues = a.Uint32()
	case unix.IFLA_PROMISCUITY:
		l.Promiscuity = a.Uint32()
	case unix.IFLA_ALLMULTI:
		l.AllMulti = a.Uint32()
	case unix.IFLA_GSO_MAX_SEGS:
		l.GSOMaxSegs = a.Uint32()
	case unix.IFLA_GSO_MAX_SIZE:
		l.GSOMaxSize = a.Uint32()
	case iflaGSOIPv4MaxSize:
		l.GSOIPv4MaxSize = a.Uint32()
	case unix.IFLA_GRO_MAX_SIZE:
		l.GROMaxSize = a.Uint32()
	case iflaGROIPv4MaxSize:
		l.GROIPv4MaxSize = a.Uint32()
	case unix.IFLA_TSO_MAX_SEGS:
		l.TSOMaxSegs = a.Uint32()
	case unix.IFLA_TSO_MAX_SIZE:
		l.TSOMaxSize = a.Uint32()
	case unix.IFLA_NUM_VF:
		l.NumVF = a.Uint32()
	default:
		return false
	}
	return true
}

// state takes the attributes that say how the link does and what it is tied to.
func (l *Link) state(a *nlsock.Attrs) bool {
	switch a.Type() {
	case unix.IFLA_OPERSTATE:
		l.OperState = a.Uint8()
	case unix.IFLA_LINKMODE:
		l.LinkMode = a.Uint8()
	case unix.IFLA_CARRIER:
		l.Carrier = a.Uint8() != 0
	case unix.IFLA_CARRIER_CHANGES:
		l.CarrierChanges = a.Uint32()
	case unix.IFLA_CARRIER_UP_COUNT:
		l.CarrierUpCount = a.Uint32()
	case unix.IFLA_CARRIER_DOWN_COUNT:
		l.CarrierDownCount = a.Uint32()
	case unix.IFLA_PROTO_DOWN:
		l.ProtoDown = a.Uint8() != 0
	case unix.IFLA_MASTER:
		l.Master = int(a.Int32())
	case unix.IFLA_LINK:
		l.Link = int(a.Int32())
	case unix.IFLA_LINK_NETNSID:
		l.LinkNetNSID = int(a.Int32())
	case unix.IFLA_STATS64:
		l.NumStats = l.Stats.decode(a.Bytes())
	default:
		return false
	}
	return true
}

// text takes names and addresses.
func (l *Link) text(a *nlsock.Attrs) bool {
	switch a.Type() {
	case unix.IFLA_IFNAME:
		l.Name = a.String()
	case unix.IFLA_IFALIAS:
		l.Alias = a.String()
	case unix.IFLA_QDISC:
		l.Qdisc = nlsock.Reuse(&l.last.qdisc, a.Bytes())
	case unix.IFLA_PARENT_DEV_NAME:
		l.ParentDev = a.String()
	case unix.IFLA_PARENT_DEV_BUS_NAME:
		l.ParentBus = nlsock.Reuse(&l.last.parentBus, a.Bytes())
	case unix.IFLA_PHYS_PORT_NAME:
		l.PhysPortName = a.String()
	case unix.IFLA_ADDRESS:
		l.HardwareAddr = a.Bytes()
	case unix.IFLA_BROADCAST:
		l.BroadcastAddr = a.Bytes()
	case unix.IFLA_PERM_ADDRESS:
		l.PermanentAddr = a.Bytes()
	case unix.IFLA_PHYS_PORT_ID:
		l.PhysPortID = a.Bytes()
	case unix.IFLA_PHYS_SWITCH_ID:
		l.PhysSwitchID = a.Bytes()
	default:
		return false
	}
	return true
}

// nested takes the attributes that hold attributes.
func (l *Link) nested(a *nlsock.Attrs) error {
	switch a.Type() {
	case unix.IFLA_LINKINFO:
		return l.linkInfo(a.Nested())
	case unix.IFLA_PROP_LIST:
		return l.propList(a.Nested())
	case unix.IFLA_AF_SPEC:
		return l.afSpec(a.Nested())
	case unix.IFLA_VFINFO_LIST:
		return l.virtualFunctions(a.Nested())
	case unix.IFLA_XDP:
		return l.xdp(a.Nested())
	case unix.IFLA_PROTO_DOWN_REASON:
		return l.protoDownReason(a.Nested())
	}
	return nil
}

func (l *Link) linkInfo(a nlsock.Attrs) error {
	for a.Next() {
		switch a.Type() {
		case unix.IFLA_INFO_KIND:
			l.Kind = nlsock.Reuse(&l.last.kind, a.Bytes())
		case unix.IFLA_INFO_DATA:
			l.Data = a.Bytes()
		case unix.IFLA_INFO_SLAVE_KIND:
			l.PortKind = nlsock.Reuse(&l.last.portKind, a.Bytes())
		case unix.IFLA_INFO_SLAVE_DATA:
			l.PortData = a.Bytes()
		}
	}
	return a.Err()
}

func (l *Link) propList(a nlsock.Attrs) error {
	for a.Next() {
		if a.Type() == unix.IFLA_ALT_IFNAME {
			l.AltNames = append(l.AltNames, a.String())
		}
	}
	return a.Err()
}

// afSpec reads what each address family says of the interface, one attribute a family; of IPv6 how
// addresses are made. The rest of it stands in /proc/sys/net.
func (l *Link) afSpec(a nlsock.Attrs) error {
	for a.Next() {
		if a.Type() != unix.AF_INET6 {
			continue
		}
		l.HasInet6 = true
		if err := l.inet6(a.Nested()); err != nil {
			return err
		}
	}
	return a.Err()
}

func (l *Link) inet6(a nlsock.Attrs) error {
	for a.Next() {
		switch a.Type() {
		case unix.IFLA_INET6_ADDR_GEN_MODE:
			l.AddrGenMode = a.Uint8()
		case unix.IFLA_INET6_TOKEN:
			l.Token = a.Bytes()
		}
	}
	return a.Err()
}

func (l *Link) xdp(a nlsock.Attrs) error {
	for a.Next() {
		switch a.Type() {
		case unix.IFLA_XDP_ATTACHED:
			l.XDPAttached = a.Uint8()
		case unix.IFLA_XDP_PROG_ID:
			l.XDPProgID = a.Uint32()
		}
	}
	return a.Err()
}

func (l *Link) protoDownReason(a nlsock.Attrs) error {
	for a.Next() {
		if a.Type() == unix.IFLA_PROTO_DOWN_REASON_VALUE {
			l.ProtoDownReason = a.Uint32()
		}
	}
	return a.Err()
}
