package rtnl

import (
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// QoSMapping is struct ifla_vlan_qos_mapping: a priority in the tag and one inside the host, in the
// direction of travel.
type QoSMapping struct{ From, To uint32 }

// VLAN is what a link of kind vlan has (IFLA_VLAN_*).
type VLAN struct {
	ID       uint16
	Protocol uint16 // ether type of the tag: 0x8100, 0x88a8
	Flags    uint32 // VLAN_FLAG_*
	Ingress  []QoSMapping
	Egress   []QoSMapping
}

// DecodeVLAN reads [Link.Data] of kind vlan.
func DecodeVLAN(data []byte) (VLAN, error) {
	var v VLAN
	a := nlsock.Attributes(data)
	for a.Next() {
		var err error
		switch a.Type() {
		case unix.IFLA_VLAN_ID:
			v.ID = a.Uint16()
		case unix.IFLA_VLAN_PROTOCOL:
			v.Protocol = a.BigUint16()
		case unix.IFLA_VLAN_FLAGS: // struct ifla_vlan_flags: flags, then the mask of a change
			v.Flags = a.Uint32()
		case unix.IFLA_VLAN_INGRESS_QOS:
			v.Ingress, err = qosMappings(a.Nested())
		case unix.IFLA_VLAN_EGRESS_QOS:
			v.Egress, err = qosMappings(a.Nested())
		}
		if err != nil {
			return VLAN{}, err
		}
	}
	return v, a.Err()
}

func qosMappings(a nlsock.Attrs) ([]QoSMapping, error) {
	var list []QoSMapping
	for a.Next() {
		if b := a.Bytes(); len(b) >= 8 {
			list = append(list, QoSMapping{From: native.Uint32(b), To: native.Uint32(b[4:])})
		}
	}
	return list, a.Err()
}

var vlanFlags = flagNames{"reorder_hdr", "gvrp", "loose_binding", "mvrp", "bridge_binding"}

// FlagNames are the names of VLAN_FLAG_*.
func (v *VLAN) FlagNames() []string { return vlanFlags.append([]string{}, v.Flags) }

// ProtocolName is [TagName] of the tag.
func (v *VLAN) ProtocolName() string { return TagName(v.Protocol) }

// TagName names a VLAN tag by its ether type: 802.1Q, 802.1ad, or 0x and four hexadecimal digits.
func TagName(etherType uint16) string {
	switch etherType {
	case unix.ETH_P_8021Q:
		return "802.1Q"
	case unix.ETH_P_8021AD:
		return "802.1ad"
	}
	return "0x" + strconv.FormatUint(uint64(etherType)|1<<16, 16)[1:]
}

// DecodeVRF reads the routing table from [Link.Data] of kind vrf (IFLA_VRF_TABLE) or from
// [Link.PortData] of its ports (IFLA_VRF_PORT_TABLE, the same number).
func DecodeVRF(data []byte) (table uint32, err error) {
	a := nlsock.Attributes(data)
	for a.Next() {
		if a.Type() == unix.IFLA_VRF_TABLE {
			table = a.Uint32()
		}
	}
	return table, a.Err()
}

// Macvlan is what a link of kind macvlan, macvtap, ipvlan or ipvtap has (IFLA_MACVLAN_*,
// IFLA_IPVLAN_*).
type Macvlan struct {
	Mode             string
	Flags            []string
	Sources          [][]byte // mode source: hardware addresses
	BroadcastQueue   uint32   // length asked for, where HasQueue
	BroadcastQueueIn uint32   // length in use
	HasQueue         bool
}

// macvlanModes are MACVLAN_MODE_*, one bit each.
var (
	macvlanModes = flagNames{"private", "vepa", "bridge", "passthru", "source"}
	macvlanFlags = flagNames{"nopromisc", "nodst"}
	ipvlanModes  = []string{"l2", "l3", "l3s"}
	ipvlanFlags  = flagNames{"private", "vepa"}
)

// DecodeMacvlan reads [Link.Data] of kind macvlan and macvtap.
func DecodeMacvlan(data []byte) (Macvlan, error) {
	m := Macvlan{Flags: []string{}}
	a := nlsock.Attributes(data)
	for a.Next() {
		switch a.Type() {
		case unix.IFLA_MACVLAN_MODE:
			m.Mode = oneFlag(macvlanModes, a.Uint32())
		case unix.IFLA_MACVLAN_FLAGS:
			m.Flags = macvlanFlags.append(m.Flags, uint32(a.Uint16()))
		case unix.IFLA_MACVLAN_BC_QUEUE_LEN:
			m.BroadcastQueue, m.HasQueue = a.Uint32(), true
		case unix.IFLA_MACVLAN_BC_QUEUE_LEN_USED:
			m.BroadcastQueueIn = a.Uint32()
		case unix.IFLA_MACVLAN_MACADDR_DATA:
			for nested := a.Nested(); nested.Next(); {
				m.Sources = append(m.Sources, nested.Bytes())
			}
		}
	}
	return m, a.Err()
}

// oneFlag is the name of a value that has one bit set, or the value as text.
func oneFlag(names flagNames, value uint32) string {
	if list := names.append(nil, value); len(list) == 1 {
		return list[0]
	}
	return strconv.FormatUint(uint64(value), 10)
}

// DecodeIPVlan reads [Link.Data] of kind ipvlan and ipvtap.
func DecodeIPVlan(data []byte) (Macvlan, error) {
	m := Macvlan{Flags: []string{}}
	a := nlsock.Attributes(data)
	for a.Next() {
		switch a.Type() {
		case unix.IFLA_IPVLAN_MODE:
			m.Mode = fromList(ipvlanModes, int(a.Uint16()))
		case unix.IFLA_IPVLAN_FLAGS:
			m.Flags = ipvlanFlags.append(m.Flags, uint32(a.Uint16()))
		}
	}
	return m, a.Err()
}

// Tun is what a link of kind tun has (IFLA_TUN_*), tap interfaces too.
type Tun struct {
	Tap               bool // Ethernet frames; false: IP packets
	Owner, Group      uint32
	HasOwner          bool
	HasGroup          bool
	PacketInfo        bool
	VnetHeader        bool
	Persistent        bool
	MultiQueue        bool
	NumQueues         uint32 // attached, where MultiQueue
	NumDisabledQueues uint32 // detached, where MultiQueue
}

// DecodeTun reads [Link.Data] of kind tun.
func DecodeTun(data []byte) (Tun, error) {
	var t Tun
	a := nlsock.Attributes(data)
	for a.Next() {
		switch a.Type() {
		case unix.IFLA_TUN_TYPE:
			t.Tap = a.Uint8() == unix.IFF_TAP
		case unix.IFLA_TUN_OWNER:
			t.Owner, t.HasOwner = a.Uint32(), true
		case unix.IFLA_TUN_GROUP:
			t.Group, t.HasGroup = a.Uint32(), true
		case unix.IFLA_TUN_PI:
			t.PacketInfo = a.Uint8() != 0
		case unix.IFLA_TUN_VNET_HDR:
			t.VnetHeader = a.Uint8() != 0
		case unix.IFLA_TUN_PERSIST:
			t.Persistent = a.Uint8() != 0
		case unix.IFLA_TUN_MULTI_QUEUE:
			t.MultiQueue = a.Uint8() != 0
		case unix.IFLA_TUN_NUM_QUEUES:
			t.NumQueues = a.Uint32()
		case unix.IFLA_TUN_NUM_DISABLED_QUEUES:
			t.NumDisabledQueues = a.Uint32()
		}
	}
	return t, a.Err()
}

// VXLAN is what a link of kind vxlan has (IFLA_VXLAN_*).
type VXLAN struct {
	ID                         uint32 // VXLAN network id
	External                   bool   // tunnel data comes with each packet: ID says nothing
	VNIFilter                  bool
	Group, Local               netip.Addr // the remote end may be a multicast group
	Link                       int        // index of the interface that it sends on; 0: by route
	Port                       uint16
	PortLow, PortHigh          uint16
	TTL, TOS, DF               uint8
	TTLInherit                 bool
	Label                      uint32
	Learning, Proxy, RSC       bool
	L2Miss, L3Miss             bool
	Ageing, Limit              uint32
	UDPChecksum                bool
	UDPZeroChecksum6Tx         bool
	UDPZeroChecksum6Rx         bool
	GroupPolicy, GenericHeader bool // GBP, GPE
	LocalBypass                bool // packets to this host's own end do not go down to its UDP, where HasLocalBypass
	HasLocalBypass             bool
	RemoteChecksumTx           bool // remote checksum offload, draft-herbert-vxlan-rco
	RemoteChecksumRx           bool
	LabelPolicy                uint32 // VXLAN_LABEL_*, where HasLabelPolicy
	HasLabelPolicy             bool
	MulticastRoute             bool // multicast goes the way that the host routes it, where HasMulticastRoute
	HasMulticastRoute          bool
}

// DecodeVXLAN reads [Link.Data] of kind vxlan.
func DecodeVXLAN(data []byte) (VXLAN, error) {
	var v VXLAN
	a := nlsock.Attributes(data)
	for a.Next() {
		if !v.number(&a) {
			v.switches(&a)
		}
	}
	return v, a.Err()
}

func (v *VXLAN) number(a *nlsock.Attrs) bool {
	switch a.Type() {
	case unix.IFLA_VXLAN_ID:
		v.ID = a.Uint32()
	case unix.IFLA_VXLAN_GROUP, unix.IFLA_VXLAN_GROUP6:
		v.Group = AddrOf(a.Bytes())
	case unix.IFLA_VXLAN_LOCAL, unix.IFLA_VXLAN_LOCAL6:
		v.Local = AddrOf(a.Bytes())
	case unix.IFLA_VXLAN_LINK:
		v.Link = int(a.Int32())
	case unix.IFLA_VXLAN_PORT:
		v.Port = a.BigUint16()
	case unix.IFLA_VXLAN_PORT_RANGE: // struct ifla_vxlan_port_range: low, high, in network order
		both := a.BigUint32()
		v.PortLow, v.PortHigh = uint16(both>>16), uint16(both)
	case unix.IFLA_VXLAN_TTL:
		v.TTL = a.Uint8()
	case unix.IFLA_VXLAN_TOS:
		v.TOS = a.Uint8()
	case unix.IFLA_VXLAN_DF:
		v.DF = a.Uint8()
	case unix.IFLA_VXLAN_LABEL:
		v.Label = a.BigUint32()
	case unix.IFLA_VXLAN_AGEING:
		v.Ageing = a.Uint32()
	case unix.IFLA_VXLAN_LIMIT:
		v.Limit = a.Uint32()
	case unix.IFLA_VXLAN_LABEL_POLICY:
		v.LabelPolicy, v.HasLabelPolicy = a.Uint32(), true
	default:
		return false
	}
	return true
}

func (v *VXLAN) switches(a *nlsock.Attrs) {
	switch a.Type() {
	case unix.IFLA_VXLAN_COLLECT_METADATA:
		v.External = a.Flag()
	case unix.IFLA_VXLAN_VNIFILTER:
		v.VNIFilter = a.Flag()
	case unix.IFLA_VXLAN_TTL_INHERIT:
		v.TTLInherit = a.Flag()
	case unix.IFLA_VXLAN_LEARNING:
		v.Learning = a.Flag()
	case unix.IFLA_VXLAN_PROXY:
		v.Proxy = a.Flag()
	case unix.IFLA_VXLAN_RSC:
		v.RSC = a.Flag()
	case unix.IFLA_VXLAN_L2MISS:
		v.L2Miss = a.Flag()
	case unix.IFLA_VXLAN_L3MISS:
		v.L3Miss = a.Flag()
	case unix.IFLA_VXLAN_UDP_CSUM:
		v.UDPChecksum = a.Flag()
	case unix.IFLA_VXLAN_UDP_ZERO_CSUM6_TX:
		v.UDPZeroChecksum6Tx = a.Flag()
	case unix.IFLA_VXLAN_UDP_ZERO_CSUM6_RX:
		v.UDPZeroChecksum6Rx = a.Flag()
	case unix.IFLA_VXLAN_REMCSUM_TX:
		v.RemoteChecksumTx = a.Flag()
	case unix.IFLA_VXLAN_REMCSUM_RX:
		v.RemoteChecksumRx = a.Flag()
	case vxlanMulticastRoute:
		v.MulticastRoute, v.HasMulticastRoute = a.Flag(), true
	case unix.IFLA_VXLAN_LOCALBYPASS:
		v.LocalBypass, v.HasLocalBypass = a.Flag(), true
	case unix.IFLA_VXLAN_GBP:
		v.GroupPolicy = a.Flag()
	case unix.IFLA_VXLAN_GPE:
		v.GenericHeader = a.Flag()
	}
}

const vxlanMulticastRoute = 34 // IFLA_VXLAN_MC_ROUTE, Linux 6.17, which x/sys/unix does not have

var labelPolicies = []string{"fixed", "inherit"}

// LabelPolicyName is the name of VXLAN_LABEL_*: fixed, inherit.
func (v *VXLAN) LabelPolicyName() string { return fromList(labelPolicies, int(v.LabelPolicy)) }

var dontFragment = []string{"unset", "set", "inherit"}

// DFName is the name of VXLAN_DF_*: unset, set, inherit.
func (v *VXLAN) DFName() string { return fromList(dontFragment, int(v.DF)) }
