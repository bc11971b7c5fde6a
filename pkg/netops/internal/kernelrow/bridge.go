package kernelrow

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Bridge is what a link of kind bridge and its options say.
func Bridge(l *rtnl.Link, o *rtnl.Bridge, names *Names) registry.Bridge {
	b := registry.Bridge{
		Name:             l.Name,
		Backend:          registry.BridgeBackendLinux,
		Index:            registry.Some(int64(l.Index)),
		MAC:              wire.MAC(l.HardwareAddr),
		MTU:              registry.Some(int64(l.MTU)),
		AdminUp:          registry.Some(AdminUp(l)),
		OperState:        registry.Some(registry.OperState(rtnl.OperStateName(l.OperState))),
		AgeingTimeS:      wire.Ticks(o.Has(unix.IFLA_BR_AGEING_TIME), uint64(o.AgeingTime)),
		GroupAddress:     wire.MAC(o.GroupAddr),
		GroupFwdMask:     mask(o.Has(unix.IFLA_BR_GROUP_FWD_MASK), o.GroupForwardMask),
		FdbLearned:       wire.Number(o.Has(unix.IFLA_BR_FDB_N_LEARNED), o.FDBLearned),
		FdbMaxLearned:    wire.Number(o.Has(unix.IFLA_BR_FDB_MAX_LEARNED), o.FDBMaxLearned),
		NfCallIptables:   wire.When(o.Has(unix.IFLA_BR_NF_CALL_IPTABLES), o.NFCallIPTables),
		NfCallIp6tables:  wire.When(o.Has(unix.IFLA_BR_NF_CALL_IP6TABLES), o.NFCallIP6Tables),
		NfCallArptables:  wire.When(o.Has(unix.IFLA_BR_NF_CALL_ARPTABLES), o.NFCallARPTables),
		VlanFiltering:    wire.When(o.Has(unix.IFLA_BR_VLAN_FILTERING), o.VLANFiltering),
		VlanProtocol:     wire.When(o.Has(unix.IFLA_BR_VLAN_PROTOCOL), rtnl.TagName(o.VLANProtocol)),
		VlanDefaultPvid:  wire.Number(o.Has(unix.IFLA_BR_VLAN_DEFAULT_PVID), o.VLANDefaultPVID),
		VlanStats:        wire.When(o.Has(unix.IFLA_BR_VLAN_STATS_ENABLED), o.VLANStats),
		VlanStatsPerPort: wire.When(o.Has(unix.IFLA_BR_VLAN_STATS_PER_PORT), o.VLANStatsPerPort),
		Exists:           registry.Some(true),
	}
	bridgeSpanningTree(&b, o)
	bridgeMulticast(&b, o)
	bridgeQueriers(&b, &o.McastQuerierState, names)
	option := func(bit uint32) registry.Opt[bool] { return wire.When(o.OptionsKnown&bit != 0, o.Options&bit != 0) }
	b.NoLinklocalLearn = option(rtnl.BridgeNoLinkLocalLearn)
	b.McastVlanSnooping = option(rtnl.BridgeMcastVLANSnooping)
	b.MstEnabled = option(rtnl.BridgeMST)
	b.MdbOffloadFailNotification = option(rtnl.BridgeMDBOffloadFailNotif)
	b.FdbLocalVlan0 = option(rtnl.BridgeFDBLocalVLAN0)
	return b
}

func bridgeSpanningTree(b *registry.Bridge, o *rtnl.Bridge) {
	b.Stp = wire.When(o.Has(unix.IFLA_BR_STP_STATE), o.STP != 0)
	b.StpMode = wire.When(o.Has(unix.IFLA_BR_STP_STATE), o.STPName())
	b.Priority = wire.Number(o.Has(unix.IFLA_BR_PRIORITY), o.Priority)
	b.BridgeID = wire.When(o.Has(unix.IFLA_BR_BRIDGE_ID), o.BridgeID.String())
	b.RootID = wire.When(o.Has(unix.IFLA_BR_ROOT_ID), o.RootID.String())
	b.RootPort = wire.Number(o.Has(unix.IFLA_BR_ROOT_PORT), o.RootPort)
	b.RootPathCost = wire.Number(o.Has(unix.IFLA_BR_ROOT_PATH_COST), o.RootPathCost)
	b.TopologyChange = wire.When(o.Has(unix.IFLA_BR_TOPOLOGY_CHANGE), o.TopologyChange)
	b.TopologyChangeDetected = wire.When(o.Has(unix.IFLA_BR_TOPOLOGY_CHANGE_DETECTED), o.TopologyChangeDetected)
	b.ForwardDelayS = wire.Ticks(o.Has(unix.IFLA_BR_FORWARD_DELAY), uint64(o.ForwardDelay))
	b.HelloTimeS = wire.Ticks(o.Has(unix.IFLA_BR_HELLO_TIME), uint64(o.HelloTime))
	b.MaxAgeS = wire.Ticks(o.Has(unix.IFLA_BR_MAX_AGE), uint64(o.MaxAge))
	b.HelloTimerS = wire.Ticks(o.Has(unix.IFLA_BR_HELLO_TIMER), o.HelloTimer)
	b.TcnTimerS = wire.Ticks(o.Has(unix.IFLA_BR_TCN_TIMER), o.TCNTimer)
	b.TopologyChangeTimerS = wire.Ticks(o.Has(unix.IFLA_BR_TOPOLOGY_CHANGE_TIMER), o.TopologyChangeTimer)
	b.GcTimerS = wire.Ticks(o.Has(unix.IFLA_BR_GC_TIMER), o.GCTimer)
}

func bridgeMulticast(b *registry.Bridge, o *rtnl.Bridge) {
	b.McastSnooping = wire.When(o.Has(unix.IFLA_BR_MCAST_SNOOPING), o.McastSnooping)
	b.McastRouter = wire.Number(o.Has(unix.IFLA_BR_MCAST_ROUTER), o.McastRouter)
	b.McastQuerier = wire.When(o.Has(unix.IFLA_BR_MCAST_QUERIER), o.McastQuerier)
	b.McastQueryUseIfaddr = wire.When(o.Has(unix.IFLA_BR_MCAST_QUERY_USE_IFADDR), o.McastQueryUseIfaddr)
	b.McastHashMax = wire.Number(o.Has(unix.IFLA_BR_MCAST_HASH_MAX), o.McastHashMax)
	b.McastHashElasticity = wire.Number(o.Has(unix.IFLA_BR_MCAST_HASH_ELASTICITY), o.McastHashElasticity)
	b.McastLastMemberCount = wire.Number(o.Has(unix.IFLA_BR_MCAST_LAST_MEMBER_CNT), o.McastLastMemberCount)
	b.McastStartupQueryCount = wire.Number(o.Has(unix.IFLA_BR_MCAST_STARTUP_QUERY_CNT), o.McastStartupQueryCount)
	b.McastLastMemberIntervalS = wire.Ticks(o.Has(unix.IFLA_BR_MCAST_LAST_MEMBER_INTVL), o.McastLastMemberInterval)
	b.McastMembershipIntervalS = wire.Ticks(o.Has(unix.IFLA_BR_MCAST_MEMBERSHIP_INTVL), o.McastMembershipInterval)
	b.McastQuerierIntervalS = wire.Ticks(o.Has(unix.IFLA_BR_MCAST_QUERIER_INTVL), o.McastQuerierInterval)
	b.McastQueryIntervalS = wire.Ticks(o.Has(unix.IFLA_BR_MCAST_QUERY_INTVL), o.McastQueryInterval)
	b.McastQueryResponseIntervalS = wire.Ticks(o.Has(unix.IFLA_BR_MCAST_QUERY_RESPONSE_INTVL), o.McastQueryResponseInterval)
	b.McastStartupQueryIntervalS = wire.Ticks(o.Has(unix.IFLA_BR_MCAST_STARTUP_QUERY_INTVL), o.McastStartupQueryInterval)
	b.McastStats = wire.When(o.Has(unix.IFLA_BR_MCAST_STATS_ENABLED), o.McastStats)
	b.McastIgmpVersion = wire.Number(o.Has(unix.IFLA_BR_MCAST_IGMP_VERSION), o.McastIGMPVersion)
	b.McastMldVersion = wire.Number(o.Has(unix.IFLA_BR_MCAST_MLD_VERSION), o.McastMLDVersion)
}

// bridgeQueriers: only another host's has a port and a time to live.
func bridgeQueriers(b *registry.Bridge, q *rtnl.Queriers, names *Names) {
	b.McastQuerierIpv4Address = wire.Addr(q.IPv4.Addr)
	b.McastQuerierIpv4Port = names.Of(q.IPv4.Port)
	b.McastQuerierIpv4TimerS = wire.Ticks(q.IPv4.Port != 0, q.IPv4.OtherTimer)
	b.McastQuerierIpv6Address = wire.Addr(q.IPv6.Addr)
	b.McastQuerierIpv6Port = names.Of(q.IPv6.Port)
	b.McastQuerierIpv6TimerS = wire.Ticks(q.IPv6.Port != 0, q.IPv6.OtherTimer)
}

// BridgePort is what a link and its options as a port say. Bridge, backup port and VLANs come later.
func BridgePort(l *rtnl.Link, o *rtnl.BridgePort) registry.BridgePort {
	p := registry.BridgePort{
		Interface:         l.Name,
		Index:             registry.Some(int64(l.Index)),
		OperState:         registry.Some(registry.OperState(rtnl.OperStateName(l.OperState))),
		Flags:             rtnl.AppendLinkFlags([]string{}, l.Flags),
		MAC:               wire.MAC(l.HardwareAddr),
		MTU:               registry.Some(int64(l.MTU)),
		Hairpin:           wire.When(o.Has(unix.IFLA_BRPORT_MODE), o.Hairpin),
		Isolated:          wire.When(o.Has(unix.IFLA_BRPORT_ISOLATED), o.Isolated),
		Learning:          wire.When(o.Has(unix.IFLA_BRPORT_LEARNING), o.Learning),
		Flood:             wire.When(o.Has(unix.IFLA_BRPORT_UNICAST_FLOOD), o.Flood),
		McastFlood:        wire.When(o.Has(unix.IFLA_BRPORT_MCAST_FLOOD), o.McastFlood),
		BcastFlood:        wire.When(o.Has(unix.IFLA_BRPORT_BCAST_FLOOD), o.BcastFlood),
		ProxyArp:          wire.When(o.Has(unix.IFLA_BRPORT_PROXYARP), o.ProxyARP),
		ProxyArpWifi:      wire.When(o.Has(unix.IFLA_BRPORT_PROXYARP_WIFI), o.ProxyARPWiFi),
		NeighSuppress:     wire.When(o.Has(unix.IFLA_BRPORT_NEIGH_SUPPRESS), o.NeighSuppress),
		NeighVlanSuppress: wire.When(o.Has(unix.IFLA_BRPORT_NEIGH_VLAN_SUPPRESS), o.NeighVLANSuppress),
		VlanTunnel:        wire.When(o.Has(unix.IFLA_BRPORT_VLAN_TUNNEL), o.VLANTunnel),
		Locked:            wire.When(o.Has(unix.IFLA_BRPORT_LOCKED), o.Locked),
		Mab:               wire.When(o.Has(unix.IFLA_BRPORT_MAB), o.MAB),
		GroupFwdMask:      mask(o.Has(unix.IFLA_BRPORT_GROUP_FWD_MASK), o.GroupForwardMask),
		BackupNexthopID:   wire.Number(o.BackupNextHop != 0, o.BackupNextHop),
		MrpRingOpen:       wire.When(o.Has(unix.IFLA_BRPORT_MRP_RING_OPEN), o.MRPRingOpen),
		MrpInOpen:         wire.When(o.Has(unix.IFLA_BRPORT_MRP_IN_OPEN), o.MRPInOpen),
		Exists:            registry.Some(true),
	}
	portSpanningTree(&p, o)
	portMulticast(&p, o)
	return p
}

func portSpanningTree(p *registry.BridgePort, o *rtnl.BridgePort) {
	p.State = registry.NonZero(registry.BridgePortState(rtnl.BridgeStateName(o.State)))
	p.Cost = wire.Number(o.Has(unix.IFLA_BRPORT_COST), o.Cost)
	p.Priority = wire.Number(o.Has(unix.IFLA_BRPORT_PRIORITY), o.Priority)
	p.PortNo = mask(o.Has(unix.IFLA_BRPORT_NO), o.Number)
	p.PortID = mask(o.Has(unix.IFLA_BRPORT_ID), o.ID)
	p.BpduGuard = wire.When(o.Has(unix.IFLA_BRPORT_GUARD), o.BPDUGuard)
	p.RootGuard = wire.When(o.Has(unix.IFLA_BRPORT_PROTECT), o.RootGuard)
	p.DesignatedRoot = wire.When(o.Has(unix.IFLA_BRPORT_ROOT_ID), o.DesignatedRoot.String())
	p.DesignatedBridge = wire.When(o.Has(unix.IFLA_BRPORT_BRIDGE_ID), o.DesignatedBridge.String())
	p.DesignatedPort = mask(o.Has(unix.IFLA_BRPORT_DESIGNATED_PORT), o.DesignatedPort)
	p.DesignatedCost = wire.Number(o.Has(unix.IFLA_BRPORT_DESIGNATED_COST), o.DesignatedCost)
	p.TopologyChangeAck = wire.When(o.Has(unix.IFLA_BRPORT_TOPOLOGY_CHANGE_ACK), o.TopologyChangeAck)
	p.ConfigPending = wire.When(o.Has(unix.IFLA_BRPORT_CONFIG_PENDING), o.ConfigPending)
	p.MessageAgeTimerS = wire.Ticks(o.Has(unix.IFLA_BRPORT_MESSAGE_AGE_TIMER), o.MessageAgeTimer)
	p.ForwardDelayTimerS = wire.Ticks(o.Has(unix.IFLA_BRPORT_FORWARD_DELAY_TIMER), o.ForwardDelayTimer)
	p.HoldTimerS = wire.Ticks(o.Has(unix.IFLA_BRPORT_HOLD_TIMER), o.HoldTimer)
}

func portMulticast(p *registry.BridgePort, o *rtnl.BridgePort) {
	p.FastLeave = wire.When(o.Has(unix.IFLA_BRPORT_FAST_LEAVE), o.FastLeave)
	p.MulticastToUnicast = wire.When(o.Has(unix.IFLA_BRPORT_MCAST_TO_UCAST), o.McastToUnicast)
	p.MulticastRouter = wire.Number(o.Has(unix.IFLA_BRPORT_MULTICAST_ROUTER), o.McastRouter)
	p.McastGroups = wire.Number(o.Has(unix.IFLA_BRPORT_MCAST_N_GROUPS), o.McastGroups)
	p.McastMaxGroups = wire.Number(o.Has(unix.IFLA_BRPORT_MCAST_MAX_GROUPS), o.McastMaxGroups)
	p.McastEhtHostsLimit = wire.Number(o.Has(unix.IFLA_BRPORT_MCAST_EHT_HOSTS_LIMIT), o.McastEHTHostsLimit)
	p.McastEhtHosts = wire.Number(o.Has(unix.IFLA_BRPORT_MCAST_EHT_HOSTS_CNT), o.McastEHTHosts)
}

// mask is 16 bits as hexadecimal digits.
func mask(known bool, bits uint16) registry.Opt[string] {
	return wire.When(known, strconv.FormatUint(uint64(bits), 16))
}

// AdminUp tells whether a link is set up.
func AdminUp(l *rtnl.Link) bool { return l.Flags&unix.IFF_UP != 0 }
