package rtnl

import (
	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// VF is a virtual function of a network card as the physical one sets it (IFLA_VF_*).
type VF struct {
	Number       uint32
	Addr         [maxAddrSize]byte // link-layer address, as long as the physical function's
	VLAN, QoS    uint32
	VLANProtocol uint16 // ether type of the tag, in host order
	MinTxRate    uint32 // Mbit/s
	MaxTxRate    uint32 // Mbit/s
	SpoofCheck   bool
	LinkState    uint32 // IFLA_VF_LINK_STATE_*
	Trust        bool
	QueryRSS     bool

	attrs attrSet
}

const maxAddrSize = 32 // MAX_ADDR_LEN

// Has tells whether the driver told of a property, one of unix.IFLA_VF_*.
func (v *VF) Has(attr uint16) bool { return v.attrs.has(attr) }

var vfLinkStates = []string{"auto", "enable", "disable"}

// LinkStateName is the name of IFLA_VF_LINK_STATE_*: auto, enable, disable.
func (v *VF) LinkStateName() string { return fromList(vfLinkStates, int(v.LinkState)) }

// virtualFunctions reads IFLA_VFINFO_LIST, which holds an IFLA_VF_INFO for each.
func (l *Link) virtualFunctions(a nlsock.Attrs) error {
	for a.Next() {
		if a.Type() != unix.IFLA_VF_INFO {
			continue
		}
		var vf VF
		if err := vf.decode(a.Nested()); err != nil {
			return err
		}
		l.VFs = append(l.VFs, vf)
	}
	return a.Err()
}

// decode reads the attributes of one function. Each is a structure that begins with its number, and
// but for the address of further integers of 32 bits.
func (v *VF) decode(a nlsock.Attrs) error {
	for a.Next() {
		b := a.Bytes()
		if a.Type() == unix.IFLA_VF_VLAN_LIST {
			if err := v.vlanList(a.Nested()); err != nil {
				return err
			}
			continue
		}
		if len(b) < 8 {
			continue // counters and ports, which are nested
		}
		v.attrs.add(a.Type())
		v.property(a.Type(), b)
	}
	return a.Err()
}

func (v *VF) property(typ uint16, b []byte) {
	value := native.Uint32(b[4:])
	switch typ {
	case unix.IFLA_VF_MAC:
		v.Number = native.Uint32(b)
		copy(v.Addr[:], b[4:])
	case unix.IFLA_VF_VLAN:
		v.VLAN = value
		if len(b) >= 12 {
			v.QoS = native.Uint32(b[8:])
		}
	case unix.IFLA_VF_RATE:
		v.MinTxRate = value
		if len(b) >= 12 {
			v.MaxTxRate = native.Uint32(b[8:])
		}
	case unix.IFLA_VF_SPOOFCHK:
		v.SpoofCheck = value != 0
	case unix.IFLA_VF_LINK_STATE:
		v.LinkState = value
	case unix.IFLA_VF_TRUST:
		v.Trust = value != 0
	case unix.IFLA_VF_RSS_QUERY_EN:
		v.QueryRSS = value != 0
	}
}

// vlanList reads struct ifla_vf_vlan_info: number, vlan, qos, protocol in network order.
func (v *VF) vlanList(a nlsock.Attrs) error {
	for a.Next() {
		if b := a.Bytes(); a.Type() == unix.IFLA_VF_VLAN_INFO && len(b) >= 14 {
			v.attrs.add(unix.IFLA_VF_VLAN_LIST)
			v.VLANProtocol = uint16(b[12])<<8 | uint16(b[13])
		}
	}
	return a.Err()
}
