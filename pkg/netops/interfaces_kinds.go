package netops

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/registry"
)

// kind fills in what a kind of interface has beside what all have. What the table has no member for
// goes out as it came.
func (b *interfaceRow) kind(l *rtnl.Link) error {
	if err := b.port(l); err != nil {
		return err
	}
	if len(l.Data) == 0 {
		return nil
	}
	switch l.Kind {
	case "bridge": // see net.bridge
		return nil
	case "vlan":
		return b.vlan(l.Data)
	case "bond":
		return b.bond(l.Data)
	case "vxlan":
		return b.vxlan(l.Data)
	case "tun":
		return b.tun(l.Data)
	case "vrf":
		return b.vrf(l.Data)
	case "macvlan", "macvtap":
		m, err := rtnl.DecodeMacvlan(l.Data)
		b.row.Macvlan = macvlan(&m)
		return err
	case "ipvlan", "ipvtap":
		m, err := rtnl.DecodeIPVlan(l.Data)
		b.row.Macvlan = macvlan(&m)
		return err
	}
	return b.tunnel(l)
}

// port fills in what an interface has as a port of another. Options of a bridge's port: net.bridge.
func (b *interfaceRow) port(l *rtnl.Link) error {
	switch {
	case len(l.PortData) == 0:
		return nil
	case l.PortKind == "bond":
		return b.bondPort(l.PortData)
	case l.PortKind == "vrf":
		return b.vrf(l.PortData)
	}
	return nil
}

func (b *interfaceRow) vrf(data []byte) error {
	table, err := rtnl.DecodeVRF(data)
	b.row.VrfTable = nonZero(table)
	return err
}

func (b *interfaceRow) vlan(data []byte) error {
	v, err := rtnl.DecodeVLAN(data)
	b.row.VlanID = registry.Some(int64(v.ID))
	b.row.Vlan = &registry.InterfaceVlan{
		ID:         int64(v.ID),
		Protocol:   v.ProtocolName(),
		Flags:      v.FlagNames(),
		IngressQos: qosMap(v.Ingress),
		EgressQos:  qosMap(v.Egress),
	}
	return err
}

func qosMap(list []rtnl.QoSMapping) map[string]int64 {
	if len(list) == 0 {
		return nil
	}
	m := make(map[string]int64, len(list))
	for _, q := range list {
		m[strconv.FormatUint(uint64(q.From), 10)] = int64(q.To)
	}
	return m
}

func macvlan(m *rtnl.Macvlan) *registry.InterfaceMacvlan {
	return &registry.InterfaceMacvlan{
		Mode:                     m.Mode,
		Flags:                    m.Flags,
		SourceMacs:               hexList(m.Sources),
		BroadcastQueueLength:     number(m.HasQueue, m.BroadcastQueue),
		BroadcastQueueLengthUsed: number(m.HasQueue, m.BroadcastQueueIn),
	}
}

func (b *interfaceRow) tun(data []byte) error {
	t, err := rtnl.DecodeTun(data)
	row := &registry.InterfaceTun{
		Type:              "tun",
		Persistent:        t.Persistent,
		OwnerUid:          number(t.HasOwner, t.Owner),
		OwnerGid:          number(t.HasGroup, t.Group),
		MultiQueue:        t.MultiQueue,
		VnetHdr:           t.VnetHeader,
		PacketInfo:        t.PacketInfo,
		NumQueues:         number(t.MultiQueue, t.NumQueues),
		NumDisabledQueues: number(t.MultiQueue, t.NumDisabledQueues),
	}
	if t.Tap {
		row.Type = "tap"
	}
	b.row.Tun = row
	return err
}

func (b *interfaceRow) vxlan(data []byte) error {
	v, err := rtnl.DecodeVXLAN(data)
	b.row.Vxlan = &registry.InterfaceVxlan{
		Vni:                number(!v.External, v.ID),
		External:           v.External,
		VniFilter:          isTrue(v.VNIFilter),
		Group:              validAddr(v.Group),
		Local:              validAddr(v.Local),
		Parent:             b.names.of(v.Link),
		Port:               nonZero(v.Port),
		SourcePortLow:      nonZero(v.PortLow),
		SourcePortHigh:     nonZero(v.PortHigh),
		TTL:                number(!v.TTLInherit, v.TTL),
		TTLInherit:         isTrue(v.TTLInherit),
		Tos:                nonZero(v.TOS),
		DF:                 registry.Some(v.DFName()),
		FlowLabel:          nonZero(v.Label),
		Learning:           v.Learning,
		Proxy:              isTrue(v.Proxy),
		Rsc:                isTrue(v.RSC),
		L2Miss:             isTrue(v.L2Miss),
		L3Miss:             isTrue(v.L3Miss),
		AgeingS:            registry.Some(int64(v.Ageing)),
		MaxEntries:         registry.Some(int64(v.Limit)),
		UdpChecksum:        registry.Some(v.UDPChecksum),
		UdpZeroChecksum6Tx: registry.Some(v.UDPZeroChecksum6Tx),
		UdpZeroChecksum6Rx: registry.Some(v.UDPZeroChecksum6Rx),
		Gbp:                isTrue(v.GroupPolicy),
		Gpe:                isTrue(v.GenericHeader),
		LocalBypass:        when(v.HasLocalBypass, v.LocalBypass),
		RemcsumTx:          isTrue(v.RemoteChecksumTx),
		RemcsumRx:          isTrue(v.RemoteChecksumRx),
		LabelPolicy:        when(v.HasLabelPolicy, v.LabelPolicyName()),
		McRoute:            when(v.HasMulticastRoute, v.MulticastRoute),
	}
	return err
}

// tunnel fills in a tunnel of the kinds that are much alike, or the options of any other kind raw.
func (b *interfaceRow) tunnel(l *rtnl.Link) error {
	t, known, err := rtnl.DecodeTunnel(l.Kind, l.Data)
	if !known {
		return b.options(l)
	}
	row := &registry.InterfaceTunnel{
		Local:            validAddr(t.Local),
		Remote:           validAddr(t.Remote),
		Parent:           b.names.of(t.Link),
		External:         isTrue(t.External),
		TTL:              nonZero(t.TTL),
		Tos:              nonZero(t.TOS),
		DF:               when(t.HasPMTU, t.PMTUDiscovery),
		IgnoreDF:         isTrue(t.IgnoreDF),
		Ikey:             number(t.HasInKey, t.InKey),
		Okey:             number(t.HasOutKey, t.OutKey),
		Flags:            t.Flags,
		EncapLimit:       nonZero(t.EncapLimit),
		FlowLabel:        nonZero(t.FlowLabel),
		Protocol:         number(t.HasProtocol, t.Protocol),
		EncapType:        registry.NonZero(t.EncapType),
		SixrdPrefix:      validPrefix(t.SixRD),
		SixrdRelayPrefix: when(t.SixRDRelay.Bits() > 0, t.SixRDRelay.Masked()),
		IfID:             nonZero(t.InterfaceID),
	}
	if t.Mark != 0 {
		row.Fwmark = registry.Some(strconv.FormatUint(uint64(t.Mark), 16))
	}
	if t.EncapType != "none" { // without one the kernel keeps defaults for it all the same
		row.EncapSourcePort = nonZero(t.EncapSrcPort)
		row.EncapDestinationPort = nonZero(t.EncapDstPort)
		row.EncapFlags = t.EncapFlags
	}
	erspan(row, &t)
	if l.Kind == "geneve" {
		geneve(row, &t)
	}
	b.row.Tunnel = row
	return err
}

// options fills in the options of a kind that has no member of its own, or of any other kind raw.
func (b *interfaceRow) options(l *rtnl.Link) error {
	list, known, err := rtnl.DecodeOptions(l.Kind, l.Data)
	if !known {
		b.row.KindData = hexText(l.Data)
		return nil
	}
	b.row.KindOptions = make(map[string]string, len(list))
	for _, o := range list {
		value := o.Value
		if o.Link != 0 {
			value = b.names.of(o.Link).Or("")
		}
		if value != "" {
			b.row.KindOptions[o.Name] = value
		}
	}
	return err
}

func erspan(row *registry.InterfaceTunnel, t *rtnl.Tunnel) {
	row.ErspanVersion = nonZero(t.ERSPANVersion)
	row.ErspanIndex = number(t.ERSPANVersion == 1, t.ERSPANIndex)
	row.ErspanDirection = when(t.ERSPANVersion == 2, t.ERSPANDirectionName())
	row.ErspanHardwareID = number(t.ERSPANVersion == 2, t.ERSPANHardware)
}

func geneve(row *registry.InterfaceTunnel, t *rtnl.Tunnel) {
	row.Vni = number(!t.External, t.VNI)
	row.Port = registry.Some(int64(t.Port))
	row.TTLInherit = isTrue(t.TTLInherit)
	row.UdpChecksum = registry.Some(t.UDPChecksum)
	row.UdpZeroChecksum6Tx = registry.Some(t.UDPZeroChecksum6Tx)
	row.UdpZeroChecksum6Rx = registry.Some(t.UDPZeroChecksum6Rx)
}

func (b *interfaceRow) bond(data []byte) error {
	o, err := rtnl.DecodeBond(data)
	row := &registry.InterfaceBond{
		Mode:             o.Mode,
		ActivePort:       b.names.of(o.ActivePort),
		Primary:          b.names.of(o.Primary),
		PrimaryReselect:  registry.NonZero(o.PrimaryReselect),
		FailOverMAC:      registry.NonZero(o.FailOverMAC),
		MiimonS:          milliseconds(o.Has(unix.IFLA_BOND_MIIMON), o.MIIMon),
		UpdelayS:         milliseconds(o.Has(unix.IFLA_BOND_UPDELAY), o.UpDelay),
		DowndelayS:       milliseconds(o.Has(unix.IFLA_BOND_DOWNDELAY), o.DownDelay),
		PeerNotifyDelayS: milliseconds(o.Has(unix.IFLA_BOND_PEER_NOTIF_DELAY), o.PeerNotifyDelay),
		UseCarrier:       when(o.Has(unix.IFLA_BOND_USE_CARRIER), o.UseCarrier),
		ArpIntervalS:     milliseconds(o.Has(unix.IFLA_BOND_ARP_INTERVAL), o.ARPInterval),
		ArpIPTargets:     o.ARPTargets,
		NsIp6Targets:     o.NSTargets,
		ArpValidate:      registry.NonZero(o.ARPValidate),
		ArpAllTargets:    registry.NonZero(o.ARPAllTargets),
		XmitHashPolicy:   registry.NonZero(o.XmitHashPolicy),
		ResendIgmp:       number(o.Has(unix.IFLA_BOND_RESEND_IGMP), o.ResendIGMP),
		NumPeerNotif:     number(o.Has(unix.IFLA_BOND_NUM_PEER_NOTIF), o.NumPeerNotif),
		AllPortsActive:   when(o.Has(unix.IFLA_BOND_ALL_SLAVES_ACTIVE), o.AllPortsActive),
		MinLinks:         number(o.Has(unix.IFLA_BOND_MIN_LINKS), o.MinLinks),
		LpIntervalS:      number(o.Has(unix.IFLA_BOND_LP_INTERVAL), o.LPInterval),
		PacketsPerPort:   number(o.Has(unix.IFLA_BOND_PACKETS_PER_SLAVE), o.PacketsPerPort),
		MissedMax:        number(o.Has(unix.IFLA_BOND_MISSED_MAX), o.MissedMax),
		TlbDynamicLb:     when(o.Has(unix.IFLA_BOND_TLB_DYNAMIC_LB), o.TLBDynamicLB),
	}
	bondLACP(row, &o)
	b.row.Bond = row
	return err
}

// bondLACP fills in the options of mode 802.3ad.
func bondLACP(row *registry.InterfaceBond, o *rtnl.Bond) {
	row.AdLacpActive = when(o.Has(unix.IFLA_BOND_AD_LACP_ACTIVE), o.LACPActive)
	row.AdLacpRate = registry.NonZero(o.LACPRate)
	row.AdSelect = registry.NonZero(o.ADSelect)
	row.AdActorSysPrio = number(o.Has(unix.IFLA_BOND_AD_ACTOR_SYS_PRIO), o.ActorSysPrio)
	row.AdUserPortKey = number(o.Has(unix.IFLA_BOND_AD_USER_PORT_KEY), o.UserPortKey)
	row.AdActorSystem = macText(o.ActorSystem)
	row.BroadcastNeighbor = when(o.Has(rtnl.BondBroadcastNeigh), o.BroadcastNeigh)
	row.CoupledControl = when(o.Has(unix.IFLA_BOND_COUPLED_CONTROL), o.CoupledControl)
	if o.AD == nil {
		return
	}
	row.AdAggregatorID = registry.Some(int64(o.AD.ID))
	row.AdNumPorts = registry.Some(int64(o.AD.NumPorts))
	row.AdActorKey = registry.Some(int64(o.AD.ActorKey))
	row.AdPartnerKey = registry.Some(int64(o.AD.PartnerKey))
	row.AdPartnerMAC = macText(o.AD.PartnerMAC)
}

func (b *interfaceRow) bondPort(data []byte) error {
	p, err := rtnl.DecodeBondPort(data)
	b.row.BondPort = &registry.InterfaceBondPort{
		State:                  p.State,
		MiiStatus:              p.MIIStatus,
		LinkFailureCount:       registry.Some(int64(p.LinkFailureCount)),
		PermanentMAC:           macText(p.PermanentAddr),
		QueueID:                registry.Some(int64(p.QueueID)),
		Priority:               number(p.HasPriority, p.Priority),
		AdAggregatorID:         number(p.HasAD, p.AggregatorID),
		AdActorOperPortState:   number(p.HasAD, p.ActorPortState),
		AdPartnerOperPortState: number(p.HasAD, p.PartnerPortState),
	}
	return err
}
