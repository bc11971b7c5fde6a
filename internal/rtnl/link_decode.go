package rtnl

import (
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Attributes that x/sys/unix does not have (linux/if_link.h); [Link.Has] takes those that have a name here.
const (
	iflaGSOIPv4MaxSize = 63 // Linux 6.3
	iflaGROIPv4MaxSize = 64

	LinkNetNSImmutable = 67 // Linux 6.16
	LinkHeadroom       = 68 // Linux 6.17
	LinkTailroom       = 69
)

// linkFields says which attribute goes into which field, by the attribute's number. (As a table because
// a link has some fifty attributes, each of which a switch of that size would look for step by step.)
var linkFields = [...]func(*Link, *nlsock.Attrs){
	unix.IFLA_MTU:                 func(l *Link, a *nlsock.Attrs) { l.MTU = a.Uint32() },
	unix.IFLA_MIN_MTU:             func(l *Link, a *nlsock.Attrs) { l.MinMTU = a.Uint32() },
	unix.IFLA_MAX_MTU:             func(l *Link, a *nlsock.Attrs) { l.MaxMTU = a.Uint32() },
	unix.IFLA_TXQLEN:              func(l *Link, a *nlsock.Attrs) { l.TxQueueLen = a.Uint32() },
	unix.IFLA_GROUP:               func(l *Link, a *nlsock.Attrs) { l.Group = a.Uint32() },
	unix.IFLA_NUM_TX_QUEUES:       func(l *Link, a *nlsock.Attrs) { l.NumTxQueues = a.Uint32() },
	unix.IFLA_NUM_RX_QUEUES:       func(l *Link, a *nlsock.Attrs) { l.NumRxQueues = a.Uint32() },
	unix.IFLA_PROMISCUITY:         func(l *Link, a *nlsock.Attrs) { l.Promiscuity = a.Uint32() },
	unix.IFLA_ALLMULTI:            func(l *Link, a *nlsock.Attrs) { l.AllMulti = a.Uint32() },
	unix.IFLA_GSO_MAX_SEGS:        func(l *Link, a *nlsock.Attrs) { l.GSOMaxSegs = a.Uint32() },
	unix.IFLA_GSO_MAX_SIZE:        func(l *Link, a *nlsock.Attrs) { l.GSOMaxSize = a.Uint32() },
	iflaGSOIPv4MaxSize:            func(l *Link, a *nlsock.Attrs) { l.GSOIPv4MaxSize = a.Uint32() },
	unix.IFLA_GRO_MAX_SIZE:        func(l *Link, a *nlsock.Attrs) { l.GROMaxSize = a.Uint32() },
	iflaGROIPv4MaxSize:            func(l *Link, a *nlsock.Attrs) { l.GROIPv4MaxSize = a.Uint32() },
	unix.IFLA_TSO_MAX_SEGS:        func(l *Link, a *nlsock.Attrs) { l.TSOMaxSegs = a.Uint32() },
	unix.IFLA_TSO_MAX_SIZE:        func(l *Link, a *nlsock.Attrs) { l.TSOMaxSize = a.Uint32() },
	unix.IFLA_NUM_VF:              func(l *Link, a *nlsock.Attrs) { l.NumVF = a.Uint32() },
	unix.IFLA_OPERSTATE:           func(l *Link, a *nlsock.Attrs) { l.OperState = a.Uint8() },
	unix.IFLA_LINKMODE:            func(l *Link, a *nlsock.Attrs) { l.LinkMode = a.Uint8() },
	unix.IFLA_CARRIER:             func(l *Link, a *nlsock.Attrs) { l.Carrier = a.Uint8() != 0 },
	unix.IFLA_CARRIER_CHANGES:     func(l *Link, a *nlsock.Attrs) { l.CarrierChanges = a.Uint32() },
	unix.IFLA_CARRIER_UP_COUNT:    func(l *Link, a *nlsock.Attrs) { l.CarrierUpCount = a.Uint32() },
	unix.IFLA_CARRIER_DOWN_COUNT:  func(l *Link, a *nlsock.Attrs) { l.CarrierDownCount = a.Uint32() },
	unix.IFLA_PROTO_DOWN:          func(l *Link, a *nlsock.Attrs) { l.ProtoDown = a.Uint8() != 0 },
	LinkNetNSImmutable:            func(l *Link, a *nlsock.Attrs) { l.NetNSImmutable = a.Uint8() != 0 },
	LinkHeadroom:                  func(l *Link, a *nlsock.Attrs) { l.Headroom = a.Uint16() },
	LinkTailroom:                  func(l *Link, a *nlsock.Attrs) { l.Tailroom = a.Uint16() },
	unix.IFLA_MASTER:              func(l *Link, a *nlsock.Attrs) { l.Master = int(a.Int32()) },
	unix.IFLA_LINK:                func(l *Link, a *nlsock.Attrs) { l.Link = int(a.Int32()) },
	unix.IFLA_LINK_NETNSID:        func(l *Link, a *nlsock.Attrs) { l.LinkNetNSID = int(a.Int32()) },
	unix.IFLA_STATS64:             func(l *Link, a *nlsock.Attrs) { l.NumStats = l.Stats.decode(a.Bytes()) },
	unix.IFLA_IFNAME:              func(l *Link, a *nlsock.Attrs) { l.Name = a.String() },
	unix.IFLA_IFALIAS:             func(l *Link, a *nlsock.Attrs) { l.Alias = a.String() },
	unix.IFLA_QDISC:               func(l *Link, a *nlsock.Attrs) { l.Qdisc = nlsock.Reuse(&l.last.qdisc, a.Bytes()) },
	unix.IFLA_PARENT_DEV_NAME:     func(l *Link, a *nlsock.Attrs) { l.ParentDev = a.String() },
	unix.IFLA_PARENT_DEV_BUS_NAME: func(l *Link, a *nlsock.Attrs) { l.ParentBus = nlsock.Reuse(&l.last.parentBus, a.Bytes()) },
	unix.IFLA_PHYS_PORT_NAME:      func(l *Link, a *nlsock.Attrs) { l.PhysPortName = a.String() },
	unix.IFLA_ADDRESS:             func(l *Link, a *nlsock.Attrs) { l.HardwareAddr = a.Bytes() },
	unix.IFLA_BROADCAST:           func(l *Link, a *nlsock.Attrs) { l.BroadcastAddr = a.Bytes() },
	unix.IFLA_PERM_ADDRESS:        func(l *Link, a *nlsock.Attrs) { l.PermanentAddr = a.Bytes() },
	unix.IFLA_PHYS_PORT_ID:        func(l *Link, a *nlsock.Attrs) { l.PhysPortID = a.Bytes() },
	unix.IFLA_PHYS_SWITCH_ID:      func(l *Link, a *nlsock.Attrs) { l.PhysSwitchID = a.Bytes() },
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

// Flags of IFLA_INET6_FLAGS (linux/if_link.h, net/if_inet6.h): what the last router advertised.
const (
	ifRAManaged     = 0x40
	ifRAOtherConfig = 0x80
)

func (l *Link) inet6(a nlsock.Attrs) error {
	for a.Next() {
		switch a.Type() {
		case unix.IFLA_INET6_ADDR_GEN_MODE:
			l.AddrGenMode = a.Uint8()
		case unix.IFLA_INET6_TOKEN:
			l.Token = a.Bytes()
		case unix.IFLA_INET6_FLAGS:
			l.Managed, l.OtherConfig = a.Uint32()&ifRAManaged != 0, a.Uint32()&ifRAOtherConfig != 0
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
