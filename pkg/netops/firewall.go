package netops

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/geomind/my_os_server/internal/nft"
	"github.com/geomind/my_os_server/pkg/netops/internal/wire"
	"github.com/geomind/my_os_server/pkg/registry"
)

// The table that the daemon keeps its own rules in.
const (
	ownTableFamily = unix.NFPROTO_INET
	ownTable       = "my_os_server"
)

// Firewall handles net.firewall: what nf_tables has, dump by dump, each thing sent as it comes.
func (n *Net) Firewall(ctx context.Context, p *registry.NetFirewallParams, rows *registry.Stream[registry.NftItem]) (*registry.NetFirewallEnd, error) {
	d := firewallDump{net: n, out: wire.LimitedTo(rows, p.Limit), filter: firewallFilter(p), tag: p.Tag}
	if p.Tag.IsSet() {
		return nil, wire.UnlessEnough(d.ownRules(ctx))
	}
	if err := d.open(ctx); err != nil {
		if errors.Is(err, nft.ErrNoTables) {
			err = d.xtables()
			if err == nil {
				err = d.ownRules(ctx)
			}
			return nil, wire.UnlessEnough(err)
		}
		return nil, err
	}
	defer d.close()
	if p.Text.Or(false) {
		texts, err := n.ruleTexts(ctx, d.filter.Family)
		if err != nil {
			return nil, err
		}
		d.row.texts = texts
	}
	end := &registry.NetFirewallEnd{}
	consistent, err := wire.Consistently(rows, func() (bool, error) { return d.run(ctx, end) })
	end.Consistent = consistent
	return end, err
}

func firewallFilter(p *registry.NetFirewallParams) nft.Filter {
	f := nft.Filter{Table: p.Table.Or("")}
	if family, ok := p.Family.Get(); ok {
		f.Family = nftFamilies[family]
	}
	return f
}

var nftFamilies = map[registry.NftFamily]uint8{
	registry.NftFamilyInet:   unix.NFPROTO_INET,
	registry.NftFamilyIp:     unix.NFPROTO_IPV4,
	registry.NftFamilyIp6:    unix.NFPROTO_IPV6,
	registry.NftFamilyArp:    unix.NFPROTO_ARP,
	registry.NftFamilyBridge: unix.NFPROTO_BRIDGE,
	registry.NftFamilyNetdev: unix.NFPROTO_NETDEV,
}

// firewallDump sends a ruleset. Sets are listed on one socket and their elements on others, so that
// little has to be kept between them.
type firewallDump struct {
	net    *Net
	out    wire.Limited[registry.NftItem]
	filter nft.Filter
	tag    registry.Opt[string]
	row    firewallRow

	conn     *nft.Conn
	elements []*nft.Conn // opened where there is a set
}

// open gets a socket and asks whether there is a ruleset to be read at all.
func (d *firewallDump) open(ctx context.Context) (err error) {
	if d.conn, err = d.net.filters.Get(); err != nil {
		return err
	}
	if _, err = d.conn.Generation(ctx); err != nil {
		d.close()
	}
	return err
}

func (d *firewallDump) close() {
	d.net.filters.Put(d.conn)
	for _, conn := range d.elements {
		d.net.filters.Put(conn)
	}
}

// elementSocket is the i-th socket for elements, which is kept for when the ruleset is read again.
func (d *firewallDump) elementSocket(i int) (*nft.Conn, error) {
	if i < len(d.elements) {
		return d.elements[i], nil
	}
	conn, err := d.net.filters.Get()
	if err == nil {
		d.elements = append(d.elements, conn)
	}
	return conn, err
}

// run sends everything once. The dumps belong together where the ruleset's generation is the same at
// the end as at the start.
func (d *firewallDump) run(ctx context.Context, end *registry.NetFirewallEnd) (interrupted bool, err error) {
	generation, err := d.conn.Generation(ctx)
	if err != nil {
		return false, err
	}
	end.Generation = registry.Some(int64(generation))
	for _, part := range []func(context.Context) (bool, error){d.tables, d.chains, d.flowtables, d.objects, d.sets, d.rules} {
		flagged, err := part(ctx)
		interrupted = interrupted || flagged
		if err != nil {
			return interrupted, wire.UnlessEnough(err)
		}
	}
	if err := d.xtables(); err != nil {
		return interrupted, wire.UnlessEnough(err)
	}
	if err := d.ownRules(ctx); err != nil {
		return interrupted, wire.UnlessEnough(err)
	}
	after, err := d.conn.Generation(ctx)
	return interrupted || after != generation, err
}

func (d *firewallDump) tables(ctx context.Context) (bool, error) {
	return sendItems(d, d.conn.Tables(ctx, d.filter), func(t *nft.Table) registry.NftItem {
		return registry.NftItem{Table: d.row.table(t)}
	})
}

func (d *firewallDump) chains(ctx context.Context) (bool, error) {
	return sendItems(d, d.conn.Chains(ctx, d.filter), func(c *nft.Chain) registry.NftItem {
		return registry.NftItem{Chain: d.row.chain(c)}
	})
}

func (d *firewallDump) flowtables(ctx context.Context) (bool, error) {
	return sendItems(d, d.conn.Flowtables(ctx, d.filter), func(t *nft.Flowtable) registry.NftItem {
		return registry.NftItem{Flowtable: d.row.flowtable(t)}
	})
}

func (d *firewallDump) objects(ctx context.Context) (bool, error) {
	return sendItems(d, d.conn.Objects(ctx, d.filter), func(o *nft.Object) registry.NftItem {
		return registry.NftItem{Object: d.row.object(o)}
	})
}

func (d *firewallDump) rules(ctx context.Context) (bool, error) {
	return sendItems(d, d.conn.Rules(ctx, d.filter), func(r *nft.Rule) registry.NftItem {
		return registry.NftItem{Rule: d.row.rule(r)}
	})
}

// ownRules sends the rules that are registered, also those that the kernel lacks.
func (d *firewallDump) ownRules(ctx context.Context) error {
	rules := d.net.kept.rules
	if rules.Len() == 0 || d.filter.Family != 0 && d.filter.Family != own.Family || d.filter.Table != "" && d.filter.Table != own.Table {
		return nil
	}
	held, err := d.net.wholeTable(ctx)
	if err != nil {
		return err
	}
	list := slices.SortedFunc(maps.Values(maps.Collect(rules.All())), func(a, b firewallSpec) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), strings.Compare(a.ID, b.ID))
	})
	for _, f := range list {
		if f.Tag != d.tag.Or(f.Tag) {
			continue
		}
		row := f.row()
		packets, bytes, there := held.countersOf(f)
		row.Exists, row.Packets, row.Bytes = there, wire.When(there, packets), wire.When(there, bytes)
		if err := d.out.Send(&registry.NftItem{FirewallRule: &row}); err != nil {
			return err
		}
	}
	return nil
}

// sendItems sends every row of a dump.
func sendItems[Row any](d *firewallDump, rows iter.Seq2[*Row, error], item func(*Row) registry.NftItem) (bool, error) {
	return wire.Each(rows, func(row *Row) error {
		it := item(row)
		return d.out.Send(&it)
	})
}
