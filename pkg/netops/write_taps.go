package netops

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/geomind/my_os_server/internal/state"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// VMCreateTap handles net.vm.create_tap.
func (n *Net) VMCreateTap(ctx context.Context, p *registry.NetVMCreateTapParams) (*registry.NetVmCreateTapResult, error) {
	if err := checkTap(p); err != nil {
		return nil, err
	}
	p.Bridge = n.linkNameOf(p.Bridge)
	key := tapKey(p.VMID, int(p.Nic.Or(0)))
	name := p.Name.Or("tap" + digest("tap", p.VMID, strconv.FormatInt(p.Nic.Or(0), 10))[:8])
	objects := []state.Object{state.Exclusive("tap/" + key), lockLink(name)}
	if bridge, ok := p.Bridge.Get(); ok {
		objects = append(objects, shareLink(bridge))
	}
	unlock, err := n.lock(ctx, objects...)
	if err != nil {
		return nil, err
	}
	defer unlock()
	read := newHeld()
	want, registered := n.kept.taps.Get(key)
	if registered {
		if err := tapDifferences(p, &want).conflict("tap", want.Name); err != nil {
			return nil, err
		}
	} else if want, err = n.tapOf(ctx, read, p, name); err != nil {
		return nil, err
	}
	standing, err := n.standingBy(ctx, read, want, registered, want.Name)
	if err != nil {
		return nil, err
	}
	if !standing.done() {
		w := write{method: "net.vm.create_tap", to: []spec{want}, seen: standing.seen, changes: []state.Change{n.kept.taps.Put(key, want)}}
		if registered {
			w.from = []spec{want}
		}
		if err := n.perform(ctx, w); err != nil {
			return nil, err
		}
	}
	h, err := n.look(ctx, needs{links: []string{want.Name}})
	if err != nil {
		return nil, err
	}
	return &registry.NetVmCreateTapResult{Created: standing.missing, Tap: want.row(h)}, nil
}

func checkTap(p *registry.NetVMCreateTapParams) error {
	var f faults
	f.checkNewName("name", p.Name.Or(""))
	if mac, ok := p.MAC.Get(); ok {
		f.checkMAC("mac", mac)
		if b := wire.MACBytes(mac); len(b) == wire.MACSize && b[0] == 0xfe {
			f.add("mac", "must not begin with fe: the host's side has the same address with fe in front")
		}
	}
	f.checkVLANs(p.Pvid, p.Vlans, p.Untagged)
	if !p.Bridge.IsSet() {
		for field, set := range map[string]bool{
			"pvid": p.Pvid.IsSet(), "vlans": p.Vlans != nil, "untagged": p.Untagged != nil,
			"isolated": p.Isolated.Or(false), "hairpin": p.Hairpin.Or(false),
		} {
			if set {
				f.add(field, "must not be given without bridge")
			}
		}
		slices.SortFunc(f, func(a, b registry.Fault) int { return strings.Compare(a.Path, b.Path) })
	}
	return f.err()
}

// tapOf makes the params a spec. What it reads of the bridge is in read then.
func (n *Net) tapOf(ctx context.Context, read *held, p *registry.NetVMCreateTapParams, name string) (tapSpec, error) {
	t := tapSpec{
		VMID: p.VMID, NIC: int(p.Nic.Or(0)), Name: name, Bridge: p.Bridge.Or(""), MTU: int(p.MTU.Or(defaultMTU)),
		OwnerUID: id32(p.OwnerUid), OwnerGID: id32(p.OwnerGid), MultiQueue: p.MultiQueue.Or(false), VnetHdr: p.VnetHdr.Or(false),
		portSettings: portSettings{
			PVID: int(p.Pvid.Or(0)), VLANs: p.Vlans, Untagged: p.Untagged, Isolated: p.Isolated.Or(false), Hairpin: p.Hairpin.Or(false),
		},
		Tag: p.Tag.Or(""),
	}
	t.MAC = n.macFor(p.MAC, "tap", p.VMID, strconv.Itoa(t.NIC))
	t.HostMAC = "fe" + t.MAC[2:]
	if t.Bridge == "" {
		return t, nil
	}
	at, err := n.bridgeBy(ctx, read, t.Bridge)
	if err != nil {
		return t, err
	}
	t.backed = at.backed
	t.MTU = int(p.MTU.Or(int64(at.mtu)))
	if t.ovs() {
		var f faults
		f.checkOVSPort(p.Pvid, p.Untagged, p.Hairpin)
		return t, f.err()
	}
	return t, nil
}

// outOfBridge is the tap without the bridge that it is to be a port of. That this was one of Open vSwitch stays known:
// then a row of that is to be no more.
func (t tapSpec) outOfBridge() tapSpec {
	t.Bridge = ""
	return t
}

func id32(v registry.Opt[int64]) *uint32 {
	id, ok := v.Get()
	if !ok {
		return nil
	}
	short := uint32(id)
	return &short
}

func tapDifferences(p *registry.NetVMCreateTapParams, t *tapSpec) (c comparison) {
	given(&c, "name", p.Name, t.Name)
	given(&c, "bridge", p.Bridge, t.Bridge)
	given(&c, "mac", p.MAC, t.MAC)
	given(&c, "mtu", p.MTU, int64(t.MTU))
	given(&c, "owner_uid", textOf(p.OwnerUid), idText(t.OwnerUID))
	given(&c, "owner_gid", textOf(p.OwnerGid), idText(t.OwnerGID))
	given(&c, "multi_queue", p.MultiQueue, t.MultiQueue)
	given(&c, "vnet_hdr", p.VnetHdr, t.VnetHdr)
	given(&c, "pvid", p.Pvid, int64(t.PVID))
	givenList(&c, "vlans", vlansOf(p.Vlans), vlansOf(t.VLANs))
	givenList(&c, "untagged", vlansOf(p.Untagged), vlansOf(t.Untagged))
	given(&c, "isolated", p.Isolated, t.Isolated)
	given(&c, "hairpin", p.Hairpin, t.Hairpin)
	return c
}

func textOf(v registry.Opt[int64]) registry.Opt[string] {
	n, ok := v.Get()
	return wire.When(ok, strconv.FormatInt(n, 10))
}

// row is the tap with what the kernel has of it now.
func (t tapSpec) row(h *held) registry.VmTap {
	row := registry.VmTap{
		Name: t.Name, VMID: t.VMID, Nic: int64(t.NIC), Bridge: registry.NonZero(t.Bridge), MAC: t.MAC, HostMAC: registry.Some(t.HostMAC),
		MTU: registry.Some(int64(t.MTU)), MultiQueue: registry.Some(t.MultiQueue), VnetHdr: registry.Some(t.VnetHdr),
		Pvid: wire.NonZero(t.PVID), Vlans: t.ranges(), Isolated: registry.Some(t.Isolated), Hairpin: registry.Some(t.Hairpin),
		Managed: true, Tag: registry.NonZero(t.Tag),
	}
	if t.OwnerUID != nil {
		row.OwnerUid = registry.Some(int64(*t.OwnerUID))
	}
	if t.OwnerGID != nil {
		row.OwnerGid = registry.Some(int64(*t.OwnerGID))
	}
	if l := h.links[t.Name]; l != nil && t.ours(h, l) {
		row.Exists, row.Up = true, l.Up
		row.Index, row.Carrier = registry.Some(int64(l.Index)), registry.Some(l.Carrier)
		row.MTU, row.HostMAC = registry.Some(int64(l.MTU)), registry.NonZero(l.MAC)
	}
	return row
}

// ranges are the VLANs that the port is to take.
func (o *portSettings) ranges() (list []registry.VlanRange) {
	for _, v := range o.vlans() {
		if n := len(list) - 1; n >= 0 && list[n].Pvid == v.PVID && list[n].Untagged == v.Untagged && list[n].VlanEnd.Or(list[n].Vlan)+1 == int64(v.ID) {
			list[n].VlanEnd = registry.Some(int64(v.ID))
			continue
		}
		list = append(list, registry.VlanRange{Vlan: int64(v.ID), Pvid: v.PVID, Untagged: v.Untagged})
	}
	return list
}

// VMDeleteTap handles net.vm.delete_tap.
func (n *Net) VMDeleteTap(ctx context.Context, p *registry.NetVMDeleteTapParams) (*registry.NetVmDeleteTapResult, error) {
	p.Name = n.linkName(p.Name)
	t, unlock, registered, err := n.lockTap(ctx, p.Name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	h, err := n.look(ctx, needs{links: []string{p.Name}})
	if err != nil {
		return nil, err
	}
	l := h.links[p.Name]
	switch {
	case !registered && l == nil:
		return &registry.NetVmDeleteTapResult{}, nil
	case !registered:
		return nil, refused("foreign_tap", "", "%s; it is not deleted", foreignLink(l))
	case l != nil && l.Carrier && t.ours(h, l) && !p.Force.Or(false):
		return nil, &registry.BusyError{
			BusyData: registry.BusyData{Holders: []registry.Holder{{Kind: registry.HolderKindKernel, Name: registry.Some(p.Name)}}},
			Message:  p.Name + " is in use: it has a carrier, so a machine has it open; force deletes it all the same",
		}
	}
	w := write{method: "net.vm.delete_tap", from: []spec{t}, changes: []state.Change{n.kept.taps.Remove(tapKey(t.VMID, t.NIC))}}
	if port, ok := n.kept.ports.Get(p.Name); ok {
		w.changes = append(w.changes, n.kept.ports.Remove(p.Name))
		if port.ovs() { // its row does not go with it
			w.from = append(w.from, port)
		}
	}
	if err := n.perform(ctx, w); err != nil {
		return nil, err
	}
	return &registry.NetVmDeleteTapResult{Deleted: true, Name: registry.Some(p.Name)}, nil
}

// lockTap locks the tap with a name: its key too, which is known only by the name.
func (n *Net) lockTap(ctx context.Context, name string) (t tapSpec, unlock func(), registered bool, err error) {
	for {
		before, was := n.kept.tapOf(name)
		objects := []state.Object{lockLink(name)}
		if was {
			objects = append(objects, state.Exclusive("tap/"+tapKey(before.VMID, before.NIC)))
		}
		if unlock, err = n.lock(ctx, objects...); err != nil {
			return t, nil, false, err
		}
		t, registered = n.kept.tapOf(name)
		if registered == was && t.VMID == before.VMID && t.NIC == before.NIC {
			return t, unlock, registered, nil
		}
		unlock()
	}
}

// VMList handles net.vm.list.
func (n *Net) VMList(ctx context.Context, p *registry.NetVMListParams) (*registry.NetVmListResult, error) {
	var taps []tapSpec
	var want needs
	for _, t := range n.kept.taps.All() {
		if t.Bridge != p.Bridge.Or(t.Bridge) || t.Tag != p.Tag.Or(t.Tag) || t.VMID != p.VMID.Or(t.VMID) {
			continue
		}
		taps = append(taps, t)
		want.links = append(want.links, t.Name)
	}
	bridge, ok := p.Bridge.Get()
	if ok && len(taps) == 0 && !n.kept.bridges.Has(bridge) {
		if _, err := n.bridgeAt(ctx, bridge); err != nil {
			return nil, err
		}
	}
	h, err := n.look(ctx, want)
	if err != nil {
		return nil, err
	}
	result := &registry.NetVmListResult{Taps: make([]registry.VmTap, 0, len(taps))}
	for _, t := range taps {
		result.Taps = append(result.Taps, t.row(h))
	}
	slices.SortFunc(result.Taps, func(a, b registry.VmTap) int { return strings.Compare(a.Name, b.Name) })
	return result, nil
}
