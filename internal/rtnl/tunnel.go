package rtnl

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// Tunnel is what the links of one of the IP tunnel kinds have, as far as the kind has it.
type Tunnel struct {
	Local, Remote netip.Addr
	Link          int // index of the interface that it sends on; 0: by route
	External      bool
	TTL, TOS      uint8 // 0: see the kind's documentation; a TOS of 1 is the inner packet's
	PMTUDiscovery bool  // where HasPMTU
	HasPMTU       bool
	IgnoreDF      bool
	InKey, OutKey uint32 // where HasInKey, HasOutKey
	HasInKey      bool
	HasOutKey     bool
	Flags         []string
	EncapLimit    uint8
	FlowLabel     uint32 // 20 bits
	Protocol      uint8  // where HasProtocol; 0: any
	HasProtocol   bool
	Mark          uint32
	EncapType     string // none, fou, gue: UDP around the tunnel
	EncapFlags    []string
	EncapSrcPort  uint16
	EncapDstPort  uint16
	InterfaceID   uint32 // xfrm

	SixRD      netip.Prefix // sit: prefix of 6rd or 6to4
	SixRDRelay netip.Prefix // sit: prefix that 6rd leaves out of addresses

	ERSPANVersion   uint8 // 0: no ERSPAN
	ERSPANIndex     uint32
	ERSPANDirection uint8 // 0 ingress, 1 egress
	ERSPANHardware  uint16

	VNI                uint32 // geneve, as all below
	Port               uint16
	TTLInherit         bool
	UDPChecksum        bool
	UDPZeroChecksum6Tx bool
	UDPZeroChecksum6Rx bool
}

// The attributes of the kinds, which x/sys/unix does not have (linux/if_tunnel.h).
const (
	iptunLink = iota + 1
	iptunLocal
	iptunRemote
	iptunTTL
	iptunTOS
	iptunEncapLimit
	iptunFlowInfo
	iptunFlags
	iptunProto
	iptunPMTUDisc
	iptunSixRDPrefix
	iptunSixRDRelay
	iptunSixRDPrefixLen
	iptunSixRDRelayLen
	iptunEncapType
	iptunEncapFlags
	iptunEncapSport
	iptunEncapDport
	iptunExternal
	iptunFwMark
)

const (
	greLink = iota + 1
	greIFlags
	greOFlags
	greIKey
	greOKey
	greLocal
	greRemote
	greTTL
	greTOS
	grePMTUDisc
	greEncapLimit
	greFlowInfo
	greFlags
	greEncapType
	greEncapFlags
	greEncapSport
	greEncapDport
	greExternal
	greIgnoreDF
	greFwMark
	greERSPANIndex
	greERSPANVersion
	greERSPANDirection
	greERSPANHardware
)

const (
	vtiLink = iota + 1
	vtiIKey
	vtiOKey
	vtiLocal
	vtiRemote
	vtiFwMark
)

var (
	ip6tnlFlags = flagNames{"ign_encap_limit", "use_orig_tclass", "use_orig_flowlabel", "mip6_dev",
		"rcv_dscp_copy", "use_orig_fwmark", "allow_local_remote"}
	sitFlags         = flagNames{"isatap"}
	tunnelEncap      = []string{"none", "fou", "gue", "mpls"}
	tunnelEncapFlags = flagNames{"csum", "csum6", "remcsum"}
	erspanDirections = []string{"ingress", "egress"}
)

// The lower flags of an IPv6 tunnel are what it was asked to do; those above are what the kernel has
// found out that it can.
const (
	ip6tnlAsked         = 1<<16 - 1
	ip6tnlIgnEncapLimit = 1 << 0
)

// Bits of GRE_* flags, in network order (linux/if_tunnel.h).
const (
	greChecksum = 0x8000
	greKey      = 0x2000
	greSequence = 0x1000
)

// DecodeTunnel reads [Link.Data] of a tunnel kind. It reports false for a kind that is none.
func DecodeTunnel(kind string, data []byte) (t Tunnel, ok bool, err error) {
	var take func(*Tunnel, *nlsock.Attrs)
	switch kind {
	case "ipip":
		take = (*Tunnel).iptun
	case "sit":
		take = (*Tunnel).sit
	case "ip6tnl":
		take = (*Tunnel).ip6tnl
	case "gre", "gretap", "erspan":
		take = (*Tunnel).gre
	case "ip6gre", "ip6gretap", "ip6erspan":
		take = (*Tunnel).ip6gre
	case "vti", "vti6":
		take = (*Tunnel).vti
	case "geneve":
		take = (*Tunnel).geneve
	case "xfrm":
		take = (*Tunnel).xfrm
	default:
		return Tunnel{}, false, nil
	}
	a := nlsock.Attributes(data)
	for a.Next() {
		take(&t, &a)
	}
	return t, true, a.Err()
}

func (t *Tunnel) iptun(a *nlsock.Attrs) {
	switch a.Type() {
	case iptunLink:
		t.Link = int(a.Int32())
	case iptunLocal:
		t.Local = end(a.Bytes())
	case iptunRemote:
		t.Remote = end(a.Bytes())
	case iptunTTL:
		t.TTL = a.Uint8()
	case iptunTOS:
		t.TOS = a.Uint8()
	case iptunEncapLimit:
		t.EncapLimit = a.Uint8()
	case iptunFlowInfo:
		t.flowInfo(a)
	case iptunProto:
		t.Protocol, t.HasProtocol = a.Uint8(), true
	case iptunPMTUDisc:
		t.PMTUDiscovery, t.HasPMTU = a.Uint8() != 0, true
	case iptunEncapType:
		t.EncapType = fromList(tunnelEncap, int(a.Uint16()))
	case iptunEncapFlags:
		t.EncapFlags = tunnelEncapFlags.append(nil, uint32(a.Uint16()))
	case iptunEncapSport:
		t.EncapSrcPort = a.BigUint16()
	case iptunEncapDport:
		t.EncapDstPort = a.BigUint16()
	case iptunExternal:
		t.External = a.Flag()
	case iptunFwMark:
		t.Mark = a.Uint32()
	}
}

func (t *Tunnel) sit(a *nlsock.Attrs) {
	switch a.Type() {
	case iptunFlags:
		t.Flags = sitFlags.append(t.Flags, uint32(a.Uint16()))
	case iptunSixRDPrefix:
		t.SixRD = netip.PrefixFrom(AddrOf(a.Bytes()), t.SixRD.Bits())
	case iptunSixRDPrefixLen:
		t.SixRD = netip.PrefixFrom(t.SixRD.Addr(), int(a.Uint16()))
	case iptunSixRDRelay:
		t.SixRDRelay = netip.PrefixFrom(AddrOf(a.Bytes()), t.SixRDRelay.Bits())
	case iptunSixRDRelayLen:
		t.SixRDRelay = netip.PrefixFrom(t.SixRDRelay.Addr(), int(a.Uint16()))
	default:
		t.iptun(a)
	}
}

func (t *Tunnel) ip6tnl(a *nlsock.Attrs) {
	if a.Type() == iptunFlags {
		t.ip6Flags(a.Uint32())
		return
	}
	t.iptun(a)
}

// ip6Flags takes the flags, which come after the limit that one of them makes meaningless.
func (t *Tunnel) ip6Flags(flags uint32) {
	t.Flags = ip6tnlFlags.append(t.Flags, flags&ip6tnlAsked)
	if flags&ip6tnlIgnEncapLimit != 0 {
		t.EncapLimit = 0
	}
}

func (t *Tunnel) gre(a *nlsock.Attrs) {
	switch a.Type() {
	case greLink:
		t.Link = int(a.Int32())
	case greLocal:
		t.Local = end(a.Bytes())
	case greRemote:
		t.Remote = end(a.Bytes())
	case greTTL:
		t.TTL = a.Uint8()
	case greTOS:
		t.TOS = a.Uint8()
	case grePMTUDisc:
		t.PMTUDiscovery, t.HasPMTU = a.Uint8() != 0, true
	case greIgnoreDF:
		t.IgnoreDF = a.Uint8() != 0
	case greEncapLimit:
		t.EncapLimit = a.Uint8()
	case greFlowInfo:
		t.flowInfo(a)
	case greEncapType:
		t.EncapType = fromList(tunnelEncap, int(a.Uint16()))
	case greEncapFlags:
		t.EncapFlags = tunnelEncapFlags.append(nil, uint32(a.Uint16()))
	case greEncapSport:
		t.EncapSrcPort = a.BigUint16()
	case greEncapDport:
		t.EncapDstPort = a.BigUint16()
	case greExternal:
		t.External = a.Flag()
	case greFwMark:
		t.Mark = a.Uint32()
	default:
		t.greKeys(a)
	}
}

func (t *Tunnel) greKeys(a *nlsock.Attrs) {
	switch a.Type() {
	case greIFlags:
		flags := a.BigUint16()
		t.HasInKey = flags&greKey != 0
		t.greFlags(flags, "icsum", "iseq")
	case greOFlags:
		flags := a.BigUint16()
		t.HasOutKey = flags&greKey != 0
		t.greFlags(flags, "ocsum", "oseq")
	case greIKey:
		t.InKey = a.BigUint32()
	case greOKey:
		t.OutKey = a.BigUint32()
	case greERSPANVersion:
		t.ERSPANVersion = a.Uint8()
	case greERSPANIndex:
		t.ERSPANIndex = a.Uint32()
	case greERSPANDirection:
		t.ERSPANDirection = a.Uint8()
	case greERSPANHardware:
		t.ERSPANHardware = a.Uint16()
	}
}

// ERSPANDirectionName is ingress or egress.
func (t *Tunnel) ERSPANDirectionName() string {
	return fromList(erspanDirections, int(t.ERSPANDirection))
}

func (t *Tunnel) greFlags(flags uint16, checksum, sequence string) {
	if flags&greChecksum != 0 {
		t.Flags = append(t.Flags, checksum)
	}
	if flags&greSequence != 0 {
		t.Flags = append(t.Flags, sequence)
	}
}

func (t *Tunnel) ip6gre(a *nlsock.Attrs) {
	if a.Type() == greFlags {
		t.ip6Flags(a.Uint32())
		return
	}
	t.gre(a)
}

func (t *Tunnel) vti(a *nlsock.Attrs) {
	switch a.Type() {
	case vtiLink:
		t.Link = int(a.Int32())
	case vtiIKey:
		t.InKey, t.HasInKey = a.BigUint32(), true
	case vtiOKey:
		t.OutKey, t.HasOutKey = a.BigUint32(), true
	case vtiLocal:
		t.Local = end(a.Bytes())
	case vtiRemote:
		t.Remote = end(a.Bytes())
	case vtiFwMark:
		t.Mark = a.Uint32()
	}
}

func (t *Tunnel) geneve(a *nlsock.Attrs) {
	switch a.Type() {
	case unix.IFLA_GENEVE_ID:
		t.VNI = a.Uint32()
	case unix.IFLA_GENEVE_REMOTE, unix.IFLA_GENEVE_REMOTE6:
		t.Remote = end(a.Bytes())
	case unix.IFLA_GENEVE_TTL:
		t.TTL = a.Uint8()
	case unix.IFLA_GENEVE_TOS:
		t.TOS = a.Uint8()
	case unix.IFLA_GENEVE_PORT:
		t.Port = a.BigUint16()
	case unix.IFLA_GENEVE_COLLECT_METADATA:
		t.External = a.Flag()
	case unix.IFLA_GENEVE_LABEL:
		t.FlowLabel = a.BigUint32() & flowLabelMask
	case unix.IFLA_GENEVE_TTL_INHERIT:
		t.TTLInherit = a.Flag()
	case unix.IFLA_GENEVE_UDP_CSUM:
		t.UDPChecksum = a.Flag()
	case unix.IFLA_GENEVE_UDP_ZERO_CSUM6_TX:
		t.UDPZeroChecksum6Tx = a.Flag()
	case unix.IFLA_GENEVE_UDP_ZERO_CSUM6_RX:
		t.UDPZeroChecksum6Rx = a.Flag()
	case unix.IFLA_GENEVE_DF:
		t.PMTUDiscovery, t.HasPMTU = a.Uint8() == 1, true // GENEVE_DF_SET
	}
}

func (t *Tunnel) xfrm(a *nlsock.Attrs) {
	switch a.Type() {
	case unix.IFLA_XFRM_LINK:
		t.Link = int(a.Int32())
	case unix.IFLA_XFRM_IF_ID:
		t.InterfaceID = a.Uint32()
	case unix.IFLA_XFRM_COLLECT_METADATA:
		t.External = a.Flag()
	}
}

const flowLabelMask = 0xfffff

// flowInfo reads the traffic class (8 bits) and the flow label (20) of an IPv6 header.
func (t *Tunnel) flowInfo(a *nlsock.Attrs) {
	info := a.BigUint32()
	t.FlowLabel = info & flowLabelMask
	t.TOS = uint8(info >> 20)
}

// end is a tunnel's end; the kernel writes one that is not set as zeroes.
func end(b []byte) netip.Addr {
	if addr := AddrOf(b); addr.IsValid() && !addr.IsUnspecified() {
		return addr
	}
	return netip.Addr{}
}
