package kernelrow

import (
	"context"
	"errors"
	"syscall"

	"github.com/geomind/my_os_server/internal/rtnl"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// VLANs has the VLANs of bridges and ports by the index of the interface.
type VLANs struct {
	known  bool // the kernel has VLAN filtering
	ranges map[int][]registry.VlanRange
}

// ReadVLANs reads what f asks for. That the kernel has no VLANs is no error.
func ReadVLANs(ctx context.Context, conn *rtnl.Conn, f rtnl.VLANFilter) (_ *VLANs, interrupted bool, err error) {
	book := &VLANs{known: true, ranges: map[int][]registry.VlanRange{}}
	interrupted, err = wire.Each(conn.BridgeVLANs(ctx, f), func(v *rtnl.InterfaceVLANs) error {
		for i := range v.VLANs {
			book.ranges[v.Index] = append(book.ranges[v.Index], vlanRange(&v.VLANs[i]))
		}
		return nil
	})
	if errors.Is(err, syscall.EOPNOTSUPP) {
		book.known, err = false, nil
	}
	return book, interrupted, err
}

// Filtering tells whether the kernel has VLAN filtering.
func (b *VLANs) Filtering() bool { return b.known }

// Of returns the VLANs of an interface; nil where the kernel has no such thing.
func (b *VLANs) Of(index int) []registry.VlanRange {
	if ranges := b.ranges[index]; ranges != nil || !b.known {
		return ranges
	}
	return []registry.VlanRange{}
}

// PVIDOf is the VLAN of untagged frames: one at most has the flag.
func PVIDOf(ranges []registry.VlanRange) registry.Opt[int64] {
	for _, r := range ranges {
		if r.Pvid {
			return registry.Some(r.Vlan)
		}
	}
	return registry.Opt[int64]{}
}

func vlanRange(v *rtnl.BridgeVLAN) registry.VlanRange {
	r := registry.VlanRange{
		Vlan:           int64(v.First),
		VlanEnd:        wire.Number(v.Last != v.First, v.Last),
		Pvid:           v.PVID,
		Untagged:       v.Untagged,
		State:          wire.When(v.Has(rtnl.VLANState), rtnl.BridgeStateName(v.State)),
		TunnelID:       wire.Number(v.Has(rtnl.VLANTunnel), v.TunnelID),
		McastRouter:    wire.Number(v.Has(rtnl.VLANMcastRouter), v.McastRouter),
		McastGroups:    wire.Number(v.Has(rtnl.VLANMcastGroups), v.McastGroups),
		McastMaxGroups: wire.Number(v.Has(rtnl.VLANMcastMaxGroups), v.McastMaxGroups),
		NeighSuppress:  wire.When(v.Has(rtnl.VLANNeighSuppress), v.NeighSuppress),
	}
	if v.Has(rtnl.VLANStatistics) {
		r.RxPackets, r.RxBytes = registry.Some(wire.Counter(v.Stats.RxPackets)), registry.Some(wire.Counter(v.Stats.RxBytes))
		r.TxPackets, r.TxBytes = registry.Some(wire.Counter(v.Stats.TxPackets)), registry.Some(wire.Counter(v.Stats.TxBytes))
	}
	return r
}
