package netops

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/pkg/netops/internal/ruleset"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// Firewall handles net.firewall: what nf_tables has, dump by dump, each thing sent as it comes.
func (n *Net) Firewall(ctx context.Context, p *registry.NetFirewallParams, rows *registry.Stream[registry.NftItem]) (*registry.NetFirewallEnd, error) {
	out, filter := wire.LimitedTo(rows, p.Limit), firewallFilter(p)
	beside := firewallBeside{net: n, out: out, filter: filter, tag: p.Tag}
	if p.Tag.IsSet() {
		return nil, wire.UnlessEnough(beside.ownRules(ctx))
	}
	d, err := ruleset.Open(ctx, n.filters, filter, out)
	if errors.Is(err, nft.ErrNoTables) {
		return nil, wire.UnlessEnough(beside.send(ctx))
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if p.Text.Or(false) {
		texts, err := n.ruleTexts(ctx, filter.Family)
		if err != nil {
			return nil, err
		}
		d.SetTexts(texts)
	}
	end := &registry.NetFirewallEnd{}
	end.Consistent, err = wire.Consistently(rows, func() (interrupted bool, err error) {
		generation, interrupted, err := d.Run(ctx, beside.send)
		end.Generation = registry.Some(int64(generation))
		return interrupted, err
	})
	return end, err
}

func firewallFilter(p *registry.NetFirewallParams) nft.Filter {
	f := nft.Filter{Table: p.Table.Or("")}
	if family, ok := p.Family.Get(); ok {
		f.Family = ruleset.FamilyNumber(family)
	}
	return f
}

// firewallBeside sends what stands beside the ruleset of nf_tables.
type firewallBeside struct {
	net    *Net
	out    wire.Limited[registry.NftItem]
	filter nft.Filter
	tag    registry.Opt[string]
}

func (b *firewallBeside) send(ctx context.Context) error {
	if err := b.xtables(); err != nil {
		return err
	}
	return b.ownRules(ctx)
}

// ownRules sends the rules that are registered, also those that the kernel lacks.
func (b *firewallBeside) ownRules(ctx context.Context) error {
	rules := b.net.kept.rules
	if rules.Len() == 0 || b.filter.Family != 0 && b.filter.Family != own.Family || b.filter.Table != "" && b.filter.Table != own.Table {
		return nil
	}
	held, err := b.net.wholeTable(ctx)
	if err != nil {
		return err
	}
	list := slices.SortedFunc(maps.Values(maps.Collect(rules.All())), func(x, y firewallSpec) int {
		return cmp.Or(cmp.Compare(x.Port, y.Port), strings.Compare(x.ID, y.ID))
	})
	for _, f := range list {
		if f.Tag != b.tag.Or(f.Tag) {
			continue
		}
		row := f.row()
		packets, bytes, there := held.countersOf(f)
		row.Exists, row.Packets, row.Bytes = there, wire.When(there, packets), wire.When(there, bytes)
		if err := b.out.Send(&registry.NftItem{FirewallRule: &row}); err != nil {
			return err
		}
	}
	return nil
}
