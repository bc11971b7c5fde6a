package netops

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/netconf"
	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/pkg/netops/internal/managers"
	"github.com/geomind/my_os_server/pkg/netops/internal/owntable"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// NATStatus handles net.nat.status.
func (n *Net) NATStatus(ctx context.Context, p *registry.NetNATStatusParams) (*registry.NetNatStatusResult, error) {
	result := &registry.NetNatStatusResult{Forwarding: []registry.NatForwarding{}, Boot: n.askedAtBoot(), DNAT: []registry.NatDnat{}, SNAT: []registry.NatSnat{}}
	if err := n.globalForwarding(result); err != nil {
		return nil, err
	}
	held, err := n.wholeTable(ctx)
	if err != nil {
		return nil, err
	}
	result.TableExists = registry.Some(held.table != nil)
	for _, d := range n.kept.dnats.All() {
		if d.Tag != p.Tag.Or(d.Tag) {
			continue
		}
		row := d.row()
		packets, bytes, there := held.countersOf(d)
		row.Exists, row.Packets, row.Bytes = there, wire.When(there, packets), wire.When(there, bytes)
		result.DNAT = append(result.DNAT, row)
	}
	for _, s := range n.kept.snats.All() {
		if s.Tag != p.Tag.Or(s.Tag) {
			continue
		}
		row := s.row()
		packets, bytes, there := held.countersOf(s)
		row.Exists, row.Packets, row.Bytes = there, wire.When(there, packets), wire.When(there, bytes)
		result.SNAT = append(result.SNAT, row)
	}
	slices.SortFunc(result.DNAT, func(a, b registry.NatDnat) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), strings.Compare(a.ID, b.ID))
	})
	slices.SortFunc(result.SNAT, func(a, b registry.NatSnat) int {
		return cmp.Or(a.Source.Addr().Compare(b.Source.Addr()), cmp.Compare(a.Source.Bits(), b.Source.Bits()), strings.Compare(a.ID, b.ID))
	})
	if result.Forwarding, err = n.natForwarding(); err != nil {
		return nil, err
	}
	if n.kept.dnats.Len()+n.kept.snats.Len() > 0 {
		result.MayBeBlockedBy, err = n.blockers(ctx, 0, hookForward)
	}
	return result, err
}

// wholeTable reads the own table with all elements.
func (n *Net) wholeTable(ctx context.Context) (*held, error) {
	r := reader{net: n, held: newHeld()}
	r.held.elements = map[owntable.Ref]heldElement{}
	conn, err := n.filters.Get()
	if err != nil {
		return nil, err
	}
	defer n.filters.Put(conn)
	r.held.table, err = readTable(ctx, conn)
	if errors.Is(err, nft.ErrNoTables) {
		return r.held, nil
	}
	if err == nil {
		err = r.allElements(ctx, conn)
	}
	return r.held, err
}

// countersOf sums what the elements of an entry have counted, and tells whether all of them are there.
func (h *held) countersOf(e entry) (packets, bytes int64, there bool) {
	there = true
	for _, el := range e.elements() {
		have, ok := h.elements[el.Ref()]
		there = there && ok
		packets, bytes = packets+wire.Counter(have.packets), bytes+wire.Counter(have.bytes)
	}
	return min(packets, wire.MaxInteger), min(bytes, wire.MaxInteger), there
}

func (n *Net) globalForwarding(result *registry.NetNatStatusResult) error {
	const four, six = "ipv4/ip_forward", "ipv6/conf/all/forwarding"
	values, err := n.settings([]string{four, six})
	if err != nil {
		return err
	}
	if v, there := values[four]; there {
		result.Ipv4Forwarding = registry.Some(v != 0)
	}
	if v, there := values[six]; there {
		result.Ipv6Forwarding = registry.Some(v != 0)
	}
	return nil
}

// natForwarding is a row for each interface that an entry opens, or whose settings were changed.
func (n *Net) natForwarding() ([]registry.NatForwarding, error) {
	needed := map[string]map[string]bool{} // ids by interface
	need := func(name, id string) {
		if needed[name] == nil {
			needed[name] = map[string]bool{}
		}
		if id != "" {
			needed[name][id] = true
		}
	}
	for id, d := range n.kept.dnats.All() {
		for _, name := range d.Opens {
			need(name, id)
		}
	}
	for id, s := range n.kept.snats.All() {
		for _, name := range s.Opens {
			need(name, id)
		}
	}
	for _, f := range n.kept.forwarding.All() {
		if f.Setting == settingForwarding {
			need(f.Interface, "")
		}
	}
	list := []registry.NatForwarding{}
	for name, ids := range needed {
		row, err := n.forwardingRow(name)
		if err != nil {
			return nil, err
		}
		for id := range ids {
			row.NeededBy = append(row.NeededBy, id)
		}
		slices.Sort(row.NeededBy)
		list = append(list, row)
	}
	slices.SortFunc(list, func(a, b registry.NatForwarding) int { return strings.Compare(a.Interface, b.Interface) })
	return list, nil
}

func (n *Net) forwardingRow(name string) (registry.NatForwarding, error) {
	four, six, ra := path.Join("ipv4/conf", name, settingForwarding), path.Join("ipv6/conf", name, settingForwarding), path.Join("ipv6/conf", name, settingAcceptRA)
	row := registry.NatForwarding{Interface: name}
	values, err := n.settings([]string{four, six, ra})
	if err != nil {
		return row, err
	}
	if v, there := values[four]; there {
		row.Ipv4 = registry.Some(v != 0)
	}
	if v, there := values[six]; there {
		row.Ipv6 = registry.Some(v != 0)
	}
	if v, there := values[ra]; there && v >= 0 && v <= 2 {
		row.AcceptRa = registry.Some(v)
	}
	for _, f := range n.kept.forwarding.All() {
		row.Managed = row.Managed || f.Interface == name && f.Setting == settingForwarding
	}
	return row, nil
}

// askedAtBoot is what the kernel's command line asks for by mosnat=.
func (n *Net) askedAtBoot() []registry.BootNat {
	list := []registry.BootNat{}
	text, err := os.ReadFile(filepath.Join("/", n.options.Root, "proc/cmdline"))
	if err != nil {
		return list
	}
	asked := netconf.ParseCommandLine(string(text)).MosNAT
	for i := range asked {
		list = append(list, managers.BootNAT(&asked[i]))
	}
	return list
}
