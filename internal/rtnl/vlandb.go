package rtnl

import (
	"context"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nlsock"
)

// The requests and attributes of RTM_GETVLAN (linux/if_bridge.h), which x/sys/unix does not have.
const (
	sizeofBrVlanMsg = 8 // family u8, reserved u8, reserved u16, ifindex u32

	vlanDumpFlags  = 1 // BRIDGE_VLANDB_DUMP_FLAGS
	vlanDumpStats  = 1 << 0
	vlanDumpGlobal = 1 << 1

	vlanPVID     = 1 << 1 // BRIDGE_VLAN_INFO_PVID
	vlanUntagged = 1 << 2 // BRIDGE_VLAN_INFO_UNTAGGED

	vlanEntry         = 1 // BRIDGE_VLANDB_ENTRY
	vlanGlobalOptions = 2 // BRIDGE_VLANDB_GLOBAL_OPTIONS
)

// MaxVLAN is the highest VLAN id that a tag can hold.
const MaxVLAN = 4095

// InterfaceVLANs is what RTM_NEWVLAN tells of one bridge or one port: the VLANs that it takes, rising.
// Those of an interface that takes many come in more than one row. VLANs hold until the next row.
type InterfaceVLANs struct {
	Index int
	VLANs []BridgeVLAN
}

// BridgeVLAN is a range of VLAN ids that are alike in all else (BRIDGE_VLANDB_ENTRY_*).
type BridgeVLAN struct {
	First, Last    uint16
	PVID, Untagged bool
	State          uint8 // BR_STATE_*
	TunnelID       uint32
	McastRouter    uint8
	McastGroups    uint32
	McastMaxGroups uint32 // 0: no limit
	NeighSuppress  bool
	Stats          VLANStats

	attrs attrSet
}

// VLANStats are the counters of one VLAN id.
type VLANStats struct{ RxBytes, RxPackets, TxBytes, TxPackets uint64 }

// The attributes of [BridgeVLAN] (BRIDGE_VLANDB_ENTRY_*).
const (
	vlanInfo           = 1 // struct bridge_vlan_info: flags u16, vid u16
	vlanRange          = 2
	VLANState          = 3
	VLANTunnel         = 4
	VLANStatistics     = 5
	VLANMcastRouter    = 6
	VLANMcastGroups    = 7 // Linux 6.3
	VLANMcastMaxGroups = 8 // Linux 6.3
	VLANNeighSuppress  = 9 // Linux 6.4
)

// Has tells whether the kernel told of a property, one of VLANState, VLANTunnel and so on.
func (v *BridgeVLAN) Has(attr uint16) bool { return v.attrs.has(attr) }

// VLANFilter says which VLANs a dump yields.
type VLANFilter struct {
	Index int  // of a bridge or a port of one; 0: all of them
	Stats bool // with counters; the kernel then joins no ids into ranges
}

// BridgeVLANs yields the VLANs of bridges and their ports, by interface. A kernel without VLAN
// filtering, or older than 5.6, is EOPNOTSUPP. An interface that is not there is ENODEV.
func (c *Conn) BridgeVLANs(ctx context.Context, f VLANFilter) iter.Seq2[*InterfaceVLANs, error] {
	flags := uint32(0)
	if f.Stats {
		flags = vlanDumpStats
	}
	req := c.vlanRequest("dump bridge vlans", f.Index, flags)
	return dump(ctx, c, req, unix.RTM_NEWVLAN, &c.vlans, func(b []byte) (bool, error) {
		if err := c.vlans.decode(b); err != nil {
			return false, err
		}
		return f.Index == 0 || c.vlans.Index == f.Index, nil
	})
}

func (c *Conn) vlanRequest(op string, index int, flags uint32) *nlsock.Request {
	req := c.sock.Request(op, unix.RTM_GETVLAN)
	var header [sizeofBrVlanMsg]byte
	header[0] = unix.AF_BRIDGE
	native.PutUint32(header[4:], uint32(index))
	req.Raw(header[:])
	req.Uint32(vlanDumpFlags, flags)
	return req
}

// vlanMessage reads struct br_vlan_msg and starts a walk over what follows.
func vlanMessage(b []byte) (index int, a nlsock.Attrs, err error) {
	if len(b) < sizeofBrVlanMsg || b[0] != unix.AF_BRIDGE {
		return 0, a, ErrMalformed
	}
	return int(int32(native.Uint32(b[4:]))), nlsock.Attributes(b[sizeofBrVlanMsg:]), nil
}

func (v *InterfaceVLANs) decode(b []byte) error {
	index, a, err := vlanMessage(b)
	if err != nil {
		return err
	}
	v.Index, v.VLANs = index, v.VLANs[:0]
	for a.Next() {
		if a.Type() != vlanEntry {
			continue
		}
		var vlan BridgeVLAN
		if err := vlan.decode(a.Nested()); err != nil {
			return err
		}
		v.VLANs = append(v.VLANs, vlan)
	}
	return a.Err()
}

func (v *BridgeVLAN) decode(a nlsock.Attrs) error {
	for a.Next() {
		v.attrs.add(a.Type())
		if err := v.attribute(&a); err != nil {
			return err
		}
	}
	if err := a.Err(); err != nil {
		return err
	}
	v.Last = max(v.First, v.Last)
	if !v.attrs.has(vlanInfo) || v.Last > MaxVLAN {
		return ErrMalformed
	}
	return nil
}

func (v *BridgeVLAN) attribute(a *nlsock.Attrs) error {
	switch a.Type() {
	case vlanInfo:
		v.info(a)
	case vlanRange:
		v.Last = a.Uint16()
	case VLANState:
		v.State = a.Uint8()
	case VLANTunnel:
		return v.tunnel(a.Nested())
	case VLANStatistics:
		return v.Stats.decode(a.Nested())
	case VLANMcastRouter:
		v.McastRouter = a.Uint8()
	case VLANMcastGroups:
		v.McastGroups = a.Uint32()
	case VLANMcastMaxGroups:
		v.McastMaxGroups = a.Uint32()
	case VLANNeighSuppress:
		v.NeighSuppress = a.Uint8() != 0
	}
	return nil
}

// info reads struct bridge_vlan_info.
func (v *BridgeVLAN) info(a *nlsock.Attrs) {
	if b := a.Sized(4); b != nil {
		flags := native.Uint16(b)
		v.PVID, v.Untagged = flags&vlanPVID != 0, flags&vlanUntagged != 0
		v.First = native.Uint16(b[2:])
	}
}

func (v *BridgeVLAN) tunnel(a nlsock.Attrs) error {
	for a.Next() {
		if a.Type() == 1 { // BRIDGE_VLANDB_TINFO_ID
			v.TunnelID = a.Uint32()
		}
	}
	return a.Err()
}

// decode reads BRIDGE_VLANDB_STATS_*.
func (s *VLANStats) decode(a nlsock.Attrs) error {
	for a.Next() {
		switch a.Type() {
		case 1:
			s.RxBytes = a.Uint64()
		case 2:
			s.RxPackets = a.Uint64()
		case 3:
			s.TxBytes = a.Uint64()
		case 4:
			s.TxPackets = a.Uint64()
		}
	}
	return a.Err()
}
