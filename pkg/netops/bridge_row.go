package netops

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/registry"
)

// bridgeRow is what a link of kind bridge and its options say.
func bridgeRow(l *rtnl.Link, o *rtnl.Bridge, names *interfaceNames) registry.Bridge {
	b := registry.Bridge{
		Name:             l.Name,
		Backend:          registry.BridgeBackendLinux,
		Index:            registry.Some(int64(l.Index)),
		MAC:              macText(l.HardwareAddr),
		MTU:              registry.Some(int64(l.MTU)),
		AdminUp:          registry.Some(adminUp(l)),
		OperState:        registry.Some(registry.OperState(rtnl.OperStateName(l.OperState))),
		AgeingTimeS:      ticks(o.Has(unix.IFLA_BR_AGEING_TIME), uint64(o.AgeingTime)),
		GroupAddress:     macText(o.GroupAddr),
		GroupFwdMask:     mask(o.Has(unix.IFLA_BR_GROUP_FWD_MASK), o.GroupForwardMask),
		FdbLearned:       number(o.Has(unix.IFLA_BR_FDB_N_LEARNED), o.FDBLearned),
		FdbMaxLearned:    number(o.Has(unix.IFLA_BR_FDB_MAX_LEARNED), o.FDBMaxLearned),
		NfCallIptables:   when(o.Has(unix.IFLA_BR_NF_CALL_IPTABLES), o.NFCallIPTables),
		NfCallIp6tables:  when(o.Has(unix.IFLA_BR_NF_CALL_IP6TABLES), o.NFCallIP6Tables),
		NfCallArptables:  when(o.Has(unix.IFLA_BR_NF_CALL_ARPTABLES), o.NFCallARPTables),
		VlanFiltering:    when(o.Has(unix.IFLA_BR_VLAN_FILTERING), o.VLANFiltering),
		VlanProtocol:     when(o.Has(unix.IFLA_BR_VLAN_PROTOCOL), rtnl.TagName(o.VLANProtocol)),
		VlanDefaultPvid:  number(o.Has(unix.IFLA_BR_VLAN_DEFAULT_PVID), o.VLANDefaultPVID),
		VlanStats:        when(o.Has(unix.IFLA_BR_VLAN_STATS_ENABLED), o.VLANStats),
		VlanStatsPerPort: when(o.Has(unix.IFLA_BR_VLAN_STATS_PER_PORT), o.VLANStatsPerPort),
		Exists:           registry.Some(true),
	}
	bridgeSpanningTree(&b, o)
	bridgeMulticast(&b, o)
	bridgeQueriers(&b, &o.McastQuerierState, names)
	option := func(bit uint32) registry.Opt[bool] { return when(o.OptionsKnown&bit != 0, o.Options&bit != 0) }
	b.NoLinklocalLearn = option(rtnl.BridgeNoLinkLocalLearn)
	b.McastVlanSnooping = option(rtnl.BridgeMcastVLANSnooping)
	b.MstEnabled = option(rtnl.BridgeMST)
	b.MdbOffloadFailNotification = option(rtnl.BridgeMDBOffloadFailNotif)
	b.FdbLocalVlan0 = option(rtnl.BridgeFDBLocalVLAN0)
	return b
}

func bridgeSpanningTree(b *registry.Bridge, o *rtnl.Bridge) {
	b.Stp = when(o.Has(unix.IFLA_BR_STP_STATE), o.STP != 0)
	b.StpMode = when(o.Has(unix.IFLA_BR_STP_STATE), o.STPName())
	b.Priority = number(o.Has(unix.IFLA_BR_PRIORITY), o.Priority)
	b.BridgeID = when(o.Has(unix.IFLA_BR_BRIDGE_ID), o.BridgeID.String())
	b.RootID = when(o.Has(unix.IFLA_BR_ROOT_ID), o.RootID.String())
	b.RootPort = number(o.Has(unix.IFLA_BR_ROOT_PORT), o.RootPort)
	b.RootPathCost = number(o.Has(unix.IFLA_BR_ROOT_PATH_COST), o.RootPathCost)
	b.TopologyChange = when(o.Has(unix.IFLA_BR_TOPOLOGY_CHANGE), o.TopologyChange)
	b.TopologyChangeDetected = when(o.Has(unix.IFLA_BR_TOPOLOGY_CHANGE_DETECTED), o.TopologyChangeDetected)
	b.ForwardDelayS = ticks(o.Has(unix.IFLA_BR_FORWARD_DELAY), uint64(o.ForwardDelay))
	b.HelloTimeS = ticks(o.Has(unix.IFLA_BR_HELLO_TIME), uint64(o.HelloTime))
	b.MaxAgeS = ticks(o.Has(unix.IFLA_BR_MAX_AGE), uint64(o.MaxAge))
	b.HelloTimerS = ticks(o.Has(unix.IFLA_BR_HELLO_TIMER), o.HelloTimer)
	b.TcnTimerS = ticks(o.Has(unix.IFLA_BR_TCN_TIMER), o.TCNTimer)
	b.TopologyChangeTimerS = ticks(o.Has(unix.IFLA_BR_TOPOLOGY_CHANGE_TIMER), o.TopologyChangeTimer)
	b.GcTimerS = ticks(o.Has(unix.IFLA_BR_GC_TIMER), o.GCTimer)
}

func bridgeMulticast(b *registry.Bridge, o *rtnl.Bridge) {
	b.McastSnooping = when(o.Has(unix.IFLA_BR_MCAST_SNOOPING), o.McastSnooping)
	b.McastRouter = number(o.Has(unix.IFLA_BR_MCAST_ROUTER), o.McastRouter)
	b.McastQuerier = when(o.Has(unix.IFLA_BR_MCAST_QUERIER), o.McastQuerier)
	b.McastQueryUseIfaddr = when(o.Has(unix.IFLA_BR_MCAST_QUERY_USE_IFADDR), o.McastQueryUseIfaddr)
	b.McastHashMax = number(o.Has(unix.IFLA_BR_MCAST_HASH_MAX), o.McastHashMax)
	b.McastHashElasticity = number(o.Has(unix.IFLA_BR_MCAST_HASH_ELASTICITY), o.McastHashElasticity)
	b.McastLastMemberCount = number(o.Has(unix.IFLA_BR_MCAST_LAST_MEMBER_CNT), o.McastLastMemberCount)
	b.McastStartupQueryCount = number(o.Has(unix.IFLA_BR_MCAST_STARTUP_QUERY_CNT), o.McastStartupQueryCount)
	b.McastLastMemberIntervalS = ticks(o.Has(unix.IFLA_BR_MCAST_LAST_MEMBER_INTVL), o.McastLastMemberInterval)
	b.McastMembershipIntervalS = ticks(o.Has(unix.IFLA_BR_MCAST_MEMBERSHIP_INTVL), o.McastMembershipInterval)
	b.McastQuerierIntervalS = ticks(o.Has(unix.IFLA_BR_MCAST_QUERIER_INTVL), o.McastQuerierInterval)
	b.McastQueryIntervalS = ticks(o.Has(unix.IFLA_BR_MCAST_QUERY_INTVL), o.McastQueryInterval)
	b.McastQueryResponseIntervalS = ticks(o.Has(unix.IFLA_BR_MCAST_QUERY_RESPONSE_INTVL), o.McastQueryResponseInterval)
	b.McastStartupQueryIntervalS = ticks(o.Has(unix.IFLA_BR_MCAST_STARTUP_QUERY_INTVL), o.McastStartupQueryInterval)
	b.McastStats = when(o.Has(unix.IFLA_BR_MCAST_STATS_ENABLED), o.McastStats)
	b.McastIgmpVersion = number(o.Has(unix.IFLA_BR_MCAST_IGMP_VERSION), o.McastIGMPVersion)
	b.McastMldVersion = number(o.Has(unix.IFLA_BR_MCAST_MLD_VERSION), o.McastMLDVersion)
}

// bridgeQueriers: only another host's has a port and a time to live.
func bridgeQueriers(b *registry.Bridge, q *rtnl.Queriers, names *interfaceNames) {
	b.McastQuerierIpv4Address = validAddr(q.IPv4.Addr)
	b.McastQuerierIpv4Port = names.of(q.IPv4.Port)
	b.McastQuerierIpv4TimerS = ticks(q.IPv4.Port != 0, q.IPv4.OtherTimer)
	b.McastQuerierIpv6Address = validAddr(q.IPv6.Addr)
	b.McastQuerierIpv6Port = names.of(q.IPv6.Port)
	b.McastQuerierIpv6TimerS = ticks(q.IPv6.Port != 0, q.IPv6.OtherTimer)
}

// bridgePortRow is what a link and its options as a port say. Bridge, backup port and VLANs come later.
func bridgePortRow(l *rtnl.Link, o *rtnl.BridgePort) registry.BridgePort {
	p := registry.BridgePort{
		Interface:         l.Name,
		Index:             registry.Some(int64(l.Index)),
		OperState:         registry.Some(registry.OperState(rtnl.OperStateName(l.OperState))),
		Flags:             rtnl.AppendLinkFlags([]string{}, l.Flags),
		MAC:               macText(l.HardwareAddr),
		MTU:               registry.Some(int64(l.MTU)),
		Hairpin:           when(o.Has(unix.IFLA_BRPORT_MODE), o.Hairpin),
		Isolated:          when(o.Has(unix.IFLA_BRPORT_ISOLATED), o.Isolated),
		Learning:          when(o.Has(unix.IFLA_BRPORT_LEARNING), o.Learning),
		Flood:             when(o.Has(unix.IFLA_BRPORT_UNICAST_FLOOD), o.Flood),
		McastFlood:        when(o.Has(unix.IFLA_BRPORT_MCAST_FLOOD), o.McastFlood),
		BcastFlood:        when(o.Has(unix.IFLA_BRPORT_BCAST_FLOOD), o.BcastFlood),
		ProxyArp:          when(o.Has(unix.IFLA_BRPORT_PROXYARP), o.ProxyARP),
		ProxyArpWifi:      when(o.Has(unix.IFLA_BRPORT_PROXYARP_WIFI), o.ProxyARPWiFi),
		NeighSuppress:     when(o.Has(unix.IFLA_BRPORT_NEIGH_SUPPRESS), o.NeighSuppress),
		NeighVlanSuppress: when(o.Has(unix.IFLA_BRPORT_NEIGH_VLAN_SUPPRESS), o.NeighVLANSuppress),
		VlanTunnel:        when(o.Has(unix.IFLA_BRPORT_VLAN_TUNNEL), o.VLANTunnel),
		Locked:            when(o.Has(unix.IFLA_BRPORT_LOCKED), o.Locked),
		Mab:               when(o.Has(unix.IFLA_BRPORT_MAB), o.MAB),
		GroupFwdMask:      mask(o.Has(unix.IFLA_BRPORT_GROUP_FWD_MASK), o.GroupForwardMask),
		BackupNexthopID:   number(o.BackupNextHop != 0, o.BackupNextHop),
		MrpRingOpen:       when(o.Has(unix.IFLA_BRPORT_MRP_RING_OPEN), o.MRPRingOpen),
		MrpInOpen:         when(o.Has(unix.IFLA_BRPORT_MRP_IN_OPEN), o.MRPInOpen),
		Exists:            registry.Some(true),
	}
	portSpanningTree(&p, o)
	portMulticast(&p, o)
	return p
}

func portSpanningTree(p *registry.BridgePort, o *rtnl.BridgePort) {
	p.State = registry.NonZero(registry.BridgePortState(rtnl.BridgeStateName(o.State)))
	p.Cost = number(o.Has(unix.IFLA_BRPORT_COST), o.Cost)
	p.Priority = number(o.Has(unix.IFLA_BRPORT_PRIORITY), o.Priority)
	p.PortNo = mask(o.Has(unix.IFLA_BRPORT_NO), o.Number)
	p.PortID = mask(o.Has(unix.IFLA_BRPORT_ID), o.ID)
	p.BpduGuard = when(o.Has(unix.IFLA_BRPORT_GUARD), o.BPDUGuard)
	p.RootGuard = when(o.Has(unix.IFLA_BRPORT_PROTECT), o.RootGuard)
	p.DesignatedRoot = when(o.Has(unix.IFLA_BRPORT_ROOT_ID), o.DesignatedRoot.String())
	p.DesignatedBridge = when(o.Has(unix.IFLA_BRPORT_BRIDGE_ID), o.DesignatedBridge.String())
	p.DesignatedPort = mask(o.Has(unix.IFLA_BRPORT_DESIGNATED_PORT), o.DesignatedPort)
	p.DesignatedCost = number(o.Has(unix.IFLA_BRPORT_DESIGNATED_COST), o.DesignatedCost)
	p.TopologyChangeAck = when(o.Has(unix.IFLA_BRPORT_TOPOLOGY_CHANGE_ACK), o.TopologyChangeAck)
	p.ConfigPending = when(o.Has(unix.IFLA_BRPORT_CONFIG_PENDING), o.ConfigPending)
	p.MessageAgeTimerS = ticks(o.Has(unix.IFLA_BRPORT_MESSAGE_AGE_TIMER), o.MessageAgeTimer)
	p.ForwardDelayTimerS = ticks(o.Has(unix.IFLA_BRPORT_FORWARD_DELAY_TIMER), o.ForwardDelayTimer)
	p.HoldTimerS = ticks(o.Has(unix.IFLA_BRPORT_HOLD_TIMER), o.HoldTimer)
}

func portMulticast(p *registry.BridgePort, o *rtnl.BridgePort) {
	p.FastLeave = when(o.Has(unix.IFLA_BRPORT_FAST_LEAVE), o.FastLeave)
	p.MulticastToUnicast = when(o.Has(unix.IFLA_BRPORT_MCAST_TO_UCAST), o.McastToUnicast)
	p.MulticastRouter = number(o.Has(unix.IFLA_BRPORT_MULTICAST_ROUTER), o.McastRouter)
	p.McastGroups = number(o.Has(unix.IFLA_BRPORT_MCAST_N_GROUPS), o.McastGroups)
	p.McastMaxGroups = number(o.Has(unix.IFLA_BRPORT_MCAST_MAX_GROUPS), o.McastMaxGroups)
	p.McastEhtHostsLimit = number(o.Has(unix.IFLA_BRPORT_MCAST_EHT_HOSTS_LIMIT), o.McastEHTHostsLimit)
	p.McastEhtHosts = number(o.Has(unix.IFLA_BRPORT_MCAST_EHT_HOSTS_CNT), o.McastEHTHosts)
}

// ticks is a time in seconds that the kernel tells in ticks of 1/USER_HZ s.
func ticks(known bool, n uint64) registry.Opt[float64] {
	return when(known, float64(n)/rtnl.UserHZ)
}

// mask is 16 bits as hexadecimal digits.
func mask(known bool, bits uint16) registry.Opt[string] {
	return when(known, strconv.FormatUint(uint64(bits), 16))
}
