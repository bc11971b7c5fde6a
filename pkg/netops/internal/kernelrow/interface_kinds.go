package kernelrow

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// kind fills in what a kind of interface has beside what all have. What the table has no member for
// goes out as it came.
func (b *Interface) kind(l *rtnl.Link) error {
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
func (b *Interface) port(l *rtnl.Link) error {
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

func (b *Interface) vrf(data []byte) error {
	table, err := rtnl.DecodeVRF(data)
	b.row.VrfTable = wire.NonZero(table)
	return err
}

func (b *Interface) vlan(data []byte) error {
	v, err := rtnl.DecodeVLAN(data)
	b.row.VlanID = registry.Some(int64(v.ID))
	b.row.Vlan = &registry.InterfaceVlan{
		ID:         int64(v.ID),
		Protocol:   v.ProtocolName(),
		Flags:      v.FlagNames(),
		IngressQos: QoSMap(v.Ingress),
		EgressQos:  QoSMap(v.Egress),
	}
	return err
}

// QoSMap is a mapping of priorities as the table has it, a number by the text of another; nil for none.
func QoSMap(list []rtnl.QoSMapping) map[string]int64 {
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
		BroadcastQueueLength:     wire.Number(m.HasQueue, m.BroadcastQueue),
		BroadcastQueueLengthUsed: wire.Number(m.HasQueue, m.BroadcastQueueIn),
	}
}

func (b *Interface) tun(data []byte) error {
	t, err := rtnl.DecodeTun(data)
	row := &registry.InterfaceTun{
		Type:              "tun",
		Persistent:        t.Persistent,
		OwnerUid:          wire.Number(t.HasOwner, t.Owner),
		OwnerGid:          wire.Number(t.HasGroup, t.Group),
		MultiQueue:        t.MultiQueue,
		VnetHdr:           t.VnetHeader,
		PacketInfo:        t.PacketInfo,
		NumQueues:         wire.Number(t.MultiQueue, t.NumQueues),
		NumDisabledQueues: wire.Number(t.MultiQueue, t.NumDisabledQueues),
	}
	if t.Tap {
		row.Type = "tap"
	}
	b.row.Tun = row
	return err
}

func (b *Interface) vxlan(data []byte) error {
	v, err := rtnl.DecodeVXLAN(data)
	b.row.Vxlan = &registry.InterfaceVxlan{
		Vni:                wire.Number(!v.External, v.ID),
		External:           v.External,
		VniFilter:          wire.True(v.VNIFilter),
		Group:              wire.Addr(v.Group),
		Local:              wire.Addr(v.Local),
		Parent:             b.names.Of(v.Link),
		Port:               wire.NonZero(v.Port),
		SourcePortLow:      wire.NonZero(v.PortLow),
		SourcePortHigh:     wire.NonZero(v.PortHigh),
		TTL:                wire.Number(!v.TTLInherit, v.TTL),
		TTLInherit:         wire.True(v.TTLInherit),
		Tos:                wire.NonZero(v.TOS),
		DF:                 registry.Some(v.DFName()),
		FlowLabel:          wire.NonZero(v.Label),
		Learning:           v.Learning,
		Proxy:              wire.True(v.Proxy),
		Rsc:                wire.True(v.RSC),
		L2Miss:             wire.True(v.L2Miss),
		L3Miss:             wire.True(v.L3Miss),
		AgeingS:            registry.Some(int64(v.Ageing)),
		MaxEntries:         registry.Some(int64(v.Limit)),
		UdpChecksum:        registry.Some(v.UDPChecksum),
		UdpZeroChecksum6Tx: registry.Some(v.UDPZeroChecksum6Tx),
		UdpZeroChecksum6Rx: registry.Some(v.UDPZeroChecksum6Rx),
		Gbp:                wire.True(v.GroupPolicy),
		Gpe:                wire.True(v.GenericHeader),
		LocalBypass:        wire.When(v.HasLocalBypass, v.LocalBypass),
		RemcsumTx:          wire.True(v.RemoteChecksumTx),
		RemcsumRx:          wire.True(v.RemoteChecksumRx),
		LabelPolicy:        wire.When(v.HasLabelPolicy, v.LabelPolicyName()),
		McRoute:            wire.When(v.HasMulticastRoute, v.MulticastRoute),
	}
	return err
}

// tunnel fills in a tunnel of the kinds that are much alike, or the options of any other kind raw.
func (b *Interface) tunnel(l *rtnl.Link) error {
	t, known, err := rtnl.DecodeTunnel(l.Kind, l.Data)
	if !known {
		return b.options(l)
	}
	row := &registry.InterfaceTunnel{
		Local:            wire.Addr(t.Local),
		Remote:           wire.Addr(t.Remote),
		Parent:           b.names.Of(t.Link),
		External:         wire.True(t.External),
		TTL:              wire.NonZero(t.TTL),
		Tos:              wire.NonZero(t.TOS),
		DF:               wire.When(t.HasPMTU, t.PMTUDiscovery),
		IgnoreDF:         wire.True(t.IgnoreDF),
		Ikey:             wire.Number(t.HasInKey, t.InKey),
		Okey:             wire.Number(t.HasOutKey, t.OutKey),
		Flags:            t.Flags,
		EncapLimit:       wire.NonZero(t.EncapLimit),
		FlowLabel:        wire.NonZero(t.FlowLabel),
		Protocol:         wire.Number(t.HasProtocol, t.Protocol),
		EncapType:        registry.NonZero(t.EncapType),
		SixrdPrefix:      wire.Prefix(t.SixRD),
		SixrdRelayPrefix: wire.When(t.SixRDRelay.Bits() > 0, t.SixRDRelay.Masked()),
		IfID:             wire.NonZero(t.InterfaceID),
	}
	if t.Mark != 0 {
		row.Fwmark = registry.Some(strconv.FormatUint(uint64(t.Mark), 16))
	}
	if t.EncapType != "none" { // without one the kernel keeps defaults for it all the same
		row.EncapSourcePort = wire.NonZero(t.EncapSrcPort)
		row.EncapDestinationPort = wire.NonZero(t.EncapDstPort)
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
func (b *Interface) options(l *rtnl.Link) error {
	list, known, err := rtnl.DecodeOptions(l.Kind, l.Data)
	if !known {
		b.row.KindData = wire.Hex(l.Data)
		return nil
	}
	b.row.KindOptions = make(map[string]string, len(list))
	for _, o := range list {
		value := o.Value
		if o.Link != 0 {
			value = b.names.Of(o.Link).Or("")
		}
		if value != "" {
			b.row.KindOptions[o.Name] = value
		}
	}
	return err
}

func erspan(row *registry.InterfaceTunnel, t *rtnl.Tunnel) {
	row.ErspanVersion = wire.NonZero(t.ERSPANVersion)
	row.ErspanIndex = wire.Number(t.ERSPANVersion == 1, t.ERSPANIndex)
	row.ErspanDirection = wire.When(t.ERSPANVersion == 2, t.ERSPANDirectionName())
	row.ErspanHardwareID = wire.Number(t.ERSPANVersion == 2, t.ERSPANHardware)
}

func geneve(row *registry.InterfaceTunnel, t *rtnl.Tunnel) {
	row.Vni = wire.Number(!t.External, t.VNI)
	row.Port = registry.Some(int64(t.Port))
	row.TTLInherit = wire.True(t.TTLInherit)
	row.UdpChecksum = registry.Some(t.UDPChecksum)
	row.UdpZeroChecksum6Tx = registry.Some(t.UDPZeroChecksum6Tx)
	row.UdpZeroChecksum6Rx = registry.Some(t.UDPZeroChecksum6Rx)
}

func (b *Interface) bond(data []byte) error {
	o, err := rtnl.DecodeBond(data)
	row := &registry.InterfaceBond{
		Mode:             o.Mode,
		ActivePort:       b.names.Of(o.ActivePort),
		Primary:          b.names.Of(o.Primary),
		PrimaryReselect:  registry.NonZero(o.PrimaryReselect),
		FailOverMAC:      registry.NonZero(o.FailOverMAC),
		MiimonS:          wire.Milliseconds(o.Has(unix.IFLA_BOND_MIIMON), o.MIIMon),
		UpdelayS:         wire.Milliseconds(o.Has(unix.IFLA_BOND_UPDELAY), o.UpDelay),
		DowndelayS:       wire.Milliseconds(o.Has(unix.IFLA_BOND_DOWNDELAY), o.DownDelay),
		PeerNotifyDelayS: wire.Milliseconds(o.Has(unix.IFLA_BOND_PEER_NOTIF_DELAY), o.PeerNotifyDelay),
		UseCarrier:       wire.When(o.Has(unix.IFLA_BOND_USE_CARRIER), o.UseCarrier),
		ArpIntervalS:     wire.Milliseconds(o.Has(unix.IFLA_BOND_ARP_INTERVAL), o.ARPInterval),
		ArpIPTargets:     o.ARPTargets,
		NsIp6Targets:     o.NSTargets,
		ArpValidate:      registry.NonZero(o.ARPValidate),
		ArpAllTargets:    registry.NonZero(o.ARPAllTargets),
		XmitHashPolicy:   registry.NonZero(o.XmitHashPolicy),
		ResendIgmp:       wire.Number(o.Has(unix.IFLA_BOND_RESEND_IGMP), o.ResendIGMP),
		NumPeerNotif:     wire.Number(o.Has(unix.IFLA_BOND_NUM_PEER_NOTIF), o.NumPeerNotif),
		AllPortsActive:   wire.When(o.Has(unix.IFLA_BOND_ALL_SLAVES_ACTIVE), o.AllPortsActive),
		MinLinks:         wire.Number(o.Has(unix.IFLA_BOND_MIN_LINKS), o.MinLinks),
		LpIntervalS:      wire.Number(o.Has(unix.IFLA_BOND_LP_INTERVAL), o.LPInterval),
		PacketsPerPort:   wire.Number(o.Has(unix.IFLA_BOND_PACKETS_PER_SLAVE), o.PacketsPerPort),
		MissedMax:        wire.Number(o.Has(unix.IFLA_BOND_MISSED_MAX), o.MissedMax),
		TlbDynamicLb:     wire.When(o.Has(unix.IFLA_BOND_TLB_DYNAMIC_LB), o.TLBDynamicLB),
	}
	bondLACP(row, &o)
	b.row.Bond = row
	return err
}

// bondLACP fills in the options of mode 802.3ad.
func bondLACP(row *registry.InterfaceBond, o *rtnl.Bond) {
	row.AdLacpActive = wire.When(o.Has(unix.IFLA_BOND_AD_LACP_ACTIVE), o.LACPActive)
	row.AdLacpRate = registry.NonZero(o.LACPRate)
	row.AdSelect = registry.NonZero(o.ADSelect)
	row.AdActorSysPrio = wire.Number(o.Has(unix.IFLA_BOND_AD_ACTOR_SYS_PRIO), o.ActorSysPrio)
	row.AdUserPortKey = wire.Number(o.Has(unix.IFLA_BOND_AD_USER_PORT_KEY), o.UserPortKey)
	row.AdActorSystem = wire.MAC(o.ActorSystem)
	row.BroadcastNeighbor = wire.When(o.Has(rtnl.BondBroadcastNeigh), o.BroadcastNeigh)
	row.CoupledControl = wire.When(o.Has(unix.IFLA_BOND_COUPLED_CONTROL), o.CoupledControl)
	if o.AD == nil {
		return
	}
	row.AdAggregatorID = registry.Some(int64(o.AD.ID))
	row.AdNumPorts = registry.Some(int64(o.AD.NumPorts))
	row.AdActorKey = registry.Some(int64(o.AD.ActorKey))
	row.AdPartnerKey = registry.Some(int64(o.AD.PartnerKey))
	row.AdPartnerMAC = wire.MAC(o.AD.PartnerMAC)
}

func (b *Interface) bondPort(data []byte) error {
	p, err := rtnl.DecodeBondPort(data)
	b.row.BondPort = &registry.InterfaceBondPort{
		State:                  p.State,
		MiiStatus:              p.MIIStatus,
		LinkFailureCount:       registry.Some(int64(p.LinkFailureCount)),
		PermanentMAC:           wire.MAC(p.PermanentAddr),
		QueueID:                registry.Some(int64(p.QueueID)),
		Priority:               wire.Number(p.HasPriority, p.Priority),
		AdAggregatorID:         wire.Number(p.HasAD, p.AggregatorID),
		AdActorOperPortState:   wire.Number(p.HasAD, p.ActorPortState),
		AdPartnerOperPortState: wire.Number(p.HasAD, p.PartnerPortState),
	}
	return err
}
