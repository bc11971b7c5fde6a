package rtnl

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Bond is what a link of kind bond has (IFLA_BOND_*). Numbers that stand for words are given as the
// words of the kernel's documentation (networking/bonding). Intervals are in milliseconds.
type Bond struct {
	Mode            string
	ActivePort      int // index; 0: none
	Primary         int // index; 0: none
	PrimaryReselect string
	FailOverMAC     string
	XmitHashPolicy  string

	MIIMon, UpDelay, DownDelay, PeerNotifyDelay, ARPInterval uint32

	UseCarrier     bool
	ARPTargets     []netip.Addr
	NSTargets      []netip.Addr
	ARPValidate    string
	ARPAllTargets  string
	ResendIGMP     uint32
	NumPeerNotif   uint8
	AllPortsActive bool
	MinLinks       uint32
	LPInterval     uint32 // seconds
	PacketsPerPort uint32
	MissedMax      uint8
	TLBDynamicLB   bool

	LACPActive     bool
	LACPRate       string
	ADSelect       string
	ActorSysPrio   uint16
	UserPortKey    uint16
	ActorSystem    []byte
	CoupledControl bool
	BroadcastNeigh bool            // in mode 802.3ad ARP and ND go out of every port
	AD             *BondAggregator // in mode 802.3ad

	attrs attrSet
}

// BondAggregator is the active aggregator of a bond in mode 802.3ad (IFLA_BOND_AD_INFO_*).
type BondAggregator struct {
	ID, NumPorts, ActorKey, PartnerKey uint16
	PartnerMAC                         []byte
}

// BondBroadcastNeigh is IFLA_BOND_BROADCAST_NEIGH (Linux 6.17), which x/sys/unix does not have.
const BondBroadcastNeigh = 33

// Has tells whether the kernel told of an option, one of unix.IFLA_BOND_*: which ones it tells of
// depends on the mode, the user's privilege and its version.
func (b *Bond) Has(attr uint16) bool { return b.attrs.has(attr) }

var (
	bondModes       = []string{"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}
	bondReselect    = []string{"always", "better", "failure"}
	bondFailOver    = []string{"none", "active", "follow"}
	bondValidate    = []string{"none", "active", "backup", "all", "filter", "filter_active", "filter_backup"}
	bondAllTargets  = []string{"any", "all"}
	bondHash        = []string{"layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac"}
	bondLACPRate    = []string{"slow", "fast"}
	bondADSelect    = []string{"stable", "bandwidth", "count", "port-priority"}
	bondPortState   = []string{"active", "backup"}
	bondPortMIIStat = []string{"up", "going_down", "down", "going_back"}
)

// DecodeBond reads [Link.Data] of kind bond.
func DecodeBond(data []byte) (Bond, error) {
	var b Bond
	a := nlsock.Attributes(data)
	for a.Next() {
		b.attrs.add(a.Type())
		if b.words(&a) || b.numbers(&a) {
			continue
		}
		if err := b.lacp(&a); err != nil {
			return Bond{}, err
		}
	}
	return b, a.Err()
}

func (b *Bond) words(a *nlsock.Attrs) bool {
	switch a.Type() {
	case unix.IFLA_BOND_MODE:
		b.Mode = fromList(bondModes, int(a.Uint8()))
	case unix.IFLA_BOND_PRIMARY_RESELECT:
		b.PrimaryReselect = fromList(bondReselect, int(a.Uint8()))
	case unix.IFLA_BOND_FAIL_OVER_MAC:
		b.FailOverMAC = fromList(bondFailOver, int(a.Uint8()))
	case unix.IFLA_BOND_XMIT_HASH_POLICY:
		b.XmitHashPolicy = fromList(bondHash, int(a.Uint8()))
	case unix.IFLA_BOND_ARP_VALIDATE:
		b.ARPValidate = fromList(bondValidate, int(a.Uint32()))
	case unix.IFLA_BOND_ARP_ALL_TARGETS:
		b.ARPAllTargets = fromList(bondAllTargets, int(a.Uint32()))
	case unix.IFLA_BOND_AD_LACP_RATE:
		b.LACPRate = fromList(bondLACPRate, int(a.Uint8()))
	case unix.IFLA_BOND_AD_SELECT:
		b.ADSelect = fromList(bondADSelect, int(a.Uint8()))
	default:
		return false
	}
	return true
}

func (b *Bond) numbers(a *nlsock.Attrs) bool {
	switch a.Type() {
	case unix.IFLA_BOND_ACTIVE_SLAVE:
		b.ActivePort = int(a.Int32())
	case unix.IFLA_BOND_PRIMARY:
		b.Primary = int(a.Int32())
	case unix.IFLA_BOND_MIIMON:
		b.MIIMon = a.Uint32()
	case unix.IFLA_BOND_UPDELAY:
		b.UpDelay = a.Uint32()
	case unix.IFLA_BOND_DOWNDELAY:
		b.DownDelay = a.Uint32()
	case unix.IFLA_BOND_PEER_NOTIF_DELAY:
		b.PeerNotifyDelay = a.Uint32()
	case unix.IFLA_BOND_ARP_INTERVAL:
		b.ARPInterval = a.Uint32()
	case unix.IFLA_BOND_USE_CARRIER:
		b.UseCarrier = a.Uint8() != 0
	case unix.IFLA_BOND_RESEND_IGMP:
		b.ResendIGMP = a.Uint32()
	case unix.IFLA_BOND_NUM_PEER_NOTIF:
		b.NumPeerNotif = a.Uint8()
	case unix.IFLA_BOND_ALL_SLAVES_ACTIVE:
		b.AllPortsActive = a.Uint8() != 0
	case unix.IFLA_BOND_MIN_LINKS:
		b.MinLinks = a.Uint32()
	case unix.IFLA_BOND_LP_INTERVAL:
		b.LPInterval = a.Uint32()
	case unix.IFLA_BOND_PACKETS_PER_SLAVE:
		b.PacketsPerPort = a.Uint32()
	case unix.IFLA_BOND_MISSED_MAX:
		b.MissedMax = a.Uint8()
	case unix.IFLA_BOND_TLB_DYNAMIC_LB:
		b.TLBDynamicLB = a.Uint8() != 0
	default:
		return false
	}
	return true
}

func (b *Bond) lacp(a *nlsock.Attrs) (err error) {
	switch a.Type() {
	case unix.IFLA_BOND_ARP_IP_TARGET:
		b.ARPTargets, err = addressList(a.Nested())
	case unix.IFLA_BOND_NS_IP6_TARGET:
		b.NSTargets, err = addressList(a.Nested())
	case unix.IFLA_BOND_AD_LACP_ACTIVE:
		b.LACPActive = a.Uint8() != 0
	case unix.IFLA_BOND_AD_ACTOR_SYS_PRIO:
		b.ActorSysPrio = a.Uint16()
	case unix.IFLA_BOND_AD_USER_PORT_KEY:
		b.UserPortKey = a.Uint16()
	case unix.IFLA_BOND_AD_ACTOR_SYSTEM:
		b.ActorSystem = a.Bytes()
	case unix.IFLA_BOND_COUPLED_CONTROL:
		b.CoupledControl = a.Uint8() != 0
	case BondBroadcastNeigh:
		b.BroadcastNeigh = a.Uint8() != 0
	case unix.IFLA_BOND_AD_INFO:
		b.AD, err = bondAggregator(a.Nested())
	}
	return err
}

func bondAggregator(a nlsock.Attrs) (*BondAggregator, error) {
	g := &BondAggregator{}
	for a.Next() {
		switch a.Type() {
		case unix.IFLA_BOND_AD_INFO_AGGREGATOR:
			g.ID = a.Uint16()
		case unix.IFLA_BOND_AD_INFO_NUM_PORTS:
			g.NumPorts = a.Uint16()
		case unix.IFLA_BOND_AD_INFO_ACTOR_KEY:
			g.ActorKey = a.Uint16()
		case unix.IFLA_BOND_AD_INFO_PARTNER_KEY:
			g.PartnerKey = a.Uint16()
		case unix.IFLA_BOND_AD_INFO_PARTNER_MAC:
			g.PartnerMAC = a.Bytes()
		}
	}
	return g, a.Err()
}

// addressList reads a nest of addresses, whose attribute types count up.
func addressList(a nlsock.Attrs) ([]netip.Addr, error) {
	var list []netip.Addr
	for a.Next() {
		if addr := AddrOf(a.Bytes()); addr.IsValid() {
			list = append(list, addr)
		}
	}
	return list, a.Err()
}

// BondPort is the state of a port of a bond (IFLA_BOND_SLAVE_*).
type BondPort struct {
	State              string
	MIIStatus          string
	LinkFailureCount   uint32
	PermanentAddr      []byte
	QueueID            uint16
	AggregatorID       uint16 // in mode 802.3ad, as the two below
	ActorPortState     uint8
	PartnerPortState   uint16
	Priority           int32
	HasAD, HasPriority bool
}

// DecodeBondPort reads [Link.PortData] of port kind bond.
func DecodeBondPort(data []byte) (BondPort, error) {
	var p BondPort
	a := nlsock.Attributes(data)
	for a.Next() {
		switch a.Type() {
		case unix.IFLA_BOND_SLAVE_STATE:
			p.State = fromList(bondPortState, int(a.Uint8()))
		case unix.IFLA_BOND_SLAVE_MII_STATUS:
			p.MIIStatus = fromList(bondPortMIIStat, int(a.Uint8()))
		case unix.IFLA_BOND_SLAVE_LINK_FAILURE_COUNT:
			p.LinkFailureCount = a.Uint32()
		case unix.IFLA_BOND_SLAVE_PERM_HWADDR:
			p.PermanentAddr = a.Bytes()
		case unix.IFLA_BOND_SLAVE_QUEUE_ID:
			p.QueueID = a.Uint16()
		case unix.IFLA_BOND_SLAVE_AD_AGGREGATOR_ID:
			p.AggregatorID, p.HasAD = a.Uint16(), true
		case unix.IFLA_BOND_SLAVE_AD_ACTOR_OPER_PORT_STATE:
			p.ActorPortState = a.Uint8()
		case unix.IFLA_BOND_SLAVE_AD_PARTNER_OPER_PORT_STATE:
			p.PartnerPortState = a.Uint16()
		case unix.IFLA_BOND_SLAVE_PRIO:
			p.Priority, p.HasPriority = a.Int32(), true
		}
	}
	return p, a.Err()
}
