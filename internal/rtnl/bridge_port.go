package rtnl

import (
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// BridgePort is what a link has as a port of a bridge (IFLA_BRPORT_*). Timers are in ticks of
// 1/[UserHZ] s.
type BridgePort struct {
	State              uint8 // BR_STATE_*
	Priority           uint16
	Cost               uint32
	Number, ID         uint16
	DesignatedRoot     BridgeID
	DesignatedBridge   BridgeID
	DesignatedPort     uint16
	DesignatedCost     uint16
	TopologyChangeAck  bool
	ConfigPending      bool
	MessageAgeTimer    uint64
	ForwardDelayTimer  uint64
	HoldTimer          uint64
	Hairpin            bool // IFLA_BRPORT_MODE
	BPDUGuard          bool // IFLA_BRPORT_GUARD
	RootGuard          bool // IFLA_BRPORT_PROTECT
	FastLeave          bool
	Learning           bool
	Flood              bool
	McastFlood         bool
	BcastFlood         bool
	McastToUnicast     bool
	McastRouter        uint8
	McastGroups        uint32
	McastMaxGroups     uint32 // 0: no limit
	McastEHTHostsLimit uint32
	McastEHTHosts      uint32
	ProxyARP           bool
	ProxyARPWiFi       bool
	NeighSuppress      bool
	NeighVLANSuppress  bool
	VLANTunnel         bool
	Isolated           bool
	Locked             bool
	MAB                bool
	GroupForwardMask   uint16
	BackupPort         int // index; 0: none
	BackupNextHop      uint32
	MRPRingOpen        bool
	MRPInOpen          bool

	attrs attrSet
}

// Has tells whether the kernel told of an option, one of unix.IFLA_BRPORT_*.
func (p *BridgePort) Has(attr uint16) bool { return p.attrs.has(attr) }

var bridgeStates = []string{"disabled", "listening", "learning", "forwarding", "blocking"}

// BridgeStateName is the name of BR_STATE_*, "" for a number that has none.
func BridgeStateName(state uint8) string {
	if int(state) < len(bridgeStates) {
		return bridgeStates[state]
	}
	return ""
}

// DecodeBridgePort reads [Link.PortData] of port kind bridge.
func DecodeBridgePort(data []byte) (BridgePort, error) {
	var p BridgePort
	a := nlsock.Attributes(data)
	for a.Next() {
		p.attrs.add(a.Type())
		if typ := int(a.Type()); typ < len(bridgePortFields) && bridgePortFields[typ] != nil {
			bridgePortFields[typ](&p, &a)
		}
	}
	return p, a.Err()
}

// bridgePortFields says which attribute goes into which field, by the attribute's number.
var bridgePortFields = [...]func(*BridgePort, *nlsock.Attrs){
	unix.IFLA_BRPORT_STATE:                 func(p *BridgePort, a *nlsock.Attrs) { p.State = a.Uint8() },
	unix.IFLA_BRPORT_PRIORITY:              func(p *BridgePort, a *nlsock.Attrs) { p.Priority = a.Uint16() },
	unix.IFLA_BRPORT_COST:                  func(p *BridgePort, a *nlsock.Attrs) { p.Cost = a.Uint32() },
	unix.IFLA_BRPORT_MODE:                  func(p *BridgePort, a *nlsock.Attrs) { p.Hairpin = a.Uint8() != 0 },
	unix.IFLA_BRPORT_GUARD:                 func(p *BridgePort, a *nlsock.Attrs) { p.BPDUGuard = a.Uint8() != 0 },
	unix.IFLA_BRPORT_PROTECT:               func(p *BridgePort, a *nlsock.Attrs) { p.RootGuard = a.Uint8() != 0 },
	unix.IFLA_BRPORT_FAST_LEAVE:            func(p *BridgePort, a *nlsock.Attrs) { p.FastLeave = a.Uint8() != 0 },
	unix.IFLA_BRPORT_LEARNING:              func(p *BridgePort, a *nlsock.Attrs) { p.Learning = a.Uint8() != 0 },
	unix.IFLA_BRPORT_UNICAST_FLOOD:         func(p *BridgePort, a *nlsock.Attrs) { p.Flood = a.Uint8() != 0 },
	unix.IFLA_BRPORT_PROXYARP:              func(p *BridgePort, a *nlsock.Attrs) { p.ProxyARP = a.Uint8() != 0 },
	unix.IFLA_BRPORT_PROXYARP_WIFI:         func(p *BridgePort, a *nlsock.Attrs) { p.ProxyARPWiFi = a.Uint8() != 0 },
	unix.IFLA_BRPORT_ROOT_ID:               func(p *BridgePort, a *nlsock.Attrs) { p.DesignatedRoot = bridgeID(a) },
	unix.IFLA_BRPORT_BRIDGE_ID:             func(p *BridgePort, a *nlsock.Attrs) { p.DesignatedBridge = bridgeID(a) },
	unix.IFLA_BRPORT_DESIGNATED_PORT:       func(p *BridgePort, a *nlsock.Attrs) { p.DesignatedPort = a.Uint16() },
	unix.IFLA_BRPORT_DESIGNATED_COST:       func(p *BridgePort, a *nlsock.Attrs) { p.DesignatedCost = a.Uint16() },
	unix.IFLA_BRPORT_ID:                    func(p *BridgePort, a *nlsock.Attrs) { p.ID = a.Uint16() },
	unix.IFLA_BRPORT_NO:                    func(p *BridgePort, a *nlsock.Attrs) { p.Number = a.Uint16() },
	unix.IFLA_BRPORT_TOPOLOGY_CHANGE_ACK:   func(p *BridgePort, a *nlsock.Attrs) { p.TopologyChangeAck = a.Uint8() != 0 },
	unix.IFLA_BRPORT_CONFIG_PENDING:        func(p *BridgePort, a *nlsock.Attrs) { p.ConfigPending = a.Uint8() != 0 },
	unix.IFLA_BRPORT_MESSAGE_AGE_TIMER:     func(p *BridgePort, a *nlsock.Attrs) { p.MessageAgeTimer = a.Uint64() },
	unix.IFLA_BRPORT_FORWARD_DELAY_TIMER:   func(p *BridgePort, a *nlsock.Attrs) { p.ForwardDelayTimer = a.Uint64() },
	unix.IFLA_BRPORT_HOLD_TIMER:            func(p *BridgePort, a *nlsock.Attrs) { p.HoldTimer = a.Uint64() },
	unix.IFLA_BRPORT_MULTICAST_ROUTER:      func(p *BridgePort, a *nlsock.Attrs) { p.McastRouter = a.Uint8() },
	unix.IFLA_BRPORT_MCAST_FLOOD:           func(p *BridgePort, a *nlsock.Attrs) { p.McastFlood = a.Uint8() != 0 },
	unix.IFLA_BRPORT_MCAST_TO_UCAST:        func(p *BridgePort, a *nlsock.Attrs) { p.McastToUnicast = a.Uint8() != 0 },
	unix.IFLA_BRPORT_VLAN_TUNNEL:           func(p *BridgePort, a *nlsock.Attrs) { p.VLANTunnel = a.Uint8() != 0 },
	unix.IFLA_BRPORT_BCAST_FLOOD:           func(p *BridgePort, a *nlsock.Attrs) { p.BcastFlood = a.Uint8() != 0 },
	unix.IFLA_BRPORT_GROUP_FWD_MASK:        func(p *BridgePort, a *nlsock.Attrs) { p.GroupForwardMask = a.Uint16() },
	unix.IFLA_BRPORT_NEIGH_SUPPRESS:        func(p *BridgePort, a *nlsock.Attrs) { p.NeighSuppress = a.Uint8() != 0 },
	unix.IFLA_BRPORT_ISOLATED:              func(p *BridgePort, a *nlsock.Attrs) { p.Isolated = a.Uint8() != 0 },
	unix.IFLA_BRPORT_BACKUP_PORT:           func(p *BridgePort, a *nlsock.Attrs) { p.BackupPort = int(a.Int32()) },
	unix.IFLA_BRPORT_MRP_RING_OPEN:         func(p *BridgePort, a *nlsock.Attrs) { p.MRPRingOpen = a.Uint8() != 0 },
	unix.IFLA_BRPORT_MRP_IN_OPEN:           func(p *BridgePort, a *nlsock.Attrs) { p.MRPInOpen = a.Uint8() != 0 },
	unix.IFLA_BRPORT_MCAST_EHT_HOSTS_LIMIT: func(p *BridgePort, a *nlsock.Attrs) { p.McastEHTHostsLimit = a.Uint32() },
	unix.IFLA_BRPORT_MCAST_EHT_HOSTS_CNT:   func(p *BridgePort, a *nlsock.Attrs) { p.McastEHTHosts = a.Uint32() },
	unix.IFLA_BRPORT_LOCKED:                func(p *BridgePort, a *nlsock.Attrs) { p.Locked = a.Uint8() != 0 },
	unix.IFLA_BRPORT_MAB:                   func(p *BridgePort, a *nlsock.Attrs) { p.MAB = a.Uint8() != 0 },
	unix.IFLA_BRPORT_MCAST_N_GROUPS:        func(p *BridgePort, a *nlsock.Attrs) { p.McastGroups = a.Uint32() },
	unix.IFLA_BRPORT_MCAST_MAX_GROUPS:      func(p *BridgePort, a *nlsock.Attrs) { p.McastMaxGroups = a.Uint32() },
	unix.IFLA_BRPORT_NEIGH_VLAN_SUPPRESS:   func(p *BridgePort, a *nlsock.Attrs) { p.NeighVLANSuppress = a.Uint8() != 0 },
	unix.IFLA_BRPORT_BACKUP_NHID:           func(p *BridgePort, a *nlsock.Attrs) { p.BackupNextHop = a.Uint32() },
}
