package rtnl

import (
	"encoding/hex"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Bridge is what a link of kind bridge has (IFLA_BR_*). Times are in ticks of 1/[UserHZ] s; timers run
// down to 0, where they stand still.
type Bridge struct {
	ForwardDelay, HelloTime, MaxAge, AgeingTime uint32
	STP                                         uint32 // BR_NO_STP 0, BR_KERNEL_STP 1, BR_USER_STP 2
	Priority                                    uint16
	RootID, BridgeID                            BridgeID
	RootPort                                    uint16 // number of the port; 0: this is the root
	RootPathCost                                uint32
	TopologyChange, TopologyChangeDetected      bool
	HelloTimer, TCNTimer                        uint64
	TopologyChangeTimer, GCTimer                uint64
	GroupForwardMask                            uint16
	GroupAddr                                   []byte
	FDBLearned, FDBMaxLearned                   uint32
	Options, OptionsKnown                       uint32 // BR_BOOLOPT_*, a bit each: set, and known to the kernel

	VLANFiltering               bool
	VLANProtocol                uint16 // ether type of the tag
	VLANDefaultPVID             uint16 // 0: none
	VLANStats, VLANStatsPerPort bool
	NFCallIPTables              bool
	NFCallIP6Tables             bool
	NFCallARPTables             bool
	McastRouter                 uint8
	McastSnooping               bool
	McastQueryUseIfaddr         bool
	McastQuerier                bool
	McastStats                  bool
	McastIGMPVersion            uint8
	McastMLDVersion             uint8
	McastHashElasticity         uint32
	McastHashMax                uint32
	McastLastMemberCount        uint32
	McastStartupQueryCount      uint32
	McastLastMemberInterval     uint64
	McastMembershipInterval     uint64
	McastQuerierInterval        uint64
	McastQueryInterval          uint64
	McastQueryResponseInterval  uint64
	McastStartupQueryInterval   uint64
	McastQuerierState           Queriers

	attrs attrSet
}

// Queriers are the multicast queriers that a bridge follows (BRIDGE_QUERIER_*), one a family.
type Queriers struct{ IPv4, IPv6 Querier }

// Querier is a multicast querier. Port and timer are those of another host's; where the bridge itself
// asks they are 0.
type Querier struct {
	Addr       netip.Addr // the zero Addr: none
	Port       int        // index of the port behind which it is
	OtherTimer uint64     // ticks until it counts as gone
}

// BridgeID is struct ifla_bridge_id: priority and address, as IEEE 802.1D makes an id of them.
type BridgeID [8]byte

// String is the priority as four hexadecimal digits, a dot and the address.
func (id BridgeID) String() string {
	return hex.EncodeToString(id[:2]) + "." + net.HardwareAddr(id[2:]).String()
}

// The bits of [Bridge.Options] (enum br_boolopt_id of linux/if_bridge.h).
const (
	BridgeNoLinkLocalLearn    = 1 << iota
	BridgeMcastVLANSnooping   // Linux 5.15
	BridgeMST                 // Linux 5.18
	BridgeMDBOffloadFailNotif // Linux 6.16
	BridgeFDBLocalVLAN0       // Linux 6.18
)

// Has tells whether the kernel told of an option, one of unix.IFLA_BR_*.
func (b *Bridge) Has(attr uint16) bool { return b.attrs.has(attr) }

// stpModes are the values of [Bridge.STP].
var stpModes = []string{"none", "kernel", "user"}

// STPName says who runs the spanning tree: none, kernel, user.
func (b *Bridge) STPName() string { return fromList(stpModes, int(b.STP)) }

// DecodeBridge reads [Link.Data] of kind bridge.
func DecodeBridge(data []byte) (Bridge, error) {
	var b Bridge
	a := nlsock.Attributes(data)
	for a.Next() {
		b.attrs.add(a.Type())
		if typ := int(a.Type()); typ < len(bridgeFields) && bridgeFields[typ] != nil {
			bridgeFields[typ](&b, &a)
			continue
		}
		if a.Type() == unix.IFLA_BR_MCAST_QUERIER_STATE {
			if err := b.McastQuerierState.decode(a.Nested()); err != nil {
				return Bridge{}, err
			}
		}
	}
	return b, a.Err()
}

// bridgeFields says which attribute goes into which field, by the attribute's number.
var bridgeFields = [...]func(*Bridge, *nlsock.Attrs){
	unix.IFLA_BR_FORWARD_DELAY:              func(b *Bridge, a *nlsock.Attrs) { b.ForwardDelay = a.Uint32() },
	unix.IFLA_BR_HELLO_TIME:                 func(b *Bridge, a *nlsock.Attrs) { b.HelloTime = a.Uint32() },
	unix.IFLA_BR_MAX_AGE:                    func(b *Bridge, a *nlsock.Attrs) { b.MaxAge = a.Uint32() },
	unix.IFLA_BR_AGEING_TIME:                func(b *Bridge, a *nlsock.Attrs) { b.AgeingTime = a.Uint32() },
	unix.IFLA_BR_STP_STATE:                  func(b *Bridge, a *nlsock.Attrs) { b.STP = a.Uint32() },
	unix.IFLA_BR_PRIORITY:                   func(b *Bridge, a *nlsock.Attrs) { b.Priority = a.Uint16() },
	unix.IFLA_BR_VLAN_FILTERING:             func(b *Bridge, a *nlsock.Attrs) { b.VLANFiltering = a.Uint8() != 0 },
	unix.IFLA_BR_VLAN_PROTOCOL:              func(b *Bridge, a *nlsock.Attrs) { b.VLANProtocol = a.BigUint16() },
	unix.IFLA_BR_GROUP_FWD_MASK:             func(b *Bridge, a *nlsock.Attrs) { b.GroupForwardMask = a.Uint16() },
	unix.IFLA_BR_ROOT_ID:                    func(b *Bridge, a *nlsock.Attrs) { b.RootID = bridgeID(a) },
	unix.IFLA_BR_BRIDGE_ID:                  func(b *Bridge, a *nlsock.Attrs) { b.BridgeID = bridgeID(a) },
	unix.IFLA_BR_ROOT_PORT:                  func(b *Bridge, a *nlsock.Attrs) { b.RootPort = a.Uint16() },
	unix.IFLA_BR_ROOT_PATH_COST:             func(b *Bridge, a *nlsock.Attrs) { b.RootPathCost = a.Uint32() },
	unix.IFLA_BR_TOPOLOGY_CHANGE:            func(b *Bridge, a *nlsock.Attrs) { b.TopologyChange = a.Uint8() != 0 },
	unix.IFLA_BR_TOPOLOGY_CHANGE_DETECTED:   func(b *Bridge, a *nlsock.Attrs) { b.TopologyChangeDetected = a.Uint8() != 0 },
	unix.IFLA_BR_HELLO_TIMER:                func(b *Bridge, a *nlsock.Attrs) { b.HelloTimer = a.Uint64() },
	unix.IFLA_BR_TCN_TIMER:                  func(b *Bridge, a *nlsock.Attrs) { b.TCNTimer = a.Uint64() },
	unix.IFLA_BR_TOPOLOGY_CHANGE_TIMER:      func(b *Bridge, a *nlsock.Attrs) { b.TopologyChangeTimer = a.Uint64() },
	unix.IFLA_BR_GC_TIMER:                   func(b *Bridge, a *nlsock.Attrs) { b.GCTimer = a.Uint64() },
	unix.IFLA_BR_GROUP_ADDR:                 func(b *Bridge, a *nlsock.Attrs) { b.GroupAddr = a.Bytes() },
	unix.IFLA_BR_MCAST_ROUTER:               func(b *Bridge, a *nlsock.Attrs) { b.McastRouter = a.Uint8() },
	unix.IFLA_BR_MCAST_SNOOPING:             func(b *Bridge, a *nlsock.Attrs) { b.McastSnooping = a.Uint8() != 0 },
	unix.IFLA_BR_MCAST_QUERY_USE_IFADDR:     func(b *Bridge, a *nlsock.Attrs) { b.McastQueryUseIfaddr = a.Uint8() != 0 },
	unix.IFLA_BR_MCAST_QUERIER:              func(b *Bridge, a *nlsock.Attrs) { b.McastQuerier = a.Uint8() != 0 },
	unix.IFLA_BR_MCAST_HASH_ELASTICITY:      func(b *Bridge, a *nlsock.Attrs) { b.McastHashElasticity = a.Uint32() },
	unix.IFLA_BR_MCAST_HASH_MAX:             func(b *Bridge, a *nlsock.Attrs) { b.McastHashMax = a.Uint32() },
	unix.IFLA_BR_MCAST_LAST_MEMBER_CNT:      func(b *Bridge, a *nlsock.Attrs) { b.McastLastMemberCount = a.Uint32() },
	unix.IFLA_BR_MCAST_STARTUP_QUERY_CNT:    func(b *Bridge, a *nlsock.Attrs) { b.McastStartupQueryCount = a.Uint32() },
	unix.IFLA_BR_MCAST_LAST_MEMBER_INTVL:    func(b *Bridge, a *nlsock.Attrs) { b.McastLastMemberInterval = a.Uint64() },
	unix.IFLA_BR_MCAST_MEMBERSHIP_INTVL:     func(b *Bridge, a *nlsock.Attrs) { b.McastMembershipInterval = a.Uint64() },
	unix.IFLA_BR_MCAST_QUERIER_INTVL:        func(b *Bridge, a *nlsock.Attrs) { b.McastQuerierInterval = a.Uint64() },
	unix.IFLA_BR_MCAST_QUERY_INTVL:          func(b *Bridge, a *nlsock.Attrs) { b.McastQueryInterval = a.Uint64() },
	unix.IFLA_BR_MCAST_QUERY_RESPONSE_INTVL: func(b *Bridge, a *nlsock.Attrs) { b.McastQueryResponseInterval = a.Uint64() },
	unix.IFLA_BR_MCAST_STARTUP_QUERY_INTVL:  func(b *Bridge, a *nlsock.Attrs) { b.McastStartupQueryInterval = a.Uint64() },
	unix.IFLA_BR_NF_CALL_IPTABLES:           func(b *Bridge, a *nlsock.Attrs) { b.NFCallIPTables = a.Uint8() != 0 },
	unix.IFLA_BR_NF_CALL_IP6TABLES:          func(b *Bridge, a *nlsock.Attrs) { b.NFCallIP6Tables = a.Uint8() != 0 },
	unix.IFLA_BR_NF_CALL_ARPTABLES:          func(b *Bridge, a *nlsock.Attrs) { b.NFCallARPTables = a.Uint8() != 0 },
	unix.IFLA_BR_VLAN_DEFAULT_PVID:          func(b *Bridge, a *nlsock.Attrs) { b.VLANDefaultPVID = a.Uint16() },
	unix.IFLA_BR_VLAN_STATS_ENABLED:         func(b *Bridge, a *nlsock.Attrs) { b.VLANStats = a.Uint8() != 0 },
	unix.IFLA_BR_MCAST_STATS_ENABLED:        func(b *Bridge, a *nlsock.Attrs) { b.McastStats = a.Uint8() != 0 },
	unix.IFLA_BR_MCAST_IGMP_VERSION:         func(b *Bridge, a *nlsock.Attrs) { b.McastIGMPVersion = a.Uint8() },
	unix.IFLA_BR_MCAST_MLD_VERSION:          func(b *Bridge, a *nlsock.Attrs) { b.McastMLDVersion = a.Uint8() },
	unix.IFLA_BR_VLAN_STATS_PER_PORT:        func(b *Bridge, a *nlsock.Attrs) { b.VLANStatsPerPort = a.Uint8() != 0 },
	unix.IFLA_BR_MULTI_BOOLOPT:              func(b *Bridge, a *nlsock.Attrs) { b.Options, b.OptionsKnown = boolOptions(a) },
	unix.IFLA_BR_FDB_N_LEARNED:              func(b *Bridge, a *nlsock.Attrs) { b.FDBLearned = a.Uint32() },
	unix.IFLA_BR_FDB_MAX_LEARNED:            func(b *Bridge, a *nlsock.Attrs) { b.FDBMaxLearned = a.Uint32() },
}

func bridgeID(a *nlsock.Attrs) (id BridgeID) {
	copy(id[:], a.Sized(len(id)))
	return id
}

// boolOptions reads struct br_boolopt_multi: values, then the mask of what they are given for.
func boolOptions(a *nlsock.Attrs) (values, known uint32) {
	if b := a.Sized(8); b != nil {
		values, known = native.Uint32(b), native.Uint32(b[4:])
	}
	return values, known
}

// BRIDGE_QUERIER_* of linux/if_bridge.h, which x/sys/unix does not have.
const (
	querierIPv4Addr = iota + 1
	querierIPv4Port
	querierIPv4OtherTimer
	_ // BRIDGE_QUERIER_PAD
	querierIPv6Addr
	querierIPv6Port
	querierIPv6OtherTimer
)

func (q *Queriers) decode(a nlsock.Attrs) error {
	for a.Next() {
		switch a.Type() {
		case querierIPv4Addr:
			q.IPv4.Addr = AddrOf(a.Bytes())
		case querierIPv4Port:
			q.IPv4.Port = int(a.Int32())
		case querierIPv4OtherTimer:
			q.IPv4.OtherTimer = a.Uint64()
		case querierIPv6Addr:
			q.IPv6.Addr = AddrOf(a.Bytes())
		case querierIPv6Port:
			q.IPv6.Port = int(a.Int32())
		case querierIPv6OtherTimer:
			q.IPv6.OtherTimer = a.Uint64()
		}
	}
	return a.Err()
}
